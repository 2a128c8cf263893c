/**
 * Litmus tests of memory order between VCPUs of machine code (perf/x86/litmus.c), in free mode and in ordered mode, and the same code as
 * threads of this host: how often each outcome was seen. Exit code 1 where one was seen that the architecture forbids. That the tests can
 * see anything is what SB without a fence shows, where the host has more than one core.
 *
 *   node dist/perf/x86-litmus.js [--rounds 200]
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { noWorkload, readKernelFile } from '../src/config/kernel-file.js';
import { type MachineConfig, machineDefaults } from '../src/machine/config.js';
import { Machine } from '../src/machine/machine.js';

/** Pairs of words a round. */
const PAIRS = 512;
/** Seen is not forbidden. */
const ALLOWED = 'SB';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '200' } } });
const rounds = Number(values.rounds);
if (!Number.isSafeInteger(rounds) || rounds < 1) {
  console.error('usage: x86-litmus [--rounds N]');
  process.exit(2);
}

interface Row {
  readonly name: string;
  readonly seen: ReadonlyMap<string, number>;
  readonly pairs: number;
  readonly seconds: number;
}

/** "SB 12 SB+mfence 0 …" */
function outcomes(said: string): Map<string, number> {
  const words = said.trim().split(' ');
  if (words.length < 2 || words.length % 2 !== 0) throw new Error(`litmus said: ${said}`);
  return new Map(Array.from({ length: words.length / 2 }, (_, n) => [words[2 * n]!, Number(words[2 * n + 1])]));
}

async function onMachine(file: string, vcpus: number, threads: number, mode: MachineConfig['mode'], times: number) {
  const guest = { name: 'litmus', vcpus, memoryMib: 16, weight: 256, cap: 0, cpusSoft: [], abi: 64 as const };
  const kernel = readKernelFile(file, `vcpus=${vcpus} rounds=${times}`);
  const cpus = Array.from({ length: vcpus }, (_, v) => [v]);
  const guests = [{ ...guest, cpus, workload: noWorkload(file), kernel }];
  const over = { pcpus: vcpus, threads, mode, durationNs: 1e12, guests };
  const machine = await Machine.create({ ...machineDefaults('modern'), ...over });
  try {
    const { domains } = await machine.run();
    return domains[0]!.console;
  } finally {
    await machine.close();
  }
}

async function row(name: string, times: number, act: () => string | Promise<string>): Promise<Row> {
  const began = performance.now();
  const seen = outcomes(await act());
  return { name, seen, pairs: times * PAIRS, seconds: (performance.now() - began) / 1000 };
}

const folder = mkdtempSync(join(tmpdir(), 'x86-litmus-'));
const rows: Row[] = [];
try {
  execFileSync(fileURLToPath(new URL('../../perf/x86/build.sh', import.meta.url)), [folder], { stdio: 'inherit' });
  const file = join(folder, 'litmus.elf');
  const few = Math.ceil(rounds / 20);
  rows.push(
    await row('this host, 2 threads', rounds, () =>
      execFileSync(join(folder, 'litmus-native'), [`vcpus=2 rounds=${rounds}`], { encoding: 'utf8' }),
    ),
    await row('free, 2 VCPUs on 2 workers', rounds, () => onMachine(file, 2, 2, 'free', rounds)),
    await row('free, 2 VCPUs on 1 worker', rounds, () => onMachine(file, 2, 1, 'free', rounds)),
    await row('ordered, 2 VCPUs on 2 workers', rounds, () => onMachine(file, 2, 2, 'ordered', rounds)),
    // As many workers as the host has cores for, or they hardly ever run at the same time.
    await row('free, 4 VCPUs on 2 workers', few, () => onMachine(file, 4, 2, 'free', few)),
    await row('free, 4 VCPUs on 4 workers', few, () => onMachine(file, 4, 4, 'free', few)),
  );
} finally {
  rmSync(folder, { recursive: true });
}

const names = [...rows.at(-1)!.seen.keys()];
console.log(`how often each outcome was seen; of these only ${ALLOWED} is allowed`);
console.log(
  `${''.padEnd(30)}${'pairs'.padStart(9)}${names.map((name) => name.padStart(13)).join('')}${'s'.padStart(8)}`,
);
for (const { name, seen, pairs, seconds } of rows) {
  const cells = names.map((test) => String(seen.get(test) ?? '').padStart(13)).join('');
  console.log(`${name.padEnd(30)}${String(pairs).padStart(9)}${cells}${seconds.toFixed(1).padStart(8)}`);
}
const isForbidden = rows.some(({ seen }) => [...seen].some(([test, count]) => test !== ALLOWED && count > 0));
const isBlunt = availableParallelism() > 1 && rows[1]!.seen.get(ALLOWED) === 0;
if (isForbidden) console.log('an outcome was seen that is forbidden');
if (isBlunt) console.log(`${ALLOWED} was never seen on two workers: the tests would see nothing`);
process.exitCode = isForbidden || isBlunt ? 1 : 0;
