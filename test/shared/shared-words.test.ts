import { expect } from 'chai';
import fc from 'fast-check';
import { releaseWord, type SharedWords, type Sharing, sharedWords } from '../../src/shared/shared-words.js';
import { race, raceUntil, watch } from './race.js';
import { AREA, COUNTER, FLAG, MESSAGE, ONE_DOUBLE, OTHER_DOUBLE } from './racer.js';

const WORDS = 4;

/** Behind the words: whether other threads keep away from them. */
const SEPARATE = WORDS;

function make(sharing: Sharing, isSeparate = 0) {
  const buffer = new SharedArrayBuffer(4 * (WORDS + 1));
  const i32 = new Int32Array(buffer);
  i32[SEPARATE] = isSeparate;
  return { i32: i32.subarray(0, WORDS), words: sharedWords(i32, new Uint8Array(buffer), sharing) };
}

/** Words of every kind. */
const makeAll = () => [make('always'), make('never'), make({ unless: SEPARATE }, 0), make({ unless: SEPARATE }, 1)];

type Name = keyof SharedWords;

/** What each operation leaves in the place it is given, of which it returns what was there before. */
const LEAVES: Readonly<Record<Name, (old: number, x: number) => number>> = {
  or: (old, x) => old | x,
  and: (old, x) => old & x,
  add: (old, x) => (old + x) | 0,
  exchange: (_, x) => x,
  load: (old) => old,
  store: (_, x) => x,
  compareExchange: (old, x) => ((old & 1) === 0 ? x : old),
  exchangeByte: (_, x) => x & 0xff,
};

