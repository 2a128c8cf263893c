/**
 * The shared ring of a link, by the protocol of io/ring.h: each side publishes its index, and tells the other by an event only if
 * that asked for one at this index; whoever is about to wait asks, and then looks once more. The page is the client's; that the
 * server has it mapped stands for a grant. In free mode the two sides are different threads: indices are published and
 * read with Atomics, and what a slot says was written before is known to have happened (`writtenAt`).
 */
import type { HvContext } from '../../hv/context.js';
import { RING, RING_SLOTS, SLOT } from './request-records.js';

/** One direction of a ring. */
export interface Way {
  /** Writes message n, then publishes it; returns whether the reader wants an event. */
  push(ring: number, n: number, id: number, bytes: number): boolean;
  /** How many messages were published, a free-running number. */
  published(ring: number): number;
  /** Asks for an event as soon as message n is published; to be followed by a last look. */
  ask(ring: number, n: number): void;
  /** Who sent message n, and its size. */
  id(ring: number, n: number): number;
  bytes(ring: number, n: number): number;
  /** The reader gets to know of message n: its clock moves on to when that was written. */
  learn(ring: number, n: number): void;
}

export interface Rings {
  readonly requests: Way;
  readonly answers: Way;
  init(ring: number): void;
}

export function rings({ image, words, now, moveOn }: HvContext): Rings {
  const { i32, f64 } = image;
  const slot = (ring: number, n: number): number => ring + RING.slots + (n & (RING_SLOTS - 1)) * SLOT.size;

  function way(prod: number, event: number): Way {
    return {
      push(ring, n, id, bytes) {
        const at = slot(ring, n);
        i32[(at + SLOT.id) >> 2] = id;
        i32[(at + SLOT.bytes) >> 2] = bytes;
        f64[(at + SLOT.writtenAt) >> 3] = now();
        const next = (n + 1) | 0;
        words.store((ring + prod) >> 2, next);
        // The index is published before one looks whether the other asked: of two who do so crosswise one sees the other.
        return words.load((ring + event) >> 2) === next;
      },
      published: (ring) => words.load((ring + prod) >> 2),
      ask(ring, n) {
        words.store((ring + event) >> 2, n);
      },
      id: (ring, n) => i32[(slot(ring, n) + SLOT.id) >> 2]!,
      bytes: (ring, n) => i32[(slot(ring, n) + SLOT.bytes) >> 2]!,
      learn(ring, n) {
        moveOn(f64[(slot(ring, n) + SLOT.writtenAt) >> 3]!);
      },
    };
  }

  return {
    requests: way(RING.reqProd, RING.reqEvent),
    answers: way(RING.rspProd, RING.rspEvent),
    init(ring) {
      // Both sides want to hear of the first message.
      i32[(ring + RING.reqEvent) >> 2] = 1;
      i32[(ring + RING.rspEvent) >> 2] = 1;
    },
  };
}
