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
  readonly slots: Column;
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
  const { base: DEADLINE, stride: DEADLINE_STRIDE } = timers.deadline;
  const { base: POSITION, stride: POSITION_STRIDE } = timers.position;
  const { base: SIZE, stride: SIZE_STRIDE } = queues.size;
  const { base: SLOTS, stride: SLOTS_STRIDE } = queues.slots;
  const { base: OFFSET, stride: OFFSET_STRIDE } = queues.offset ?? { base: 0, stride: 0 };
  const hasOffsets = queues.offset !== undefined;

  const deadline = (t: number): number => f64[DEADLINE + t * DEADLINE_STRIDE]!;
  const sizeWord = (q: number): number => SIZE + q * SIZE_STRIDE;
  const slotWord = (q: number): number =>
    hasOffsets ? SLOTS + i32[OFFSET + q * OFFSET_STRIDE]! : SLOTS + q * SLOTS_STRIDE;
  const position = (t: number): number => i32[POSITION + t * POSITION_STRIDE]!;

  function setPosition(t: number, x: number): void {
    i32[POSITION + t * POSITION_STRIDE] = x;
  }

  function before(a: number, b: number): boolean {
    const da = deadline(a);
    const db = deadline(b);
    return da < db || (da === db && a < b);
  }

  function siftUp(base: number, hole: number, t: number): void {
    let k = hole;
    while (k > 0) {
      const parent = (k - 1) >> 1;
      const other = i32[base + parent]!;
      if (!before(t, other)) break;
      i32[base + k] = other;
      setPosition(other, k + 1);
      k = parent;
    }
    i32[base + k] = t;
    setPosition(t, k + 1);
  }

  function siftDown(base: number, size: number, hole: number, t: number): void {
    let k = hole;
    for (;;) {
      let child = 2 * k + 1;
      if (child >= size) break;
      if (child + 1 < size && before(i32[base + child + 1]!, i32[base + child]!)) child++;
      const other = i32[base + child]!;
      if (!before(other, t)) break;
      i32[base + k] = other;
      setPosition(other, k + 1);
      k = child;
    }
    i32[base + k] = t;
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
      f64[DEADLINE + t * DEADLINE_STRIDE] = deadlineNs;
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
      setPosition(t, 0);
      const base = slotWord(q);
      const size = i32[sizeWord(q)]! - 1;
      i32[sizeWord(q)] = size;
      const last = i32[base + size]!;
      if (last !== t) place(base, size, at - 1, last);
    },
    size: (q) => i32[sizeWord(q)]!,
  };
}
