/** Cases whose answers Xen 3.0.4 and 4.18 give differently (XEN-FACTS §3), run turn by turn on the test's own thread. */
import { expect } from 'chai';
import type { Profile } from '../../src/hv/context.js';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import type { RunResult } from '../../src/machine/result.js';
import { SCHEDOP_yield } from '../../src/shared/public/sched.js';
import { __HYPERVISOR_sched_op } from '../../src/shared/public/xen.js';
import { probe } from '../hv/probe.js';
import { guest, hog, machineConfig, simulate, workload } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

const MS = 1e6;
const PROFILES = ['classic', 'modern'] as const;

const hogsOn = (vcpus: number) => workload({ hog: { instance: vcpus, run: 1_000_000 } });

function run(over: Partial<MachineConfig> & Pick<MachineConfig, 'guests'>): RunResult {
  const simulation = simulate(machineConfig(over));
  simulation.run();
  return simulation.result();
}

const sharesOf = (over: Partial<MachineConfig> & Pick<MachineConfig, 'guests'>): number[] =>
  run(over).domains.map(({ share }) => share);

describe('known answers by profile: what has the weight', () => {
  const domains = (single: number, double: number): GuestConfig[] => [
    guest({ name: 'single', weight: single, workload: hogsOn(1) }),
    guest({ name: 'double', vcpus: 2, weight: double, workload: hogsOn(2) }),
  ];

  for (const [profile, weights, single] of [
    ['classic', [256, 256], 1 / 2],
    ['modern', [256, 256], 1 / 3],
    ['classic', [256, 512], 1 / 3],
    ['modern', [256, 512], 1 / 5],
  ] as const) {
    it(`${profile}: of weights ${weights.join(' and ')} a domain with 1 VCPU gets ${(100 * single).toFixed(0)} % beside one with 2`, () => {
      const { domains: results, jain } = run({ profile, durationNs: 20e9, guests: domains(weights[0], weights[1]) });
      expect(results[0]?.share).to.be.closeTo(single, 0.01);
      expect(results[1]?.share).to.be.closeTo(1 - single, 0.01);
      expect(jain).to.be.above(0.999);
    });
  }

  it('is the same where every domain has one VCPU', () => {
    for (const profile of PROFILES) {
      const guests = [100, 200, 300, 400].map((weight) => guest({ name: `w${weight}`, weight, workload: hog() }));
      for (const [k, share] of sharesOf({ profile, durationNs: 20e9, guests }).entries()) {
        expect(share, profile).to.be.closeTo((k + 1) / 10, 0.01);
      }
    }
  });
});

describe('known answers by profile: a rogue that keeps clear of ticks', () => {
  const ROGUE = { delay: 50_100, timer: { ref: 'tick', period: 10_000, mode: 'absolute' }, run: 9_400 };
  const guests = [
    guest({ name: 'rogue', workload: workload({ rogue: ROGUE }) }),
    guest({ name: 'hog', workload: hog() }),
  ];

  it('classic: is never charged and gets 94 %', () => {
    const [rogue, victim] = sharesOf({ profile: 'classic', durationNs: 20e9, guests });
    expect(rogue).to.be.closeTo(0.94, 0.01);
    expect(victim).to.be.closeTo(0.06, 0.01);
  });

  it('modern: pays for what it runs and gets half', () => {
    const [rogue, victim] = sharesOf({ profile: 'modern', durationNs: 20e9, guests });
    expect(rogue).to.be.closeTo(0.5, 0.01);
    expect(victim).to.be.closeTo(0.5, 0.01);
  });

  for (const profile of PROFILES) {
    it(`${profile}: gets no more than half by yielding 0.5 ms before each tick instead of blocking`, () => {
      const p = probe(
        machineConfig({
          profile,
          durationNs: 20e9,
          guests: [guest({ name: 'rogue', workload: hog() }), guest({ name: 'hog', workload: hog() })],
        }),
      );
      const [rogue, victim] = [p.vcpuOf(0), p.vcpuOf(1)];
      let yields = 0;
      for (let tick = 1; tick < 2000; tick++) {
        p.run(tick * 10 * MS - 0.5 * MS);
        if (!p.isRunning(rogue)) continue;
        p.call(rogue, __HYPERVISOR_sched_op, SCHEDOP_yield);
        yields++;
      }
      const ran = (v: number): number => p.hv.runstates.timeIn(v, 0, p.now) / p.now;
      expect(yields).to.be.above(400);
      expect(ran(rogue) + ran(victim)).to.be.above(0.999);
      // Modern yields go behind a VCPU without credit, too: each gives the hog a whole slice, which is more than half of the time.
      expect(ran(rogue)).to.be.closeTo(profile === 'classic' ? 0.5 : 0.25, 0.01);
    });
  }
});

