/** set_gdt and update_descriptor (xen.h; xen/arch/x86/pv/descriptor-tables.c): the segments of a kernel and its applications. */
import { PAGE_SIZE } from '../../shared/image.js';
import { FIRST_RESERVED_GDT_ENTRY } from '../../shared/public/arch-x86.js';
import { XEN_EFAULT, XEN_EINVAL } from '../../shared/public/errno.js';
import { FAULT } from '../guest-memory.js';
import { DESCRIPTORS_PER_PAGE } from '../mm/descriptors.js';
import { mfnOf } from '../mm/records.js';
import { type CallParts, type Handler, pointer } from './call.js';

export function descriptorCalls(parts: CallParts): Readonly<Record<'setGdt' | 'updateDescriptor', Handler>> {
  const { context, memory, mm } = parts;
  const { vcpu, domain, regs } = context;

  return {
    setGdt(v) {
      const d = vcpu.domain(v);
      const bytes = domain.width(d) / 8;
      const entries = regs.lo(v, 1) >>> 0;
      if (entries > FIRST_RESERVED_GDT_ENTRY) return -XEN_EINVAL;
      const count = Math.ceil(entries / DESCRIPTORS_PER_PAGE);
      const list = count === 0 ? FAULT : pointer(parts, v, 0, count * bytes);
      if (count > 0 && list === FAULT) return -XEN_EFAULT;
      // Only machine code has segments of its own.
      if (count > 0 && domain.isPaged(d) === 0) return -XEN_EINVAL;
      const frames = Array.from({ length: count }, (_, n) => list + n * bytes).map((at) =>
        bytes === 8 ? memory.u64(at) : memory.u32(at),
      );
      return mm.locked(d, () => mm.descriptors.setGdt(v, frames, entries));
    },

    updateDescriptor(v) {
      const d = vcpu.domain(v);
      if (domain.isPaged(d) === 0) return -XEN_EINVAL;
      // Those of 32 bits have both in halves.
      const halves =
        domain.width(d) === 64
          ? [regs.lo(v, 0), regs.hi(v, 0), regs.lo(v, 1), regs.hi(v, 1)]
          : [0, 1, 2, 3].map((k) => regs.lo(v, k));
      const [atLo, atHi, lo, hi] = halves as [number, number, number, number];
      if (atHi >>> 20 !== 0) return -XEN_EINVAL;
      return mm.locked(d, () => mm.descriptors.update(d, mfnOf(atLo, atHi), atLo & (PAGE_SIZE - 1), lo, hi));
    },
  };
}
