/**
 * CPU lists as xl writes them: `all`, `0-3,5,^1`. Parts apply from left to right, so `^1,0-3` holds pCPU 1.
 *
 * Source: xl.cfg(5), "cpus". Stricter than xl, which ignores pCPUs the host does not have.
 */
import { ConfigError, type Place } from '../workload/config-error.js';

/**
 * The pCPUs of `0..pcpus-1` that the list names, ascending, at least one.
 * @throws ConfigError at `at` when the list is malformed, empty, or names a pCPU that does not exist
 */
export function parseCpuList(text: string, pcpus: number, at?: Place): readonly number[] {
  const chosen = new Set<number>();
  for (const part of text.split(',').map((item) => item.trim())) {
    // xl splits with strtok, for which two commas are one.
    if (part === '') continue;
    const [first, last, exclude] = parseCpuRange(part, pcpus, at);
    for (let cpu = first; cpu <= last; cpu++) {
      if (exclude) chosen.delete(cpu);
      else chosen.add(cpu);
    }
  }
  if (chosen.size === 0) throw new ConfigError(`CPU list "${text}" holds no pCPU`, at);
  return [...chosen].sort((a, b) => a - b);
}

function parseCpuRange(part: string, pcpus: number, at?: Place): readonly [first: number, last: number, not: boolean] {
  if (part === 'all') return [0, pcpus - 1, false];
  if (part === '^all') throw new ConfigError('"^" and "all" do not go together in a CPU list', at);
  if (/^\^?nodes?:/.test(part)) throw new ConfigError(`NUMA nodes ("${part}") are not supported yet`, at);

  const range = /^(\^?)(\d+)(?:-(\d+))?$/.exec(part);
  if (!range) throw new ConfigError(`"${part}" is not a pCPU or a range of pCPUs`, at);
  const first = Number(range[2]);
  const last = Number(range[3] ?? range[2]);
  if (last < first) throw new ConfigError(`the range "${part}" runs backwards`, at);
  if (last >= pcpus) {
    const missing = Math.max(first, pcpus);
    throw new ConfigError(
      `pCPU ${missing} does not exist: the machine has pCPUs ${pcpus === 1 ? '0' : `0-${pcpus - 1}`}`,
      at,
    );
  }
  return [first, last, range[1] === '^'];
}
