/** Hypercalls as the guest kernel makes them: arguments written to its own page, registers set, the call made. */
import { highHalf, lowHalf } from '../../shared/clock.js';
import { XEN_DOMCTL_INTERFACE_VERSION } from '../../shared/public/domctl.js';
import { xen_domctl } from '../../shared/public/domctl-layout.js';
import {
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_virq,
  EVTCHNOP_send,
  evtchn_alloc_unbound,
  evtchn_bind_interdomain,
  evtchn_bind_ipi,
  evtchn_bind_virq,
} from '../../shared/public/event-channel.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import { XENPF_INTERFACE_VERSION, XENPF_settime64, xen_platform_op } from '../../shared/public/platform.js';
import { SCHEDOP_block, SCHEDOP_poll, SCHEDOP_shutdown, SCHEDOP_yield, sched_poll } from '../../shared/public/sched.js';
import * as X from '../../shared/public/xen.js';
import type { ModelMemory } from './memory.js';

/** Memory in which arguments are put together. */
export interface ArgumentArea {
  /** In the image, and as the hypercall has it. */
  readonly at: number;
  readonly guest: number;
}

export interface GuestHypercalls {
  /** Raw: number and up to four arguments whose high halves are 0. */
  call(v: number, nr: number, a0: number, a1: number, a2: number, a3: number): number;
  /** One of XEN_DOMCTL_* about the domain of this number. @param write the rest of the argument, which is zero, at an image address */
  domctl(v: number, cmd: number, domid: number, area: ArgumentArea, write?: (op: number) => void): number;
  setTimer(v: number, ns: number): void;
  block(v: number): void;
  yield(v: number): void;
  /** Polls one port until `timeoutNs` (absolute system time, Infinity = none). */
  poll(v: number, port: number, timeoutNs: number): void;
  send(v: number, port: number): void;
  shutdown(v: number, reason: number): void;
  /** UTC (s, ns) is now, and system time is `systemNs`. */
  setTime(v: number, seconds: number, nanoseconds: number, systemNs: number): void;
  bindVirq(v: number, virq: number, vcpuId: number): number;
  bindIpi(v: number, vcpuId: number): number;
  /** A port that domain `remote` may bind to, of domain `dom`, if not v's own, or a negated errno. */
  allocUnbound(v: number, remote: number, dom?: number): number;
  /** Binds to a port that domain `remote` allocated for us; our own port, or a negated errno. */
  bindInterdomain(v: number, remote: number, remotePort: number): number;
}

