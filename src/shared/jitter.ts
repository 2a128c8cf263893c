/**
 * Pauses at the places where races live (`--jitter SEED`): before and after every lock is taken and released, and in the
 * marked windows between two steps that others may see half done. Most are short, some as long as a context switch of the
 * host, a few let another thread on the same core run: so interleavings that a quiet host shows once a day come every second.
 */

/** Pauses now and then; called at every marked place. */
export type Jitter = () => void;

/** One in so many places pauses, and one in so many of those sleeps. */
const PAUSE_ONE_IN = 8;
const SLEEP_ONE_IN = 512;
/** Longest pause, rounds of a spin: 2 to the power of this; lengths are spread evenly over the powers. */
const LONGEST_LOG2 = 13;
const SLEEP_MS = 0.3;

/**
 * @param quiet a word of `i32` that nobody ever notifies
 * @param seed one stream a worker; the same seed pauses at the same places in the order in which the worker comes to them
 */
export function jitterOf(i32: Int32Array, quiet: number, seed: number): Jitter {
  // xorshift32 must not start at 0.
  let state = Math.imul(seed, 0x9e3779b1) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const draw = state >>> 0;
    if (draw % PAUSE_ONE_IN !== 0) return;
    const rest = (draw / PAUSE_ONE_IN) | 0;
    if (rest % SLEEP_ONE_IN === 0) {
      Atomics.wait(i32, quiet, Atomics.load(i32, quiet), SLEEP_MS);
      return;
    }
    for (let n = 1 << (rest % (LONGEST_LOG2 + 1)); n > 0; n--) Atomics.load(i32, quiet);
  };
}

export const noJitter: Jitter = () => {};
