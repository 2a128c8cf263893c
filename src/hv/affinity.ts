/**
 * On which pCPUs a VCPU may be: what it was given of the pCPUs of its cpupool, less what is off line; all of them when that is none
 * (Xen breaks the affinity then). The hard mask and the soft mask that the balancer and the policies read are what can be had at the
 * moment, so none of them has to ask whether a pCPU is on line. What was given is kept apart: what cannot be had now comes back
 * when it can.
 *
 * Locking: the run-queue lock of the VCPU's pCPU; or all others stand still.
 */
import { hardMask, ONLINE_MASK, softMask } from '../balancer/records.js';
import { HARD, SOFT } from '../balancer/run-queues.js';
import type { HvContext } from './context.js';

export interface Affinities {
  /** Gives v these pCPUs, in part or in whole: `undefined` leaves a mask as it is. */
  give(v: number, hard: readonly number[] | undefined, soft: readonly number[] | undefined): void;
  /** What can be had of what v was given, now that other pCPUs are on line or in its pool. */
  narrow(v: number): void;
  /** Whether any pCPU that v was given is on line in its pool. */
  isPossible(v: number): boolean;
}

export function affinities({ queues }: HvContext): Affinities {
  const { masks, word, entry } = queues;
  const ONLINE = word(ONLINE_MASK);

  function narrow(v: number): void {
    const [hard, soft, pool] = [word(hardMask(v)), word(softMask(v)), queues.pool(entry.pool(v))];
    masks.and(hard, queues.givenAffinity(v, HARD), ONLINE);
    if (!masks.and(hard, hard, pool)) masks.and(hard, pool, ONLINE);
    // What soft affinity wishes beyond the hard one cannot be had.
    const isWish = masks.and(soft, queues.givenAffinity(v, SOFT), hard);
    entry.setHasSoftAffinity(v, isWish && masks.count(soft) < masks.count(hard) ? 1 : 0);
  }

  return {
    narrow,
    give(v, hard, soft) {
      if (hard !== undefined) masks.assign(queues.givenAffinity(v, HARD), hard);
      if (soft !== undefined) masks.assign(queues.givenAffinity(v, SOFT), soft);
      narrow(v);
    },
    isPossible(v) {
      const hard = word(hardMask(v));
      masks.and(hard, queues.givenAffinity(v, HARD), ONLINE);
      const isPossible = masks.and(hard, hard, queues.pool(entry.pool(v)));
      narrow(v);
      return isPossible;
    },
  };
}
