/**
 * Spinlocks of the hypervisor and of the guests' kernels. A lock records its owner and panics on misuse: taking a lock one
 * already holds, releasing a lock one does not hold. In debug builds it also checks the lock order: a pCPU takes locks of
 * growing rank, and of growing number within a rank (docs/lock-order.md).
 *
 * `exclusive` is for ordered mode, where only the holder of the turn runs: no other thread can touch the word, so plain
 * accesses do. Owner checks stay on, so a lock that would deadlock in free mode panics in ordered mode too.
 *
 * In free mode a lock carries simulation time: its release notes how far the holder's clock had got, and who takes it next
 * moves on to that. So whatever is read under a lock was written at an earlier simulation time.
 */
import { type Region, rawRegion } from './image.js';
import { type Jitter, noJitter } from './jitter.js';
import { releaseWord } from './shared-words.js';

/** Lock ranks, in the order in which they may be taken. */
export const LOCK_RANK = {
  guest: 1,
  domctl: 2,
  eventTable: 3,
  event: 4,
  irq: 5,
  wall: 6,
  rendezvous: 7,
  schedulerPrivate: 8,
  runQueue: 9,
  budget: 10,
  pages: 11,
  heap: 12,
  console: 13,
} as const;

/** Deepest nesting of locks on one pCPU. */
const MAX_HELD = 8;

/**
 * Words of a lock: owner (pCPU + 1, 0 = free), rank, last holder + 1, the time of its release, how often it was taken, waited for
 * and tried in vain; a cache line each. All but the owner and the last count are written by the holder.
 */
const LOCK_BYTES = 64;
const RANK = 1;
const LAST = 2;
/** In doubles. */
const TIME = 2;
const TAKEN = 6;
const WAITED = 7;
const FAILED = 8;
/** Words of a pCPU's stack of held locks: depth, then lock numbers. */
const HELD_BYTES = 64;

export class LockPanic extends Error {
  override readonly name = 'LockPanic';
}

/** The machine was ended while a lock was waited for, whose holder may be gone. */
export class MachineEnded extends Error {
  override readonly name = 'MachineEnded';
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
  /** Free mode: how often it was taken, waited for, and tried in vain. */
  counts(lock: number): LockCounts;
}

export interface LockCounts {
  readonly taken: number;
  readonly waited: number;
  readonly failed: number;
}

/** What a lock needs where several threads run at once. */
export interface FreeRunning {
  /** Simulation time of the turn in progress: its index in `f64`. */
  readonly now: number;
  /** Locks from this number on take a while from pCPU to pCPU: another one has them this much after their release, ns. */
  readonly firstHandedOver: number;
  readonly handOverNs: number;
  /**
   * While the word `separate` is not 0, locks from number `firstOwn` on are each one thread's alone (hv/separation.ts): they are taken by a
   * plain store. The word changes while all other threads are stopped.
   */
  readonly separate: number;
  readonly firstOwn: number;
  /** Rounds to spin before sleeping for a moment: a holder may have been put off its core. */
  readonly spins: number;
  readonly jitter: Jitter;
  /** Whether the machine is over: nobody may ever release the lock. */
  readonly isEnded: () => boolean;
}

export interface SpinlockOptions {
  readonly debug: boolean;
  /** Absent: ordered mode, one runner at a time. */
  readonly free?: FreeRunning | undefined;
}

/** How long a waiter sleeps at a time once it has spun enough, host ms. */
const NAP_MS = 0.05;

