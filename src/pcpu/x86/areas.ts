/** Areas of memory that are larger than an operand of handlers: read, or written, as a whole or not at all. A page at most. */
import type { Image } from '../../shared/image.js';
import type { Access, Mmu } from './mmu.js';

const PAGE = 4096;

/** A whole of so many bytes, and which end of it is looked for first where neither is there: so AMD's processors do it. */
export interface Extent {
  readonly bytes: number;
  readonly first: 'lowest' | 'highest';
}

export interface Areas {
  /** Undefined: an exception is set up. */
  read(st: number, address: bigint, extent: Extent): DataView | undefined;
  /** Writes the bytes of `from`, which may be fewer than the extent has. False: an exception is set up. */
  write(st: number, address: bigint, extent: Extent, from: DataView): boolean;
}

/** @param written says that a frame, by its image address, is written */
export function areas({ u8 }: Image, paging: Mmu, written: (frame: number) => void): Areas {
  /** Image addresses of the pages of the first and the last byte. */
  function pagesOf(
    st: number,
    address: bigint,
    { bytes, first }: Extent,
    access: Access,
  ): readonly [number, number] | undefined {
    const last = BigInt.asUintN(64, address + BigInt(bytes - 1));
    const ends = first === 'lowest' ? [address, last] : [last, address];
    const pages: number[] = [];
    for (const end of ends) {
      const page = paging.pageOf(st, end, access);
      if (page < 0) return undefined;
      pages.push(page);
    }
    return first === 'lowest' ? [pages[0]!, pages[1]!] : [pages[1]!, pages[0]!];
  }

  return {
    read(st, address, extent) {
      const pages = pagesOf(st, address, extent, 'read');
      if (pages === undefined) return undefined;
      const offset = Number(address & BigInt(PAGE - 1));
      const { bytes } = extent;
      const inFirst = Math.min(bytes, PAGE - offset);
      const data = new Uint8Array(bytes);
      data.set(u8.subarray(pages[0] + offset, pages[0] + offset + inFirst));
      data.set(u8.subarray(pages[1], pages[1] + bytes - inFirst), inFirst);
      return new DataView(data.buffer);
    },
    write(st, address, extent, from) {
      const pages = pagesOf(st, address, extent, 'write');
      if (pages === undefined) return false;
      for (const page of new Set(pages)) written(page);
      const offset = Number(address & BigInt(PAGE - 1));
      const data = new Uint8Array(from.buffer, from.byteOffset, from.byteLength);
      const inFirst = Math.min(data.length, PAGE - offset);
      u8.set(data.subarray(0, inFirst), pages[0] + offset);
      u8.set(data.subarray(inFirst), pages[1]);
      return true;
    },
  };
}
