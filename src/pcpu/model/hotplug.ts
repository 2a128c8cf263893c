/**
 * VCPUs of a guest that come and go while it runs (in Linux: CPU hotplug by xenbus). VCPU 0 is told how many are wanted and stays.
 * A VCPU that is to go leaves by itself: it gives its tasks to VCPU 0, breaking the affinity of those that may run nowhere else, and
 * goes down. Everything here is under the domain's lock.
 */
import * as V from '../../shared/public/vcpu.js';
import { __HYPERVISOR_vcpu_op } from '../../shared/public/xen.js';
import type { GuestHypercalls } from './hypercalls.js';
import type { ModelMemory } from './memory.js';
import { MODE } from './records.js';
import { taskQueues } from './task-queues.js';

export interface Hotplug {
  /** On VCPU v, which is number 0: so many are wanted. */
  want(v: number, count: number): void;
  /** Whether v is to go. */
  isLeaving(v: number): boolean;
  /** v goes: it runs nothing any more when this is through. */
  leave(v: number): void;
}

/** @param bringUp starts VCPU number `id` for the first time, on behalf of v */
export function hotplug(mem: ModelMemory, calls: GuestHypercalls, bringUp: (v: number, id: number) => void): Hotplug {
  const { hv, kv, sleepers, task } = mem;
  const { vcpu, domain } = hv.context;
  const queues = taskQueues(mem);

  /** Brings v to the kernel, wherever it waits. */
  function kick(from: number, v: number): void {
    if (kv.mode(v) !== MODE.boot) calls.send(from, kv.polling(v) !== 0 ? kv.lockPort(v) : kv.ipiPort(v));
  }

  return {
    want(v, count) {
      const d = vcpu.domain(v);
      for (let id = 1; id < domain.maxVcpus(d); id++) {
        const other = v + id;
        const isWanted = id < count;
        // Who serves devices stays: nobody else knows them.
        if (isWanted === (kv.online(other) !== 0) || kv.firstDevice(other) !== 0) continue;
        kv.setOnline(other, isWanted ? 1 : 0);
        if (!isWanted) kick(v, other);
        else if (kv.mode(other) === MODE.boot) bringUp(v, id);
        else if (kv.mode(other) === MODE.down) calls.call(v, __HYPERVISOR_vcpu_op, V.VCPUOP_up, id, 0, 0);
      }
    },
    isLeaving: (v) => kv.online(v) === 0,
    leave(v) {
      const first = domain.firstVcpu(vcpu.domain(v));
      const current = kv.current(v) - 1;
      kv.setCurrent(v, 0);
      if (current >= 0) queues.enqueue(first, current, false);
      for (let t = queues.first(v); t >= 0; t = queues.first(v)) {
        queues.dequeue(v, t);
        queues.enqueue(first, t, false);
      }
      while (sleepers.size(v) > 0) {
        const t = sleepers.top(v);
        sleepers.disarm(v, t);
        queues.moveTo(t, first);
        sleepers.arm(first, t, task.deadline(t));
      }
      // It sees them when it comes: only it can set its timer.
      kv.setAdopted(first, 1);
      kick(v, first);
      kv.setMode(v, MODE.down);
      kv.setProgrammed(v, Infinity);
      kv.setPreemptAt(v, Infinity);
      kv.setDebt(v, 0);
      calls.call(v, __HYPERVISOR_vcpu_op, V.VCPUOP_down, vcpu.id(v), 0, 0);
    },
  };
}
