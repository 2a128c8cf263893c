/**
 * Timers of VCPUs (S16–S18): the single-shot timer (set_timer_op and VCPUOP_set_singleshot_timer share it, as in Xen), the
 * poll timer and the periodic ticker. The first two sit in the queue of the pCPU that armed them and fire there, even if
 * the VCPU has moved since; the ticker only exists while its VCPU runs.
 */
import { type DeadlineHeaps, deadlineHeaps } from '../shared/deadline-heap.js';
import { VIRQ_TIMER } from '../shared/public/xen.js';
import { TRACE } from '../shared/trace-ring.js';
import { type HvContext, timerLock } from './context.js';
import { PCPU, TIMER } from './records.js';
import type { Smp } from './smp.js';
import type { TimeKeeping } from './time.js';
import type { TimeCheck } from './time-check.js';

/** Period of the ticker a VCPU starts with, ns (S16). */
export const TICKER_NS = 10e6;

/**
 * What an event timer takes at least, ns: setting it, its interrupt. A guest that keeps asking for the past is told at once
 * each time and must not stop simulation time with it.
 */
const MIN_DELAY_NS = 1000;

/** A single-shot timer that is lost on purpose is one due within this, ns. */
const SHORT_NS = 100e3;

export interface Timers {
  /** @param deadlineNs system time; what has passed fires at once */
  setSingleshot(v: number, deadlineNs: number): void;
  stopSingleshot(v: number): void;
  /** @param deadlineNs system time */
  setPoll(v: number, deadlineNs: number): void;
  stopPoll(v: number): void;
  /** Fires what is due at `now` on pCPU p, by (deadline, VCPU). */
  runDue(p: number): void;
  /** The periodic ticker of the VCPU running on p. */
  periodicDue(p: number): void;
  /** Owed ticks and the next deadline, when v is switched in on p. */
  startPeriodic(v: number, p: number): void;
}

export interface TimerActions {
  sendVirq(v: number, virq: number): void;
  pollTimedOut(v: number): void;
}

