/**
 * Ordered mode with several groups of pCPUs that have nothing to do with each other (hv/separation.ts): they may take their turns
 * side by side, each in its own order, and the machine is the same as if all had been taken in one. What concerns several groups is
 * not taken side by side: accounting, time-keeping, commands. Its time is known beforehand, so the holder of the token opens a
 * *section* up to it: it calls the other workers, each takes the turns of its own groups before the section's end, and when all are
 * through the holder has the machine to itself again, with every group at the same time.
 */
import type { Doorbells } from '../shared/doorbell.js';
import type { Image } from '../shared/image.js';
import { CONTROL, WORKER } from './control-records.js';
import type { ProcessorCore } from './processor.js';
import type { SafePoint } from './safe-point.js';

/** Turns a section is to have, about: some host milliseconds, after which the holder comes to a safe point. */
const SECTION_TURNS = 16_384;
/** Fewer turns are not worth calling somebody for. */
const WORTH_TURNS = 256;
/** Looks for those who are not through before the holder sleeps: some 200 us. */
const LOOKS = 20_000;
/** How long it sleeps at a time, host ms. */
const NAP_MS = 0.1;
/** Turns after which a worker says that it is well. */
const PASS_TURNS = 4096;

export interface Sections {
  /**
   * For the holder of the token: takes turns before `until`, of which there is one.
   * @returns whether it is time for a safe point
   */
  advance(until: number): boolean;
  /** The next turn alone, whoever's it is. */
  takeNext(): void;
  /** For the others: whether this worker has a part in a section, and that. */
  isCalled(): boolean;
  help(): void;
}

/** The first instant at or after `ns` at which something happens that concerns several groups. While nobody takes turns. */
export function nextMeeting({ hv }: ProcessorCore, ns: number): number {
  const { pcpu, shape } = hv.context;
  const { ops } = hv.sched;
  let at = ops.accountingFrom?.(ns) ?? ops.nextAccounting(0);
  for (let p = 0; p < shape.pcpus; p++) {
    const calibrateAt = pcpu.calibrateAt(p);
    if (calibrateAt < at) at = calibrateAt;
  }
  return at;
}

export function sections(
  image: Image,
  core: ProcessorCore,
  bells: Doorbells,
  self: number,
  safe: SafePoint,
  spins: number,
): Sections {
  const { keys, turns, hv } = core;
  const { machine, floors, shape, me } = hv.context;
  const { runners } = shape;
  const control = image.table(CONTROL);
  const worker = image.table(WORKER);
  const LEFT = (image.region('control').base + CONTROL.offsets.sectionLeft) >> 2;
  const hasGroups = self < runners;
  // With more workers than cores a look only keeps the others from getting on.
  const looks = spins > 0 ? LOOKS : 0;
  /** Turns a nanosecond lately. A double in a variable would be boxed. */
  const density = new Float64Array([1]);

  function fail(p: number, ns: number): void {
    machine.setNow(me, ns);
    machine.setTurnOf(me, p);
    safe.fail(p, ns);
  }

  /** This worker's turns before `end`. */
  function takeOwn(end: number): void {
    for (let n = 1; ; n++) {
      const ns = keys.earliest();
      if (ns >= end) return;
      const p = keys.root();
      if (safe.hasFault) fail(p, ns);
      floors.setFloor(me, ns);
      turns.take(p);
      if (n % PASS_TURNS !== 0) continue;
      safe.pass();
      if (safe.isOver()) return;
    }
  }

  function callOthers(end: number): void {
    let called = 0;
    for (let w = 0; w < runners; w++) if (w !== self && keys.earliestOf(w) < end) called++;
    Atomics.store(image.i32, LEFT, called);
    control.setSectionEnd(0, end);
    for (let w = 0; w < runners; w++) {
      if (w === self || keys.earliestOf(w) >= end) continue;
      worker.setIsCalled(w, 1);
      bells.call(w);
    }
  }

  function awaitOthers(): void {
    for (let n = 0; ; n++) {
      const left = Atomics.load(image.i32, LEFT);
      if (left === 0 || safe.isOver()) return;
      if (n < looks) continue;
      // Whoever is called is watched itself; who waits for it is well.
      safe.pass();
      Atomics.wait(image.i32, LEFT, left, NAP_MS);
    }
  }

  function turnsSoFar(): number {
    let sum = 0;
    for (let w = 0; w < runners; w++) sum += machine.turns(w);
    return sum;
  }

  function latest(): number {
    let at = -Infinity;
    for (let w = 0; w < runners; w++) at = Math.max(at, floors.floor(w));
    return at;
  }

  function standAt(ns: number): void {
    for (let w = 0; w < runners; w++) floors.setFloor(w, ns);
  }

  function noteDensity(turns: number, fromNs: number, toNs: number): void {
    // After idle time not so long a section that a burst in it would take for ever.
    if (toNs > fromNs) density[0] = Math.max(turns / (toNs - fromNs), density[0]! / 2);
  }

  function takeNext(): void {
    const p = keys.least();
    const ns = keys.key(p);
    if (safe.hasFault) fail(p, ns);
    standAt(ns);
    turns.take(p);
    hv.sched.ops.settle?.();
  }

  /** All turns before `end`, side by side. */
  function together(end: number): void {
    callOthers(end);
    if (hasGroups) takeOwn(end);
    awaitOthers();
    if (safe.isOver()) return;
    // As in one order of turns: the machine stands at the last one.
    standAt(latest());
    hv.sched.ops.settle?.();
  }

  return {
    advance(until) {
      const from = keys.key(keys.least());
      const meeting = nextMeeting(core, from);
      if (meeting <= from) {
        takeNext();
        return false;
      }
      const end = Math.min(until, meeting, Math.ceil(from + SECTION_TURNS / density[0]!));
      if ((end - from) * density[0]! >= WORTH_TURNS) {
        const before = turnsSoFar();
        together(end);
        noteDensity(turnsSoFar() - before, from, end);
        return true;
      }
      let taken = 0;
      for (; taken < WORTH_TURNS && keys.key(keys.least()) < end; taken++) takeNext();
      noteDensity(taken, from, Math.min(end, keys.key(keys.least())));
      return true;
    },
    takeNext,
    isCalled: () => hasGroups && bells.isCalled(self),
    help() {
      bells.come(self);
      takeOwn(control.sectionEnd(0));
      worker.setIsCalled(self, 0);
      if (Atomics.sub(image.i32, LEFT, 1) === 1) Atomics.notify(image.i32, LEFT);
    },
  };
}
