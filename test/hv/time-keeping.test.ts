/** How cycle counters and system times of pCPUs are brought and kept together, with clocks that start and run apart. */
import { expect } from 'chai';
import fc from 'fast-check';
import { CPU_TIME, EPOCH_NS, PCPU, WALL_CLOCK } from '../../src/hv/records.js';
import type { MachineConfig } from '../../src/machine/config.js';
import { oscillators } from '../../src/shared/oscillator.js';
import { guest, hog, machineConfig, type Simulation, simulate } from '../support/in-process.js';

const CALIBRATIONS = ['rendezvous', 'local'] as const;

interface Spec {
  readonly seed: number;
  readonly pcpus: number;
  readonly cycleHz: number;
}

/** Counters that start up to a second apart, and like the platform clock run up to 50 ppm fast or slow. */
const drawn = fc.record({
  seed: fc.integer({ min: 1, max: 20 }),
  pcpus: fc.integer({ min: 1, max: 9 }),
  cycleHz: fc.oneof(fc.constantFrom(1e9, 2.4e9, 4e9), fc.integer({ min: 1_000_000_000, max: 4_000_000_000 })),
});

/** A hog on pCPU 0: all others are idle, and keep time all the same. */
const machineOf = (spec: Spec, over: Partial<MachineConfig> = {}): Simulation =>
  simulate(
    machineConfig({
      ...spec,
      durationNs: Infinity,
      debug: false,
      guests: [guest({ workload: hog(), cpus: [[0]] })],
      ...over,
    }),
  );

interface Clocks {
  /** All at simulation time `now`. */
  counters(): number[];
  systemTimes(): number[];
  platform(): number;
  readonly isStable: boolean;
  /** Largest step back of the boot's warp check, cycles. */
  readonly warp: number;
}

function clocksOf({ built }: Simulation): Clocks {
  const { image, shape, core } = built;
  const { now } = core.hv.context;
  const o = oscillators(image);
  const wall = image.table(WALL_CLOCK);
  const each = Array.from({ length: shape.hv.pcpus }, (_, p) => p);
  return {
    counters: () => each.map((p) => o.read(p, now())),
    systemTimes: () => each.map((p) => core.hv.time.systemTime(p)),
    platform: () => o.read(shape.hv.pcpus, now()),
    get isStable() {
      return wall.tscStable(0) === 1;
    },
    get warp() {
      return wall.warp(0);
    },
  };
}

const spread = (values: readonly number[]): number => Math.max(...values) - Math.min(...values);

/** The flags byte of the time page of the first VCPU. */
function pageFlags({ built }: Simulation): number {
  const { vcpu } = built.core.hv.context;
  return built.image.u8[vcpu.infoAddr(0) + 32 + 29]!;
}

