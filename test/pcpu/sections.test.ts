/** Groups of pCPUs side by side, on the test's own thread: their turns are taken in any order that threads could take them in. */
import { expect } from 'chai';
import fc from 'fast-check';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { buildMachine } from '../../src/machine/build.js';
import { collect } from '../../src/machine/collect.js';
import type { MachineConfig } from '../../src/machine/config.js';
import type { RunResult } from '../../src/machine/result.js';
import { CONTROL, OUTCOME } from '../../src/pcpu/control-records.js';
import { processorCore } from '../../src/pcpu/processor.js';
import { nextMeeting } from '../../src/pcpu/sections.js';
import { essence, groupedMachine, threeGroups } from '../support/grouped.js';
import { simulate } from '../support/in-process.js';

interface Rules {
  readonly threads: number;
  /** From which the order of turns is drawn. */
  readonly seed: number;
  readonly meeting?: typeof nextMeeting;
  /** Most turns that a runner takes before another may. @default 20 */
  readonly burst?: number;
}

/** Runs a machine as its workers would, in a drawn order; also says how many sections there were. */
function sideBySide(
  config: MachineConfig,
  { threads, seed, meeting = nextMeeting, burst = 20 }: Rules,
): [RunResult, number] {
  const built = buildMachine({ ...config, threads: Math.min(threads, config.pcpus) }, 1);
  const { image, shape, params, core } = built;
  const { runners } = shape.hv;
  const cores = [core, ...Array.from({ length: runners - 1 }, (_, w) => processorCore(image, shape, params, w + 1))];
  const { machine, floors } = core.hv.context;
  const random = xoroshiro128plus(seed);
  let sections = 0;

  function standAt(ns: number): void {
    for (let w = 0; w < runners; w++) {
      floors.setFloor(w, ns);
      machine.setNow(w, ns);
    }
  }

  function take(w: number, p: number): void {
    floors.setFloor(w, cores[w]!.keys.key(p));
    cores[w]!.turns.take(p);
  }

  function section(end: number): void {
    sections++;
    for (;;) {
      const ready = cores.map((_, w) => w).filter((w) => core.keys.earliestOf(w) < end);
      if (ready.length === 0) break;
      const w = ready[uniformInt(random, 0, ready.length - 1)]!;
      for (let n = uniformInt(random, 1, burst); n > 0 && cores[w]!.keys.earliest() < end; n--)
        take(w, cores[w]!.keys.root());
    }
    standAt(Math.max(...cores.map((_, w) => floors.floor(w))));
  }

  for (;;) {
    const p = core.keys.least();
    const t = core.keys.key(p);
    if (t >= config.durationNs) {
      const idle = t === Infinity || !core.hv.time.isAnythingLeft();
      standAt(idle ? Math.max(...cores.map((_, w) => machine.worked(w))) : config.durationNs);
      image.table(CONTROL).setOutcome(0, idle ? OUTCOME.idle : OUTCOME.horizon);
      return [collect(built, config, { startMs: 0, runMs: 0 }), sections];
    }
    const end = Math.min(config.durationNs, meeting(core, t));
    if (runners > 1 && end > t) section(end);
    else {
      // Whoever has the machine to himself takes it, whoever's pCPU it is.
      take(uniformInt(random, 0, runners - 1), p);
    }
    core.hv.sched.ops.settle?.();
  }
}

function plain(config: MachineConfig): RunResult {
  const simulation = simulate(config);
  simulation.run();
  return simulation.result();
}

describe('groups of pCPUs', () => {
  it('give one result in whatever order their turns are taken between two meetings', function () {
    this.timeout(120_000);
    fc.assert(
      fc.property(groupedMachine, fc.integer({ min: 2, max: 4 }), fc.nat(), (config, threads, seed) => {
        expect(essence(sideBySide(config, { threads, seed })[0])).to.deep.equal(essence(plain(config)));
      }),
      { numRuns: 100, interruptAfterTimeLimit: 60_000 },
    );
  });

  it('give it when one is taken as far as it can be before the others', () => {
    const wanted = essence(plain(threeGroups()));
    for (const seed of [1, 2, 3]) {
      const [result, sections] = sideBySide(threeGroups(), { threads: 3, seed, burst: 1e9 });
      expect(essence(result)).to.deep.equal(wanted);
      expect(sections).to.be.greaterThan(5);
    }
  });

  it('give another where nobody waits for accounting', () => {
    const onlyTime: typeof nextMeeting = ({ hv }) =>
      Math.min(...Array.from({ length: 6 }, (_, p) => hv.context.pcpu.calibrateAt(p)));
    const { hash } = plain(threeGroups());
    expect(sideBySide(threeGroups(), { threads: 3, seed: 1 })[0].hash).to.equal(hash);
    expect(sideBySide(threeGroups(), { threads: 3, seed: 1, meeting: onlyTime })[0].hash).to.not.equal(hash);
  });

  it('give another where nobody waits for the messages that keep time', () => {
    // Long enough for a calibration, which moves system time and so a guest's timers.
    const config = threeGroups({ durationNs: 1.2e9, seed: 1 });
    const onlyAccounting: typeof nextMeeting = ({ hv }, ns) =>
      ns < 0 ? ns : (hv.sched.ops.accountingFrom?.(ns) ?? Infinity);
    const { hash } = plain(config);
    expect(sideBySide(config, { threads: 3, seed: 1 })[0].hash).to.equal(hash);
    expect(sideBySide(config, { threads: 3, seed: 1, meeting: onlyAccounting })[0].hash).to.not.equal(hash);
  });
});
