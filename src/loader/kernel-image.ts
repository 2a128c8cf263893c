/**
 * A paravirtual kernel as Xen's domain builder sees it: what lies at which virtual address when it begins. Segments are loaded by p_paddr;
 * pseudo-physical address 0 is at virtBase.
 */
import { HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START } from '../shared/public/arch-x86.js';
import { type ElfClass, type ElfImage, type ElfSegment, findOverlap, isAddressRange } from './elf.js';
import { XenImageError, type XenNotes } from './xen-notes.js';

export interface PlacedSegment {
  /** Virtual; not what the file gives it, but where p_paddr leads to. */
  readonly address: bigint;
  readonly contents: Uint8Array;
  readonly bytes: bigint;
}

export interface KernelImage {
  readonly class: ElfClass;
  readonly virtBase: bigint;
  /** What of p_paddr is no address: virtual = p_paddr - paddrOffset + virtBase. */
  readonly paddrOffset: bigint;
  /** The first byte that is loaded, and the first behind the last one; no page bounds. */
  readonly virtStart: bigint;
  readonly virtEnd: bigint;
  readonly entry: bigint;
  readonly hypercallPage: bigint | undefined;
  /** Where the list of frames is wanted; behind the image where nothing is said. */
  readonly initP2m: bigint | undefined;
  /** By their addresses. */
  readonly segments: readonly PlacedSegment[];
}

const PAGE_BYTES = 4096n;
/** Addresses that only the hypervisor has. */
const HOLE: Readonly<Record<ElfClass, readonly [bigint, bigint]>> = {
  32: [HYPERVISOR_VIRT_START[32], 1n << 32n],
  64: [HYPERVISOR_VIRT_START[64], HYPERVISOR_VIRT_END[64]],
};

const hex = (address: bigint): string => (address < 0n ? `-0x${(-address).toString(16)}` : `0x${address.toString(16)}`);

function fail(what: string): never {
  throw new XenImageError(what);
}

/**
 * Xen's elf_xen_addr_calc_check, and what its domain builder finds out later.
 * @throws XenImageError
 */
export function describeImage(elf: ElfImage, notes: XenNotes): KernelImage {
  const size = elf.class;
  if (notes.paddrOffset !== undefined && notes.virtBase === undefined) fail('PADDR_OFFSET without VIRT_BASE');
  const virtBase = notes.virtBase ?? 0n;
  // Kernels of before there were notes have virtual addresses in p_paddr.
  const paddrOffset = notes.paddrOffset ?? (notes.isLegacy ? virtBase : 0n);
  const [holeStart, holeEnd] = HOLE[size];
  const isGuests = (from: bigint, to: bigint): boolean =>
    isAddressRange(size, from, to) && (to <= holeStart || from >= holeEnd);
  if (virtBase % PAGE_BYTES !== 0n || !isGuests(virtBase, virtBase + PAGE_BYTES)) {
    fail(`VIRT_BASE ${hex(virtBase)} is no page of a guest`);
  }
  if (notes.hvStartLow !== undefined && notes.hvStartLow > holeStart) {
    fail(`HV_START_LOW ${hex(notes.hvStartLow)}: the hypervisor begins at ${hex(holeStart)}`);
  }

  const placeOf = ({ physicalAddress }: ElfSegment): bigint => physicalAddress - paddrOffset + virtBase;
  const segments = elf.segments
    .map((segment) => ({ address: placeOf(segment), contents: segment.contents, bytes: segment.bytes }))
    .sort((a, b) => (a.address < b.address ? -1 : 1));
  const virtStart = segments[0]?.address ?? virtBase;
  const virtEnd = segments.reduce(
    (end, { address, bytes }) => (address + bytes > end ? address + bytes : end),
    virtStart,
  );
  if (virtStart < virtBase) fail(`the image begins at ${hex(virtStart)}, before VIRT_BASE ${hex(virtBase)}`);
  if (!isGuests(virtStart, virtEnd)) {
    fail(`the image, ${hex(virtStart)} to ${hex(virtEnd)}, lies where a guest has no addresses`);
  }
  const both = findOverlap(elf.segments, placeOf);
  if (both) fail(`the segments loaded at ${hex(both[0])} and ${hex(both[1])} overlap`);

  const entry = notes.entry ?? elf.entry;
  if (entry < virtStart || entry >= virtEnd) {
    fail(`the entry ${hex(entry)} lies outside of the image, ${hex(virtStart)} to ${hex(virtEnd)}`);
  }
  const { hypercallPage, initP2m } = notes;
  if (hypercallPage !== undefined) {
    if (hypercallPage % PAGE_BYTES !== 0n) fail(`HYPERCALL_PAGE ${hex(hypercallPage)} is no page`);
    // Its last page is a guest's as a whole.
    if (hypercallPage + PAGE_BYTES <= virtStart || hypercallPage >= virtEnd) {
      fail(`HYPERCALL_PAGE ${hex(hypercallPage)} lies outside of the image, ${hex(virtStart)} to ${hex(virtEnd)}`);
    }
  }
  if (initP2m !== undefined) {
    if (initP2m % PAGE_BYTES !== 0n || !isGuests(initP2m, initP2m + PAGE_BYTES)) {
      fail(`INIT_P2M ${hex(initP2m)} is no page of a guest`);
    }
    if (initP2m >= virtStart && initP2m < virtEnd) fail(`INIT_P2M ${hex(initP2m)} lies within the image`);
  }
  return { class: size, virtBase, paddrOffset, virtStart, virtEnd, entry, hypercallPage, initP2m, segments };
}
