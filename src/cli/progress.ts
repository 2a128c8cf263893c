/** A progress bar on stderr while a machine runs, only where somebody can see it. */
import { type Options, Presets, SingleBar } from 'cli-progress';
import { formatCount, formatDuration } from '../config/format.js';

export interface ProgressSource {
  progress(): { readonly simulatedNs: number; readonly events: number };
}

export interface ProgressStream extends NodeJS.WritableStream {
  readonly isTTY?: boolean;
}

/** Host ms between two looks at the machine. */
const REFRESH_MS = 100;

const BOUNDED = '{bar} {percentage} %  {simulated} of {horizon}  {events} events';
const UNBOUNDED = '{simulated} simulated  {events} events';

/** Erases the line the cursor is on (ECMA-48 CR, EL). */
const ERASE_LINE = '\r\u001b[K';

export class Progress {
  readonly #stream: ProgressStream;
  #bar: SingleBar | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(stream: ProgressStream) {
    this.#stream = stream;
  }

  /** `horizonNs` may be infinite: then there is nothing to fill. */
  start(source: ProgressSource, horizonNs: number): void {
    if (!this.#stream.isTTY) return;
    const bounded = Number.isFinite(horizonNs);
    const options: Options = {
      stream: this.#stream,
      format: bounded ? BOUNDED : UNBOUNDED,
      clearOnComplete: true,
      hideCursor: true,
      barsize: 30,
      // The bar would otherwise undo our signal handling by installing its own.
      gracefulExit: false,
    };
    const bar = new SingleBar(options, Presets.shades_classic);
    const state = (): { value: number; payload: Record<string, string> } => {
      const { simulatedNs, events } = source.progress();
      const payload = {
        simulated: formatDuration(simulatedNs),
        horizon: formatDuration(horizonNs),
        events: formatCount(events),
      };
      return { value: bounded ? Math.min(simulatedNs, horizonNs) : 0, payload };
    };
    const first = state();
    bar.start(bounded ? horizonNs : 1, first.value, first.payload);
    this.#bar = bar;
    this.#timer = setInterval(() => {
      const { value, payload } = state();
      bar.update(value, payload);
    }, REFRESH_MS);
    // A bar must not keep the process alive.
    this.#timer.unref();
  }

  /** Prints a line above the bar. */
  note(text: string): void {
    this.#stream.write(this.#bar ? `${ERASE_LINE}${text}\n` : `${text}\n`);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#bar?.stop();
    this.#bar = undefined;
  }
}
