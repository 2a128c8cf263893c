/**
 * Cpupools (Xen's common/sched/cpupool.c): each is a set of pCPUs with a scheduler of its own, which has nothing to do with the others'.
 * A domain is in one of them, and its VCPUs run on that one's pCPUs only. At boot all pCPUs that no other pool was given are in Pool-0.
 *
 * Operations answer 0, or -errno as Xen does. All of them take effect while no other worker takes a turn.
 */
import { ONLINE_MASK } from '../balancer/records.js';
import { NONE } from '../shared/list.js';
import {
  XEN_EADDRNOTAVAIL,
  XEN_EAGAIN,
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_ENODEV,
  XEN_ENOENT,
  XEN_ENOSPC,
  XEN_ESRCH,
} from '../shared/public/errno.js';
import { TRACE } from '../shared/trace-ring.js';
import type { HvContext } from './context.js';
import { CPUPOOL, DOMAIN_STATE } from './records.js';
import type { PoolParams } from './sched/interface.js';
import type { Scheduler } from './schedule.js';
import type { Separation } from './separation.js';
import type { Smp } from './smp.js';

/** XEN_SYSCTL_CPUPOOL_PAR_ANY: whichever suits. */
export const ANY = -1;

export interface CpupoolSpec extends PoolParams {
  /** Place in HvParams.policies. */
  readonly policy: number;
}

export interface CpupoolInfo extends CpupoolSpec {
  readonly id: number;
  /** Domains in it that have not ended. */
  readonly domains: number;
  readonly cpus: readonly number[];
}

export interface Cpupools {
  /** Before there are domains. @param pools pool 0 first, with the pCPUs of each */
  boot(pools: readonly (CpupoolSpec & { readonly cpus: readonly number[] })[]): void;
  /** @param id ANY: the first free one. @returns its number, or -EEXIST, -EINVAL for its scheduler, -ENOSPC */
  create(spec: CpupoolSpec, id: number): number;
  /** -ENOENT; -EBUSY while it has pCPUs or domains, and for Pool-0. */
  destroy(id: number): number;
  /** @param p ANY: the first free one. -EINVAL, -ENODEV where there is none, -EBUSY for one that is in a pool; -ENOENT */
  addCpu(id: number, p: number): number;
  /**
   * VCPUs move away first. @param p ANY: the last one. -ENOENT, -EINVAL; -EADDRNOTAVAIL for one that is not in this pool; -EBUSY for
   * the last one of a pool with domains, but for those that have ended, which go to Pool-0; -EAGAIN where another worker has to do
   * it. Not for a pCPU whose turn goes on after it: the VCPU that runs there does not any more.
   */
  removeCpu(id: number, p: number): number;
  /** With all its VCPUs, whose affinity is all pCPUs again. -ESRCH, -EBUSY for a domain that has ended; -ENOENT for no pool, or one without pCPUs */
  moveDomain(d: number, id: number): number;
  /** The first pool from number `id` on. */
  info(id: number): CpupoolInfo | undefined;
  /** Parameters of its scheduler from now on; -ENOENT. Only where there can be several pools. */
  adjust(id: number, params: PoolParams): number;
  freeCpus(): number[];
  /** A pCPU went off line or came back. While no other worker takes a turn. */
  recount(p: number): void;
  /** Whether pCPU p is the last one on line of a pool with domains. */
  isLast(p: number): boolean;
  /**
   * pCPUs with the same number may influence each other's scheduling; others do not, but by events, by time-keeping and by
   * commands from outside. A pool's, or one for those that are in none.
   */
  groupOf(p: number): number;
}

export interface CpupoolParts {
  readonly sched: Scheduler;
  readonly smp: Smp;
  readonly workers: Separation;
  /** Does something while no other worker takes a turn. */
  stopped<T>(act: () => T): T;
}

