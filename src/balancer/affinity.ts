/**
 * Affinity: what was wished for, and what of it counts. A VCPU may use what its hard affinity says of the pCPUs of its cpupool; all
 * of them when that is none (Xen breaks the affinity then). Soft affinity counts where it is a proper part of that. The wishes are
 * kept apart, so that one that cannot be had now comes back when it can. Under the run-queue lock of the VCPU's pCPU.
 */
import { hardMask, hardWish, softMask, softWish } from './records.js';
import type { RunQueues } from './run-queues.js';

/** Computes from the wishes of v what counts. */
export function settleAffinity({ masks, word, entry, pool }: RunQueues, v: number): void {
  const [hard, soft, there] = [word(hardMask(v)), word(softMask(v)), pool(entry.pool(v))];
  if (!masks.and(hard, word(hardWish(v)), there)) masks.and(hard, there, there);
  const overlaps = masks.and(soft, word(softWish(v)), hard);
  entry.setHasSoftAffinity(v, overlaps && masks.count(soft) < masks.count(hard) ? 1 : 0);
}
