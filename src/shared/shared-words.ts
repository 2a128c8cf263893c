/**
 * Read-modify-write on words that several pCPUs change under no lock: Atomics in free mode; the same steps as plain accesses
 * (`exclusive`) in ordered mode, where only the holder of the token runs and an Atomics call would cost ten times as much.
 * Every operation returns what was there before, so that of two who set the same bit exactly one learns that it was first.
 */
export interface SharedWords {
  or(w: number, bits: number): number;
  and(w: number, bits: number): number;
  add(w: number, delta: number): number;
  exchange(w: number, x: number): number;
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

export function sharedWords(i32: Int32Array, u8: Uint8Array, exclusive: boolean): SharedWords {
  if (!exclusive) {
    return {
      or: (w, bits) => Atomics.or(i32, w, bits),
      and: (w, bits) => Atomics.and(i32, w, bits),
      add: (w, delta) => Atomics.add(i32, w, delta),
      exchange: (w, x) => Atomics.exchange(i32, w, x),
      load: (w) => Atomics.load(i32, w),
      store: (w, x) => {
        Atomics.store(i32, w, x);
      },
      exchangeByte: (addr, x) => Atomics.exchange(u8, addr, x),
    };
  }
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
