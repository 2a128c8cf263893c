/**
 * The guest kernel's drivers of stand-in devices. At boot a VCPU binds the lines of the devices it serves. An interrupt's
 * handler masks the port, looks what its device has, and computes; when that is done it takes what it found, wakes the tasks that
 * wait for it, acknowledges the line and unmasks the port, in Linux' order for pirqs.
 */
import type { Devices } from '../../devices/devices.js';
import { DEVICE, DEVICE_KIND } from '../../devices/records.js';
import { NONE } from '../../shared/list.js';
import {
  BIND_PIRQ__WILL_SHARE,
  EVTCHNOP_bind_pirq,
  EVTCHNOP_bind_vcpu,
  EVTCHNOP_unmask,
  evtchn_bind_pirq,
  evtchn_bind_vcpu,
} from '../../shared/public/event-channel.js';
import { offsetsOf } from '../../shared/public/layout.js';
import * as P from '../../shared/public/physdev.js';
import { __HYPERVISOR_event_channel_op, __HYPERVISOR_physdev_op, DOMID_SELF } from '../../shared/public/xen.js';
import { shared_info } from '../../shared/public/xen-layout.js';
import type { GuestHypercalls } from './hypercalls.js';
import type { ModelMemory } from './memory.js';
import type { TaskScheduler } from './task-scheduler.js';

export interface Drivers {
  /** Binds the lines of v's devices. */
  bind(v: number): void;
  /**
   * Starts the handlers of v's devices whose ports `takePort` finds pending.
   * @returns whether there were any: then `handling` is set and their time is in v's debt
   */
  begin(v: number, takePort: (port: number) => boolean): void;
  /** The handlers of v are through. */
  finish(v: number): void;
  /** Task t waits for an interrupt of the device of `resource` that it has not `seen`; whether it can go on. */
  waitFor(t: number, resource: number, seen: number): boolean;
  /** Task t gives the disk of `resource` a request and waits for it. */
  submit(t: number, resource: number): void;
}

