/** sched_op in both forms (sched.h): a guest's own scheduling. */
import { fromHalves } from '../../shared/clock.js';
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import {
  SCHEDOP_block,
  SCHEDOP_poll,
  SCHEDOP_remote_shutdown,
  SCHEDOP_shutdown,
  SCHEDOP_shutdown_code,
  SCHEDOP_yield,
  SHUTDOWN_MAX,
  sched_poll,
  sched_shutdown,
} from '../../shared/public/sched.js';
import { vcpu_info } from '../../shared/public/xen-layout.js';
import { FAULT } from '../guest-memory.js';
import { type CallParts, type Handler, pointer } from './call.js';

/** Most ports one poll may name. */
const MAX_POLL_PORTS = 128;

export function schedOp(parts: CallParts): {
  readonly schedOp: Handler;
  readonly schedOpCompat: Handler;
  readonly setTimerOp: Handler;
} {
  const { context, memory, sched, events, timers, domains, smp, time } = parts;
  const { vcpu, domain, regs, image } = context;
  const { u8 } = image;
  const UPCALL_MASK = offsetsOf(vcpu_info, 64).evtchn_upcall_mask;
  const POLL_AT = { narrow: offsetsOf(sched_poll, 32), wide: offsetsOf(sched_poll, 64) };
  const POLL_BYTES = { narrow: sizeOf(sched_poll, 32), wide: sizeOf(sched_poll, 64) };
  const REASON = offsetsOf(sched_shutdown, 64).reason;

  function block(v: number): number {
    u8[vcpu.infoAddr(v) + UPCALL_MASK] = 0;
    sched.block(v);
    // An event that came between the guest's last look and here must not be slept through: look again, now that every
    // sender will find the VCPU blocked and wake it.
    if (events.needsDelivery(v)) sched.cancelBlock(v);
    else smp.raiseSchedule(smp.self());
    return 0;
  }

  function yieldCpu(v: number): number {
    sched.yield(v);
    return 0;
  }

  function poll(v: number, arg: number): number {
    const d = vcpu.domain(v);
    const at = domain.width(d) === 64 ? POLL_AT.wide : POLL_AT.narrow;
    const n = memory.u32(arg + at.nr_ports);
    if (n > MAX_POLL_PORTS) return -XEN_EINVAL;
    const list = memory.translateAt(d, arg + at.ports, 4 * n);
    if (list === FAULT) return -XEN_EFAULT;
    const timeout = memory.u64(arg + at.timeout);
    for (let k = 0; k < n; k++) if (!events.isValid(d, memory.u32(list + 4 * k))) return -XEN_EINVAL;

    sched.block(v);
    events.startPolling(v, n === 1 ? memory.u32(list) : -1);
    // The wake-up race again: whoever made a port pending before we were on record did not wake us.
    let pending = events.needsDelivery(v);
    for (let k = 0; k < n && !pending; k++) pending = events.isPending(d, memory.u32(list + 4 * k));
    if (pending || (timeout !== 0 && timeout <= time.systemTime(smp.self()))) {
      events.stopPolling(v);
      events.catchUp(v);
      sched.cancelBlock(v);
      return 0;
    }
    if (timeout !== 0) timers.setPoll(v, timeout);
    else timers.stopPoll(v);
    smp.raiseSchedule(smp.self());
    return 0;
  }

  function shutdown(v: number, reason: number): number {
    if (reason > SHUTDOWN_MAX) return -XEN_EINVAL;
    domains.shutdown(vcpu.domain(v), reason);
    return 0;
  }

  /** A time-out as set_timer_op takes it: signed, and wrapped jiffies of old kernels show up as the far future. */
  function deadline(lo: number, hi: number): number {
    const p = smp.self();
    const ns = fromHalves(lo, hi);
    if (hi >= 0 && ns - time.lastPair(p) <= 2 ** 50) return ns;
    const t = time.systemTime(p);
    return hi < 0 || ns - t > 2 ** 50 ? t + 100e6 : ns;
  }

  return {
    schedOp(v) {
      switch (regs.lo(v, 0)) {
        case SCHEDOP_yield:
          return yieldCpu(v);
        case SCHEDOP_block:
          return block(v);
        case SCHEDOP_shutdown: {
          const arg = pointer(parts, v, 1, sizeOf(sched_shutdown, 64));
          return arg === FAULT ? -XEN_EFAULT : shutdown(v, memory.u32(arg + REASON));
        }
        case SCHEDOP_shutdown_code: {
          const arg = pointer(parts, v, 1, sizeOf(sched_shutdown, 64));
          if (arg === FAULT) return -XEN_EFAULT;
          const reason = memory.u32(arg + REASON);
          if (reason > SHUTDOWN_MAX) return -XEN_EINVAL;
          domain.setShutdownCode(vcpu.domain(v), reason);
          return 0;
        }
        case SCHEDOP_poll: {
          const arg = pointer(parts, v, 1, domain.width(vcpu.domain(v)) === 64 ? POLL_BYTES.wide : POLL_BYTES.narrow);
          return arg === FAULT ? -XEN_EFAULT : poll(v, arg);
        }
        case SCHEDOP_remote_shutdown:
          return -XEN_EPERM;
        default:
          return -XEN_ENOSYS;
      }
    },
    schedOpCompat(v) {
      switch (regs.lo(v, 0)) {
        case SCHEDOP_yield:
          return yieldCpu(v);
        case SCHEDOP_block:
          return block(v);
        case SCHEDOP_shutdown:
          return shutdown(v, regs.lo(v, 1) >>> 0);
        default:
          return -XEN_ENOSYS;
      }
    },
    setTimerOp(v) {
      // 64-bit: one register; 32-bit: low and high half in two.
      const lo = regs.lo(v, 0);
      const hi = domain.width(vcpu.domain(v)) === 64 ? regs.hi(v, 0) : regs.lo(v, 1);
      if (lo === 0 && hi === 0) timers.stopSingleshot(v);
      else timers.setSingleshot(v, deadline(lo, hi));
      return 0;
    },
  };
}