describe('shared words', () => {
  it('give what was there before and leave what their names say, with and without Atomics', () => {
    const step = fc.record({
      name: fc.constantFrom(...(Object.keys(LEAVES) as Name[])),
      w: fc.nat(WORDS - 1),
      byte: fc.nat(3),
      x: fc.oneof(fc.integer(), fc.constantFrom(0, -1, 1, 0x7fffffff, -0x80000000)),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
        const all = makeAll();
        const model = new Int32Array(WORDS);
        const bytes = new Uint8Array(model.buffer);
        for (const { name, w, byte, x } of steps) {
          const [memory, at] = name === 'exchangeByte' ? [bytes, 4 * w + byte] : [model, w];
          // A byte takes bytes.
          const value = name === 'exchangeByte' ? x & 0xff : x;
          const old = memory[at]!;
          memory[at] = LEAVES[name](old, value);
          for (const { words, i32 } of all) {
            // Of an odd word something else is expected, so that it stays.
            const result = name === 'compareExchange' ? words[name](at, old & ~1, value) : words[name](at, value);
            expect(result, name).to.equal(name === 'store' ? undefined : old);
            expect([...i32], name).to.deep.equal([...model]);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('tell exactly one of several who set a bit that it was the first', () => {
    for (const { words } of makeAll()) {
      const firsts = [8, 8, 12, 4].filter((bits) => (words.or(1, bits) & bits) !== bits);
      expect(firsts).to.deep.equal([8, 12]);
    }
  });
});

describe('shared words that threads change', () => {
  const MS = 150;
  /** What was added and is not there. */
  const lost = (i32: Int32Array): number => i32[AREA]! + i32[AREA + 1]! - i32[COUNTER]!;
  /** How often a bit was not as its owner left it. */
  const changed = (i32: Int32Array): number => i32[AREA]! + i32[AREA + 1]!;
  /** All that was put there was found by somebody, or is still there; else this is not 0. */
  const missing = (i32: Int32Array): number => (i32[AREA]! + i32[AREA + 1]! - i32[COUNTER]!) | 0;

  it('lose nothing that is added', async () => {
    const { i32, done } = race('added', 2, MS);
    await done;
    expect(lost(i32)).to.equal(0);
    expect(Math.min(i32[AREA]!, i32[AREA + 1]!)).to.be.above(0);
  });

  it('lose it where they are changed in steps, so that the test above can fail', async () => {
    expect(lost(await raceUntil((i32) => lost(i32) > 0, 'addedPlainly', 2, MS))).to.be.above(0);
  });

  it('keep every bit as its owner left it', async () => {
    const { i32, done } = race('toggled', 2, MS);
    await done;
    expect([changed(i32), i32[COUNTER]]).to.deep.equal([0, 0]);
  });

  it('change bits of others where they are changed in steps', async () => {
    expect(changed(await raceUntil((i32) => changed(i32) > 0, 'toggledPlainly', 2, MS))).to.be.above(0);
  });

  it('give every number that is put there to one who takes it', async () => {
    const { i32, done } = race('exchanged', 2, MS);
    await done;
    expect(missing(i32)).to.equal(0);
  });

  it('give some to nobody and some to two where they are exchanged in steps', async () => {
    expect(missing(await raceUntil((i32) => missing(i32) !== 0, 'exchangedPlainly', 2, MS))).to.not.equal(0);
  });
});

/** Looks at a message whenever its flag says that it is there: how often it was not, and how many flags were seen. */
async function lookAtMessages(
  writer: 'published' | 'publishedTooSoon',
  isEnough: (seen: { readonly looks: number; readonly early: number; readonly flags: number }) => boolean,
) {
  const [a, b, c, d] = MESSAGE;
  const seen = { looks: 0, early: 0, flags: 0 };
  let last = 0;
  await watch(writer, (i32) => {
    for (let n = 0; n < 1000; n++) {
      const flag = Atomics.load(i32, FLAG);
      // The writer may be at a later message by now, at no earlier one.
      if (Math.min(i32[a]! - flag, i32[b]! - flag, i32[c]! - flag, i32[d]! - flag) < 0) seen.early++;
      if (flag !== last) seen.flags++;
      last = flag;
    }
    seen.looks += 1000;
    return isEnough(seen);
  });
  return seen;
}

describe('a word that releases what was written before it', () => {
  it('is never seen before that is', async () => {
    const { early, flags } = await lookAtMessages('published', (seen) => seen.looks >= 500_000 && seen.flags >= 50);
    expect(early).to.equal(0);
    // On a busy host the two threads take long turns, and a turn shows one.
    expect(flags).to.be.at.least(50);
  });

  it('would be seen to be, if it was', async () => {
    const { early } = await lookAtMessages('publishedTooSoon', (seen) => seen.early > 0);
    expect(early).to.be.above(0);
  });

  it('is stored like any other', () => {
    const i32 = new Int32Array(new SharedArrayBuffer(16));
    releaseWord(i32, 2, -7);
    expect([...i32]).to.deep.equal([0, 0, -7, 0]);
  });
});

/** Looks at a double that changes between two: how often it was one, the other, and anything else. */
async function lookAtDoubles(
  writer: 'doubles' | 'halves',
  isEnough: (seen: { readonly one: number; readonly other: number; readonly torn: number }) => boolean,
) {
  const seen = { one: 0, other: 0, torn: 0 };
  await watch(writer, (i32) => {
    const f64 = new Float64Array(i32.buffer);
    for (let n = 0; n < 1000; n++) {
      const x = f64[AREA / 2]!;
      if (x === ONE_DOUBLE) seen.one++;
      else if (x === OTHER_DOUBLE) seen.other++;
      // Before the first is stored.
      else if (x !== 0) seen.torn++;
    }
    return isEnough(seen);
  });
  return seen;
}

describe('an aligned double of shared memory', () => {
  it('is read as one that was stored, never as halves of two', async () => {
    const isEnough = (seen: { one: number; other: number }): boolean =>
      seen.one + seen.other > 1_000_000 && Math.min(seen.one, seen.other) > 100;
    const seen = await lookAtDoubles('doubles', isEnough);
    expect(seen.torn).to.equal(0);
    expect(isEnough(seen), `${seen.one} and ${seen.other}`).to.equal(true);
  });

  it('is read as halves of two where it is stored in halves', async () => {
    const { torn } = await lookAtDoubles('halves', (seen) => seen.torn > 0);
    expect(torn).to.be.above(0);
  });
});