export function timers(
  hv: HvContext,
  smp: Smp,
  time: TimeKeeping,
  check: TimeCheck | undefined,
  actions: TimerActions,
  keyChanged: (p: number) => void,
): Timers {
  const { image, vcpu, pcpu, machine, locks, trace, window, me, now, faulty } = hv;
  const timer = image.table(TIMER);
  const queues = image.region('timer-queues');
  const heaps: DeadlineHeaps = deadlineHeaps(image.i32, image.f64, image.columns(TIMER, 'deadline', 'position'), {
    size: image.column(PCPU, 'timers'),
    slots: { base: queues.base >> 2, stride: queues.size >> 2 },
  });

  /** The run loop looks at this each turn; kept in the pCPU's record, it costs a load instead of a walk to the heap. */
  function noteEarliest(p: number): void {
    pcpu.setTimerAt(p, heaps.earliest(p));
  }

  /** Takes the lock of the queue a timer belongs to. While it was waited for, the VCPU may have taken the timer along. */
  function lockQueueOf(t: number, self: number): number {
    for (;;) {
      const q = timer.queue(t);
      locks.acquire(timerLock(q), self);
      if (timer.queue(t) === q) return q;
      locks.release(timerLock(q), self);
    }
  }

  function set(t: number, deadlineNs: number): void {
    const p = smp.self();
    const q = lockQueueOf(t, p);
    if (q !== p) {
      heaps.disarm(q, t);
      noteEarliest(q);
      // Under the lock of the queue it leaves: who waited for that lock looks again.
      timer.setQueue(t, p);
      locks.release(timerLock(q), p);
      if (smp.isMine(q)) keyChanged(q);
      locks.acquire(timerLock(p), p);
    }
    const asked = check === undefined ? deadlineNs : Math.max(deadlineNs, time.systemTime(p));
    timer.setAsked(t, asked);
    timer.setScale(t, time.calibrations(p));
    if ((t & 1) === 0) check?.timerSet(t >> 1, asked);
    heaps.arm(p, t, Math.max(time.timerFor(p, deadlineNs), now() + MIN_DELAY_NS));
    noteEarliest(p);
    locks.release(timerLock(p), p);
  }

  function stop(t: number): void {
    const self = smp.self();
    const q = lockQueueOf(t, self);
    if ((t & 1) === 0) check?.timerSet(t >> 1, Infinity);
    heaps.disarm(q, t);
    noteEarliest(q);
    locks.release(timerLock(q), self);
    // Its pCPU's key may now be too early; it is recomputed, so that no turn is spent on nothing. Another worker's is left: it
    // finds nothing due, which costs a turn.
    if (q !== self && smp.isMine(q)) keyChanged(q);
  }

  /** Takes the first due timer out of pCPU p's queue; -1 when none is due. */
  function takeDue(p: number): number {
    const t = now();
    locks.acquire(timerLock(p), p);
    let taken = -1;
    while (taken < 0 && heaps.earliest(p) <= t) {
      const due = heaps.top(p);
      // Set by the scale of then, it may come early by the clock of now; it is not served before its time.
      if (timer.scale(due) !== time.calibrations(p) && time.systemTime(p) < timer.asked(due)) {
        heaps.arm(p, due, Math.max(t + 1, time.timerFor(p, timer.asked(due))));
        continue;
      }
      // Before it is out of the queue: who finds it out must find that it fired.
      check?.timerFired(due >> 1, p, (due & 1) === 0, timer.asked(due));
      heaps.disarm(p, due);
      taken = due;
    }
    noteEarliest(p);
    locks.release(timerLock(p), p);
    return taken;
  }

  return {
    setSingleshot(v, deadlineNs) {
      const p = smp.self();
      // On purpose: -ETIME instead of an event at once.
      if (faulty('lost-single-shot', p) && deadlineNs <= time.systemTime(p) + SHORT_NS) {
        check?.timerSet(v, Math.max(deadlineNs, time.systemTime(p)));
        return;
      }
      set(2 * v, deadlineNs);
    },
    stopSingleshot: (v) => stop(2 * v),
    setPoll: (v, deadlineNs) => set(2 * v + 1, deadlineNs),
    stopPoll: (v) => stop(2 * v + 1),

    runDue(p) {
      // The lock is not held while a timer does its work: that wakes VCPUs, and stops other timers.
      for (let due = takeDue(p); due >= 0; due = takeDue(p)) {
        const v = due >> 1;
        machine.addEvents(me, 1);
        trace.record(TRACE.timer, v, due & 1);
        window();
        if ((due & 1) === 0) actions.sendVirq(v, VIRQ_TIMER);
        else actions.pollTimedOut(v);
        if (pcpu.timerAt(p) > now()) return;
      }
    },

    periodicDue(p) {
      const v = pcpu.current(p);
      machine.addEvents(me, 1);
      trace.record(TRACE.timer, v, 2);
      vcpu.setPeriodicLastEvent(v, now());
      check?.ticked(v, p);
      // On purpose: the next one counted from the last deadline, not from now.
      const from = faulty('past-periodic', p) ? pcpu.periodicAt(p) : now();
      pcpu.setPeriodicAt(p, from + vcpu.periodicPeriod(v));
      actions.sendVirq(v, VIRQ_TIMER);
    },

    startPeriodic(v, p) {
      const period = vcpu.periodicPeriod(v);
      if (period === 0) return;
      const t = now();
      let next = vcpu.periodicLastEvent(v) + period;
      if (next <= t && !faulty('past-periodic', p)) {
        // One event for all that was missed (Xen's rule); a deadline in the past would fire again and again.
        actions.sendVirq(v, VIRQ_TIMER);
        next = t + period;
        vcpu.setPeriodicLastEvent(v, t);
      }
      pcpu.setPeriodicAt(p, next);
    },
  };
}
