/**
 * The generic half of scheduling (Xen's common/sched/core.c): runs the chosen policy, switches contexts, wakes, sleeps,
 * pauses and migrates VCPUs. Every pCPU runs this code on its own behalf; nobody schedules for another.
 *
 * Order in `schedule`: lock, stop the slice, read now *inside* the lock (a time sampled before it may lie before the
 * last holder's, and a runstate would run backwards), policy, runstates, unlock, switch, only then mark the old VCPU as
 * not running and finish its migration: until its registers are saved nobody else may run it.
 */
import { RUNSTATE_blocked, RUNSTATE_offline, RUNSTATE_runnable, RUNSTATE_running } from '../shared/public/vcpu.js';
import { TRACE } from '../shared/trace-ring.js';
import { type HvContext, runqLock } from './context.js';
import { PERFC } from './perfc.js';
import { VPF_blocked, VPF_migrating, VPF_parked } from './records.js';
import type { Runstates } from './runstate.js';
import type { GenericScheduler, SchedulerOps, SchedulerPolicy } from './sched/interface.js';
import type { Smp } from './smp.js';
import type { TimeKeeping } from './time.js';
import type { TimeCheck } from './time-check.js';

/** What the processor does at a context switch: save and restore what is private to a guest. */
export interface ContextSwitch {
  switchOut(v: number, p: number): void;
  switchIn(v: number, p: number): void;
  /** Sends VIRQ_TIMER to the VCPU that was just switched in on p, if it is owed one, and arms its periodic timer. */
  periodicTimer(v: number, p: number): void;
}

export interface Scheduler {
  readonly ops: SchedulerOps;
  isRunnable(v: number): boolean;
  /** The SCHEDULE softirq of pCPU p. */
  schedule(p: number): void;
  /** Makes a VCPU run again if nothing holds it. */
  wake(v: number): void;
  /** Clears VPF_blocked and wakes. */
  unblock(v: number): void;
  /** Sets a pause flag and takes the VCPU off its pCPU or queue. */
  sleep(v: number, flag: number): void;
  clearFlag(v: number, flag: number): void;
  yield(v: number): void;
}

export function scheduler(
  hv: HvContext,
  policy: SchedulerPolicy,
  smp: Smp,
  runstates: Runstates,
  time: TimeKeeping,
  check: TimeCheck | undefined,
  context: ContextSwitch,
  keyChanged: (p: number) => void,
): Scheduler {
  const { vcpu, pcpu, queues, locks, trace, perfc, now, isIdle } = hv;
  const { entry } = queues;
  const { sched_run, sched_ctx } = PERFC;

  const isRunnable = (v: number): boolean => vcpu.pauseFlags(v) === 0;

  const generic: GenericScheduler = {
    isRunnable,
    pause: (v) => sleep(v, VPF_parked),
    unpause: (v) => clearFlag(v, VPF_parked),
    requestMigration: (v) => vcpu.setPauseFlags(v, vcpu.pauseFlags(v) | VPF_migrating),
    raiseSchedule: smp.raiseSchedule,
    keyChanged,
  };
  const ops = policy.create(hv, generic);

  function lockOf(v: number): number {
    const lock = runqLock(entry.processor(v));
    locks.acquire(lock, smp.self());
    return lock;
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
    const flags = vcpu.pauseFlags(v);
    if ((flags & flag) === 0) return;
    vcpu.setPauseFlags(v, flags & ~flag);
    wake(v);
  }

  function sleep(v: number, flag: number): void {
    const lock = lockOf(v);
    vcpu.setPauseFlags(v, vcpu.pauseFlags(v) | flag);
    if (vcpu.runstate(v) === RUNSTATE_runnable) runstates.change(v, RUNSTATE_offline);
    ops.sleep(v);
    locks.release(lock, smp.self());
  }

  /** The second half of a migration: the state is saved, so the VCPU may go where the policy wants it. */
  function finishMigration(v: number): void {
    const lock = lockOf(v);
    const target = ops.pickCpu(v);
    if (target !== entry.processor(v)) {
      trace.record(TRACE.migrate, v, target);
      ops.migrate(v, target);
    }
    vcpu.setPauseFlags(v, vcpu.pauseFlags(v) & ~VPF_migrating);
    locks.release(lock, smp.self());
    wake(v);
  }

  function switchTo(p: number, prev: number, next: number): void {
    const t = now();
    perfc.inc(p, sched_ctx);
    pcpu.addSwitches(p, 1);
    pcpu.setPeriodicAt(p, Infinity);
    if (!isIdle(prev)) {
      const flags = vcpu.pauseFlags(prev);
      pcpu.addBusy(p, t - vcpu.stateEntryTime(prev));
      runstates.change(
        prev,
        (flags & VPF_blocked) !== 0 ? RUNSTATE_blocked : flags === 0 ? RUNSTATE_runnable : RUNSTATE_offline,
      );
      check?.switchedOut(prev);
      context.switchOut(prev, p);
      runstates.publish(prev);
    }
    if (!isIdle(next)) {
      runstates.change(next, RUNSTATE_running);
      check?.switchedIn(next, p);
      vcpu.addSwitches(next, 1);
      if (vcpu.lastPcpu(next) !== p) {
        if (vcpu.lastPcpu(next) >= 0) vcpu.addMigrations(next, 1);
        vcpu.setLastPcpu(next, p);
      }
      runstates.publish(next);
      time.update(next);
      context.switchIn(next, p);
      context.periodicTimer(next, p);
    }
    trace.record(TRACE.switch, prev, next);
    // The tick serves whoever runs; an idle pCPU has none, so idle time costs next to nothing.
    if (isIdle(prev) !== isIdle(next)) {
      pcpu.setTickAt(p, isIdle(prev) ? ops.nextTick(p) : Infinity);
    }
    entry.setIsRunning(prev, 0);
    entry.setIsRunning(next, 1);
  }

  function schedule(p: number): void {
    pcpu.setSoftirq(p, 0);
    perfc.inc(p, sched_run);
    const lock = runqLock(p);
    locks.acquire(lock, p);
    pcpu.setSliceEnd(p, Infinity);
    const prev = pcpu.current(p);
    ops.doSchedule(p);
    const next = pcpu.next(p);
    pcpu.setSliceEnd(p, now() + pcpu.nextSlice(p));
    pcpu.setCurrent(p, next);
    locks.release(lock, p);
    if (next === prev) return;
    switchTo(p, prev, next);
    if (isIdle(prev)) return;
    ops.contextSaved(prev);
    if ((vcpu.pauseFlags(prev) & VPF_migrating) !== 0) finishMigration(prev);
  }

  return {
    ops,
    isRunnable,
    schedule,
    wake,
    sleep,
    clearFlag,
    unblock: (v) => clearFlag(v, VPF_blocked),
    yield(v) {
      const lock = lockOf(v);
      ops.yield(v);
      locks.release(lock, smp.self());
      smp.raiseSchedule(entry.processor(v));
    },
  };
}
