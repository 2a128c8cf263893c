/**
 * Free mode: workers that have nothing to do with each other. Where the VCPUs of every domain may only use pCPUs of one worker,
 * and no event channel leads from one worker's domains to another's, run queues, runstates, events and a guest kernel's data are
 * touched by one thread only: their locks are taken by plain stores and their words changed by plain accesses, which makes
 * a turn a third cheaper. What concerns several workers all the same, accounting and commands from outside, stops the others
 * for a moment (`alone`). Once something leads from one worker to another, the workers are together, for good.
 *
 * It is the idea of a biased lock, for the whole machine at once: the bias is revoked while all others stand still.
 */
import { groupOf, noGroup, ONLINE_MASK, WHOLE } from '../balancer/records.js';
import { HARD } from '../balancer/run-queues.js';
import { NONE } from '../shared/list.js';
import { EVTCHNSTAT_interdomain } from '../shared/public/event-channel.js';
import type { HvContext } from './context.js';
import { SEPARATION } from './records.js';

export interface Separation {
  /** Separates the workers if nothing leads from one to another. Before they begin. */
  begin(): void;
  /** Does something that may touch what is other workers': while they are separate, they are stopped meanwhile. */
  alone<T>(act: () => T): T;
  /** VCPU v is going to be allowed these pCPUs. */
  allow(v: number, cpus: readonly number[]): void;
  /** Something is going to lead from domain d to another. */
  connect(d: number, other: number): void;
  /** From now on the workers have to do with each other. While the others are stopped. */
  together(): void;
  /** Puts the pCPUs into groups anew: pools have changed, and perhaps a domain is not one worker's any more. While the others are stopped. */
  review(): void;
}

/** @param stopped does something while no other worker takes a turn */
export function separation(context: HvContext, stopped: <T>(act: () => T) => T): Separation {
  const { image, domain, vcpu, pcpu, evtchn, queues, shape, isSeparate } = context;
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

  const everybodyStays = (): boolean => {
    for (let d = 0; d < shape.domains; d++) if (domain.maxVcpus(d) > 0 && !staysWithin(d)) return false;
    return true;
  };

  /** Puts every pCPU into the group of its pool, or of its worker's part of it. */
  function regroup(isTogether: boolean): void {
    for (let p = 0; p < shape.pcpus; p++) {
      const pool = runq.pool(p);
      queues.setGroup(
        p,
        pool === NONE ? noGroup(shape) : groupOf(shape, pool, isTogether ? WHOLE : 1 + pcpu.worker(p)),
      );
    }
  }

  function together(): void {
    if (!isSeparate()) return;
    regroup(true);
    record.setIsSeparate(0, 0);
  }

  return {
    begin() {
      if (!everybodyStays()) return;
      regroup(false);
      record.setIsSeparate(0, 1);
    },
    alone(act) {
      return isSeparate() ? stopped(act) : act();
    },
    allow(v, cpus) {
      const owner = workerOf(vcpu.domain(v));
      if (isSeparate() && cpus.some((p) => pcpu.worker(p) !== owner)) stopped(together);
    },
    together,
    review() {
      const isApart = isSeparate() && everybodyStays();
      regroup(!isApart);
      record.setIsSeparate(0, isApart ? 1 : 0);
    },
    connect(d, other) {
      if (isSeparate() && workerOf(d) !== workerOf(other)) stopped(together);
    },
  };
}
