/**
 * Priority inheritance (`pi_enabled`): who holds a mutex runs by the class and priority of the most urgent task that waits for it,
 * and so does whoever that one waits for. As in Linux, nice values are not inherited. A holder that is throttled stays so until its
 * next period. Under the kernel's lock.
 */
import { NONE } from '../../shared/list.js';
import type { ModelMemory } from './memory.js';
import { CLASS, RESOURCE_KINDS, TASK_STATE } from './records.js';
import type { TaskQueues } from './task-queues.js';

export interface Inheritance {
  /** Puts t among the waiters of a mutex, the most urgent first. */
  addWaiter(mutex: number, t: number): void;
  /** What t holds, what waits for that, or its own class has changed. */
  update(t: number): void;
}

const MUTEX = RESOURCE_KINDS.indexOf('mutex');

export function inheritance(mem: ModelMemory, queues: TaskQueues): Inheritance {
  const { kd, task, taskSched, resource, waiters } = mem;

  /** The most urgent task that waits for anything t holds, or NONE. */
  function mostUrgentWaiter(t: number): number {
    const d = task.domain(t);
    let best: number = NONE;
    if (kd.inherits(d) === 0) return best;
    for (let r = kd.firstResource(d); r < kd.firstResource(d) + kd.resources(d); r++) {
      if (resource.kind(r) !== MUTEX || resource.owner(r) !== t + 1) continue;
      const first = waiters.first(r);
      if (first !== NONE && (best === NONE || queues.isMoreUrgent(first, best))) best = first;
    }
    return best;
  }

  function addWaiter(mutex: number, t: number): void {
    let at = waiters.first(mutex);
    while (at !== NONE && !queues.isMoreUrgent(t, at)) at = waiters.next(at);
    waiters.insertBefore(mutex, t, at);
  }

  function setScheduling(t: number, taskClass: number, priority: number, queuedBy: number): void {
    task.setTaskClass(t, taskClass);
    task.setPriority(t, priority);
    taskSched.setQueuedBy(t, queuedBy);
  }

  function update(t: number): void {
    const before = [task.taskClass(t), task.priority(t), taskSched.queuedBy(t)] as const;
    const isQueued = task.state(t) === TASK_STATE.runnable && mem.runQueue.isLinked(t);
    const v = task.vcpu(t);
    // Out of its queue first: the queue is found by the class.
    if (isQueued) queues.dequeue(v, t);
    setScheduling(t, taskSched.ownClass(t), taskSched.ownPriority(t), taskSched.dlAt(t));
    const donor = mostUrgentWaiter(t);
    if (donor !== NONE && task.taskClass(donor) !== CLASS.other && queues.isMoreUrgent(donor, t))
      setScheduling(t, task.taskClass(donor), task.priority(donor), taskSched.queuedBy(donor));
    if (isQueued) queues.enqueue(v, t, false);
    const changed =
      before[0] !== task.taskClass(t) || before[1] !== task.priority(t) || before[2] !== taskSched.queuedBy(t);
    const mutex = taskSched.blockedOn(t) - 1;
    // Two that wait for each other come to the same priority, and there it ends.
    if (!changed || mutex === NONE) return;
    waiters.remove(mutex, t);
    addWaiter(mutex, t);
    const holder = resource.owner(mutex) - 1;
    if (holder !== NONE) update(holder);
  }

  return { addWaiter, update };
}
