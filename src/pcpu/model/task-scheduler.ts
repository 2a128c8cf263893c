/**
 * The guest kernel's own scheduler: which task runs on which VCPU of the domain. Real-time tasks before the others; others
 * round robin by the 10 ms tick. A woken task prefers its VCPU, then an idle one; an idle VCPU pulls from busy siblings.
 */
import { NONE } from '../../shared/list.js';
import type { GuestHypercalls } from './hypercalls.js';
import type { ModelMemory } from './memory.js';
import { CLASS, MODE, TASK_STATE } from './records.js';

export interface TaskScheduler {
  /** Makes a task runnable, on behalf of VCPU v, and tells the VCPU it goes to. */
  wake(v: number, t: number): void;
  /** Puts the current task of v back in the queue. */
  requeue(v: number): void;
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
}

export function taskScheduler(mem: ModelMemory, calls: GuestHypercalls): TaskScheduler {
  const { hv, kv, kd, task, phase, runQueue } = mem;
  const { vcpu, domain } = hv.context;

  const queueOf = (v: number, t: number): number => 2 * v + (task.taskClass(t) === CLASS.other ? 1 : 0);

  function isAllowed(t: number, v: number): boolean {
    const id = vcpu.id(v);
    return ((phase.cpus(task.firstPhase(t) + task.phase(t), id >> 5) >>> (id & 31)) & 1) === 1;
  }

  function enqueue(v: number, t: number): void {
    task.setVcpu(t, v);
    const q = queueOf(v, t);
    let at: number = NONE;
    // Real-time tasks by priority, first come first served within one (sched(7)).
    if (task.taskClass(t) !== CLASS.other) {
      at = runQueue.first(q);
      while (at !== NONE && task.priority(at) >= task.priority(t)) at = runQueue.next(at);
    }
    runQueue.insertBefore(q, t, at);
    kv.addQueued(v, 1);
    kd.addQueued(task.domain(t), 1);
  }

  function dequeue(v: number, t: number): void {
    runQueue.remove(queueOf(v, t), t);
    kv.addQueued(v, -1);
    kd.addQueued(task.domain(t), -1);
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
    return home;
  }

  function first(v: number): number {
    const t = runQueue.first(2 * v);
    return t === NONE ? runQueue.first(2 * v + 1) : t;
  }

  function shouldPreempt(v: number): boolean {
    const current = kv.current(v) - 1;
    const realTime = runQueue.first(2 * v);
    if (realTime === NONE) return false;
    if (current === NONE || task.taskClass(current) === CLASS.other) return true;
    return task.priority(realTime) > task.priority(current);
  }

  return {
    wake(v, t) {
      task.setState(t, TASK_STATE.runnable);
      const target = placeFor(t);
      enqueue(target, t);
      if (target === v) return;
      // An idle VCPU sleeps in the hypervisor: its lock port if it polls there, otherwise its IPI port. A busy one is
      // only disturbed for a task that may preempt.
      if (kv.mode(target) === MODE.idle)
        calls.send(v, kv.polling(target) !== 0 ? kv.lockPort(target) : kv.ipiPort(target));
      else if (kv.mode(target) === MODE.run && shouldPreempt(target)) calls.send(v, kv.ipiPort(target));
    },
    requeue(v) {
      const t = kv.current(v) - 1;
      kv.setCurrent(v, 0);
      enqueue(v, t);
    },
    pick(v) {
      const t = first(v);
      if (t === NONE) return NONE;
      dequeue(v, t);
      kv.setCurrent(v, t + 1);
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
        for (let t = first(sibling); t !== NONE; t = runQueue.next(t)) {
          if (!isAllowed(t, v)) continue;
          dequeue(sibling, t);
          enqueue(v, t);
          return true;
        }
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
        if (isAllowed(t, v)) {
          task.setVcpu(t, v);
          return;
        }
      }
    },
  };
}
