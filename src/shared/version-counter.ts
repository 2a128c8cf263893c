/**
 * The version-counter protocol of shared pages (S15; xen.h, struct vcpu_time_info).
 *
 * Why it works: the writer makes the version odd before the first and even after the last byte. A reader that saw the
 * same even version before and after its copy overlapped no write. `(version + 1) | 1` also recovers a version that
 * a crashed or malicious writer left odd. Atomics on the version order the plain accesses between them.
 */

/** @param w index into `i32` of the version word */
export function beginUpdate(i32: Int32Array, w: number): void {
  Atomics.store(i32, w, (i32[w]! + 1) | 1);
}

export function endUpdate(i32: Int32Array, w: number): void {
  Atomics.store(i32, w, (i32[w]! + 1) | 0);
}

/** First half of a read: the version to hand to `isConsistent` after the copy. */
export const readVersion = (i32: Int32Array, w: number): number => Atomics.load(i32, w);

/** Whether the copy made since `readVersion` gave `version` is of one piece; otherwise read again. */
export const isConsistent = (i32: Int32Array, w: number, version: number): boolean =>
  (version & 1) === 0 && Atomics.load(i32, w) === version;
