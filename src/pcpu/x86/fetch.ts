/** The code that a VCPU which does not run is at, for those who look at it as bytes. */
import { type Image, PAGE_SIZE } from '../../shared/image.js';
import { type Mmu, pageAfter } from './mmu.js';
import { ST } from './state.js';

const FAULT_WORDS = [ST.vector, ST.errorCode, ST.cr2, ST.cr2 + 4] as const;

/** Bytes at `rip`: `most`, or as many as can be read. The VCPU's block, which says a TLB of its own, is as before. */
export function codeAtRip({ i32, u8 }: Image, paging: Mmu, st: number, most: number): number[] {
  let [low, high] = [i32[(st + ST.rip) >> 2]!, i32[(st + ST.rip + 4) >> 2]!];
  // What a look that faults says.
  const saved = FAULT_WORDS.map((at) => i32[(st + at) >> 2]!);
  const bytes: number[] = [];
  while (bytes.length < most) {
    const page = paging.translate(st, low, high, 'fetch');
    if (page < 0) break;
    for (let at = low & (PAGE_SIZE - 1); at < PAGE_SIZE && bytes.length < most; at++) bytes.push(u8[page + at]!);
    [low, high] = pageAfter(low, high);
  }
  for (const [n, at] of FAULT_WORDS.entries()) i32[(st + at) >> 2] = saved[n]!;
  return bytes;
}
