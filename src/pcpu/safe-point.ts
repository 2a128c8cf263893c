/**
 * What a worker does between two batches of turns, in either mode: it serves its control channel, executes the commands that
 * came over it, rests while the machine is paused, and keeps pace with the host's clock.
 */
import { setTimeout as delay, setImmediate as immediate } from 'node:timers/promises';
import type { Doorbells } from '../shared/doorbell.js';
import type { Image } from '../shared/image.js';
import { CONTROL, RUN, WORKER } from './control-records.js';
import type { RunParams } from './machine-shape.js';

/** Longest sleep without a look around, host ms. */
export const WATCH_MS = 500;
/** The same of a worker ahead of the host's clock: others may want something of it, host ms. */
export const NAP_MS = 10;
/** How long a worker that is stalled on purpose holds the turn, host ms. */
const STALL_MS = 2500;

export interface SafePoint {
  /** One of RUN. */
  state(): number;
  isOver(): boolean;
  setState(state: number): void;
  /** Ends the run with this outcome; true for the one worker that did. */
  finish(outcome: number): boolean;
  /** Says that this worker is well. */
  pass(): void;
  serveMessages(): Promise<void>;
  hasCommands(): boolean;
  /** Executes the commands that wait here, in order, and sends the answers. */
  serveCommands(): Promise<void>;
  /** Called before commands are executed. */
  onCommands: () => void;
  /** Queues a command for `serveCommands`. */
  queue<T>(command: () => T): Promise<T>;
  /** Rests while the machine is paused, executing commands, until one of them resumes or stops it. */
  park(): Promise<void>;
  /** Waits so long, host ms, or until there is a command. */
  rest(ms: number): Promise<void>;
  /** Host ms until simulation time `key` may be taken; 0 = now. `floor` is where simulation time stands. */
  aheadMs(key: number, floor: number): number;
  /** Commits the fault that is to be committed on pCPU p at simulation time t, if any. */
  fail(p: number, t: number): void;
  readonly hasFault: boolean;
}

/** @param isOwner whether pCPU p is this worker's */
export function safePoint(
  image: Image,
  bells: Doorbells,
  self: number,
  params: RunParams,
  isOwner: (p: number) => boolean,
): SafePoint {
  const control = image.table(CONTROL);
  const worker = image.table(WORKER);
  const STATE = (image.region('control').base + CONTROL.offsets.state) >> 2;
  const parked = image.column(WORKER, 'parked');
  const PARKED = parked.base + (self << parked.shift);
  const workers = image.region('worker').count;
  const commands: (() => void)[] = [];
  const { pace } = params;
  // Faults of time-keeping are the hypervisor's business.
  let inject = ['throw', 'exit', 'stall', 'stalled-worker'].includes(params.inject?.kind ?? '')
    ? params.inject
    : undefined;
  let wakeParked: (() => void) | undefined;
  let pacedFrom: { host: number; sim: number } | undefined;

  const state = (): number => Atomics.load(image.i32, STATE);

  function execute(): void {
    if (commands.length > 0) safe.onCommands();
    for (let command = commands.shift(); command; command = commands.shift()) command();
  }

  const safe: SafePoint = {
    onCommands: () => {},
    state,
    isOver: () => state() >= RUN.finished,
    setState(next) {
      Atomics.store(image.i32, STATE, next);
    },
    finish(outcome) {
      // A fault that was there first stays; of several workers that see the end one says so.
      if (Atomics.compareExchange(image.i32, STATE, RUN.running, RUN.finished) !== RUN.running) return false;
      control.setOutcome(0, outcome);
      for (let w = 0; w < workers; w++) if (w !== self) bells.ring(w);
      return true;
    },
    pass: () => worker.addSafePoints(self, 1),
    async serveMessages() {
      bells.answer(self);
      // Comlink answers several promise hops deep, so one turn of the event loop is not enough.
      for (let n = 0; n < 4; n++) await immediate();
    },
    hasCommands: () => commands.length > 0,
    async serveCommands() {
      if (commands.length === 0) return;
      execute();
      // Not after the next batch of turns: who waits for an answer has more to ask.
      await safe.serveMessages();
    },
    queue(command) {
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
    async rest(ms) {
      if (commands.length > 0) return;
      const over = new AbortController();
      const rung = new Promise<void>((resolve) => {
        wakeParked = resolve;
      });
      await Promise.race([rung, delay(ms, undefined, { signal: over.signal }).catch(() => undefined)]);
      over.abort();
    },
    async park() {
      for (let w = 0; w < workers; w++) if (w !== self) bells.ring(w);
      Atomics.store(image.i32, PARKED, 1);
      while (state() === RUN.paused) {
        worker.addSafePoints(self, 1);
        const rung = new Promise<void>((resolve) => {
          wakeParked = resolve;
        });
        await Promise.race([rung, delay(WATCH_MS)]);
        execute();
      }
      Atomics.store(image.i32, PARKED, 0);
      pacedFrom = undefined;
    },
    aheadMs(key, floor) {
      if (pace === 0) return 0;
      pacedFrom ??= { host: performance.now(), sim: floor };
      const ahead = (key - pacedFrom.sim) / 1e6 / pace - (performance.now() - pacedFrom.host);
      // Nothing left to do, ever: there is nothing to wait for either.
      return ahead === Infinity || ahead <= 1 ? 0 : ahead;
    },
    /** A fault on purpose, to show how the machine reports one. */
    fail(p, t) {
      if (inject === undefined || p !== inject.pcpu || t < inject.atNs) return;
      const { kind } = inject;
      // A stall that passes is the owner's: whoever else takes the pCPU's turns would stall as well.
      if (kind === 'stalled-worker' && !isOwner(p)) return;
      if (kind === 'throw') throw new Error(`injected fault on pCPU ${p}`);
      if (kind === 'exit') process.exit(13);
      if (kind === 'stall') for (;;);
      // Long enough for the watchdog to notice, and then on.
      for (const until = performance.now() + STALL_MS; performance.now() < until; );
      inject = undefined;
    },
    hasFault: inject !== undefined,
  };
  return safe;
}
