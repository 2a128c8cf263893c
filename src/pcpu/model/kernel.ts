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
import { SHUTDOWN_crash, SHUTDOWN_poweroff } from '../../shared/public/sched.js';
import * as X from '../../shared/public/xen.js';
import { shared_info, vcpu_info, vcpu_time_info } from '../../shared/public/xen-layout.js';
import { STORE } from '../../shared/tool-words.js';
import type { Executor } from '../turn.js';
import { type BackEnds, backEnds } from './back-ends.js';
import { balloon } from './balloon.js';
import { guestBoot, UPCALL_ENTRY } from './boot.js';
import { domainBuilder } from './domain-builder.js';
import { type Drivers, drivers } from './drivers.js';
import { guestClock } from './guest-clock.js';
import { hotplug } from './hotplug.js';
import { guestHypercalls } from './hypercalls.js';
import type { KernelPlan } from './kernel-plan.js';
import { type ModelMemory, modelMemory } from './memory.js';
import { privcmd } from './privcmd.js';
import { programs } from './program.js';
import { MODE, QUEUES_PER_VCPU, TASK_STATE } from './records.js';
import { requests } from './requests.js';
import { STEP } from './step.js';
import { store } from './store.js';
import { sync } from './sync.js';
import { taskScheduler } from './task-scheduler.js';

/** Operations a guest performs in one instant before computing time must pass. */
const OPERATIONS_PER_SEGMENT = 64;
/** An NTP reference's answer is off by at most this, ns. */
const NTP_JITTER_NS = 100_000;

/** Error of the nth answer, ns: spread evenly by the golden ratio, the same in every run. */
const jitter = (n: number): number => Math.round(((Math.imul(n + 1, 0x9e3779b1) | 0) / 2 ** 31) * NTP_JITTER_NS);

export interface GuestKernelParams {
  /** Time one kernel operation takes, ns. */
  readonly operationNs: number;
  readonly logLines: number;
  /** Kernels that domain 0 may be asked to build, by their domains' records. */
  readonly kernels: readonly (KernelPlan | undefined)[];
}

