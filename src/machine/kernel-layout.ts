/**
 * Where a 64-bit paravirtual kernel finds what the domain builder gives it, in the order of Xen's own (tools/libs/guest/xg_dom_core.c,
 * xg_dom_x86.c): the image, a ramdisk, the list of frames, start info, the pages of xenstore and console, page tables, a stack; mapped up to
 * the next 4 MiB, with half a MiB to spare.
 */
import type { PvKernel } from '../loader/kernel.js';
import { type KernelLayout, type MappedRange, prefixOf, TABLE_LEVELS } from '../pcpu/model/kernel-plan.js';
import { PAGE_SIZE } from '../shared/image.js';

const PAGE = BigInt(PAGE_SIZE);
const pagesOf = (bytes: number | bigint): number => Number((BigInt(bytes) + PAGE - 1n) / PAGE);
/** Mapped memory ends at a multiple of this, with so much behind what is used. */
const END_BITS = 22n;
const SPARE_PAGES = (512 * 1024) / PAGE_SIZE;

function tablesFor(ranges: readonly MappedRange[]): { level: number; prefix: bigint }[] {
  const tables = [];
  for (let level = TABLE_LEVELS; level > 0; level--) {
    const prefixes = new Set<bigint>();
    for (const { address, pages } of ranges) {
      const last = prefixOf(address + PAGE * BigInt(pages) - 1n, level);
      for (let prefix = prefixOf(address, level); prefix <= last; prefix++) prefixes.add(prefix);
    }
    for (const prefix of [...prefixes].sort((a, b) => (a < b ? -1 : 1))) tables.push({ level, prefix });
  }
  return tables;
}

/** @param nrPages frames of the domain @param ramdiskBytes 0 = none */
export function kernelLayout(
  { virtBase, virtEnd, initP2m, modStartPfn }: PvKernel,
  nrPages: number,
  ramdiskBytes: number,
): KernelLayout {
  let next = pagesOf(virtEnd - virtBase);
  const allocate = (pages: number): number => {
    const pfn = next;
    next += pages;
    return pfn;
  };
  const p2mPages = pagesOf(8 * nrPages);
  const mappedRamdisk = modStartPfn ? 0 : allocate(pagesOf(ramdiskBytes));
  const mappedP2m = initP2m === undefined ? allocate(p2mPages) : 0;
  const [startInfo, xenstore, console] = [allocate(1), allocate(1), allocate(1)];
  const firstTable = next;
  let tables: { level: number; prefix: bigint }[] = [];
  let [mapped, ranges]: [number, MappedRange[]] = [0, []];
  // Behind all that is mapped: what is not, or at an address of its own.
  const after = (): number => Math.max(mapped, firstTable + tables.length + 1);
  for (let before = -1; before !== tables.length; ) {
    before = tables.length;
    const needed = virtBase + PAGE * BigInt(firstTable + tables.length + 1 + SPARE_PAGES);
    const until = ((needed + (1n << END_BITS) - 1n) >> END_BITS) << END_BITS;
    mapped = Math.min(Number((until - virtBase) / PAGE), nrPages);
    ranges = [{ address: virtBase, pfn: 0, pages: mapped }];
    if (initP2m !== undefined) ranges.push({ address: initP2m, pfn: after(), pages: p2mPages });
    tables = tablesFor(ranges);
  }
  next = firstTable + tables.length;
  const stack = allocate(1);
  next = after();
  const p2m = initP2m === undefined ? mappedP2m : allocate(p2mPages);
  const ramdisk = modStartPfn ? allocate(pagesOf(ramdiskBytes)) : mappedRamdisk;
  return {
    ...{ ramdisk, p2m, p2mPages, startInfo, xenstore, console, stack, ranges },
    tables: tables.map((table, n) => ({ ...table, pfn: firstTable + n })),
    pages: Math.max(next, firstTable + tables.length + 1),
  };
}
