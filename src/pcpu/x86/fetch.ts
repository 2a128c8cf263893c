/** The code that a VCPU which does not run is at, for those who look at it as bytes. The VCPU's block, which says a TLB of its own, is as before. */
import { type Image, PAGE_SIZE } from '../../shared/image.js';
import { type Mmu, pageAfter } from './mmu.js';
import { ST } from './state.js';

/** Image address of the page of code at an address; −1: there is none. What a look that faults says is not kept. */
function codePage({ i32 }: Image, paging: Mmu, st: number, low: number, high: number): number {
  const at = (field: number): number => (st + field) >> 2;
  const [vector, errorCode] = [i32[at(ST.vector)]!, i32[at(ST.errorCode)]!];
  const [cr2, cr2High] = [i32[at(ST.cr2)]!, i32[at(ST.cr2) + 1]!];
  const page = paging.translate(st, low, high, 'fetch');
  i32[at(ST.vector)] = vector;
  i32[at(ST.errorCode)] = errorCode;
  i32[at(ST.cr2)] = cr2;
  i32[at(ST.cr2) + 1] = cr2High;
  return page;
}

/** Bytes at `rip`: `most`, or as many as can be read. */
export function codeAtRip(image: Image, paging: Mmu, st: number, most: number): number[] {
  const { i32, u8 } = image;
  let [low, high] = [i32[(st + ST.rip) >> 2]!, i32[(st + ST.rip + 4) >> 2]!];
  const bytes: number[] = [];
  while (bytes.length < most) {
    const page = codePage(image, paging, st, low, high);
    if (page < 0) break;
    for (let at = low & (PAGE_SIZE - 1); at < PAGE_SIZE && bytes.length < most; at++) bytes.push(u8[page + at]!);
    [low, high] = pageAfter(low, high);
  }
  return bytes;
}
