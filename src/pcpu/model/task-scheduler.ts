/**
 * The guest kernel's own scheduler: which task runs on which VCPU of the domain. SCHED_DEADLINE before real-time tasks before the
 * others; others take turns by the 10 ms tick, or share by weight where nice values differ. A woken task prefers its VCPU,
 * then an idle one; an idle VCPU pulls from busy siblings.
 */
import { NONE } from '../../shared/list.js';
import { deadlineClass } from './deadline-class.js';
import { fairClass } from './fair-class.js';
import type { GuestHypercalls } from './hypercalls.js';
import type { ModelMemory } from './memory.js';
import { type Inheritance, inheritance } from './priority-inheritance.js';
import { CLASS, MODE, TASK_STATE } from './records.js';
import { taskQueues } from './task-queues.js';

/** Slice of tasks that take turns on a VCPU, ns; counted in ticks of the 10 ms ticker. */
const TASK_SLICE_NS = 10e6;

export interface TaskScheduler {
  readonly inheritance: Inheritance;
  /** Makes a task runnable, on behalf of VCPU v, and tells the VCPU it goes to. */
  wake(v: number, t: number): void;
  /** The current task of v was preempted: it goes back before its equals. */
  preempt(v: number): void;
  /** The current task of v has had its turn. */
  turnOver(v: number): void;
  /** The current task of v yields; false when nobody else could run and it goes on. */
  yield(v: number): boolean;
  /** Next task to run on v (removed from its queue, now current), or NONE. */
  pick(v: number): number;
  /** Takes a queued task of a sibling for the idle VCPU v; returns whether there was one. */
  pull(v: number): boolean;
  /** Whether a queued task should run before the current one. */
  shouldPreempt(v: number): boolean;
  hasOthers(v: number): boolean;
  isAllowed(t: number, v: number): boolean;
  /** Moves a task that is not queued to a VCPU its phase allows. */
  rehome(t: number): void;
  /** Whether running times of t count: its class gives it a budget, or a share by weight. */
  isMetered(t: number): boolean;
  /** The current task of v, which is metered, computed for `ns`. */
  charge(v: number, t: number, ns: number): void;
  /** How long the current task of v, which is metered, may compute on, ns; Infinity = as long as it likes. */
  allowance(v: number): number;
  /** Whether others of its class are due. Asked at ticks and timers. @param slackNs of the clock */
  isTurnOver(v: number, slackNs: number): boolean;
  /** Whether t has used up its budget; and puts it, if current, to sleep until `task.deadline`. False: its next period has begun. */
  isExhausted(t: number): boolean;
  throttle(v: number): boolean;
  /** Gives a throttled task its next budget. */
  replenish(t: number, nowNs: number): void;
  /** The class that a phase sets. t is not queued. */
  setClass(t: number, phase: number, nowNs: number): void;
}

