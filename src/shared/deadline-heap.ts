/**
 * Timer queues: binary heaps of timer numbers in the image, ordered by (deadline, timer number), so that equal deadlines
 * fire in one fixed order. A timer is in at most one queue; the queue's owner is the pCPU (or guest VCPU) it belongs to.
 */
import { specialise } from './specialise.js';
import type { Column } from './struct.js';

export interface TimerColumns {
  /** Absolute deadline, ns; in `f64`. */
  readonly deadline: Column;
  /** Position in its heap plus one, 0 = not armed; in `i32`. */
  readonly position: Column;
}

/** Where queue q keeps its size and its first slot, as columns of `i32`. */
export interface QueueColumns {
  readonly size: Column;
  /** Word of the first slot, either by queue number … */
  readonly slots: { readonly base: number; readonly stride: number };
  /** … or, where queues differ in size, read from this column and added to `slots.base`. */
  readonly offset?: Column;
}

export interface DeadlineHeaps {
  /** Earliest deadline of queue `q`, Infinity when it is empty. */
  earliest(q: number): number;
  /** The timer with the earliest deadline, -1 when the queue is empty. */
  top(q: number): number;
  isArmed(t: number): boolean;
  /** Arms `t` in queue `q`, or moves it there when it is armed in the same queue. */
  arm(q: number, t: number, deadlineNs: number): void;
  /** Disarms `t`; no effect when it is not armed. */
  disarm(q: number, t: number): void;
  size(q: number): number;
}

export const deadlineHeaps = (
  i32: Int32Array,
  f64: Float64Array,
  timers: TimerColumns,
  queues: QueueColumns,
): DeadlineHeaps => specialise(makeHeaps)(i32, f64, timers, queues);

function makeHeaps(i32: Int32Array, f64: Float64Array, timers: TimerColumns, queues: QueueColumns): DeadlineHeaps {
  const { base: DEADLINE, shift: DEADLINE_SHIFT } = timers.deadline;
  const { base: POSITION, shift: POSITION_SHIFT } = timers.position;
  const { base: SIZE, shift: SIZE_SHIFT } = queues.size;
  const { base: SLOTS, stride: SLOTS_STRIDE } = queues.slots;
  const { base: OFFSET, shift: OFFSET_SHIFT } = queues.offset ?? { base: 0, shift: 0 };
  const hasOffsets = queues.offset !== undefined;

  // Shifts, Math.imul and | 0 keep the arithmetic in 32-bit integers; V8 does a plain `q * STRIDE` in doubles.
  const deadline = (t: number): number => f64[(DEADLINE + (t << DEADLINE_SHIFT)) | 0]!;
  const sizeWord = (q: number): number => (SIZE + (q << SIZE_SHIFT)) | 0;
  const slotWord = (q: number): number =>
    (SLOTS + (hasOffsets ? i32[(OFFSET + (q << OFFSET_SHIFT)) | 0]! : Math.imul(q, SLOTS_STRIDE))) | 0;
  const position = (t: number): number => i32[(POSITION + (t << POSITION_SHIFT)) | 0]!;

  function setPosition(t: number, x: number): void {
    i32[(POSITION + (t << POSITION_SHIFT)) | 0] = x;
  }

  function before(a: number, b: number): boolean {
    const da = deadline(a);
    const db = deadline(b);
    return da < db || (da === db && a < b);
  }

  // `words` in loops: V8 takes an array that a loop reads from its closure for an unknown one.
  function siftUp(base: number, hole: number, t: number): void {
    const words = i32;
    let k = hole;
    while (k > 0) {
      const parent = (k - 1) >> 1;
      const other = words[(base + parent) | 0]!;
      if (!before(t, other)) break;
      words[(base + k) | 0] = other;
      setPosition(other, k + 1);
      k = parent;
    }
    words[(base + k) | 0] = t;
    setPosition(t, k + 1);
  }

  function siftDown(base: number, size: number, hole: number, t: number): void {
    const words = i32;
    let k = hole;
    for (;;) {
      let child = 2 * k + 1;
      if (child >= size) break;
      if (child + 1 < size && before(words[(base + child + 1) | 0]!, words[(base + child) | 0]!)) child++;
      const other = words[(base + child) | 0]!;
      if (!before(other, t)) break;
      words[(base + k) | 0] = other;
      setPosition(other, k + 1);
      k = child;
    }
    words[(base + k) | 0] = t;
    setPosition(t, k + 1);
  }

  function place(base: number, size: number, k: number, t: number): void {
    if (k > 0 && before(t, i32[base + ((k - 1) >> 1)]!)) siftUp(base, k, t);
    else siftDown(base, size, k, t);
  }

  return {
    earliest(q) {
      return i32[sizeWord(q)] === 0 ? Infinity : deadline(i32[slotWord(q)]!);
    },
    top: (q) => (i32[sizeWord(q)] === 0 ? -1 : i32[slotWord(q)]!),
    isArmed: (t) => position(t) !== 0,
    arm(q, t, deadlineNs) {
      const base = slotWord(q);
      const at = position(t);
      f64[(DEADLINE + (t << DEADLINE_SHIFT)) | 0] = deadlineNs;
      if (at !== 0) {
        place(base, i32[sizeWord(q)]!, at - 1, t);
        return;
      }
      const size = i32[sizeWord(q)]!;
      i32[sizeWord(q)] = size + 1;
      siftUp(base, size, t);
    },
    disarm(q, t) {
      const at = position(t);
      if (at === 0) return;
      const base = slotWord(q);
      const size = i32[sizeWord(q)]! - 1;
      i32[sizeWord(q)] = size;
      const last = i32[(base + size) | 0]!;
      if (last !== t) place(base, size, at - 1, last);
      // Last: whoever sees it out of its queue finds the queue done with it.
      setPosition(t, 0);
    },
    size: (q) => i32[sizeWord(q)]!,
  };
}
