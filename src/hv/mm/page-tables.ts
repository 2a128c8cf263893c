/**
 * Entries of page tables: what a domain may have in them (xen/arch/x86/mm.c: get_page_from_l1e and its like, mod_l1_entry), and what is
 * counted for each. Guests see them as they are, but that the hypervisor lets ring 3, where 64-bit kernels run, into what they map:
 * bit 52 of an entry says that the kernel alone had it.
 *
 * Entries are words of 64 bits that other workers read while they are written, in one piece. They read them in two: the frame is named by
 * the low half alone, for there are no frames above 4 GiB, and what the high half said a moment ago is a guest's own affair.
 *
 * Counts cannot overflow: a frame has at most as many references as all tables of the machine have entries, 2^29 in 4 GiB.
 *
 * Locking: the page lock of the tables' owner.
 */
import { PAGE_SIZE } from '../../shared/image.js';
import { XEN_EAGAIN, XEN_EBUSY, XEN_EINVAL, XEN_EPERM } from '../../shared/public/errno.js';
import type { HvContext } from '../context.js';
import { checkDescriptors } from './descriptors.js';
import type { M2p } from './m2p.js';
import { type Contents, type PageTypes, pageTypes } from './page-types.js';
import { mfnOf, PAGE_TABLE_ENTRIES, PGT, PTE, PTE_HIGH, XEN_SLOTS } from './records.js';

export interface EntryPlace {
  readonly table: number;
  readonly n: number;
}

export interface PageTables {
  readonly types: PageTypes;
  /** Image address of a machine frame. */
  frame(mfn: number): number;
  /**
   * Sets entry n of a page table of a domain. @param level 1 to 4 @param keepsAccessed accessed and dirty bits stay as they are
   * @param owner the domain whose frames it may name, if not d's own
   * @returns 0; −EINVAL: what no entry may be; of level 1: −EBUSY: the frame is somebody else's, or in use as something else; −EPERM: there
   *   is none
   */
  set(d: number, table: number, level: number, n: number, lo: number, hi: number, keepsAccessed: boolean): number;
  /** The same of a level-1 table's entry, if it is still what it was. @returns as `set`; −EAGAIN: it is not */
  replace(d: number, table: number, n: number, was: readonly [lo: number, hi: number], lo: number, hi: number): number;
  /**
   * Entry n of a level-1 table maps a frame of a grant, for which the grant has a reference: it counts none. What was there goes.
   */
  mapGrant(table: number, n: number, lo: number, hi: number): void;
  /**
   * It does so no more: there is nothing, or what another entry says, which goes from there.
   * @param rw PTE.rw or 0: what it is to be unmapped as, for whoever has two mappings of a frame must not keep the other one
   * @returns false, and nothing has changed, where it maps no grant of that frame, so
   */
  unmapGrant(table: number, n: number, mfn: number, rw: number, other: EntryPlace | undefined): boolean;
}

/** The frame of an entry whose address bits are all ones. */
const NO_FRAME = 2 ** 40 - 1;
/** Bits that guests' entries must not have: memory without a device behind it is always cached; L2 and above have no large pages. */
const DISALLOWED = { 1: PTE.pwt | PTE.pcd | PTE.pse, above: PTE.pwt | PTE.pcd | PTE.pse | PTE.global } as const;

const WORD = 1n << 32n;
const wordOf = (lo: number, hi: number): bigint => BigInt(hi) * WORD + BigInt(lo >>> 0);

