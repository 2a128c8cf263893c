/**
 * Access to a domain's memory by guest address. A workload domain's frames are contiguous in the image and mapped at
 * guest address 0, so a guest address is an offset; anything outside is a fault (−EFAULT), never somebody else's byte.
 */
import { fromHalves } from '../shared/clock.js';
import { PAGE_SIZE } from '../shared/image.js';
import type { HvContext } from './context.js';

/** Answer of `translate` for an address outside the domain. Real addresses are never 0 (see layOut). */
export const FAULT = 0;

export interface GuestMemory {
  /** Image address of `bytes` bytes at guest address hi:lo of domain d, or FAULT. */
  translate(d: number, lo: number, hi: number, bytes: number): number;
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
}

/** @param touched told what the hypervisor is going to read or write; undefined = nobody wants to know */
export function guestMemory(
  { image, domain }: HvContext,
  touched: ((address: number, bytes: number) => void) | undefined,
): GuestMemory {
  const view = new DataView(image.buffer);
  const { u8 } = image;

  function translate(d: number, lo: number, hi: number, bytes: number): number {
    const offset = lo >>> 0;
    if (hi !== 0 || bytes < 0 || offset + bytes > (domain.nrFrames(d) - domain.tableFrames(d)) * PAGE_SIZE)
      return FAULT;
    touched?.(domain.frames(d) + offset, bytes);
    return domain.frames(d) + offset;
  }

  return {
    translate,
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
  };
}
