/**
 * Access to a domain's memory by guest address. What is not the domain's, or not mapped, is a fault (−EFAULT), never somebody else's byte.
 *
 * A workload domain's frames are contiguous in the image and mapped at guest address 0, so a guest address is an offset. A domain of
 * machine code has page tables: its addresses are those of the kernel that makes a hypercall. What lies in several frames apart, or may not
 * be written, is copied to where handlers find it in one piece; what they have changed of that goes back when the hypercall is over, and
 * is a fault where the guest itself could not write.
 */
import { fromHalves } from '../shared/clock.js';
import { PAGE_SIZE } from '../shared/image.js';
import type { HvContext } from './context.js';
import { COPIES_BYTES, mfnOf, PTE } from './mm/records.js';
import { walk } from './mm/walk.js';

/** Answer of `translate` for an address outside the domain. Real addresses are never 0 (see layOut). */
export const FAULT = 0;

export interface GuestMemory {
  /** Image address of `bytes` bytes at guest address hi:lo of domain d, or FAULT. */
  translate(d: number, lo: number, hi: number, bytes: number): number;
  /** The same of an area that is to be used after the hypercall, too: what would be a copy is a fault. */
  translateLasting(d: number, lo: number, hi: number, bytes: number): number;
  u16(addr: number): number;
  u32(addr: number): number;
  /** A u64, exact below 2^53. */
  u64(addr: number): number;
  /** Guest pointer or unsigned long at `addr`; with `translateWord` for the usual next step. */
  setU8(addr: number, x: number): void;
  setU16(addr: number, x: number): void;
  setU32(addr: number, x: number): void;
  setU64(addr: number, x: number): void;
  /** A pointer of the domain's width stored at `addr`, translated. */
  translateAt(d: number, addr: number, bytes: number): number;
  bytes(addr: number, length: number): Uint8Array;
  /** A hypercall of VCPU v begins: addresses are its own. */
  begin(v: number): void;
  /** It is over. False: something could not be written back. */
  end(): boolean;
}

interface Copy {
  readonly at: number;
  readonly original: Uint8Array;
  /** Image addresses of its pieces, one after the other, of a page at most each; 0: may not be written. */
  readonly pieces: readonly { readonly to: number; readonly bytes: number }[];
}

