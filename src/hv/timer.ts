/**
 * Timers of VCPUs (S16–S18): the single-shot timer (set_timer_op and VCPUOP_set_singleshot_timer share it, as in Xen), the
 * poll timer and the periodic ticker. The first two sit in the queue of the pCPU that armed them and fire there, even if
 * the VCPU has moved since; the ticker only exists while its VCPU runs.
 *
 * Classic profile: the ticker is the pCPU's, so its instants are those of one raster whoever runs; it also writes the time page,
 * and whoever is switched in is sent a timer event, always.
 *
 * Behind the VCPUs' timers come the host's own, of interrupt lines and devices. Their times are simulation time, as what they
 * stand for is outside of all clocks; whoever sets one knows that it is not set.
 *
 * Queues are under no lock: only the runner of the pCPU's turns touches one, and others leave word.
 */
import { type DeadlineHeaps, deadlineHeaps } from '../shared/deadline-heap.js';
import { VIRQ_TIMER } from '../shared/public/xen.js';
import { TRACE } from '../shared/trace-ring.js';
import type { HvContext } from './context.js';
import { PCPU, TIMER, TIMER_REQUESTS } from './records.js';
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

/** Values of a timer's `requested` besides 0. */
const WANTED = 1;
const SERVED = 2;

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
  /** Free mode: does what VCPUs that have moved to other workers want of their timers in pCPU p's queue. Between turns. */
  serveRequests(p: number): void;
  /** Stops all timers of v, wherever they are. While all others stand still. */
  forget(v: number): void;
  /** Puts what is in pCPU `from`'s queue into that of `to`, to fire at the same system times. While all others stand still. */
  moveAll(from: number, to: number): void;
  /**
   * Sets a timer of the host's, by the queue of pCPU q, to simulation time `at`, ns. It is not set: it has never been, or its
   * `hostDue` has been called since.
   */
  setHost(n: number, q: number, at: number): void;
  /** v is switched in on p: the timer event it is owed for that, and its ticker. */
  switchedIn(v: number, p: number): void;
  /** Arms the ticker of v, which runs on p; in the modern profile with an event if it is overdue. */
  startPeriodic(v: number, p: number): void;
}

export interface TimerActions {
  sendVirq(v: number, virq: number): void;
  pollTimedOut(v: number): void;
  /** Timer n of the host's fires on p. */
  hostDue(n: number, p: number): void;
}

