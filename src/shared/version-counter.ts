/**
 * The version-counter protocol of shared pages (S15; xen.h, struct vcpu_time_info).
 *
 * Why it works: the writer makes the version odd before the first and even after the last byte. A reader that saw the
 * same even version before and after its copy overlapped no write. `(version + 1) | 1` also recovers a version that
 * a crashed or malicious writer left odd. Atomics on the version order the plain accesses between them.
 */

import { acquireWord, releaseWord } from './shared-words.js';

/** @param w index into `i32` of the version word */
export function beginUpdate(i32: Int32Array, w: number): void {
  releaseWord(i32, w, (i32[w]! + 1) | 1);
}

export function endUpdate(i32: Int32Array, w: number): void {
  releaseWord(i32, w, (i32[w]! + 1) | 0);
}

/** First half of a read: the version to hand to `isConsistent` after the copy. */
export const readVersion = (i32: Int32Array, w: number): number => acquireWord(i32, w);

/** Whether the copy made since `readVersion` gave `version` is of one piece; otherwise read again. */
export const isConsistent = (i32: Int32Array, w: number, version: number): boolean =>
  (version & 1) === 0 && acquireWord(i32, w) === version;

export interface VersionCounter {
  beginUpdate(w: number): void;
  endUpdate(w: number): void;
  readVersion(w: number): number;
  isConsistent(w: number, version: number): boolean;
}

/**
 * The protocol bound to an image. @param exclusive only one thread at a time reads or writes (ordered mode, where the
 * token orders all accesses): the same steps with plain accesses, which cost a tenth.
 */
export function versionCounter(i32: Int32Array, exclusive: boolean): VersionCounter {
  if (!exclusive) {
    return {
      beginUpdate: (w) => beginUpdate(i32, w),
      endUpdate: (w) => endUpdate(i32, w),
      readVersion: (w) => readVersion(i32, w),
      isConsistent: (w, version) => isConsistent(i32, w, version),
    };
  }
  return {
    beginUpdate: (w) => {
      i32[w] = (i32[w]! + 1) | 1;
    },
    endUpdate: (w) => {
      i32[w] = (i32[w]! + 1) | 0;
    },
    readVersion: (w) => i32[w]!,
    isConsistent: (w, version) => (version & 1) === 0 && i32[w] === version,
  };
}
