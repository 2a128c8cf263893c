/**
 * What each domain deserves: weighted max-min fairness, the ideal that the credit scheduler approximates.
 *
 * All VCPUs are filled to one common water level, each in proportion to its weight, until they have what they ask for (at
 * most one pCPU each) or their domain reaches its cap; what they leave is shared among the others. In the modern profile every
 * VCPU weighs its domain's weight, so a domain of two hogs deserves twice what a domain of one does; in the classic one domains
 * are filled, each in proportion to its weight. Affinity is not considered: a pinned machine may be unable to reach the ideal.
 */

export interface FairShareDomain {
  readonly weight: number;
  /** Percent of one pCPU; 0 = none. */
  readonly cap: number;
  /** Per VCPU the fraction of the time it wanted to run, 0..1. */
  readonly vcpuDemands: readonly number[];
}

/** What has the weight. */
export type Weighed = 'vcpu' | 'domain';

/** What a domain draws when every VCPU, or it as a whole, may take `weight * level` pCPUs. Monotone in `level`. */
function drawAt(level: number, domain: FairShareDomain, weighed: Weighed): number {
  const most = domain.weight * level;
  let sum = 0;
  for (const demand of domain.vcpuDemands) sum += Math.min(Math.max(demand, 0), 1, most);
  if (weighed === 'domain') sum = Math.min(sum, most);
  return domain.cap > 0 ? Math.min(sum, domain.cap / 100) : sum;
}

/** Shares in pCPUs, in the order of `domains`. */
export function fairShares(pcpus: number, domains: readonly FairShareDomain[], weighed: Weighed = 'vcpu'): number[] {
  const draw = (level: number): number[] => domains.map((domain) => drawAt(level, domain, weighed));
  const drawn = (level: number): number => draw(level).reduce((sum, n) => sum + n, 0);
  const lightest = Math.min(...domains.map((domain) => domain.weight));
  // Where everybody has what it asks for.
  const largest = weighed === 'vcpu' ? 1 : Math.max(1, ...domains.map((domain) => domain.vcpuDemands.length));
  let high = largest / lightest;
  if (drawn(high) <= pcpus) return draw(high);
  let low = 0;
  // Bisection ends when the doubles between the bounds run out.
  for (;;) {
    const middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    if (drawn(middle) > pcpus) high = middle;
    else low = middle;
  }
  return draw(low);
}

/**
 * Jain's index, (Σx)² / (n·Σx²): 1 when all are equal, 1/n when one has everything. Of nothing, or of zeros, it is 1.
 * Source: Jain, Chiu, Hawe, DEC-TR-301, 1984.
 */
export function jainIndex(values: readonly number[]): number {
  let sum = 0;
  let squares = 0;
  for (const value of values) {
    sum += value;
    squares += value * value;
  }
  return squares === 0 ? 1 : (sum * sum) / (values.length * squares);
}
