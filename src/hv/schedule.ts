/**
 * The generic half of scheduling (Xen's common/sched/core.c): runs the chosen policy, switches contexts, wakes, sleeps,
 * pauses and migrates VCPUs. Every pCPU runs this code on its own behalf; nobody schedules for another.
 *
 * Order in `schedule`: lock, stop the slice, read now *inside* the lock (a time sampled before it may lie before the
 * last holder's, and a runstate would run backwards), policy, runstates, unlock, switch, only then mark the old VCPU as
 * not running and finish its migration: until its registers are saved nobody else may run it, though it may be queued.
 */
import { hardMask, RUNQ_ENTRY } from '../balancer/records.js';
import { NONE } from '../shared/list.js';
import { RUNSTATE_blocked, RUNSTATE_offline, RUNSTATE_runnable, RUNSTATE_running } from '../shared/public/vcpu.js';
import { MOVES, NOTE, TRACE } from '../shared/trace-kinds.js';
import type { Affinities } from './affinity.js';
import type { HvContext } from './context.js';
import { PERFC } from './perfc.js';
import { HELD_BACK, VCPU, VPF_blocked, VPF_dying, VPF_migrating, VPF_parked, VPF_paused } from './records.js';
import type { Runstates } from './runstate.js';
import type { GenericScheduler, SchedulerOps } from './sched/interface.js';
import { poolOps } from './sched/pool-ops.js';
import type { Smp } from './smp.js';
import type { TimeKeeping } from './time.js';
import type { TimeCheck } from './time-check.js';
import { warmth } from './warmth.js';

/** What the processor does at a context switch: save and restore what is private to a guest. */
export interface ContextSwitch {
  switchOut(v: number, p: number): void;
  switchIn(v: number, p: number): void;
  /** The VCPU that was just switched in on p gets on `ns` later. */
  stall(v: number, p: number, ns: number): void;
  /** Sends VIRQ_TIMER to the VCPU that was just switched in on p, if it is owed one, and arms its periodic timer. */
  timerEvents(v: number, p: number): void;
  /** A VCPU of a domain that is being destroyed is off its pCPU, its state saved. */
  left(v: number): void;
  /** pCPU p, which is off line, has become idle. */
  emptied(p: number): void;
}

export interface Scheduler {
  readonly ops: SchedulerOps;
  /** The scheduler of one cpupool. */
  poolOps(pool: number): SchedulerOps;
  /** Whether a pool's accounting runs on pCPU p. */
  accounts(p: number): boolean;
  isRunnable(v: number): boolean;
  /** The SCHEDULE softirq of pCPU p. */
  schedule(p: number): void;
  /** Makes a VCPU run again if nothing holds it. */
  wake(v: number): void;
  /** Clears VPF_blocked and wakes. */
  unblock(v: number): void;
  /** Sets VPF_blocked; the caller looks for events again after it, and takes it back with `cancelBlock` if there are any. */
  block(v: number): void;
  cancelBlock(v: number): void;
  /** Sets a pause flag and takes the VCPU off its pCPU or queue. */
  sleep(v: number, flag: number): void;
  clearFlag(v: number, flag: number): void;
  yield(v: number): void;
  /** Takes a VCPU off its pCPU for somebody outside, until `unpause`; once is enough, and so is once to let it go. */
  pause(v: number): void;
  unpause(v: number): void;
  /** Whether a VCPU is paused from outside: then a machine in which nothing happens is not at its end. */
  isHeldBack(): boolean;
  /**
   * Affinity from now on, also of a VCPU that runs or is queued elsewhere; `undefined` leaves it as it is. At least one of the hard
   * ones is on line.
   */
  setAffinity(v: number, hard: readonly number[] | undefined, soft?: readonly number[]): void;
  /** What v may use has changed by itself: it leaves a pCPU that it may not use any more. */
  affinityChanged(v: number): void;
  /** The scheduler forgets a VCPU that neither runs nor is queued. */
  remove(v: number): void;
  changePool(v: number): void;
  /** Has pCPU p, one of this runner's, look for another VCPU now, on behalf of somebody else. While no other worker takes a turn. */
  vacate(p: number): void;
  /** Does something under the run-queue lock of the VCPU: nobody switches it in or out meanwhile. */
  locked(v: number, act: () => void): void;
}

