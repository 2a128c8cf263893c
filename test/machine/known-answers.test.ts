/** Cases of the credit scheduler whose answers are known (XEN-FACTS §3), run turn by turn on the test's own thread. */
import { expect } from 'chai';
import type { GuestConfig } from '../../src/machine/config.js';
import type { RunResult } from '../../src/machine/result.js';
import { guest, hog, machineConfig, simulate, workload } from '../support/in-process.js';

const MS = 1e6;
const TSLICE_MS = 30;

const hogs = (n: number): GuestConfig[] =>
  Array.from({ length: n }, (_, k) => guest({ name: `hog-${k}`, workload: hog() }));

function sharesOf(guests: readonly GuestConfig[], pcpus: number, seconds: number): number[] {
  const simulation = simulate(machineConfig({ pcpus, durationNs: seconds * 1e9, guests }));
  simulation.run();
  return simulation.result().domains.map(({ share }) => share);
}

describe('known answers: shares', () => {
  it('gives weights 256 and 512 one third and two thirds of a pCPU', () => {
    const guests = [guest({ name: 'a', workload: hog() }), guest({ name: 'b', weight: 512, workload: hog() })];
    const [a, b] = sharesOf(guests, 1, 20);
    expect(a).to.be.closeTo(1 / 3, 0.01);
    expect(b).to.be.closeTo(2 / 3, 0.01);
  });

  it('keeps to weights of 100, 200, 300 and 400', () => {
    const guests = [100, 200, 300, 400].map((weight) => guest({ name: `w${weight}`, weight, workload: hog() }));
    for (const [k, share] of sharesOf(guests, 1, 20).entries()) expect(share).to.be.closeTo((k + 1) / 10, 0.01);
  });

  it('weighs VCPUs, not domains: one VCPU gets 33 %, two of an equal domain get 67 %', () => {
    const two = workload({ hog: { instance: 2, run: 1_000_000 } });
    const guests = [guest({ name: 'single', workload: hog() }), guest({ name: 'double', vcpus: 2, workload: two })];
    const [single, double] = sharesOf(guests, 1, 20);
    expect(single).to.be.closeTo(1 / 3, 0.01);
    expect(double).to.be.closeTo(2 / 3, 0.01);
  });

  it('leaves what a mostly sleeping domain does not use to the others', () => {
    const sleeper = workload({ sleeper: { run: 2000, timer: { ref: 't', period: 20_000 } } });
    const [quiet, busy] = sharesOf([guest({ name: 'quiet', workload: sleeper }), ...hogs(1)], 1, 20);
    expect(quiet).to.be.closeTo(0.1, 0.005);
    expect(busy).to.be.closeTo(0.9, 0.005);
  });
});

describe('known answers: caps', () => {
  it('holds a hog to half of a pCPU on an idle host, in granules of 30 ms', () => {
    const simulation = simulate(
      machineConfig({ pcpus: 2, durationNs: 10e9, guests: [guest({ cap: 50, workload: hog() })] }),
    );
    const { vcpu } = simulation.built.core.hv.context;
    const edges: number[] = [];
    // Nothing runs during boot.
    let running = false;
    simulation.run(undefined, (_p, ns) => {
      const now = vcpu.runstate(0) === 0;
      if (now !== running) edges.push(ns);
      running = now;
    });
    const { domains, perfc } = simulation.result();
    expect(domains[0]?.share).to.be.closeTo(0.5, 0.005);
    expect(perfc.vcpu_park).to.be.greaterThan(50);
    expect(edges[0], 'the start').to.equal(0);
    const stretches = edges.slice(1).map((ns, k) => ns - (edges[k] ?? 0));
    expect(stretches.length).to.be.greaterThan(100);
    for (const ns of stretches) {
      const granules = Math.round(ns / (TSLICE_MS * MS));
      expect(granules, `${ns} ns`).to.be.at.least(1);
      expect(ns, `${ns} ns`).to.be.closeTo(granules * TSLICE_MS * MS, 0.1 * MS);
    }
  });

  for (const cap of [10, 25, 75, 150]) {
    it(`holds two VCPUs to a cap of ${cap} %`, () => {
      const two = workload({ hog: { instance: 2, run: 1_000_000 } });
      const [share] = sharesOf([guest({ vcpus: 2, cap, workload: two })], 2, 30);
      expect(share).to.be.closeTo(cap / 100, 0.01);
    });
  }
});

