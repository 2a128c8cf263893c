/** The observer of time: silent while clocks are kept, and heard about every mistake that can be injected. */
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { loadScenario } from '../../src/config/scenario.js';
import { TIME_FAULTS, type TimeFault } from '../../src/hv/context.js';
import { TIME_CHECKS, type TimeCheckName } from '../../src/hv/time-check.js';
import type { MachineConfig } from '../../src/machine/config.js';
import type { RunResult, TimeFindingResult, TimeResult } from '../../src/machine/result.js';
import { guest, hog, machineConfig, simulate } from '../support/in-process.js';

const exampleFile = (name: string): string => fileURLToPath(new URL(`../../../examples/${name}`, import.meta.url));
const { config: example } = loadScenario(exampleFile('check-time.yaml'), { checkTime: true });

/** Past the first calibration after boot, and the 10 ms that it may be late. */
const PAST_CALIBRATION_NS = 1.3e9;

function run(config: MachineConfig): RunResult {
  const simulation = simulate(config);
  simulation.run();
  return simulation.result();
}

function observe(over: Partial<MachineConfig>, config = example): TimeResult {
  const { time } = run({ ...config, ...over });
  if (time === undefined) throw new Error('the machine was not observed');
  return time;
}

const failed = ({ findings }: TimeResult): string[] =>
  findings.filter(({ violations }) => violations > 0).map(({ check }) => check);

function finding({ findings }: TimeResult, check: TimeCheckName): TimeFindingResult {
  const found = findings.find((f) => f.check === check);
  if (found === undefined) throw new Error(`no finding about ${check}`);
  return found;
}

interface Symptoms {
  /** What must be found: the mistake itself. */
  readonly must: readonly TimeCheckName[];
  /** What may follow from it, by the load. Nothing else may fail: an observer that cries at everything names nothing. */
  readonly may?: readonly TimeCheckName[];
  /** Size of the first violation of the first of `must`: at least, and less than. */
  readonly size?: readonly [least: number, below: number];
  /** @default 0.3e9 */
  readonly atNs?: number;
  /** @default 1e9 */
  readonly durationNs?: number;
}

/** Guests there read a wrong time, which then differs from the platform's, from the other pCPUs', and from what was read. */
const WRONG_CLOCK = ['clock-error', 'counter-skew', 'backward-step'] as const;
/** After the first calibration: until then the pages of all pCPUs carry the same counter, that of time 0. */
const AFTER_EPOCH = { atNs: 1.05e9, durationNs: 1.5e9 };

const SYMPTOMS: Readonly<Record<TimeFault, Symptoms>> = {
  // The counter jumps ahead by 1 ms: what is asked of it comes early.
  offset: { must: [...WRONG_CLOCK, 'timer-early'], may: ['frequency'], size: [0.99e6, 1.01e6] },
  // 100 ppm too fast: found at once by the scale, by the clock when it is L wrong.
  drift: { must: ['frequency', ...WRONG_CLOCK, 'timer-early'], size: [99, 101] },
  // A tenth too slow: 1 / 0.9 of what the page says, and timers wait for it.
  'frequency-step': {
    must: ['frequency', ...WRONG_CLOCK, 'timer-late'],
    may: ['timer-lost', 'wall-clock'],
    size: [111_000, 112_000],
  },
  'lost-update': { must: ['stale-page', ...WRONG_CLOCK], ...AFTER_EPOCH },
  // The clock is right; only what is stamped with it is not.
  'early-stamp': { must: ['runstate-sum'], size: [1, 5001] },
  // Behind its page a counter must be worth nothing; read as unsigned it is 2^64 cycles, centuries at 2.4 GHz.
  'unsigned-delta': { must: WRONG_CLOCK, may: ['timer-late', 'timer-lost', 'wall-clock'], size: [7e18, 8e18] },
  // 1 kHz of 2.4 GHz is 0.4 ppm, half of which is rounded away at most.
  'khz-rounding': { must: ['frequency'], size: [0.06, 0.21] },
  // At drawn rates a clock that was calibrated once stays within L for seconds: only the date tells.
  'late-calibration': { must: ['calibration-late'], durationNs: PAST_CALIBRATION_NS },
  'skipped-calibration': { must: ['calibration-late'], durationNs: PAST_CALIBRATION_NS },
  'torn-writer': { must: ['torn-read', ...WRONG_CLOCK], ...AFTER_EPOCH },
  // Whoever waits for it waits for ever.
  'lost-single-shot': { must: ['timer-lost'] },
  // Two ticks at one instant: a whole period too close.
  'past-periodic': { must: ['ticker-doubled'], size: [1, 10e6 + 1], durationNs: 3e9 },
  'late-ipi': { must: ['ipi-late'], size: [4.9e6, 5.1e6] },
};