describe('boot', () => {
  it('synchronises the counters to within L, and says so in the time pages', () => {
    fc.assert(
      fc.property(drawn, fc.constantFrom(...CALIBRATIONS, 'off'), (spec, calibration) => {
        const sim = machineOf(spec, { calibration });
        const { latencyNs: L } = sim.built.params.hv;
        const clocks = clocksOf(sim);
        sim.run(0);
        expect(sim.built.core.hv.context.now()).to.equal(0);
        expect(spread(clocks.counters()), 'cycles').to.be.at.most((L * spec.cycleHz) / 1e9);
        expect([clocks.isStable, clocks.warp]).to.deep.equal([true, 0]);
        sim.run(1e6);
        expect(pageFlags(sim)).to.equal(1);
      }),
      { numRuns: 60 },
    );
  });

  it('has counters apart to synchronise', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const sim = machineOf({ seed, pcpus: 4, cycleHz: 1e9 });
      expect(spread(clocksOf(sim).counters())).to.be.above(1e6);
    }
  });

  it('finds the warp of counters that nobody synchronised, and does not call them stable', () => {
    fc.assert(
      fc.property(drawn, fc.constantFrom(...CALIBRATIONS, 'off'), (spec, calibration) => {
        fc.pre(spec.pcpus > 1);
        const sim = machineOf(spec, { calibration, synchronise: false });
        const { latencyNs: L } = sim.built.params.hv;
        const clocks = clocksOf(sim);
        const apart = spread(clocks.counters());
        sim.run(1e6);
        expect(clocks.isStable).to.equal(false);
        expect(pageFlags(sim)).to.equal(0);
        // All that lies between two counters shows, but for what passes between two reads, and for their drift.
        const slack = ((spec.pcpus + 1) * L * spec.cycleHz) / 1e9 + 2 + apart * 1e-3;
        expect(clocks.warp).to.be.within(apart - slack, apart + slack);
      }),
      { numRuns: 60 },
    );
  });

  it('finds a warp of a few µs on the last pCPU, and none if it is less than what passes between two reads', () => {
    const exact = { seed: 0, pcpus: 4, cycleHz: 1e9 };
    const apart = (ns: number): Clocks => {
      const sim = machineOf(exact, { synchronise: false, tscOffsetsNs: [0, 0, 0, ns] });
      sim.run(1);
      return clocksOf(sim);
    };
    const L = 2000;
    expect(apart(-(L - 1)).isStable).to.equal(true);
    expect(apart(-(L + 5)).isStable).to.equal(false);
    expect(apart(-(L + 5)).warp).to.equal(5);
    // One that is ahead is seen by the next who reads.
    expect(apart(L + 5).warp).to.equal(5);
  });

  it('starts system time at 0, and the domains no sooner', () => {
    fc.assert(
      fc.property(drawn, fc.constantFrom(...CALIBRATIONS, 'off'), (spec, calibration) => {
        const sim = machineOf(spec, { calibration });
        const { latencyNs: L, cycleHz } = sim.built.params.hv;
        const { vcpu } = sim.built.core.hv.context;
        sim.run(0, () => expect(vcpu.runstate(0)).to.not.equal(0));
        sim.run(1);
        expect(vcpu.runstate(0)).to.equal(0);
        for (const system of clocksOf(sim).systemTimes()) expect(system).to.be.within(0, L + 1e9 / cycleHz + 2);
      }),
      { numRuns: 40 },
    );
  });
});

for (const calibration of CALIBRATIONS) {
  describe(`calibration: ${calibration}`, () => {
    it('keeps system times within L of each other and of the platform clock', () => {
      fc.assert(
        fc.property(drawn, (spec) => {
          const sim = machineOf(spec, { calibration });
          const { latencyNs: L } = sim.built.params.hv;
          const clocks = clocksOf(sim);
          // The first second is extrapolated from a frequency measured in 50 ms, the others from one of a second.
          for (const t of [0.5e9, 1.5e9, 2.999e9, 5e9, 5.5e9]) {
            sim.run(t);
            expect(spread([...clocks.systemTimes(), clocks.platform()]), `at ${t} ns`).to.be.at.most(L);
          }
        }),
        { numRuns: 40 },
      );
    });

    it('keeps them within L though the counters were never synchronised', () => {
      fc.assert(
        fc.property(drawn, (spec) => {
          const sim = machineOf(spec, { calibration, synchronise: false });
          const clocks = clocksOf(sim);
          sim.run(5e9);
          expect(spread([...clocks.systemTimes(), clocks.platform()])).to.be.at.most(sim.built.params.hv.latencyNs);
        }),
        { numRuns: 20 },
      );
    });

    it('never steps a system time back', () => {
      fc.assert(
        fc.property(drawn, (spec) => {
          const sim = machineOf(spec, { calibration });
          const { hv, keys } = sim.built.core;
          const { machine } = hv.context;
          const last = new Array<number>(spec.pcpus).fill(0);
          let turns = 0;
          const look = (ns: number): void => {
            for (let p = 0; p < spec.pcpus; p++) {
              const system = hv.time.systemTime(p);
              if (system < last[p]!) expect.fail(`system time of pCPU ${p} at ${ns} ns: ${system} after ${last[p]}`);
              last[p] = system;
            }
          };
          sim.run(4.1e9, (_, ns) => {
            // Time begins when every pCPU has ended its boot, at 0.
            if (ns <= 0) return;
            turns++;
            look(ns);
            // Right before the next turn, which may be a calibration.
            const next = keys.key(keys.root());
            machine.setNow(0, next);
            look(next);
            machine.setNow(0, ns);
          });
          expect(turns).to.be.above(300);
        }),
        { numRuns: 30 },
      );
    });

    it('calibrates every pCPU each second, idle ones too', () => {
      const sim = machineOf({ seed: 3, pcpus: 5, cycleHz: 3e9 }, { calibration });
      const cpu = sim.built.image.table(CPU_TIME);
      const { latencyNs: L } = sim.built.params.hv;
      sim.run(7.5e9);
      for (let p = 0; p < 5; p++) {
        // Two at boot.
        expect(cpu.calibrations(p), `pCPU ${p}`).to.equal(2 + 7);
        // The master's own, or the end of an exchange with it.
        const late = calibration === 'rendezvous' && p > 0 ? 3 * L : 0;
        expect(cpu.calibratedAt(p), `pCPU ${p}`).to.equal(7 * EPOCH_NS + late);
      }
    });

    it('finds the frequency of a counter that begins to drift, and takes back what it gained', () => {
      for (const pcpu of [0, 1]) {
        const sim = machineOf(
          { seed: 0, pcpus: 2, cycleHz: 2e9 },
          {
            calibration,
            inject: { kind: 'drift', pcpu, atNs: 1.5e9 },
          },
        );
        const clocks = clocksOf(sim);
        const offBy = (): number => clocks.systemTimes()[pcpu]! - clocks.platform();
        sim.run(1.99e9);
        // 100 ppm of half a second.
        expect(offBy(), `pCPU ${pcpu}`).to.be.within(48_900, 49_100);
        sim.run(6.5e9);
        expect(Math.abs(offBy()), `pCPU ${pcpu}`).to.be.at.most(sim.built.params.hv.latencyNs);
      }
    });
  });
}

