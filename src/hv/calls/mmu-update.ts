/**
 * mmu_update and update_va_mapping (xen.h; xen/arch/x86/mm.c): entries of page tables, and the machine-to-physical table.
 *
 * Locking: the page lock of the domain, for each entry.
 */
import { XEN_EBUSY, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM, XEN_ESRCH } from '../../shared/public/errno.js';
import * as X from '../../shared/public/xen.js';
import { mfnOf, PGT, PTE } from '../mm/records.js';
import { walk } from '../mm/walk.js';
import type { CallParts, Handler } from './call.js';
import { flusher } from './flusher.js';
import { pageTableOwner } from './page-table-owner.js';
import { requestList } from './request-list.js';

/** struct mmu_update: ptr, val. */
const BYTES = 16;
const COMMAND = 7;

/** Whose frames entries may name: its own; a device's, of which there are none; or nobody's, as the domain may not do that for others. */
type Named = 'own' | 'device' | 'refused';

export function mmuUpdates(
  parts: CallParts,
): Readonly<Record<'mmuUpdate' | 'updateVaMapping' | 'updateVaMappingOtherdomain', Handler>> {
  const { context, memory, mm } = parts;
  const { vcpu, domain, regs, image } = context;
  const frames = image.region('frames');
  const i64 = new BigInt64Array(image.buffer);
  const flush = flusher(parts);
  const list = requestList(parts);

  /** One update of a page-table entry, or of a word of a page that is none. @param ptr in halves, its command apart */
  function update(
    d: number,
    named: Named,
    [ptrLo, ptrHi]: readonly [number, number],
    [lo, hi]: readonly [number, number],
    keepsAccessed: boolean,
  ): number {
    const table = mfnOf(ptrLo, ptrHi);
    const within = ptrLo & 0xff8;
    if (ptrHi >>> 20 !== 0 || !mm.tables.types.isOwner(table, d)) return -XEN_EINVAL;
    const type = mm.tables.types.typeOf(table);
    if (type >= PGT.l1_page_table && type <= PGT.l4_page_table) {
      if (named === 'device' && type > PGT.l1_page_table) return -XEN_EINVAL;
      if (named === 'device' && (lo & PTE.present) !== 0) return mfnOf(lo, hi) < frames.count ? -XEN_EBUSY : -XEN_EPERM;
      return mm.tables.set(d, table, type, within >> 3, lo, hi, keepsAccessed);
    }
    // Xen writes it as the guest could.
    if (mm.tables.types.getPageAndType(table, d, PGT.writable_page) !== 0) return -XEN_EINVAL;
    const at = mm.tables.frame(table) + within;
    Atomics.store(i64, at >> 3, (BigInt(hi) << 32n) | BigInt(lo >>> 0));
    mm.touched(at, 8);
    mm.tables.types.putPageAndType(table);
    return 0;
  }

  function one(d: number, named: Named, at: number): number {
    const ptr = [memory.u32(at) | 0, memory.u32(at + 4) | 0] as const;
    const value = [memory.u32(at + 8) | 0, memory.u32(at + 12) | 0] as const;
    const command = ptr[0] & COMMAND;
    if (command > X.MMU_PT_UPDATE_NO_TRANSLATE) return -XEN_ENOSYS;
    if (named === 'refused') return -XEN_EPERM;
    if (command !== X.MMU_MACHPHYS_UPDATE)
      return mm.locked(d, () => update(d, named, ptr, value, command === X.MMU_PT_UPDATE_PRESERVE_AD));
    return mm.locked(d, () => {
      const mfn = mfnOf(...ptr);
      if (named === 'device' || ptr[1] >>> 20 !== 0 || !mm.tables.types.isOwner(mfn, d)) return -XEN_EINVAL;
      mm.setPfn(mfn, ...value);
      return 0;
    });
  }

  /** The entry that maps the address in arguments 0, to be as argument 1 says; what is remembered of it goes as argument 2 says. */
  function updateVaMapping(v: number): number {
    const d = vcpu.domain(v);
    if (domain.isPaged(d) === 0) return -XEN_EINVAL;
    const [vaLo, vaHi] = [regs.lo(v, 0), regs.hi(v, 0)];
    const rc = mm.locked(d, () => {
      const found = walk(image, frames, vcpu.guestTable(v), vaLo, vaHi);
      if (found === undefined || mm.tables.types.typeOf(found.table) !== PGT.l1_page_table) return -XEN_EINVAL;
      return mm.tables.set(d, found.table, 1, found.n, regs.lo(v, 1), regs.hi(v, 1), false);
    });
    return rc !== 0 ? rc : flush.forMapping(v, vaLo, vaHi, regs.lo(v, 2), regs.hi(v, 2));
  }

  return {
    mmuUpdate(v) {
      const d = vcpu.domain(v);
      if (domain.isPaged(d) === 0) return -XEN_EINVAL;
      const who = regs.lo(v, 3);
      let named: Named = 'own';
      // Whose page tables: 0 = its own, else a domain and 1.
      if (who >>> 16 !== 0) {
        const other = parts.domains.find((who >>> 16) - 1);
        if (other < 0) return -XEN_ESRCH;
        if (other !== d) named = 'refused';
      }
      const owner = pageTableOwner(parts, d, who & 0xffff);
      if (owner === -XEN_ESRCH) return owner;
      if ((who & 0xffff) === X.DOMID_IO && named === 'own') named = 'device';
      else if (owner !== d) named = 'refused';
      return list(v, BYTES, (at) => one(d, named, at));
    },

    updateVaMapping,

    updateVaMappingOtherdomain(v) {
      const owner = pageTableOwner(parts, vcpu.domain(v), regs.lo(v, 3) & 0xffff);
      if (owner < 0) return owner;
      return owner === vcpu.domain(v) ? updateVaMapping(v) : -XEN_EPERM;
    },
  };
}