describe('the observer of time', () => {
  describe('finds nothing wrong', () => {
    for (const calibration of ['rendezvous', 'local'] as const) {
      it(`with clocks that are synchronised and calibrated (${calibration}), and looks at every kind`, () => {
        const time = observe({ calibration, durationNs: PAST_CALIBRATION_NS });
        expect(failed(time)).to.deep.equal([]);
        expect(time).to.include({ ok: true, tscStable: true, warpCycles: 0 });
        expect(time.reads).to.be.above(100_000);
        expect(time.findings.map(({ check }) => check)).to.deep.equal([...TIME_CHECKS]);
        const unseen = time.findings.filter(({ observations }) => observations === 0).map(({ check }) => check);
        expect(unseen).to.deep.equal([]);
        // Not by luck far within bounds: drawn clocks do deviate, by some ns.
        expect(finding(time, 'clock-error').worst)
          .to.be.above(0)
          .and.below(time.latencyNs / 10);
        expect(time.clocks.map(({ calibrations }) => calibrations)).to.deep.equal(new Array(8).fill(3));
      });
    }

    for (const seed of [1, 2, 3, 4, 5]) {
      it(`with the clocks of seed ${seed}`, () => {
        expect(failed(observe({ seed, durationNs: 0.6e9 }))).to.deep.equal([]);
      });
    }

    it('on one pCPU, where no clock differs from another', () => {
      const { config } = loadScenario(exampleFile('check-time.yaml'), { checkTime: true, pcpus: 1 });
      expect(failed(observe({ durationNs: 0.3e9 }, config))).to.deep.equal([]);
    });
  });

  describe('finds', () => {
    for (const kind of TIME_FAULTS) {
      const { must, may = [], size, atNs = 0.3e9, durationNs = 1e9 } = SYMPTOMS[kind];
      it(`${kind} as ${must.join(', ')}`, () => {
        const time = observe({ durationNs, inject: { kind, pcpu: 7, atNs } });
        const found = failed(time);
        expect(found).to.include.members([...must]);
        expect([...must, ...may]).to.include.members(found);
        expect(time.ok).to.equal(false);
        const { first } = finding(time, must[0] ?? 'boot-skew');
        // A rounding is everybody's, and from boot on.
        if (kind !== 'khz-rounding') expect(first?.atNs).to.be.at.least(atNs);
        if (size !== undefined) expect(first?.size).to.be.within(...size);
      });
    }

    it('where it was: the page of a VCPU on the pCPU that did not write it', () => {
      const { must, ...when } = SYMPTOMS['lost-update'];
      const inject = { kind: 'lost-update', pcpu: 3, atNs: when.atNs ?? 0 } as const;
      const { first } = finding(observe({ durationNs: 1.3e9, inject }), must[0] ?? 'boot-skew');
      expect(first?.pcpu).to.equal(3);
      expect(first?.vcpu).to.be.within(
        0,
        example.guests.reduce((n, { vcpus }) => n + vcpus, 0),
      );
    });

    it('counters that nobody synchronised', () => {
      const time = observe({ synchronise: false, durationNs: 0.2e9 });
      // System time is kept by the platform clock, not by the counters: it is right all the same.
      expect(failed(time)).to.deep.equal(['boot-skew']);
      expect(time.tscStable).to.equal(false);
      expect(time.warpCycles).to.be.above(0);
      const starts = time.clocks.map(({ offsetNs }) => offsetNs);
      const apart = Math.max(...starts) - Math.min(...starts);
      // The two seconds since power-on at rates up to 50 ppm apart come on top of the starts.
      expect(finding(time, 'boot-skew').first?.size).to.be.closeTo(apart, 2.1e9 * 100e-6);
    });

    it('clocks that nobody calibrates, for they drift apart', () => {
      const time = observe({ calibration: 'off', durationNs: 0.2e9 });
      expect(failed(time)).to.include.members(['clock-error', 'counter-skew', 'frequency']);
      // Nothing is late that was never to come.
      expect(finding(time, 'calibration-late').observations).to.equal(0);
      expect(time.clocks.map(({ calibrations }) => calibrations)).to.deep.equal(new Array(8).fill(0));
    });

    // One hog on each of two pCPUs: seconds cost nothing. A calibration that is three seconds late does come.
    for (const pcpu of [0, 1]) {
      it(`the calibration that comes late from the one that never comes, on pCPU ${pcpu}`, () => {
        const calibrations = (kind: TimeFault): number | undefined => {
          const guests = [guest({ vcpus: 2, cpus: [[0], [1]], workload: hog() })];
          const config = machineConfig({ pcpus: 2, seed: 1, durationNs: 6.5e9, checkTime: true, guests });
          const time = observe({ inject: { kind, pcpu, atNs: 0.5e9 } }, config);
          // A hog reads its clock at ticks only; the clocks tell how often they were set.
          return time.clocks[pcpu]?.calibrations;
        };
        expect(calibrations('skipped-calibration')).to.equal(2);
        expect(calibrations('late-calibration')).to.be.within(3, 4);
      });
    }
  });

  it('changes nothing: equal hashes with and without it', () => {
    const faulty = { inject: { kind: 'drift', pcpu: 2, atNs: 0.1e9 } } as const;
    for (const over of [{}, faulty, { calibration: 'local' }, { calibration: 'off' }] as const) {
      const config: MachineConfig = { ...example, durationNs: 0.25e9, ...over };
      const observed = run(config);
      const alone = run({ ...config, checkTime: false });
      expect(alone.hash).to.equal(observed.hash);
      expect(alone.turns).to.equal(observed.turns);
      expect(alone.time).to.equal(undefined);
    }
    // The main job, too: other guests, other hypercalls.
    const { config } = loadScenario(exampleFile('fair-share.yaml'), { durationNs: 0.3e9 });
    expect(run({ ...config, checkTime: true }).hash).to.equal(run(config).hash);
  });
});
