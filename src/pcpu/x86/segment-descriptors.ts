/** Descriptors of segments (Intel SDM vol. 3, 3.4.5), as 64-bit code in ring 3 sees them. */

/** Who asks for a segment, in a selector's lowest bits; and that it is one of the local table. */
export const [RPL, LOCAL] = [3, 4];

/** A code or data segment. */
export interface Segment {
  readonly base: bigint;
  /** The last byte. */
  readonly limit: number;
  /** As LAR has them. */
  readonly rights: number;
  readonly isPresent: boolean;
  readonly dpl: number;
  readonly isCode: boolean;
  /** Data that may be written; code that may be read; code that any ring may use. */
  readonly isWritable: boolean;
  readonly isReadable: boolean;
  readonly isConforming: boolean;
  /** Code of 64 bits. */
  readonly isLong: boolean;
}

/** Bits of a descriptor's high word. */
const HIGH = {
  accessed: 1 << 8,
  writableOrReadable: 1 << 9,
  conforming: 1 << 10,
  code: 1 << 11,
  codeOrData: 1 << 12,
  present: 1 << 15,
  long: 1 << 21,
  wide: 1 << 22,
  granularity: 1 << 23,
} as const;
export const ACCESSED = HIGH.accessed;
/** What LAR says of it; bits of the limit are undefined, here 0. */
const RIGHTS = 0x00f0ff00;
const PAGE_SHIFT = 12;

/** Undefined: it is none of a segment, but of the system, or nothing at all. */
export function segmentOf(lo: number, hi: number): Segment | undefined {
  if ((hi & HIGH.codeOrData) === 0) return undefined;
  const limit = (hi & 0xf0000) | (lo & 0xffff);
  const isCode = (hi & HIGH.code) !== 0;
  const isMore = (hi & HIGH.writableOrReadable) !== 0;
  return {
    base: BigInt((((hi & 0xff00_0000) | ((hi & 0xff) << 16) | (lo >>> 16)) >>> 0) >>> 0),
    limit: (hi & HIGH.granularity) === 0 ? limit : ((limit << PAGE_SHIFT) | ((1 << PAGE_SHIFT) - 1)) >>> 0,
    rights: hi & RIGHTS,
    isPresent: (hi & HIGH.present) !== 0,
    dpl: (hi >> 13) & 3,
    isCode,
    isWritable: !isCode && isMore,
    isReadable: !isCode || isMore,
    isConforming: isCode && (hi & HIGH.conforming) !== 0,
    isLong: (hi & (HIGH.long | HIGH.wide)) === HIGH.long,
  };
}

/** Selectors of the flat segments for ring 3 that the hypervisor provides: code of 32 and of 64 bits, data. */
export interface FlatSelectors {
  readonly code: readonly [number, number];
  readonly data: readonly [number];
}

/** High words of theirs; the low one is that of all limits of 4 GiB. */
const FLAT = { low: 0xffff, code32: 0x00cf_fb00, code64: 0x00af_fb00, data: 0x00cf_f300 } as const;

/** By selectors that ask for ring 3. */
export function flatSegments({ code: [code32, code64], data: [data] }: FlatSelectors): ReadonlyMap<number, Segment> {
  const all = [
    [code32, FLAT.code32],
    [code64, FLAT.code64],
    [data, FLAT.data],
  ] as const;
  return new Map(all.map(([selector, high]) => [selector, segmentOf(FLAT.low, high)!]));
}
