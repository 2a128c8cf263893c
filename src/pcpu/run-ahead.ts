/**
 * Ordered mode: guest code that runs beside the turns (docs/clocks.md). A guest that shares no memory with another VCPU needs no turn while
 * it only computes: whichever worker is free runs it, ahead of the turns by less than L, since what another pCPU does reaches it no sooner.
 * What it does to others it does in a turn, at the time at which it got there: there its run ends. So its turns are the same
 * however far it was run when, and by whom.
 *
 * Of each pCPU: `counter`, the simulation time up to which its guest has been run, without having come to an exit; and `limit`, up to which
 * it may be as far as turns go. Every exit is later than the counter, so a turn may be taken once all counters have reached it. Nobody else
 * sends anything before his own counter or key, and it arrives L after that: so far a guest may be run beyond the least of them. Keys are
 * the business of the token's holder, who sets limits; at the counters of others looks whoever runs a guest, while he runs it, and moves
 * his own on in pieces of L: so guests on two workers go on side by side without anybody's help.
 */
import type { HvContext } from '../hv/context.js';
import { type Image, type Region, rawRegion, tableRegion } from '../shared/image.js';
import { struct } from '../shared/struct.js';
import { coreLacked } from './host-core.js';
import type { KeyTree } from './key-tree.js';

const RUN_AHEAD = struct(
  'run-ahead',
  {
    /** One of STATE. Atomics: who makes it `running` runs the guest, and the rest of the record is his until he changes it again. */
    state: 'i32',
    counter: 'f64',
    exitAt: 'f64',
  },
  64,
);
/** On a line of its own: each is written while the other's writer looks at it. */
const LIMIT = struct('run-ahead-limit', { limit: 'f64' }, 64);

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

export const runAheadRegions = (pcpus: number, workers: number): Region[] => [
  tableRegion(RUN_AHEAD, pcpus),
  // Owner: the holder of the token.
  tableRegion(LIMIT, pcpus),
  // Atomics. How many exits the holder of the token has noted.
  rawRegion('run-ahead-notes', 64, 1),
  // Owner: the holder of the token. How many pCPUs are ahead of the turns, and which.
  rawRegion('run-ahead-list', 4 * (1 + pcpus), 1),
  // Owner: the holder of the token. Until when it runs all guests itself, host ms since 1970 (f64).
  rawRegion('run-ahead-alone', 8, 1),
  // Owner: the worker. How long it has lacked a core, host ms (f64).
  rawRegion('run-ahead-lacked', 64, workers),
];

/** A guest has been run up to `ns`, where it was to get to: up to where it may be run on; no further than that where its run is to end. */
export type GoOn = (ns: number) => number;
/** Runs VCPU v on pCPU p up to `untilNs`, and on. Returns when it came to an exit, Infinity where it got there without. */
export type RunTo = (v: number, p: number, untilNs: number, goOn: GoOn) => number;

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
  /** For the others: whether there is something to run. Who changes that wakes this worker. */
  canHelp(): boolean;
  /** For the holder: waits a moment for the pCPU that holds everything up. @param isOver looked at meanwhile */
  wait(isOver: () => boolean): void;
}

/** A wait is too long when it takes so many times what a bit of this worker's took last, and at least so long, host ms: time for a nap. */
const TOO_LONG = { times: 4, ms: 0.5 } as const;
/**
 * A guest is run in so many pieces of L while others run, and a run that has caught up with them ends after so many looks. Its limit goes
 * so many times the longest run beyond its counter: who sets it may be in such a run himself.
 */
const PIECES = 2;
const PATIENCE = 100;
const AHEAD = 4;
/** Looks between two at the time. */
const LOOKS = 64;
const PAUSE = 16;
/** How long it then sleeps, host ms. */
const NAP_MS = 0.1;
/**
 * Who waits most of the time, while workers lack cores for a part of it, waits for one that has lost its core to others of the host. So it
 * will be again: for a time the holder of the token runs all guests itself, which at eleven runnable threads on two cores was ten times as
 * fast. One that has still to compile what it runs is waited for. Host ms, doubled each time up to the most.
 */
const ALONE_MS = { least: 100, most: 2000 } as const;
const LOOKED_AT = { ms: 100, waited: 0.6, lacked: 0.5 } as const;
/** Between two looks at whether it lacks a core, host ms. */
const LACK_MS = 2;

/**
 * @param self number of the worker @param helpers how many workers run guests: those of the lowest numbers
 * @param wake wakes another worker if it sleeps
 * @param longestNs a bit of a run at most
 */