export function guestKernel(image: Image, hv: Hypervisor, devices: Devices, params: GuestKernelParams): Executor {
  const mem: ModelMemory = modelMemory(image, hv);
  const { kv, kd, task, taskSched, resource, sleepers } = mem;
  const { machine, vcpu, domain, pcpu, locks: spinlocks, words, me, now, params: hvParams } = hv.context;
  const { i32, u8 } = image;
  const calls = guestHypercalls(mem);
  const clock = guestClock(hv.context);
  const tasks = taskScheduler(mem, calls);
  const locks = sync(mem, tasks);
  const irqs: Drivers = drivers(mem, calls, tasks, devices, locks.suspend);
  const asking = requests(mem, tasks, calls, sleep);
  const backs: BackEnds = backEnds(mem, calls);
  const demands = store(mem, calls);
  const boot = guestBoot(
    mem,
    calls,
    clock,
    (v) => {
      if (kd.storeArea(vcpu.domain(v)) !== 0) demands.open(v);
      asking.offer(v);
      if (vcpu.domain(v) === 0) backs.bind(v);
    },
    irqs,
  );
  const plug = hotplug(mem, calls, boot.bringUp);
  const setMemory = balloon(mem, calls);
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

  function sleep(v: number, t: number): void {
    task.setState(t, TASK_STATE.sleeping);
    sleepers.arm(v, t, task.deadline(t));
    programTimer(v);
  }

  const program = programs(
    mem,
    hv,
    tasks,
    locks,
    asking,
    {
      sleep,
      fork,
      exit(v, t) {
        const d = task.domain(t);
        kd.addLiveTasks(d, -1);
        if (kd.liveTasks(d) === 0) calls.shutdown(v, SHUTDOWN_poweroff);
      },
      tools: privcmd(mem, calls, store(mem, calls), domainBuilder(mem, calls, backs, params.kernels)),
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

  /** Writes a line to the hypervisor's console. */
  function say(v: number, text: string): void {
    for (let k = 0; k < text.length; k++) u8[kv.argAddr(v) + k] = text.charCodeAt(k);
    calls.call(v, X.__HYPERVISOR_console_io, X.CONSOLEIO_write, text.length, kv.argGuest(v), 0);
  }

  function fork(v: number, r: number, nowNs: number): void {
    const d = vcpu.domain(v);
    const number = resource.waiting(r);
    if (number === resource.users(r)) {
      // As rt-app, which leaves with an error.
      say(v, `too many forks: there were ${number}\n`);
      calls.shutdown(v, SHUTDOWN_crash);
      return;
    }
    const t = resource.owner(r) + number;
    resource.setWaiting(r, number + 1);
    taskSched.setIndex(t, kd.initialTasks(d) + kd.forked(d));
    taskSched.setForkNumber(t, number);
    kd.addForked(d, 1);
    kd.addLiveTasks(d, 1);
    task.setVcpu(t, v);
    if (task.delayNs(t) > 0) {
      task.setState(t, TASK_STATE.new);
      sleepers.arm(v, t, nowNs + task.delayNs(t));
      programTimer(v);
      return;
    }
    program.start(t, nowNs);
    tasks.rehome(t);
    tasks.wake(v, t);
  }

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
    kv.setClock(
      v,
      (u8[kv.infoAddr(v) + FLAGS]! & X.XEN_PVCLOCK_TSC_STABLE_BIT) !== 0 ? ns : clamped(vcpu.domain(v), ns),
    );
  }

  /** Keeps the hypervisor's timer at the earliest deadline of this VCPU's sleepers. */
  function programTimer(v: number): void {
    const earliest = Math.min(sleepers.earliest(v), kv.preemptAt(v));
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
    if (current === NONE || elapsed <= kernel) return;
    program.charge(current, elapsed - kernel);
    if (tasks.isMetered(current)) tasks.charge(v, current, elapsed - kernel);
  }

  /** Computes until the current task's event is done, or only until the kernel's debt is paid. */
  function startSegment(v: number, p: number): void {
    const current = kv.current(v) - 1;
    // Handlers come first, and what they do when they are through.
    const isTask = current !== NONE && task.computing(current) !== 0 && kv.handling(v) === 0;
    const work = isTask ? program.remaining(current, kv.clock(v)) : 0;
    kv.setSegmentStart(v, now());
    if (current !== NONE && tasks.isMetered(current)) {
      // The end of its budget or turn is nothing the task does: a timer must interrupt it. Without budget it does not even begin.
      kv.setPreemptAt(v, kv.clock(v) + kv.debt(v) + tasks.allowance(v));
      programTimer(v);
      if (tasks.isExhausted(current)) {
        pcpu.setGuestAt(p, now() + kv.debt(v));
        return;
      }
    } else kv.setPreemptAt(v, Infinity);
    pcpu.setGuestAt(p, now() + kv.debt(v) + work);
  }

  /** The current task of v has used up its budget: it sleeps until its next period. */
  function throttle(v: number): void {
    const current = kv.current(v) - 1;
    if (tasks.throttle(v)) sleep(v, current);
  }

  function goIdle(v: number, p: number): void {
    kv.setMode(v, MODE.idle);
    kv.setPreemptAt(v, Infinity);
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
      if (task.state(due) === TASK_STATE.new) {
        program.start(due, t);
        tasks.rehome(due);
      } else if (taskSched.isThrottled(due) !== 0) tasks.replenish(due, t);
      else program.awake(due, t);
      tasks.wake(v, due);
    }
    programTimer(v);
  }

  /** The tick, or the timer of a turn: tasks that share the VCPU take turns. */
  function rotate(v: number): void {
    if (tasks.isTurnOver(v, CLOCK_SLACK_NS)) tasks.turnOver(v);
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

  /** Does what the domain's tools want of it. */
  function obey(v: number): void {
    const d = vcpu.domain(v);
    const reason = demands.wanted(d, STORE.shutdown);
    if (reason !== 0) {
      calls.shutdown(v, reason - 1);
      return;
    }
    const vcpus = demands.wanted(d, STORE.vcpus);
    if (vcpus !== 0) plug.want(v, vcpus);
    const pages = demands.wanted(d, STORE.pages);
    if (pages !== 0) setMemory(v, pages);
  }

  /** A VCPU that is to go goes, and does nothing after it. */
  function leavesDomain(v: number, p: number): boolean {
    if (!plug.isLeaving(v)) return false;
    plug.leave(v);
    // Here it goes on when it comes back.
    pcpu.setGuestAt(p, now());
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
    const isCalled = takePort(d, selected, kv.ipiPort(v));
    if (isCalled && kv.adopted(v) !== 0) {
      kv.setAdopted(v, 0);
      programTimer(v);
    }
    if (kv.storePort(v) !== 0 && takePort(d, selected, kv.storePort(v))) obey(v);
    if (kv.consolePort(v) !== 0 && takePort(d, selected, kv.consolePort(v))) locks.broadcast(v, kd.toolPoint(d) - 1);
    // Channels of services notify VCPU 0.
    if (kd.fronts(d) + kd.backs(d) > 0 && vcpu.id(v) === 0) asking.takeEvents(v, (port) => takePort(d, selected, port));
    if (kv.firstDevice(v) !== 0) irqs.begin(v, (port) => takePort(d, selected, port));
    if (d === 0 && vcpu.id(v) === 0) {
      const ns = backs.begin(v, (port) => takePort(d, selected, port));
      if (ns > 0) {
        kv.setHandling(v, 1);
        kv.addDebt(v, ns);
      }
    }
    if (!timer) return;
    // What the timer was for is looked at below, or when the next task begins to compute.
    kv.setPreemptAt(v, Infinity);
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
          if (!tasks.yield(v)) {
            // Nobody else here: perhaps another domain has something to do.
            kv.addDebt(v, operationNs);
            calls.yield(v);
            startSegment(v, p);
            return;
          }
          if (kv.current(v) !== 0 && tasks.isExhausted(current)) throttle(v);
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
      if (tasks.shouldPreempt(v) && kv.current(v) !== 0) tasks.preempt(v);
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
    if (vcpu.domain(v) === 0 && vcpu.id(v) === 0) backs.finish(v);
    if (kv.current(v) !== 0 && tasks.shouldPreempt(v)) tasks.preempt(v);
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
        if (leavesDomain(v, p)) return;
      } else if (kv.mode(v) === MODE.idle || kv.mode(v) === MODE.down) {
        readClock(v);
        leaveIdle(v);
        if (leavesDomain(v, p)) return;
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
        // Only debt was paid, or a preempted event has more to do. What ended just with the budget did end.
        if (current !== NONE && task.computing(current) !== 0 && program.remaining(current, kv.clock(v)) > 0) {
          if (!tasks.isExhausted(current)) {
            startSegment(v, p);
            return;
          }
          throttle(v);
        }
      }
      kv.setPreemptAt(v, Infinity);
      work(v, p);
    },

    mayUpcall: () => true,

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
      if (kv.mode(v) !== MODE.boot && kv.mode(v) !== MODE.down && leavesDomain(v, p)) {
        u8[info + INFO.evtchn_upcall_mask] = 0;
        return;
      }
      // A handler computes, though nobody else may have anything to do.
      if (kv.handling(v) !== 0 && kv.mode(v) === MODE.idle) leaveIdle(v);
      if (kv.mode(v) === MODE.run) {
        if (kv.handling(v) === 0 && kv.current(v) !== 0 && tasks.shouldPreempt(v)) tasks.preempt(v);
        if (kv.current(v) === 0 && kv.handling(v) === 0) pcpu.setGuestAt(p, now());
        else startSegment(v, p);
      }
      u8[info + INFO.evtchn_upcall_mask] = 0;
    },

    stall(v, p, ns) {
      kv.addDebt(v, ns);
      if (pcpu.guestAt(p) < Infinity) pcpu.setGuestAt(p, pcpu.guestAt(p) + ns);
    },

    // Where it begins is the entry point, which the hypervisor keeps.
    initialise: () => 0,
    // It has no page tables.
    flushTlb() {},
    switchedTable() {},

    made(v) {
      for (const [region, each] of [
        ['k-vcpu', 1],
        ['k-fair', 1],
        ['k-queue', QUEUES_PER_VCPU],
      ] as const) {
        const { base, size } = image.region(region);
        u8.fill(0, base + v * each * size, base + (v + 1) * each * size);
      }
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
    mayUpcall: unlocked.mayUpcall,
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
    made: unlocked.made,
    initialise: unlocked.initialise,
    flushTlb: unlocked.flushTlb,
    switchedTable: unlocked.switchedTable,
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
