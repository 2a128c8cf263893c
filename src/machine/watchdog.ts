/**
 * Watches that the holder of the token, or every worker that takes turns at the same time, passes safe points. It counts its own looks rather than trusting the clock alone,
 * so a main thread that was itself asleep does not accuse a worker.
 */
import { CONTROL, RUN, WORKER } from '../pcpu/control-records.js';
import type { BuiltMachine } from './build.js';

const LOOK_MS = 100;
/** Host ms without a safe point before the first warning. */
const WARN_MS = 1000;
/** Warnings of one stall, that long apart. */
const WARNINGS = 2;

export interface WatchdogActions {
  /** @param stalledMs host ms so far; at the first warning, and once more when it is no hiccup of the host */
  warn(text: string, stalledMs: number): void;
  stalled(worker: number, pcpu: number, text: string): void;
}

export class Watchdog {
  readonly #timer: NodeJS.Timeout;

  constructor({ image, core, shape, params }: BuiltMachine, stallLimitMs: number, actions: WatchdogActions) {
    const control = image.table(CONTROL);
    const worker = image.table(WORKER);
    const { machine } = core.hv.context;
    const isOrdered = params.hv.free === undefined;
    const { runners } = shape.hv;
    /** Whether worker w takes turns: all do in free mode, and in ordered mode who holds the token or was called by who does. */
    const takesTurns = (w: number): boolean => !isOrdered || control.holder(0) === w || worker.isCalled(w) !== 0;
    /** Watches whoever is to pass safe points, by a number that changes when one is passed. */
    const watch = (who: () => number): (() => void) => {
      let seen = -1;
      let since = 0;
      let warned = 0;
      return () => {
        const w = who();
        const mark = worker.safePoints(w) * 1024 + w;
        if (mark !== seen || control.state(0) !== RUN.running || !takesTurns(w)) {
          seen = mark;
          since = 0;
          warned = 0;
          return;
        }
        since += LOOK_MS;
        const pcpu = machine.turnOf(w < runners ? w : 0);
        const text = `worker ${w} has not passed a safe point for ${(since / 1000).toFixed(1)} s (pCPU ${pcpu})`;
        if (since >= stallLimitMs) actions.stalled(w, pcpu, text);
        else if (since >= WARN_MS * (warned + 1) && warned < WARNINGS) {
          warned++;
          actions.warn(text, since);
        }
      };
    };
    const watches =
      runners === 1
        ? [watch(() => control.holder(0))]
        : Array.from({ length: shape.workers }, (_, w) => watch(() => w));
    this.#timer = setInterval(() => {
      for (const look of watches) look();
    }, LOOK_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
