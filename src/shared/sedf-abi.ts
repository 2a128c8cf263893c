/**
 * SEDF's parameters in a domctl's scheduler_op, as Xen 3.0.4 had them. The policy left Xen in 4.6 and its structure the public
 * headers with it, so this one is ours: the old number, and the old members at the start of the union of today's
 * `xen_domctl_scheduler_op.u`, each where a C compiler of either width puts it.
 */
import { layout } from './public/layout.js';

/** Number of the policy, which no other has got since. */
export const XEN_SCHEDULER_SEDF = 4;

/** Times are u64 ns; extratime (0 or 1) and weight u32. */
export const xen_domctl_sched_sedf = layout('struct xen_domctl_sched_sedf', [32, 32], {
  period: [0, 0],
  slice: [8, 8],
  latency: [16, 16],
  extratime: [24, 24],
  weight: [28, 28],
});
