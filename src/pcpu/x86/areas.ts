/** Areas of memory that are larger than an operand of handlers: read, or written, as a whole or not at all. A page at most. */
import type { Image } from '../../shared/image.js';
import type { Access, Mmu } from './mmu.js';

const PAGE = 4096;

export interface Areas {
  /** Undefined: an exception is set up. */
  read(st: number, address: bigint, bytes: number): DataView | undefined;
  /** Writes the bytes of `from`. @param bytes that must be writable @returns false: an exception is set up */
  write(st: number, address: bigint, from: DataView, bytes?: number): boolean;
}

/** @param written says that a frame, by its image address, is written */
export function areas({ u8 }: Image, paging: Mmu, written: (frame: number) => void): Areas {
  /** Image addresses of the pages of the first and the last byte. */
  function pagesOf(st: number, address: bigint, bytes: number, access: Access): readonly [number, number] | undefined {
    const last = BigInt.asUintN(64, address + BigInt(bytes - 1));
    const isCanonical = BigInt.asUintN(64, BigInt.asIntN(48, last)) === last;
    // All of the address is looked at before any page.
    if (!isCanonical && paging.pageOf(st, last, access) < 0) return undefined;
    const first = paging.pageOf(st, address, access);
    if (first < 0) return undefined;
    if (address >> 12n === last >> 12n) return [first, first];
    const second = paging.pageOf(st, last & ~BigInt(PAGE - 1), access);
    return second < 0 ? undefined : [first, second];
  }

  return {
    read(st, address, bytes) {
      const pages = pagesOf(st, address, bytes, 'read');
      if (pages === undefined) return undefined;
      const offset = Number(address & BigInt(PAGE - 1));
      const inFirst = Math.min(bytes, PAGE - offset);
      const data = new Uint8Array(bytes);
      data.set(u8.subarray(pages[0] + offset, pages[0] + offset + inFirst));
      data.set(u8.subarray(pages[1], pages[1] + bytes - inFirst), inFirst);
      return new DataView(data.buffer);
    },
    write(st, address, from, bytes = from.byteLength) {
      const pages = pagesOf(st, address, bytes, 'write');
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
