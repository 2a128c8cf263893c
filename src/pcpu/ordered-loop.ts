/**
 * Ordered mode (docs/clocks.md): all interactions of all pCPUs in one order by (time, pCPU). Exactly one worker holds the
 * token; only it reads or writes hypervisor state. It takes the turn at the root of the key tree, whoever owns that
 * pCPU, and hands over after a batch. Nothing read from the image outlives a turn, so the result does not depend on who
 * holds the token when. Where there are groups that have nothing to do with each other, the holder lets the others take
 * turns at the same time (sections.ts); between two batches it has the machine to itself all the same.
 *
 * Safe points lie between batches: there a worker serves its control channel, parks the token, paces itself.
 */
import type { Doorbells } from '../shared/doorbell.js';
import type { Image } from '../shared/image.js';
import { CONTROL, OUTCOME, RUN, WORKER } from './control-records.js';
import type { RunParams } from './machine-shape.js';
import type { ProcessorCore } from './processor.js';
import { NEXT } from './run-ahead.js';
import { NAP_MS, type SafePoint, WATCH_MS } from './safe-point.js';
import { type Sections, sections } from './sections.js';

/** Turns between two safe points: some host milliseconds; the cost of a handover is lost in it. */
const BATCH = 2048;
/** Turns between two looks at whether somebody outside waits for a safe point: some hundred host microseconds. */
const LOOK_TURNS = 64;
/** Simulated time between two safe points of a paced run, host ns. */
const PACE_STEP_NS = 5e6;

/** How much longer a worker spins that will be called to the next section: others' groups may have more to do in this one. */
const SECTION_PATIENCE = 5;

/** How long a worker sleeps that found no guest to run, host ms. */
const HELP_MS = 1;

export interface RunLoop {
  /** Runs until the machine is finished; the worker's one endless task. */
  run(): Promise<void>;
}