export function drivers(
  mem: ModelMemory,
  calls: GuestHypercalls,
  tasks: TaskScheduler,
  devices: Devices,
  suspend: (t: number, resource: number) => void,
): Drivers {
  const { hv, kv, resource, waiters } = mem;
  const { image, vcpu, domain, words, params } = hv.context;
  const { memory } = hv;
  const device = image.table(DEVICE);
  const isClassic = params.profile === 'classic';
  const MASK32 = offsetsOf(shared_info, 32).evtchn_mask >> 2;
  const MASK64 = offsetsOf(shared_info, 64).evtchn_mask >> 2;

  const firstOf = (v: number): number => kv.firstDevice(v) - 1;
  const after = (n: number): number => device.next(n) - 1;

  function op(v: number, nr: number, cmd: number): number {
    return calls.call(v, nr, cmd, kv.argGuest(v), 0, 0);
  }

  function must(rc: number, what: string, n: number): void {
    if (rc < 0) throw new Error(`guest kernel: ${what} for line ${device.irq(n)} failed with ${rc}`);
  }

  /** Domain 0 asks for a pirq; other domains were given theirs by the toolstack, with the number of the line. */
  function mapLine(v: number, n: number): void {
    device.setPirq(n, device.irq(n));
    if (isClassic || vcpu.domain(v) !== 0) return;
    const at = offsetsOf(P.physdev_map_pirq, 64);
    const arg = kv.argAddr(v);
    memory.setU16(arg + at.domid, DOMID_SELF);
    memory.setU32(arg + at.type, P.MAP_PIRQ_TYPE_GSI);
    memory.setU32(arg + at.index, device.irq(n));
    memory.setU32(arg + at.pirq, device.irq(n));
    must(op(v, __HYPERVISOR_physdev_op, P.PHYSDEVOP_map_pirq), 'map_pirq', n);
  }

  function bindLine(v: number, n: number): void {
    const at = offsetsOf(evtchn_bind_pirq, 64);
    const arg = kv.argAddr(v);
    memory.setU32(arg + at.pirq, device.pirq(n));
    memory.setU32(arg + at.flags, BIND_PIRQ__WILL_SHARE);
    must(op(v, __HYPERVISOR_event_channel_op, EVTCHNOP_bind_pirq), 'bind_pirq', n);
    device.setPort(n, memory.u32(arg + at.port));
    if (vcpu.id(v) === 0) return;
    memory.setU32(arg + offsetsOf(evtchn_bind_vcpu, 64).port, device.port(n));
    memory.setU32(arg + offsetsOf(evtchn_bind_vcpu, 64).vcpu, vcpu.id(v));
    must(op(v, __HYPERVISOR_event_channel_op, EVTCHNOP_bind_vcpu), 'bind_vcpu', n);
  }

  function askForEoi(v: number, n: number): void {
    const at = offsetsOf(P.physdev_irq_status_query, 64);
    const arg = kv.argAddr(v);
    memory.setU32(arg + at.irq, device.pirq(n));
    must(op(v, __HYPERVISOR_physdev_op, P.PHYSDEVOP_irq_status_query), 'irq_status_query', n);
    device.setNeedsEoi(n, memory.u32(arg + at.flags) & P.XENIRQSTAT_needs_eoi);
  }

  /** The first of v's devices on the same line, which may be n itself: it has the port. */
  function leaderOf(v: number, n: number): number {
    let first = firstOf(v);
    while (device.irq(first) !== device.irq(n)) first = after(first);
    return first;
  }

  function mask(d: number, port: number): void {
    const page = domain.sharedInfo(d) >> 2;
    words.or(page + (domain.width(d) === 64 ? MASK64 : MASK32) + (port >> 5), 1 << (port & 31));
  }

  function wakeAll(v: number, list: number, most: number): void {
    for (let left = most; left > 0; left--) {
      const t = waiters.first(list);
      if (t === NONE) return;
      waiters.remove(list, t);
      tasks.wake(v, t);
    }
  }

  function finishDevice(v: number, n: number): void {
    devices.take(n, device.found(n));
    device.addSeen(n, device.found(n) > 0 ? 1 : 0);
    device.setIsInHandler(n, 0);
    // A request has one task that waits for it; what comes from outside is for all who wait.
    const most = device.kind(n) === DEVICE_KIND.disk ? device.found(n) : Infinity;
    if (device.waiters(n) !== 0 && device.found(n) > 0) wakeAll(v, device.waiters(n) - 1, most);
  }

  return {
    bind(v) {
      for (let n = firstOf(v); n !== NONE; n = after(n)) {
        const leader = leaderOf(v, n);
        if (leader === n) {
          mapLine(v, n);
          bindLine(v, n);
          askForEoi(v, n);
        } else device.setPort(n, device.port(leader));
      }
    },
    begin(v, takePort) {
      for (let n = firstOf(v); n !== NONE; n = after(n)) {
        if (leaderOf(v, n) !== n || !takePort(device.port(n))) continue;
        mask(vcpu.domain(v), device.port(n));
        kv.setHandling(v, 1);
        // All on this line: which of them it was only they can tell.
        for (let k: number = n; k !== NONE; k = after(k)) {
          if (device.irq(k) !== device.irq(n)) continue;
          device.setIsInHandler(k, 1);
          device.setFound(k, devices.look(k));
          kv.addDebt(v, device.handlerNs(k) + device.found(k) * device.itemNs(k));
        }
      }
    },
    finish(v) {
      kv.setHandling(v, 0);
      for (let n = firstOf(v); n !== NONE; n = after(n)) {
        if (device.isInHandler(n) === 0) continue;
        finishDevice(v, n);
        for (let k = after(n); k !== NONE; k = after(k)) {
          if (device.irq(k) === device.irq(n) && device.isInHandler(k) !== 0) finishDevice(v, k);
        }
        const arg = kv.argAddr(v);
        const leader = leaderOf(v, n);
        if (device.needsEoi(leader) !== 0) {
          memory.setU32(arg, device.pirq(leader));
          op(v, __HYPERVISOR_physdev_op, P.PHYSDEVOP_eoi);
        }
        memory.setU32(arg, device.port(leader));
        op(v, __HYPERVISOR_event_channel_op, EVTCHNOP_unmask);
      }
    },
    waitFor(t, r, seen) {
      const count = device.seen(resource.owner(r) - 1);
      const isNew = count !== resource.owner(seen);
      resource.setOwner(seen, count);
      if (isNew) return true;
      // It will be woken by the next one, which it then has seen.
      resource.setOwner(seen, count + 1);
      suspend(t, r);
      return false;
    },
    submit(t, r) {
      suspend(t, r);
      devices.submit(resource.owner(r) - 1);
    },
  };
}
