/**
 * Stealing: a pCPU about to run something unimportant (or nothing) looks through its peers' run queues for a VCPU of
 * strictly higher priority that may run here. Soft affinity first, then hard, or hard alone; the thief's own socket first, then the
 * others round about; in each the peers in cyclic order after its last victim; a peer whose lock is taken is passed over, never
 * waited for; the first find ends the search.
 *
 * Locking: the caller holds the lock of pCPU `p`; peers' locks are only tried, which cannot deadlock.
 */
import { NONE } from '../shared/list.js';
import type { Spinlocks } from '../shared/spinlock.js';
import { CHECKED } from '../shared/trace-kinds.js';
import { type BalanceStep, HARD, type RunQueues, SOFT } from './run-queues.js';
import { pcpusOfSocket, type Topology } from './topology.js';

export interface StealCounters {
  tried(p: number): void;
  tryFailed(p: number): void;
  peerIdle(p: number): void;
  hot(p: number): void;
  /** What came of a look at a peer, one of CHECKED. */
  checked(p: number, peer: number, result: number): void;
  stolen(p: number, peer: number, v: number, step: BalanceStep): void;
}

export interface StealOptions {
  readonly queues: RunQueues;
  readonly locks: Spinlocks;
  /** Number of pCPU p's run-queue lock. */
  readonly lockOf: (p: number) => number;
  readonly counters: StealCounters;
  /** Whether the VCPU's caches are still worth keeping. */
  readonly isHot: (v: number) => boolean;
  /** SOFT; or HARD, where soft affinity is not known. */
  readonly firstStep: BalanceStep;
  /** The pCPU after which the round of a socket's peers starts, and a way to remember the last victim. */
  readonly bias: { get(p: number, socket: number): number; set(p: number, socket: number, victim: number): void };
  /** Where sockets are; one for all where they do not matter. */
  readonly topology: Topology;
}

/** @returns steal(p, pri): a VCPU now belonging to pCPU `p` and in no queue, or NONE */
export function stealing(options: StealOptions): (p: number, pri: number) => number {
  const { queues, locks, lockOf, counters, isHot, firstStep, bias, topology } = options;
  const { runq, entry, list, masks } = queues;
  const perSocket = pcpusOfSocket(topology);

  /** Steps from pCPU `from` to `to` in the round, 1 to all. */
  const distance = (from: number, to: number): number => (to > from ? to - from : to - from + queues.pcpus);

  function stealFrom(peer: number, p: number, pri: number, step: BalanceStep): number {
    for (let v = list.first(peer); v !== NONE; v = list.next(v)) {
      if (entry.pri(v) <= pri) break;
      if (entry.isRunning(v) !== 0 || entry.yielded(v) !== 0) continue;
      if (step === SOFT && entry.hasSoftAffinity(v) === 0) continue;
      if (!masks.has(queues.affinity(v, step), p)) continue;
      if (isHot(v)) {
        counters.hot(p);
        continue;
      }
      list.remove(peer, v);
      queues.addRunnable(peer, -1);
      entry.setProcessor(v, p);
      queues.addRunnable(p, 1);
      return v;
    }
    return NONE;
  }

  /** A round of the peers in a socket, which has the pCPUs from `first` on; NONE when nothing was found. */
  function stealIn(socket: number, p: number, pri: number, step: BalanceStep): number {
    const first = socket * perSocket;
    const start = bias.get(p, socket);
    const idlers = queues.idlers(p);
    const overloaded = queues.overloaded(p);
    let peer = masks.cycleIn(start, overloaded, first, perSocket);
    // Once round, by distance: the mask changes meanwhile, and the first peer may not be in it any more to end the round.
    for (let gone = 0; peer !== NONE; ) {
      const at = distance(start, peer);
      if (at <= gone) break;
      gone = at;
      // An idle peer is about to take from its own queue; leave it to it. The count is a racy hint, checked again
      // by walking the queue under its lock.
      if (peer !== p && runq.nrRunnable(peer) > 1) {
        if (masks.has(idlers, peer)) {
          counters.peerIdle(p);
          counters.checked(p, peer, CHECKED.idle);
        } else {
          counters.tried(p);
          if (locks.tryAcquire(lockOf(peer), p)) {
            const v = stealFrom(peer, p, pri, step);
            locks.release(lockOf(peer), p);
            counters.checked(p, peer, v === NONE ? CHECKED.nothing : CHECKED.found);
            if (v !== NONE) {
              counters.stolen(p, peer, v, step);
              bias.set(p, socket, peer);
              return v;
            }
          } else {
            counters.tryFailed(p);
            counters.checked(p, peer, CHECKED.locked);
          }
        }
      }
      peer = masks.cycleIn(peer, overloaded, first, perSocket);
    }
    return NONE;
  }

  return (p, pri) => {
    const own = Math.floor(p / perSocket);
    for (let step = firstStep; step <= HARD; step++) {
      // Nobody anywhere: by far the most frequent answer.
      if (masks.isEmpty(queues.overloaded(p))) return NONE;
      for (let n = 0; n < topology.sockets; n++) {
        const v = stealIn((own + n) % topology.sockets, p, pri, step);
        if (v !== NONE) return v;
      }
    }
    return NONE;
  };
}
