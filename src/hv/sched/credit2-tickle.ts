/**
 * Tickling under credit2: which pCPU of the queue is to look at it now that a VCPU was put in. A free core first, then a free
 * thread, each within soft and then within hard affinity, its own pCPU before others; then the pCPU that runs who has least
 * credit. All under the queue's lock.
 */
import { type BalanceStep, HARD, SOFT } from '../../balancer/run-queues.js';
import { NONE } from '../../shared/list.js';
import { TRACE } from '../../shared/trace-ring.js';
import type { HvContext } from '../context.js';
import { PERFC } from '../perfc.js';
import type { Credit2Queues } from './credit2-queues.js';
import { CREDIT_INIT, FREE, MIGRATE_RESIST, RATELIMIT_TOLERANCE_NS, SMT_FREE, TICKLED } from './credit2-records.js';
import type { GenericScheduler } from './interface.js';

export interface Credit2Tickle {
  /** Makes pCPU p look at its queue. */
  cpu(p: number): void;
  /** Finds somebody for v, which was just queued. */
  for(v: number): void;
  /** The pCPU that was told of v has taken another: one that is free is told, if there is one. */
  again(v: number): void;
}

/** @param burn debits the VCPU that runs on pCPU p */
export function credit2Tickle(
  hv: HvContext,
  generic: GenericScheduler,
  own: Credit2Queues,
  burn: (p: number) => void,
  instance: number,
): Credit2Tickle {
  const { vcpu, pcpu, queues, trace, perfc, machine, params, me, now, isIdle } = hv;
  const { entry, masks } = queues;
  const { cv, cq, cg, mask } = own;
  const hasSmt = params.topology.threads > 1;
  const P = PERFC;

  /** pCPU p if it is in both masks, else the next one round about; NONE. */
  const testOrCycle = (p: number, a: number, b: number): number =>
    masks.has(a, p) && masks.has(b, p) ? p : masks.cycleAnd(p, a, b);

  /** How much better v would do on the busy pCPU p than who runs there; not above 0: it must not push him aside. */
  function score(v: number, p: number): number {
    const current = pcpu.current(p);
    const ratelimitNs = cg.ratelimitNs(instance);
    const ran = now() - vcpu.stateEntryTime(current);
    if (ratelimitNs > RATELIMIT_TOLERANCE_NS && ran <= ratelimitNs - RATELIMIT_TOLERANCE_NS) return -1;
    burn(p);
    let points = cv.credit(v) - cv.credit(current);
    if (entry.processor(v) !== p) points -= MIGRATE_RESIST;
    if (points <= 0) return points;
    if (masks.has(queues.affinity(v, SOFT), p)) points += CREDIT_INIT;
    if (!masks.has(queues.affinity(current, SOFT), p)) points += CREDIT_INIT;
    return points;
  }

  function freeFor(v: number, q: number): number {
    const p = entry.processor(v);
    for (let step: BalanceStep = SOFT; step <= HARD; step++) {
      if (step === SOFT && entry.hasSoftAffinity(v) === 0) continue;
      const allowed = queues.affinity(v, step);
      if (hasSmt) {
        const core = testOrCycle(p, mask(q, SMT_FREE), allowed);
        if (core !== NONE) return core;
      }
      const free = testOrCycle(p, mask(q, FREE), allowed);
      if (free !== NONE) return free;
    }
    return NONE;
  }

  function busyFor(v: number, q: number): number {
    const own = entry.processor(v);
    const allowed = queues.affinity(v, HARD);
    const isBusy = (p: number): boolean =>
      masks.has(allowed, p) && !isIdle(pcpu.current(p)) && !masks.has(mask(q, TICKLED), p);
    let best = NONE;
    let most = 0;
    if (isBusy(own)) {
      most = Math.max(0, score(v, own));
      if (most > 0) {
        best = own;
        if (masks.has(queues.affinity(v, SOFT), own)) return own;
      }
    }
    for (let p = cq.start(q); p < cq.end(q); p++) {
      if (p === own || !isBusy(p)) continue;
      const points = score(v, p);
      if (points > most) {
        most = points;
        best = p;
      }
    }
    return best;
  }

  function cpu(p: number): void {
    own.setTickled(p);
    generic.raiseSchedule(p);
  }

  function tell(target: number, v: number): void {
    trace.record(TRACE.tickle, target, v);
    cpu(target);
    cv.setTickledOn(v, target + 1);
  }

  return {
    cpu,
    again(v) {
      const target = freeFor(v, own.queueOf(v));
      if (target === NONE) cv.setTickledOn(v, 0);
      else tell(target, v);
    },
    for(v) {
      const q = own.queueOf(v);
      const self = machine.turnOf(me);
      const p = entry.processor(v);
      let target = cv.isPinned(v) !== 0 && masks.has(mask(q, FREE), p) ? p : freeFor(v, q);
      if (target !== NONE) perfc.inc(self, P.tickled_idle_cpu);
      else {
        target = busyFor(v, q);
        perfc.inc(self, target === NONE ? P.tickled_no_cpu : P.tickled_busy_cpu);
        if (target === NONE) return;
      }
      tell(target, v);
    },
  };
}
