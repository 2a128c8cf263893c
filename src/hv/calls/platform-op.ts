/** platform_op (platform.h), for domain 0 alone: so far the wall clock (S12). */
import { XEN_EACCES, XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import {
  XENPF_INTERFACE_VERSION,
  XENPF_settime32,
  XENPF_settime64,
  xen_platform_op,
} from '../../shared/public/platform.js';
import { FAULT } from '../guest-memory.js';
import { type CallParts, type Handler, pointer } from './call.js';

/** The domain that may. */
const PRIVILEGED = 0;
const NS = 1e9;

export function platformOp(parts: CallParts): Handler {
  const { context, memory, time } = parts;
  const { vcpu } = context;
  const at = offsetsOf(xen_platform_op, 64);

  /** UTC was `secs` and `nsecs` when system time was `systemNs`; kept as UTC at system time 0. */
  function setTime(secs: number, nsecs: number, systemNs: number): number {
    const rest = nsecs - systemNs;
    const seconds = secs + Math.floor(rest / NS);
    if (nsecs >= NS || seconds < 0) return -XEN_EINVAL;
    time.setWallClock(seconds, rest - Math.floor(rest / NS) * NS);
    return 0;
  }

  return (v) => {
    if (vcpu.domain(v) !== PRIVILEGED) return -XEN_EPERM;
    const op = pointer(parts, v, 0, sizeOf(xen_platform_op, 64));
    if (op === FAULT) return -XEN_EFAULT;
    if (memory.u32(op + at.interface_version) !== XENPF_INTERFACE_VERSION) return -XEN_EACCES;
    switch (memory.u32(op + at.cmd)) {
      case XENPF_settime32:
        return setTime(
          memory.u32(op + at['u.settime32.secs']),
          memory.u32(op + at['u.settime32.nsecs']),
          memory.u64(op + at['u.settime32.system_time']),
        );
      case XENPF_settime64:
        if (memory.u32(op + at['u.settime64.mbz']) !== 0) return -XEN_EINVAL;
        return setTime(
          memory.u64(op + at['u.settime64.secs']),
          memory.u32(op + at['u.settime64.nsecs']),
          memory.u64(op + at['u.settime64.system_time']),
        );
      default:
        return -XEN_ENOSYS;
    }
  };
}
