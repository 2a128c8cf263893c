/**
 * Machine memory (S1): all of it is the hypervisor's, which gives it to domains frame by frame. A workload domain touches only its
 * first few frames; those are backed in the image, side by side, and `frame-owners` says whose each is. The others are only
 * accounted for: they are taken from the host and count as the domain's, but there is nothing in them.
 *
 * Locking: the heap lock.
 */
import { PAGE_SIZE } from '../shared/image.js';
import { HEAP_LOCK, type HvContext } from './context.js';
import { OWNER_GONE, PAGE, PGT_granted } from './mm/records.js';

/** A frame of a domain that has ended, and how many mappings others have of it. */
export interface Kept {
  readonly mfn: number;
  readonly references: number;
  /** Whether it is still one that is touched in turns only. */
  readonly isShared: boolean;
}

export interface Frames {
  /** How much there is. Once, before the first domain. */
  initialise(totalPages: number): void;
  /** Sets `count` frames of the image aside for domain d, zeroed; false when there are not that many side by side. */
  setAside(d: number, count: number): boolean;
  /** Gives d `pages` frames, its first ones backed; false, and nothing, when it may not have them or the host has not. */
  give(d: number, pages: number): boolean;
  /** Takes `pages` frames back that are only accounted for; false when d has not that many. */
  takeBack(d: number, pages: number): boolean;
  /** How many frames d may have from now on; it keeps what it has. */
  limit(d: number, pages: number): void;
  /**
   * Takes everything back. Frames that others have mapped are nobody's then, and no new domain's, until the last of them has let go: only
   * the image lacks them, the host's count has them back at once. While all others stand still.
   */
  releaseAll(d: number, kept: readonly Kept[]): void;
  /** One mapping less of a frame that was kept. */
  putKept(mfn: number): void;
}

/** @param forget told of frames that are nobody's any more */
export function frames(
  { image, domain, host, machine, locks, shape, me }: HvContext,
  forget: (first: number, count: number) => void,
): Frames {
  const region = image.region('frames');
  const owners = image.region('frame-owners').base >> 2;
  const page = image.table(PAGE);
  const { i32, u8 } = image;

  function locked<T>(act: () => T): T {
    const self = machine.turnOf(me);
    locks.acquire(HEAP_LOCK, self);
    const result = act();
    locks.release(HEAP_LOCK, self);
    return result;
  }

  const firstOf = (d: number): number => (domain.frames(d) - region.base) / PAGE_SIZE;

  function setOwner(first: number, count: number, owner: number): void {
    i32.fill(owner, owners + first, owners + first + count);
  }

  /** Where the frames of kernels that are made at run time begin; those of all others end before the first of them. */
  const kernels: number[] = [];
  let common = shape.frames;
  for (let d = shape.kernelFrames.length - 1; d >= 0; d--) {
    common -= shape.kernelFrames[d] ?? 0;
    kernels[d] = common;
  }

  /** First of `count` frames side by side that nobody has, from `from` on and before `end`, or -1. */
  function findFree(count: number, from: number, end: number): number {
    for (let first = from, n = from; n < end; n++) {
      if (i32[owners + n] !== 0) first = n + 1;
      else if (n + 1 - first === count) return first;
    }
    return -1;
  }

  /** Of what d has been given, its first frames are backed. */
  function noteBacked(d: number): void {
    domain.setNrFrames(d, Math.min(domain.backedFrames(d), domain.totPages(d)));
  }

  return {
    initialise(totalPages) {
      host.setTotalPages(0, totalPages);
      host.setFreePages(0, totalPages);
    },

    setAside: (d, count) =>
      locked(() => {
        const own = shape.kernelFrames[d] ?? 0;
        const first = own > 0 ? findFree(count, kernels[d]!, kernels[d]! + own) : findFree(count, 0, common);
        if (first < 0) return false;
        setOwner(first, count, d + 1);
        domain.setFrames(d, region.base + first * PAGE_SIZE);
        domain.setBackedFrames(d, count);
        const dirty = Math.max(0, Math.min(count, host.usedFrames(0) - first));
        u8.fill(0, domain.frames(d), domain.frames(d) + dirty * PAGE_SIZE);
        host.setUsedFrames(0, Math.max(host.usedFrames(0), first + count));
        return true;
      }),

    give: (d, pages) =>
      locked(() => {
        if (pages > host.freePages(0) || domain.totPages(d) + pages > domain.maxPages(d)) return false;
        host.addFreePages(0, -pages);
        domain.addTotPages(d, pages);
        noteBacked(d);
        return true;
      }),

    takeBack: (d, pages) =>
      locked(() => {
        if (pages > domain.totPages(d) - domain.nrFrames(d)) return false;
        domain.addTotPages(d, -pages);
        host.addFreePages(0, pages);
        return true;
      }),

    limit: (d, pages) => locked(() => domain.setMaxPages(d, pages)),

    releaseAll: (d, kept) =>
      locked(() => {
        host.addFreePages(0, domain.totPages(d));
        domain.setTotPages(d, 0);
        if (domain.backedFrames(d) > 0) {
          setOwner(firstOf(d), domain.backedFrames(d), 0);
          forget(firstOf(d), domain.backedFrames(d));
        }
        for (const { mfn, references, isShared } of kept) {
          setOwner(mfn, 1, OWNER_GONE);
          page.setCount(mfn, references);
          page.setType(mfn, isShared ? PGT_granted : 0);
        }
        domain.setBackedFrames(d, 0);
        noteBacked(d);
      }),

    putKept: (mfn) =>
      locked(() => {
        page.addCount(mfn, -1);
        if (page.count(mfn) > 0) return;
        setOwner(mfn, 1, 0);
        forget(mfn, 1);
      }),
  };
}
