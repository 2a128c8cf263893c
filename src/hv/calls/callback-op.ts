/** set_callbacks and callback_op (xen.h, callback.h): where a guest wants its upcalls. Addresses are its own. */

import { xen_callback_t } from '../../shared/public/arch-x86-layout.js';
import * as C from '../../shared/public/callback.js';
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import { FAULT } from '../guest-memory.js';
import { address64, type CallParts, type Handler, isCanonical, pointer } from './call.js';

export function callbackOp(parts: CallParts): { readonly setCallbacks: Handler; readonly callbackOp: Handler } {
  const { context, memory, entries } = parts;
  const { vcpu, domain, regs } = context;

  /** @param high of a 64-bit address; 0 where addresses have 32 bits */
  function register(v: number, type: number, address: number, high: number, masksEvents: boolean): number {
    const is64 = domain.width(vcpu.domain(v)) === 64;
    if (is64 && !isCanonical(high)) return -XEN_EINVAL;
    const isKnown =
      type === C.CALLBACKTYPE_event || type === C.CALLBACKTYPE_failsafe || type === C.CALLBACKTYPE_syscall;
    if (is64 && isKnown)
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
          // Event, failsafe and syscall callbacks can be replaced, not taken away.
          return memory.u16(arg) <= C.CALLBACKTYPE_syscall ? -XEN_EINVAL : -XEN_ENOSYS;
        }
        default:
          return -XEN_ENOSYS;
      }
    },
  };
}
