/** Waiting for what another worker is about to end: soon, if it has a core. */

/** Looks before the thread sleeps, and how long it does at a time, host ms. */
const LOOKS = 2000;
const NAP_MS = 0.05;

/** Returns when the word is not `x` any more. @param waiting called now and then meanwhile: the other worker may be gone */
export function outwait(i32: Int32Array, word: number, x: number, waiting: () => void): void {
  for (let n = 0; Atomics.load(i32, word) === x; n++) {
    if (n <= LOOKS) continue;
    waiting();
    Atomics.wait(i32, word, x, NAP_MS);
  }
}