/** @param touched told what the hypervisor is going to read or write; undefined = nobody wants to know */
export function guestMemory(
  { image, domain, vcpu, me }: HvContext,
  touched: ((address: number, bytes: number) => void) | undefined,
): GuestMemory {
  const view = new DataView(image.buffer);
  const { u8 } = image;
  const frames = image.region('frames');
  const room = image.region('guest-copies').base + me * COPIES_BYTES;
  /** Who makes the hypercall, and what it has copies of. */
  let caller = 0;
  let copies: Copy[] = [];
  let used = 0;

  /** Pieces of a range of the caller's addresses; undefined where not all of it is mapped. */
  function piecesOf(
    lo: number,
    hi: number,
    bytes: number,
  ): { from: number; bytes: number; isWritable: boolean }[] | undefined {
    const pieces = [];
    let address = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
    for (let left = bytes; left > 0; ) {
      const [low, high] = [Number(BigInt.asIntN(32, address)), Number(BigInt.asIntN(32, address >> 32n))];
      const found = walk(image, frames, vcpu.guestTable(caller), low, high);
      if (found === undefined || (found.lo & PTE.present) === 0) return undefined;
      const mfn = mfnOf(found.lo, found.hi);
      if (mfn >= frames.count) return undefined;
      const offset = low & (PAGE_SIZE - 1);
      const n = Math.min(left, PAGE_SIZE - offset);
      pieces.push({ from: frames.base + mfn * PAGE_SIZE + offset, bytes: n, isWritable: found.isWritable });
      left -= n;
      address = BigInt.asUintN(64, address + BigInt(n));
    }
    return pieces;
  }

  function copied(pieces: readonly { from: number; bytes: number; isWritable: boolean }[], bytes: number): number {
    const at = room + used;
    // Words of 8 bytes are where they can be read as one.
    const size = Math.ceil(bytes / 8) * 8;
    if (used + size > COPIES_BYTES) return FAULT;
    used += size;
    let to = at;
    for (const piece of pieces) {
      touched?.(piece.from, piece.bytes);
      u8.copyWithin(to, piece.from, piece.from + piece.bytes);
      to += piece.bytes;
    }
    copies.push({
      at,
      original: u8.slice(at, at + bytes),
      pieces: pieces.map((piece) => ({ to: piece.isWritable ? piece.from : 0, bytes: piece.bytes })),
    });
    return at;
  }

  function throughTables(lo: number, hi: number, bytes: number, isLasting: boolean): number {
    // Nobody looks at it.
    if (bytes <= 0) return bytes === 0 ? room : FAULT;
    // A copy has no room for it, and one that needs none is in memory, which has less than this.
    if (bytes > frames.count * PAGE_SIZE) return FAULT;
    const pieces = piecesOf(lo, hi, bytes);
    if (pieces === undefined) return FAULT;
    const first = pieces[0]!.from;
    let end = first;
    const isDirect = pieces.every((piece) => {
      const follows = piece.from === end && piece.isWritable;
      end += piece.bytes;
      return follows;
    });
    if (isDirect) {
      touched?.(first, bytes);
      return first;
    }
    return isLasting ? FAULT : copied(pieces, bytes);
  }

  function translate(d: number, lo: number, hi: number, bytes: number): number {
    if (domain.isPaged(d) !== 0) return d === vcpu.domain(caller) ? throughTables(lo, hi, bytes, false) : FAULT;
    const offset = lo >>> 0;
    if (hi !== 0 || bytes < 0 || offset + bytes > domain.nrFrames(d) * PAGE_SIZE) return FAULT;
    touched?.(domain.frames(d) + offset, bytes);
    return domain.frames(d) + offset;
  }

  /** What has changed of a copy goes where it came from. */
  function putBack({ at, original, pieces }: Copy): boolean {
    let isDone = true;
    let n = 0;
    for (const piece of pieces) {
      for (const end = n + piece.bytes, first = n; n < end; n++) {
        const byte = u8[at + n]!;
        if (byte === original[n]) continue;
        if (piece.to === 0) isDone = false;
        else {
          u8[piece.to + n - first] = byte;
        }
      }
      if (piece.to !== 0) touched?.(piece.to, piece.bytes);
    }
    return isDone;
  }

  return {
    translate,
    translateLasting: (d, lo, hi, bytes) =>
      domain.isPaged(d) !== 0 && d === vcpu.domain(caller)
        ? throughTables(lo, hi, bytes, true)
        : translate(d, lo, hi, bytes),
    u16: (addr) => view.getUint16(addr, true),
    u32: (addr) => view.getUint32(addr, true),
    u64: (addr) => fromHalves(view.getUint32(addr, true), view.getUint32(addr + 4, true)),
    setU8: (addr, x) => {
      u8[addr] = x;
    },
    setU16: (addr, x) => view.setUint16(addr, x, true),
    setU32: (addr, x) => view.setUint32(addr, x, true),
    setU64(addr, x) {
      // setUint32 takes its value modulo 2^32.
      view.setUint32(addr, x, true);
      view.setUint32(addr + 4, x / 4294967296, true);
    },
    translateAt(d, addr, bytes) {
      const hi = domain.width(d) === 64 ? view.getUint32(addr + 4, true) : 0;
      return translate(d, view.getUint32(addr, true), hi, bytes);
    },
    bytes: (addr, length) => u8.subarray(addr, addr + length),
    begin(v) {
      caller = v;
    },
    end() {
      if (copies.length === 0) return true;
      const isDone = copies.map(putBack).every((isWritten) => isWritten);
      copies = [];
      used = 0;
      return isDone;
    },
  };
}
