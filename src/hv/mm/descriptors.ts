/**
 * Descriptor tables of domains with page tables of their own (xen/arch/x86/pv/descriptor-tables.c, pv/mm.c): frames that hold a VCPU's
 * global table, and pages of its local one, which are found by the kernel's page tables when an entry is first asked for.
 *
 * A frame that descriptors are read from has a type of its own: nobody can write it but by update_descriptor, and what is in it was looked at.
 *
 * Locking: the page lock of the domain. Entries are read without it, by the pCPU that the VCPU runs on.
 */
import { PAGE_SIZE } from '../../shared/image.js';
import { FIRST_RESERVED_GDT_ENTRY, FIRST_RESERVED_GDT_PAGE, FLAT_KERNEL_CS } from '../../shared/public/arch-x86.js';
import { XEN_EINVAL } from '../../shared/public/errno.js';
import type { HvContext } from '../context.js';
import type { PageTypes } from './page-types.js';
import { mfnOf, PGT, PTE } from './records.js';
import { walk } from './walk.js';

export const DESCRIPTOR_BYTES = 8;
export const DESCRIPTORS_PER_PAGE = PAGE_SIZE / DESCRIPTOR_BYTES;
/** Entries of a local table at most, and the pages that they fill. */
export const MOST_LDT_ENTRIES = 8192;
const LDT_PAGES = MOST_LDT_ENTRIES / DESCRIPTORS_PER_PAGE;

/** Bits of a descriptor's high word. */
const [PRESENT, DPL, CODE_OR_DATA, TYPE] = [0x8000, 0x6000, 0x1000, 0xf00];
const CALL_GATE = 0xc00;
/** Of a gate's high word: must be 0. */
const GATE_RESERVED = 0xff;
/** A selector: who asks, and that it is one of the local table. */
const [RPL, LOCAL] = [3, 4];
/** 64-bit kernels run in ring 3. */
const KERNEL_DPL = 3 << 13;

/**
 * A descriptor as it may be in a table: that of a 64-bit guest's segments has privilege 3, and a gate has none, so that who uses it faults.
 * @returns undefined where there must not be such a thing
 */
export function checkedDescriptor(lo: number, hi: number): readonly [lo: number, hi: number] | undefined {
  if ((hi & PRESENT) === 0) return [lo, hi];
  if ((hi & CODE_OR_DATA) !== 0) return [lo, hi | KERNEL_DPL];
  // The second half of a gate.
  if ((hi & TYPE) === 0) return [lo, hi | KERNEL_DPL];
  if ((hi & TYPE) !== CALL_GATE) return undefined;
  const selector = lo >>> 16;
  const isTarget =
    selector >> 3 < FIRST_RESERVED_GDT_ENTRY || selector === FLAT_KERNEL_CS[64] || (selector & LOCAL) !== 0;
  if (!isTarget || (hi & GATE_RESERVED) !== 0) return undefined;
  return [(lo & 0xffff) | ((selector | RPL) << 16), hi & ~DPL];
}

/** Makes all of a frame, an index into `i32`, descriptors that may be there. @returns 0; −EINVAL where one may not, and some are changed */
export function checkDescriptors(i32: Int32Array, at: number): number {
  for (let n = at; n < at + PAGE_SIZE / 4; n += 2) {
    const checked = checkedDescriptor(i32[n]!, i32[n + 1]!);
    if (checked === undefined) return -XEN_EINVAL;
    [i32[n], i32[n + 1]] = checked;
  }
  return 0;
}