describe('calibration: off', () => {
  it('lets system times leave L within two seconds', () => {
    let left = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const sim = machineOf({ seed, pcpus: 4, cycleHz: 2.4e9 }, { calibration: 'off' });
      const clocks = clocksOf(sim);
      const { latencyNs: L } = sim.built.params.hv;
      sim.run(1);
      expect(spread(clocks.systemTimes()), `seed ${seed}`).to.be.at.most(L);
      sim.run(2e9);
      if (spread(clocks.systemTimes()) > L) left++;
    }
    // Rates drawn within 50 ppm: four of them are hardly ever within 1.
    expect(left).to.equal(20);
  });

  it('lets them part by just what the rates differ', () => {
    const sim = machineOf({ seed: 0, pcpus: 3, cycleHz: 1e9 }, { calibration: 'off', tscDriftsPpm: [0, 30, -20] });
    sim.run(2e9);
    const [a, b, c] = clocksOf(sim).systemTimes();
    // The frequency is taken for the nominal one: 1 ns of rounding, and 1 cycle of synchronisation.
    expect(b! - a!).to.be.closeTo(60_000, 5);
    expect(c! - a!).to.be.closeTo(-40_000, 5);
  });

  it('takes no turns for it', () => {
    const sim = machineOf({ seed: 1, pcpus: 3, cycleHz: 1e9 }, { calibration: 'off' });
    sim.run(1e6);
    for (let p = 0; p < 3; p++) expect(sim.built.image.table(PCPU).calibrateAt(p)).to.equal(Infinity);
  });
});

describe('what a timer is set to', () => {
  it('is the first simulation time at which system time gets there, within a cycle and 2 ns', () => {
    fc.assert(
      fc.property(
        drawn,
        fc.integer({ min: 1_000_000, max: 4_000_000_000 }),
        fc.integer({ min: 0, max: 900_000_000 }),
        fc.constantFrom(...CALIBRATIONS, 'off'),
        (spec, at, ahead, calibration) => {
          const sim = machineOf(spec, { calibration });
          const { hv } = sim.built.core;
          const { machine } = hv.context;
          sim.run(at);
          const slack = Math.ceil(1e9 / spec.cycleHz) + 2;
          for (let p = 0; p < spec.pcpus; p++) {
            machine.setNow(0, at);
            const wanted = hv.time.systemTime(p) + ahead;
            const fires = hv.time.timerFor(p, wanted);
            expect(fires).to.be.at.least(at);
            /** System time at simulation time t, if there is no calibration before. */
            const systemAt = (t: number): number => {
              machine.setNow(0, t);
              return hv.time.systemTime(p);
            };
            expect(systemAt(fires + slack), `pCPU ${p} after ${fires}`).to.be.at.least(wanted);
            if (fires - slack > at) expect(systemAt(fires - slack), `pCPU ${p} before ${fires}`).to.be.below(wanted);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it('is now for a time that has passed', () => {
    const sim = machineOf({ seed: 5, pcpus: 2, cycleHz: 2e9 });
    sim.run(1.7e9);
    for (const system of [0, 1, 1.6e9]) expect(sim.built.core.hv.time.timerFor(1, system)).to.equal(1.7e9);
  });
});
