/**
 * Who is promised what under SEDF, from the domains' records: time-driven VCPUs have their slice of their period; those that
 * run by weight share, on each pCPU, what the time-driven ones leave of 100 ms less a safety margin; all others live on extra
 * time. A weight beside extra time is the share of that. Under the pCPU's run-queue lock.
 */
import type { HvContext } from '../context.js';
import { NOBODY } from '../records.js';
import type { SedfQueues } from './sedf-queues.js';
import { MIN_SLICE, WEIGHT_PERIOD, WEIGHT_SAFETY } from './sedf-records.js';

/** Gives the VCPUs of pCPU p their parameters anew at time t, and puts those that are queued into their places. */
export type RefreshSedf = (p: number, t: number) => void;

export function sedfParameters(
  { domain, vcpu, queues, shape }: HvContext,
  { sv, enter, leave }: SedfQueues,
): RefreshSedf {
  const { entry } = queues;

  /** Whether it counts: what a domain that ended was promised is free. */
  const counts = (p: number, v: number): boolean =>
    vcpu.domain(v) !== NOBODY && entry.processor(v) === p && domain.isShutDown(vcpu.domain(v)) === 0;
  const isByWeight = (d: number): boolean => domain.sedfWeight(d) > 0 && domain.sedfExtra(d) === 0;

  function assign(v: number, period: number, slice: number, t: number): void {
    if (sv.period(v) !== period) {
      // What was in the old raster means nothing in the new one: the next period begins when the VCPU is next runnable.
      sv.setPeriod(v, period);
      sv.setDeadline(v, t);
      sv.setCputime(v, 0);
      sv.setPenalty(v, 0);
    }
    sv.setSlice(v, slice);
    if (sv.penalty(v) > slice) sv.setPenalty(v, slice);
  }

  return (p, t) => {
    let promised = 0;
    let weights = 0;
    for (let v = 0; v < shape.vcpus; v++) {
      if (!counts(p, v)) continue;
      const d = vcpu.domain(v);
      if (isByWeight(d)) weights += domain.sedfWeight(d);
      else promised += (WEIGHT_PERIOD * domain.sedfSlice(d)) / domain.sedfPeriod(d);
    }
    const shared = WEIGHT_PERIOD - WEIGHT_SAFETY - promised;
    for (let v = 0; v < shape.vcpus; v++) {
      if (!counts(p, v)) continue;
      const d = vcpu.domain(v);
      const weight = domain.sedfWeight(d);
      const extra = domain.sedfExtra(d);
      leave(p, v);
      sv.setIsExtra(v, extra);
      sv.setExtraWeight(v, weight === 0 && domain.sedfSlice(d) === 0 ? 1 : weight);
      if (isByWeight(d)) assign(v, WEIGHT_PERIOD, Math.max(MIN_SLICE, Math.floor((weight * shared) / weights)), t);
      else assign(v, domain.sedfPeriod(d), domain.sedfSlice(d), t);
      if (queues.isQueued(v)) enter(p, v, t);
    }
  };
}
