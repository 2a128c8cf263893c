/** Which cpupools cannot be: rules for `findConfigProblem`. */
import * as limits from '../shared/limits.js';
import { type CpupoolConfig, type GuestConfig, type MachineConfig, POOL_0 } from './config.js';
import { isPolicyFile } from './policy-file.js';
import { bootPools, nrPools, WHOLE_HOST_SCHEDULER } from './pools.js';

export interface ConfigProblem {
  /** Where in the MachineConfig: `['guests', 2, 'cap']`. */
  readonly path: readonly (string | number)[];
  readonly message: string;
}

const countOf = (n: number): string => (n === 1 ? '1 pCPU' : `${n} pCPUs`);
const listOf = (cpus: readonly number[]): string => `pCPU${cpus.length === 1 ? '' : 's'} ${cpus.join(', ')}`;

/** What is wrong with one pool by itself: field, message. */
function poolProblem(
  config: MachineConfig,
  pool: CpupoolConfig,
  schedulers: readonly string[],
): readonly [keyof CpupoolConfig, string] | undefined {
  const { name, cpus, scheduler } = pool;
  if (name === '' || Buffer.byteLength(name) > limits.MAX_NAME_LENGTH) {
    return ['name', `a cpupool's name has 1 to ${limits.MAX_NAME_LENGTH} bytes`];
  }
  if (cpus === undefined && name !== POOL_0) return ['name', `cpupool ${name} needs its pCPUs (cpus)`];
  if (cpus?.length === 0) return ['cpus', `cpupool ${name} has no pCPU`];
  const beyond = cpus?.find((p) => !(Number.isSafeInteger(p) && p >= 0 && p < config.pcpus));
  if (beyond !== undefined) {
    return ['cpus', `cpupool ${name} wants pCPU ${beyond}; the machine has ${countOf(config.pcpus)}`];
  }
  if (scheduler !== undefined && !schedulers.includes(scheduler)) {
    return ['scheduler', `unknown scheduler '${scheduler}' of cpupool ${name}; known: ${schedulers.join(', ')}`];
  }
  if (scheduler === undefined && isPolicyFile(config.scheduler)) {
    return ['name', `cpupool ${name} needs a scheduler of its own: that of a file is for a machine without cpupools`];
  }
  return undefined;
}

/** What is wrong with a pool's scheduling parameters is so with a machine's that has them. */
type ParamsProblem = (config: MachineConfig) => ConfigProblem | undefined;

/** @param params judges a machine's own parameters */
export function findPoolProblem(
  config: MachineConfig,
  schedulers: readonly string[],
  params: ParamsProblem,
): ConfigProblem | undefined {
  const { cpupools = [], sparePools = 0 } = config;
  if (!Number.isSafeInteger(sparePools) || sparePools < 0)
    return { path: ['sparePools'], message: `${sparePools} is no number of pools` };
  if (nrPools(config) > limits.MAX_CPUPOOLS) {
    const path = cpupools.length > 0 ? ['cpupools'] : ['sparePools'];
    return { path, message: `${nrPools(config)} cpupools; at most ${limits.MAX_CPUPOOLS}` };
  }
  if (config.profile === 'classic' && nrPools(config) > 1) {
    const path = cpupools.length > 0 ? ['cpupools', 0] : ['sparePools'];
    return { path, message: 'the classic profile (Xen 3.0.4) has no cpupools' };
  }
  if (nrPools(config) > 1) {
    const message = `the run queues of ${WHOLE_HOST_SCHEDULER} are the whole host's: it is for a machine without cpupools`;
    const index = cpupools.findIndex(({ scheduler }) => scheduler === WHOLE_HOST_SCHEDULER);
    if (index >= 0) return { path: ['cpupools', index, 'scheduler'], message };
    const inherits = (name: string): boolean => cpupools.find((pool) => pool.name === name)?.scheduler === undefined;
    const isUsed = [POOL_0, ...cpupools.map(({ name }) => name)].some(inherits);
    if (config.scheduler === WHOLE_HOST_SCHEDULER && isUsed) return { path: ['scheduler'], message };
  }
  const names = new Set<string>();
  const ownerOf = new Map<number, string>();
  for (const [index, pool] of cpupools.entries()) {
    const at = (field: keyof CpupoolConfig, message: string): ConfigProblem => ({
      path: ['cpupools', index, field],
      message,
    });
    const problem = poolProblem(config, pool, schedulers);
    if (problem !== undefined) return at(...problem);
    if (names.has(pool.name)) return at('name', `a second cpupool named '${pool.name}'`);
    names.add(pool.name);
    for (const p of pool.cpus ?? []) {
      const owner = ownerOf.get(p);
      if (owner !== undefined) return at('cpus', `pCPU ${p} is in two cpupools: ${owner} and ${pool.name}`);
      ownerOf.set(p, pool.name);
    }
    const given = Object.fromEntries(Object.entries(pool).filter(([, value]) => value !== undefined));
    const wrong = params({ ...config, ...given, cpupools: [] } as MachineConfig);
    if (wrong !== undefined) return at(wrong.path[0] as keyof CpupoolConfig, `cpupool ${pool.name}: ${wrong.message}`);
  }
  return undefined;
}

/** What is wrong with the pool of a guest. */
export function guestPoolProblem(
  config: MachineConfig,
  guest: GuestConfig,
): readonly [keyof GuestConfig, string] | undefined {
  const name = guest.pool ?? POOL_0;
  const pool = bootPools(config).find((p) => p.name === name);
  if (pool === undefined) return ['pool', `there is no cpupool '${name}'`];
  if (pool.cpus.length === 0) {
    return ['pool', `cpupool ${name}, in which ${guest.name} is, has no pCPU: all are in other pools`];
  }
  for (const [v, cpus] of guest.cpus.entries()) {
    if (cpus === undefined || cpus.some((p) => pool.cpus.includes(p))) continue;
    const message = `VCPU ${v} of ${guest.name} may use only ${listOf(cpus)}, cpupool ${name} has ${listOf(pool.cpus)}`;
    return ['cpus', message];
  }
  return undefined;
}
