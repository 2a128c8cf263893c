/**
 * The workload guests' kernel: a small paravirtual SMP kernel, modelled event by event. It boots its VCPUs, takes
 * upcalls, runs a domain's tasks, blocks when idle, polls when it waits for a lock. It talks to the hypervisor by
 * hypercalls and learns time, events and callbacks only from the bytes of its own frames.
 */

import type { Devices } from '../../devices/devices.js';
import { guestLock } from '../../hv/context.js';
import { CRASH } from '../../hv/domain.js';
import type { Hypervisor } from '../../hv/hypervisor.js';
import type { Image } from '../../shared/image.js';
import { NONE } from '../../shared/list.js';
import { offsetsOf } from '../../shared/public/layout.js';
import { SHUTDOWN_poweroff } from '../../shared/public/sched.js';
import { XEN_PVCLOCK_TSC_STABLE_BIT } from '../../shared/public/xen.js';
import { shared_info, vcpu_info, vcpu_time_info } from '../../shared/public/xen-layout.js';
import type { Executor } from '../turn.js';
import { guestBoot, UPCALL_ENTRY } from './boot.js';
import { type Drivers, drivers } from './drivers.js';
import { guestClock } from './guest-clock.js';
import { guestHypercalls } from './hypercalls.js';
import { type ModelMemory, modelMemory } from './memory.js';
import { programs, STEP } from './program.js';
import { CLASS, MODE, TASK_STATE } from './records.js';
import { sync } from './sync.js';
import { taskScheduler } from './task-scheduler.js';

/** Operations a guest performs in one instant before computing time must pass. */
const OPERATIONS_PER_SEGMENT = 64;
/** An NTP reference's answer is off by at most this, ns. */
const NTP_JITTER_NS = 100_000;

/** Error of the nth answer, ns: spread evenly by the golden ratio, the same in every run. */
const jitter = (n: number): number => Math.round(((Math.imul(n + 1, 0x9e3779b1) | 0) / 2 ** 31) * NTP_JITTER_NS);

/** Round-robin slice of tasks that share a VCPU, ns; counted in ticks of the 10 ms ticker. */
const TASK_SLICE_NS = 10e6;

export interface GuestKernelParams {
  /** Time one kernel operation takes, ns. */
  readonly operationNs: number;
  readonly logLines: number;
}

