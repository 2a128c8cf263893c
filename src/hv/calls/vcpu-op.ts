/** vcpu_op (vcpu.h): a guest's own VCPUs: up, down, runstates, timers, registered areas. */

import { HARD } from '../../balancer/run-queues.js';
import { entryPointOffset } from '../../shared/guest-context.js';
import { PAGE_SIZE } from '../../shared/image.js';
import { vcpu_guest_context } from '../../shared/public/arch-x86-layout.js';
import {
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_ENXIO,
  XEN_ETIME,
} from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import { SHUTDOWN_poweroff } from '../../shared/public/sched.js';
import * as V from '../../shared/public/vcpu.js';
import { vcpu_info, vcpu_time_info } from '../../shared/public/xen-layout.js';
import { FAULT } from '../guest-memory.js';
import { NMI, VCPU, VPF_down } from '../records.js';
import { type CallParts, type Handler, pointer } from './call.js';
import { PRIVILEGED } from './toolstack.js';

/** Shortest period of a periodic timer, ns (Xen refuses less). */
const MIN_PERIOD_NS = 1e6;

export function vcpuOp(parts: CallParts): Handler {
  const { context, memory, smp, sched, events, timers, runstates, time } = parts;
  const { vcpu, domain, pcpu, queues, regs, image, now, words } = context;
  const nmi = image.column(VCPU, 'nmi');
  const INFO = offsetsOf(vcpu_info, 64);

  const widthOf = (v: number): 32 | 64 => (domain.width(vcpu.domain(v)) === 64 ? 64 : 32);

  function initialise(v: number, target: number): number {
    const width = widthOf(v);
    const arg = pointer(parts, v, 2, sizeOf(vcpu_guest_context, width));
    if (arg === FAULT) return -XEN_EFAULT;
    if (vcpu.isInitialised(target) !== 0) return -XEN_EEXIST;
    const result = parts.initialised(target, arg);
    if (result !== 0) return result;
    vcpu.setEntryPoint(target, memory.u32(arg + entryPointOffset(width)));
    vcpu.setIsInitialised(target, 1);
    return 0;
  }

  /** A domain whose last VCPU goes down could never come back: it is shut down, as in Xen. */
  function down(target: number): number {
    const d = vcpu.domain(target);
    for (let k = 0; k < domain.maxVcpus(d); k++) {
      const other = domain.firstVcpu(d) + k;
      if (other !== target && (vcpu.pauseFlags(other) & VPF_down) === 0) {
        if ((vcpu.pauseFlags(target) & VPF_down) === 0) sched.sleep(target, VPF_down);
        return 0;
      }
    }
    parts.domains.shutdown(d, SHUTDOWN_poweroff);
    return 0;
  }

  function getRunstate(v: number, target: number): number {
    const width = widthOf(v);
    const arg = pointer(parts, v, 2, sizeOf(V.vcpu_runstate_info, width));
    if (arg === FAULT) return -XEN_EFAULT;
    const at = offsetsOf(V.vcpu_runstate_info, width);
    // Under the lock, which also brings this pCPU's clock up to that of whoever changed it last.
    sched.locked(target, () => {
      memory.setU32(arg + at.state, vcpu.runstate(target));
      memory.setU64(arg + at.state_entry_time, vcpu.stateEntryTime(target));
      for (let k = 0; k < 4; k++) memory.setU64(arg + at.time + 8 * k, runstates.timeIn(target, k));
    });
    return 0;
  }

  /** Image address of frame number `frame` of domain d, which numbers its frames from 0 or as the machine does; 0: not its own. */
  function ownFrame(d: number, frame: number): number {
    if (domain.isPaged(d) === 0)
      return frame < domain.nrFrames(d) ? memory.translate(d, frame * PAGE_SIZE, 0, PAGE_SIZE) : 0;
    return parts.mm.tables.types.isOwner(frame, d) ? parts.mm.tables.frame(frame) : 0;
  }

  /** An area of v's domain whose address lies at `arg`. @returns FAULT: it cannot be */
  function lastingArea(v: number, arg: number, bytes: number): number {
    const d = vcpu.domain(v);
    const at = memory.translateLasting(d, memory.u32(arg), widthOf(v) === 64 ? memory.u32(arg + 4) : 0, bytes);
    if (at === FAULT || domain.isPaged(d) === 0) return at;
    return parts.mm.locked(d, () => (parts.mm.hold(d, at, bytes) ? at : FAULT));
  }

  /** An earlier area of v's domain at `old` (0 = none), which nobody writes any more, may be anything again. */
  function letGo(v: number, old: number, bytes: number): void {
    const d = vcpu.domain(v);
    if (old !== 0 && domain.isPaged(d) !== 0) parts.mm.locked(d, () => parts.mm.release(old, bytes));
  }

  function registerRunstate(v: number, target: number): number {
    const arg = pointer(parts, v, 2, sizeOf(V.vcpu_register_runstate_memory_area, 64));
    if (arg === FAULT) return -XEN_EFAULT;
    const bytes = sizeOf(V.vcpu_runstate_info, widthOf(v));
    const at = lastingArea(v, arg, bytes);
    if (at === FAULT) return -XEN_EFAULT;
    let old = 0;
    sched.locked(target, () => {
      old = vcpu.runstateAddr(target);
      vcpu.setRunstateAddr(target, at);
      vcpu.setRunstateDirty(target, 0xf);
      runstates.publish(target);
    });
    letGo(v, old, bytes);
    return 0;
  }

  function registerTime(v: number, target: number): number {
    const arg = pointer(parts, v, 2, sizeOf(V.vcpu_register_time_memory_area, 64));
    if (arg === FAULT) return -XEN_EFAULT;
    // The version is read and written as one word.
    if ((memory.u32(arg) & 3) !== 0) return -XEN_ENXIO;
    const at = lastingArea(v, arg, sizeOf(vcpu_time_info, 64));
    if (at === FAULT) return -XEN_EFAULT;
    // Under the lock a page has one writer, whoever's pCPU it is.
    let old = 0;
    sched.locked(target, () => {
      old = vcpu.timeAddr(target);
      vcpu.setTimeAddr(target, at);
      if (queues.entry.isRunning(target) !== 0) time.update(target);
    });
    letGo(v, old, sizeOf(vcpu_time_info, 64));
    // Its page is one that others write from now on.
    parts.flushTlb(target, undefined);
    return 0;
  }

  /** Moves the vcpu_info: its contents go along, and everything is made pending so that no event falls in between. */
  function registerInfo(v: number, target: number): number {
    const arg = pointer(parts, v, 2, sizeOf(V.vcpu_register_vcpu_info, 64));
    if (arg === FAULT) return -XEN_EFAULT;
    const { mfn, offset } = offsetsOf(V.vcpu_register_vcpu_info, 64);
    const bytes = sizeOf(vcpu_info, 64);
    const within = memory.u32(arg + offset);
    if (within > PAGE_SIZE - bytes) return -XEN_EINVAL;
    if ((within & 7) !== 0) return -XEN_ENXIO;
    if (vcpu.infoMoved(target) !== 0) return -XEN_EINVAL;
    // Another VCPU may be in the middle of using the old place.
    if (target !== v && (vcpu.pauseFlags(target) & VPF_down) === 0) return -XEN_EINVAL;
    const d = vcpu.domain(v);
    const frame = memory.u64(arg + mfn);
    const to = ownFrame(d, frame) + within;
    if (to === within || !parts.mm.locked(d, () => parts.mm.hold(d, to, bytes))) return -XEN_EINVAL;
    const from = vcpu.infoAddr(target);
    image.u8.copyWithin(to, from, from + bytes);
    if (!parts.domains.hasLegacyInfo(vcpu.id(target))) {
      image.u8.fill(0, to, to + bytes);
      image.u8[to + INFO.evtchn_upcall_mask] = 1;
    }
    vcpu.setInfoAddr(target, to);
    vcpu.setInfoMoved(target, 1);
    // Its page is one that others write from now on.
    parts.flushTlb(target, undefined);
    const is64 = widthOf(v) === 64;
    const sel = to + (is64 ? INFO.evtchn_pending_sel : offsetsOf(vcpu_info, 32).evtchn_pending_sel);
    memory.setU32(sel, 0xffffffff);
    if (is64) memory.setU32(sel + 4, 0xffffffff);
    // Everything is pending: what a sender wrote to the old place a moment ago is found by its port's own bit.
    events.markPending(target);
    sched.locked(target, () => {
      if (queues.entry.isRunning(target) !== 0) time.update(target);
    });
    return 0;
  }

  function setPeriodic(v: number, target: number): number {
    const arg = pointer(parts, v, 2, sizeOf(V.vcpu_set_periodic_timer, 64));
    if (arg === FAULT) return -XEN_EFAULT;
    const period = memory.u64(arg);
    if (period < MIN_PERIOD_NS || period > 2 ** 62) return -XEN_EINVAL;
    vcpu.setPeriodicPeriod(target, period);
    vcpu.setPeriodicLastEvent(target, now());
    retime(target);
    return 0;
  }

  /** Re-arms the ticker of a VCPU that runs now; one that does not is armed when it is switched in. */
  function retime(target: number): void {
    if (queues.entry.isRunning(target) === 0) return;
    const p = queues.entry.processor(target);
    if (!smp.isMine(p)) {
      smp.retime(p);
      return;
    }
    pcpu.setPeriodicAt(p, Infinity);
    timers.startPeriodic(target, p);
    smp.keyMoved(p);
  }

  function setSingleshot(v: number): number {
    const width = widthOf(v);
    const arg = pointer(parts, v, 2, sizeOf(V.vcpu_set_singleshot_timer, width));
    if (arg === FAULT) return -XEN_EFAULT;
    const at = offsetsOf(V.vcpu_set_singleshot_timer, width);
    const deadline = memory.u64(arg + at.timeout_abs_ns);
    const flags = memory.u32(arg + at.flags);
    if ((flags & V.VCPU_SSHOTTMR_future) !== 0 && deadline < time.systemTime(smp.self())) return -XEN_ETIME;
    timers.setSingleshot(v, deadline);
    return 0;
  }

  /** Modelled kernels have no handler, without which it is lost. */
  function sendNmi(v: number, target: number): number {
    if (regs.lo(v, 2) !== 0 || (widthOf(v) === 64 && regs.hi(v, 2) !== 0)) return -XEN_EINVAL;
    if (domain.isPaged(vcpu.domain(target)) === 0) return 0;
    if ((words.or((nmi.base + (target << nmi.shift)) | 0, NMI.pending) & NMI.pending) === 0) events.kick(target);
    return 0;
  }

  /** Where a VCPU of domain 0 is that stays there: APIC and ACPI number of its pCPU. */
  function getPhysid(v: number, target: number): number {
    const cpus = Array.from({ length: context.shape.pcpus }, (_, p) => p).filter((p) =>
      queues.masks.has(queues.affinity(target, HARD), p),
    );
    if (vcpu.domain(target) !== PRIVILEGED || cpus.length !== 1) return -XEN_EINVAL;
    const arg = pointer(parts, v, 2, sizeOf(V.vcpu_get_physid, 64));
    if (arg === FAULT) return -XEN_EFAULT;
    memory.setU32(arg, cpus[0]!);
    memory.setU32(arg + 4, cpus[0]!);
    return 0;
  }

  return (v) => {
    const cmd = regs.lo(v, 0);
    const id = regs.lo(v, 1) >>> 0;
    const d = vcpu.domain(v);
    if (id >= domain.maxVcpus(d)) return -XEN_ENOENT;
    const target = domain.firstVcpu(d) + id;
    switch (cmd) {
      case V.VCPUOP_initialise:
        return initialise(v, target);
      case V.VCPUOP_up:
        if (vcpu.isInitialised(target) === 0) return -XEN_EINVAL;
        if (!parts.domains.hasLegacyInfo(id) && vcpu.infoMoved(target) === 0) return -XEN_EINVAL;
        sched.clearFlag(target, VPF_down);
        return 0;
      case V.VCPUOP_down:
        return down(target);
      case V.VCPUOP_is_up:
        return (vcpu.pauseFlags(target) & VPF_down) === 0 ? 1 : 0;
      case V.VCPUOP_get_runstate_info:
        return getRunstate(v, target);
      case V.VCPUOP_register_runstate_memory_area:
        return registerRunstate(v, target);
      case V.VCPUOP_set_periodic_timer:
        return setPeriodic(v, target);
      case V.VCPUOP_stop_periodic_timer:
        vcpu.setPeriodicPeriod(target, 0);
        retime(target);
        return 0;
      case V.VCPUOP_set_singleshot_timer:
        return target === v ? setSingleshot(v) : -XEN_EINVAL;
      case V.VCPUOP_stop_singleshot_timer:
        if (target !== v) return -XEN_EINVAL;
        timers.stopSingleshot(v);
        return 0;
      case V.VCPUOP_register_vcpu_info:
        return registerInfo(v, target);
      case V.VCPUOP_register_vcpu_time_memory_area:
        return registerTime(v, target);
      case V.VCPUOP_send_nmi:
        return sendNmi(v, target);
      case V.VCPUOP_get_physid:
        return getPhysid(v, target);
      default:
        return -XEN_ENOSYS;
    }
  };
}
