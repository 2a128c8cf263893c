/**
 * When each pCPU has its next interaction, and a winner tree over it: the root names the pCPU with the least
 * (key, pCPU). Only its runner reads or writes it: the holder of the token, or the worker it is for.
 */
import { type Image, type Region, rawRegion } from '../shared/image.js';
import type { Column } from '../shared/struct.js';

const leavesFor = (pcpus: number): number => 2 ** Math.ceil(Math.log2(Math.max(2, pcpus)));

/** @param trees one a runner: where there are several each has its own, in which other workers' pCPUs are never due */
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
  /** The pCPU that is next, of this runner's. */
  root(): number;
  /** The time of that, Infinity where it has none. */
  earliest(): number;
  /** The earliest time of all others than the root, of this runner's. */
  second(): number;
  /** The same as `earliest`, of runner w. */
  earliestOf(w: number): number;
  /** The pCPU that is next, of all that can be set here. */
  least(): number;
}

/** Of the tree whose keys and nodes begin there: the least of those that the root has won against on its way. */
function secondIn(f64: Float64Array, i32: Int32Array, keys: number, nodes: number, leaves: number): () => number {
  return () => {
    let least = Infinity;
    for (let n = leaves + i32[nodes + 1]!; n > 1; n >>= 1) least = Math.min(least, f64[keys + i32[nodes + (n ^ 1)]!]!);
    return least;
  };
}

export function keyTree(image: Image, pcpus: number, tree: number): KeyTree {
  const { f64, i32 } = image;
  const leaves = leavesFor(pcpus);
  const [keyRegion, treeRegion] = [image.region('keys'), image.region('key-tree')];
  const keys = (keyRegion.base + tree * keyRegion.size) >> 3;
  const nodes = (treeRegion.base + tree * treeRegion.size) >> 2;
  const root = (): number => i32[nodes + 1]!;
  const earliest = (): number => f64[keys + root()]!;
  const secondOf = secondIn(f64, i32, keys, nodes, leaves);

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
    root,
    earliest,
    second: secondOf,
    earliestOf: earliest,
    least: root,
  };
}

/**
 * A tree for each of several runners, each of a pCPU's keys in that of its worker. Whoever has the machine to himself reads and
 * sets them all, and a runner those of its own.
 * @param worker the worker of each pCPU
 */
export function keyForest(image: Image, pcpus: number, trees: number, self: number, worker: Column): KeyTree {
  const { f64, i32 } = image;
  const leaves = leavesFor(pcpus);
  const [keyRegion, treeRegion] = [image.region('keys'), image.region('key-tree')];
  const [KEYS, NODES] = [keyRegion.base >> 3, treeRegion.base >> 2];
  const [KEYS_STRIDE, NODES_STRIDE] = [keyRegion.size >> 3, treeRegion.size >> 2];
  const OWN_ROOT = NODES + self * NODES_STRIDE + 1;
  const OWN_KEYS = KEYS + self * KEYS_STRIDE;
  const { base, shift } = worker;
  const treeOf = (p: number): number => i32[(base + (p << shift)) | 0]!;
  const rootOf = (w: number): number => i32[NODES + w * NODES_STRIDE + 1]!;
  const earliestOf = (w: number): number => f64[KEYS + w * KEYS_STRIDE + rootOf(w)]!;

  return {
    init() {
      for (let w = 0; w < trees; w++) keyTree(image, pcpus, w).init();
    },
    key: (p) => f64[(KEYS + Math.imul(treeOf(p), KEYS_STRIDE) + p) | 0]!,
    set(p, ns) {
      const doubles = f64;
      const words = i32;
      const tree = treeOf(p);
      const keys = (KEYS + Math.imul(tree, KEYS_STRIDE)) | 0;
      const nodes = (NODES + Math.imul(tree, NODES_STRIDE)) | 0;
      doubles[(keys + p) | 0] = ns;
      for (let n = (leaves + p) >> 1; n > 0; n >>= 1) {
        const left = words[(nodes + 2 * n) | 0]!;
        const right = words[(nodes + 2 * n + 1) | 0]!;
        const winner = doubles[(keys + right) | 0]! < doubles[(keys + left) | 0]! ? right : left;
        if (winner !== p && words[(nodes + n) | 0] === winner) return;
        words[(nodes + n) | 0] = winner;
      }
    },
    root: () => i32[OWN_ROOT]!,
    earliest: () => f64[(OWN_KEYS + i32[OWN_ROOT]!) | 0]!,
    second: secondIn(f64, i32, OWN_KEYS, OWN_ROOT - 1, leaves),
    earliestOf,
    least() {
      let first = 0;
      for (let w = 1; w < trees; w++) {
        const [a, b] = [earliestOf(w), earliestOf(first)];
        if (a < b || (a === b && rootOf(w) < rootOf(first))) first = w;
      }
      return rootOf(first);
    },
  };
}
