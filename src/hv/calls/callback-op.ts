/**
 * set_callbacks, callback_op and nmi_op (xen.h, callback.h, nmi.h; xen/arch/x86/pv/callback.c): where a guest wants its upcalls, and system
 * calls of its applications. Addresses are its own. Those of 32-bit system calls are kept and never used: there are no such applications.
 */

import { xen_callback_t } from '../../shared/public/arch-x86-layout.js';
import * as C from '../../shared/public/callback.js';
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import { XENNMI_register_callback, XENNMI_unregister_callback, xennmi_callback } from '../../shared/public/nmi.js';
import { FAULT } from '../guest-memory.js';
import { isCanonical } from '../mm/records.js';
import { address64, type CallParts, type Handler, pointer } from './call.js';

/** Can be replaced, not taken away. */
const LASTING: readonly number[] = [
  ...[C.CALLBACKTYPE_event, C.CALLBACKTYPE_failsafe, C.CALLBACKTYPE_syscall],
  ...[C.CALLBACKTYPE_syscall32, C.CALLBACKTYPE_sysenter],
];
/** Vector of non-maskable interrupts, and that its handler is entered with upcalls masked (trap_info.flags). */
const [NMI, MASKS_EVENTS] = [2, 4];

export function callbackOp(parts: CallParts): Readonly<Record<'setCallbacks' | 'callbackOp' | 'nmiOp', Handler>> {
  const { context, memory, entries } = parts;
  const { vcpu, domain, regs } = context;

  /** @param high of a 64-bit address; 0 where addresses have 32 bits */
  function register(v: number, type: number, address: number, high: number, masksEvents: boolean): number {
    const is64 = domain.width(vcpu.domain(v)) === 64;
    if (is64 && !isCanonical(high)) return -XEN_EINVAL;
    if (is64 && LASTING.includes(type))
      entries.setCallback(v, type, address64(address, high), type === C.CALLBACKTYPE_event || masksEvents);
    switch (type) {
      case C.CALLBACKTYPE_event:
        vcpu.setEventCallback(v, address);
        return 0;
      case C.CALLBACKTYPE_failsafe:
        vcpu.setFailsafeCallback(v, address);
        return 0;
      case C.CALLBACKTYPE_syscall:
        if (!is64) return -XEN_EINVAL;
        vcpu.setSyscallCallback(v, address);
        return 0;
      case C.CALLBACKTYPE_syscall32:
      case C.CALLBACKTYPE_sysenter:
        return 0;
      case C.CALLBACKTYPE_nmi:
        entries.setTrap(v, NMI, MASKS_EVENTS, address64(address, high));
        return 0;
      default:
        return -XEN_ENOSYS;
    }
  }

  return {
    setCallbacks(v) {
      if (domain.width(vcpu.domain(v)) === 64) {
        const types = [C.CALLBACKTYPE_event, C.CALLBACKTYPE_failsafe, C.CALLBACKTYPE_syscall];
        if (types.some((_, k) => !isCanonical(regs.hi(v, k)))) return -XEN_EINVAL;
        for (const [k, type] of types.entries()) register(v, type, regs.lo(v, k), regs.hi(v, k), false);
      } else {
        // Far pointers: selector, address, selector, address.
        vcpu.setEventCallback(v, regs.lo(v, 1));
        vcpu.setFailsafeCallback(v, regs.lo(v, 3));
      }
      return 0;
    },
    callbackOp(v) {
      const width = domain.width(vcpu.domain(v)) === 64 ? 64 : 32;
      switch (regs.lo(v, 0)) {
        case C.CALLBACKOP_register: {
          const arg = pointer(parts, v, 1, sizeOf(C.callback_register, width));
          if (arg === FAULT) return -XEN_EFAULT;
          const at = offsetsOf(C.callback_register, width);
          const eip = width === 64 ? 0 : offsetsOf(xen_callback_t, 32).eip;
          const high = width === 64 ? memory.u32(arg + at.address + 4) | 0 : 0;
          const masksEvents = (memory.u16(arg + at.flags) & C.CALLBACKF_mask_events) !== 0;
          return register(v, memory.u16(arg + at.type), memory.u32(arg + at.address + eip), high, masksEvents);
        }
        case C.CALLBACKOP_unregister: {
          const arg = pointer(parts, v, 1, sizeOf(C.callback_unregister, width));
          if (arg === FAULT) return -XEN_EFAULT;
          const type = memory.u16(arg);
          if (type === C.CALLBACKTYPE_nmi) {
            entries.setTrap(v, NMI, 0, 0n);
            return 0;
          }
          return LASTING.includes(type) ? -XEN_EINVAL : -XEN_ENOSYS;
        }
        default:
          return -XEN_ENOSYS;
      }
    },
    nmiOp(v) {
      switch (regs.lo(v, 0)) {
        case XENNMI_register_callback: {
          const width = domain.width(vcpu.domain(v)) === 64 ? 64 : 32;
          const arg = pointer(parts, v, 1, sizeOf(xennmi_callback, width));
          if (arg === FAULT) return -XEN_EFAULT;
          const high = width === 64 ? memory.u32(arg + 4) | 0 : 0;
          return register(v, C.CALLBACKTYPE_nmi, memory.u32(arg), high, false);
        }
        case XENNMI_unregister_callback:
          entries.setTrap(v, NMI, 0, 0n);
          return 0;
        default:
          return -XEN_ENOSYS;
      }
    },
  };
}
