/**
 * Registers that a kernel cannot set itself (xen.h; xen/arch/x86/pv/misc-hypercalls.c), and vm_assist (xen/common/domain.c): how the
 * hypervisor is to help it.
 */
import { SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER, SEGBASE_GS_USER_SEL } from '../../shared/public/arch-x86.js';
import { XEN_EINVAL, XEN_ENODEV, XEN_ENOSYS } from '../../shared/public/errno.js';
import * as X from '../../shared/public/xen.js';
import { isCanonical } from '../mm/records.js';
import { address64, type CallParts, type Handler } from './call.js';

/** Types that there are, as bits of two words; the second has what only 64-bit guests have. */
const ASSISTS = [
  (1 << X.VMASST_TYPE_4gb_segments) |
    (1 << X.VMASST_TYPE_4gb_segments_notify) |
    (1 << X.VMASST_TYPE_writable_pagetables) |
    (1 << X.VMASST_TYPE_pae_extended_cr3) |
    (1 << X.VMASST_TYPE_architectural_iopl) |
    (1 << X.VMASST_TYPE_runstate_update_flag),
  1 << (X.VMASST_TYPE_m2p_strict - 32),
] as const;

type Name = 'setSegmentBase' | 'fpuTaskswitch' | 'setDebugreg' | 'getDebugreg' | 'vmAssist';

export function miscHypercalls({ context, entries }: CallParts): Readonly<Record<Name, Handler>> {
  const { vcpu, domain, regs } = context;
  const is64 = (v: number): boolean => domain.width(vcpu.domain(v)) === 64;

  return {
    setSegmentBase(v) {
      if (!is64(v)) return -XEN_ENOSYS;
      const which = regs.lo(v, 0);
      switch (which) {
        case SEGBASE_FS[64]:
        case SEGBASE_GS_USER[64]:
        case SEGBASE_GS_KERNEL[64]:
          if (!isCanonical(regs.hi(v, 1))) return -XEN_EINVAL;
          break;
        case SEGBASE_GS_USER_SEL[64]:
          break;
        default:
          return -XEN_EINVAL;
      }
      entries.setSegmentBase(v, which, address64(regs.lo(v, 1), regs.hi(v, 1)));
      return 0;
    },

    fpuTaskswitch(v) {
      entries.setTaskSwitched(v, regs.lo(v, 0) !== 0);
      return 0;
    },

    setDebugreg: (v) =>
      entries.setDebugRegister(v, regs.lo(v, 0), address64(regs.lo(v, 1), is64(v) ? regs.hi(v, 1) : 0)),

    // Addresses are canonical: a number says them exactly.
    getDebugreg: (v) => Number(BigInt.asIntN(64, entries.debugRegister(v, regs.lo(v, 0)) ?? BigInt(-XEN_ENODEV))),

    vmAssist(v) {
      const type = regs.lo(v, 1) >>> 0;
      const [word, bit] = [type >>> 5, 1 << (type & 31)];
      if (word > (is64(v) ? 1 : 0) || ((ASSISTS[word] ?? 0) & bit) === 0) return -XEN_EINVAL;
      const d = vcpu.domain(v);
      switch (regs.lo(v, 0)) {
        case X.VMASST_CMD_enable:
          domain.setVmAssist(d, word, domain.vmAssist(d, word) | bit);
          return 0;
        case X.VMASST_CMD_disable:
          domain.setVmAssist(d, word, domain.vmAssist(d, word) & ~bit);
          return 0;
        default:
          return -XEN_ENOSYS;
      }
    },
  };
}