export function orderedLoop(
  image: Image,
  core: ProcessorCore,
  bells: Doorbells,
  self: number,
  params: RunParams,
  safe: SafePoint,
): RunLoop {
  const { keys, turns, hv, ahead } = core;
  const { machine, floors, pcpu, shape } = hv.context;
  const groups = shape.runners > 1 ? sections(image, core, bells, self, safe, params.spins) : undefined;
  const control = image.table(CONTROL);
  const worker = image.table(WORKER);
  const WANTED = (image.region('control').base + CONTROL.offsets.wanted) >> 2;
  const workers = image.region('worker').count;
  const { horizonNs, pace } = params;
  const spins = groups === undefined ? params.spins : params.spins * SECTION_PATIENCE;

  /** The next turn is at t, which is not before the end of the batch: whether the machine is done. */
  function isDone(t: number): boolean {
    if (t < horizonNs && t !== Infinity) return false;
    // Somebody outside may let go what he holds.
    const isHeldBack = hv.sched.isHeldBack();
    if (isHeldBack && horizonNs === Infinity) return false;
    const idle = !isHeldBack && (t === Infinity || !hv.time.isAnythingLeft());
    let worked = machine.worked(0);
    for (let w = 1; w < shape.runners; w++) worked = Math.max(worked, machine.worked(w));
    const end = idle ? worked : horizonNs;
    for (let w = 0; w < shape.runners; w++) machine.setNow(w, end);
    standAt(end);
    safe.finish(idle ? OUTCOME.idle : OUTCOME.horizon);
    return true;
  }

  function standAt(ns: number): void {
    for (let w = 0; w < shape.runners; w++) floors.setFloor(w, ns);
  }

  /**
   * Takes up to `most` turns before `until`; returns how many, or -1 when the machine is done.
   * @param isStep whether turns are counted: then guests are run no further than the next one
   */
  function batch(most: number, until: number, isStep = false): number {
    let taken = 0;
    for (let n = 1; taken < most && n <= BATCH; n++) {
      if (n % LOOK_TURNS === 0) {
        safe.pass();
        if (isAsked()) break;
      }
      if (ahead?.isAny() === true) {
        const next = ahead.advance(until, isStep ? Math.min(until, keys.key(keys.root())) : until);
        if (next === NEXT.level) return isDone(until) ? -1 : taken;
        if (next === NEXT.wait) ahead.wait(() => bells.isRung(self));
        if (next !== NEXT.turn) continue;
      }
      const p = keys.root();
      const t = keys.key(p);
      if (t >= until) return isDone(t) ? -1 : taken;
      if (safe.hasFault) {
        machine.setNow(0, t);
        machine.setTurnOf(0, p);
        safe.fail(p, t);
      }
      floors.setFloor(0, t);
      turns.take(p);
      taken++;
    }
    return taken;
  }

  /** All turns and guests up to where any guest may have been run already: so far the machine is at one time. */
  function level(): void {
    const until = ahead?.furthest() ?? -Infinity;
    if (until <= floors.floor(0)) return;
    while (!safe.isOver() && !(keys.key(keys.root()) >= until && ahead!.isUpTo(until))) batch(BATCH, until);
    standAt(until);
  }

  /** Whether there is a message for this worker, or another one has a command. */
  function isAsked(): boolean {
    return bells.isRung(self) || Atomics.load(image.i32, WANTED) > 0;
  }

  /** The same where groups take turns side by side. @param isStep whether the turns are counted: then one after the other */
  function batchOfGroups(side: Sections, most: number, until: number, isStep: boolean): number {
    for (let n = 0; n < most; n++) {
      const t = keys.key(keys.least());
      if (t >= until) return isDone(t) ? -1 : n;
      if (isStep) side.takeNext();
      else if (side.advance(until)) return n;
    }
    return most;
  }

  async function serveCommands(): Promise<void> {
    await safe.serveCommands();
    if (worker.wants(self) !== 0) {
      worker.setWants(self, 0);
      Atomics.sub(image.i32, WANTED, 1);
    }
  }

  function want(): void {
    if (worker.wants(self) !== 0) return;
    worker.setWants(self, 1);
    Atomics.add(image.i32, WANTED, 1);
  }

  /** Who gets the token: a worker with a command, else the owner of the next turn. */
  function successor(): number {
    if (Atomics.load(image.i32, WANTED) > 0) {
      for (let k = 1; k < workers; k++) {
        const w = (self + k) % workers;
        if (worker.wants(w) !== 0) return w;
      }
    }
    // Whoever has it runs guests besides.
    if (ahead?.isAny() === true) return self;
    // One with groups of its own, as it would be called otherwise.
    return groups !== undefined && self < shape.runners ? self : pcpu.worker(keys.least());
  }

  async function turnOfThisWorker(): Promise<void> {
    await serveCommands();
    if (safe.isOver()) return;
    if (safe.state() === RUN.paused) {
      await safe.park();
      await serveCommands();
      return;
    }
    const aheadMs = safe.aheadMs(Math.min(keys.key(keys.least()), horizonNs), floors.floor(0));
    if (aheadMs > 0) {
      await safe.rest(Math.min(aheadMs, NAP_MS));
      return;
    }
    const steps = control.stepsLeft(0);
    const most = steps < 0 ? BATCH : Math.min(BATCH, steps);
    const paceEnd = pace > 0 ? floors.floor(0) + PACE_STEP_NS * pace : Infinity;
    const until = Math.min(horizonNs, control.pauseAt(0), Math.max(paceEnd, keys.key(keys.least()) + 1));
    const taken =
      groups === undefined ? batch(most, until, steps >= 0) : batchOfGroups(groups, most, until, steps >= 0);
    if (taken < 0) return;
    if (steps >= 0) control.setStepsLeft(0, steps - taken);
    const next = keys.key(keys.least());
    const isUp = ahead?.isUpTo(control.pauseAt(0)) !== false;
    if (next === Infinity && isUp && control.pauseAt(0) === Infinity) {
      // Everything that could happen is held back from outside.
      await safe.rest(1);
      return;
    }
    if (control.stepsLeft(0) === 0 || (next >= control.pauseAt(0) && isUp)) {
      level();
      if (control.stepsLeft(0) !== 0) {
        for (let w = 0; w < shape.runners; w++) machine.setNow(w, control.pauseAt(0));
        standAt(control.pauseAt(0));
      }
      control.setStepsLeft(0, -1);
      control.setPauseAt(0, Infinity);
      safe.setState(RUN.paused);
      return;
    }
    const to = successor();
    if (to !== self) {
      control.setHolder(0, to);
      bells.handOver(self, to);
    }
  }

  // Commands come at the time at which the machine as a whole stands. While it is paused it stands there already.
  safe.onCommands = () => {
    if (bells.hasToken(self)) level();
  };

  return {
    async run() {
      while (!safe.isOver()) {
        safe.pass();
        if (bells.isRung(self)) await safe.serveMessages();
        if (bells.hasToken(self)) await turnOfThisWorker();
        else if (groups?.isCalled() === true) groups.help();
        else if (safe.hasCommands() && safe.state() === RUN.paused) await serveCommands();
        else {
          if (safe.hasCommands()) want();
          if (ahead?.isAny() !== true) bells.await(self, spins, WATCH_MS);
          else if (!ahead.help()) bells.doze(self, HELP_MS, () => !ahead.canHelp());
        }
      }
      await safe.serveMessages();
      await serveCommands();
    },
  };
}