export function scheduler(
  hv: HvContext,
  smp: Smp,
  runstates: Runstates,
  affinities: Affinities,
  time: TimeKeeping,
  check: TimeCheck | undefined,
  context: ContextSwitch,
): Scheduler {
  const {
    image,
    shape,
    domain,
    vcpu,
    pcpu,
    queues,
    locks,
    words,
    machineWords,
    trace,
    perfc,
    raceWindow,
    now,
    isIdle,
  } = hv;
  const { lockOf: runqLockOf } = hv;
  const { entry, masks, word } = queues;
  const heldBackWord = image.column(HELD_BACK, 'vcpus').base;
  const flagColumn = image.column(VCPU, 'pauseFlags');
  const runningColumn = image.column(RUNQ_ENTRY, 'isRunning');
  /** Pause flags are several parties': each changes its own bits, atomically, and looks at the others afterwards. */
  const flagsWord = (v: number): number => (flagColumn.base + (v << flagColumn.shift)) | 0;
  const runningWord = (v: number): number => (runningColumn.base + (v << runningColumn.shift)) | 0;
  const { sched_run, sched_ctx } = PERFC;
  const everywhere = Array.from({ length: shape.pcpus }, (_, p) => p);

  const isRunnable = (v: number): boolean => vcpu.pauseFlags(v) === 0;

  const generic: GenericScheduler = {
    isRunnable,
    pause: (v) => sleep(v, VPF_parked),
    unpause: (v) => clearFlag(v, VPF_parked),
    requestMigration: (v, why = 0) => {
      trace.note(NOTE.moves, v, entry.processor(v), why);
      words.or(flagsWord(v), VPF_migrating);
    },
    raiseSchedule: smp.raiseSchedule,
    keyChanged: smp.keyMoved,
    lock: lockOf,
    park(v) {
      words.or(flagsWord(v), VPF_parked);
      if (vcpu.runstate(v) === RUNSTATE_runnable) runstates.change(v, RUNSTATE_offline);
    },
  };
  const { ops, of, accounts } = poolOps(hv, generic);
  const caches = warmth(hv);

  /** Takes the run-queue lock of v's pCPU; while it was waited for, v may have been moved to another. */
  function lockOf(v: number): number {
    for (;;) {
      const lock = runqLockOf(entry.processor(v));
      locks.acquire(lock, smp.self());
      if (lock === runqLockOf(entry.processor(v))) return lock;
      locks.release(lock, smp.self());
    }
  }

  function wake(v: number): void {
    const lock = lockOf(v);
    if (isRunnable(v)) {
      if (vcpu.runstate(v) >= RUNSTATE_blocked) {
        runstates.change(v, RUNSTATE_runnable);
        trace.record(TRACE.wake, v, entry.processor(v));
      }
      ops.wake(v);
    } else if ((vcpu.pauseFlags(v) & VPF_blocked) === 0 && vcpu.runstate(v) === RUNSTATE_blocked) {
      runstates.change(v, RUNSTATE_offline);
    }
    locks.release(lock, smp.self());
  }

  function clearFlag(v: number, flag: number): void {
    if ((vcpu.pauseFlags(v) & flag) === 0) return;
    // Of two who clear the same flag one wakes.
    if ((words.and(flagsWord(v), ~flag) & flag) !== 0) wake(v);
  }

  function sleep(v: number, flag: number): void {
    const lock = lockOf(v);
    trace.note(NOTE.sleep, v, flag);
    words.or(flagsWord(v), flag);
    if (vcpu.runstate(v) === RUNSTATE_runnable) runstates.change(v, RUNSTATE_offline);
    ops.sleep(v);
    locks.release(lock, smp.self());
  }

  /**
   * The second half of a migration: the state is saved, so the VCPU may go where the policy wants it. One lock is enough:
   * the VCPU is in no queue, nobody wakes it while the flag is set, and whoever wants its new pCPU's lock looks again.
   * Called by the pCPU it ran on, and by whoever set the flag on one that did not run; the flag says which of them does it.
   */
  function finishMigration(v: number): void {
    if (entry.pool(v) !== domain.pool(vcpu.domain(v))) {
      finishPoolChange(v);
      return;
    }
    const lock = lockOf(v);
    // Running again, or still: its pCPU comes here when it is through.
    const isOurs = entry.isRunning(v) === 0 && (vcpu.pauseFlags(v) & VPF_migrating) !== 0;
    if (isOurs) {
      const target = ops.pickCpu(v);
      raceWindow();
      if (target !== entry.processor(v)) {
        trace.record(TRACE.migrate, v, target);
        ops.migrate(v, target);
      }
      words.and(flagsWord(v), ~VPF_migrating);
    }
    locks.release(lock, smp.self());
    if (isOurs) wake(v);
  }

  /** v is off its pCPU, nobody wakes it while it has the flag, and its old scheduler has forgotten it: the new one takes it. */
  function finishPoolChange(v: number): void {
    const lock = lockOf(v);
    const isOurs = entry.isRunning(v) === 0 && (vcpu.pauseFlags(v) & VPF_migrating) !== 0;
    if (isOurs) {
      entry.setPool(v, domain.pool(vcpu.domain(v)));
      entry.setYielded(v, 0);
      // As Xen does: pCPUs of the old pool mean nothing here.
      affinities.give(v, everywhere, everywhere);
      // Round about, as Xen does: not every policy balances.
      let p = masks.cycle(NONE, word(hardMask(v)));
      for (let k = vcpu.id(v) % masks.count(word(hardMask(v))); k > 0; k--) p = masks.cycle(p, word(hardMask(v)));
      entry.setProcessor(v, p);
    }
    locks.release(lock, smp.self());
    if (!isOurs) return;
    const own = lockOf(v);
    ops.insert(v);
    trace.record(TRACE.migrate, v, entry.processor(v));
    // Parked is who was over its cap in the old one.
    words.and(flagsWord(v), ~(VPF_migrating | VPF_parked));
    locks.release(own, smp.self());
    wake(v);
  }

  /** Takes a VCPU from its pCPU or queue, to be moved when it is off. Under the lock. */
  function uproot(v: number, why: number): void {
    trace.note(NOTE.moves, v, entry.processor(v), why);
    words.or(flagsWord(v), VPF_migrating);
    if (vcpu.runstate(v) === RUNSTATE_runnable) runstates.change(v, RUNSTATE_offline);
    ops.sleep(v);
  }

  /** What a waker or a thief must find whole: runstates, and the pages that are a VCPU's whoever runs it. Under the lock. */
  function account(p: number, prev: number, next: number): void {
    perfc.inc(p, sched_ctx);
    pcpu.addSwitches(p, 1);
    if (!isIdle(prev)) {
      const flags = vcpu.pauseFlags(prev);
      pcpu.addBusy(p, now() - vcpu.stateEntryTime(prev));
      runstates.change(
        prev,
        (flags & VPF_blocked) !== 0 ? RUNSTATE_blocked : flags === 0 ? RUNSTATE_runnable : RUNSTATE_offline,
      );
      entry.setLastRan(prev, now());
      check?.switchedOut(prev);
      runstates.publish(prev);
    }
    // Before it leaves the lock: an event for it then finds a VCPU that is told of it.
    entry.setIsRunning(next, 1);
    if (isIdle(next)) return;
    runstates.change(next, RUNSTATE_running);
    check?.switchedIn(next, p);
    vcpu.addSwitches(next, 1);
    if (vcpu.lastPcpu(next) !== p) {
      if (vcpu.lastPcpu(next) >= 0) vcpu.addMigrations(next, 1);
      vcpu.setLastPcpu(next, p);
    }
    runstates.publish(next);
    time.update(next);
  }

  /** Saves one guest's state and takes up the other's; the lock is not held. */
  function switchTo(p: number, prev: number, next: number): void {
    pcpu.setPeriodicAt(p, Infinity);
    if (!isIdle(prev)) {
      context.switchOut(prev, p);
      caches?.leaves(prev, p);
    }
    if (!isIdle(next)) {
      context.switchIn(next, p);
      const ns = caches === undefined ? 0 : caches.arrives(next, p);
      if (ns > 0) context.stall(next, p, ns);
      context.timerEvents(next, p);
    }
    trace.record(TRACE.switch, prev, next);
    // The tick serves whoever runs; an idle pCPU has none, so idle time costs next to nothing.
    if (isIdle(prev) !== isIdle(next)) {
      pcpu.setTickAt(p, isIdle(prev) ? ops.nextTick(p) : Infinity);
    }
    raceWindow();
    // Before the looks at its flags and at the other's events: whoever moves it from now on finds it saved, or is
    // seen here; whoever sends to the other finds it running, or is seen. So an atomic store, which no later look overtakes.
    words.store(runningWord(prev), 0);
    if (!isIdle(prev)) ops.contextSaved(prev);
  }

  function schedule(p: number): void {
    pcpu.setSoftirq(p, 0);
    perfc.inc(p, sched_run);
    const lock = runqLockOf(p);
    locks.acquire(lock, p);
    pcpu.setSliceEnd(p, Infinity);
    const prev = pcpu.current(p);
    ops.doSchedule(p);
    const next = pcpu.next(p);
    // Nobody may use one that is off line; nobody is to count on it either.
    const isOnline = queues.isOnline(p);
    if (!isOnline) masks.clearAtomic(queues.idlers(p), p);
    pcpu.setSliceEnd(p, now() + pcpu.nextSlice(p));
    pcpu.setCurrent(p, next);
    if (next !== prev) account(p, prev, next);
    locks.release(lock, p);
    if (next === prev) return;
    switchTo(p, prev, next);
    if (!isOnline && isIdle(next)) context.emptied(p);
    if (isIdle(prev)) return;
    const flags = vcpu.pauseFlags(prev) & (VPF_migrating | VPF_dying);
    if (flags === 0) return;
    if ((flags & VPF_migrating) !== 0) finishMigration(prev);
    if ((flags & VPF_dying) !== 0) context.left(prev);
  }

  /** Changes what v may use, and moves it where it must. */
  function reconsider(v: number, change: () => void): void {
    const lock = lockOf(v);
    change();
    ops.adjustAffinity(v);
    const mustMove = !masks.has(word(hardMask(v)), entry.processor(v));
    if (mustMove) uproot(v, MOVES.affinity);
    locks.release(lock, smp.self());
    if (mustMove) finishMigration(v);
  }

  return {
    ops,
    poolOps: of,
    accounts,
    isRunnable,
    schedule,
    wake,
    sleep,
    clearFlag,
    unblock(v) {
      if ((words.and(flagsWord(v), ~VPF_blocked) & VPF_blocked) !== 0) wake(v);
    },
    block(v) {
      trace.note(NOTE.block, v, 0);
      words.or(flagsWord(v), VPF_blocked);
      raceWindow();
    },
    cancelBlock(v) {
      words.and(flagsWord(v), ~VPF_blocked);
    },
    pause(v) {
      if ((vcpu.pauseFlags(v) & VPF_paused) === 0) machineWords.add(heldBackWord, 1);
      sleep(v, VPF_paused);
    },
    unpause(v) {
      if ((vcpu.pauseFlags(v) & VPF_paused) === 0) return;
      clearFlag(v, VPF_paused);
      machineWords.add(heldBackWord, -1);
    },
    isHeldBack: () => image.i32[heldBackWord] !== 0,
    setAffinity: (v, hard, soft) => reconsider(v, () => affinities.give(v, hard, soft)),
    affinityChanged: (v) => reconsider(v, () => affinities.narrow(v)),
    remove(v) {
      ops.remove(v);
      if ((vcpu.pauseFlags(v) & VPF_paused) !== 0) machineWords.add(heldBackWord, -1);
    },
    changePool(v) {
      const lock = lockOf(v);
      uproot(v, MOVES.pool);
      locks.release(lock, smp.self());
      ops.remove(v);
      finishMigration(v);
    },
    vacate(p) {
      const self = smp.self();
      smp.enterTurn(p);
      schedule(p);
      smp.enterTurn(self);
      if (self !== p) smp.keyMoved(p);
    },
    locked(v, act) {
      const lock = lockOf(v);
      act();
      locks.release(lock, smp.self());
    },
    yield(v) {
      const lock = lockOf(v);
      trace.note(NOTE.yield, v, 0);
      ops.yield(v);
      locks.release(lock, smp.self());
      smp.raiseSchedule(entry.processor(v));
    },
  };
}
