/**
 * Between run queues: which one a VCPU begins in or is moved to, and what a queue whose epoch is over pushes to another or pulls
 * from it. A queue's averages are looked at without its lock where a pCPU is only picked: they are hints. Who balances holds its own
 * queue's lock and tries one other's, never waiting for it.
 */
import { hardMask, softMask } from '../../balancer/records.js';
import { NONE } from '../../shared/list.js';
import { TRACE } from '../../shared/trace-ring.js';
import type { HvContext } from '../context.js';
import { PERFC } from '../perfc.js';
import type { Credit2Queues } from './credit2-queues.js';
import { ACTIVE, LOAD_ONE } from './credit2-records.js';
import type { Credit2Tickle } from './credit2-tickle.js';
import type { GenericScheduler } from './interface.js';

export interface Credit2Balance {
  /** The pCPU that v should belong to: of the least loaded queue that its affinity allows, or of the one that balancing chose. */
  pick(v: number): number;
  /** Evens out the load between p's queue and the one whose load differs most from it. */
  balance(p: number): void;
}

export function credit2Balance(
  hv: HvContext,
  generic: GenericScheduler,
  own: Credit2Queues,
  tickle: Credit2Tickle,
): Credit2Balance {
  const { queues, locks, trace, perfc, params, pcpu, shape } = hv;
  const { entry, list, masks, word } = queues;
  const { cv, cq, members, mask } = own;
  const { balanceUnder, balanceOver } = params.credit2;
  const UNDER = LOAD_ONE * 2 ** balanceUnder;
  const OVER = LOAD_ONE * 2 ** balanceOver;
  const P = PERFC;

  const nextQueue = (q: number): number => cq.end(q);

  /** The next pCPU of queue q in turn that is in the mask. */
  function cycleIn(q: number, allowed: number): number {
    const p = masks.cycleAnd(cq.pickBias(q), mask(q, ACTIVE), allowed);
    cq.setPickBias(q, p);
    return p;
  }

  function pick(v: number): number {
    const hard = word(hardMask(v));
    const moveTo = cv.moveTo(v) - 1;
    cv.setMoveTo(v, 0);
    if (moveTo >= 0 && masks.intersects(hard, mask(moveTo, ACTIVE))) return cycleIn(moveTo, hard);
    const isSoft = entry.hasSoftAffinity(v) !== 0;
    const soft = word(softMask(v));
    let [least, leastSoft] = [Infinity, Infinity];
    let [best, bestSoft] = [NONE, NONE];
    for (let q = 0; q < shape.pcpus; q = nextQueue(q)) {
      if (!masks.intersects(hard, mask(q, ACTIVE))) continue;
      // Its own part is taken off its queue's, to be fair to the others.
      const load = cv.queue(v) === q + 1 ? Math.max(0, cq.bAvgload(q) - cv.avgload(v)) : cq.bAvgload(q);
      if (isSoft && load < leastSoft && masks.intersects(soft, mask(q, ACTIVE))) {
        leastSoft = load;
        bestSoft = q;
      }
      if (load < least) {
        least = load;
        best = q;
      }
    }
    if (bestSoft !== NONE) return cycleIn(bestSoft, soft);
    return best === NONE ? entry.processor(v) : cycleIn(best, hard);
  }

  const mayMove = (v: number, q: number): boolean =>
    cv.moveTo(v) === 0 && masks.intersects(word(hardMask(v)), mask(q, ACTIVE));

  /** Moves v to queue `to`. Both locks are held. */
  function move(p: number, v: number, to: number): void {
    if (cv.isScheduled(v) !== 0) {
      // It runs: it goes when its state is saved.
      perfc.inc(p, P.migrate_running);
      cv.setMoveTo(v, to + 1);
      generic.requestMigration(v);
      tickle.cpu(entry.processor(v));
      return;
    }
    const isQueued = queues.isQueued(v);
    if (isQueued) list.remove(own.queueOf(v), v);
    own.leave(v);
    entry.setProcessor(v, cycleIn(to, word(hardMask(v))));
    trace.record(TRACE.migrate, v, entry.processor(v));
    own.join(v);
    if (!isQueued) return;
    perfc.inc(p, P.migrate_queued);
    own.count(v);
    own.insert(v);
    tickle.for(v);
  }

  /** The queue whose load differs most from q's; NONE when it does not differ enough. */
  function partner(p: number, q: number): number {
    let most = 0;
    let found = NONE;
    for (let o = 0; o < shape.pcpus; o = nextQueue(o)) {
      // Queues of another group are another worker's alone, and nobody there may come here.
      if (o === q || queues.idlers(o) !== queues.idlers(q)) continue;
      perfc.inc(p, P.steal_trylock);
      if (!locks.tryAcquire(hv.lockOf(o), p)) {
        perfc.inc(p, P.steal_trylock_failed);
        continue;
      }
      own.updateLoad(o);
      const delta = Math.abs(cq.bAvgload(q) - cq.bAvgload(o));
      locks.release(hv.lockOf(o), p);
      if (delta > most) {
        most = delta;
        found = o;
      }
    }
    if (found === NONE) return NONE;
    const cpus = Math.max(cq.end(q) - cq.start(q), cq.end(found) - cq.start(found));
    const isUnder = Math.max(cq.bAvgload(q), cq.bAvgload(found)) < cpus * LOAD_ONE;
    return most < (isUnder ? UNDER : OVER) ? NONE : found;
  }

  /** Finds who to push to queue o and who to pull from it, NONE for nobody, so that loads differ least, and moves them. */
  function exchange(p: number, q: number, o: number): void {
    for (let v = members.first(q); v !== NONE; v = members.next(v)) own.updateVcpuLoad(v);
    for (let v = members.first(o); v !== NONE; v = members.next(v)) own.updateVcpuLoad(v);
    const difference = cq.bAvgload(q) - cq.bAvgload(o);
    let least = Math.abs(difference);
    let [push, pull] = [NONE, NONE];
    const consider = (out: number, into: number): void => {
      const moved = (out === NONE ? 0 : cv.avgload(out)) - (into === NONE ? 0 : cv.avgload(into));
      const left = Math.abs(difference - 2 * moved);
      if (left >= least) return;
      least = left;
      push = out;
      pull = into;
    };
    for (let v = members.first(q); v !== NONE; v = members.next(v)) {
      if (!mayMove(v, o)) continue;
      for (let w = members.first(o); w !== NONE; w = members.next(w)) if (mayMove(w, q)) consider(v, w);
      consider(v, NONE);
    }
    for (let w = members.first(o); w !== NONE; w = members.next(w)) if (mayMove(w, q)) consider(NONE, w);
    if (push !== NONE) move(p, push, o);
    if (pull !== NONE) {
      pcpu.addSteals(p, 1);
      move(p, pull, q);
    }
  }

  return {
    pick,
    balance(p) {
      const q = queues.queueOf(p);
      if (cq.start(q) === 0 && cq.end(q) === shape.pcpus) return;
      perfc.inc(p, P.load_balance_other);
      own.updateLoad(q);
      const o = partner(p, q);
      // Who took it meanwhile may balance himself.
      if (o === NONE || !locks.tryAcquire(hv.lockOf(o), p)) return;
      exchange(p, q, o);
      locks.release(hv.lockOf(o), p);
    },
  };
}