export function guestHypercalls({ hv, kv }: ModelMemory): GuestHypercalls {
  const { regs, vcpu, domain, image } = hv.context;
  const { i32 } = image;
  const { memory, hypercall } = hv;
  const [POLL_32, POLL_64] = [offsetsOf(sched_poll, 32), offsetsOf(sched_poll, 64)];
  const DOMCTL = offsetsOf(xen_domctl, 64);
  /** Offset of a list inside the argument page, behind the structure. */
  const LIST = 64;

  function call(v: number, nr: number, a0: number, a1: number, a2: number, a3: number): number {
    regs.setNr(v, nr);
    regs.setLo(v, 0, a0);
    regs.setHi(v, 0, 0);
    regs.setLo(v, 1, a1);
    regs.setHi(v, 1, 0);
    regs.setLo(v, 2, a2);
    regs.setHi(v, 2, 0);
    regs.setLo(v, 3, a3);
    regs.setHi(v, 3, 0);
    return hypercall.call(v);
  }

  const is64 = (v: number): boolean => domain.width(vcpu.domain(v)) === 64;

  return {
    call,
    domctl(v, cmd, domid, { at, guest }, write) {
      image.u8.fill(0, at, at + sizeOf(xen_domctl, 64));
      memory.setU32(at + DOMCTL.cmd, cmd);
      memory.setU32(at + DOMCTL.interface_version, XEN_DOMCTL_INTERFACE_VERSION);
      memory.setU16(at + DOMCTL.domain, domid);
      write?.(at);
      return call(v, X.__HYPERVISOR_domctl, guest, 0, 0, 0);
    },
    setTimer(v, deadlineNs) {
      // 0 would mean "no timer"; it can only be asked for in the very first nanosecond.
      const ns = Math.max(1, deadlineNs);
      regs.setNr(v, X.__HYPERVISOR_set_timer_op);
      regs.setLo(v, 0, lowHalf(ns));
      if (is64(v)) regs.setHi(v, 0, highHalf(ns));
      else regs.setLo(v, 1, highHalf(ns));
      hypercall.call(v);
    },
    block: (v) => {
      call(v, X.__HYPERVISOR_sched_op, SCHEDOP_block, 0, 0, 0);
    },
    yield: (v) => {
      call(v, X.__HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0, 0);
    },
    poll(v, port, timeoutNs) {
      const at = is64(v) ? POLL_64 : POLL_32;
      const arg = kv.argAddr(v);
      const list = kv.argGuest(v) + LIST;
      i32[(arg + at.ports) >> 2] = list;
      if (is64(v)) i32[(arg + at.ports + 4) >> 2] = 0;
      i32[(arg + at.nr_ports) >> 2] = 1;
      memory.setU64(arg + at.timeout, timeoutNs === Infinity ? 0 : Math.max(1, timeoutNs));
      i32[(arg + LIST) >> 2] = port;
      call(v, X.__HYPERVISOR_sched_op, SCHEDOP_poll, kv.argGuest(v), 0, 0);
    },
    send(v, port) {
      i32[kv.argAddr(v) >> 2] = port;
      call(v, X.__HYPERVISOR_event_channel_op, EVTCHNOP_send, kv.argGuest(v), 0, 0);
    },
    shutdown(v, reason) {
      i32[kv.argAddr(v) >> 2] = reason;
      call(v, X.__HYPERVISOR_sched_op, SCHEDOP_shutdown, kv.argGuest(v), 0, 0);
    },
    setTime(v, seconds, nanoseconds, systemNs) {
      const at = offsetsOf(xen_platform_op, 64);
      const arg = kv.argAddr(v);
      memory.setU32(arg + at.cmd, XENPF_settime64);
      memory.setU32(arg + at.interface_version, XENPF_INTERFACE_VERSION);
      memory.setU64(arg + at['u.settime64.secs'], seconds);
      memory.setU32(arg + at['u.settime64.nsecs'], nanoseconds);
      memory.setU32(arg + at['u.settime64.mbz'], 0);
      memory.setU64(arg + at['u.settime64.system_time'], systemNs);
      call(v, X.__HYPERVISOR_platform_op, kv.argGuest(v), 0, 0, 0);
    },
    bindVirq(v, virq, vcpuId) {
      const at = offsetsOf(evtchn_bind_virq, 64);
      const arg = kv.argAddr(v);
      memory.setU32(arg + at.virq, virq);
      memory.setU32(arg + at.vcpu, vcpuId);
      const rc = call(v, X.__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, kv.argGuest(v), 0, 0);
      return rc < 0 ? rc : memory.u32(arg + at.port);
    },
    bindIpi(v, vcpuId) {
      const at = offsetsOf(evtchn_bind_ipi, 64);
      const arg = kv.argAddr(v);
      memory.setU32(arg + at.vcpu, vcpuId);
      const rc = call(v, X.__HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, kv.argGuest(v), 0, 0);
      return rc < 0 ? rc : memory.u32(arg + at.port);
    },
    allocUnbound(v, remote, dom = X.DOMID_SELF) {
      const at = offsetsOf(evtchn_alloc_unbound, 64);
      const arg = kv.argAddr(v);
      memory.setU16(arg + at.dom, dom);
      memory.setU16(arg + at.remote_dom, remote);
      const rc = call(v, X.__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, kv.argGuest(v), 0, 0);
      return rc < 0 ? rc : memory.u32(arg + at.port);
    },
    bindInterdomain(v, remote, remotePort) {
      const at = offsetsOf(evtchn_bind_interdomain, 64);
      const arg = kv.argAddr(v);
      memory.setU16(arg + at.remote_dom, remote);
      memory.setU32(arg + at.remote_port, remotePort);
      const rc = call(v, X.__HYPERVISOR_event_channel_op, EVTCHNOP_bind_interdomain, kv.argGuest(v), 0, 0);
      return rc < 0 ? rc : memory.u32(arg + at.local_port);
    },
  };
}
