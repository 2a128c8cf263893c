/**
 * One turn word per worker, alone on its cache line: the place where a worker sleeps, gets the token, and is rung.
 * All bits change by read-modify-write, so a ring and a handover that cross are both seen, and a notification is never
 * lost: a sleeper waits for the value it announced, and any other bit makes the wait return at once.
 */
import { type Region, rawRegion } from './image.js';

/** The worker holds the token. */
const TOKEN = 1;
/** Somebody waits for the worker at its next safe point. */
const BELL = 2;
/** The worker sleeps (or is about to) in Atomics.wait. */
const SLEEPING = 4;
/** Somebody has moved on, or sent mail: look again. */
const NUDGE = 8;
/** The worker has a part in what the holder of the token has begun. */
const CALL = 16;

const LINE_BYTES = 64;

export const doorbellRegion = (workers: number): Region => rawRegion('turn-words', LINE_BYTES, workers);

export interface Doorbells {
  /** Takes the bell of worker `w` back; returns whether it had been rung. */
  answer(w: number): boolean;
  isRung(w: number): boolean;
  ring(w: number): void;
  hasToken(w: number): boolean;
  /** Gives the token from one worker to another: clear the own word first, so that it never exists twice. */
  handOver(from: number, to: number): void;
  /** The very first giving. */
  grant(to: number): void;
  /** Calls worker `w` to its part of the work of the token's holder. */
  call(w: number): void;
  isCalled(w: number): boolean;
  /** Takes the call of worker `w` back: it comes. */
  come(w: number): void;
  /**
   * Spins, then sleeps until worker `w` has the token or is rung.
   * @param timeoutMs at most this long; Infinity = for ever
   */
  await(w: number, spins: number, timeoutMs: number): void;
  /** Wakes worker `w` if it sleeps; not remembered if it does not. */
  nudge(w: number): void;
  /**
   * Sleeps until worker `w` is rung or nudged. @param mustSleep looked at once more when everybody can see that w sleeps:
   * whoever changes what it looks at nudges afterwards, so one of the two sees the other.
   */
  doze(w: number, timeoutMs: number, mustSleep: () => boolean): void;
}

export function doorbells(i32: Int32Array, base: number): Doorbells {
  const word = (w: number): number => (base >> 2) + w * (LINE_BYTES / 4);

  function post(w: number, bit: number): void {
    const old = Atomics.or(i32, word(w), bit);
    if ((old & SLEEPING) !== 0) Atomics.notify(i32, word(w));
  }

  return {
    answer: (w) => (Atomics.and(i32, word(w), ~BELL) & BELL) !== 0,
    isRung: (w) => (Atomics.load(i32, word(w)) & BELL) !== 0,
    ring: (w) => post(w, BELL),
    hasToken: (w) => (Atomics.load(i32, word(w)) & TOKEN) !== 0,
    handOver(from, to) {
      Atomics.and(i32, word(from), ~TOKEN);
      post(to, TOKEN);
    },
    grant: (to) => post(to, TOKEN),
    call: (w) => post(w, CALL),
    isCalled: (w) => (Atomics.load(i32, word(w)) & CALL) !== 0,
    come(w) {
      Atomics.and(i32, word(w), ~CALL);
    },
    await(w, spins, timeoutMs) {
      const at = word(w);
      // Not remembered: left there, each wait from then on would be over at once.
      Atomics.and(i32, at, ~NUDGE);
      for (let n = 0; n < spins; n++) if (Atomics.load(i32, at) !== 0) return;
      // A token or bell that came between the last look and here makes the exchange fail.
      if (Atomics.compareExchange(i32, at, 0, SLEEPING) === 0) Atomics.wait(i32, at, SLEEPING, timeoutMs);
      Atomics.and(i32, at, ~(SLEEPING | NUDGE));
    },
    nudge(w) {
      if ((Atomics.load(i32, word(w)) & SLEEPING) !== 0) post(w, NUDGE);
    },
    doze(w, timeoutMs, mustSleep) {
      const at = word(w);
      // One that came when w had just woken: left there, it would make the next one no change to wake for.
      Atomics.and(i32, at, ~NUDGE);
      const old = Atomics.or(i32, at, SLEEPING);
      if ((old & BELL) === 0 && mustSleep()) Atomics.wait(i32, at, old | SLEEPING, timeoutMs);
      Atomics.and(i32, at, ~(SLEEPING | NUDGE));
    },
  };
}
