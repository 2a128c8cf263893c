/**
 * Ordered mode (docs/clocks.md): all interactions of all pCPUs in one order by (time, pCPU). Exactly one worker holds the
 * token; only it reads or writes hypervisor state. It takes the turn at the root of the key tree, whoever owns that
 * pCPU, and hands over after a batch. Nothing read from the image outlives a turn, so the result does not depend on who
 * holds the token when.
 *
 * Safe points lie between batches: there a worker serves its control channel, parks the token, paces itself.
 */
import { setTimeout as delay, setImmediate as immediate } from 'node:timers/promises';
import type { Doorbells } from '../shared/doorbell.js';
import type { Image } from '../shared/image.js';
import { CONTROL, OUTCOME, RUN, WORKER } from './control-records.js';
import type { RunParams } from './machine-shape.js';
import type { ProcessorCore } from './processor.js';

/** Turns between two safe points: about half a host millisecond; the cost of a handover is lost in it. */
const BATCH = 2048;
/** Simulated time between two safe points of a paced run, host ns. */
const PACE_STEP_NS = 5e6;
/** Longest sleep without a look around, host ms. */
const WATCH_MS = 500;
/** How long a worker that is stalled on purpose holds the turn, host ms. */
const STALL_MS = 2500;

export interface RunLoop {
  /** Runs until the machine is finished; the worker's one endless task. */
  run(): Promise<void>;
  /** Executes `command` when this worker holds the token (or nothing moves), in order. */
  withToken<T>(command: () => T): Promise<T>;
}

