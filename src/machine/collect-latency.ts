/** Histograms of the image as results. */
import { HISTOGRAM_BUCKETS, HISTOGRAM_BYTES, quantilesOf } from '../shared/histogram.js';
import type { Image } from '../shared/image.js';
import type { LatencyResult } from './result.js';

/** The nth histogram of a region. */
export function latencyOf(image: Image, region: string, n: number): LatencyResult {
  const base = (image.region(region).base + n * HISTOGRAM_BYTES) >> 2;
  const q = quantilesOf(image.i32.subarray(base, base + HISTOGRAM_BUCKETS), [0.5, 0.99, 0.999]);
  return { count: q.count, p50Ns: q.values[0]!, p99Ns: q.values[1]!, p999Ns: q.values[2]!, maxNs: q.max };
}
