/**
 * Locks in simulated time. In ordered mode one pCPU runs at a time, so no lock is ever found taken; on a real host it would
 * be, by whoever took it a moment ago. Here a lock that is taken at t is held for a while and free again after it: who
 * comes earlier waits that long, and a trylock fails. What a pCPU waits and holds in a turn it is late by at its end.
 *
 * Holding costs of 0 switch all this off.
 */
import { type Image, type Region, tableRegion } from '../shared/image.js';
import type { Spinlocks } from '../shared/spinlock.js';
import { struct, type Table } from '../shared/struct.js';
import type { MACHINE } from './records.js';

export const LOCK_TIME = struct('lock-time', {
  /** When its last holder is through with it, simulation time. Written by its holder. */
  freeAt: 'f64',
  waitedNs: 'f64',
  acquired: 'i32',
  contended: 'i32',
  tryFailed: 'i32',
});

export const lockTimeRegion = (locks: number): Region => tableRegion(LOCK_TIME, locks);

/**
 * @param me record of `machine` of the runner
 * @param holdNs how long lock `lock` is held each time, ns
 */
export function timedLocks(
  image: Image,
  locks: Spinlocks,
  machine: Table<typeof MACHINE.fields>,
  me: number,
  holdNs: (lock: number) => number,
): Spinlocks {
  const time = image.table(LOCK_TIME);
  /** How far the pCPU has got in its turn: what it waited for and held so far comes on top of the turn's time. */
  const here = (): number => machine.now(me) + machine.stall(me);

  function hold(lock: number): void {
    time.addAcquired(lock, 1);
    machine.addStall(me, holdNs(lock));
    time.setFreeAt(lock, here());
  }

  return {
    init(lock, rank) {
      locks.init(lock, rank);
      // Boot takes place before time 0.
      time.setFreeAt(lock, -Infinity);
    },
    acquire(lock, pcpu) {
      locks.acquire(lock, pcpu);
      const wait = time.freeAt(lock) - here();
      if (wait > 0) {
        time.addContended(lock, 1);
        time.addWaitedNs(lock, wait);
        machine.addStall(me, wait);
      }
      hold(lock);
    },
    tryAcquire(lock, pcpu) {
      if (time.freeAt(lock) > here()) {
        time.addTryFailed(lock, 1);
        return false;
      }
      if (!locks.tryAcquire(lock, pcpu)) return false;
      hold(lock);
      return true;
    },
    release: locks.release,
    owner: locks.owner,
    counts: locks.counts,
  };
}
