/**
 * What tasks share: mutexes, conditions, barriers, suspension points. Semantics are those of the pthread calls that
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
}

export function sync(mem: ModelMemory, tasks: TaskScheduler): Sync {
  const { kv, task, resource, waiters } = mem;

  /** `counts`: whether its VCPU should poll for the wake-up rather than block. */
  function waitOn(t: number, r: number, counts: boolean): void {
    task.setState(t, TASK_STATE.waiting);
    waiters.append(r, t);
    if (counts) kv.addWaiters(task.vcpu(t), 1);
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
    if (next === NONE) return;
    waiters.remove(mutex, next);
    wakeWaiter(v, next);
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
    } else waiters.append(mutex, t);
    return true;
  }

  return {
    lock(_v, t, mutex) {
      if (resource.owner(mutex) === 0) {
        resource.setOwner(mutex, t + 1);
        return true;
      }
      waitOn(t, mutex, true);
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
  };
}
