/**
 * Ordered mode: guest code that runs beside the turns (docs/clocks.md). A guest that shares no memory with another VCPU needs no turn while
 * it only computes: whichever worker is free runs it, ahead of the turns by less than L, since what another pCPU does reaches it no sooner.
 * What it does to others it does in a turn, at the time at which it got there: there its run ends. So its turns are the same
 * however far it was run when, and by whom.
 *
 * Of each pCPU: `counter`, the simulation time up to which its guest has been run, without having come to an exit; and `limit`, up to which
 * it may be. Every exit is later than the counter, so a turn may be taken once all counters have reached it. Nobody else sends anything
 * before his own counter or key, and it arrives L after that: so much is the limit beyond the least of them.
 */
import type { HvContext } from '../hv/context.js';
import { type Image, type Region, rawRegion, tableRegion } from '../shared/image.js';
import { struct } from '../shared/struct.js';
import type { KeyTree } from './key-tree.js';

const RUN_AHEAD = struct(
  'run-ahead',
  {
    /** One of STATE. Atomics: who makes it `running` runs the guest, and the rest of the record is his until he changes it again. */
    state: 'i32',
    counter: 'f64',
    /** Written by the holder of the token; grows. */
    limit: 'f64',
    exitAt: 'f64',
  },
  64,
);

const STATE = {
  /** The guest does not run, or only in turns. */
  none: 0,
  /** It may be run by whoever wants to. */
  ready: 1,
  running: 2,
  /** It came to an exit, of which the turns do not know yet; and they do. */
  exited: 3,
  noted: 4,
  /** Its pCPU takes a turn, or has just taken one. */
  inTurn: 5,
} as const;

export const runAheadRegions = (pcpus: number): Region[] => [
  tableRegion(RUN_AHEAD, pcpus),
  // Owner: the holder of the token. How many pCPUs are ahead of the turns, and which.
  rawRegion('run-ahead-list', 4 * (1 + pcpus), 1),
  // Owner: the holder of the token. Until when it runs all guests itself, host ms since 1970 (f64).
  rawRegion('run-ahead-alone', 8, 1),
];

/** Runs VCPU v on pCPU p up to `untilNs`. Returns when it came to an exit, Infinity where it got there without. */
export type RunTo = (v: number, p: number, untilNs: number) => number;

/** What the holder of the token is to do. */
export const NEXT = {
  /** Take the turn at the root of the key tree. */
  turn: 0,
  /** Nothing: all are where they were to get to. */
  level: 1,
  /** Ask again: something was run. */
  again: 2,
  /** Ask again: another worker runs what has to be run first. */
  wait: 3,
} as const;
export type Next = (typeof NEXT)[keyof typeof NEXT];

export interface RunAhead {
  isAny(): boolean;
  /** Whether p's guest runs beside the turns. */
  isAhead(p: number): boolean;
  /** In p's turn: its guest runs beside the turns from now on. */
  start(p: number): void;
  /** In p's turn: no more. */
  stop(p: number): void;
  /** In p's turn: before then no other pCPU does anything. Now where another's guest runs: how far it is depends on the host. */
  othersNext(p: number): number;
  /** For the holder of the token: one step towards all turns before `until`. @param guestsUntil guests are run no further; not before the next turn */
  advance(until: number, guestsUntil?: number): Next;
  /** Whether all guests have been run up to `ns`. */
  isUpTo(ns: number): boolean;
  /** Up to where any of them may have been run. */
  furthest(): number;
  /** For the others: runs a guest of this worker's pCPUs a bit; returns false when there has been none to run for some time. */
  help(): boolean;
  /** For the holder: waits a moment for the pCPU that holds everything up. @param isOver looked at meanwhile */
  wait(isOver: () => boolean): void;
}

