/**
 * Tasks of SCHED_OTHER and SCHED_IDLE whose weights differ: each has a virtual time, which grows with what it computes, the slower
 * the more it weighs, and whoever is behind runs. The idea, and the three constants, are CFS's (sched-design-CFS in Linux'
 * documentation; sched_latency_ns and its kin for one CPU).
 */
import { NONE } from '../../shared/list.js';
import type { ModelMemory } from './memory.js';
import { CLASS, QUEUES_PER_VCPU } from './records.js';

/** Every runnable task has its turn in this time, ns, unless turns became shorter than … */
const LATENCY_NS = 6e6;
const MIN_TURN_NS = 0.75e6;
/** A woken task preempts one that is ahead of it by more than this much of its own running time, ns. */
const WAKEUP_NS = 1e6;
const WEIGHT_0 = 1024;

export interface FairClass {
  /** t, on v, computed for `ns`. */
  charge(v: number, t: number, ns: number): void;
  /** t slept: it does not get back all that others ran meanwhile. */
  wake(t: number): void;
  /** t yields: it goes behind all others of v. */
  fallBehind(v: number, t: number): void;
  /** How long t may run on v before others are due, ns; Infinity = nobody waits. */
  turn(v: number, t: number): number;
  /** Whether a woken task is so far behind the one that runs that it need not wait for the end of its turn. */
  preempts(woken: number, running: number): boolean;
}

export function fairClass({ fairness, task, taskSched, runQueue }: ModelMemory): FairClass {
  const queue = (v: number): number => QUEUES_PER_VCPU * v + 2;

  return {
    charge(v, t, ns) {
      taskSched.addVirtualTime(t, (ns * WEIGHT_0) / taskSched.weight(t));
      const first = runQueue.first(queue(v));
      const behind =
        first === NONE ? taskSched.virtualTime(t) : Math.min(taskSched.virtualTime(t), taskSched.virtualTime(first));
      if (behind > fairness.minVirtual(v)) fairness.setMinVirtual(v, behind);
    },
    wake(t) {
      const least = fairness.minVirtual(task.vcpu(t)) - LATENCY_NS / 2;
      if (taskSched.virtualTime(t) < least) taskSched.setVirtualTime(t, least);
    },
    fallBehind(v, t) {
      const last = runQueue.last(queue(v));
      if (last !== NONE && taskSched.virtualTime(last) > taskSched.virtualTime(t))
        taskSched.setVirtualTime(t, taskSched.virtualTime(last));
    },
    turn(v, t) {
      if (fairness.load(v) === 0) return Infinity;
      const weight = taskSched.weight(t);
      return Math.max(MIN_TURN_NS, (LATENCY_NS * weight) / (weight + fairness.load(v)));
    },
    preempts(woken, running) {
      if (task.taskClass(running) !== CLASS.other) return false;
      const ahead = taskSched.virtualTime(running) - taskSched.virtualTime(woken);
      return ahead > (WAKEUP_NS * WEIGHT_0) / taskSched.weight(woken);
    },
  };
}
