/**
 * Read-modify-write on words that several pCPUs change under no lock: Atomics, or the same steps as plain accesses where no other
 * thread comes near the words, as an Atomics call costs ten times as much (`Sharing`).
 * Every operation returns what was there before, so that of two who set the same bit exactly one learns that it was first.
 */
export interface SharedWords {
  or(w: number, bits: number): number;
  and(w: number, bits: number): number;
  add(w: number, delta: number): number;
  exchange(w: number, x: number): number;
  /** Stores x if the word is `old`. */
  compareExchange(w: number, old: number, x: number): number;
  load(w: number): number;
  /** A store that nothing later in the program overtakes: a reader after it sees all that was written before. */
  store(w: number, x: number): void;
  /** Of a byte. */
  exchangeByte(addr: number, x: number): number;
}

/**
 * A store that says: what I wrote before is there. On x86 every store says so, as stores are seen in the order of the program
 * (and V8 keeps the order of accesses to shared memory); Atomics.store would in addition wait until all of them have left
 * the core, at 7 ns each time. Not for what must be seen before something else is looked at.
 */
export const releaseWord: (i32: Int32Array, w: number, x: number) => void =
  process.arch === 'x64'
    ? (i32, w, x) => {
        i32[w] = x;
      }
    : (i32, w, x) => {
        Atomics.store(i32, w, x);
      };

/**
 * A load that says: what I read from now on is not older. On x86 every load says so, as loads are done in the order of the program;
 * Atomics.load would be a call.
 */
export const acquireWord: (i32: Int32Array, w: number) => number =
  process.arch === 'x64' ? (i32, w) => i32[w]! : (i32, w) => Atomics.load(i32, w);

/**
 * Whether other threads come near some words. `never`: only the holder of the token runs (ordered mode). `always`. Or, as free
 * mode finds out as it goes on: not while the word of this index is not 0; it changes while all other threads are stopped.
 */
export type Sharing = 'never' | 'always' | { readonly unless: number };

export function sharedWords(i32: Int32Array, u8: Uint8Array, sharing: Sharing): SharedWords {
  if (sharing === 'always') return atomicWords(i32, u8);
  if (sharing === 'never') return plainWords(i32, u8);
  const SEPARATE = sharing.unless;
  // Written out once more: calls of the two kinds above would be too much to inline.
  return {
    or(w, bits) {
      if (i32[SEPARATE] === 0) return Atomics.or(i32, w, bits);
      const old = i32[w]!;
      i32[w] = old | bits;
      return old;
    },
    and(w, bits) {
      if (i32[SEPARATE] === 0) return Atomics.and(i32, w, bits);
      const old = i32[w]!;
      i32[w] = old & bits;
      return old;
    },
    add(w, delta) {
      if (i32[SEPARATE] === 0) return Atomics.add(i32, w, delta);
      const old = i32[w]!;
      i32[w] = old + delta;
      return old;
    },
    exchange(w, x) {
      if (i32[SEPARATE] === 0) return Atomics.exchange(i32, w, x);
      const old = i32[w]!;
      i32[w] = x;
      return old;
    },
    compareExchange(w, old, x) {
      if (i32[SEPARATE] === 0) return Atomics.compareExchange(i32, w, old, x);
      const was = i32[w]!;
      if (was === old) i32[w] = x;
      return was;
    },
    load: (w) => (i32[SEPARATE] === 0 ? Atomics.load(i32, w) : i32[w]!),
    store(w, x) {
      if (i32[SEPARATE] === 0) Atomics.store(i32, w, x);
      else i32[w] = x;
    },
    exchangeByte(addr, x) {
      if (i32[SEPARATE] === 0) return Atomics.exchange(u8, addr, x);
      const old = u8[addr]!;
      u8[addr] = x;
      return old;
    },
  };
}

function atomicWords(i32: Int32Array, u8: Uint8Array): SharedWords {
  return {
    or: (w, bits) => Atomics.or(i32, w, bits),
    and: (w, bits) => Atomics.and(i32, w, bits),
    add: (w, delta) => Atomics.add(i32, w, delta),
    exchange: (w, x) => Atomics.exchange(i32, w, x),
    compareExchange: (w, old, x) => Atomics.compareExchange(i32, w, old, x),
    load: (w) => Atomics.load(i32, w),
    store: (w, x) => {
      Atomics.store(i32, w, x);
    },
    exchangeByte: (addr, x) => Atomics.exchange(u8, addr, x),
  };
}

function plainWords(i32: Int32Array, u8: Uint8Array): SharedWords {
  return {
    or(w, bits) {
      const old = i32[w]!;
      i32[w] = old | bits;
      return old;
    },
    and(w, bits) {
      const old = i32[w]!;
      i32[w] = old & bits;
      return old;
    },
    add(w, delta) {
      const old = i32[w]!;
      i32[w] = old + delta;
      return old;
    },
    exchange(w, x) {
      const old = i32[w]!;
      i32[w] = x;
      return old;
    },
    compareExchange(w, old, x) {
      const was = i32[w]!;
      if (was === old) i32[w] = x;
      return was;
    },
    load: (w) => i32[w]!,
    store(w, x) {
      i32[w] = x;
    },
    exchangeByte(addr, x) {
      const old = u8[addr]!;
      u8[addr] = x;
      return old;
    },
  };
}
