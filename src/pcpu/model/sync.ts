/**
 * What tasks share: mutexes, conditions, barriers, suspension points, semaphores. Semantics are those of the pthread calls that
 * rt-app makes for the same events. A mutex is handed to its first waiter, so a holder whose VCPU is preempted keeps all
 * others waiting: lock-holder preemption.
 */
import { NONE } from '../../shared/list.js';
import type { ModelMemory } from './memory.js';
import { TASK_STATE } from './records.js';
import type { TaskScheduler } from './task-scheduler.js';

export interface Sync {
  /** Returns whether the task goes on; otherwise it waits. All take the VCPU the task runs on. */
  lock(v: number, t: number, mutex: number): boolean;
  unlock(v: number, t: number, mutex: number): void;
  wait(v: number, t: number, cond: number, mutex: number): void;
  signal(v: number, cond: number): void;
  broadcast(v: number, cond: number): void;
  barrier(v: number, t: number, barrier: number): boolean;
  suspend(t: number, point: number): void;
  post(v: number, semaphore: number): void;
  /** Returns whether the task goes on. */
  down(t: number, semaphore: number): boolean;
}

export function sync(mem: ModelMemory, tasks: TaskScheduler): Sync {
  const { kv, kd, task, taskSched, resource, waiters } = mem;
  const { inheritance } = tasks;

  const inherits = (t: number): boolean => kd.inherits(task.domain(t)) !== 0;

  /** `counts`: whether its VCPU should poll for the wake-up rather than block. */
  function waitOn(t: number, r: number, counts: boolean): void {
    task.setState(t, TASK_STATE.waiting);
    waiters.append(r, t);
    if (counts) kv.addWaiters(task.vcpu(t), 1);
  }

  /** t, which waits already, is to get this mutex, which somebody holds. */
  function queueFor(mutex: number, t: number): void {
    if (!inherits(t)) {
      waiters.append(mutex, t);
      return;
    }
    inheritance.addWaiter(mutex, t);
    taskSched.setBlockedOn(t, mutex + 1);
    inheritance.update(resource.owner(mutex) - 1);
  }

  function wakeWaiter(v: number, t: number): void {
    kv.addWaiters(task.vcpu(t), -1);
    tasks.wake(v, t);
  }

  function unlock(v: number, t: number, mutex: number): void {
    // POSIX: unlocking what one does not own is an error without effect.
    if (resource.owner(mutex) !== t + 1) return;
    const next = waiters.first(mutex);
    resource.setOwner(mutex, next + 1);
    if (next !== NONE) waiters.remove(mutex, next);
    if (inherits(t)) {
      // Who gets it takes over what the others that wait lend; who had it gives that back.
      if (next !== NONE) {
        taskSched.setBlockedOn(next, 0);
        inheritance.update(next);
      }
      inheritance.update(t);
    }
    if (next !== NONE) wakeWaiter(v, next);
  }

  /** A waiter of a condition must own its mutex again before it goes on: it gets it, or joins the mutex's queue. */
  function signal(v: number, cond: number): boolean {
    const t = waiters.first(cond);
    if (t === NONE) return false;
    waiters.remove(cond, t);
    const mutex = task.mutex(t) - 1;
    task.setMutex(t, 0);
    if (mutex === NONE) {
      // A suspended task; resume is a broadcast.
      tasks.wake(v, t);
    } else if (resource.owner(mutex) === 0) {
      resource.setOwner(mutex, t + 1);
      wakeWaiter(v, t);
    } else queueFor(mutex, t);
    return true;
  }

  return {
    lock(_v, t, mutex) {
      if (resource.owner(mutex) === 0) {
        resource.setOwner(mutex, t + 1);
        return true;
      }
      task.setState(t, TASK_STATE.waiting);
      kv.addWaiters(task.vcpu(t), 1);
      queueFor(mutex, t);
      return false;
    },
    unlock,
    wait(v, t, cond, mutex) {
      task.setMutex(t, mutex + 1);
      waitOn(t, cond, true);
      unlock(v, t, mutex);
    },
    signal: (v, cond) => {
      signal(v, cond);
    },
    broadcast(v, cond) {
      while (signal(v, cond));
    },
    barrier(v, t, barrier) {
      if (resource.waiting(barrier) + 1 < resource.users(barrier)) {
        resource.addWaiting(barrier, 1);
        waitOn(t, barrier, true);
        return false;
      }
      resource.setWaiting(barrier, 0);
      for (let other = waiters.first(barrier); other !== NONE; other = waiters.first(barrier)) {
        waiters.remove(barrier, other);
        wakeWaiter(v, other);
      }
      return true;
    },
    suspend: (t, point) => waitOn(t, point, false),
    post(v, semaphore) {
      const t = waiters.first(semaphore);
      if (t === NONE) {
        resource.addWaiting(semaphore, 1);
        return;
      }
      // Handed to the first who waits, so that nobody comes in between.
      waiters.remove(semaphore, t);
      tasks.wake(v, t);
    },
    down(t, semaphore) {
      if (resource.waiting(semaphore) > 0) {
        resource.addWaiting(semaphore, -1);
        return true;
      }
      waitOn(t, semaphore, false);
      return false;
    },
  };
}