export function timers(
  hv: HvContext,
  smp: Smp,
  time: TimeKeeping,
  check: TimeCheck | undefined,
  actions: TimerActions,
): Timers {
  const {
    image,
    vcpu,
    pcpu,
    locks,
    lockOf,
    machine,
    machineWords,
    trace,
    raceWindow,
    me,
    isOrdered,
    now,
    faulty,
    params,
  } = hv;
  const isClassic = params.profile === 'classic';
  const FIRST_HOST = 2 * hv.shape.vcpus;
  const timer = image.table(TIMER);
  const requested = image.column(TIMER, 'requested');
  const requestedWord = (t: number): number => (requested.base + (t << requested.shift)) | 0;
  const requests = image.column(TIMER_REQUESTS, 'first');
  const headWord = (p: number): number => (requests.base + (p << requests.shift)) | 0;
  const queues = image.region('timer-queues');
  const heaps: DeadlineHeaps = deadlineHeaps(image.i32, image.f64, image.columns(TIMER, 'deadline', 'position'), {
    size: image.column(PCPU, 'timers'),
    slots: { base: queues.base >> 2, stride: queues.size >> 2 },
  });

  /** The run loop looks at this each turn; kept in the pCPU's record, it costs a load instead of a walk to the heap. */
  function noteEarliest(p: number): void {
    pcpu.setTimerAt(p, heaps.earliest(p));
  }

  function noteSet(t: number, asked: number): void {
    timer.setSetAt(t, now());
    if ((t & 1) === 0) check?.timerSet(t >> 1, asked);
  }

  /** @param p the pCPU in whose queue it goes, one of this runner's */
  function arm(p: number, t: number, asked: number): void {
    if (t >= FIRST_HOST) {
      heaps.arm(p, t, asked);
      noteEarliest(p);
      return;
    }
    timer.setAsked(t, asked);
    timer.setScale(t, time.calibrations(p));
    if (check !== undefined) noteSet(t, asked);
    heaps.arm(p, t, Math.max(time.timerFor(p, asked), now() + MIN_DELAY_NS));
    noteEarliest(p);
  }

  function disarm(p: number, t: number): void {
    if ((t & 1) === 0) check?.timerSet(t >> 1, Infinity);
    heaps.disarm(p, t);
    noteEarliest(p);
    // Its pCPU's key may now be too early; it is recomputed, so that no turn is spent on nothing.
    if (p !== smp.self()) smp.keyMoved(p);
  }

  /**
   * Whether timer t is in the queue of another worker, or about to be: then only that worker may touch it. One that is in no
   * queue is its VCPU's, who takes it along: the other worker is through with it when its position says so, and nobody but
   * the VCPU itself, on one pCPU at a time, sets it. The request is looked at first: it goes after the timer is put in.
   */
  const isElsewhere = (t: number): boolean =>
    !smp.isMine(timer.queue(t)) && (machineWords.load(requestedWord(t)) !== 0 || heaps.isArmed(t));

  /** Leaves word at the queue's worker what is to become of timer t: the newest wish counts. */
  function request(t: number, deadlineNs: number): void {
    const q = timer.queue(t);
    timer.setWish(t, deadlineNs);
    if (check !== undefined && t < FIRST_HOST) noteSet(t, deadlineNs);
    raceWindow();
    // Already on the list, or being served and looked at again.
    if (machineWords.exchange(requestedWord(t), WANTED) !== 0) return;
    const head = headWord(q);
    for (;;) {
      const first = Atomics.load(image.i32, head);
      timer.setNextRequest(t, first);
      if (Atomics.compareExchange(image.i32, head, first, t + 1) === first) break;
    }
    smp.keyMoved(q);
  }

  /**
   * The VCPU has come back to the worker it left word at: that is done first, or it would be done afterwards, to what it sets
   * now, or to a timer that is in another queue by then.
   */
  function settle(t: number): void {
    const q = timer.queue(t);
    if (timer.requested(t) !== 0 && smp.isMine(q)) serveRequests(q);
  }

  function set(t: number, deadlineNs: number): void {
    settle(t);
    const p = smp.self();
    const q = timer.queue(t);
    if (q !== p) {
      if (isElsewhere(t)) {
        request(t, deadlineNs);
        return;
      }
      if (smp.isMine(q) && heaps.isArmed(t)) disarm(q, t);
      timer.setQueue(t, p);
    }
    arm(p, t, deadlineNs);
  }

  function stop(t: number): void {
    const self = smp.self();
    if ((t & 1) === 0) check?.timerSet(t >> 1, Infinity);
    // In free mode only the VCPU itself may: the timer may be under way with it. One that fires for nothing wakes for nothing.
    if (!isOrdered && pcpu.current(self) !== t >> 1) return;
    settle(t);
    if (isElsewhere(t)) request(t, Infinity);
    else if (smp.isMine(timer.queue(t)) && heaps.isArmed(t)) disarm(timer.queue(t), t);
  }

  function serveRequests(p: number): void {
    let t = machineWords.exchange(headWord(p), 0) - 1;
    while (t >= 0) {
      const next = timer.nextRequest(t) - 1;
      // Not as if nothing were wanted before it is done: the VCPU would take the timer along while it is being put in here. And
      // again as long as the wish was changed meanwhile.
      do {
        machineWords.exchange(requestedWord(t), SERVED);
        raceWindow();
        const wish = timer.wish(t);
        if (wish === Infinity) disarm(p, t);
        else arm(p, t, wish);
        raceWindow();
      } while (Atomics.compareExchange(image.i32, requestedWord(t), SERVED, 0) !== SERVED);
      t = next;
    }
    if (p !== smp.self()) smp.keyMoved(p);
  }

  /** Takes the first due timer out of pCPU p's queue; -1 when none is due. */
  function takeDue(p: number): number {
    const t = now();
    let taken = -1;
    while (taken < 0 && heaps.earliest(p) <= t) {
      const due = heaps.top(p);
      if (due >= FIRST_HOST) {
        heaps.disarm(p, due);
        taken = due;
        break;
      }
      // Set by the scale of then, it may come early by the clock of now; it is not served before its time.
      if (timer.scale(due) !== time.calibrations(p) && time.systemTime(p) < timer.asked(due)) {
        heaps.arm(p, due, Math.max(t + 1, time.timerFor(p, timer.asked(due))));
        continue;
      }
      // Before it is out of the queue: who finds it out must find that it fired.
      check?.timerFired(due, p);
      heaps.disarm(p, due);
      taken = due;
    }
    noteEarliest(p);
    return taken;
  }

  function vcpuTimerDue(due: number): void {
    const v = due >> 1;
    machine.addEvents(me, 1);
    trace.record(TRACE.timer, v, due & 1);
    raceWindow();
    if ((due & 1) === 0) actions.sendVirq(v, VIRQ_TIMER);
    else actions.pollTimedOut(v);
  }

  /** The tick after the one at `t`, ns. */
  const tickAfter: (t: number, period: number) => number = isClassic
    ? (t, period) => (Math.floor(t / period) + 1) * period
    : (t, period) => t + period;

  function startPeriodic(v: number, p: number): void {
    const period = vcpu.periodicPeriod(v);
    if (period === 0) return;
    const t = now();
    const misses = faulty('past-periodic', p);
    if (isClassic && !misses) {
      pcpu.setPeriodicAt(p, tickAfter(t, period));
      return;
    }
    let next = vcpu.periodicLastEvent(v) + period;
    if (next <= t && !misses) {
      // One event for all that was missed (Xen's rule); a deadline in the past would fire again and again.
      actions.sendVirq(v, VIRQ_TIMER);
      next = t + period;
      vcpu.setPeriodicLastEvent(v, t);
    }
    pcpu.setPeriodicAt(p, next);
  }

  /** Under the lock, as the other writers of the page are. */
  function writeTimePage(v: number, p: number): void {
    locks.acquire(lockOf(p), p);
    time.update(v);
    locks.release(lockOf(p), p);
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
      for (let due = takeDue(p); due >= 0; due = takeDue(p)) {
        if (due >= FIRST_HOST) actions.hostDue(due - FIRST_HOST, p);
        else vcpuTimerDue(due);
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
      const period = vcpu.periodicPeriod(v);
      pcpu.setPeriodicAt(p, faulty('past-periodic', p) ? pcpu.periodicAt(p) + period : tickAfter(now(), period));
      if (isClassic) writeTimePage(v, p);
      actions.sendVirq(v, VIRQ_TIMER);
    },

    serveRequests,

    forget(v) {
      for (const t of [2 * v, 2 * v + 1]) {
        const q = timer.queue(t);
        if (timer.requested(t) !== 0) serveRequests(q);
        if (heaps.isArmed(t)) disarm(q, t);
      }
    },

    moveAll(from, to) {
      serveRequests(from);
      while (heaps.size(from) > 0) {
        const t = heaps.top(from);
        heaps.disarm(from, t);
        timer.setQueue(t, to);
        timer.setScale(t, time.calibrations(to));
        // What the host waits for is due by simulation time.
        const due = t >= FIRST_HOST ? timer.deadline(t) : time.timerFor(to, timer.asked(t));
        heaps.arm(to, t, Math.max(due, now() + 1));
      }
      noteEarliest(from);
      noteEarliest(to);
      for (const p of [from, to]) if (p !== smp.self()) smp.keyMoved(p);
    },

    setHost(n, q, at) {
      const t = FIRST_HOST + n;
      timer.setQueue(t, q);
      if (!smp.isMine(q)) {
        request(t, at);
        return;
      }
      heaps.arm(q, t, at);
      noteEarliest(q);
      if (q !== smp.self()) smp.keyMoved(q);
    },

    startPeriodic,

    switchedIn(v, p) {
      if (isClassic) actions.sendVirq(v, VIRQ_TIMER);
      startPeriodic(v, p);
    },
  };
}
