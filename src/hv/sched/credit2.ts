/**
 * The credit2 scheduler (Xen's default since 4.12): pCPUs that share a cache share a run queue. Who runs pays credit for it, faster
 * the less it weighs; who waits with most credit goes first. When nobody of a queue has any left an epoch is over: all get 10 ms
 * more, and the queue looks whether another has more or less to do.
 *
 * A pCPU runs its VCPU until it is level with the one who waits with most credit, at least 500 us and the ratelimit, at most
 * 10 ms; there is no tick. A VCPU that wakes has what credit it saved, at most 10.5 ms: so who sleeps much goes before who computes.
 *
 * Who is switched out goes back into the queue when its state is saved (`contextSaved`), as another pCPU may take it from there.
 *
 * Locking: one lock for each run queue; it guards the queue, its members' records and its pCPUs' current VCPUs. Budgets of capped
 * domains have locks of their own, taken under it. Two queues' locks are held only while balancing, the second one tried.
 */
import { hardMask, softMask } from '../../balancer/records.js';
import { NONE } from '../../shared/list.js';
import type { HvContext } from '../context.js';
import { PERFC } from '../perfc.js';
import { runqueueLeads } from './credit2-arrangement.js';
import { credit2Balance } from './credit2-balance.js';
import { credit2Budget } from './credit2-budget.js';
import { credit2Queues } from './credit2-queues.js';
import {
  CARRYOVER_MAX,
  CREDIT_IDLE,
  CREDIT_INIT,
  CREDIT_MIN,
  credit2Regions,
  FREE,
  LOAD_ONE,
  MAX_TIMER_NS,
  MIGRATE_COMPENSATION,
  MIGRATE_RESIST,
  MIN_TIMER_NS,
  TICKLED,
} from './credit2-records.js';
import { credit2Tickle } from './credit2-tickle.js';
import type { GenericScheduler, PoolView, SchedulerOps, SchedulerPolicy } from './interface.js';

/** More than a reset leaves anybody by what being taken over is worth. */
const MOST_CREDIT = CREDIT_INIT + CARRYOVER_MAX + MIGRATE_COMPENSATION;

