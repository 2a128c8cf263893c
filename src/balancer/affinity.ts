/**
 * Affinity: what was wished for, and what of it counts. A VCPU may use what its hard affinity says of the pCPUs there are; all of
 * them when that is none (Xen breaks the affinity then). Soft affinity counts where it is a proper part of that. The wishes are
 * kept apart, so that one that cannot be had now comes back when it can. Under the run-queue lock of the VCPU's pCPU.
 */
import { hardMask, hardWish, ONLINE_MASK, softMask, softWish } from './records.js';
import type { RunQueues } from './run-queues.js';

/** Computes from the wishes of v what counts. */
export function settleAffinity({ masks, word, entry }: RunQueues, v: number): void {
  const [hard, soft, online] = [word(hardMask(v)), word(softMask(v)), word(ONLINE_MASK)];
  if (!masks.and(hard, word(hardWish(v)), online)) masks.and(hard, online, online);
  const overlaps = masks.and(soft, word(softWish(v)), hard);
  entry.setHasSoftAffinity(v, overlaps && masks.count(soft) < masks.count(hard) ? 1 : 0);
}
