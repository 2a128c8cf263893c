import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { loadScenario } from '../../src/config/scenario.js';
import { RUNS_EDF, RUNS_PEN, RUNS_UTIL, SEDF_PCPU, SEDF_VCPU } from '../../src/hv/sched/sedf-records.js';
import { findConfigProblem } from '../../src/machine/check-config.js';
import type { GuestConfig, MachineConfig, SedfConfig } from '../../src/machine/config.js';
import type { RunResult } from '../../src/machine/result.js';
import { sedfOf } from '../../src/machine/sedf-defaults.js';
import { SCHEDOP_yield } from '../../src/shared/public/sched.js';
import { RUNSTATE_running } from '../../src/shared/public/vcpu.js';
import { __HYPERVISOR_sched_op } from '../../src/shared/public/xen.js';
import { ConfigError } from '../../src/workload/config-error.js';
import { guest, hog, machineConfig, simulate, workload } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';
import { invariants } from './invariants.js';
import { probe } from './probe.js';

const MS = 1e6;

const sedfMachine = (guests: readonly GuestConfig[], over: Partial<MachineConfig> = {}): MachineConfig =>
  machineConfig({ scheduler: 'sedf', guests, ...over });

/** A domain that computes for ever. */
const busy = (name: string, sedf?: SedfConfig, over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({ name, workload: hog(), sedf, ...over });

/** `slice` of `period`, ms. */
const slice = (sliceMs: number, periodMs: number, more: SedfConfig = {}): SedfConfig => ({
  sliceNs: sliceMs * MS,
  periodNs: periodMs * MS,
  ...more,
});

/** Runs a machine, looks at all its records after every turn, and returns the share of each domain. */
function shares(guests: readonly GuestConfig[], over: Partial<MachineConfig> = {}): number[] {
  const sim = simulate(sedfMachine(guests, over));
  const { check } = invariants(sim);
  sim.run(undefined, check);
  return sim.result().domains.map(({ share }) => share);
}

function expectShares(found: readonly number[], wanted: readonly number[], within: number): void {
  expect(found).to.have.length(wanted.length);
  for (const [n, share] of wanted.entries()) expect(found[n], `domain ${n}`).to.be.closeTo(share, within);
}

describe('slices', () => {
  it('are given by time and by weight: 30 %, and 2:7:3 of 65 ms', () => {
    const weights = [2, 7, 3].map((weight) => busy(`w${weight}`, { weight }));
    const found = shares([busy('fixed', slice(3, 10)), ...weights], { durationNs: 3e9 });
    expectShares(found, [0.3, (0.65 * 2) / 12, (0.65 * 7) / 12, (0.65 * 3) / 12], 0.005);
  });

  it('are a hard limit where no extra time is asked for, though the pCPU idles', () => {
    expectShares(shares([busy('a', slice(2, 10)), busy('b', slice(25, 100))], { durationNs: 2e9 }), [0.2, 0.25], 0.01);
  });

  it('can use up all of a pCPU', () => {
    const found = shares([busy('a', slice(1, 2)), busy('b', slice(5, 20)), busy('c', slice(25, 100))]);
    expectShares(found, [0.5, 0.25, 0.25], 0.02);
  });

  it('are computed by weight for each pCPU by itself', () => {
    const on = (cpus: readonly number[]) => ({ cpus: [cpus] });
    const found = shares(
      [
        busy('a', { weight: 1 }, on([0])),
        busy('b', { weight: 3 }, on([0])),
        busy('c', { weight: 1 }, on([1])),
        busy('d', slice(50, 100), on([1])),
      ],
      { pcpus: 2, durationNs: 2e9 },
    );
    expectShares(found, [0.95 / 4, (0.95 * 3) / 4, 0.45, 0.5], 0.01);
  });

  it('by weight grow when another domain ends', () => {
    const short = guest({ name: 'short', workload: workload({ t: { loop: 1, run: 100_000 } }), sedf: { weight: 1 } });
    const sim = simulate(sedfMachine([short, busy('long', { weight: 1 })], { durationNs: 2e9 }));
    const sv = sim.built.image.table(SEDF_VCPU);
    sim.run(150e6);
    expect([sv.slice(0), sv.slice(1)]).to.deep.equal([47.5 * MS, 47.5 * MS]);
    sim.run(1e9);
    expect(sv.slice(1)).to.equal(95 * MS);
  });

  it('that were run over are shorter the next time', () => {
    const sim = simulate(sedfMachine([busy('a', slice(10, 50))]));
    const sv = sim.built.image.table(SEDF_VCPU);
    const { timeIn } = sim.built.core.hv.runstates;
    sim.run(5 * MS);
    // As if it had held its pCPU for 4 ms more: waits for locks do that.
    sv.addCputime(0, 9 * MS);
    sim.run(45 * MS);
    const over = sv.cputime(0);
    expect(over).to.be.above(0);
    const before = timeIn(0, RUNSTATE_running);
    sim.run(95 * MS);
    expect(timeIn(0, RUNSTATE_running) - before).to.equal(10 * MS - over);
  });

  it('go to the earliest deadline, whose period may begin in the middle of another slice', () => {
    // Rate and deadline are opposed: the long slice is cut at each beginning of a short period.
    const sim = simulate(sedfMachine([busy('long', slice(50, 100)), busy('short', slice(2, 5))]));
    const { pcpu } = sim.built.core.hv.context;
    const sv = sim.built.image.table(SEDF_VCPU);
    let late = 0;
    sim.run(undefined, (_, ns) => {
      const current = pcpu.current(0);
      const other = 1 - current;
      if (ns < 20 * MS || current > 1 || !sim.built.core.hv.context.queues.isQueued(other)) return;
      const hasBegun = sv.deadline(other) - sv.period(other) < ns;
      if (hasBegun && sv.deadline(other) < sv.deadline(current)) late++;
    });
    expect(late).to.equal(0);
  });
});

describe('extra time', () => {
  it('is shared equally by domains that say nothing', () => {
    expectShares(shares(['a', 'b', 'c'].map((name) => busy(name))), [1 / 3, 1 / 3, 1 / 3], 0.01);
  });

  it('is shared by weight, after the slices', () => {
    const extra = (weight: number) => busy(`w${weight}`, { extratime: true, weight });
    const found = shares([busy('fixed', slice(4, 10)), extra(1), extra(2), extra(3)], { durationNs: 2e9 });
    expectShares(found, [0.4, 0.1, 0.2, 0.3], 0.01);
  });

  it('is given to slices in proportion to them', () => {
    const more = { extratime: true };
    const found = shares([busy('a', slice(1, 10, more)), busy('b', slice(3, 10, more))], { durationNs: 2e9 });
    expectShares(found, [0.25, 0.75], 0.02);
  });

  it('is given only when a quantum is left before the next period', () => {
    // 0.4 ms are never enough.
    expectShares(shares([busy('a', { periodNs: 1e6, sliceNs: 600e3 }), busy('b')]), [0.6, 0], 0.01);
    // Of 4.3 ms the last 0.3 are not.
    const [, extra] = shares([busy('a', { periodNs: 10e6, sliceNs: 5.7e6 }), busy('b')], { durationNs: 2e9 });
    expect(extra).to.be.closeTo(0.4, 0.005);
  });

  it('is shared equally with domain 0, which has three quarters of a pCPU before', () => {
    const found = shares([busy('dom0', undefined, { privileged: true }), busy('a')], { durationNs: 2e9 });
    expectShares(found, [0.75 + 0.125, 0.125], 0.02);
  });

  it('ends with a yield, a slice does not', () => {
    const p = probe(sedfMachine([busy('a'), busy('b')]));
    const { pcpu } = p.context;
    const first = pcpu.current(0);
    p.call(first, __HYPERVISOR_sched_op, SCHEDOP_yield);
    p.run(p.now + 2);
    expect(pcpu.current(0)).to.equal(1 - first);
    const q = probe(sedfMachine([busy('a', slice(50, 100)), busy('b')]));
    q.call(0, __HYPERVISOR_sched_op, SCHEDOP_yield);
    q.run(q.now + 2);
    expect(q.context.pcpu.current(0)).to.equal(0);
  });
});

describe('a VCPU that blocked', () => {
  /** A domain with 40 ms of 100 ms, which blocks at `blockMs`, and one in extra time. */
  function blocked(blockMs: number, more: SedfConfig = {}) {
    const p = probe(sedfMachine([busy('a', slice(40, 100, more)), busy('b')]));
    const { image, vcpu, pcpu } = p.context;
    const { check } = invariants(p.sim);
    const sv = image.table(SEDF_VCPU);
    const sp = image.table(SEDF_PCPU);
    const inTurn = (act: () => void): void => {
      p.hv.smp.enterTurn(0);
      act();
      p.sim.built.core.keys.set(0, p.now + 1);
      p.run(p.now + 2);
    };
    // Nothing but the test wakes it.
    vcpu.setPeriodicPeriod(0, 0);
    pcpu.setPeriodicAt(0, Infinity);
    p.run(blockMs * MS);
    while (pcpu.current(0) !== 0) p.run(p.now + 100_000);
    inTurn(() => {
      p.hv.sched.block(0);
      p.hv.smp.raiseSchedule(0);
    });
    expect([pcpu.current(0), p.isBlocked(0)]).to.deep.equal([1, true]);
    check();
    return {
      p,
      sv,
      sp,
      /** Wakes it, and takes the turn that comes of it. */
      wakeAt(ms: number): void {
        p.run(ms * MS);
        inTurn(() => p.hv.sched.unblock(0));
        check();
      },
      /** ns it ran so far. */
      ran: (): number => p.hv.runstates.timeIn(0, RUNSTATE_running),
    };
  }

  it('for a short time loses its period and is compensated before others get extra time', () => {
    const { p, sv, sp, wakeAt, ran } = blocked(10);
    const [deadline, used] = [sv.deadline(0), sv.cputime(0)];
    expect(used).to.be.closeTo(10 * MS, 0.1 * MS);
    wakeAt(30);
    expect(sv.deadline(0)).to.equal(deadline + 100 * MS);
    expect(sv.penalty(0)).to.equal(40 * MS - used);
    expect(sv.penaltyScore(0)).to.equal(Math.floor((100 * MS * 1024) / (40 * MS - used)));
    expect([p.isRunning(0), sp.runsAs(0), sv.cputime(0)]).to.deep.equal([true, RUNS_PEN, 0]);
    // All of it, and no more until the next period begins.
    p.run(90 * MS);
    expect([ran(), sv.penalty(0), p.isRunning(0)]).to.deep.equal([40 * MS, 0, false]);
    p.run(deadline + 39 * MS);
    expect([p.isRunning(0), sp.runsAs(0)]).to.deep.equal([true, RUNS_EDF]);
  });

  it('for a long time begins a period when it wakes', () => {
    const { p, sv, sp, wakeAt } = blocked(10);
    wakeAt(130);
    expect(sv.deadline(0)).to.be.closeTo(230 * MS, 3);
    expect([p.isRunning(0), sp.runsAs(0)]).to.deep.equal([true, RUNS_EDF]);
    expect([sv.cputime(0), sv.penalty(0)]).to.deep.equal([0, 0]);
  });

  it('in extra time goes on in extra time until its period begins', () => {
    const { p, sv, sp, wakeAt, ran } = blocked(60, { extratime: true });
    const deadline = sv.deadline(0);
    const before = ran();
    wakeAt(80);
    expect([sv.deadline(0), sv.penalty(0), sv.waits(0)]).to.deep.equal([deadline, 0, 1]);
    expect(sp.runsAs(0)).to.equal(RUNS_UTIL);
    // Two fifths of a pCPU against a weight of 1, of which 128 are a whole.
    p.run(95 * MS);
    expect(ran() - before).to.be.within(14 * MS, 15 * MS);
    p.run(101 * MS);
    expect([p.isRunning(0), sp.runsAs(0)]).to.deep.equal([true, RUNS_EDF]);
  });

  it('again and again takes nothing of what others are promised', () => {
    const rogue = workload({ t: { loop: -1, run: 1_500, sleep: 700 } });
    const found = shares([guest({ name: 'rogue', workload: rogue, sedf: slice(5, 10) }), busy('a', slice(5, 10))]);
    expect(found[0]).to.be.at.most(0.501);
    expect(found[1]).to.be.closeTo(0.5, 0.01);
  });
});

describe('VCPUs under SEDF', () => {
  it('stay on their pCPU, and move when they may not use it any more', () => {
    const sim = simulate(sedfMachine([busy('a', { weight: 1 }), busy('b', { weight: 1 })], { pcpus: 3 }));
    const { hv } = sim.built.core;
    const { check } = invariants(sim);
    const sv = sim.built.image.table(SEDF_VCPU);
    sim.run(300 * MS, check);
    expect(sim.result().domains.map(({ migrations }) => migrations)).to.deep.equal([0, 0]);
    expect([sv.slice(0), sv.slice(1)]).to.deep.equal([95 * MS, 95 * MS]);
    sim.built.core.turns.interact(0, () => hv.sched.setAffinity(0, [1]));
    sim.run(600 * MS, check);
    expect(hv.context.queues.entry.processor(0)).to.equal(1);
    expect([sv.slice(0), sv.slice(1)]).to.deep.equal([47.5 * MS, 47.5 * MS]);
    sim.built.core.turns.interact(0, () => hv.sched.setAffinity(0, [0, 2]));
    sim.run(900 * MS, check);
    // The next one allowed, round about.
    expect(hv.context.queues.entry.processor(0)).to.equal(2);
    expect(sv.slice(1)).to.equal(95 * MS);
  });

  it('give one hash for any number of threads', async () => {
    const load = workload({ t: { instance: 3, loop: -1, run: 700, sleep: 400 } });
    const guests = [
      guest({ name: 'a', vcpus: 3, workload: load, sedf: { weight: 3 } }),
      guest({ name: 'b', vcpus: 3, workload: load, sedf: slice(2, 10, { extratime: true }) }),
      busy('c', undefined, { vcpus: 2 }),
    ];
    const config = sedfMachine(guests, { pcpus: 3, durationNs: 300 * MS, seed: 1 });
    const sim = simulate(config);
    sim.run();
    const { hash } = await runMachine({ ...config, threads: 3 });
    expect(hash).to.equal(sim.result().hash);
  });

  it('share the pCPUs of free mode as well', async () => {
    const pair = (name: string, sedf: SedfConfig) => busy(name, sedf, { vcpus: 2, cpus: [[0], [1]] });
    const hogs = workload({ h: { instance: 2, run: 1_000_000 } });
    const guests = [pair('fixed', slice(3, 10)), pair('light', { weight: 1 }), pair('heavy', { weight: 4 })];
    for (const jitterSeed of [0, 3]) {
      const result: RunResult = await runMachine(
        sedfMachine(
          [
            ...guests.map((g) => ({ ...g, workload: hogs })),
            guest({ name: 'sleeper', vcpus: 2, workload: workload({ t: { instance: 2, run: 50, sleep: 900 } }) }),
          ],
          { mode: 'free', pcpus: 2, threads: 2, durationNs: 600 * MS, jitterSeed },
        ),
      );
      expect([result.outcome, result.mode]).to.deep.equal(['horizon', 'free']);
      expectShares(
        result.domains.slice(0, 3).map(({ share }) => share),
        [0.6, 0.26, 1.04],
        0.06,
      );
    }
  });
});

describe('under SEDF, whatever the parameters', () => {
  const PERIODS_MS = [1, 2, 5, 10, 20, 40];
  /** Times of one domain: parts of the pCPU, of which the sum is at most its whole. */
  const parameters = fc.record({
    part: fc.integer({ min: 0, max: 20 }),
    periodMs: fc.constantFrom(...PERIODS_MS),
    extratime: fc.boolean(),
  });
  const domain = fc.record({
    before: parameters,
    after: parameters,
    sleeps: fc.boolean(),
    vcpus: fc.constantFrom(1, 1, 1, 2),
  });
  const machine = fc.record({
    pcpus: fc.constantFrom(1, 2),
    domains: fc.array(domain, { minLength: 1, maxLength: 5 }),
    load: fc.constantFrom(0.5, 0.9, 1),
  });
  type Spec = typeof machine extends fc.Arbitrary<infer T> ? T : never;
  const HALF = 400 * MS;
  const SETTLE = 100 * MS;

  /** The parameters of each domain: every VCPU may be on the one pCPU. */
  function promises({ domains, load }: Spec, when: 'before' | 'after') {
    const all = domains.reduce((n, d) => n + d[when].part * d.vcpus, 0);
    return domains.map((d) => {
      const { part, periodMs, extratime } = d[when];
      const sliceNs = Math.floor((periodMs * MS * load * part) / Math.max(1, all));
      return sliceNs < 5e3
        ? { periodNs: periodMs * MS, sliceNs: 0, extratime: true }
        : { periodNs: periodMs * MS, sliceNs, extratime };
    });
  }

  const sleeper = workload({ t: { instance: 2, loop: -1, run: 900, sleep: 1_300 } });
  const hogs = workload({ t: { instance: 2, run: 1_000_000 } });

  function runAndCheck(spec: Spec): void {
    const guests = promises(spec, 'before').map((sedf, n) =>
      guest({
        name: `d${n}`,
        vcpus: spec.domains[n]!.vcpus,
        workload: spec.domains[n]!.sleeps ? sleeper : hogs,
        sedf,
      }),
    );
    const sim = simulate(sedfMachine(guests, { pcpus: spec.pcpus, durationNs: 2 * HALF }));
    const { hv } = sim.built.core;
    const { context } = hv;
    const { check } = invariants(sim);
    const vcpus = [...guests.keys()].flatMap((n) => {
      const d = n + 1;
      return Array.from({ length: guests[n]!.vcpus }, (_, k) => ({ n, v: context.domain.firstVcpu(d) + k }));
    });
    const ran = () => vcpus.map(({ v }) => hv.runstates.timeIn(v, RUNSTATE_running, context.machine.now(0)));
    // What a pCPU has not had anybody run is idle time.
    const stretch = (fromNs: number, toNs: number, given: ReturnType<typeof promises>): void => {
      sim.run(fromNs, check);
      const first = ran();
      const begun = context.machine.now(0);
      sim.run(toNs, check);
      const spent = ran().map((ns, k) => ns - first[k]!);
      const passed = context.machine.now(0) - begun;
      const busyNs = spent.reduce((sum, ns) => sum + ns, 0);
      expect(busyNs, 'sum of all').to.be.at.most(spec.pcpus * passed + 1);
      for (const [k, { n, v }] of vcpus.entries()) {
        const { periodNs, sliceNs, extratime } = given[n]!;
        const periods = passed / periodNs;
        const slack = 1_000 * (periods + 5);
        if (!spec.domains[n]!.sleeps) {
          expect(spent[k], `promised to VCPU ${v}`).to.be.at.least((Math.floor(periods) - 1) * sliceNs - slack);
        }
        if (!extratime) {
          expect(spent[k], `limit of VCPU ${v}`).to.be.at.most((Math.ceil(periods) + 2) * sliceNs + slack);
        }
      }
    };
    stretch(SETTLE, HALF, promises(spec, 'before'));
    const after = promises(spec, 'after');
    sim.built.core.turns.interact(0, () => {
      for (const [n, sedf] of after.entries()) {
        context.domain.setSedfPeriod(n + 1, sedf.periodNs);
        context.domain.setSedfSlice(n + 1, sedf.sliceNs);
        context.domain.setSedfExtra(n + 1, sedf.extratime ? 1 : 0);
        context.domain.setSedfWeight(n + 1, sedf.sliceNs === 0 ? 1 : 0);
        hv.sched.ops.adjust(n + 1);
      }
    });
    stretch(HALF + SETTLE, 2 * HALF, after);
  }

  it('promises are kept, limits hold and shares add up, also when parameters change', () => {
    fc.assert(fc.property(machine, runAndCheck), { numRuns: 40, interruptAfterTimeLimit: 20_000 });
  });
});

describe('parameters of SEDF', () => {
  const problem = (sedf: SedfConfig) => findConfigProblem(sedfMachine([busy('a', sedf)]));

  it('have the defaults of Xen 3.0.4', () => {
    expect(sedfOf(busy('a'))).to.deep.equal({
      periodNs: 100 * MS,
      sliceNs: 0,
      latencyNs: 0,
      extratime: true,
      weight: 1,
    });
    const host = { periodNs: 20 * MS, sliceNs: 15 * MS, latencyNs: 0, extratime: true, weight: 1 };
    expect(sedfOf(busy('dom0', undefined, { privileged: true }))).to.deep.equal(host);
    expect(sedfOf(busy('a', { weight: 5 }))).to.include({ extratime: false, sliceNs: 0, weight: 5 });
    expect(sedfOf(busy('a', slice(3, 10)))).to.include({ extratime: false, weight: 0 });
    expect(sedfOf(busy('a', slice(3, 10, { extratime: true })))).to.include({ extratime: true, weight: 0 });
  });

  it('are accepted up to their limits', () => {
    expect(problem({ periodNs: 10e3, sliceNs: 5e3 })).to.equal(undefined);
    expect(problem({ periodNs: 10e9, sliceNs: 10e9, latencyNs: 10e9 })).to.equal(undefined);
    expect(problem({ weight: 65535, extratime: true, sliceNs: 0 })).to.equal(undefined);
  });

  it('beyond them are refused by name', () => {
    const path = (field: string) => ['guests', 0, 'sedf', field];
    for (const periodNs of [9_999, 10e9 + 1, Number.NaN, 10_000.5]) {
      expect(problem({ periodNs })?.path).to.deep.equal(path('periodNs'));
    }
    for (const sliceNs of [-1, 4_999, 100 * MS + 1, Number.NaN]) {
      expect(problem({ sliceNs })?.path).to.deep.equal(path('sliceNs'));
    }
    expect(problem({ latencyNs: -1 })?.path).to.deep.equal(path('latencyNs'));
    for (const weight of [0, -1, 65536, 1.5]) expect(problem({ weight })?.path).to.deep.equal(path('weight'));
    expect(problem({ weight: 2, sliceNs: 5 * MS })).to.deep.equal({
      path: path('weight'),
      message: 'a weight together with a slice: a domain runs by the one or the other',
    });
    expect(problem({ extratime: false })).to.deep.equal({
      path: ['guests', 0, 'sedf'],
      message: 'a would never run: it needs a slice, a weight or extra time',
    });
  });

  describe('in a scenario', () => {
    let folder = '';
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'ringzero-'));
    });
    afterEach(() => rmSync(folder, { recursive: true }));

    function load(sedf: string, tail = '') {
      const path = join(folder, 's.yaml');
      const work = 'workload: { tasks: { h: { run: 9 } } }';
      writeFileSync(
        path,
        `machine: { scheduler: sedf }\nguests:\n  - name: a\n    sedf: ${sedf}\n    ${work}\n${tail}`,
      );
      return loadScenario(path);
    }

    function complaint(sedf: string, tail = ''): string {
      try {
        load(sedf, tail);
        return 'accepted';
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        return error.message.replaceAll(`${folder}/`, '');
      }
    }

    it('are read in their units', () => {
      const { config } = load('{ period: 10ms, slice: 500us, latency: 1ms, extratime: true }');
      expect(config.scheduler).to.equal('sedf');
      expect(sedfOf(config.guests[0]!)).to.deep.equal({
        periodNs: 10 * MS,
        sliceNs: 500e3,
        latencyNs: MS,
        extratime: true,
        weight: 0,
      });
      const dom0 = load('{ weight: 1 }', 'dom0: { sedf: { period: 10ms, slice: 1ms } }\n').config.guests[0]!;
      expect(sedfOf(dom0)).to.include({ periodNs: 10 * MS, sliceNs: MS, extratime: false });
      expect(load('{ weight: 7 }').config.guests[0]!.sedf?.weight).to.equal(7);
    });

    it('that are wrong are reported with their place', () => {
      expect(complaint('{ period: 1us }')).to.match(/^s\.yaml:4:21: 1000 ns is out of range/);
      expect(complaint('{ slice: 3us }')).to.match(/^s\.yaml:4:20: a slice of 3000 ns is out of range/);
      expect(complaint('{ slice: 30ms, period: 20ms }')).to.match(/^s\.yaml:4:20: a slice of .* exceeds the period/);
      expect(complaint('{ slice: 3ms, weight: 7 }')).to.match(/^s\.yaml:4:33: a weight together with a slice/);
      expect(complaint('{ weight: 0 }')).to.match(/^s\.yaml:4:21: weight 0 is out of range/);
      expect(complaint('{ extratime: false }')).to.match(/^s\.yaml:4:\d+: a would never run/);
      expect(complaint('{ weight: 1 }', 'dom0: { sedf: { slice: 1us } }\n')).to.match(
        /^s\.yaml:6:24: a slice of 1000 ns/,
      );
      expect(complaint('{ share: 5 }')).to.match(/^s\.yaml:4:\d+: .*share/);
      expect(complaint('{ slice: 3 }')).to.match(/^s\.yaml:4:20: /);
    });
  });
});
