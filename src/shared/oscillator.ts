/**
 * Oscillators: what a pCPU's cycle counter (TSC) and the platform clock count as simulation time passes. Each has its own
 * start and its own rate, and may once step to others. A reading is a pure function of simulation time and these
 * records; nothing clamps it.
 *
 * Oscillator p < pcpus is pCPU p's counter, in cycles; oscillator `pcpus` is the platform clock, in ns.
 */
import type { Image, Region } from './image.js';
import { tableRegion } from './image.js';
import { struct } from './struct.js';

export const OSCILLATOR = struct(
  'oscillator',
  {
    /** Reading at simulation time 0, and counts per ns. Written at boot; the reading also by whoever sets the counter. */
    start: 'f64',
    rate: 'f64',
    /** From this simulation time on (Infinity = never) it reads `stepStart + (t - stepAt) * stepRate`. */
    stepAt: 'f64',
    stepStart: 'f64',
    stepRate: 'f64',
  },
  64,
);

export const oscillatorRegion = (pcpus: number): Region => tableRegion(OSCILLATOR, pcpus + 1);

export interface Oscillators {
  init(n: number, start: number, rate: number): void;
  /** Reading of oscillator n at simulation time `ns`, a whole number. */
  read(n: number, ns: number): number;
  /** First simulation time, ns, at which oscillator n reads at least `count`, but for a step that is still to come. */
  timeOf(n: number, count: number, ns: number): number;
  /** Moves the counter by `delta` counts (a write to the TSC). */
  advance(n: number, delta: number): void;
  /** From `atNs` on it has jumped by `jump` counts and runs at `rate`. */
  step(n: number, atNs: number, jump: number, rate: number): void;
}

export function oscillators(image: Image): Oscillators {
  const o = image.table(OSCILLATOR);

  function read(n: number, ns: number): number {
    const from = o.stepAt(n);
    if (ns < from) return Math.floor(o.start(n) + ns * o.rate(n));
    return Math.floor(o.stepStart(n) + (ns - from) * o.stepRate(n));
  }

  return {
    init(n, start, rate) {
      o.setStart(n, start);
      o.setRate(n, rate);
      o.setStepAt(n, Infinity);
    },
    read,
    timeOf(n, count, ns) {
      const from = o.stepAt(n);
      const isBefore = ns < from;
      const start = isBefore ? o.start(n) : o.stepStart(n);
      const rate = isBefore ? o.rate(n) : o.stepRate(n);
      const origin = isBefore ? 0 : from;
      // The division rounds: the answer is this or a little more, by the expression that reads.
      let t = Math.floor(origin + (count - start) / rate);
      // Past the integers of a double there is no next one; nothing gets there either.
      if (!(t < Number.MAX_SAFE_INTEGER)) return t;
      while (Math.floor(start + (t - origin) * rate) < count) t++;
      return t;
    },
    advance(n, delta) {
      o.setStart(n, o.start(n) + delta);
      o.setStepStart(n, o.stepStart(n) + delta);
    },
    step(n, atNs, jump, rate) {
      o.setStepStart(n, o.start(n) + atNs * o.rate(n) + jump);
      o.setStepRate(n, rate);
      o.setStepAt(n, atNs);
    },
  };
}