/** Its run queues are those of the whole host: there is one instance of it. */
function create(hv: HvContext, generic: GenericScheduler, { index: instance }: PoolView): SchedulerOps {
  const { vcpu, pcpu, domain, queues, locks, perfc, params, shape, machine, me, now, isIdle, idleOf } = hv;
  const { entry, list, masks, word } = queues;
  const own = credit2Queues(hv);
  const { cv, cq, cg, members } = own;
  const P = PERFC;
  const self = (): number => machine.turnOf(me);

  /** Debits whoever runs on pCPU p, exactly, up to now. */
  function burn(p: number): void {
    const v = pcpu.current(p);
    if (isIdle(v)) return;
    const delta = now() - cv.startTime(v);
    if (delta <= 0) return;
    // At most CREDIT_MIN is owed; what is less than a nanosecond of credit is carried over.
    const owed = delta * cq.maxWeight(queues.queueOf(p)) + cv.residual(v);
    const weight = cv.weight(v);
    const credits = Math.floor(owed / weight);
    cv.setResidual(v, owed - credits * weight);
    cv.setCredit(v, Math.max(CREDIT_MIN, cv.credit(v) - credits));
    if (cv.budget(v) !== Infinity) cv.addBudget(v, -delta);
    cv.setStartTime(v, now());
  }

  const budget = credit2Budget(hv, generic, own, instance);
  const tickle = credit2Tickle(hv, generic, own, burn, instance);
  const { pick, balance } = credit2Balance(hv, generic, own, tickle);

  /** Whether current is outside its soft affinity and could have a free pCPU within. */
  function hasBetterPlace(p: number, q: number, current: number): boolean {
    if (entry.hasSoftAffinity(current) === 0) return false;
    const soft = word(softMask(current));
    return !masks.has(soft, p) && masks.intersects(soft, own.mask(q, FREE));
  }

  /** Who is to run on pCPU p: the current VCPU, somebody still in the queue, or the idle one. */
  function candidate(p: number, q: number, current: number): number {
    let next = current;
    let yields = 0;
    if (!isIdle(current)) {
      yields = cv.yields(current);
      cv.setYields(current, 0);
      const runnable = generic.isRunnable(current);
      if (yields === 0 && runnable && now() - vcpu.stateEntryTime(current) < cg.ratelimitNs(instance)) {
        perfc.inc(p, P.delay_ms);
        return current;
      }
      if (!runnable || hasBetterPlace(p, q, current)) next = idleOf(p);
    }
    const credit = cv.credit(next);
    let after = NONE;
    for (let v = list.first(q); v !== NONE; v = after) {
      after = list.next(v);
      if (!masks.has(word(hardMask(v)), p)) continue;
      // It was told of to another pCPU, which is on its way.
      const told = cv.tickledOn(v) - 1;
      if (told >= 0 && told !== p && masks.has(own.mask(q, TICKLED), told)) {
        perfc.inc(p, P.deferred_to_tickled_cpu);
        continue;
      }
      if (entry.processor(v) !== p && credit + MIGRATE_RESIST > cv.credit(v)) {
        perfc.inc(p, P.migrate_resisted);
        continue;
      }
      if (yields === 0 && cv.credit(v) <= credit) break;
      // Who finds no budget is parked, and the one behind him may do.
      if (budget.grab(v)) return v;
    }
    return next;
  }

  /** An epoch is over: everybody gets new credit, and `next`, which has most, has some then. */
  function reset(q: number, next: number): void {
    perfc.inc(self(), P.credit_reset);
    const more = cv.credit(next) === CREDIT_MIN ? 2 * CREDIT_INIT : CREDIT_INIT;
    for (let v = members.first(q); v !== NONE; v = members.next(v)) {
      const p = entry.processor(v);
      if (pcpu.current(p) === v) {
        burn(p);
        if (cv.budget(v) <= 0) tickle.cpu(p);
      }
      cv.setCredit(v, Math.min(cv.credit(v) + more, CREDIT_INIT + CARRYOVER_MAX));
    }
  }

  /** For how long `next` may run on p, ns. */
  function runtime(q: number, current: number, next: number): number {
    const ratelimitNs = cg.ratelimitNs(instance);
    let least = MIN_TIMER_NS;
    if (ratelimitNs > 0) {
      const left = next === current ? vcpu.stateEntryTime(next) + ratelimitNs - now() : ratelimitNs;
      if (left > least) least = left;
    }
    const waiter = list.first(q);
    let credit = cv.credit(next);
    if (waiter !== NONE && cv.credit(waiter) > 0) credit -= cv.credit(waiter);
    let ns = credit > 0 ? Math.floor((credit * cv.weight(next)) / cq.maxWeight(q)) : 0;
    if (cv.budget(next) < ns) ns = cv.budget(next);
    return ns < least ? least : ns > MAX_TIMER_NS ? MAX_TIMER_NS : ns;
  }

  function doSchedule(p: number): void {
    const q = queues.queueOf(p);
    const current = pcpu.current(p);
    perfc.inc(p, P.schedule);
    masks.clear(own.mask(q, TICKLED), p);
    burn(p);
    if (cv.budget(current) <= 0 && generic.isRunnable(current)) budget.grab(current);
    const next = candidate(p, q, current);
    if (next !== current && !isIdle(current) && generic.isRunnable(current)) cv.setDelayedAdd(current, 1);
    pcpu.setNext(p, next);
    if (isIdle(next)) {
      own.setFree(p);
      // So that the average goes down while nothing happens.
      own.updateLoad(q);
      pcpu.setNextSlice(p, Infinity);
      return;
    }
    own.clearFree(p);
    if (next !== current) {
      list.remove(q, next);
      cv.setIsScheduled(next, 1);
      cv.setStartTime(next, now());
    }
    cv.setTickledOn(next, 0);
    // Xen leaves them waiting, though others may be free, until one of those happens to look.
    for (let v = list.first(q); v !== NONE; v = list.next(v)) if (cv.tickledOn(v) === p + 1) tickle.again(v);
    const isTaken = entry.processor(next) !== p;
    entry.setProcessor(next, p);
    const waiter = list.first(q);
    if (cv.credit(next) <= 0 && (waiter === NONE || cv.credit(waiter) <= 0)) {
      reset(q, next);
      balance(p);
    }
    // Who is taken over again and again before it pays is not to gain by it without end.
    if (isTaken) cv.setCredit(next, Math.min(cv.credit(next) + MIGRATE_COMPENSATION, MOST_CREDIT));
    pcpu.setNextSlice(p, runtime(q, current, next));
  }

  /** Puts v, which can run, among those who wait, and finds somebody for it. Under the lock. */
  function enqueue(v: number): void {
    own.join(v);
    own.count(v);
    own.insert(v);
    tickle.for(v);
  }

  const isPinned = (v: number): 0 | 1 => (masks.count(word(hardMask(v))) === 1 ? 1 : 0);

  return {
    name: 'credit2',

    init() {
      const leads = runqueueLeads(params.topology, params.credit2.runqueue);
      for (let p = 0; p < shape.pcpus; p++) {
        cv.setCredit(idleOf(p), CREDIT_IDLE);
        cv.setBudget(idleOf(p), Infinity);
        if (leads[p] === p) own.setUp(p, p, leads.lastIndexOf(p) + 1);
        // Nobody looks at this mask; a queue has its own, under its lock.
        masks.clear(queues.idlers(p), p);
      }
      cg.setRatelimitNs(instance, params.ratelimitNs);
    },

    initPcpu() {},
    deinitPcpu() {},

    insert(v) {
      const d = vcpu.domain(v);
      budget.begin(d);
      cv.setCredit(v, CREDIT_INIT);
      cv.setWeight(v, domain.weight(d));
      // It is taken for a half.
      cv.setAvgload(v, LOAD_ONE / 2);
      cv.setQuota(v, budget.quotaOf(d));
      cv.setBudget(v, domain.cap(d) === 0 ? Infinity : 0);
      cv.setIsPinned(v, isPinned(v));
      entry.setProcessor(v, pick(v));
      own.join(v);
    },

    remove(v) {
      if (queues.isQueued(v)) list.remove(own.queueOf(v), v);
      own.leave(v);
    },

    sleep(v) {
      const p = entry.processor(v);
      perfc.inc(self(), P.vcpu_sleep);
      if (pcpu.current(p) === v) tickle.cpu(p);
      else if (queues.isQueued(v)) {
        list.remove(own.queueOf(v), v);
        own.uncount(v);
      } else cv.setDelayedAdd(v, 0);
    },

    wake(v) {
      if (pcpu.current(entry.processor(v)) === v) {
        perfc.inc(self(), P.vcpu_wake_running);
        return;
      }
      if (queues.isQueued(v)) {
        perfc.inc(self(), P.vcpu_wake_onrunq);
        return;
      }
      perfc.inc(self(), P.vcpu_wake_runnable);
      if (cv.isScheduled(v) !== 0) cv.setDelayedAdd(v, 1);
      else enqueue(v);
    },

    yield(v) {
      perfc.inc(self(), P.vcpu_yield);
      cv.setYields(v, 1);
    },

    doSchedule,
    pickCpu: pick,

    migrate(v, p) {
      if (queues.queueOf(p) !== own.queueOf(v)) own.leave(v);
      entry.setProcessor(v, p);
    },

    contextSaved(v) {
      const lock = generic.lock(v);
      cv.setIsScheduled(v, 0);
      const frees = budget.giveBack(v);
      const waits = cv.delayedAdd(v) !== 0 && generic.isRunnable(v);
      cv.setDelayedAdd(v, 0);
      if (waits) enqueue(v);
      else own.uncount(v);
      locks.release(lock, self());
      if (frees) budget.unpark(vcpu.domain(v));
    },

    adjust(d) {
      const isNewlyCapped = budget.change(d);
      for (let k = 0; k < domain.maxVcpus(d); k++) {
        const v = domain.firstVcpu(d) + k;
        const lock = generic.lock(v);
        const p = entry.processor(v);
        const runs = pcpu.current(p) === v;
        // What it ran until now is paid by the old weight, and not from a budget that it did not have.
        if (runs) burn(p);
        own.weightChanged(v, domain.weight(d));
        cv.setQuota(v, budget.quotaOf(d));
        if (domain.cap(d) === 0) cv.setBudget(v, Infinity);
        else if (isNewlyCapped) cv.setBudget(v, 0);
        else cv.setBudget(v, Math.min(cv.budget(v), cv.quota(v)));
        if (runs && isNewlyCapped) tickle.cpu(p);
        locks.release(lock, self());
      }
      budget.unpark(d);
    },

    settings: {
      tsliceNs: () => 0,
      ratelimitNs: () => cg.ratelimitNs(instance),
      migrationDelayNs: () => 0,
      set: (_tsliceNs, ratelimitNs) => cg.setRatelimitNs(instance, ratelimitNs),
    },

    adjustAffinity(v) {
      cv.setIsPinned(v, isPinned(v));
      // It may wait, and now be allowed where somebody is free.
      if (queues.isQueued(v) && masks.has(word(hardMask(v)), entry.processor(v))) tickle.for(v);
    },

    nextTick: () => Infinity,
    tick() {},
    nextAccounting: budget.nextReplenish,
    accounting: budget.replenish,

    dumpSettings() {
      const lines: string[] = [`credit2: ratelimit=${cg.ratelimitNs(instance) / 1000}us`];
      for (let q = 0; q < shape.pcpus; q = cq.end(q)) {
        const load = ((cq.avgload(q) / LOAD_ONE) * 100).toFixed(0);
        lines.push(
          `runqueue ${q}: pCPUs ${cq.start(q)}-${cq.end(q) - 1} max_weight=${cq.maxWeight(q)} aveload=${load}%`,
        );
      }
      return lines.join('; ');
    },
  };
}

export const credit2: SchedulerPolicy = {
  name: 'credit2',
  title: 'Credit2: fair shares by weight over run queues that pCPUs share, with caps',
  regions: credit2Regions,
  create,
};