describe('known answers: n hogs on n pCPUs', () => {
  for (const n of [2, 4, 7]) {
    it(`gives each of ${n} a pCPU of its own and moves nobody`, () => {
      const simulation = simulate(machineConfig({ pcpus: n, durationNs: 5e9, guests: hogs(n) }));
      simulation.run(1e9);
      const settled = simulation.result();
      simulation.run();
      const { domains, pcpus } = simulation.result();
      for (const { share, name } of domains) expect(share, name).to.be.greaterThan(0.999);
      for (const { use, id } of pcpus) expect(use, `pCPU ${id}`).to.be.greaterThan(0.999);
      expect(pcpus.map(({ steals }) => steals)).to.deep.equal(settled.pcpus.map(({ steals }) => steals));
      expect(domains.map((d) => d.migrations)).to.deep.equal(settled.domains.map((d) => d.migrations));
    });
  }

  it('settles after a crowd has left: the remaining four spread by stealing, then nobody steals any more', () => {
    const guests = [
      ...hogs(4),
      ...Array.from({ length: 6 }, (_, k) =>
        guest({ name: `crowd-${k}`, workload: workload({ hog: { loop: 1, run: 100_000 * (k + 1) } }) }),
      ),
    ];
    const simulation = simulate(machineConfig({ pcpus: 4, durationNs: 10e9, guests }));
    simulation.run(3e9);
    const settled = simulation.result();
    simulation.run();
    const end = simulation.result();
    const sum = (result: RunResult): number => result.pcpus.reduce((total, p) => total + p.steals, 0);
    expect(sum(settled), 'somebody had to move').to.be.greaterThan(0);
    expect(sum(end)).to.equal(sum(settled));
    for (let k = 0; k < 4; k++) {
      const ran = (end.domains[k]?.virtualTimeNs ?? 0) - (settled.domains[k]?.virtualTimeNs ?? 0);
      expect(ran / 7e9).to.be.greaterThan(0.999);
      expect(end.domains[k]?.migrations).to.equal(settled.domains[k]?.migrations);
    }
  });
});

describe('known answers: wake-up latency behind k hogs', () => {
  /** A little work every 23.7 ms: a period that drifts through the timeslices of 30 ms. */
  const desktop = guest({
    name: 'desktop',
    workload: workload({ key: { run: 300, timer: { ref: 'tick', period: 23_700 } } }),
  });

  function wakes(k: number, boost: boolean): RunResult {
    const simulation = simulate(machineConfig({ durationNs: 30e9, boost, guests: [desktop, ...hogs(k)] }));
    simulation.run();
    return simulation.result();
  }

  for (const k of [1, 2, 3]) {
    it(`is at most the ratelimit behind ${k} with boost`, () => {
      const { domains, perfc } = wakes(k, true);
      const wake = domains[0]?.wake;
      expect(wake?.count).to.be.greaterThan(1200);
      expect(wake?.p50Ns).to.be.at.most(10_000);
      expect(wake?.p99Ns).to.be.at.most(1.1 * MS);
      // Not once a wake-up: who is boosted stays so until a tick finds it running, which one in 33 runs meets.
      expect(perfc.vcpu_boost).to.be.greaterThan(30);
    });

    it(`is up to ${30 * k} ms behind ${k} without`, () => {
      const { domains, perfc } = wakes(k, false);
      const wake = domains[0]?.wake;
      expect(perfc.vcpu_boost).to.equal(0);
      // Somewhere within the slices in front of it; quantiles are up to 6.25 % above the truth.
      expect(wake?.p50Ns).to.be.within(5 * MS, 1.0625 * TSLICE_MS * k * MS);
      expect(wake?.p99Ns).to.be.within(0.75 * TSLICE_MS * k * MS, 1.0625 * TSLICE_MS * k * MS);
    });
  }

  it('leaves the hogs their fair part with boost', () => {
    const shares = wakes(2, true).domains.map(({ share }) => share);
    expect(shares[0]).to.be.closeTo(300 / 23_700, 0.0005);
    expect(shares[1]).to.be.closeTo(shares[2] ?? 0, 0.02);
  });
});

describe('known answers: the ratelimit', () => {
  it('saves some 30 % of the context switches of a host at peak load, and takes nobody his part', () => {
    const tasks = {
      worker: { instance: 4, run: 300, sleep: 1100 },
      log: { run: 400, sleep: 3000 },
    };
    const guests = [
      ...Array.from({ length: 8 }, (_, k) => guest({ name: `web-${k}`, vcpus: 2, workload: workload(tasks) })),
      ...hogs(2),
    ];
    const [without, limited] = [0, 1000].map((ratelimitUs) => {
      const simulation = simulate(machineConfig({ pcpus: 4, durationNs: 5e9, ratelimitUs, guests }));
      simulation.run();
      const { pcpus, domains } = simulation.result();
      return {
        switches: pcpus.reduce((sum, { switches }) => sum + switches, 0),
        shares: domains.map(({ share }) => share),
      };
    });
    expect(limited!.switches / without!.switches).to.be.closeTo(0.7, 0.07);
    // 4 pCPUs among 18 VCPUs, of which each domain of the eight has two.
    for (const { shares } of [without!, limited!]) {
      for (const [k, share] of shares.entries()) expect(share).to.be.closeTo(k < 8 ? 4 / 9 : 2 / 9, 0.02);
    }
  });
});