export interface DescriptorTables {
  /** VCPU v's global table from now on. @returns 0 or −EINVAL, and the old one stays */
  setGdt(v: number, frames: readonly number[], entries: number): number;
  /** Image address of entry n of its global table; 0: none, as if it were zero. */
  gdtEntry(v: number, n: number): number;
  /** VCPU v has another local table, or other page tables by which it is found. */
  dropLdt(v: number): void;
  /** Image address of entry n of its local table; 0: that page of it is not known yet. */
  ldtEntry(v: number, n: number): number;
  /** Finds a page of its local table, which lies at this address. @returns whether there can be one */
  mapLdt(v: number, page: number, lo: number, hi: number): boolean;
  /** Sets a descriptor in a frame of domain d, at an offset. @returns 0 or −EINVAL */
  update(d: number, mfn: number, within: number, lo: number, hi: number): number;
}

export function descriptorTables(
  { image, vcpu }: HvContext,
  types: PageTypes,
  touched: ((address: number, bytes: number) => void) | undefined,
): DescriptorTables {
  const words = new BigInt64Array(image.buffer);
  const frames = image.region('frames');
  const addressOf = (mfn: number, n: number): number =>
    frames.base + mfn * PAGE_SIZE + (n % DESCRIPTORS_PER_PAGE) * DESCRIPTOR_BYTES;

  return {
    setGdt(v, mfns, entries) {
      const d = vcpu.domain(v);
      for (const [n, mfn] of mfns.entries()) {
        if (types.getPageAndType(mfn, d, PGT.seg_desc_page) === 0) continue;
        for (const taken of mfns.slice(0, n)) types.putPageAndType(taken);
        return -XEN_EINVAL;
      }
      for (let n = 0; n < FIRST_RESERVED_GDT_PAGE; n++) {
        if (vcpu.gdtFrames(v, n) !== 0) types.putPageAndType(vcpu.gdtFrames(v, n));
        vcpu.setGdtFrames(v, n, mfns[n] ?? 0);
      }
      vcpu.setGdtEntries(v, entries);
      return 0;
    },
    gdtEntry(v, n) {
      const mfn = n < FIRST_RESERVED_GDT_ENTRY ? vcpu.gdtFrames(v, Math.floor(n / DESCRIPTORS_PER_PAGE)) : 0;
      return mfn === 0 ? 0 : addressOf(mfn, n);
    },
    dropLdt(v) {
      for (let page = 0; page < LDT_PAGES; page++) {
        if (vcpu.ldtFrames(v, page) === 0) continue;
        types.putPageAndType(vcpu.ldtFrames(v, page));
        vcpu.setLdtFrames(v, page, 0);
      }
    },
    ldtEntry(v, n) {
      const mfn = vcpu.ldtFrames(v, Math.floor(n / DESCRIPTORS_PER_PAGE));
      return mfn === 0 ? 0 : addressOf(mfn, n);
    },
    mapLdt(v, page, lo, hi) {
      if (vcpu.ldtFrames(v, page) !== 0) return true;
      const found = walk(image, frames, vcpu.guestTable(v), lo, hi);
      if (found === undefined || (found.lo & PTE.present) === 0) return false;
      const mfn = mfnOf(found.lo, found.hi);
      if (types.getPageAndType(mfn, vcpu.domain(v), PGT.seg_desc_page) !== 0) return false;
      vcpu.setLdtFrames(v, page, mfn);
      return true;
    },
    update(d, mfn, within, lo, hi) {
      const checked = checkedDescriptor(lo, hi);
      if (within % DESCRIPTOR_BYTES !== 0 || checked === undefined || !types.isOwner(mfn, d)) return -XEN_EINVAL;
      const type = types.typeOf(mfn) === PGT.seg_desc_page ? PGT.seg_desc_page : PGT.writable_page;
      if (types.getPageAndType(mfn, d, type) !== 0) return -XEN_EINVAL;
      const at = frames.base + mfn * PAGE_SIZE + within;
      // In one piece, as others look at it.
      const word = (BigInt(checked[1] >>> 0) << 32n) | BigInt(checked[0] >>> 0);
      Atomics.store(words, at / 8, BigInt.asIntN(64, word));
      touched?.(at, DESCRIPTOR_BYTES);
      types.putPageAndType(mfn);
      return 0;
    },
  };
}
