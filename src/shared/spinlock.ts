/**
 * Spinlocks of the hypervisor. A lock records its owner and panics on misuse: taking a lock one already holds,
 * releasing a lock one does not hold. In debug builds it also checks the lock order: a pCPU takes locks of growing
 * rank, and of growing number within a rank (docs/lock-order.md).
 *
 * `exclusive` is for ordered mode, where only the holder of the turn runs: no other thread can touch the word, so plain
 * accesses do. Owner checks stay on, so a lock that would deadlock in free mode panics in ordered mode too.
 */
import { type Region, rawRegion } from './image.js';

/** Lock ranks, in the order in which they may be taken. */
export const LOCK_RANK = { schedulerPrivate: 1, runQueue: 2, console: 3 } as const;

/** Deepest nesting of locks on one pCPU. */
const MAX_HELD = 8;

/** Words of a lock: owner (pCPU + 1, 0 = free) and rank; a cache line each, as two pCPUs spin on two locks. */
const LOCK_BYTES = 64;
/** Words of a pCPU's stack of held locks: depth, then lock numbers. */
const HELD_BYTES = 64;

export class LockPanic extends Error {
  override readonly name = 'LockPanic';
}

export const spinlockRegions = (locks: number, pcpus: number): Region[] => [
  rawRegion('spinlocks', LOCK_BYTES, locks),
  rawRegion('held-locks', HELD_BYTES, pcpus),
];

export interface Spinlocks {
  /** Gives lock `lock` its rank; once, before use. */
  init(lock: number, rank: number): void;
  acquire(lock: number, pcpu: number): void;
  /** Takes the lock when it is free; never waits and, as in Xen, is exempt from the order check. */
  tryAcquire(lock: number, pcpu: number): boolean;
  release(lock: number, pcpu: number): void;
  /** The owner's pCPU, or -1. */
  owner(lock: number): number;
}

export interface SpinlockOptions {
  readonly exclusive: boolean;
  readonly debug: boolean;
}

export function spinlocks(
  i32: Int32Array,
  locksBase: number,
  heldBase: number,
  { exclusive, debug }: SpinlockOptions,
): Spinlocks {
  const locks = locksBase >> 2;
  const held = heldBase >> 2;
  const wordOf = (lock: number): number => (locks + Math.imul(lock, LOCK_BYTES / 4)) | 0;

  function panic(lock: number, pcpu: number, what: string): never {
    throw new LockPanic(`pCPU ${pcpu} ${what} lock ${lock} (owner: pCPU ${i32[wordOf(lock)]! - 1})`);
  }

  function push(lock: number, pcpu: number, checkOrder: boolean): void {
    const h = held + pcpu * (HELD_BYTES / 4);
    const depth = i32[h]!;
    if (depth >= MAX_HELD) panic(lock, pcpu, 'nests too deeply at');
    if (checkOrder && depth > 0) {
      const top = i32[h + depth]!;
      const topRank = i32[wordOf(top) + 1]!;
      const rank = i32[wordOf(lock) + 1]!;
      if (rank < topRank || (rank === topRank && lock < top)) {
        i32[wordOf(lock)] = 0;
        throw new LockPanic(
          `lock order: pCPU ${pcpu} takes lock ${lock} (rank ${rank}) under lock ${top} (rank ${topRank})`,
        );
      }
    }
    i32[h + depth + 1] = lock;
    i32[h] = depth + 1;
  }

  /** Locks need not be released in reverse order: two run-queue locks are often dropped first in, first out. */
  function pop(lock: number, pcpu: number): void {
    const h = held + pcpu * (HELD_BYTES / 4);
    const depth = i32[h]!;
    let k = depth;
    while (k > 0 && i32[h + k] !== lock) k--;
    for (; k < depth; k++) i32[h + k] = i32[h + k + 1]!;
    i32[h] = depth - 1;
  }

  function tryTake(w: number, pcpu: number): boolean {
    if (!exclusive) return Atomics.compareExchange(i32, w, 0, pcpu + 1) === 0;
    if (i32[w] !== 0) return false;
    i32[w] = pcpu + 1;
    return true;
  }

  return {
    init(lock, rank) {
      i32[wordOf(lock) + 1] = rank;
    },
    acquire(lock, pcpu) {
      const w = wordOf(lock);
      while (!tryTake(w, pcpu)) {
        if (i32[w] === pcpu + 1) panic(lock, pcpu, 'takes again');
        // With a single runner a lock that is taken stays taken.
        if (exclusive) panic(lock, pcpu, 'would wait for ever for');
        // Test before test-and-set: spin on a shared cache line, not on an exclusive one.
        while (Atomics.load(i32, w) !== 0);
      }
      if (debug) push(lock, pcpu, true);
    },
    tryAcquire(lock, pcpu) {
      const w = wordOf(lock);
      if (!tryTake(w, pcpu)) {
        if (i32[w] === pcpu + 1) panic(lock, pcpu, 'takes again');
        return false;
      }
      if (debug) push(lock, pcpu, false);
      return true;
    },
    release(lock, pcpu) {
      const w = wordOf(lock);
      if (i32[w] !== pcpu + 1) panic(lock, pcpu, 'releases');
      if (debug) pop(lock, pcpu);
      if (exclusive) i32[w] = 0;
      else Atomics.store(i32, w, 0);
    },
    owner: (lock) => Atomics.load(i32, wordOf(lock)) - 1,
  };
}