export function runLoop(image: Image, core: ProcessorCore, bells: Doorbells, self: number, params: RunParams): RunLoop {
  const { keys, turns, hv } = core;
  const { machine, pcpu } = hv.context;
  const control = image.table(CONTROL);
  const worker = image.table(WORKER);
  const base = image.region('control').base;
  const STATE = (base + CONTROL.offsets.state) >> 2;
  const WANTED = (base + CONTROL.offsets.wanted) >> 2;
  const workers = image.region('worker').count;
  const commands: (() => void)[] = [];
  const { horizonNs, pace } = params;
  // Faults of time-keeping are the hypervisor's business.
  let inject = ['throw', 'exit', 'stall', 'stalled-worker'].includes(params.inject?.kind ?? '')
    ? params.inject
    : undefined;
  let wakeParked: (() => void) | undefined;
  let pacedFrom: { host: number; sim: number } | undefined;

  const state = (): number => Atomics.load(image.i32, STATE);

  function finish(outcome: number): void {
    control.setOutcome(0, outcome);
    Atomics.store(image.i32, STATE, RUN.finished);
    for (let w = 0; w < workers; w++) if (w !== self) bells.ring(w);
  }

  /** A fault on purpose, to show how the machine reports one. */
  function fail(kind: string, p: number): void {
    if (kind === 'throw') throw new Error(`injected fault on pCPU ${p}`);
    if (kind === 'exit') process.exit(13);
    if (kind === 'stall') for (;;);
    // Long enough for the watchdog to notice, and then on.
    for (const until = performance.now() + STALL_MS; performance.now() < until; );
    inject = undefined;
  }

  /** A stall that passes is the owner's: whoever else takes the pCPU's turns would stall as well. */
  const isMine = (kind: string, p: number): boolean => kind !== 'stalled-worker' || pcpu.worker(p) === self;

  /** Takes up to `most` turns before `until`; returns whether the machine is done. */
  function batch(most: number, until: number): boolean {
    for (let n = 0; n < most; n++) {
      const p = keys.root();
      const t = keys.key(p);
      if (t >= until) {
        if (t < horizonNs && t !== Infinity) return false;
        const idle = t === Infinity || !hv.time.isAnythingLeft();
        const end = idle ? machine.worked(0) : horizonNs;
        machine.setNow(0, end);
        machine.setFloor(0, end);
        finish(idle ? OUTCOME.idle : OUTCOME.horizon);
        return true;
      }
      if (inject !== undefined && p === inject.pcpu && t >= inject.atNs && isMine(inject.kind, p)) {
        machine.setNow(0, t);
        machine.setTurnOf(0, p);
        fail(inject.kind, p);
      }
      // Before the turn: whoever may run ahead may do so up to here plus L.
      machine.setFloor(0, t);
      turns.take(p);
    }
    return false;
  }

  /** Comlink answers several promise hops deep, so one turn of the event loop is not enough. */
  async function serveMessages(): Promise<void> {
    bells.answer(self);
    for (let n = 0; n < 4; n++) await immediate();
  }

  function serveCommands(): void {
    for (let command = commands.shift(); command; command = commands.shift()) command();
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
    return pcpu.worker(keys.root());
  }

  /** The token rests here, the event loop runs, and so do commands, until one of them resumes or stops the machine. */
  async function park(): Promise<void> {
    for (let w = 0; w < workers; w++) if (w !== self) bells.ring(w);
    while (state() === RUN.paused) {
      worker.addSafePoints(self, 1);
      const rung = new Promise<void>((resolve) => {
        wakeParked = resolve;
      });
      await Promise.race([rung, delay(WATCH_MS)]);
      serveCommands();
    }
    pacedFrom = undefined;
  }

  /** Sleeps while simulation time is ahead of the host's; returns whether it has been caught up with. */
  async function keepPace(): Promise<boolean> {
    pacedFrom ??= { host: performance.now(), sim: machine.floor(0) };
    const from = pacedFrom;
    const key = Math.min(keys.key(keys.root()), horizonNs);
    const aheadMs = (): number => (key - from.sim) / 1e6 / pace - (performance.now() - from.host);
    const ahead = aheadMs();
    // Nothing left to do, ever: there is nothing to wait for either.
    if (ahead === Infinity) return true;
    if (ahead > 1) await delay(Math.min(ahead, WATCH_MS));
    return aheadMs() <= 1;
  }

  async function turnOfThisWorker(): Promise<void> {
    serveCommands();
    if (state() === RUN.finished) return;
    if (state() === RUN.paused) return park();
    if (pace > 0 && !(await keepPace())) return;
    const steps = control.stepsLeft(0);
    const most = steps < 0 ? BATCH : Math.min(BATCH, steps);
    const paceEnd = pace > 0 ? machine.floor(0) + PACE_STEP_NS * pace : Infinity;
    const before = machine.turns(0);
    if (batch(most, Math.min(horizonNs, control.pauseAt(0), Math.max(paceEnd, keys.key(keys.root()) + 1)))) return;
    if (steps >= 0) control.setStepsLeft(0, steps - (machine.turns(0) - before));
    if (control.stepsLeft(0) === 0 || keys.key(keys.root()) >= control.pauseAt(0)) {
      if (control.stepsLeft(0) !== 0) {
        machine.setNow(0, control.pauseAt(0));
        machine.setFloor(0, control.pauseAt(0));
      }
      control.setStepsLeft(0, -1);
      control.setPauseAt(0, Infinity);
      Atomics.store(image.i32, STATE, RUN.paused);
      return;
    }
    const next = successor();
    if (next !== self) {
      control.setHolder(0, next);
      bells.handOver(self, next);
    }
  }

  return {
    async run() {
      while (state() !== RUN.finished) {
        worker.addSafePoints(self, 1);
        if (bells.isRung(self)) await serveMessages();
        if (bells.hasToken(self)) await turnOfThisWorker();
        else if (commands.length > 0 && state() === RUN.paused) serveCommands();
        else {
          if (commands.length > 0) want();
          bells.await(self, params.spins, WATCH_MS);
        }
      }
      await serveMessages();
      serveCommands();
    },
    withToken(command) {
      return new Promise((resolve, reject) => {
        commands.push(() => {
          try {
            resolve(command());
          } catch (error) {
            reject(error);
          }
        });
        wakeParked?.();
      });
    },
  };
}
