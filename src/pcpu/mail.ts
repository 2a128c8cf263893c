/**
 * Mail between workers in free mode: what a pCPU sends to one of another worker. Each pCPU has a box with one place for each
 * kind of IPI; a second one of its kind only makes it arrive earlier, as its arrival looks at all shared state anyway.
 *
 * Locking: a worker's boxes are guarded by its box lock. Senders hold it to post, the worker to empty them. It is a leaf:
 * nothing else is taken under it.
 *
 * A worker has seen what it was sent when `seen` has reached the number of the last posting. Until then the sender keeps its
 * own floor at the arrival (`earliestUnseen`), so that nobody can run a window ahead of something that is under way.
 */
import { IPI_KINDS, type IpiKind } from '../hv/smp.js';
import { type Image, type Region, tableRegion } from '../shared/image.js';
import type { Jitter } from '../shared/jitter.js';
import { struct } from '../shared/struct.js';

/** One per pCPU. Box lock of its worker. */
const BOX = struct(
  'mail-box',
  {
    /** Arrival of each kind, ns; 0 with its bit clear. */
    at: ['f64', IPI_KINDS],
    sentAt: ['f64', IPI_KINDS],
    /** Kinds that are there, a bit each. */
    kinds: 'i32',
  },
  64,
);

/** One per worker. */
const MAIL = struct(
  'mail',
  {
    /** The box lock: 1 while taken. Atomics. */
    lock: 'i32',
    /** Postings so far. Box lock; read by the worker without it, as a hint. */
    posted: 'i32',
    /** Postings whose effects are in the worker's floor. Atomics, the worker's. */
    seen: 'i32',
  },
  64,
);

export const mailRegions = (pcpus: number, workers: number): Region[] => [
  tableRegion(BOX, pcpus),
  tableRegion(MAIL, workers),
];

export interface Mail {
  /** @returns false when one of its kind is under way already */
  post(q: number, kind: IpiKind, at: number, sentAt: number): boolean;
  /** Whether there is, or may be, mail for this worker. */
  hasMail(): boolean;
  /** Empties the boxes of this worker's pCPUs; afterwards, when the new floor is published, comes `acknowledge`. */
  take(deliver: (q: number, kind: IpiKind, at: number, sentAt: number) => void): void;
  acknowledge(): void;
  /** Whether something this worker sent may not be in its receiver's floor yet. */
  isUnseen(): boolean;
  /** The earliest arrival this worker has sent that may not be in its receiver's floor yet, ns. */
  earliestUnseen(): number;
}

export interface MailOptions {
  readonly self: number;
  readonly workers: number;
  readonly workerOf: (pcpu: number) => number;
  /** pCPUs of this worker. */
  readonly pcpus: readonly number[];
  readonly raceWindow: Jitter;
  /** Wakes worker w if it sleeps. */
  readonly wake: (w: number) => void;
}

export function mail(image: Image, options: MailOptions): Mail {
  const { self, workers, workerOf, pcpus, raceWindow, wake } = options;
  const { i32 } = image;
  const box = image.table(BOX);
  const boxes = image.table(MAIL);
  const { base, shift } = image.column(MAIL, 'lock');
  const seen = image.column(MAIL, 'seen');
  const lockWord = (w: number): number => base + (w << shift);
  const seenWord = (w: number): number => seen.base + (w << seen.shift);
  /** What this worker posted to each other that it may not have seen: number of the last posting, earliest arrival. */
  const sentNumber = new Int32Array(workers);
  const sentAt = new Float64Array(workers).fill(Infinity);
  let unseen = 0;
  let taken = 0;

  // Held for some ten instructions, and never by a worker that waits for anything.
  function lock(w: number): void {
    for (let n = 0; Atomics.compareExchange(i32, lockWord(w), 0, 1) !== 0; n++) {
      if (n % 1024 === 1023) Atomics.wait(i32, lockWord(w), 1, 0.05);
    }
  }

  function unlock(w: number): void {
    Atomics.store(i32, lockWord(w), 0);
  }

  return {
    post(q, kind, at, sent) {
      const w = workerOf(q);
      lock(w);
      const bit = 1 << kind;
      const kinds = box.kinds(q);
      const isFirst = (kinds & bit) === 0;
      if (isFirst || at < box.at(q, kind)) {
        box.setAt(q, kind, at);
        box.setSentAt(q, kind, sent);
      }
      box.setKinds(q, kinds | bit);
      boxes.addPosted(w, 1);
      sentNumber[w] = boxes.posted(w);
      if (sentAt[w] === Infinity) unseen++;
      sentAt[w] = Math.min(sentAt[w]!, at);
      unlock(w);
      raceWindow();
      wake(w);
      return isFirst;
    },
    hasMail: () => boxes.posted(self) !== taken,
    take(deliver) {
      lock(self);
      taken = boxes.posted(self);
      for (const q of pcpus) {
        const kinds = box.kinds(q);
        if (kinds === 0) continue;
        box.setKinds(q, 0);
        for (let kind = 0; kind < IPI_KINDS; kind++) {
          if ((kinds & (1 << kind)) !== 0) deliver(q, kind as IpiKind, box.at(q, kind), box.sentAt(q, kind));
        }
      }
      unlock(self);
    },
    acknowledge() {
      Atomics.store(i32, seenWord(self), taken);
    },
    isUnseen: () => unseen !== 0,
    earliestUnseen() {
      if (unseen === 0) return Infinity;
      let earliest = Infinity;
      for (let w = 0; w < workers; w++) {
        if (sentAt[w] === Infinity) continue;
        if (((Atomics.load(i32, seenWord(w)) - sentNumber[w]!) | 0) >= 0) {
          sentAt[w] = Infinity;
          unseen--;
        } else if (sentAt[w]! < earliest) earliest = sentAt[w]!;
      }
      return earliest;
    },
  };
}

/** Whether something sent to worker w has not been taken up yet. While all workers rest. */
export function isMailUnderWay(image: Image, w: number): boolean {
  const boxes = image.table(MAIL);
  return boxes.posted(w) !== boxes.seen(w);
}
