/**
 * The schedulers of a machine's cpupools behind one interface. Where there can be only one pool its operations are called directly; else each
 * call goes to the pool whose scheduler has the VCPU, or that the pCPU is in. A pCPU in no pool idles.
 *
 * A worker makes a pool's scheduler when it first comes to it, and anew when another pool has got the number: all state is in
 * the image, which is prepared by whoever made the pool.
 */
import { NONE } from '../../shared/list.js';
import type { HvContext } from '../context.js';
import { CPUPOOL } from '../records.js';
import type { GenericScheduler, PoolView, SchedulerOps } from './interface.js';
import { findScheduler } from './registry.js';

export interface PoolOps {
  /** By the VCPU or pCPU that a call names. */
  readonly ops: SchedulerOps;
  /** The scheduler of one pool. */
  of(pool: number): SchedulerOps;
  /** Whether accounting of a pool runs on pCPU p. */
  accounts(p: number): boolean;
}

export function poolOps(hv: HvContext, generic: GenericScheduler): PoolOps {
  const { image, shape, params, queues, domain, pcpu, idleOf } = hv;
  const { runq, entry } = queues;
  const pools = image.table(CPUPOOL);

  function viewOf(pool: number): PoolView {
    return {
      index: pool,
      params: {
        tsliceNs: pools.tsliceNs(pool),
        ratelimitNs: pools.ratelimitNs(pool),
        migrationDelayNs: pools.migrationDelayNs(pool),
      },
      pcpus: () => pools.pcpus(pool),
      master: () => pools.master(pool),
    };
  }

  function make(name: string | undefined, view: PoolView): SchedulerOps {
    const policy = findScheduler(name ?? '');
    if (!policy) throw new Error(`unknown scheduler "${name}"`);
    return policy.create(hv, generic, view);
  }

  if (shape.pools === 1) {
    // Made before the pool is: its parameters are constants of the run.
    const only = make(params.scheduler, { ...viewOf(0), params });
    return { ops: only, of: () => only, accounts: (p) => p === 0 };
  }

  const made: SchedulerOps[] = [];
  const generations: number[] = [];

  function of(pool: number): SchedulerOps {
    if (generations[pool] !== pools.generation(pool)) {
      made[pool] = make(params.policies[pools.policy(pool)], viewOf(pool));
      generations[pool] = pools.generation(pool);
    }
    return made[pool]!;
  }
  const has = (v: number): SchedulerOps => of(entry.pool(v));

  return {
    of,
    accounts: (p) => {
      const pool = runq.pool(p);
      return pool !== NONE && pools.master(pool) === p;
    },
    ops: {
      name: 'cpupools',
      // Of one pool each: whoever makes it calls its scheduler.
      init() {},
      initPcpu() {},
      deinitPcpu() {},
      insert: (v) => has(v).insert(v),
      remove: (v) => has(v).remove(v),
      sleep: (v) => has(v).sleep(v),
      wake: (v) => has(v).wake(v),
      yield: (v) => has(v).yield(v),
      doSchedule(p) {
        if (runq.pool(p) !== NONE) of(runq.pool(p)).doSchedule(p);
        else {
          pcpu.setNext(p, idleOf(p));
          pcpu.setNextSlice(p, Infinity);
        }
      },
      pickCpu: (v) => has(v).pickCpu(v),
      migrate: (v, p) => has(v).migrate(v, p),
      contextSaved: (v) => has(v).contextSaved(v),
      adjust: (d) => of(domain.pool(d)).adjust(d),
      adjustAffinity: (v) => has(v).adjustAffinity(v),
      nextTick: (p) => of(runq.pool(p)).nextTick(p),
      tick: (p) => of(runq.pool(p)).tick(p),
      // A pool is within one group of pCPUs (machine/groups.ts), so its accounting is that group's own.
      accountingFrom: () => Infinity,
      nextAccounting: (p) => of(runq.pool(p)).nextAccounting(p),
      accounting: (p) => of(runq.pool(p)).accounting(p),
      dumpSettings: () =>
        Array.from({ length: shape.pools }, (_, pool) => pool)
          .filter((pool) => pools.isUsed(pool) !== 0)
          .map((pool) => `pool ${pool}: ${of(pool).dumpSettings()}`)
          .join('\n'),
    },
  };
}