export function runAhead(
  image: Image,
  { pcpu, params, shape, now }: HvContext,
  keys: KeyTree,
  self: number,
  helpers: number,
  wake: (worker: number) => void,
  longestNs: number,
  runTo: RunTo,
): RunAhead {
  const record = image.table(RUN_AHEAD);
  const { limit: limitOf, setLimit } = image.table(LIMIT);
  const { i32 } = image;
  const L = params.latencyNs;
  const state = image.column(RUN_AHEAD, 'state');
  const stateOf = (p: number): number => state.base + (p << state.shift);
  const COUNT = image.region('run-ahead-list').base >> 2;
  const LIST = COUNT + 1;
  const NOTES = image.region('run-ahead-notes').base >> 2;
  const ALONE = image.region('run-ahead-alone').base >> 3;
  const isParallel = (): boolean => helpers > 1 && Date.now() >= image.f64[ALONE]!;
  const own = Array.from({ length: shape.pcpus }, (_, p) => p).filter((p) => pcpu.worker(p) % helpers === self);
  const isOwn = (p: number): boolean => own.includes(p) || !isParallel();
  /** Looks in vain, since something was run or taken. */
  let waited = 0;
  /** When that began, and what a bit of a run took last, host ms. */
  let [waitedSince, bitMs] = [0, 0];
  let aloneMs: number = ALONE_MS.least;
  const LACKED = image.region('run-ahead-lacked').base >> 3;
  const lackedMs = coreLacked();
  let lookedMs = -Infinity;
  /** Where the host does not say, all lack a core all the time. */
  function sayLacked(nowMs: number): void {
    if (nowMs < lookedMs + LACK_MS) return;
    lookedMs = nowMs;
    image.f64[LACKED + 8 * self] = lackedMs() ?? nowMs;
  }
  function allLackedMs(): number {
    let sum = 0;
    for (let w = 0; w < helpers; w++) sum += image.f64[LACKED + 8 * w]!;
    return sum;
  }
  /** Since when waits are added up, how much there have been, and how long cores had been lacked before, host ms. */
  let [addedSince, waitedMs, lackedBefore] = [performance.now(), 0, 0];

  function addWaitsFrom(nowMs: number): void {
    [addedSince, waitedMs, lackedBefore] = [nowMs, 0, allLackedMs()];
  }

  /** One look more, in vain. @returns whether that has been going on for too long */
  function isTooLong(): boolean {
    if (waited++ === 0) waitedSince = performance.now();
    return waited % LOOKS === 0 && performance.now() - waitedSince > Math.max(TOO_LONG.ms, TOO_LONG.times * bitMs);
  }

  /** Something can be done again. */
  function waitIsOver(): void {
    if (waited === 0) return;
    waited = 0;
    const nowMs = performance.now();
    waitedMs += nowMs - waitedSince;
    const ms = nowMs - addedSince;
    if (ms < LOOKED_AT.ms) return;
    sayLacked(nowMs);
    if (waitedMs > LOOKED_AT.waited * ms && allLackedMs() - lackedBefore > LOOKED_AT.lacked * helpers * ms) {
      image.f64[ALONE] = Date.now() + aloneMs;
      aloneMs = Math.min(2 * aloneMs, ALONE_MS.most);
    } else aloneMs = ALONE_MS.least;
    addWaitsFrom(nowMs);
  }

  /**
   * Up to where p's guest may be run. Limits are no more than L beyond the next turn that was known when they were set: so an exit that is
   * noted lowers them, before its pCPU's counter holds nobody any more. And a guest that has had its turn has a counter again before limits
   * go on. So the limit is looked at first, and what is seen counts only where no exit was noted meanwhile.
   */
  function reach(p: number, before: number): number {
    const notes = Atomics.load(i32, NOTES);
    let to = limitOf(p);
    for (let q = 0; q < shape.pcpus; q++) {
      if (q === p) continue;
      const at = Atomics.load(i32, stateOf(q));
      if (at !== STATE.none && at !== STATE.noted) to = Math.min(to, record.counter(q) + L);
    }
    return Atomics.load(i32, NOTES) === notes ? to : before;
  }

  /** Whether nobody runs p's guest, who may as far as turns go. */
  const isReady = (p: number): boolean =>
    Atomics.load(i32, stateOf(p)) === STATE.ready && record.counter(p) < limitOf(p);

  /** Of the run that goes on: its pCPU, up to where it is to get, is known that it may go, and goes at most, and a piece of it. */
  let [onPcpu, to, known, end, piece] = [0, 0, 0, 0, 0];
  let patience = 0;
  function nextPiece(): number {
    to = Math.min(known, end, to + piece);
    return to;
  }

  function goOn(ns: number): number {
    record.setCounter(onPcpu, ns);
    if (ns >= end) return ns;
    // A look costs a cache line that others write: none as long as there is no need.
    for (let n = 0; known <= ns && n < patience; n++) known = reach(onPcpu, known);
    return nextPiece();
  }

  /** Runs p's guest a bit, if nobody else does. */
  function run(p: number): boolean {
    if (Atomics.compareExchange(i32, stateOf(p), STATE.ready, STATE.running) !== STATE.ready) return false;
    const from = record.counter(p);
    // Others look at the counter, if there are others.
    [onPcpu, to, known] = [p, from, reach(p, from)];
    end = from + longestNs;
    const isWithOthers = isParallel();
    [piece, patience] = isWithOthers && i32[COUNT]! > 1 ? [Math.ceil(L / PIECES), PATIENCE] : [longestNs, 1];
    // Somebody else may have run it since it was looked at.
    if (from >= known) {
      Atomics.store(i32, stateOf(p), STATE.ready);
      return false;
    }
    const beganMs = performance.now();
    const exitAt = runTo(pcpu.current(p), p, nextPiece(), goOn);
    const nowMs = performance.now();
    bitMs = nowMs - beganMs;
    sayLacked(nowMs);
    if (!isWithOthers) addWaitsFrom(nowMs);
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
    for (let n = 0; n < i32[COUNT]!; n++) {
      const q = i32[LIST + n]!;
      if (limitOf(q) > at + L) setLimit(q, at + L);
    }
    Atomics.add(i32, NOTES, 1);
    Atomics.store(i32, stateOf(p), STATE.noted);
  }

  return {
    isAny: () => i32[COUNT]! > 0,
    isAhead: (p) => Atomics.load(i32, stateOf(p)) !== STATE.none,
    start(p) {
      record.setCounter(p, now());
      setLimit(p, now());
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
      const others = i32[COUNT]! - (Atomics.load(i32, stateOf(p)) === STATE.none ? 0 : 1);
      if (others > 0) return now();
      return keys.root() === p ? keys.second() : keys.earliest();
    },
    advance(until, guestsUntil = until) {
      let least = Infinity;
      for (let n = 0; n < i32[COUNT]!; n++) {
        const p = i32[LIST + n]!;
        const at = Atomics.load(i32, stateOf(p));
        if (at === STATE.exited) note(p);
        if (at === STATE.exited || at === STATE.noted) continue;
        if (at === STATE.inTurn) Atomics.store(i32, stateOf(p), STATE.ready);
        least = Math.min(least, record.counter(p));
      }
      const root = keys.root();
      const next = keys.key(root);
      if (next < until && least >= next) {
        waitIsOver();
        const at = Atomics.compareExchange(i32, stateOf(root), STATE.ready, STATE.inTurn);
        // It has just got there.
        return at === STATE.running || at === STATE.exited ? NEXT.again : NEXT.turn;
      }
      if (next >= until && least >= until) return NEXT.level;
      let mayRun = -1;
      for (let n = 0; n < i32[COUNT]!; n++) {
        const p = i32[LIST + n]!;
        if (Atomics.load(i32, stateOf(p)) >= STATE.exited) continue;
        const limit = Math.min(keys.key(p), guestsUntil, next + L, record.counter(p) + AHEAD * longestNs);
        if (limit > limitOf(p)) setLimit(p, limit);
        if (!isReady(p)) continue;
        // The one that is furthest behind, of its own if there are others to run theirs.
        if (!isOwn(p)) wake(pcpu.worker(p) % helpers);
        else if (mayRun < 0 || record.counter(p) < record.counter(mayRun)) mayRun = p;
      }
      if (mayRun < 0 || !run(mayRun)) return NEXT.wait;
      waitIsOver();
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
      for (let n = 0; n < i32[COUNT]!; n++) at = Math.max(at, limitOf(i32[LIST + n]!));
      return at;
    },
    help() {
      if (self >= helpers || !isParallel()) return false;
      for (const p of own) {
        if (!isReady(p) || !run(p)) continue;
        waited = 0;
        return true;
      }
      if (!isTooLong()) return true;
      waited = 0;
      return false;
    },
    canHelp: () => self < helpers && isParallel() && own.some(isReady),
    wait(isOver) {
      if (isTooLong()) {
        waitIsOver();
        // Its worker sleeps, or is kept from running.
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
