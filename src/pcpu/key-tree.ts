/**
 * When each pCPU has its next interaction, and a winner tree over it: the root names the pCPU with the least
 * (key, pCPU). Only the holder of the turn reads or writes it.
 */
import { type Image, type Region, rawRegion } from '../shared/image.js';

const leavesFor = (pcpus: number): number => 2 ** Math.ceil(Math.log2(Math.max(2, pcpus)));

export const keyTreeRegions = (pcpus: number): Region[] => [
  rawRegion('keys', 8, leavesFor(pcpus)),
  rawRegion('key-tree', 4, 2 * leavesFor(pcpus)),
];

export interface KeyTree {
  /** Sets all keys to Infinity; once. */
  init(): void;
  key(p: number): number;
  set(p: number, ns: number): void;
  root(): number;
}

export function keyTree(image: Image, pcpus: number): KeyTree {
  const { f64, i32 } = image;
  const leaves = leavesFor(pcpus);
  const keys = image.region('keys').base >> 3;
  const tree = image.region('key-tree').base >> 2;

  return {
    init() {
      for (let p = 0; p < leaves; p++) {
        f64[keys + p] = Infinity;
        i32[tree + leaves + p] = p;
      }
      // All equal: the left, lower-numbered child wins everywhere.
      for (let n = leaves - 1; n > 0; n--) i32[tree + n] = i32[tree + 2 * n]!;
    },
    key: (p) => f64[keys + p]!,
    set(p, ns) {
      // Locals: V8 takes an array that a loop reads from its closure for an unknown one, with checks at every access.
      const doubles = f64;
      const words = i32;
      doubles[keys + p] = ns;
      for (let n = (leaves + p) >> 1; n > 0; n >>= 1) {
        const left = words[(tree + 2 * n) | 0]!;
        const right = words[(tree + 2 * n + 1) | 0]!;
        const winner = doubles[(keys + right) | 0]! < doubles[(keys + left) | 0]! ? right : left;
        // Neither the old nor the new winner is the leaf that changed: nothing above can change either.
        if (winner !== p && words[(tree + n) | 0] === winner) return;
        words[(tree + n) | 0] = winner;
      }
    },
    root: () => i32[tree + 1]!,
  };
}
