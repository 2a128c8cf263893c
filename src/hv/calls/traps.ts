/** set_trap_table, stack_switch and iret (xen.h; xen/arch/x86/pv/callback.c, misc-hypercalls.c): how a kernel takes exceptions, and goes back. */
import { trap_info } from '../../shared/public/arch-x86-layout.js';
import { XEN_EFAULT, XEN_EINVAL } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import { FAULT } from '../guest-memory.js';
import { isCanonical } from '../mm/records.js';
import { address64, type CallParts, type Handler } from './call.js';

export function traps({
  context,
  memory,
  entries,
}: CallParts): Readonly<Record<'setTrapTable' | 'stackSwitch' | 'iret', Handler>> {
  const { vcpu, domain, regs } = context;
  return {
    setTrapTable(v) {
      const d = vcpu.domain(v);
      const width = domain.width(d) === 64 ? 64 : 32;
      const [at, bytes] = [offsetsOf(trap_info, width), sizeOf(trap_info, width)];
      const high = width === 64 ? regs.hi(v, 0) : 0;
      const low = regs.lo(v, 0) >>> 0;
      if (low === 0 && high === 0) {
        entries.clearTraps(v);
        return 0;
      }
      // An address of 0 ends the table; memory does in any case.
      for (let n = 0; ; n++) {
        const end = low + (n + 1) * bytes;
        const entry = end > 2 ** 32 ? FAULT : memory.translate(d, low + n * bytes, high, bytes);
        if (entry === FAULT) return -XEN_EFAULT;
        const [lo, hi] = [memory.u32(entry + at.address), width === 64 ? memory.u32(entry + at.address + 4) : 0];
        if (lo === 0 && hi === 0) return 0;
        if (width === 64 && !isCanonical(hi | 0)) return -XEN_EINVAL;
        const word = memory.u16(entry);
        entries.setTrap(v, word & 0xff, word >> 8, address64(lo, hi));
      }
    },
    stackSwitch(v) {
      const high = domain.width(vcpu.domain(v)) === 64 ? regs.hi(v, 1) : 0;
      entries.setKernelStack(v, address64(regs.lo(v, 1), high));
      return 0;
    },
    iret: entries.iret,
  };
}