export function taskScheduler(mem: ModelMemory, calls: GuestHypercalls): TaskScheduler {
  const { hv, kv, kd, task, taskSched, phase } = mem;
  const { vcpu, domain } = hv.context;
  const queues = taskQueues(mem);
  const fair = fairClass(mem);
  const deadlines = deadlineClass(mem);
  const inherited = inheritance(mem, queues);

  const isWeighted = (t: number): boolean => kd.isWeighted(task.domain(t)) !== 0;
  const isFair = (t: number): boolean => task.taskClass(t) === CLASS.other && isWeighted(t);

  function isAllowed(t: number, v: number): boolean {
    const id = vcpu.id(v);
    return ((phase.cpus(task.firstPhase(t) + task.phase(t), id >> 5) >>> (id & 31)) & 1) === 1;
  }

  /** A VCPU that is idle and has not been given work yet. */
  const isFree = (v: number): boolean => kv.mode(v) === MODE.idle && kv.queued(v) === 0;

  function placeFor(t: number): number {
    const home = task.vcpu(t);
    if (isFree(home)) return home;
    const d = task.domain(t);
    const first = domain.firstVcpu(d);
    const n = domain.maxVcpus(d);
    for (let k = 1; k < n; k++) {
      const v = first + ((home - first + k) % n);
      if (isFree(v) && isAllowed(t, v)) return v;
    }
    // A VCPU that went takes nobody any more.
    return kv.online(home) !== 0 ? home : first;
  }

  function shouldPreempt(v: number): boolean {
    const t = queues.first(v);
    if (t === NONE) return false;
    const current = kv.current(v) - 1;
    if (current === NONE) return task.taskClass(t) !== CLASS.other;
    return queues.isMoreUrgent(t, current) || (isFair(t) && fair.preempts(t, current));
  }

  function requeue(v: number, ahead: boolean): void {
    const t = kv.current(v) - 1;
    kv.setCurrent(v, 0);
    queues.enqueue(v, t, ahead);
  }

  return {
    inheritance: inherited,
    wake(v, t) {
      const wasThrottled = taskSched.isThrottled(t) !== 0;
      task.setState(t, TASK_STATE.runnable);
      taskSched.setIsThrottled(t, 0);
      if (taskSched.ownClass(t) === CLASS.deadline && !wasThrottled) deadlines.wake(t, kv.clock(v));
      if (isFair(t)) fair.wake(t);
      const target = placeFor(t);
      queues.enqueue(target, t, false);
      if (target === v) return;
      // An idle VCPU sleeps in the hypervisor: its lock port if it polls there, otherwise its IPI port. A busy one is
      // only disturbed for a task that may preempt, or whose coming makes the current turn shorter.
      if (kv.mode(target) === MODE.idle)
        calls.send(v, kv.polling(target) !== 0 ? kv.lockPort(target) : kv.ipiPort(target));
      else if (kv.mode(target) === MODE.run && (isFair(t) || shouldPreempt(target))) calls.send(v, kv.ipiPort(target));
    },
    preempt: (v) => requeue(v, true),
    turnOver: (v) => requeue(v, false),
    yield(v) {
      const t = kv.current(v) - 1;
      if (task.taskClass(t) === CLASS.deadline) {
        deadlines.giveUp(t);
        return true;
      }
      if (kv.queued(v) === 0) return false;
      if (isFair(t)) fair.fallBehind(v, t);
      requeue(v, false);
      return true;
    },
    pick(v) {
      const t = queues.first(v);
      if (t === NONE) return NONE;
      queues.dequeue(v, t);
      kv.setCurrent(v, t + 1);
      kv.setTurnUsed(v, 0);
      return t;
    },
    pull(v) {
      const d = vcpu.domain(v);
      if (kd.queued(d) === 0) return false;
      const firstVcpu = domain.firstVcpu(d);
      const n = domain.maxVcpus(d);
      for (let k = 1; k < n; k++) {
        const sibling = firstVcpu + ((v - firstVcpu + k) % n);
        // One that was just woken for this work is on its way; leave it what it was woken for.
        if (kv.queued(sibling) === 0 || kv.mode(sibling) !== MODE.run) continue;
        const t = queues.find(sibling, (candidate) => isAllowed(candidate, v));
        if (t === NONE) continue;
        queues.dequeue(sibling, t);
        queues.enqueue(v, t, false);
        return true;
      }
      return false;
    },
    shouldPreempt,
    hasOthers: (v) => kv.queued(v) > 0,
    isAllowed,
    rehome(t) {
      const home = task.vcpu(t);
      if (isAllowed(t, home)) return;
      const d = task.domain(t);
      const firstVcpu = domain.firstVcpu(d);
      const n = domain.maxVcpus(d);
      for (let k = 1; k < n; k++) {
        const v = firstVcpu + ((home - firstVcpu + k) % n);
        if (kv.online(v) !== 0 && isAllowed(t, v)) {
          queues.moveTo(t, v);
          return;
        }
      }
    },
    isMetered: (t) => task.taskClass(t) === CLASS.deadline || isFair(t),
    charge(v, t, ns) {
      kv.addTurnUsed(v, ns);
      if (task.taskClass(t) === CLASS.deadline) deadlines.charge(t, ns);
      else fair.charge(v, t, ns);
    },
    allowance(v) {
      const t = kv.current(v) - 1;
      if (task.taskClass(t) !== CLASS.deadline) return Math.max(0, fair.turn(v, t) - kv.turnUsed(v));
      return taskSched.ownClass(t) === CLASS.deadline ? Math.max(0, taskSched.budget(t)) : Infinity;
    },
    isTurnOver(v, slackNs) {
      const t = kv.current(v) - 1;
      if (t === NONE || kv.queued(v) === 0) return false;
      const taskClass = task.taskClass(t);
      if (taskClass === CLASS.deadline || taskClass === CLASS.fifo) return false;
      if (isFair(t)) return kv.turnUsed(v) >= fair.turn(v, t) - slackNs;
      return kv.clock(v) - kv.sliceStart(v) >= TASK_SLICE_NS - slackNs;
    },
    isExhausted: deadlines.isExhausted,
    throttle(v) {
      const t = kv.current(v) - 1;
      const until = deadlines.nextPeriod(t);
      if (until <= kv.clock(v)) {
        deadlines.replenish(t, kv.clock(v));
        requeue(v, false);
        return false;
      }
      kv.setCurrent(v, 0);
      taskSched.setIsThrottled(t, 1);
      task.setDeadline(t, until);
      return true;
    },
    replenish: deadlines.replenish,
    setClass(t, ph, nowNs) {
      taskSched.setOwnClass(t, phase.taskClass(ph));
      taskSched.setOwnPriority(t, phase.priority(ph));
      taskSched.setWeight(t, phase.weight(ph));
      taskSched.setDlRuntime(t, phase.dlRuntime(ph));
      taskSched.setDlDeadline(t, phase.dlDeadline(ph));
      taskSched.setDlPeriod(t, phase.dlPeriod(ph));
      if (phase.taskClass(ph) === CLASS.deadline) deadlines.begin(t, nowNs);
      inherited.update(t);
    },
  };
}
