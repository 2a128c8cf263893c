/**
 * Entries of page tables: what a domain may have in them (xen/arch/x86/mm.c: get_page_from_l1e and its like, mod_l1_entry), and what is
 * counted for each. Guests see them as they are, but that the hypervisor lets ring 3, where 64-bit kernels run, into what they map:
 * bit 52 of an entry says that the kernel alone had it.
 *
 * Entries are words of 64 bits that other workers read while they are written: the low half, with the present bit, comes last, and frames
 * are named by it alone.
 *
 * Locking: the page lock of the tables' owner.
 */
import { PAGE_SIZE } from '../../shared/image.js';
import { XEN_EBUSY, XEN_EINVAL } from '../../shared/public/errno.js';
import type { HvContext } from '../context.js';
import { checkDescriptors } from './descriptors.js';
import type { M2p } from './m2p.js';
import { type PageTypes, pageTypes } from './page-types.js';
import { mfnOf, PAGE_TABLE_ENTRIES, PGT, PTE, PTE_HIGH, XEN_SLOTS } from './records.js';

export interface PageTables {
  readonly types: PageTypes;
  /** Image address of a machine frame. */
  frame(mfn: number): number;
  /**
   * Sets entry n of a page table of a domain. @param level 1 to 4 @param keepsAccessed accessed and dirty bits stay as they are
   * @param owner the domain whose frames it may name, if not d's own
   * @returns 0; −EINVAL: what no entry may be; −EBUSY: the frame is in use as something else
   */
  set(d: number, table: number, level: number, n: number, lo: number, hi: number, keepsAccessed: boolean): number;
}

/** Bits that guests' entries must not have: memory without a device behind it is always cached; L2 and above have no large pages. */
const DISALLOWED = { 1: PTE.pwt | PTE.pcd | PTE.pse, above: PTE.pwt | PTE.pcd | PTE.pse | PTE.global } as const;

/** @param flush see Contents */
export function pageTables(hv: HvContext, table: M2p | undefined, flush: (d: number) => void): PageTables {
  const { i32 } = hv.image;
  const frames = hv.image.region('frames');
  const frame = (mfn: number): number => frames.base + mfn * PAGE_SIZE;
  /** Index into `i32` of entry n of a table. */
  const entryAt = (mfn: number, n: number): number => (frame(mfn) >> 2) + 2 * n;
  const isXens = (level: number, n: number): boolean => level === 4 && n >= XEN_SLOTS.first && n <= XEN_SLOTS.last;

  /** Counts what an entry names. */
  function get(d: number, level: number, lo: number, hi: number): number {
    if ((lo & PTE.present) === 0) return 0;
    const mfn = mfnOf(lo, hi);
    if ((lo & (level === 1 ? DISALLOWED[1] : DISALLOWED.above)) !== 0) return -XEN_EINVAL;
    if (level > 1) return types.getPageAndType(mfn, d, level - 1);
    if ((lo & PTE.rw) !== 0) return types.getPageAndType(mfn, d, PGT.writable_page);
    return types.getPage(mfn, d) ? 0 : -XEN_EINVAL;
  }

  function put(level: number, lo: number, hi: number): void {
    if ((lo & PTE.present) === 0) return;
    if (level > 1 || (lo & PTE.rw) !== 0) types.putPageAndType(mfnOf(lo, hi));
    else types.putPage(mfnOf(lo, hi));
  }

  /** An entry as the processor is to have it. */
  function adjusted(level: number, lo: number, hi: number): readonly [lo: number, hi: number] {
    if ((lo & PTE.present) === 0) return [lo, hi];
    if (level > 1) return [lo | PTE.user, hi];
    const isKernels = (lo & PTE.user) === 0 || (hi & PTE_HIGH.guestKernel) !== 0;
    return isKernels ? [lo | PTE.user, hi | PTE_HIGH.guestKernel] : [lo | PTE.user | PTE.global, hi];
  }

  function write(at: number, [lo, hi]: readonly [number, number]): void {
    i32[at + 1] = hi;
    Atomics.store(i32, at, lo);
  }

  /** Entries that name no frame of anybody's stay; the hypervisor's own are put in. */
  function validate(mfn: number, d: number, level: number): number {
    if (level === PGT.seg_desc_page) return checkDescriptors(i32, frame(mfn) >> 2);
    for (let n = 0; n < PAGE_TABLE_ENTRIES; n++) {
      const at = entryAt(mfn, n);
      if (isXens(level, n)) {
        write(at, n === XEN_SLOTS.first && table !== undefined ? [table.slot, 0] : [0, 0]);
        continue;
      }
      const [lo, hi] = [i32[at]!, i32[at + 1]!];
      if ((lo & PTE.present) === 0) continue;
      const rc = get(d, level, lo, hi);
      if (rc === 0) {
        write(at, adjusted(level, lo, hi));
        continue;
      }
      for (let k = 0; k < n; k++) if (!isXens(level, k)) put(level, i32[entryAt(mfn, k)]!, i32[entryAt(mfn, k) + 1]!);
      // Which of the two a frame of somebody else's is does not matter to a table as a whole.
      return rc === -XEN_EBUSY ? rc : -XEN_EINVAL;
    }
    return 0;
  }

  function devalidate(mfn: number, _d: number, level: number): void {
    if (level === PGT.seg_desc_page) return;
    for (let n = 0; n < PAGE_TABLE_ENTRIES; n++)
      if (!isXens(level, n)) put(level, i32[entryAt(mfn, n)]!, i32[entryAt(mfn, n) + 1]!);
  }

  const types = pageTypes(hv, { validate, devalidate, flush });
  const CHANGES = PTE.present | PTE.rw;

  return {
    types,
    frame,
    set(d, mfn, level, n, lo, hi, keepsAccessed) {
      if (isXens(level, n)) return -XEN_EINVAL;
      const at = entryAt(mfn, n);
      const [oldLo, oldHi] = [i32[at]!, i32[at + 1]!];
      const isSame =
        ((oldLo ^ lo) & CHANGES) === 0 && (lo & PTE.present) !== 0 && mfnOf(oldLo, oldHi) === mfnOf(lo, hi);
      if (isSame && (lo & (level === 1 ? DISALLOWED[1] : DISALLOWED.above)) !== 0) return -XEN_EINVAL;
      const rc = isSame ? 0 : get(d, level, lo, hi);
      if (rc !== 0) return rc;
      const [newLo, newHi] = adjusted(level, lo, hi);
      i32[at + 1] = newHi;
      // Walkers set accessed and dirty bits at any time.
      for (let old = Atomics.load(i32, at); ; ) {
        const kept = keepsAccessed ? old & (PTE.accessed | PTE.dirty) : 0;
        const seen = Atomics.compareExchange(i32, at, old, newLo | kept);
        if (seen === old) break;
        old = seen;
      }
      if (!isSame) put(level, oldLo, oldHi);
      return 0;
    },
  };
}
