/**
 * Locked accesses that are no single one of the host's: unaligned ones, in two pages, of 16 bytes, to code. The bus is taken before
 * they read and given back when they have written; meanwhile handlers work on a copy in the VCPU's block.
 */
import type { Image } from '../../shared/image.js';
import type { BusLock } from './bus-lock.js';
import type { Mmu } from './mmu.js';
import { ST } from './state.js';

const FRAME = 4096;

export interface LockedAccesses {
  /** Image address of `size` bytes at `address` of the block, to be read and written, or of the copy; −1: an exception is set up. */
  load(st: number, size: number): number;
  /** Writes the copy. @returns whether there was code */
  store(st: number, size: number): boolean;
  /** Takes the bus for 16 bytes at `address`, which is aligned; false: an exception is set up. */
  take(st: number): boolean;
}

export function lockedAccesses(
  image: Image,
  paging: Mmu,
  written: (frame: number) => boolean,
  bus: BusLock,
): LockedAccesses {
  const { i32, u8 } = image;
  /** Where the copy is from. */
  let [first, second, offset] = [0, 0, 0];
  const at = (n: number): number => (offset + n < FRAME ? first + offset + n : second + offset + n - FRAME);

  return {
    load(st, size) {
      [first, second] = paging.pagesOf(st, size, 'write');
      if (first < 0) return -1;
      paging.accessed(st, size, 'write');
      offset = i32[(st + ST.address) >> 2]! & (FRAME - 1);
      if (offset % size === 0 && paging.mayWrite(st)) return first + offset;
      bus.acquire();
      for (let n = 0; n < size; n++) u8[st + ST.value + n] = u8[at(n)]!;
      return st + ST.value;
    },
    store(st, size) {
      for (let n = 0; n < size; n++) u8[at(n)] = u8[st + ST.value + n]!;
      const isCode = [first, second].map(written).includes(true);
      bus.release();
      return isCode;
    },
    take(st) {
      if (paging.pagesOf(st, 16, 'write')[0] < 0) return false;
      paging.accessed(st, 16, 'write');
      bus.acquire();
      return true;
    },
  };
}
