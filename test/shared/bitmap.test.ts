import { expect } from 'chai';
import fc from 'fast-check';
import { bitmaps, wordsFor } from '../../src/shared/bitmap.js';
import { sharedWords } from '../../src/shared/shared-words.js';

const bitCount = fc.constantFrom(1, 2, 31, 32, 33, 63, 64, 65, 128, 200, 256);

/** Bits of a mask, and two subsets of them. */
const masks = bitCount.chain((bits) => {
  const subset = fc.uniqueArray(fc.nat(bits - 1), { maxLength: bits });
  return fc.record({ bits: fc.constant(bits), a: subset, b: subset, from: fc.nat(bits - 1) });
});

function machine(bits: number, a: readonly number[], b: readonly number[], exclusive: boolean) {
  const words = wordsFor(bits);
  const i32 = new Int32Array(new SharedArrayBuffer(4 * (3 * words + 2)));
  // Words around the masks that must never be looked at.
  i32.fill(-1);
  const [A, B, OUT] = [1, 1 + words, 1 + 2 * words];
  i32.fill(0, A, 1 + 3 * words);
  const m = bitmaps(i32, bits, sharedWords(i32, new Uint8Array(i32.buffer), exclusive ? 'never' : 'always'));
  for (const bit of a) m.set(A, bit);
  for (const bit of b) m.setAtomic(B, bit);
  return { m, A, B, OUT, i32 };
}

/** First member of `set` after `from`, cyclically, with `from` itself last. */
function naiveCycle(bits: number, from: number, set: ReadonlySet<number>): number {
  for (let k = 1; k <= bits; k++) if (set.has((from + k) % bits)) return (from + k) % bits;
  return -1;
}

for (const exclusive of [false, true]) {
  describe(`bitmaps${exclusive ? ' of one thread' : ''}`, () => {
    it('find the next bit of an intersection in cyclic order', () => {
      fc.assert(
        fc.property(masks, ({ bits, a, b, from }) => {
          const { m, A, B } = machine(bits, a, b, exclusive);
          const both = new Set(a.filter((bit) => b.includes(bit)));
          expect(m.cycleAnd(from, A, B)).to.equal(naiveCycle(bits, from, both));
          expect(m.cycle(from, A)).to.equal(naiveCycle(bits, from, new Set(a)));
        }),
        { numRuns: 1000 },
      );
    });

    it('visit every bit once on a round', () => {
      fc.assert(
        fc.property(masks, ({ bits, a, from }) => {
          fc.pre(a.length > 0);
          const { m, A } = machine(bits, a, [], exclusive);
          const seen: number[] = [];
          for (let bit = from, n = 0; n < a.length; n++) {
            bit = m.cycle(bit, A);
            seen.push(bit);
          }
          expect(seen.sort((x, y) => x - y)).to.deep.equal([...a].sort((x, y) => x - y));
        }),
      );
    });

    it('intersect, count and test as sets do', () => {
      fc.assert(
        fc.property(masks, ({ bits, a, b, from }) => {
          const { m, A, B, OUT } = machine(bits, a, b, exclusive);
          const both = a.filter((bit) => b.includes(bit));
          expect(m.has(A, from)).to.equal(a.includes(from));
          expect(m.count(A)).to.equal(a.length);
          expect(m.isEmpty(A)).to.equal(a.length === 0);
          expect(m.intersects(A, B)).to.equal(both.length > 0);
          expect(m.and(OUT, A, B)).to.equal(both.length > 0);
          expect(m.count(OUT)).to.equal(both.length);
          for (const bit of both) expect(m.has(OUT, bit)).to.equal(true);
        }),
      );
    });

    it('hold exactly what is assigned, and touch nothing around it', () => {
      fc.assert(
        fc.property(masks, ({ bits, a, b }) => {
          const { m, A, B, OUT, i32 } = machine(bits, a, a, exclusive);
          m.assign(A, b);
          for (let bit = 0; bit < bits; bit++) expect(m.has(A, bit), `bit ${bit}`).to.equal(b.includes(bit));
          expect(m.count(A)).to.equal(b.length);
          expect([m.count(B), m.count(OUT)]).to.deep.equal([a.length, 0]);
          expect([i32[0], i32.at(-1)]).to.deep.equal([-1, -1]);
        }),
      );
    });

    it('clear only the bit named', () => {
      fc.assert(
        fc.property(masks, ({ bits, a, from }) => {
          const { m, A, B } = machine(bits, a, a, exclusive);
          m.clear(A, from);
          m.clearAtomic(B, from);
          const left = a.filter((bit) => bit !== from);
          for (const mask of [A, B]) {
            expect(m.count(mask)).to.equal(left.length);
            for (const bit of left) expect(m.has(mask, bit)).to.equal(true);
          }
        }),
      );
    });
  });
}
