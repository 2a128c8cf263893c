import { expect } from 'chai';
import fc from 'fast-check';
import { fromHalves, highHalf, hzOf, lowHalf, scaleDelta, scaleOf } from '../../src/shared/clock.js';

/** What a counter of `hz` reads after `ns`. */
const cyclesAt = (ns: number, hz: number): number => Math.floor((ns * hz) / 1e9);

/** 100 frequencies from 1 MHz to 6 GHz, evenly on a logarithmic scale, with both ends. */
const FREQUENCIES = Array.from({ length: 100 }, (_, n) => Math.round(1e6 * 6000 ** (n / 99)));

const hertz = fc.constantFrom(...FREQUENCIES, 1e9, 2e9, 2_399_999_999, 1e9 + 1);

describe('the frequency as mul and shift', () => {
  it('gives back any of 100 frequencies from 1 MHz to 6 GHz within 1 ppm', () => {
    expect(new Set(FREQUENCIES).size).to.equal(100);
    expect([FREQUENCIES[0], FREQUENCIES[99]]).to.deep.equal([1e6, 6e9]);
    for (const hz of FREQUENCIES) {
      expect(Math.abs(hzOf(scaleOf(hz)) / hz - 1), `${hz} Hz`).to.be.at.most(1e-6);
    }
  });

  it('is the pair that Xen computes', () => {
    expect(scaleOf(1e9)).to.deep.equal({ mul: 0x80000000, shift: 1 });
    expect(scaleOf(2e9)).to.deep.equal({ mul: 0x80000000, shift: 0 });
    expect(scaleOf(3e9)).to.deep.equal({ mul: Math.floor((1e9 * 2 ** 32) / 1.5e9), shift: -1 });
    expect(scaleOf(1e6)).to.deep.equal({ mul: Math.floor((1e9 * 2 ** 32) / 1.024e9), shift: 10 });
  });

  it('always fits 32 bits', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1_000_000, max: 6_000_000_000 }), (hz) => {
        const { mul } = scaleOf(hz);
        expect(mul).to.be.within(2 ** 31, 2 ** 32 - 1);
      }),
    );
  });
});

describe('scaleDelta', () => {
  const exact = (delta: number, mul: number, shift: number): bigint => {
    const shifted = shift < 0 ? BigInt(delta) >> BigInt(-shift) : BigInt(delta) << BigInt(shift);
    return (shifted * BigInt(mul)) >> 32n;
  };

  it('is exact for any cycle count below 2^53', () => {
    const scale = fc.record({
      mul: fc.integer({ min: 0, max: 0xffffffff }),
      shift: fc.integer({ min: -4, max: 10 }),
      bits: fc.integer({ min: 1, max: 53 }),
      part: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    });
    fc.assert(
      fc.property(scale, ({ mul, shift, bits, part }) => {
        const delta = Math.floor(2 ** (bits - Math.max(0, shift)) * part);
        expect(BigInt(scaleDelta(delta, mul, shift))).to.equal(exact(delta, mul, shift));
      }),
      { numRuns: 5000 },
    );
  });

  it('turns the cycles of a duration back into that duration, at most a shifted cycle and 1 ns short', () => {
    fc.assert(
      fc.property(hertz, fc.integer({ min: 0, max: 10_000_000_000 }), (hz, ns) => {
        const { mul, shift } = scaleOf(hz);
        const read = scaleDelta(cyclesAt(ns, hz), mul, shift);
        // A right shift drops up to that many cycles; the truncated multiplier loses at most one part in 2^31.
        const cycles = 2 ** Math.max(0, -shift);
        expect(ns - read).to.be.within(0, (cycles * 1e9) / hz + 1 + ns / 2 ** 31);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('64-bit halves', () => {
  it('give back any number below 2^53', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (x) => {
        expect(fromHalves(lowHalf(x), highHalf(x))).to.equal(x);
      }),
    );
  });
});
