import { expect } from 'chai';
import fc from 'fast-check';
import { keyForest, keyTree, keyTreeRegions } from '../../src/pcpu/key-tree.js';
import { Image, layOut, rawRegion } from '../../src/shared/image.js';

/** A forest of `trees`, the worker of each pCPU as given. */
function forest(workers: readonly number[], trees: number) {
  const pcpus = workers.length;
  const image = Image.create(layOut([rawRegion('workers', 4, pcpus), ...keyTreeRegions(pcpus, trees)]));
  const base = image.region('workers').base >> 2;
  for (const [p, w] of workers.entries()) image.i32[base + p] = w;
  const keys = Array.from({ length: trees }, (_, w) => keyForest(image, pcpus, trees, w, { base, shift: 0 }));
  keys[0]!.init();
  return keys;
}

/** The pCPU with the least (key, pCPU) of these. */
const leastOf = (keys: readonly number[], among: readonly number[]): number =>
  among.reduce((best, p) => (keys[p]! < keys[best]! ? p : best), among[0]!);

const machine = fc.record({
  workers: fc.array(fc.nat(2), { minLength: 1, maxLength: 12 }),
  sets: fc.array(fc.tuple(fc.nat(11), fc.nat(5)), { minLength: 1 }),
});

describe('key trees', () => {
  it('name the pCPU with the least (key, pCPU), whatever was set', () => {
    fc.assert(
      fc.property(machine, ({ workers, sets }) => {
        const pcpus = workers.length;
        const tree = keyTree(Image.create(layOut(keyTreeRegions(pcpus, 1))), pcpus, 0);
        tree.init();
        const keys = workers.map(() => Infinity);
        for (const [p, ns] of sets) {
          keys[p % pcpus] = ns;
          tree.set(p % pcpus, ns);
          const least = leastOf(keys, [...keys.keys()]);
          expect([tree.root(), tree.least(), tree.earliest()]).to.deep.equal([least, least, keys[least]]);
          expect(tree.second()).to.equal(Math.min(...keys.filter((_, q) => q !== least)));
        }
      }),
    );
  });

  it('of several runners name the first of each and the first of all', () => {
    fc.assert(
      fc.property(machine, ({ workers, sets }) => {
        const trees = forest(workers, 3);
        const keys = workers.map(() => Infinity);
        for (const [n, ns] of sets) {
          const p = n % workers.length;
          keys[p] = ns;
          // Anybody may set any key while nobody takes turns.
          trees[ns % 3]!.set(p, ns);
          for (const [w, tree] of trees.entries()) {
            const own = [...keys.keys()].filter((q) => workers[q] === w);
            const earliest = own.length === 0 ? Infinity : keys[leastOf(keys, own)]!;
            expect(tree.earliest()).to.equal(earliest);
            expect(trees[0]!.earliestOf(w)).to.equal(earliest);
            if (earliest < Infinity) {
              expect(tree.root()).to.equal(leastOf(keys, own));
              expect(tree.second()).to.equal(Math.min(...own.filter((q) => q !== tree.root()).map((q) => keys[q]!)));
            }
            expect(tree.least()).to.equal(leastOf(keys, [...keys.keys()]));
            for (const q of keys.keys()) expect(tree.key(q)).to.equal(keys[q]);
          }
        }
      }),
    );
  });
});
