/** The code that a VCPU which does not run is at, for those who look at it as bytes. */
import type { Image } from '../../shared/image.js';
import type { Mmu } from './mmu.js';
import { ST } from './state.js';

/** Bytes at `rip`: `most`, or as many as can be read. The VCPU's block, which says a TLB of its own, is as before. */
export function codeAtRip({ buffer, u8 }: Image, paging: Mmu, st: number, most: number): number[] {
  const rip = new DataView(buffer).getBigUint64(st + ST.rip, true);
  const saved = u8.slice(st, st + ST.value + 16);
  const bytes: number[] = [];
  for (let n = 0n; n < BigInt(most); n++) {
    const at = BigInt.asUintN(64, rip + n);
    const page = paging.pageOf(st, at, 'fetch');
    if (page < 0) break;
    bytes.push(u8[page + Number(at & 4095n)]!);
  }
  u8.set(saved, st);
  return bytes;
}
