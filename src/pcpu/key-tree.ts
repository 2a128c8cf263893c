/**
 * When each pCPU has its next interaction, and a winner tree over it: the root names the pCPU with the least
 * (key, pCPU). Only its runner reads or writes it: the holder of the token, or in free mode the worker it is for.
 */
import { type Image, type Region, rawRegion } from '../shared/image.js';

const leavesFor = (pcpus: number): number => 2 ** Math.ceil(Math.log2(Math.max(2, pcpus)));

/** @param trees one a runner: in free mode each worker has its own, in which other workers' pCPUs are never due */
export const keyTreeRegions = (pcpus: number, trees: number): Region[] => [
  rawRegion('keys', 8 * lineOf(leavesFor(pcpus), 8), trees),
  rawRegion('key-tree', 4 * lineOf(2 * leavesFor(pcpus), 16), trees),
];

/** Rounded up to whole cache lines of `perLine` elements. */
const lineOf = (count: number, perLine: number): number => Math.ceil(count / perLine) * perLine;

export interface KeyTree {
  /** Sets all keys to Infinity; once. */
  init(): void;
  key(p: number): number;
  set(p: number, ns: number): void;
  root(): number;
}

export function keyTree(image: Image, pcpus: number, tree: number): KeyTree {
  const { f64, i32 } = image;
  const leaves = leavesFor(pcpus);
  const [keyRegion, treeRegion] = [image.region('keys'), image.region('key-tree')];
  const keys = (keyRegion.base + tree * keyRegion.size) >> 3;
  const nodes = (treeRegion.base + tree * treeRegion.size) >> 2;

  return {
    init() {
      for (let p = 0; p < leaves; p++) {
        f64[keys + p] = Infinity;
        i32[nodes + leaves + p] = p;
      }
      // All equal: the left, lower-numbered child wins everywhere.
      for (let n = leaves - 1; n > 0; n--) i32[nodes + n] = i32[nodes + 2 * n]!;
    },
    key: (p) => f64[keys + p]!,
    set(p, ns) {
      // Locals: V8 takes an array that a loop reads from its closure for an unknown one, with checks at every access.
      const doubles = f64;
      const words = i32;
      doubles[keys + p] = ns;
      for (let n = (leaves + p) >> 1; n > 0; n >>= 1) {
        const left = words[(nodes + 2 * n) | 0]!;
        const right = words[(nodes + 2 * n + 1) | 0]!;
        const winner = doubles[(keys + right) | 0]! < doubles[(keys + left) | 0]! ? right : left;
        // Neither the old nor the new winner is the leaf that changed: nothing above can change either.
        if (winner !== p && words[(nodes + n) | 0] === winner) return;
        words[(nodes + n) | 0] = winner;
      }
    },
    root: () => i32[nodes + 1]!,
  };
}
