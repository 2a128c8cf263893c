/** What the two profiles do differently in the credit scheduler (XEN-FACTS §1); everything else is common. */
import type { Profile } from '../context.js';

export interface CreditRules {
  /** `exact`: from time stamps, at each tick and switch. `sampled`: a whole tick's credits from who runs at the tick, else nothing. */
  readonly debit: 'exact' | 'sampled';
  /** Whose the weight is: each active VCPU's, or one domain's however many of its VCPUs are active. */
  readonly weighs: 'vcpu' | 'domain';
  /** What is left to a VCPU that had this much credit, more than a timeslice's, and leaves the active list for it. */
  creditKept(credit: number): number;
  /** `period`: a timeslice after the last one. `tick`: with every third tick of the accounting pCPU, however late the last one was. */
  readonly accounting: 'period' | 'tick';
  /** Whether a VCPU that yields lets one of lower priority go first; otherwise only its equals. */
  readonly hasYield: boolean;
  /** Who is told of a VCPU in a queue besides that queue's pCPU: one idler, or all of its affinity. */
  readonly tickles: 'one-idler' | 'all-idlers';
  /** A pCPU that looked for work elsewhere does not look again before this, ns. */
  readonly loadBalanceRatelimitNs: number;
  /**
   * `soft-then-hard`: for each affinity a round of peers in each socket, its own first, after the last victim there. `once`: one
   * round of all, after the thief itself.
   */
  readonly stealRounds: 'soft-then-hard' | 'once';
}

export const CREDIT_RULES: Readonly<Record<Profile, CreditRules>> = {
  modern: {
    debit: 'exact',
    weighs: 'vcpu',
    // A lead for when it comes back.
    creditKept: (credit) => Math.floor(credit / 2),
    accounting: 'period',
    hasYield: true,
    tickles: 'one-idler',
    loadBalanceRatelimitNs: 1e6,
    stealRounds: 'soft-then-hard',
  },
  classic: {
    debit: 'sampled',
    weighs: 'domain',
    creditKept: () => 0,
    accounting: 'tick',
    hasYield: false,
    tickles: 'all-idlers',
    loadBalanceRatelimitNs: 0,
    stealRounds: 'once',
  },
};
