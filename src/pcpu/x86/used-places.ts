/** Which places of a TLB there is something at: to forget them costs as much as has been remembered. Each TLB has one writer at a time. */
import { TLB_ENTRIES } from './state.js';

const WORDS = TLB_ENTRIES / 32;

export interface UsedPlaces {
  /** @param at index into the words of the image, of a TLB's record */
  add(at: number, n: number): void;
  /** Calls `act` with each place once; with all of a TLB that is new, in which nothing is as it has to be. */
  take(at: number, act: (n: number) => void): void;
}

export function usedPlaces(i32: Int32Array): UsedPlaces {
  return {
    add(at, n) {
      i32[at + (n >> 5)]! |= 1 << (n & 31);
    },
    take(at, act) {
      const isNew = i32[at + WORDS] === 0;
      i32[at + WORDS] = 1;
      for (let w = 0; w < WORDS; w++) {
        let bits = isNew ? -1 : i32[at + w]!;
        if (bits === 0) continue;
        i32[at + w] = 0;
        for (; bits !== 0; bits &= bits - 1) act(32 * w + 31 - Math.clz32(bits & -bits));
      }
    },
  };
}