export function cpupools(hv: HvContext, { sched, smp, workers, stopped }: CpupoolParts): Cpupools {
  const { image, shape, params, domain, vcpu, pcpu, queues, trace, isIdle } = hv;
  const { runq, entry, masks, word, list } = queues;
  const pools = image.table(CPUPOOL);
  const NR = shape.pools;

  const exists = (id: number): boolean => Number.isInteger(id) && id >= 0 && id < NR && pools.isUsed(id) !== 0;
  const isPcpu = (p: number): boolean => Number.isInteger(p) && p >= 0 && p < shape.pcpus;
  const cpusOf = (mask: number): number[] =>
    Array.from({ length: shape.pcpus }, (_, p) => p).filter((p) => masks.has(mask, p));
  const isLive = (d: number): boolean => domain.state(d) === DOMAIN_STATE.alive && domain.isShutDown(d) === 0;

  function liveDomains(id: number): number {
    let n = 0;
    for (let d = 0; d < shape.domains; d++) if (isLive(d) && domain.pool(d) === id) n++;
    return n;
  }

  /** Those that have ended, but still have their VCPUs. */
  function endedDomains(id: number): number[] {
    return Array.from({ length: shape.domains }, (_, d) => d).filter(
      (d) => domain.pool(d) === id && domain.state(d) !== DOMAIN_STATE.free && domain.maxVcpus(d) > 0 && !isLive(d),
    );
  }

  function init(id: number, spec: CpupoolSpec): void {
    pools.setTsliceNs(id, spec.tsliceNs);
    pools.setRatelimitNs(id, spec.ratelimitNs);
    pools.setMigrationDelayNs(id, spec.migrationDelayNs);
    pools.setPolicy(id, spec.policy);
    pools.setMaster(id, NONE);
    pools.setPcpus(id, 0);
    pools.addGeneration(id, 1);
    pools.setIsUsed(id, 1);
    sched.poolOps(id).init();
  }

  /** Those on line count. */
  function count(id: number): void {
    const cpus = cpusOf(queues.pool(id)).filter(queues.isOnline);
    pools.setPcpus(id, cpus.length);
    pools.setMaster(id, cpus[0] ?? NONE);
  }

  /** Counts its pCPUs anew; accounting may have another one to run on. */
  function review(id: number): void {
    const before = pools.master(id);
    count(id);
    for (const p of [before, pools.master(id)]) if (p !== NONE && pools.master(id) !== before) smp.keyMoved(p);
    workers.review();
  }

  function enter(id: number, p: number): void {
    masks.set(queues.pool(id), p);
    runq.setPool(p, id);
    sched.poolOps(id).initPcpu(p);
  }

  /** What the VCPUs of a pool may use has changed: those that are where they must not be go. */
  function resettle(id: number): void {
    for (let v = 0; v < shape.vcpus; v++) {
      if (vcpu.domain(v) >= 0 && entry.pool(v) === id && isLive(vcpu.domain(v))) sched.affinityChanged(v);
    }
  }

  function transfer(d: number, id: number): void {
    workers.allow(domain.firstVcpu(d), cpusOf(queues.pool(id)));
    domain.setPool(d, id);
    for (let k = 0; k < domain.maxVcpus(d); k++) sched.changePool(domain.firstVcpu(d) + k);
    workers.review();
    trace.note(TRACE.cpupool, id, d);
  }

  function removeCpu(id: number, p: number): number {
    if (!exists(id)) return -XEN_ENOENT;
    const which = p === ANY ? (cpusOf(queues.pool(id)).at(-1) ?? NONE) : p;
    if (!isPcpu(which)) return -XEN_EINVAL;
    if (runq.pool(which) !== id) return -XEN_EADDRNOTAVAIL;
    // One that is off line is no place for anybody.
    const isLast = queues.isOnline(which) && pools.pcpus(id) === 1;
    if (isLast && liveDomains(id) > 0) return -XEN_EBUSY;
    const ended = isLast ? endedDomains(id) : [];
    // One that is being destroyed loses them anyhow, in a moment.
    if (ended.some((d) => id === 0 || pools.pcpus(0) === 0 || domain.state(d) === DOMAIN_STATE.dying))
      return -XEN_EBUSY;
    if (!smp.isMine(which)) return -XEN_EAGAIN;
    // As Xen does: their VCPUs may be about to leave their pCPUs still, and must have where to go.
    for (const d of ended) transfer(d, 0);
    masks.clear(queues.pool(id), which);
    resettle(id);
    sched.vacate(which);
    if (!isIdle(pcpu.current(which)) || list.first(which) !== NONE)
      throw new Error(`pCPU ${which} is not empty though nobody may use it`);
    sched.poolOps(id).deinitPcpu(which);
    masks.clear(queues.idlers(which), which);
    runq.setPool(which, NONE);
    review(id);
    trace.note(TRACE.cpupool, id, which);
    return 0;
  }

  function info(id: number): CpupoolInfo | undefined {
    for (let k = Math.max(0, id); k < NR; k++) {
      if (!exists(k)) continue;
      return {
        id: k,
        policy: pools.policy(k),
        tsliceNs: pools.tsliceNs(k),
        ratelimitNs: pools.ratelimitNs(k),
        migrationDelayNs: pools.migrationDelayNs(k),
        domains: liveDomains(k),
        cpus: cpusOf(queues.pool(k)),
      };
    }
    return undefined;
  }

  return {
    boot(all) {
      for (let p = 0; p < shape.pcpus; p++) runq.setPool(p, NONE);
      for (const [id, spec] of all.entries()) {
        init(id, spec);
        for (const p of spec.cpus) enter(id, p);
        count(id);
      }
      workers.review();
    },
    create: (spec, id) =>
      stopped(() => {
        const free = Array.from({ length: NR }, (_, k) => k).find((k) => !exists(k));
        if (id !== ANY && exists(id)) return -XEN_EEXIST;
        if (params.policies[spec.policy] === undefined) return -XEN_EINVAL;
        const k = id === ANY ? free : id;
        if (k === undefined || k < 0 || k >= NR) return -XEN_ENOSPC;
        init(k, spec);
        return k;
      }),
    destroy: (id) =>
      stopped(() => {
        if (!exists(id)) return -XEN_ENOENT;
        if (id === 0 || pools.pcpus(id) > 0 || liveDomains(id) > 0) return -XEN_EBUSY;
        pools.setIsUsed(id, 0);
        return 0;
      }),
    addCpu: (id, p) =>
      stopped(() => {
        const which = p === ANY ? (freeCpus()[0] ?? NONE) : p;
        if (!isPcpu(which)) return p === ANY ? -XEN_ENODEV : -XEN_EINVAL;
        if (!masks.has(word(ONLINE_MASK), which)) return -XEN_ENODEV;
        if (runq.pool(which) !== NONE) return -XEN_EBUSY;
        if (!exists(id)) return -XEN_ENOENT;
        enter(id, which);
        review(id);
        masks.set(queues.idlers(which), which);
        resettle(id);
        // Who may come here now may come from another worker.
        workers.review();
        // It looks for work.
        smp.raiseSchedule(which);
        trace.note(TRACE.cpupool, id, which);
        return 0;
      }),
    removeCpu: (id, p) => stopped(() => removeCpu(id, p)),
    moveDomain: (d, id) =>
      stopped(() => {
        if (!(Number.isInteger(d) && d >= 0 && d < shape.domains && domain.maxVcpus(d) > 0)) return -XEN_ESRCH;
        if (!exists(id) || pools.pcpus(id) === 0) return -XEN_ENOENT;
        if (!isLive(d)) return -XEN_EBUSY;
        if (domain.pool(d) === id) return 0;
        transfer(d, id);
        return 0;
      }),
    info,
    recount(p) {
      if (runq.pool(p) !== NONE) review(runq.pool(p));
    },
    isLast(p) {
      const id = runq.pool(p);
      return id !== NONE && queues.isOnline(p) && pools.pcpus(id) === 1 && liveDomains(id) > 0;
    },
    adjust: (id, { tsliceNs, ratelimitNs, migrationDelayNs }) =>
      stopped(() => {
        if (!exists(id)) return -XEN_ENOENT;
        pools.setTsliceNs(id, tsliceNs);
        pools.setRatelimitNs(id, ratelimitNs);
        pools.setMigrationDelayNs(id, migrationDelayNs);
        sched.poolOps(id).settings?.set(tsliceNs, ratelimitNs, migrationDelayNs);
        return 0;
      }),
    freeCpus,
    groupOf: runq.pool,
  };

  function freeCpus(): number[] {
    return Array.from({ length: shape.pcpus }, (_, p) => p).filter((p) => runq.pool(p) === NONE);
  }
}
