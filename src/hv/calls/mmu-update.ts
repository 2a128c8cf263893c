/**
 * mmu_update and update_va_mapping (xen.h; xen/arch/x86/mm.c): entries of page tables, and the machine-to-physical table.
 *
 * Locking: the page lock of the domain, for all of a call.
 */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM } from '../../shared/public/errno.js';
import * as X from '../../shared/public/xen.js';
import { FAULT } from '../guest-memory.js';
import { mfnOf, PGT } from '../mm/records.js';
import { walk } from '../mm/walk.js';
import { address64, type CallParts, type Handler, pointer } from './call.js';
import { flusher } from './flusher.js';

/** Of `count`: the call goes on with one that was interrupted, which none is here. */
const MMU_UPDATE_PREEMPTED = 0x8000_0000 | 0;
/** struct mmu_update: ptr, val. */
const BYTES = 16;
/** More are not looked at in one call. */
const MOST = 1 << 20;
const COMMAND = 3;

export function mmuUpdates(parts: CallParts): Readonly<Record<'mmuUpdate' | 'updateVaMapping', Handler>> {
  const { context, memory, mm } = parts;
  const { vcpu, domain, regs, image } = context;
  const frames = image.region('frames');
  const flush = flusher(parts);

  /** One update of a page-table entry, or of a word of a page that is none. @param ptr in halves, its command apart */
  function update(d: number, ptrLo: number, ptrHi: number, lo: number, hi: number, keepsAccessed: boolean): number {
    const table = mfnOf(ptrLo, ptrHi);
    const within = ptrLo & 0xff8;
    if (ptrHi >> 20 !== 0 || !mm.tables.types.isOwner(table, d)) return -XEN_EINVAL;
    const type = mm.tables.types.typeOf(table);
    if (type >= PGT.l1_page_table && type <= PGT.l4_page_table)
      return mm.tables.set(d, table, type, within >> 3, lo, hi, keepsAccessed);
    // Xen writes it as the guest could.
    const rc = mm.tables.types.getPageAndType(table, d, PGT.writable_page);
    if (rc !== 0) return -XEN_EINVAL;
    const at = mm.tables.frame(table) + within;
    memory.setU32(at + 4, hi);
    memory.setU32(at, lo);
    mm.touched(at, 8);
    mm.tables.types.putPageAndType(table);
    return 0;
  }

  function one(d: number, at: number): number {
    const [ptrLo, ptrHi] = [memory.u32(at) | 0, memory.u32(at + 4) | 0];
    const [lo, hi] = [memory.u32(at + 8) | 0, memory.u32(at + 12) | 0];
    switch (ptrLo & COMMAND) {
      case X.MMU_NORMAL_PT_UPDATE:
      case X.MMU_PT_UPDATE_NO_TRANSLATE:
        return update(d, ptrLo, ptrHi, lo, hi, false);
      case X.MMU_PT_UPDATE_PRESERVE_AD:
        return update(d, ptrLo, ptrHi, lo, hi, true);
      case X.MMU_MACHPHYS_UPDATE: {
        const mfn = mfnOf(ptrLo, ptrHi);
        if (!mm.tables.types.isOwner(mfn, d)) return -XEN_EINVAL;
        mm.setPfn(mfn, lo);
        return 0;
      }
      default:
        return -XEN_ENOSYS;
    }
  }

  return {
    mmuUpdate(v) {
      const d = vcpu.domain(v);
      if (domain.isPaged(d) === 0) return -XEN_EINVAL;
      const count = regs.lo(v, 1) & ~MMU_UPDATE_PREEMPTED;
      const who = regs.lo(v, 3);
      // Whose page tables, and whose frames: a domain's own.
      if (who >>> 16 !== 0) return -XEN_EPERM;
      if ((who & 0xffff) !== X.DOMID_SELF && (who & 0xffff) !== domain.id(d)) return -XEN_EPERM;
      if (count > MOST) return -XEN_EINVAL;
      const isTold = regs.lo(v, 2) !== 0 || regs.hi(v, 2) !== 0;
      const told = isTold ? pointer(parts, v, 2, 4) : FAULT;
      if (isTold && told === FAULT) return -XEN_EFAULT;
      const list = address64(regs.lo(v, 0), regs.hi(v, 0));
      let [done, result] = [0, 0];
      mm.locked(d, () => {
        for (; done < count && result === 0; done++) {
          const from = BigInt.asUintN(64, list + BigInt(done * BYTES));
          const at = memory.translate(
            d,
            Number(BigInt.asIntN(32, from)),
            Number(BigInt.asIntN(32, from >> 32n)),
            BYTES,
          );
          result = at === FAULT ? -XEN_EFAULT : one(d, at);
        }
      });
      if (isTold) memory.setU32(told, result === 0 ? done : done - 1);
      return result;
    },

    updateVaMapping(v) {
      const d = vcpu.domain(v);
      if (domain.isPaged(d) === 0) return -XEN_EINVAL;
      const [vaLo, vaHi] = [regs.lo(v, 0), regs.hi(v, 0)];
      const [lo, hi] = [regs.lo(v, 1), regs.hi(v, 1)];
      const rc = mm.locked(d, () => {
        const found = walk(image, frames, vcpu.guestTable(v), vaLo, vaHi);
        if (found === undefined || mm.tables.types.typeOf(found.table) !== PGT.l1_page_table) return -XEN_EINVAL;
        return mm.tables.set(d, found.table, 1, found.n, lo, hi, false);
      });
      if (rc !== 0) return rc;
      return flush.forMapping(v, address64(vaLo, vaHi), regs.lo(v, 2), regs.hi(v, 2));
    },
  };
}
