import { expect } from 'chai';
import fc from 'fast-check';
import { build } from 'hdr-histogram-js';
import {
  addSample,
  bucketOf,
  HISTOGRAM_BUCKETS,
  quantilesOf,
  recordSample,
  upperBoundOf,
} from '../../src/shared/histogram.js';
import { race } from './race.js';
import { AREA } from './racer.js';

/** Values of every magnitude a histogram covers, ns. */
const sample = fc
  .tuple(fc.integer({ min: 0, max: 45 }), fc.double({ min: 0, max: 0.999, noNaN: true }))
  .map(([octave, f]) => Math.floor(2 ** octave * (1 + f)));

const countsOf = (samples: readonly number[]): Int32Array => {
  const counts = new Int32Array(HISTOGRAM_BUCKETS + 10);
  for (const ns of samples) recordSample(counts, 10, ns);
  return counts.subarray(10);
};

describe('histograms', () => {
  it('put every value in the one bucket whose bounds hold it', () => {
    fc.assert(
      fc.property(sample, (ns) => {
        const bucket = bucketOf(ns);
        expect(ns).to.be.at.most(upperBoundOf(bucket));
        if (bucket > 0) expect(ns).to.be.above(upperBoundOf(bucket - 1));
      }),
      { numRuns: 2000 },
    );
  });

  it('are exact below 16 ns and keep what is too large in the last bucket', () => {
    for (let ns = 0; ns < 16; ns++) expect(upperBoundOf(bucketOf(ns))).to.equal(ns);
    expect(bucketOf(2 ** 50)).to.equal(HISTOGRAM_BUCKETS - 1);
    expect(bucketOf(-1)).to.equal(0);
  });

  it('answer quantiles at most 6.25 % above those of the sorted samples', () => {
    const quantiles = [0.01, 0.5, 0.9, 0.99, 0.999, 1];
    fc.assert(
      fc.property(fc.array(sample, { minLength: 1, maxLength: 500 }), (samples) => {
        const sorted = [...samples].sort((a, b) => a - b);
        const { count, values, max } = quantilesOf(countsOf(samples), quantiles);
        expect(count).to.equal(samples.length);
        for (const [n, q] of quantiles.entries()) {
          const truth = sorted[Math.ceil(q * sorted.length) - 1]!;
          expect(values[n]).to.be.within(truth, truth * 1.0625);
        }
        expect(max).to.be.within(sorted.at(-1)!, sorted.at(-1)! * 1.0625);
      }),
      { numRuns: 300 },
    );
  });

  it('agree with HdrHistogram on the same samples', () => {
    const hdr = build({ lowestDiscernibleValue: 1, highestTrackableValue: 2 ** 46, numberOfSignificantValueDigits: 5 });
    const samples: number[] = [];
    for (let n = 1, x = 1; n <= 5000; n++) {
      // Numerical Recipes' generator: a fixed, wide spread of values.
      x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
      samples.push(Math.floor(2 ** ((x / 2 ** 32) * 40)) + 1);
    }
    for (const ns of samples) hdr.recordValue(ns);
    const { values } = quantilesOf(countsOf(samples), [0.25, 0.5, 0.75, 0.99]);
    for (const [n, percent] of [25, 50, 75, 99].entries()) {
      const truth = hdr.getValueAtPercentile(percent);
      expect(values[n]).to.be.within(truth * 0.9999, truth * 1.0626);
    }
  });

  it('are the same for one that adds by itself and for several that add at the same time', () => {
    fc.assert(
      fc.property(fc.array(sample, { maxLength: 100 }), (samples) => {
        const counts = new Int32Array(HISTOGRAM_BUCKETS + 10);
        for (const ns of samples) addSample(counts, 10, ns);
        expect(counts.subarray(10)).to.deep.equal(countsOf(samples));
      }),
      { numRuns: 50 },
    );
  });

  it('lose no sample of threads that add at the same time', async () => {
    const { i32, done } = race('sampled', 2, 2_000_000);
    await done;
    // All racers add the same samples, round after round.
    const counts = i32.subarray(AREA, AREA + HISTOGRAM_BUCKETS);
    expect(counts.reduce((sum, n) => sum + n, 0)).to.equal(4_000_000);
    for (let ns = 0; ns < 8; ns++) expect(counts[ns]).to.equal(500_000);
  });

  it('answer 0 for everything when nothing was recorded', () => {
    expect(quantilesOf(countsOf([]), [0.5, 1])).to.deep.equal({ count: 0, values: [0, 0], max: 0 });
  });
});
