/** Areas of memory that are larger than an operand of handlers: read, or written, as a whole or not at all. A page at most. */
import type { Image } from '../../shared/image.js';
import type { Access, Mmu } from './mmu.js';
import { ST } from './state.js';

const PAGE = 4096;

/** How large an area is, and what of it is looked for first where not all is there: so AMD's processors do it. */
export interface Extent {
  readonly bytes: number;
  /** Bytes at its beginning that are looked for before its last byte is. */
  readonly ahead: 0 | 2 | 4;
}

/** All are at `address` of the VCPU's block. */
export interface Areas {
  /** Undefined: an exception is set up. */
  read(st: number, extent: Extent): DataView | undefined;
  /** Writes the bytes of `from`, which may be fewer than the extent has. False: an exception is set up. */
  write(st: number, extent: Extent, from: DataView): boolean;
}

/** @param written says that a frame, by its image address, was written */
export function areas({ buffer, u8 }: Image, paging: Mmu, written: (frame: number) => void): Areas {
  const view = new DataView(buffer);
  const offsetOf = (st: number): number => view.getUint16(st + ST.address, true) & (PAGE - 1);

  /** Image addresses of the pages of the first and the last byte. */
  function pagesOf(st: number, { bytes, ahead }: Extent, access: Access): readonly [number, number] | undefined {
    const address = view.getBigUint64(st + ST.address, true);
    if (ahead > 0 && paging.load(st, ahead, access === 'write') < 0) return undefined;
    const last = paging.pageOf(st, BigInt.asUintN(64, address + BigInt(bytes - 1)), access);
    if (last < 0) return undefined;
    const first = paging.pageOf(st, address, access);
    if (first < 0) return undefined;
    paging.accessed(st, bytes, access);
    return [first, last];
  }

  return {
    read(st, extent) {
      const pages = pagesOf(st, extent, 'read');
      if (pages === undefined) return undefined;
      const offset = offsetOf(st);
      const inFirst = Math.min(extent.bytes, PAGE - offset);
      const data = new Uint8Array(extent.bytes);
      data.set(u8.subarray(pages[0] + offset, pages[0] + offset + inFirst));
      data.set(u8.subarray(pages[1], pages[1] + extent.bytes - inFirst), inFirst);
      return new DataView(data.buffer);
    },
    write(st, extent, from) {
      const pages = pagesOf(st, extent, 'write');
      if (pages === undefined) return false;
      const offset = offsetOf(st);
      const data = new Uint8Array(from.buffer, from.byteOffset, from.byteLength);
      const inFirst = Math.min(data.length, PAGE - offset);
      u8.set(data.subarray(0, inFirst), pages[0] + offset);
      u8.set(data.subarray(inFirst), pages[1]);
      for (const page of new Set(pages)) written(page);
      return true;
    },
  };
}