/** A wait is too long when it takes so many times what a bit of this worker's took last, and at least so long, host ms. */
const TOO_LONG = { times: 4, ms: 0.1 } as const;
/** Looks between two at the time. */
const LOOKS = 64;
const PAUSE = 16;
/** How long it then sleeps, host ms. */
const NAP_MS = 0.1;
/**
 * A bit of a run takes microseconds; who has to wait much longer waits for a thread that has lost its core, while others of the host want it.
 * So it will be again: for a time the holder of the token runs all guests itself, which at eleven runnable threads on two cores was
 * ten times as fast. Host ms, doubled each time up to the most.
 */
const ALONE_MS = { least: 20, most: 1000 } as const;

/**
 * @param self number of the worker @param helpers how many workers run guests: those of the lowest numbers
 * @param longestNs a bit of a run at most
 */
export function runAhead(
  image: Image,
  { pcpu, params, shape, now }: HvContext,
  keys: KeyTree,
  self: number,
  helpers: number,
  longestNs: number,
  runTo: RunTo,
): RunAhead {
  const record = image.table(RUN_AHEAD);
  const { i32 } = image;
  const L = params.latencyNs;
  const state = image.column(RUN_AHEAD, 'state');
  const stateOf = (p: number): number => state.base + (p << state.shift);
  const COUNT = image.region('run-ahead-list').base >> 2;
  const LIST = COUNT + 1;
  const ALONE = image.region('run-ahead-alone').base >> 3;
  const isParallel = (): boolean => helpers > 1 && Date.now() >= image.f64[ALONE]!;
  const own = Array.from({ length: shape.pcpus }, (_, p) => p).filter((p) => pcpu.worker(p) % helpers === self);
  const isOwn = (p: number): boolean => own.includes(p) || !isParallel();
  /** Looks in vain, since something was run or taken. */
  let waited = 0;
  /** When that began, and what a bit of a run took last, host ms. */
  let [waitedSince, bitMs] = [0, 0];
  let aloneMs: number = ALONE_MS.least;

  /** One look more, in vain. @returns whether that has been going on for too long */
  function isTooLong(): boolean {
    if (waited++ === 0) waitedSince = performance.now();
    return waited % LOOKS === 0 && performance.now() - waitedSince > Math.max(TOO_LONG.ms, TOO_LONG.times * bitMs);
  }

  /** After a wait that was too long. */
  function stayAlone(): void {
    const since = Date.now() - image.f64[ALONE]!;
    aloneMs = since > 4 * aloneMs ? ALONE_MS.least : Math.min(2 * aloneMs, ALONE_MS.most);
    image.f64[ALONE] = Date.now() + aloneMs;
  }

  /** Runs p's guest a bit, if nobody else does. */
  function run(p: number): boolean {
    if (Atomics.compareExchange(i32, stateOf(p), STATE.ready, STATE.running) !== STATE.ready) return false;
    const from = record.counter(p);
    // Somebody else may have run it since it was looked at.
    if (from >= record.limit(p)) {
      Atomics.store(i32, stateOf(p), STATE.ready);
      return false;
    }
    // Others wait for the counter, if there are others.
    const bit = isParallel() && i32[COUNT]! > 1 ? L : longestNs;
    const to = Math.min(record.limit(p), from + bit);
    const beganMs = performance.now();
    const exitAt = runTo(pcpu.current(p), p, to);
    bitMs = performance.now() - beganMs;
    if (exitAt === Infinity) record.setCounter(p, to);
    else record.setExitAt(p, exitAt);
    Atomics.store(i32, stateOf(p), exitAt === Infinity ? STATE.ready : STATE.exited);
    return true;
  }

  /** An exit is a turn of p's, at its time. */
  function note(p: number): void {
    const at = record.exitAt(p);
    pcpu.setGuestAt(p, at);
    if (at < keys.key(p)) keys.set(p, at);
    Atomics.store(i32, stateOf(p), STATE.noted);
  }

  return {
    isAny: () => i32[COUNT]! > 0,
    isAhead: (p) => Atomics.load(i32, stateOf(p)) !== STATE.none,
    start(p) {
      record.setCounter(p, now());
      record.setLimit(p, now());
      pcpu.setGuestAt(p, Infinity);
      i32[LIST + i32[COUNT]!++] = p;
      Atomics.store(i32, stateOf(p), STATE.inTurn);
    },
    stop(p) {
      if (Atomics.load(i32, stateOf(p)) === STATE.none) return;
      Atomics.store(i32, stateOf(p), STATE.none);
      const last = --i32[COUNT]!;
      for (let n = 0; n <= last; n++) if (i32[LIST + n] === p) i32[LIST + n] = i32[LIST + last]!;
    },
    othersNext(p) {
      const key = keys.key(p);
      keys.set(p, Infinity);
      const next = keys.key(keys.root());
      keys.set(p, key);
      const others = i32[COUNT]! - (Atomics.load(i32, stateOf(p)) === STATE.none ? 0 : 1);
      return others > 0 ? now() : next;
    },
    advance(until, guestsUntil = until) {
      let [first, least, second] = [-1, Infinity, Infinity];
      for (let n = 0; n < i32[COUNT]!; n++) {
        const p = i32[LIST + n]!;
        const at = Atomics.load(i32, stateOf(p));
        if (at === STATE.exited) note(p);
        if (at === STATE.exited || at === STATE.noted) continue;
        if (at === STATE.inTurn) Atomics.store(i32, stateOf(p), STATE.ready);
        const counter = record.counter(p);
        if (counter < least) {
          [first, least, second] = [p, counter, least];
        } else if (counter < second) second = counter;
      }
      const root = keys.root();
      const next = keys.key(root);
      if (next < until && least >= next) {
        waited = 0;
        const at = Atomics.compareExchange(i32, stateOf(root), STATE.ready, STATE.inTurn);
        // It has just got there.
        return at === STATE.running || at === STATE.exited ? NEXT.again : NEXT.turn;
      }
      if (next >= until && least >= until) return NEXT.level;
      let mayRun = -1;
      for (let n = 0; n < i32[COUNT]!; n++) {
        const p = i32[LIST + n]!;
        if (Atomics.load(i32, stateOf(p)) >= STATE.exited) continue;
        const others = Math.min(next, p === first ? second : least);
        const limit = Math.min(keys.key(p), guestsUntil, others + L, record.counter(p) + longestNs);
        if (limit > record.limit(p)) record.setLimit(p, limit);
        // The one that is furthest behind, of its own if there are others to run theirs.
        const isCandidate = Atomics.load(i32, stateOf(p)) === STATE.ready && record.counter(p) < record.limit(p);
        if (!isCandidate || !isOwn(p)) continue;
        if (mayRun < 0 || record.counter(p) < record.counter(mayRun)) mayRun = p;
      }
      if (mayRun < 0 || !run(mayRun)) return NEXT.wait;
      waited = 0;
      return NEXT.again;
    },
    isUpTo(ns) {
      for (let n = 0; n < i32[COUNT]!; n++) {
        const p = i32[LIST + n]!;
        // An exit of which the turns do not know yet may be before then; and whose turn it was has not been run on yet.
        if (Atomics.load(i32, stateOf(p)) !== STATE.noted && record.counter(p) < ns) return false;
      }
      return true;
    },
    furthest() {
      let at = -Infinity;
      for (let n = 0; n < i32[COUNT]!; n++) at = Math.max(at, record.limit(i32[LIST + n]!));
      return at;
    },
    help() {
      if (self >= helpers || !isParallel()) return false;
      for (const p of own) {
        if (Atomics.load(i32, stateOf(p)) !== STATE.ready || record.counter(p) >= record.limit(p) || !run(p)) continue;
        waited = 0;
        return true;
      }
      if (!isTooLong()) return true;
      waited = 0;
      return false;
    },
    wait(isOver) {
      if (isTooLong()) {
        waited = 0;
        // Its worker sleeps, or is kept from running.
        stayAlone();
        for (let n = 0; n < i32[COUNT]!; n++) {
          const at = stateOf(i32[LIST + n]!);
          if (Atomics.load(i32, at) !== STATE.running) continue;
          Atomics.wait(i32, at, STATE.running, NAP_MS);
          return;
        }
      }
      for (let n = 0; n < PAUSE; n++) if (isOver()) return;
    },
  };
}
