/**
 * Access to a domain's memory by guest address. What is not the domain's, or not mapped, is a fault (−EFAULT), never somebody else's byte.
 *
 * A workload domain's frames are contiguous in the image and mapped at guest address 0, so a guest address is an offset. Frames of others that
 * domain 0 has far above them (mm/foreign.ts) are no places for arguments. A domain of
 * machine code has page tables: its addresses are those of the kernel that makes a hypercall. What lies in its own frames side by side, and
 * may be written, is used where it is; it stays writable memory until the hypercall is over, so that it can become no page table
 * meanwhile. All else is copied to where handlers find it in one piece; what they have changed of that goes back when the hypercall is
 * over, through the page tables as they are then, and is a fault where the guest itself could not write.
 *
 * Locking: takes the page lock of the domain, so nobody who holds it may ask.
 */
import { fromHalves } from '../shared/clock.js';
import { PAGE_SIZE } from '../shared/image.js';
import type { HvContext } from './context.js';
import type { MachineMemory } from './mm/memory.js';
import { COPIES_BYTES, mfnOf, PGT, PTE } from './mm/records.js';
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
  /** A hypercall within one begins; it ends by `endNested` of this. */
  beginNested(): number;
  endNested(outer: number): boolean;
  /** `bytes` of the caller, at most FETCH_BYTES, to be read before the next of them is fetched: image address, or FAULT. */
  fetch(d: number, lo: number, hi: number, bytes: number): number;
}

/** See `fetch`. */
export const FETCH_BYTES = 64;

interface Copy {
  readonly at: number;
  readonly original: Uint8Array;
  readonly lo: number;
  readonly hi: number;
}

interface Piece {
  readonly from: number;
  readonly bytes: number;
  readonly isWritable: boolean;
}

