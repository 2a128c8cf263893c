/**
 * Groups of pCPUs that have nothing to do with each other: no VCPU may run in two of them, no domain has VCPUs in two, no event
 * channel leads from one to another.
 *
 * Ordered mode: each group has masks and a trace hash of its own, so that nothing a turn does depends on how the turns of two groups
 * lie to each other, and workers may take them side by side (pcpu/sections.ts). Groups are what the configuration says and what
 * commands have joined since: a result must not depend on threads, so they are the same with one thread. They never part again.
 *
 * Free mode: workers that have nothing to do with each other. Where the VCPUs of every domain may only use pCPUs of one worker,
 * and no event channel leads from one worker's domains to another's, run queues, runstates, events and a guest kernel's data are
 * touched by one thread only: their locks are taken by plain stores and their words changed by plain accesses, which makes
 * a turn a third cheaper. What concerns several workers all the same, accounting and commands from outside, stops the others
 * for a moment (`alone`). Once something leads from one worker to another, the workers are together, for good.
 *
 * It is the idea of a biased lock, for the whole machine at once: the bias is revoked while all others stand still.
 */
import { noPool, ONLINE_MASK, WHOLE } from '../balancer/records.js';
import { HARD } from '../balancer/run-queues.js';
import { NONE } from '../shared/list.js';
import { EVTCHNSTAT_interdomain } from '../shared/public/event-channel.js';
import { setTraceGroup, traceBases } from '../shared/trace-ring.js';
import type { HvContext } from './context.js';
import { SEPARATION } from './records.js';

/** What separation asks of the processor. */
export interface Stopping {
  /** Does something while no other worker takes a turn. */
  stopped<T>(act: () => T): T;
  moveTo(p: number, w: number): void;
}

export interface Separation {
  /** Free mode: separates the workers if nothing leads from one to another. Before they begin. */
  begin(): void;
  /** Ordered mode: the group of each pCPU. Before the first turn. */
  divide(groupOf: readonly number[]): void;
  /** Does something that may touch what is other workers': while they are separate, they are stopped meanwhile. */
  alone<T>(act: () => T): T;
  /** VCPU v is going to be allowed these pCPUs. */
  allow(v: number, cpus: readonly number[]): void;
  /** Domain d asks for something that leads to another: its records are going to be looked at. */
  connect(d: number, other: number): void;
  /** Something is going to lead from every domain to others. */
  connectAll(): void;
  /** Something leads from domain d to another now. */
  connected(d: number, other: number): void;
  /** From now on all workers, or groups, have to do with each other. While nobody else takes turns. */
  together(): void;
  /** Puts the pCPUs into groups anew: pools have changed, and perhaps a domain is not one worker's any more. While the others are stopped. */
  review(): void;
}

