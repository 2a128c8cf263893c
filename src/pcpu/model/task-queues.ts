/**
 * The run queues of the guest kernel's VCPUs, one a class: SCHED_DEADLINE by deadline, real-time tasks by priority, the others
 * in turn or, where their weights differ, by virtual time.
 */
import { NONE } from '../../shared/list.js';
import type { ModelMemory } from './memory.js';
import { CLASS, QUEUES_PER_VCPU } from './records.js';

export interface TaskQueues {
  /** The task of the best class that is first there, or NONE. */
  first(v: number): number;
  /** Every queued task of v from the best on, until `take` says so. */
  find(v: number, take: (t: number) => boolean): number;
  /** @param ahead before its equals: a real-time task that was preempted has not had its turn */
  enqueue(v: number, t: number, ahead: boolean): void;
  dequeue(v: number, t: number): void;
  /** Whether a runs before b whatever turn it is. */
  isMoreUrgent(a: number, b: number): boolean;
  /** Makes v the VCPU of a task that is not queued. */
  moveTo(t: number, v: number): void;
}

export function taskQueues({ kv, kd, fairness, task, taskSched, runQueue }: ModelMemory): TaskQueues {
  const [DEADLINE, REAL_TIME, OTHER] = [0, 1, 2];

  function rankOf(t: number): number {
    const taskClass = task.taskClass(t);
    return taskClass === CLASS.other ? OTHER : taskClass === CLASS.deadline ? DEADLINE : REAL_TIME;
  }

  function isMoreUrgent(a: number, b: number): boolean {
    const rank = rankOf(a);
    if (rank !== rankOf(b)) return rank < rankOf(b);
    if (rank === DEADLINE) return taskSched.queuedBy(a) < taskSched.queuedBy(b);
    return rank === REAL_TIME && task.priority(a) > task.priority(b);
  }

  /** The first one in queue q that t comes before, or NONE. */
  function placeOf(q: number, t: number, ahead: boolean): number {
    const rank = rankOf(t);
    if (rank === OTHER && kd.isWeighted(task.domain(t)) === 0) return NONE;
    let at = runQueue.first(q);
    if (rank === OTHER) {
      while (at !== NONE && taskSched.virtualTime(at) <= taskSched.virtualTime(t)) at = runQueue.next(at);
    } else if (ahead) {
      while (at !== NONE && isMoreUrgent(at, t)) at = runQueue.next(at);
    } else {
      while (at !== NONE && !isMoreUrgent(t, at)) at = runQueue.next(at);
    }
    return at;
  }

  function moveTo(t: number, v: number): void {
    const home = task.vcpu(t);
    if (home === v) return;
    // Virtual time is of a VCPU: what counts is how far a task is ahead of the others there.
    if (kd.isWeighted(task.domain(t)) !== 0)
      taskSched.addVirtualTime(t, fairness.minVirtual(v) - fairness.minVirtual(home));
    task.setVcpu(t, v);
  }

  return {
    first(v) {
      for (let q = QUEUES_PER_VCPU * v; q < QUEUES_PER_VCPU * (v + 1); q++) {
        const t = runQueue.first(q);
        if (t !== NONE) return t;
      }
      return NONE;
    },
    find(v, take) {
      for (let q = QUEUES_PER_VCPU * v; q < QUEUES_PER_VCPU * (v + 1); q++) {
        for (let t = runQueue.first(q); t !== NONE; t = runQueue.next(t)) if (take(t)) return t;
      }
      return NONE;
    },
    enqueue(v, t, ahead) {
      moveTo(t, v);
      const q = QUEUES_PER_VCPU * v + rankOf(t);
      runQueue.insertBefore(q, t, placeOf(q, t, ahead));
      kv.addQueued(v, 1);
      if (rankOf(t) === OTHER) fairness.addLoad(v, taskSched.weight(t));
      kd.addQueued(task.domain(t), 1);
    },
    dequeue(v, t) {
      runQueue.remove(QUEUES_PER_VCPU * v + rankOf(t), t);
      kv.addQueued(v, -1);
      if (rankOf(t) === OTHER) fairness.addLoad(v, -taskSched.weight(t));
      kd.addQueued(task.domain(t), -1);
    },
    isMoreUrgent,
    moveTo,
  };
}