export function spinlocks(
  i32: Int32Array,
  f64: Float64Array,
  locksBase: number,
  heldBase: number,
  { debug, free }: SpinlockOptions,
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
      const topRank = i32[wordOf(top) + RANK]!;
      const rank = i32[wordOf(lock) + RANK]!;
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
    i32[h + depth] = 0;
    i32[h] = depth - 1;
  }

  const init = (lock: number, rank: number): void => {
    i32[wordOf(lock) + RANK] = rank;
    f64[(wordOf(lock) >> 1) + TIME] = -Infinity;
  };
  const owner = (lock: number): number => Atomics.load(i32, wordOf(lock)) - 1;

  const counts = (lock: number): LockCounts => {
    const w = wordOf(lock);
    return { taken: i32[w + TAKEN]! >>> 0, waited: i32[w + WAITED]! >>> 0, failed: i32[w + FAILED]! >>> 0 };
  };

  if (free === undefined) {
    function take(lock: number, w: number, pcpu: number, checkOrder: boolean): void {
      i32[w] = pcpu + 1;
      if (debug) push(lock, pcpu, checkOrder);
    }
    return {
      init,
      owner,
      counts,
      acquire(lock, pcpu) {
        const w = wordOf(lock);
        // With a single runner a lock that is taken stays taken.
        if (i32[w] !== 0) panic(lock, pcpu, i32[w] === pcpu + 1 ? 'takes again' : 'would wait for ever for');
        take(lock, w, pcpu, true);
      },
      tryAcquire(lock, pcpu) {
        const w = wordOf(lock);
        if (i32[w] === pcpu + 1) panic(lock, pcpu, 'takes again');
        if (i32[w] !== 0) return false;
        take(lock, w, pcpu, false);
        return true;
      },
      release(lock, pcpu) {
        const w = wordOf(lock);
        if (i32[w] !== pcpu + 1) panic(lock, pcpu, 'releases');
        if (debug) pop(lock, pcpu);
        i32[w] = 0;
      },
    };
  }

  const { now: NOW, firstHandedOver, handOverNs, separate: SEPARATE, firstOwn, spins, jitter, isEnded } = free;
  const hasJitter = jitter !== noJitter;

  function waitAndTake(lock: number, w: number, pcpu: number): void {
    for (let n = 0; ; n++) {
      const holder = Atomics.load(i32, w);
      if (holder === 0) {
        if (Atomics.compareExchange(i32, w, 0, pcpu + 1) !== 0) continue;
        i32[w + WAITED]! += 1;
        return;
      }
      if (holder === pcpu + 1) panic(lock, pcpu, 'takes again');
      if (n < spins) continue;
      // Nobody notifies: a release costs nothing more for a sleeper that is hardly ever there.
      Atomics.wait(i32, w, holder, NAP_MS);
      if (isEnded()) throw new MachineEnded(`pCPU ${pcpu} waited for lock ${lock} of a machine that has ended`);
    }
  }

  /** Of a lock that is this thread's alone; false when it is taken. */
  function takeOwn(w: number, pcpu: number): boolean {
    if (i32[w] !== 0) return false;
    i32[w] = pcpu + 1;
    return true;
  }

  const isOwn = (lock: number): boolean => i32[SEPARATE] !== 0 && lock >= firstOwn;

  /** What was done under the lock before was done by then. Holding it. */
  function moveOn(lock: number, w: number, pcpu: number): void {
    let from = f64[((w >> 1) + TIME) | 0]!;
    if (lock >= firstHandedOver && i32[(w + LAST) | 0] !== pcpu + 1) from += handOverNs;
    if (from > f64[NOW]!) f64[NOW] = from;
    i32[(w + TAKEN) | 0]! += 1;
  }

  return {
    init,
    owner,
    counts,
    acquire(lock, pcpu) {
      const w = wordOf(lock);
      if (hasJitter) jitter();
      if (isOwn(lock)) {
        if (!takeOwn(w, pcpu)) panic(lock, pcpu, i32[w] === pcpu + 1 ? 'takes again' : 'would wait for ever for');
      }
      // Test before test-and-set: wait on a shared cache line, not on an exclusive one.
      else if (Atomics.compareExchange(i32, w, 0, pcpu + 1) !== 0) waitAndTake(lock, w, pcpu);
      moveOn(lock, w, pcpu);
      if (debug) push(lock, pcpu, true);
      if (hasJitter) jitter();
    },
    tryAcquire(lock, pcpu) {
      const w = wordOf(lock);
      if (hasJitter) jitter();
      if (isOwn(lock) ? !takeOwn(w, pcpu) : Atomics.compareExchange(i32, w, 0, pcpu + 1) !== 0) {
        if (i32[w] === pcpu + 1) panic(lock, pcpu, 'takes again');
        Atomics.add(i32, w + FAILED, 1);
        return false;
      }
      moveOn(lock, w, pcpu);
      if (debug) push(lock, pcpu, false);
      if (hasJitter) jitter();
      return true;
    },
    release(lock, pcpu) {
      const w = wordOf(lock);
      if (hasJitter) jitter();
      if (i32[w] !== pcpu + 1) panic(lock, pcpu, 'releases');
      if (debug) pop(lock, pcpu);
      i32[(w + LAST) | 0] = pcpu + 1;
      f64[((w >> 1) + TIME) | 0] = f64[NOW]!;
      releaseWord(i32, w, 0);
      if (hasJitter) jitter();
    },
  };
}