export function separation(context: HvContext, { stopped, moveTo }: Stopping): Separation {
  const { image, domain, vcpu, pcpu, evtchn, queues, shape, isOrdered, isSeparate } = context;
  const traces = traceBases(image);
  const { masks, word, entry, runq } = queues;
  const record = image.table(SEPARATION);

  /** The worker that takes the turns of domain d's VCPUs, as far as VCPU 0 tells. */
  const workerOf = (d: number): number => pcpu.worker(entry.processor(domain.firstVcpu(d)));

  function staysWithin(d: number): boolean {
    for (let k = 0; k < domain.maxVcpus(d); k++) {
      const allowed = queues.affinity(domain.firstVcpu(d) + k, HARD);
      for (let p = 0; p < shape.pcpus; p++) {
        if (pcpu.worker(p) !== workerOf(d) && masks.has(allowed, p) && masks.has(word(ONLINE_MASK), p)) return false;
      }
    }
    for (let port = 0; port < shape.evtchns; port++) {
      const r = d * shape.evtchns + port;
      if (evtchn.state(r) === EVTCHNSTAT_interdomain && workerOf(evtchn.remote(r)) !== workerOf(d)) return false;
    }
    return true;
  }

  /** Nor does a run queue lie on both sides. */
  function everybodyStays(): boolean {
    for (let p = 0; p < shape.pcpus; p++) if (pcpu.worker(queues.queueOf(p)) !== pcpu.worker(p)) return false;
    for (let d = 0; d < shape.domains; d++) if (domain.maxVcpus(d) > 0 && !staysWithin(d)) return false;
    return true;
  }

  /** Puts every pCPU into the part of its pool. */
  function regroup(partOf: (p: number) => number): void {
    for (let p = 0; p < shape.pcpus; p++) {
      const pool = runq.pool(p);
      queues.setGroup(p, pool === NONE ? noPool(shape) : pool, partOf(p));
    }
  }

  function together(): void {
    if (isOrdered) {
      const groups = new Set(Array.from({ length: shape.pcpus }, (_, p) => groupOf(p)));
      if (groups.size > 1) join([...groups]);
      return;
    }
    if (!isSeparate()) return;
    regroup(() => WHOLE);
    record.setIsSeparate(0, 0);
  }

  /** Ordered mode: the group of pCPU p. */
  const groupOf = (p: number): number => queues.groupOf(p) - 1;
  const groupOfDomain = (d: number): number => groupOf(entry.processor(domain.firstVcpu(d)));

  function setGroups(of: (p: number) => number): void {
    regroup((p) => 1 + of(p));
    for (let p = 0; p < shape.pcpus; p++) setTraceGroup(image.i32, traces, p, groupOf(p));
  }

  /** These groups become one, the first of them, and all its turns one worker's. */
  function join(groups: readonly number[]): void {
    const first = Math.min(...groups);
    const groupsBefore = Array.from({ length: shape.pcpus }, (_, p) => groupOf(p));
    const worker = pcpu.worker(groupsBefore.indexOf(first));
    setGroups((p) => (groups.includes(groupsBefore[p]!) ? first : groupsBefore[p]!));
    if (shape.runners === 1) return;
    for (let p = 0; p < shape.pcpus; p++) if (groupOf(p) === first) moveTo(p, worker);
  }

  return {
    divide(groups) {
      if (shape.groups > 1) setGroups((p) => groups[p]!);
    },
    begin() {
      if (!everybodyStays()) return;
      regroup((p) => 1 + pcpu.worker(p));
      record.setIsSeparate(0, 1);
    },
    alone(act) {
      return isSeparate() ? stopped(act) : act();
    },
    allow(v, cpus) {
      if (isOrdered) {
        const groups = new Set([groupOfDomain(vcpu.domain(v)), ...cpus.map(groupOf)]);
        if (groups.size > 1) join([...groups]);
        return;
      }
      const owner = workerOf(vcpu.domain(v));
      if (isSeparate() && cpus.some((p) => pcpu.worker(p) !== owner)) stopped(together);
    },
    together,
    connectAll() {
      if (isSeparate()) stopped(together);
    },
    review() {
      if (isOrdered) {
        together();
        regroup(queues.groupOf);
        return;
      }
      const isApart = isSeparate() && everybodyStays();
      regroup(isApart ? (p) => 1 + pcpu.worker(p) : () => WHOLE);
      record.setIsSeparate(0, isApart ? 1 : 0);
    },
    connect(d, other) {
      if (isOrdered) {
        // In the middle of a turn, while the other group may be anywhere in time: whoever may do this has to be of one group with all
        // that it may reach from the start (machine/groups.ts).
        if (shape.runners > 1 && groupOfDomain(d) !== groupOfDomain(other))
          throw new Error(`domain ${d} binds a port of domain ${other}, whose turns may be taken at the same time`);
        return;
      }
      if (isSeparate() && workerOf(d) !== workerOf(other)) stopped(together);
    },
    connected(d, other) {
      const groups = [groupOfDomain(d), groupOfDomain(other)];
      if (isOrdered && groups[0] !== groups[1]) join(groups);
    },
  };
}
