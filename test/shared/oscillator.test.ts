import { expect } from 'chai';
import fc from 'fast-check';
import { Image, layOut } from '../../src/shared/image.js';
import { type Oscillators, oscillatorRegion, oscillators } from '../../src/shared/oscillator.js';

const make = (pcpus = 1): Oscillators => oscillators(Image.create(layOut([oscillatorRegion(pcpus)])));

/** Boot is before time 0; 10^15 ns are 11 days. */
const FIRST_NS = -2_000_000_000;
const LAST_NS = 1e15;
const MAX_HZ = 6e9;

const oscillator = fc.record({
  /** Counts per ns, of 1 MHz to 6 GHz and up to 100 ppm off, so no round number. */
  rate: fc
    .tuple(fc.double({ min: 6, max: Math.log10(MAX_HZ), noNaN: true }), fc.double({ min: -100, max: 100, noNaN: true }))
    .map(([digits, ppm]) => (10 ** digits / 1e9) * (1 + ppm / 1e6)),
  /** When it read 0, ns before time 0. */
  age: fc.integer({ min: 2_000_000_000, max: 5_000_000_000 }),
});

/** Times of any size, not only huge ones. */
const time = fc.oneof(
  fc.integer({ min: FIRST_NS, max: 10_000_000_000 }),
  fc
    .tuple(fc.integer({ min: 1, max: 49 }), fc.double({ min: 0.5, max: 1, noNaN: true }))
    .map(([bits, part]) => Math.min(LAST_NS, Math.floor(2 ** bits * part))),
  fc.integer({ min: 0, max: LAST_NS }),
);

describe('an oscillator', () => {
  it('gets to counts beyond all simulated time beyond all simulated time, and says so at once', () => {
    // A guest may ask for a timer at any 64 bits. There a double has no next nanosecond to try, and a search never ends.
    for (const rate of [0.001, 1, 2.4, 6]) {
      const o = make();
      o.init(0, 2e9 * rate, rate);
      for (const count of [rate * 2 ** 53.5, 2 ** 64 * rate, 2 ** 80]) {
        expect(o.timeOf(0, count, 1000), `${count} at ${rate}`).to.be.at.least(Number.MAX_SAFE_INTEGER);
      }
    }
  });

  it('reads whole numbers that never fall', () => {
    fc.assert(
      fc.property(oscillator, time, fc.integer({ min: 0, max: 1000 }), ({ rate, age }, t, later) => {
        const o = make();
        o.init(0, age * rate, rate);
        const [first, second] = [o.read(0, t), o.read(0, t + later)];
        expect(Number.isSafeInteger(first)).to.equal(true);
        expect(second - first).to.be.at.least(0);
      }),
      { numRuns: 5000 },
    );
  });

  it('counts start + time x rate, rounded down', () => {
    const o = make();
    o.init(0, 1000.5, 2.5);
    expect([-3, -1, 0, 1, 2, 1e9].map((t) => o.read(0, t))).to.deep.equal([993, 998, 1000, 1003, 1005, 2_500_001_000]);
  });

  it('has each its own reading', () => {
    const o = make(2);
    o.init(0, 100, 1);
    o.init(1, 200, 2);
    o.init(2, 0, 1.5);
    expect([0, 1, 2].map((n) => o.read(n, 10))).to.deep.equal([110, 220, 15]);
  });

  it('knows the first ns at which it gets to any count', () => {
    fc.assert(
      fc.property(oscillator, time, fc.integer({ min: -5, max: 1000 }), ({ rate, age }, t, ahead) => {
        const o = make();
        o.init(0, age * rate, rate);
        const count = o.read(0, t) + ahead;
        const reached = o.timeOf(0, count, t);
        expect(Number.isSafeInteger(reached)).to.equal(true);
        expect(o.read(0, reached), `at ${reached}`).to.be.at.least(count);
        expect(o.read(0, reached - 1), `a ns before ${reached}`).to.be.below(count);
      }),
      { numRuns: 5000 },
    );
  });
});

describe('a step of an oscillator', () => {
  const stepped = fc.record({
    at: fc.integer({ min: 0, max: 10_000_000_000 }),
    jump: fc.integer({ min: -1_000_000_000, max: 1_000_000_000 }),
    factor: fc.double({ min: 0.5, max: 2, noNaN: true }),
  });

  it('leaves alone what was before, jumps, and goes on at the new rate', () => {
    fc.assert(
      fc.property(oscillator, stepped, time, ({ rate, age }, { at, jump, factor }, t) => {
        const [o, plain] = [make(), make()];
        for (const each of [o, plain]) each.init(0, age * rate, rate);
        o.step(0, at, jump, rate * factor);
        if (t < at) expect(o.read(0, t)).to.equal(plain.read(0, t));
        else {
          const wanted = age * rate + at * rate + jump + (t - at) * rate * factor;
          // Two sums of doubles, each rounded by its size.
          expect(Math.abs(o.read(0, t) - wanted)).to.be.at.most(1 + Math.abs(wanted) * 2 ** -50);
        }
        expect(o.read(0, at - 1)).to.equal(plain.read(0, at - 1));
        expect(Math.abs(o.read(0, at) - plain.read(0, at) - jump)).to.be.at.most(1);
      }),
      { numRuns: 3000 },
    );
  });

  it('is in the inverse once it is over', () => {
    fc.assert(
      fc.property(
        oscillator,
        stepped,
        fc.integer({ min: 0, max: 10_000_000_000 }),
        fc.integer({ min: 1, max: 1000 }),
        ({ rate, age }, { at, jump, factor }, since, ahead) => {
          const o = make();
          o.init(0, age * rate, rate);
          o.step(0, at, jump, rate * factor);
          const t = at + since;
          const count = o.read(0, t) + ahead;
          const reached = o.timeOf(0, count, t);
          expect(o.read(0, reached), `at ${reached}`).to.be.at.least(count);
          expect(o.read(0, reached - 1), `a ns before ${reached}`).to.be.below(count);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('is not in the inverse while it is to come', () => {
    const o = make();
    o.init(0, 1000, 2);
    o.step(0, 500, 1_000_000, 4);
    expect(o.timeOf(0, 3000, 499)).to.equal(1000);
    expect(o.timeOf(0, 1_003_000, 500)).to.equal(750);
  });
});

describe('setting a counter', () => {
  it('moves every reading by as much, before and after a step', () => {
    fc.assert(
      fc.property(
        oscillator,
        fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
        fc.integer({ min: 0, max: 10_000_000_000 }),
        ({ rate, age }, delta, at) => {
          const [o, plain] = [make(), make()];
          for (const each of [o, plain]) {
            each.init(0, age * rate, rate);
            each.step(0, at, 1000, rate / 2);
          }
          o.advance(0, delta);
          for (const t of [0, at - 1, at, at + 1, at + 1e9]) {
            // The sum of two doubles may round across a whole number.
            expect(Math.abs(o.read(0, t) - plain.read(0, t) - delta), `at ${t}`).to.be.at.most(1);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('is exact where readings are', () => {
    const o = make();
    o.init(0, 1000, 2);
    o.advance(0, -300);
    expect(o.read(0, 50)).to.equal(800);
    o.step(0, 100, 0, 3);
    o.advance(0, 10);
    expect([o.read(0, 50), o.read(0, 200)]).to.deep.equal([810, 1210]);
    expect(o.timeOf(0, 1210, 150)).to.equal(200);
  });
});
