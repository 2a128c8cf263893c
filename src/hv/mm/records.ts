/** What the hypervisor knows of each frame of machine memory (xen/include/asm-x86/mm.h: struct page_info). */
import { struct } from '../../shared/struct.js';

/** Page lock of its owner. */
export const PAGE = struct('page-info', {
  /** What it is used as: one of PGT; PGT_validated, PGT_pinned, PGT_shared. While `typeCount` is 0 it may become something else. */
  type: 'i32',
  typeCount: 'i32',
  /** References of any kind, typed ones among them; the last one of a frame that its domain has given up gives it back. */
  count: 'i32',
  /** `flushEpoch` of its domain when `typeCount` last became 0: until the domain's TLBs are flushed some may know it as what it was. */
  stamp: 'i32',
});

/** Uses that exclude each other. A frame that is none of a page table's or writable has only untyped references. */
export const PGT = {
  none: 0,
  l1_page_table: 1,
  l2_page_table: 2,
  l3_page_table: 3,
  l4_page_table: 4,
  seg_desc_page: 5,
  writable_page: 7,
} as const;
export const PGT_type_mask = 7;
/** A page table whose entries have been looked at and counted. */
export const PGT_validated = 0x100;
/** A reference of its own keeps the type: MMUEXT_PIN. */
export const PGT_pinned = 0x200;
/** Others than its domain's running VCPU write it: rings, grant tables, what is granted. Machine code touches it in its pCPU's turn only. */
export const PGT_shared = 0x400;

/** Its domain has given it up: with its last reference it goes. */
export const PGT_leaving = 0x800;

/** As shared, while another domain has it mapped by a grant. */
export const PGT_granted = 0x1000;

/** It is withheld from its domain, and all zero. */
export const PGT_zero = 0x2000;

/** In `frame-owners`: of the hypervisor itself. Else a domain's record + 1, the same negated where the domain has given it back, or 0. */
export const OWNER_XEN = 0x7fff_ffff;
/** Of a domain that has ended, but others have the frame mapped by a grant still. */
export const OWNER_GONE = 0x7fff_fffe;

/** Entries of a page table. */
export const PAGE_TABLE_ENTRIES = 512;

/** Bits of an entry; its low word. */
export const PTE = {
  present: 1,
  rw: 2,
  user: 4,
  pwt: 8,
  pcd: 0x10,
  accessed: 0x20,
  dirty: 0x40,
  /** A large page; in an L1 entry the PAT bit. */
  pse: 0x80,
  global: 0x100,
} as const;
/**
 * Bits of an entry's high word: bit 52, by which the hypervisor remembers that a page is the kernel's alone; bit 62, that a grant is mapped
 * (Xen's _PAGE_GNTTAB); and no-execute. Bits 9 to 11 of an entry and 52 to 62 of others are the guest's.
 */
export const PTE_HIGH = { guestKernel: 1 << 20, grant: 1 << 30, nx: 0x8000_0000 | 0 } as const;

/** Whether a 64-bit address is one: bits 63 to 47 are equal. */
export const isCanonical = (high: number): boolean => high >> 15 === 0 || high >> 15 === -1;

/** Whether an address is one that guests have: in neither the hole between the halves nor the hypervisor's part (mm.h: __addr_ok). */
export const isGuestAddress = (hi: number): boolean => hi >>> 0 < 0x8000 || hi >>> 0 >= 0xffff_8800;

/** Machine frame of an entry. @returns a number above all frames where the entry names none that could be */
export const mfnOf = (lo: number, hi: number): number => (hi & 0xfffff) * 0x10_0000 + (lo >>> 12);

/** Entry of the tables that map an address, of this level (1 to 4), from the address in halves. */
export function indexOf(level: number, lo: number, hi: number): number {
  const shifted = level === 4 ? hi >>> 7 : level === 3 ? (hi << 2) | (lo >>> 30) : lo >>> (level === 2 ? 21 : 12);
  return shifted & (PAGE_TABLE_ENTRIES - 1);
}

/** Entries of a top-level table that are the hypervisor's: of addresses 0xffff800000000000 to 0xffff87ffffffffff (xen-x86_64.h). */
export const XEN_SLOTS = { first: 256, last: 271 } as const;

/** Bytes of copies that one hypercall of a domain with page tables can have (guest-memory.ts). */
export const COPIES_BYTES = 1 << 16;

/** m2p entry of a frame that no domain has a number for (mm.h: INVALID_M2P_ENTRY). */
export const INVALID_M2P_ENTRY = 0xffff_ffff;

/** The first of domain 0's frame numbers that frames of others can have (mm/foreign.ts), and how many of them there are. */
export const FOREIGN_FIRST = 0xf_0000;
export const FOREIGN_FRAMES = 4096;

/** One for each of those numbers. Page lock of domain 0. */
export const FOREIGN = struct('foreign-frame', {
  /** What is there, + 1; 0 = nothing. */
  mfn: 'i32',
  /** The record of the frame's domain; NOBODY: it has ended. */
  domain: 'i32',
});
