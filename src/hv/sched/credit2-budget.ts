/**
 * Caps of the credit2 scheduler: a capped domain has a budget for each period of 10 ms, of which its VCPUs take a quota when they
 * are to run, and give back what is left when they stop. Who finds no budget is parked until somebody gives some back or the
 * next period begins.
 *
 * Xen has a timer for each domain that never stops. Here budgets are looked at by the accounting pCPU, and only while some domain has
 * less than all of its own: what was missed meanwhile is made up for when it is next asked (`catchUp`), with the same result.
 *
 * Locking: a domain's budget lock, taken under run-queue locks; none of those is taken under it.
 */
import { NONE } from '../../shared/list.js';
import { TRACE } from '../../shared/trace-ring.js';
import { budgetLock, type HvContext } from '../context.js';
import { PERFC } from '../perfc.js';
import { VPF_parked } from '../records.js';
import type { Credit2Queues } from './credit2-queues.js';
import { CREDIT2_GLOBAL, MIN_TIMER_NS, REPLENISH_PERIOD_NS } from './credit2-records.js';
import type { GenericScheduler } from './interface.js';

export interface Credit2Budget {
  /** A domain's first VCPUs come: what its cap gives it. */
  begin(d: number): void;
  /** What a VCPU of domain d takes at a time, ns; Infinity without a cap. */
  quotaOf(d: number): number;
  hasCap(v: number): boolean;
  /** Whether v may run: it has budget left or got some. If not, it is parked. Under its run-queue lock. */
  grab(v: number): boolean;
  /** v stopped running: gives back what it has left. Under its run-queue lock; whether `unpark` is to follow when it is released. */
  giveBack(v: number): boolean;
  /** Lets the parked VCPUs of domain d go. No lock is held. */
  unpark(d: number): void;
  /** The cap of domain d was changed. No lock is held. @returns whether it had none before */
  change(d: number): boolean;
  nextReplenish(): number;
  replenish(): void;
}

export function credit2Budget(
  hv: HvContext,
  generic: GenericScheduler,
  own: Credit2Queues,
  instance: number,
): Credit2Budget {
  const { image, vcpu, domain, queues, locks, machine, machineWords, trace, perfc, shape, me, now } = hv;
  const { cv, cd, cg } = own;
  const armedColumn = image.column(CREDIT2_GLOBAL, 'isArmed');
  const ARMED = (armedColumn.base + (instance << armedColumn.shift)) | 0;
  const self = (): number => machine.turnOf(me);
  const P = PERFC;

  const budgetFor = (d: number): number => (REPLENISH_PERIOD_NS * domain.cap(d)) / 100;

  /** Gives domain d what it is due for all periods that have begun. Under its budget lock. */
  function catchUp(d: number): void {
    const missed = Math.floor((now() - cd.nextReplenish(d)) / REPLENISH_PERIOD_NS) + 1;
    if (missed <= 0) return;
    cd.addNextReplenish(d, missed * REPLENISH_PERIOD_NS);
    cd.setBudget(d, Math.min(cd.totBudget(d), cd.budget(d) + missed * cd.totBudget(d)));
  }

  /** Somebody has less than all its budget: the accounting pCPU is to look. It looks at once, and sees when the period ends. */
  function arm(): void {
    if (image.i32[ARMED] === 0 && machineWords.exchange(ARMED, 1) === 0) generic.keyChanged(0);
  }

  function park(v: number): void {
    perfc.inc(self(), P.vcpu_park);
    trace.record(TRACE.park, v, 1);
    if (queues.isQueued(v)) {
      queues.list.remove(own.queueOf(v), v);
      own.uncount(v);
    }
    cd.addParked(vcpu.domain(v), 1);
    generic.park(v);
  }

  function unpark(d: number): void {
    for (let k = 0; k < domain.maxVcpus(d); k++) {
      const v = domain.firstVcpu(d) + k;
      if ((vcpu.pauseFlags(v) & VPF_parked) === 0) continue;
      perfc.inc(self(), P.vcpu_unpark);
      trace.record(TRACE.park, v, 0);
      generic.unpause(v);
    }
  }

  /** Whether there is budget for VCPUs that are parked: then they are to be let go. Under the budget lock. */
  function frees(d: number): boolean {
    if (cd.parked(d) === 0 || cd.budget(d) <= 0) return false;
    cd.setParked(d, 0);
    return true;
  }

  return {
    hasCap: (v) => cv.budget(v) !== Infinity,
    // Of all that the domain is to have: there are none yet when the first of them comes.
    quotaOf: (d) =>
      domain.cap(d) === 0 ? Infinity : Math.max(Math.floor(budgetFor(d) / domain.vcpuLimit(d)), MIN_TIMER_NS),

    begin(d) {
      if (domain.cap(d) === 0 || cd.totBudget(d) > 0) return;
      cd.setTotBudget(d, budgetFor(d));
      cd.setBudget(d, budgetFor(d));
      cd.setNextReplenish(d, Math.max(0, now()) + REPLENISH_PERIOD_NS);
    },

    grab(v) {
      if (cv.budget(v) > 0) return true;
      const d = vcpu.domain(v);
      locks.acquire(budgetLock(d), self());
      catchUp(d);
      // What it ran over is the domain's debt.
      cd.addBudget(d, cv.budget(v));
      const got = Math.max(0, Math.min(cv.quota(v), cd.budget(d)));
      cv.setBudget(v, got);
      cd.addBudget(d, -got);
      if (got === 0) park(v);
      locks.release(budgetLock(d), self());
      arm();
      return got > 0;
    },

    giveBack(v) {
      if (cv.budget(v) === Infinity || cv.budget(v) <= 0) return false;
      const d = vcpu.domain(v);
      locks.acquire(budgetLock(d), self());
      cd.addBudget(d, cv.budget(v));
      if (cd.budget(d) > cd.totBudget(d)) cd.setBudget(d, cd.totBudget(d));
      cv.setBudget(v, 0);
      const isLeft = frees(d);
      locks.release(budgetLock(d), self());
      return isLeft;
    },

    unpark,

    change(d) {
      const had = cd.totBudget(d) > 0;
      const wants = budgetFor(d);
      locks.acquire(budgetLock(d), self());
      cd.setTotBudget(d, wants);
      if (!had) {
        cd.setBudget(d, wants);
        cd.setNextReplenish(d, now() + REPLENISH_PERIOD_NS);
      } else cd.setBudget(d, Math.min(cd.budget(d), wants));
      cd.setParked(d, 0);
      locks.release(budgetLock(d), self());
      return !had && wants > 0;
    },

    nextReplenish: () => (image.i32[ARMED] === 0 ? Infinity : cg.nextReplenish(instance)),

    replenish() {
      perfc.inc(self(), P.acct_run);
      // First taken back: who arms it from now on is looked at the next time.
      machineWords.exchange(ARMED, 0);
      let next = Infinity;
      for (let d = 0; d < shape.domains; d++) {
        if (cd.totBudget(d) === 0) continue;
        locks.acquire(budgetLock(d), self());
        catchUp(d);
        if (cd.budget(d) < cd.totBudget(d)) next = Math.min(next, cd.nextReplenish(d));
        const isLeft = frees(d);
        locks.release(budgetLock(d), self());
        if (isLeft) unpark(d);
      }
      trace.record(TRACE.accounting, instance, next === Infinity ? NONE : 0);
      cg.setNextReplenish(instance, next === Infinity ? now() : next);
      // Armed by somebody meanwhile: his period may end earlier.
      if (next < Infinity && machineWords.exchange(ARMED, 1) !== 0) cg.setNextReplenish(instance, now());
    },
  };
}
