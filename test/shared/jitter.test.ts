import { expect } from 'chai';
import { jitterOf, noJitter } from '../../src/shared/jitter.js';

/** The word nobody notifies, as an index that counts how often it is looked at: a pause looks at it all the time. */
function countedIndex() {
  const counted = { looks: 0 };
  const index = {
    valueOf: (): number => {
      counted.looks++;
      return 0;
    },
  };
  return { counted, index: index as unknown as number };
}

const SLEPT = -1;

/** What a worker with this seed does at each of the first `places` it comes to: looks at the word, or SLEPT. */
function pausesOf(seed: number, places: number): number[] {
  const { counted, index } = countedIndex();
  // Nobody can sleep on memory that is not shared: it throws, so that it can be told from a pause, and costs no time.
  const jitter = jitterOf(new Int32Array(1), index, seed);
  return Array.from({ length: places }, () => {
    counted.looks = 0;
    try {
      jitter();
      return counted.looks;
    } catch {
      return SLEPT;
    }
  });
}

const PLACES = 40_000;

describe('jitter', () => {
  it('pauses at the same places, equally long, for the same seed', () => {
    for (const seed of [0, 1, 7, 0x7fffffff]) expect(pausesOf(seed, 5000)).to.deep.equal(pausesOf(seed, 5000));
  });

  it('pauses elsewhere for another seed, and so for every worker', () => {
    const seeds = Array.from({ length: 64 }, (_, n) => n);
    const all = seeds.map((seed) => pausesOf(seed, 200).join());
    expect(new Set(all).size).to.equal(seeds.length);
  });

  for (const seed of [0, 1, 2, 12345, 0x7fffffff, -1]) {
    it(`pauses at one place in eight, some as long as a context switch, and sleeps at a few: seed ${seed}`, () => {
      const pauses = pausesOf(seed, PLACES);
      const made = pauses.filter((looks) => looks !== 0);
      expect(made.length / PLACES).to.be.within(0.11, 0.14);
      const slept = made.filter((looks) => looks === SLEPT).length;
      // One in 512 of them: ten, give or take.
      expect(slept).to.be.within(1, 30);
      // Lengths are powers of two, from 1 to 8,192, none of them rare.
      for (let log2 = 0; log2 <= 13; log2++) {
        const share = made.filter((looks) => looks === 2 ** log2).length / made.length;
        expect(share, `pauses of ${2 ** log2} looks`).to.be.within(0.05, 0.1);
      }
      expect(Math.max(...made)).to.equal(8192);
    });
  }

  it('sleeps on shared memory and goes on by itself', () => {
    const { counted, index } = countedIndex();
    const jitter = jitterOf(new Int32Array(new SharedArrayBuffer(4)), index, 3);
    const first = pausesOf(3, PLACES).indexOf(SLEPT);
    expect(first).to.be.above(0);
    for (let n = 0; n < first; n++) jitter();
    counted.looks = 0;
    jitter();
    // The value that it sleeps on, and the sleep.
    expect(counted.looks).to.equal(2);
  });

  it('is nothing at all where there is none', () => {
    expect(noJitter()).to.equal(undefined);
    expect(noJitter.length).to.equal(0);
  });
});
