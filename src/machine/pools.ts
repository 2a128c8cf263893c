/** The cpupools of a configuration, with everything that it leaves out. */
import type { CpupoolSpec } from '../hv/cpupool.js';
import { SCHEDULERS } from '../hv/sched/registry.js';
import { MAX_CPUPOOLS } from '../shared/limits.js';
import { type CpupoolConfig, type GuestConfig, type MachineConfig, POOL_0 } from './config.js';

export interface BootPool extends CpupoolSpec {
  readonly name: string;
  readonly cpus: readonly number[];
}

type PoolSettings = Pick<MachineConfig, 'profile' | 'tsliceMs' | 'ratelimitUs' | 'migrationDelayUs'>;

/** Pool-0 first, whatever the configuration says of it. */
function listed({ cpupools = [] }: MachineConfig): CpupoolConfig[] {
  const zero = cpupools.find(({ name }) => name === POOL_0) ?? { name: POOL_0 };
  return [zero, ...cpupools.filter(({ name }) => name !== POOL_0)];
}

const schedulerOf = (config: MachineConfig, pool: CpupoolConfig): string => pool.scheduler ?? config.scheduler;

/** Its run queues are those of the whole host, whichever pools its pCPUs are in: it is for a machine without cpupools. */
export const WHOLE_HOST_SCHEDULER = 'credit2';

/** Schedulers that the machine has records for, Pool-0's first. */
export function policiesOf(config: MachineConfig): string[] {
  const poolable = SCHEDULERS.map(({ name }) => name).filter((name) => name !== WHOLE_HOST_SCHEDULER);
  const spare = (config.sparePools ?? 0) > 0 ? poolable : [];
  return [...new Set([...listed(config).map((pool) => schedulerOf(config, pool)), ...spare])];
}

export const nrPools = (config: MachineConfig): number => listed(config).length + (config.sparePools ?? 0);

/** Pools that somebody may want to make on a machine that stays up: some, and one for each node. */
export function sparePoolsOf(config: MachineConfig): number {
  // Xen 3.0.4 has no cpupools.
  if (config.profile === 'classic' || config.scheduler === WHOLE_HOST_SCHEDULER) return 0;
  const wanted = Math.max(8, config.topology?.sockets ?? 1);
  return Math.max(config.sparePools ?? 0, Math.min(wanted, MAX_CPUPOOLS - listed(config).length));
}

/** Parameters of a pool's scheduler, ns. */
export function poolParams(
  machine: PoolSettings,
  { tsliceMs, ratelimitUs, migrationDelayUs }: Omit<CpupoolConfig, 'name'>,
): Omit<CpupoolSpec, 'policy'> {
  return {
    tsliceNs: (tsliceMs ?? machine.tsliceMs) * 1e6,
    ratelimitNs: machine.profile === 'classic' ? 0 : (ratelimitUs ?? machine.ratelimitUs) * 1e3,
    migrationDelayNs: (migrationDelayUs ?? machine.migrationDelayUs) * 1e3,
  };
}

/** The pools that a machine boots with, by their numbers. */
export function bootPools(config: MachineConfig): BootPool[] {
  const policies = policiesOf(config);
  const pools = listed(config);
  const taken = new Set(pools.flatMap(({ cpus = [] }) => cpus));
  const rest = Array.from({ length: config.pcpus }, (_, p) => p).filter((p) => !taken.has(p));
  return pools.map((pool) => ({
    name: pool.name,
    policy: policies.indexOf(schedulerOf(config, pool)),
    ...poolParams(config, pool),
    cpus: pool.cpus ?? rest,
  }));
}

/** Number of the pool that a guest is in. */
export const poolOfGuest = (pools: readonly Pick<BootPool, 'name'>[], { pool = POOL_0 }: GuestConfig): number =>
  pools.findIndex(({ name }) => name === pool);