/** @param outside see Contents; `lost` is told of an entry that maps a grant and goes by other means than unmapGrant */
export function pageTables(
  hv: HvContext,
  table: M2p | undefined,
  outside: Pick<Contents, 'flush' | 'freed'> & { lost(): void },
): PageTables {
  const { i32 } = hv.image;
  const i64 = new BigInt64Array(hv.image.buffer);
  const frames = hv.image.region('frames');
  const frame = (mfn: number): number => frames.base + mfn * PAGE_SIZE;
  /** Index into `i32` of entry n of a table. */
  const entryAt = (mfn: number, n: number): number => (frame(mfn) >> 2) + 2 * n;
  const isXens = (level: number, n: number): boolean => level === 4 && n >= XEN_SLOTS.first && n <= XEN_SLOTS.last;

  const isDisallowed = (level: number, lo: number, hi: number): boolean =>
    level === 1 ? (lo & DISALLOWED[1]) !== 0 || (hi & PTE_HIGH.grant) !== 0 : (lo & DISALLOWED.above) !== 0;

  /** Counts what an entry names. */
  function get(d: number, level: number, lo: number, hi: number): number {
    if ((lo & PTE.present) === 0) return 0;
    const mfn = mfnOf(lo, hi);
    if (isDisallowed(level, lo, hi)) return -XEN_EINVAL;
    if (level > 1) return types.getPageAndType(mfn, d, level - 1);
    // To Xen this is a device's memory, which the domain may not have.
    if (mfn >= frames.count) return mfn === NO_FRAME ? -XEN_EINVAL : -XEN_EPERM;
    const isGot = (lo & PTE.rw) !== 0 ? types.getPageAndType(mfn, d, PGT.writable_page) === 0 : types.getPage(mfn, d);
    return isGot ? 0 : -XEN_EBUSY;
  }

  function put(level: number, lo: number, hi: number): void {
    if ((lo & PTE.present) === 0) return;
    if (level === 1 && (hi & PTE_HIGH.grant) !== 0) {
      outside.lost();
      return;
    }
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
    Atomics.store(i64, at >> 1, wordOf(lo, hi));
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
      return rc;
    }
    return 0;
  }

  function devalidate(mfn: number, _d: number, level: number): void {
    if (level === PGT.seg_desc_page) return;
    for (let n = 0; n < PAGE_TABLE_ENTRIES; n++)
      if (!isXens(level, n)) put(level, i32[entryAt(mfn, n)]!, i32[entryAt(mfn, n) + 1]!);
  }

  const types = pageTypes(hv, { validate, devalidate, ...outside });
  const CHANGES = PTE.present | PTE.rw;

  /** As `set`. @param was what the entry must still be; undefined = whatever it is */
  function change(
    d: number,
    mfn: number,
    level: number,
    n: number,
    lo: number,
    hi: number,
    keepsAccessed: boolean,
    was: readonly [lo: number, hi: number] | undefined,
  ): number {
    if (isXens(level, n)) return -XEN_EINVAL;
    const at = entryAt(mfn, n);
    const [oldLo, oldHi] = was ?? [Atomics.load(i32, at), i32[at + 1]!];
    const isSame =
      ((oldLo ^ lo) & CHANGES) === 0 &&
      (lo & PTE.present) !== 0 &&
      mfnOf(oldLo, oldHi) === mfnOf(lo, hi) &&
      (level > 1 || (oldHi & PTE_HIGH.grant) === 0);
    if (isSame && isDisallowed(level, lo, hi)) return -XEN_EINVAL;
    const rc = isSame ? 0 : get(d, level, lo, hi);
    if (rc !== 0) return rc;
    const [newLo, newHi] = adjusted(level, lo, hi);
    // Walkers set accessed and dirty bits at any time.
    for (let old = oldLo; ; ) {
      const kept = keepsAccessed ? old & (PTE.accessed | PTE.dirty) : 0;
      const seen = Atomics.compareExchange(i64, at >> 1, wordOf(old, oldHi), wordOf(newLo | kept, newHi));
      if (seen === wordOf(old, oldHi)) break;
      if (was !== undefined) {
        if (!isSame) put(level, newLo, newHi);
        return -XEN_EAGAIN;
      }
      old = Number(BigInt.asIntN(32, seen));
    }
    if (!isSame) put(level, oldLo, oldHi);
    return 0;
  }

  return {
    types,
    frame,
    set: (d, mfn, level, n, lo, hi, keepsAccessed) => change(d, mfn, level, n, lo, hi, keepsAccessed, undefined),
    replace: (d, mfn, n, was, lo, hi) => change(d, mfn, 1, n, lo, hi, false, was),
    mapGrant(mfn, n, lo, hi) {
      const at = entryAt(mfn, n);
      const [oldLo, oldHi] = [i32[at]!, i32[at + 1]!];
      write(at, adjusted(1, lo, hi | PTE_HIGH.grant));
      put(1, oldLo, oldHi);
    },
    unmapGrant(mfn, n, granted, rw, other) {
      const at = entryAt(mfn, n);
      const [lo, hi] = [i32[at]!, i32[at + 1]!];
      if ((lo & (PTE.present | PTE.rw)) !== (PTE.present | rw)) return false;
      if ((hi & PTE_HIGH.grant) === 0 || mfnOf(lo, hi) !== granted) return false;
      if (other === undefined) {
        write(at, [0, 0]);
        return true;
      }
      const from = entryAt(other.table, other.n);
      if (from === at) return false;
      const taken: [number, number] = [Atomics.exchange(i32, from, 0), i32[from + 1]!];
      write(from, [0, 0]);
      write(at, taken);
      return true;
    },
  };
}
