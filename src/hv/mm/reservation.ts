/**
 * Frames that a domain with page tables is given, gives back, and is given again (xen/common/memory.c). What its memory began with stays
 * set aside for it: nobody else gets what it gave back, and it can have no more than that. Until it takes them again they count as the host's.
 *
 * Locking: the heap lock, within the page lock of the domain.
 */
import { PAGE_SIZE } from '../../shared/image.js';
import { HEAP_LOCK, type HvContext } from '../context.js';
import { GRANT_FRAMES } from '../grants/records.js';
import type { M2p } from './m2p.js';
import { PAGE, PGT_zero } from './records.js';

export interface Reservation {
  /** A frame of domain d has no references any more. */
  freed(mfn: number, d: number): void;
  /**
   * Gives domain d so many extents: 2^order frames side by side each, the first of them at a multiple of as many.
   * @returns the first of each; undefined: there are not so many, and none is given
   */
  take(d: number, order: number, count: number): readonly number[] | undefined;
  /** Domain d, which is new, has none of its memory yet. */
  withhold(d: number): void;
  /** Gives domain d a frame again that has just left it, as it was. */
  retake(d: number, mfn: number): void;
}

export function reservation(
  { image, domain, host, locks, machine, me }: HvContext,
  table: M2p | undefined,
): Reservation {
  const { i32, u8 } = image;
  const owners = image.region('frame-owners').base >> 2;
  const frames = image.region('frames');
  const page = image.table(PAGE);
  /** Where the last search ended: the next one is likely to find something there. */
  let last = 0;

  /** Domain d has so many frames more. Its count of those that it may touch follows, as in frames.ts. */
  function account(d: number, pages: number): void {
    domain.addTotPages(d, pages);
    host.addFreePages(0, -pages);
    domain.setNrFrames(d, Math.min(domain.backedFrames(d), domain.totPages(d)));
  }

  function clean(mfn: number): void {
    if ((page.type(mfn) & PGT_zero) === 0)
      u8.fill(0, frames.base + mfn * PAGE_SIZE, frames.base + (mfn + 1) * PAGE_SIZE);
    page.setType(mfn, page.type(mfn) & ~PGT_zero);
  }

  function locked<T>(act: () => T): T {
    const self = machine.turnOf(me);
    locks.acquire(HEAP_LOCK, self);
    const result = act();
    locks.release(HEAP_LOCK, self);
    return result;
  }

  /** The first of so many frames of d's that it has given back, or −1. */
  function find(d: number, pages: number): number {
    const begin = Math.ceil((domain.frames(d) - frames.base) / PAGE_SIZE / pages) * pages;
    const end = (domain.frames(d) - frames.base) / PAGE_SIZE + domain.backedFrames(d) - pages;
    const isFree = (first: number): boolean => {
      for (let n = 0; n < pages; n++) if (i32[owners + first + n] !== -(d + 1)) return false;
      return true;
    };
    const from = last >= begin && last <= end && last % pages === 0 ? last : begin;
    for (let mfn = from; mfn <= end; mfn += pages) if (isFree(mfn)) return mfn;
    for (let mfn = begin; mfn < from; mfn += pages) if (isFree(mfn)) return mfn;
    return -1;
  }

  return {
    freed: (mfn, d) =>
      locked(() => {
        i32[owners + mfn] = -(d + 1);
        table?.clear(mfn);
        account(d, -1);
      }),
    take: (d, order, count) =>
      locked(() => {
        const pages = 2 ** order;
        const all = count * pages;
        if (all > host.freePages(0) || domain.totPages(d) + all > domain.maxPages(d)) return undefined;
        const extents: number[] = [];
        while (extents.length < count) {
          const first = find(d, pages);
          if (first < 0) break;
          last = first;
          extents.push(first);
          i32.fill(d + 1, owners + first, owners + first + pages);
        }
        if (extents.length < count) {
          for (const first of extents) i32.fill(-(d + 1), owners + first, owners + first + pages);
          return undefined;
        }
        for (const first of extents) for (let mfn = first; mfn < first + pages; mfn++) clean(mfn);
        account(d, all);
        return extents;
      }),
    withhold: (d) =>
      locked(() => {
        const first = (domain.frames(d) - frames.base) / PAGE_SIZE;
        const end = first + domain.backedFrames(d) - GRANT_FRAMES;
        i32.fill(-(d + 1), owners + first + 1, owners + end);
        // It was set aside all zero.
        for (let mfn = first + 1; mfn < end; mfn++) page.setType(mfn, PGT_zero);
      }),
    retake: (d, mfn) =>
      locked(() => {
        i32[owners + mfn] = d + 1;
        account(d, 1);
      }),
  };
}
