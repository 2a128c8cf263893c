/**
 * Bit sets over words of the image, for CPU masks. Callers hold whatever lock guards the mask; a mask that several
 * pCPUs change without one uses `setAtomic` and `clearAtomic`.
 */
import type { SharedWords } from './shared-words.js';

export const wordsFor = (bits: number): number => Math.ceil(bits / 32);

/** The bits of word k that are among `count` from bit `first` on. */
function rangeBits(k: number, first: number, count: number): number {
  const from = Math.max(0, first - (k << 5));
  const to = Math.min(32, first + count - (k << 5));
  const below = to === 32 ? -1 : (1 << to) - 1;
  return below & (-1 << from);
}

const lowest = (word: number): number => 31 - Math.clz32(word & -word);

/** Clears `count` bits from `first` on of the mask that begins at word `w`. */
export function clearRange(words: Int32Array, w: number, first: number, count: number): void {
  for (let k = first >> 5; k << 5 < first + count; k++) words[w + k]! &= ~rangeBits(k, first, count);
}

/** How many of `count` bits from `first` on are set. */
export function countRange(words: Int32Array, w: number, first: number, count: number): number {
  let n = 0;
  for (let k = first >> 5; k << 5 < first + count; k++) {
    for (let x = words[w + k]! & rangeBits(k, first, count); x !== 0; x &= x - 1) n++;
  }
  return n;
}

/** First bit after `bit`, cyclically within `count` bits from `first` on (`bit` itself comes last); -1 when none is set there. */
export function cycleRange(words: Int32Array, w: number, bit: number, first: number, count: number): number {
  const end = first + count;
  const after = bit >= first && bit + 1 < end ? bit + 1 : first;
  for (let k = after >> 5; k << 5 < end; k++) {
    const word = words[w + k]! & rangeBits(k, after, end - after);
    if (word !== 0) return (k << 5) + lowest(word);
  }
  for (let k = first >> 5; k << 5 < after; k++) {
    const word = words[w + k]! & rangeBits(k, first, after - first);
    if (word !== 0) return (k << 5) + lowest(word);
  }
  return -1;
}

export interface Bitmaps {
  /** Words a mask takes. */
  readonly words: number;
  has(w: number, bit: number): boolean;
  set(w: number, bit: number): void;
  clear(w: number, bit: number): void;
  setAtomic(w: number, bit: number): void;
  clearAtomic(w: number, bit: number): void;
  isEmpty(w: number): boolean;
  /** Whether a & b has a bit. */
  intersects(a: number, b: number): boolean;
  /** out = a & b; returns whether any bit is left. */
  and(out: number, a: number, b: number): boolean;
  /** First bit of `w` after `bit`, cyclically (so `bit` itself comes last); -1 when the mask is empty. */
  cycle(bit: number, w: number): number;
  /** First bit after `bit`, cyclically, that `a & b` holds; -1 when there is none. */
  cycleAnd(bit: number, a: number, b: number): number;
  /** First bit after `bit`, cyclically within `count` bits from `first` on; -1 when none is set there. */
  cycleIn(bit: number, w: number, first: number, count: number): number;
  count(w: number): number;
  /** Makes the mask hold exactly these bits. */
  assign(w: number, bits: readonly number[]): void;
}

/**
 * Operations on masks of `bits` bits; a mask is named by the index of its first word in `i32`.
 * @param shared how words are changed that several pCPUs change without a lock
 */
export function bitmaps(i32: Int32Array, bits: number, shared: SharedWords): Bitmaps {
  const words = wordsFor(bits);

  const has = (w: number, bit: number): boolean => ((i32[w + (bit >> 5)]! >>> (bit & 31)) & 1) === 1;

  function cycleAnd(bit: number, a: number, b: number): number {
    const all = i32;
    const from = bit + 1;
    const first = from >> 5;
    for (let n = 0; n <= words; n++) {
      const k = (first + n) % words;
      let word = all[a + k]! & all[b + k]!;
      // The first word is visited twice: its upper part at the start, its lower part at the end of the round.
      if (n === 0) {
        if (first >= words) {
          if (word === 0) continue;
        } else word &= -1 << (from & 31);
      } else if (n === words && first < words) word &= ~(-1 << (from & 31));
      if (word !== 0) return (k << 5) + (31 - Math.clz32(word & -word));
    }
    return -1;
  }

  function set(w: number, bit: number): void {
    i32[w + (bit >> 5)]! |= 1 << (bit & 31);
  }

  function clear(w: number, bit: number): void {
    i32[w + (bit >> 5)]! &= ~(1 << (bit & 31));
  }

  return {
    words,
    has,
    set,
    clear,
    setAtomic: (w, bit) => {
      shared.or(w + (bit >> 5), 1 << (bit & 31));
    },
    clearAtomic: (w, bit) => {
      shared.and(w + (bit >> 5), ~(1 << (bit & 31)));
    },
    isEmpty: (w) => {
      const all = i32;
      for (let k = 0; k < words; k++) if (all[w + k] !== 0) return false;
      return true;
    },
    intersects: (a, b) => {
      const all = i32;
      for (let k = 0; k < words; k++) if ((all[a + k]! & all[b + k]!) !== 0) return true;
      return false;
    },
    and: (out, a, b) => {
      const all = i32;
      let any = 0;
      for (let k = 0; k < words; k++) {
        const word = all[a + k]! & all[b + k]!;
        all[out + k] = word;
        any |= word;
      }
      return any !== 0;
    },
    cycle: (bit, w) => cycleAnd(bit, w, w),
    cycleAnd,
    cycleIn: (bit, w, first, count) => cycleRange(i32, w, bit, first, count),
    count: (w) => {
      let n = 0;
      for (let k = 0; k < words; k++) for (let x = i32[w + k]!; x !== 0; x &= x - 1) n++;
      return n;
    },
    assign(w, bits) {
      for (let k = 0; k < words; k++) {
        let word = 0;
        for (const bit of bits) if (bit >> 5 === k) word |= 1 << (bit & 31);
        i32[w + k] = word;
      }
    },
  };
}
