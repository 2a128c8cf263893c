/**
 * Log-linear histograms in the image: 16 linear buckets an octave, so a quantile is at most 6.25 % above the truth.
 * One bucket update a sample. Merging and printing is done outside, from the counts.
 */
const SUB_BITS = 4;
const SUB = 1 << SUB_BITS;
/** Octaves covered: values up to 2^46 ns (19 hours); larger ones land in the last bucket. */
const OCTAVES = 46 - SUB_BITS;
export const HISTOGRAM_BUCKETS = SUB * (OCTAVES + 1);
export const HISTOGRAM_BYTES = HISTOGRAM_BUCKETS * 4;

/** Bucket of a value in ns: exact below 16, then 16 buckets for every doubling. */
export function bucketOf(ns: number): number {
  if (ns < SUB) return ns < 0 ? 0 : ns | 0;
  // The high half for values past 32 bits: shifting out 16 bits loses nothing that a bucket resolves.
  const small = ns < 0x80000000;
  const x = small ? ns | 0 : Math.floor(ns / 65536);
  if (!small && x >= 0x80000000) return HISTOGRAM_BUCKETS - 1;
  const log = 31 - Math.clz32(x);
  const bucket = (log + (small ? 0 : 16) - SUB_BITS + 1) * SUB + ((x >> (log - SUB_BITS)) - SUB);
  return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/** Largest value that falls in a bucket, ns. */
export function upperBoundOf(bucket: number): number {
  if (bucket < SUB) return bucket;
  const octave = Math.floor(bucket / SUB) - 1 + SUB_BITS;
  return (SUB + (bucket % SUB) + 1) * 2 ** (octave - SUB_BITS) - 1;
}

/** Adds a sample to the histogram whose first bucket is word `w`. */
export function recordSample(i32: Int32Array, w: number, ns: number): void {
  i32[w + bucketOf(ns)]! += 1;
}

/** The same for a histogram that others add to at the same time. */
export function addSample(i32: Int32Array, w: number, ns: number): void {
  Atomics.add(i32, w + bucketOf(ns), 1);
}

export interface Quantiles {
  readonly count: number;
  /** Upper bounds of the buckets that hold the asked quantiles, ns, in the order asked. */
  readonly values: readonly number[];
  /** Upper bound of the highest bucket in use, ns. */
  readonly max: number;
}

/** @param quantiles ascending, each in (0, 1] */
export function quantilesOf(counts: ArrayLike<number>, quantiles: readonly number[]): Quantiles {
  let count = 0;
  for (let b = 0; b < HISTOGRAM_BUCKETS; b++) count += counts[b]! >>> 0;
  const values: number[] = [];
  let seen = 0;
  let max = 0;
  for (let b = 0; b < HISTOGRAM_BUCKETS && count > 0; b++) {
    const here = counts[b]! >>> 0;
    if (here === 0) continue;
    seen += here;
    max = upperBoundOf(b);
    while (values.length < quantiles.length && seen >= Math.ceil(quantiles[values.length]! * count)) values.push(max);
  }
  while (values.length < quantiles.length) values.push(0);
  return { count, values, max };
}