export function guestKernel(image: Image, hv: Hypervisor, devices: Devices, params: GuestKernelParams): Executor {
  const mem: ModelMemory = modelMemory(image, hv);
  const { kv, kd, task, sleepers } = mem;
  const { machine, vcpu, domain, pcpu, locks: spinlocks, words, me, now, params: hvParams } = hv.context;
  const { i32, u8 } = image;
  const calls = guestHypercalls(mem);
  const clock = guestClock(hv.context);
  const tasks = taskScheduler(mem, calls);
  const locks = sync(mem, tasks);
  const irqs: Drivers = drivers(mem, calls, tasks, devices, locks.suspend);
  const boot = guestBoot(mem, calls, clock, irqs);
  const { operationNs } = params;
  /** A clock read may be a cycle, and the rounding of its scale, behind: what is due within that counts as due, or the timer would fire twice. */
  const CLOCK_SLACK_NS = Math.ceil(1e9 / hvParams.cycleHz) + 1;

  const INFO = offsetsOf(vcpu_info, 64);
  const SEL32 = offsetsOf(vcpu_info, 32).evtchn_pending_sel >> 2;
  const SEL64 = INFO.evtchn_pending_sel >> 2;
  const FLAGS = INFO.time + offsetsOf(vcpu_time_info, 64).flags;
  const PENDING = offsetsOf(shared_info, 64).evtchn_pending >> 2;
  const MASK32 = offsetsOf(shared_info, 32).evtchn_mask >> 2;
  const MASK64 = offsetsOf(shared_info, 64).evtchn_mask >> 2;

  const program = programs(
    mem,
    hv,
    tasks,
    locks,
    {
      sleep(v, t) {
        task.setState(t, TASK_STATE.sleeping);
        sleepers.arm(v, t, task.deadline(t));
        programTimer(v);
      },
      exit(v, t) {
        const d = task.domain(t);
        kd.addLiveTasks(d, -1);
        if (kd.liveTasks(d) === 0) calls.shutdown(v, SHUTDOWN_poweroff);
      },
      setTime(v, t, nowNs) {
        // The reference is outside the machine: it knows the true time, which is simulation time, and its answer is as
        // wrong as the two ways through the network differ.
        const utc = now() + jitter(task.loops(t));
        const seconds = Math.floor(utc / 1e9);
        calls.setTime(v, hvParams.bootTimeS + seconds, utc - seconds * 1e9, nowNs);
      },
      waitForIrq: irqs.waitFor,
      submitIo: irqs.submit,
    },
    params.logLines,
  );

  /** Counters that are not said to be in step may show one VCPU less than another saw: time must not go back. */
  function clamped(d: number, ns: number): number {
    const last = kd.lastClock(d);
    if (ns < last) return last;
    kd.setLastClock(d, ns);
    return ns;
  }

  const observe = hv.check?.read;

  /** Reads the clock; at every entry into the kernel. */
  function readClock(v: number): void {
    const t = now();
    // Again in the same instant it would say the same.
    if (kv.clockReadAt(v) === t) return;
    kv.setClockReadAt(v, t);
    const ns = clock(kv.infoAddr(v));
    if (observe !== undefined) {
      machine.setClockRead(me, ns);
      observe(v);
    }
    kv.setClock(v, (u8[kv.infoAddr(v) + FLAGS]! & XEN_PVCLOCK_TSC_STABLE_BIT) !== 0 ? ns : clamped(vcpu.domain(v), ns));
  }

  /** Keeps the hypervisor's timer at the earliest deadline of this VCPU's sleepers. */
  function programTimer(v: number): void {
    const earliest = sleepers.earliest(v);
    if (earliest >= kv.programmed(v)) return;
    kv.setProgrammed(v, earliest);
    calls.setTimer(v, earliest);
  }

  /** Charges what was computed since the segment began: kernel time first, then the task. */
  function settle(v: number): void {
    const t = now();
    const elapsed = t - kv.segmentStart(v);
    kv.setSegmentStart(v, t);
    if (elapsed <= 0 || kv.mode(v) !== MODE.run) return;
    const kernel = Math.min(kv.debt(v), elapsed);
    kv.addDebt(v, -kernel);
    const current = kv.current(v) - 1;
    if (current !== NONE && elapsed > kernel) program.charge(current, elapsed - kernel);
  }

  /** Computes until the current task's event is done, or only until the kernel's debt is paid. */
  function startSegment(v: number, p: number): void {
    const current = kv.current(v) - 1;
    // Handlers come first, and what they do when they are through.
    const isTask = current !== NONE && task.computing(current) !== 0 && kv.handling(v) === 0;
    const work = isTask ? program.remaining(current, kv.clock(v)) : 0;
    kv.setSegmentStart(v, now());
    pcpu.setGuestAt(p, now() + kv.debt(v) + work);
  }

  function goIdle(v: number, p: number): void {
    kv.setMode(v, MODE.idle);
    kv.setDebt(v, 0);
    kv.setCurrent(v, 0);
    pcpu.setGuestAt(p, now());
    // Waiting for a lock, poll the port its holder will send to; otherwise block until any event.
    if (kv.waiters(v) > 0) {
      kv.setPolling(v, 1);
      calls.poll(v, kv.lockPort(v), sleepers.earliest(v));
    } else calls.block(v);
  }

  function leaveIdle(v: number): void {
    kv.setMode(v, MODE.run);
    if (kv.polling(v) === 0) return;
    kv.setPolling(v, 0);
    const port = kv.lockPort(v);
    words.and((domain.sharedInfo(vcpu.domain(v)) >> 2) + PENDING + (port >> 5), ~(1 << (port & 31)));
    // A poll that timed out tells nobody.
    expire(v);
  }

  /** Wakes the sleepers whose time has come. */
  function expire(v: number): void {
    if (sleepers.size(v) === 0) return;
    const t = kv.clock(v);
    const d = vcpu.domain(v);
    if (kv.programmed(v) <= t + CLOCK_SLACK_NS) kv.setProgrammed(v, Infinity);
    while (sleepers.earliest(v) <= t + CLOCK_SLACK_NS) {
      const due = sleepers.top(v);
      sleepers.disarm(v, due);
      if (due === kd.firstTask(d) + kd.tasks(d)) {
        // The end of the use case, a sleeper behind the tasks.
        calls.shutdown(v, SHUTDOWN_poweroff);
        return;
      }
      if (task.state(due) === TASK_STATE.new) program.start(due, t);
      else program.awake(due, t);
      tasks.wake(v, due);
    }
    programTimer(v);
  }

  /** The tick: round robin among tasks that share the VCPU. */
  function rotate(v: number): void {
    const current = kv.current(v) - 1;
    if (current === NONE || !tasks.hasOthers(v) || task.taskClass(current) === CLASS.fifo) return;
    if (kv.clock(v) - kv.sliceStart(v) < TASK_SLICE_NS - CLOCK_SLACK_NS) return;
    tasks.requeue(v);
  }

  /**
   * Takes one of v's own ports: whether its selector and pending bits are set and its mask is not; the pending bit is
   * cleared. Pending bits of a domain share words: those of siblings are theirs to clear.
   */
  function takePort(d: number, selected: number, port: number): boolean {
    const is64 = domain.width(d) === 64;
    const page = domain.sharedInfo(d) >> 2;
    const word = page + PENDING + (port >> 5);
    const bit = 1 << (port & 31);
    if (((selected >>> (port >> (is64 ? 6 : 5))) & 1) === 0) return false;
    if ((i32[word]! & ~i32[page + (is64 ? MASK64 : MASK32) + (port >> 5)]! & bit) === 0) return false;
    words.and(word, ~bit);
    return true;
  }

  /** Upcall flag, selector, pending bits: cleared in this order, before what they stand for is handled. */
  function handlePending(v: number): void {
    const d = vcpu.domain(v);
    const info = kv.infoAddr(v);
    const sel = (info >> 2) + (domain.width(d) === 64 ? SEL64 : SEL32);
    u8[info + INFO.evtchn_upcall_pending] = 0;
    // The kernel's ports are below 1,024 and so in the selector's first word.
    const selected = words.exchange(sel, 0);
    const timer = takePort(d, selected, kv.timerPort(v));
    // The IPI only brings the VCPU here; what it is wanted for stands in its queue.
    takePort(d, selected, kv.ipiPort(v));
    if (kv.firstDevice(v) !== 0) irqs.begin(v, (port) => takePort(d, selected, port));
    if (!timer) return;
    // By the clock of this pCPU it may be some ns early; whatever is not due yet is asked for again.
    kv.setProgrammed(v, Infinity);
    expire(v);
    rotate(v);
  }

  function work(v: number, p: number): void {
    for (let n = 0; n < OPERATIONS_PER_SEGMENT; n++) {
      let current = kv.current(v) - 1;
      if (current === NONE) {
        current = tasks.pick(v);
        if (current === NONE) {
          if (tasks.pull(v)) continue;
          if (kv.handling(v) !== 0) startSegment(v, p);
          else goIdle(v, p);
          return;
        }
        kv.setSliceStart(v, kv.clock(v));
        if (task.computing(current) !== 0) {
          startSegment(v, p);
          return;
        }
      }
      switch (program.step(v, current, kv.clock(v))) {
        case STEP.compute:
          startSegment(v, p);
          return;
        case STEP.gone:
          kv.setCurrent(v, 0);
          break;
        case STEP.yielded:
          if (tasks.hasOthers(v)) tasks.requeue(v);
          break;
        case STEP.moved:
          kv.setCurrent(v, 0);
          tasks.rehome(current);
          tasks.wake(v, current);
          break;
      }
      kv.addDebt(v, operationNs);
      // A shutdown among the operations: nothing after it happens.
      if (leavesShutDown(v, p)) return;
      if (tasks.shouldPreempt(v) && kv.current(v) !== 0) tasks.requeue(v);
    }
    startSegment(v, p);
  }

  /** A VCPU of a domain that ended on another pCPU a moment ago: it does nothing more, and does not wait for the IPI. */
  function leavesShutDown(v: number, p: number): boolean {
    if (domain.isShutDown(vcpu.domain(v)) === 0) return false;
    pcpu.setGuestAt(p, Infinity);
    hv.smp.raiseSchedule(p);
    return true;
  }

  /**
   * The kernel of a domain with several VCPUs has one lock, taken at every entry: its VCPUs share tasks, queues and mutexes.
   * With a single VCPU there is nobody to share with, and as in a uniprocessor kernel no lock.
   */
  function enter(v: number, p: number): void {
    const d = vcpu.domain(v);
    if (domain.maxVcpus(d) > 1) spinlocks.acquire(guestLock(d), p);
  }

  function leave(v: number, p: number): void {
    const d = vcpu.domain(v);
    if (domain.maxVcpus(d) > 1) spinlocks.release(guestLock(d), p);
  }

  /** Interrupt handlers are through: those they woke may come before the task that was interrupted. */
  function handled(v: number): void {
    irqs.finish(v);
    if (kv.current(v) !== 0 && tasks.shouldPreempt(v)) tasks.requeue(v);
  }

  const unlocked: Executor = {
    run(v, p) {
      if (leavesShutDown(v, p)) return;
      if (kv.mode(v) === MODE.boot) {
        if (!boot.start(v)) return;
        readClock(v);
        kv.setSegmentStart(v, now());
        kv.setMode(v, MODE.run);
        expire(v);
      } else if (kv.mode(v) === MODE.idle) {
        readClock(v);
        leaveIdle(v);
      } else {
        readClock(v);
        settle(v);
        if (kv.handling(v) !== 0) {
          // A fraction of a nanosecond is what rounding leaves.
          if (kv.debt(v) >= 1) {
            startSegment(v, p);
            return;
          }
          handled(v);
        }
        const current = kv.current(v) - 1;
        // Only debt was paid, or a preempted event has more to do.
        if (current !== NONE && task.computing(current) !== 0 && program.remaining(current, kv.clock(v)) > 0) {
          startSegment(v, p);
          return;
        }
      }
      work(v, p);
    },

    upcall(v, p) {
      if (leavesShutDown(v, p)) return;
      const callback = vcpu.eventCallback(v);
      if (callback !== UPCALL_ENTRY) {
        pcpu.setGuestAt(p, Infinity);
        hv.domains.crash(vcpu.domain(v), callback === 0 ? CRASH.noCallback : CRASH.badCallback);
        return;
      }
      readClock(v);
      settle(v);
      const info = vcpu.infoAddr(v);
      // Delivery masks further upcalls; the return from the handler restores the mask.
      u8[info + INFO.evtchn_upcall_mask] = 1;
      handlePending(v);
      if (leavesShutDown(v, p)) return;
      // A handler computes, though nobody else may have anything to do.
      if (kv.handling(v) !== 0 && kv.mode(v) === MODE.idle) leaveIdle(v);
      if (kv.mode(v) === MODE.run) {
        if (kv.handling(v) === 0 && kv.current(v) !== 0 && tasks.shouldPreempt(v)) tasks.requeue(v);
        if (kv.current(v) === 0 && kv.handling(v) === 0) pcpu.setGuestAt(p, now());
        else startSegment(v, p);
      }
      u8[info + INFO.evtchn_upcall_mask] = 0;
    },

    stall(v, p, ns) {
      kv.addDebt(v, ns);
      if (pcpu.guestAt(p) < Infinity) pcpu.setGuestAt(p, pcpu.guestAt(p) + ns);
    },

    switchOut(v, p) {
      settle(v);
      kv.setRemaining(v, Math.max(0, pcpu.guestAt(p) - now()));
      pcpu.setGuestAt(p, Infinity);
    },

    switchIn(v, p) {
      kv.setSegmentStart(v, now());
      if (kv.mode(v) !== MODE.run || kv.remaining(v) === 0) pcpu.setGuestAt(p, now());
      // The guest's clock went on while it did not: what it waits for by the clock may be over by now.
      else {
        readClock(v);
        startSegment(v, p);
      }
    },
  };

  return {
    run(v, p) {
      enter(v, p);
      unlocked.run(v, p);
      leave(v, p);
    },
    upcall(v, p) {
      enter(v, p);
      unlocked.upcall(v, p);
      leave(v, p);
    },
    stall: unlocked.stall,
    switchOut(v, p) {
      enter(v, p);
      unlocked.switchOut(v, p);
      leave(v, p);
    },
    switchIn(v, p) {
      enter(v, p);
      unlocked.switchIn(v, p);
      leave(v, p);
    },
  };
}