/** @param touched told what the hypervisor is going to read or write; undefined = nobody wants to know */
export function guestMemory(
  { image, domain, vcpu, me }: HvContext,
  touched: ((address: number, bytes: number) => void) | undefined,
  mm: MachineMemory,
): GuestMemory {
  const view = new DataView(image.buffer);
  const { u8 } = image;
  const frames = image.region('frames');
  const room = image.region('guest-copies').base + me * COPIES_BYTES;
  /** Who makes the hypercall, and what it has copies of. */
  let caller = 0;
  const copies: Copy[] = [];
  let used = FETCH_BYTES;
  /** Frames that stay writable until it is over. */
  let held: number[] = [];
  const { types } = mm.tables;

  /**
   * Pieces of a range of the caller's addresses, of a page at most each; undefined where not all of it is mapped. More than can be copied
   * have to lie side by side. Under the page lock.
   */
  function piecesOf(lo: number, hi: number, bytes: number): Piece[] | undefined {
    const pieces: Piece[] = [];
    let address = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
    let end = 0;
    for (let left = bytes; left > 0; ) {
      const [low, high] = [Number(BigInt.asIntN(32, address)), Number(BigInt.asIntN(32, address >> 32n))];
      const place = placeOf(low, high);
      if (place === FAULT) return undefined;
      const n = Math.min(left, PAGE_SIZE - (low & (PAGE_SIZE - 1)));
      const from = Math.abs(place);
      if (bytes > COPIES_BYTES && left !== bytes && from !== end) return undefined;
      pieces.push({ from, bytes: n, isWritable: place > 0 });
      end = from + n;
      left -= n;
      address = BigInt.asUintN(64, address + BigInt(n));
    }
    return pieces;
  }

  const frameOf = (address: number): number => Math.floor((address - frames.base) / PAGE_SIZE);

  /**
   * Where one of the caller's addresses leads, without making anything. Under the page lock.
   * @returns its image address, negated where it cannot be written; FAULT
   */
  function placeOf(lo: number, hi: number): number {
    const found = walk(image, frames, vcpu.guestTable(caller), lo, hi);
    if (found === undefined || (found.lo & PTE.present) === 0) return FAULT;
    const mfn = mfnOf(found.lo, found.hi);
    if (mfn >= frames.count) return FAULT;
    const from = frames.base + mfn * PAGE_SIZE + (lo & (PAGE_SIZE - 1));
    return found.isWritable ? from : -from;
  }
  const isInOnePage = (lo: number, bytes: number): boolean => (lo & (PAGE_SIZE - 1)) + bytes <= PAGE_SIZE;

  /** Keeps a frame writable memory until the hypercall is over. @returns whether it is domain d's, and can be */
  function hold(d: number, mfn: number): boolean {
    if (types.getPageAndType(mfn, d, PGT.writable_page) !== 0) return false;
    held.push(mfn);
    return true;
  }

  /** Keeps what lies side by side as it is until the hypercall is over. @returns whether it is to be used where it is */
  function holdAll(d: number, pieces: readonly Piece[]): boolean {
    let end = pieces[0]!.from;
    for (const { from, bytes, isWritable } of pieces) {
      if (from !== end || !isWritable) return false;
      end += bytes;
    }
    const first = held.length;
    for (const piece of pieces) {
      if (hold(d, frameOf(piece.from))) continue;
      // Another domain's.
      for (const mfn of held.splice(first)) types.putPageAndType(mfn);
      return false;
    }
    return true;
  }

  function copyOut(pieces: readonly Piece[], at: number): void {
    let to = at;
    for (const piece of pieces) {
      touched?.(piece.from, piece.bytes);
      u8.copyWithin(to, piece.from, piece.from + piece.bytes);
      to += piece.bytes;
    }
  }

  function copied(pieces: readonly Piece[], bytes: number, lo: number, hi: number): number {
    const at = room + used;
    // Words of 8 bytes are where they can be read as one.
    const size = Math.ceil(bytes / 8) * 8;
    if (used + size > COPIES_BYTES) return FAULT;
    used += size;
    copyOut(pieces, at);
    copies.push({ at, original: u8.slice(at, at + bytes), lo, hi });
    return at;
  }

  function throughTables(d: number, lo: number, hi: number, bytes: number, isLasting: boolean): number {
    // Nobody looks at it.
    if (bytes <= 0) return bytes === 0 ? room : FAULT;
    // A copy has no room for it, and one that needs none is in memory, which has less than this.
    if (bytes > frames.count * PAGE_SIZE) return FAULT;
    return mm.locked(d, () => {
      const place = isInOnePage(lo, bytes) ? placeOf(lo, hi) : FAULT;
      if (place > 0 && hold(d, frameOf(place))) {
        touched?.(place, bytes);
        return place;
      }
      const pieces = piecesOf(lo, hi, bytes);
      if (pieces === undefined) return FAULT;
      if (!holdAll(d, pieces)) return isLasting ? FAULT : copied(pieces, bytes, lo, hi);
      touched?.(pieces[0]!.from, bytes);
      return pieces[0]!.from;
    });
  }

  function translate(d: number, lo: number, hi: number, bytes: number): number {
    if (domain.isPaged(d) !== 0) return d === vcpu.domain(caller) ? throughTables(d, lo, hi, bytes, false) : FAULT;
    const offset = lo >>> 0;
    if (hi !== 0 || bytes < 0 || offset + bytes > domain.nrFrames(d) * PAGE_SIZE) return FAULT;
    touched?.(domain.frames(d) + offset, bytes);
    return domain.frames(d) + offset;
  }

  /** What has changed of a copy goes where its address leads now. Under the page lock. */
  function putBack({ at, original, lo, hi }: Copy): boolean {
    if (original.every((byte, n) => u8[at + n] === byte)) return true;
    const pieces = piecesOf(lo, hi, original.length);
    if (pieces === undefined) return false;
    let isDone = true;
    let n = 0;
    for (const { from, bytes, isWritable } of pieces) {
      for (const end = n + bytes, first = n; n < end; n++) {
        const byte = u8[at + n]!;
        if (byte === original[n]) continue;
        if (isWritable) u8[from + n - first] = byte;
        else isDone = false;
      }
      if (isWritable) touched?.(from, bytes);
    }
    return isDone;
  }

  /** Ends what was begun when there were so many copies. */
  function endFrom(first: number): boolean {
    if (copies.length === first) return true;
    const ended = copies.splice(first);
    used = ended[0]!.at - room;
    return mm.locked(vcpu.domain(caller), () => ended.map(putBack).every((isWritten) => isWritten));
  }

  return {
    translate,
    translateLasting: (d, lo, hi, bytes) =>
      domain.isPaged(d) !== 0 && d === vcpu.domain(caller)
        ? throughTables(d, lo, hi, bytes, true)
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
      const isDone = endFrom(0);
      if (held.length > 0) {
        const frames = held;
        held = [];
        mm.locked(vcpu.domain(caller), () => {
          for (const mfn of frames) types.putPageAndType(mfn);
        });
      }
      return isDone;
    },
    beginNested: () => copies.length,
    endNested: endFrom,
    fetch(d, lo, hi, bytes) {
      if (domain.isPaged(d) === 0) return translate(d, lo, hi, bytes);
      if (d !== vcpu.domain(caller)) return FAULT;
      return mm.locked(d, () => {
        if (isInOnePage(lo, bytes)) {
          const place = Math.abs(placeOf(lo, hi));
          if (place === FAULT) return FAULT;
          touched?.(place, bytes);
          u8.copyWithin(room, place, place + bytes);
          return room;
        }
        const pieces = piecesOf(lo, hi, bytes);
        if (pieces === undefined) return FAULT;
        copyOut(pieces, room);
        return room;
      });
    },
  };
}
