/** Page tables as the hypervisor walks them on a guest's behalf. It sets no accessed and dirty bits. */
import { type Image, PAGE_SIZE } from '../../shared/image.js';
import { indexOf, isGuestAddress, mfnOf, PTE } from './records.js';

export interface Walked {
  /** Machine frame of the level-1 table, and the entry's number in it. */
  readonly table: number;
  readonly n: number;
  readonly lo: number;
  readonly hi: number;
  /** Whether all levels allow writes. */
  readonly isWritable: boolean;
}

/**
 * Under the page lock of their owner, that they stay page tables.
 * @returns the level-1 entry that maps an address; undefined where it is no guest's, or the levels above do not lead there
 */
export function walk(
  { i32 }: Image,
  frames: { base: number; count: number },
  root: number,
  lo: number,
  hi: number,
): Walked | undefined {
  if (!isGuestAddress(hi)) return undefined;
  let table = root;
  let isWritable = true;
  for (let level = 4; ; level--) {
    if (table >= frames.count) return undefined;
    const n = indexOf(level, lo, hi);
    const at = ((frames.base + table * PAGE_SIZE) >> 2) + 2 * n;
    const [entryLo, entryHi] = [Atomics.load(i32, at), i32[at + 1]!];
    if ((entryLo & PTE.rw) === 0) isWritable = false;
    if (level === 1) return { table, n, lo: entryLo, hi: entryHi, isWritable };
    if ((entryLo & PTE.present) === 0) return undefined;
    table = mfnOf(entryLo, entryHi);
  }
}