describe('known answers by profile: a domain that serves a network beside a hog', () => {
  const io = guest({
    name: 'io',
    cpus: [[0]],
    workload: workload({ stack: { serve: 'tcp', run: 150, respond: { ref: 'tcp', bytes: 64 } } }),
  });
  const wire = guest({
    name: 'wire',
    cpus: [[1]],
    workload: workload({
      packet: { instance: 16, request: { to: 'io', ref: 'tcp', bytes: 3000 }, sleep: 6000 },
    }),
  });
  const rival = guest({ name: 'hog', cpus: [[0]], workload: hog() });

  for (const profile of PROFILES) {
    it(`${profile}: moves nearly what it does alone with boost, a fifth without`, () => {
      const moved = (boost: boolean, ...guests: GuestConfig[]): number =>
        run({ profile, pcpus: 2, durationNs: 5e9, boost, guests }).domains[0]!.services![0]!.latency.count;
      const alone = moved(true, io, wire);
      expect(alone).to.be.above(10_000);
      expect(moved(true, io, wire, rival) / alone).to.be.within(0.88, 1);
      expect(moved(false, io, wire, rival) / alone).to.be.closeTo(0.2, 0.03);
    });
  }
});

describe('known answers of the classic profile that are those of the modern one', () => {
  it('holds a hog to half of a pCPU by a cap of 50', () => {
    const [share] = sharesOf({
      profile: 'classic',
      pcpus: 2,
      durationNs: 10e9,
      guests: [guest({ cap: 50, workload: hog() })],
    });
    expect(share).to.be.closeTo(0.5, 0.005);
  });

  it('gives each of n hogs a pCPU of its own and moves nobody', () => {
    const guests = Array.from({ length: 4 }, (_, k) => guest({ name: `hog-${k}`, workload: hog() }));
    const simulation = simulate(machineConfig({ profile: 'classic', pcpus: 4, durationNs: 5e9, guests }));
    simulation.run(1e9);
    const settled = simulation.result();
    simulation.run();
    const { domains, pcpus } = simulation.result();
    for (const { share, name } of domains) expect(share, name).to.be.greaterThan(0.999);
    expect(pcpus.map(({ steals }) => steals)).to.deep.equal(settled.pcpus.map(({ steals }) => steals));
    expect(domains.map((d) => d.migrations)).to.deep.equal(settled.domains.map((d) => d.migrations));
  });

  it('lets a VCPU that wakes with credit run at once, and without boost after the slices of those in front', () => {
    const desktop = guest({
      name: 'desktop',
      workload: workload({ key: { run: 300, timer: { ref: 'tick', period: 23_700 } } }),
    });
    const guests = [desktop, ...['a', 'b'].map((name) => guest({ name, workload: hog() }))];
    const wakes = (boost: boolean) => run({ profile: 'classic', durationNs: 30e9, boost, guests }).domains[0]!.wake;
    // No ratelimit: not even a millisecond late.
    expect(wakes(true).p99Ns).to.be.at.most(10_000);
    expect(wakes(false).p50Ns).to.be.within(5 * MS, 64 * MS);
  });
});

describe('the classic profile', () => {
  /** Every kind of task, on more VCPUs than there are pCPUs. */
  const mixed = (profile: Profile, over: Partial<MachineConfig> = {}): MachineConfig =>
    machineConfig({
      profile,
      pcpus: 4,
      threads: 2,
      seed: 3,
      durationNs: 1e9,
      guests: [
        guest({
          name: 'racers',
          vcpus: 4,
          workload: workload({ r: { instance: 4, loop: -1, run0: 20, lock: 'm', run1: 5, unlock: 'm', sleep: 300 } }),
        }),
        guest({ name: 'hogs', vcpus: 3, cap: 150, workload: hogsOn(3) }),
        guest({ name: 'batch', vcpus: 2, weight: 512, workload: hogsOn(2) }),
      ],
      ...over,
    });

  it('has one hash for any number of threads, which is not that of the modern one', async () => {
    const alone = run(mixed('classic'));
    const { hash } = await runMachine(mixed('classic'));
    expect(hash).to.equal(alone.hash);
    expect(run(mixed('modern')).hash).to.not.equal(hash);
  });

  it('runs in free mode, keeps time, and gives about the same shares', async () => {
    const ordered = run(mixed('classic'));
    const free = await runMachine(
      mixed('classic', { mode: 'free', jitterSeed: 1, checkTime: true, durationNs: 500e6 }),
    );
    expect([free.outcome, free.hash]).to.deep.equal(['horizon', 'none']);
    expect(free.time?.findings.filter(({ violations }) => violations > 0)).to.deep.equal([]);
    for (const [n, { share }] of free.domains.entries()) expect(share).to.be.closeTo(ordered.domains[n]!.share, 0.3);
  });
});
