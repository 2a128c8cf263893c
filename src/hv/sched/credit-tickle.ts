/**
 * Tickling: which pCPUs should look at their run queues now that a VCPU was put in one. Called with the lock of that queue held;
 * idlers are looked at without a lock, so one that is told may find that another was quicker.
 */
import { type BalanceStep, HARD, SOFT } from '../../balancer/run-queues.js';
import { NONE } from '../../shared/list.js';
import type { Table } from '../../shared/struct.js';
import { BY_SOFT, MOVES, NOTE, TICKLED, TRACE } from '../../shared/trace-kinds.js';
import type { HvContext } from '../context.js';
import { PERFC } from '../perfc.js';
import type { CREDIT_VCPU } from './credit-records.js';
import type { CreditRules } from './credit-rules.js';
import type { GenericScheduler } from './interface.js';

/** @returns tickle(v), for a VCPU that was just queued */
export function tickling(
  hv: HvContext,
  generic: GenericScheduler,
  cv: Table<typeof CREDIT_VCPU.fields>,
  tells: CreditRules['tickles'],
): (v: number) => void {
  const { pcpu, queues, trace, perfc, me, isIdle } = hv;
  const { entry, runq, masks } = queues;
  const P = PERFC;

  /** Tells one pCPU: its own, an idler, or that of a VCPU of lower priority. */
  function tickleOne(v: number): void {
    const p = entry.processor(v);
    const self = hv.machine.turnOf(me);
    const current = pcpu.current(p);
    const SCRATCH = queues.scratch(self);
    const IDLERS = queues.idlers(p);
    const pri = entry.pri(v);
    const noIdlers = masks.isEmpty(IDLERS);
    let target = NONE;
    let rule: number = TICKLED.nobody;
    if (cv.isPinned(v) !== 0 && masks.has(IDLERS, p)) {
      target = p;
      rule = TICKLED.pinned;
      perfc.inc(self, P.tickled_idle_cpu);
    } else if (isIdle(current) || (noIdlers && pri > entry.pri(current))) {
      target = p;
      rule = isIdle(current) ? TICKLED.ownIdle : TICKLED.ownBusy;
      perfc.inc(self, isIdle(current) ? P.tickled_idle_cpu : P.tickled_busy_cpu);
    } else if (!noIdlers) {
      for (let step: BalanceStep = SOFT; step <= HARD; step++) {
        if (step === SOFT && entry.hasSoftAffinity(v) === 0) continue;
        if (masks.and(SCRATCH, queues.affinity(v, step), IDLERS)) {
          // One idler, round robin from the one tickled last. What is told from another cpupool leaves no trace in either.
          const who = runq.pool(self) === runq.pool(p) ? self : p;
          target = masks.cycle(pcpu.lastTickled(who), SCRATCH);
          pcpu.setLastTickled(who, target);
          rule = step === SOFT ? TICKLED.idler | BY_SOFT : TICKLED.idler;
          perfc.inc(self, P.tickled_idle_cpu);
          break;
        }
        // A soft affinity without an idler is only a wish: the hard one may have one.
        if (step === HARD && pri > entry.pri(current)) {
          // v takes this pCPU; there are idlers elsewhere that its victim may be able to use.
          if (masks.intersects(queues.affinity(v, HARD), IDLERS)) {
            perfc.inc(self, P.migrate_kicked_away);
            generic.requestMigration(current, MOVES.kicked);
          }
          target = p;
          rule = TICKLED.pushed;
          perfc.inc(self, P.tickled_busy_cpu);
          break;
        }
      }
    }
    trace.note(NOTE.tickled, target, v, rule);
    if (target === NONE) {
      perfc.inc(self, P.tickled_no_cpu);
      return;
    }
    trace.record(TRACE.tickle, target, v);
    // Before the kick: the next waker must not count on the same idler.
    if (masks.has(IDLERS, target)) masks.clearAtomic(IDLERS, target);
    generic.raiseSchedule(target);
  }

  /**
   * Tells the VCPU's own pCPU if what runs there is of lower priority and, if that is not idle, every idler the VCPU may use: the
   * first to look takes it, or whom it pushed aside. They stay idlers until they have looked, so the next waker tells them again.
   */
  function tickleAll(v: number): void {
    const p = entry.processor(v);
    const self = hv.machine.turnOf(me);
    const current = pcpu.current(p);
    const isHigher = entry.pri(v) > entry.pri(current);
    let told = 0;
    if (isHigher) {
      perfc.inc(self, isIdle(current) ? P.tickled_idle_cpu : P.tickled_busy_cpu);
      trace.record(TRACE.tickle, p, v);
      trace.note(NOTE.tickled, p, v, isIdle(current) ? TICKLED.ownIdle : TICKLED.ownBusy);
      generic.raiseSchedule(p);
      told++;
    }
    const SCRATCH = queues.scratch(self);
    if (!isIdle(current) && masks.and(SCRATCH, queues.affinity(v, HARD), queues.idlers(p))) {
      for (let idler = masks.cycle(p, SCRATCH); idler !== NONE; idler = masks.cycle(idler, SCRATCH)) {
        masks.clear(SCRATCH, idler);
        perfc.inc(self, P.tickled_idle_cpu);
        trace.record(TRACE.tickle, idler, v);
        trace.note(NOTE.tickled, idler, v, TICKLED.each);
        generic.raiseSchedule(idler);
        told++;
      }
    }
    if (told > 0) return;
    perfc.inc(self, P.tickled_no_cpu);
    trace.note(NOTE.tickled, NONE, v, TICKLED.nobody);
  }

  return tells === 'one-idler' ? tickleOne : tickleAll;
}
