/**
 * Timer queues: binary heaps of timer numbers in the image, ordered by (deadline, timer number), so that equal deadlines
 * fire in one fixed order. A timer is in at most one queue; the queue's owner is the pCPU (or guest VCPU) it belongs to.
 */
export interface TimerFields {
  /** Absolute deadline, ns. */
  deadline(t: number): number;
  setDeadline(t: number, ns: number): void;
  /** Position in its heap plus one; 0 = not armed. */
  position(t: number): number;
  setPosition(t: number, x: number): void;
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

/**
 * @param sizeWord index into `i32` of queue q's size
 * @param slotWord index into `i32` of queue q's first slot
 */
export function deadlineHeaps(
  i32: Int32Array,
  timers: TimerFields,
  sizeWord: (q: number) => number,
  slotWord: (q: number) => number,
): DeadlineHeaps {
  function before(a: number, b: number): boolean {
    const da = timers.deadline(a);
    const db = timers.deadline(b);
    return da < db || (da === db && a < b);
  }

  function siftUp(base: number, hole: number, t: number): void {
    let k = hole;
    while (k > 0) {
      const parent = (k - 1) >> 1;
      const other = i32[base + parent]!;
      if (!before(t, other)) break;
      i32[base + k] = other;
      timers.setPosition(other, k + 1);
      k = parent;
    }
    i32[base + k] = t;
    timers.setPosition(t, k + 1);
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
      timers.setPosition(other, k + 1);
      k = child;
    }
    i32[base + k] = t;
    timers.setPosition(t, k + 1);
  }

  function place(base: number, size: number, k: number, t: number): void {
    if (k > 0 && before(t, i32[base + ((k - 1) >> 1)]!)) siftUp(base, k, t);
    else siftDown(base, size, k, t);
  }

  return {
    earliest(q) {
      return i32[sizeWord(q)] === 0 ? Infinity : timers.deadline(i32[slotWord(q)]!);
    },
    top: (q) => (i32[sizeWord(q)] === 0 ? -1 : i32[slotWord(q)]!),
    isArmed: (t) => timers.position(t) !== 0,
    arm(q, t, deadlineNs) {
      const base = slotWord(q);
      const position = timers.position(t);
      timers.setDeadline(t, deadlineNs);
      if (position !== 0) {
        place(base, i32[sizeWord(q)]!, position - 1, t);
        return;
      }
      const size = i32[sizeWord(q)]!;
      i32[sizeWord(q)] = size + 1;
      siftUp(base, size, t);
    },
    disarm(q, t) {
      const position = timers.position(t);
      if (position === 0) return;
      timers.setPosition(t, 0);
      const base = slotWord(q);
      const size = i32[sizeWord(q)]! - 1;
      i32[sizeWord(q)] = size;
      const last = i32[base + size]!;
      if (last !== t) place(base, size, position - 1, last);
    },
    size: (q) => i32[sizeWord(q)]!,
  };
}
