/**
 * Timers of VCPUs (S16–S18): the single-shot timer (set_timer_op and VCPUOP_set_singleshot_timer share it, as in Xen), the
 * poll timer and the periodic ticker. The first two sit in the queue of the pCPU that armed them and fire there, even if
 * the VCPU has moved since; the ticker only exists while its VCPU runs.
 */
import { type DeadlineHeaps, deadlineHeaps } from '../shared/deadline-heap.js';
import { VIRQ_TIMER } from '../shared/public/xen.js';
import { TRACE } from '../shared/trace-ring.js';
import type { HvContext } from './context.js';
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
  const { image, vcpu, pcpu, machine, trace, now, faulty } = hv;
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

  function set(t: number, deadlineNs: number): void {
    const p = smp.self();
    if (heaps.isArmed(t) && timer.queue(t) !== p) stop(t);
    timer.setQueue(t, p);
    timer.setAsked(t, check === undefined ? deadlineNs : Math.max(deadlineNs, time.systemTime(p)));
    timer.setScale(t, time.calibrations(p));
    heaps.arm(p, t, Math.max(time.timerFor(p, deadlineNs), now() + MIN_DELAY_NS));
    noteEarliest(p);
  }

  function stop(t: number): void {
    const q = timer.queue(t);
    heaps.disarm(q, t);
    noteEarliest(q);
    // Its pCPU's key may now be too early; it is recomputed, so that no turn is spent on nothing.
    if (q !== smp.self()) keyChanged(q);
  }

  return {
    setSingleshot(v, deadlineNs) {
      check?.timerSet(v, Math.max(deadlineNs, time.systemTime(smp.self())));
      // On purpose: -ETIME instead of an event at once.
      if (faulty('lost-single-shot', smp.self()) && deadlineNs <= time.systemTime(smp.self()) + SHORT_NS) return;
      set(2 * v, deadlineNs);
    },
    stopSingleshot(v) {
      check?.timerSet(v, Infinity);
      stop(2 * v);
    },
    setPoll: (v, deadlineNs) => set(2 * v + 1, deadlineNs),
    stopPoll: (v) => stop(2 * v + 1),

    runDue(p) {
      const t = now();
      while (pcpu.timerAt(p) <= t) {
        const due = heaps.top(p);
        const v = due >> 1;
        // Set by the scale of then, it may come early by the clock of now; it is not served before its time.
        if (timer.scale(due) !== time.calibrations(p) && time.systemTime(p) < timer.asked(due)) {
          heaps.arm(p, due, Math.max(t + 1, time.timerFor(p, timer.asked(due))));
          noteEarliest(p);
          continue;
        }
        heaps.disarm(p, due);
        noteEarliest(p);
        machine.addEvents(0, 1);
        trace.record(TRACE.timer, v, due & 1);
        check?.timerFired(v, p, (due & 1) === 0, timer.asked(due));
        if ((due & 1) === 0) actions.sendVirq(v, VIRQ_TIMER);
        else actions.pollTimedOut(v);
      }
    },

    periodicDue(p) {
      const v = pcpu.current(p);
      machine.addEvents(0, 1);
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
