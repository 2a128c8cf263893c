/** Cpupools: at boot, at run time with Xen's errnos, and that one has nothing to do with another. */
import { expect } from 'chai';
import fc from 'fast-check';
import { ANY, type CpupoolSpec } from '../../src/hv/cpupool.js';
import { CREDIT_VCPU } from '../../src/hv/sched/credit-records.js';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { invariants } from '../../src/machine/invariants.js';
import type { DomainResult, RunResult } from '../../src/machine/result.js';
import * as E from '../../src/shared/public/errno.js';
import { guest, machineConfig, simulate, workload } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

const hogs = (name: string, vcpus: number, over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({ name, vcpus, workload: workload({ hog: { instance: vcpus, run: 1_000_000 } }), ...over });
const mixed = (name: string, vcpus: number, over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({ name, vcpus, workload: workload({ t: { instance: 2 * vcpus, run: 700, sleep: 900 } }), ...over });

const resultOf = (config: MachineConfig): RunResult => {
  const sim = simulate(config);
  sim.run();
  return sim.result();
};
const domainOf = (result: RunResult, name: string): DomainResult => result.domains.find((d) => d.name === name)!;

const SPEC: CpupoolSpec = { policy: 0, tsliceNs: 30e6, ratelimitNs: 1e6, migrationDelayNs: 0 };

/** A machine with pools made at run time: commands come between two turns, as from outside. */
function live(over: Partial<MachineConfig> & { guests: readonly GuestConfig[] }) {
  const sim = simulate(machineConfig({ pcpus: 4, durationNs: 10e9, sparePools: 4, ...over }));
  const { hv, turns } = sim.built.core;
  const check = invariants(sim.built);
  const { queues, pcpu, domain, isIdle } = hv.context;
  return {
    sim,
    hv,
    pools: hv.cpupools,
    do: <T>(act: () => T, p = 0): T => turns.interact(p, act),
    /** Takes a pCPU out of its pool in that pCPU's name. */
    remove: (pool: number, p: number): number => turns.interact(Math.max(0, p), () => hv.cpupools.removeCpu(pool, p)),
    /** Goes on for `ms`, looking at every record now and then. */
    run(ms: number): void {
      const from = hv.context.machine.now(0);
      for (let n = 1; n <= 10; n++) {
        sim.run(Math.round(from + (n * ms * 1e6) / 10));
        expect(check()).to.deep.equal([]);
      }
    },
    check: () => expect(check()).to.deep.equal([]),
    poolOfPcpu: (p: number): number => queues.runq.pool(p),
    /** pCPUs on which VCPUs of domain d run. */
    pcpusOf(d: number): number[] {
      const first = domain.firstVcpu(d);
      return [0, 1, 2, 3].filter((p) => {
        const v = pcpu.current(p);
        return !isIdle(v) && v >= first && v < first + domain.maxVcpus(d);
      });
    },
  };
}

/** The time that each domain ran in the next `ms`, in pCPUs. */
function shares(m: ReturnType<typeof live>, ms: number): number[] {
  const time = (): number[] => m.sim.result().domains.map((d) => d.virtualTimeNs);
  const before = time();
  m.run(ms);
  return time().map((t, n) => (t - before[n]!) / (ms * 1e6));
}

describe('cpupools at boot', () => {
  const pools = [
    { name: 'rt', cpus: [2, 3], scheduler: 'sedf' },
    { name: 'one', cpus: [1], tsliceMs: 5 },
  ];
  const guests = [
    hogs('zero', 2),
    hogs('rt-a', 2, { pool: 'rt', sedf: { periodNs: 10e6, sliceNs: 3e6 } }),
    hogs('rt-b', 1, { pool: 'rt' }),
    hogs('one-a', 1, { pool: 'one', weight: 512 }),
    hogs('one-b', 1, { pool: 'one', weight: 256 }),
  ];

  it('give each domain what its pool has, by the scheduler of its pool', () => {
    const result = resultOf(machineConfig({ pcpus: 4, durationNs: 3e9, cpupools: pools, guests }));
    const share = (name: string): number => domainOf(result, name).share;
    expect(share('zero')).to.be.closeTo(1, 0.01);
    expect(share('rt-a')).to.be.closeTo(0.6, 0.02);
    expect(share('one-a')).to.be.closeTo(2 / 3, 0.02);
    expect(share('one-b')).to.be.closeTo(1 / 3, 0.02);
    expect(result.pools!.map(({ name, scheduler, cpus, domains }) => [name, scheduler, cpus, domains])).to.deep.equal([
      ['Pool-0', 'credit', [0], ['zero']],
      ['rt', 'sedf', [2, 3], ['rt-a', 'rt-b']],
      ['one', 'credit', [1], ['one-a', 'one-b']],
    ]);
    // Fairness is what a pool's own pCPUs can give.
    expect(domainOf(result, 'zero').expectedShare).to.equal(1);
    expect(result.pools![2]!.jain).to.be.closeTo(1, 0.001);
  });

  it('are the same for any number of threads', async () => {
    const config = machineConfig({ pcpus: 4, durationNs: 500e6, cpupools: pools, guests });
    const { hash } = resultOf(config);
    for (const threads of [2, 4]) expect((await runMachine({ ...config, threads })).hash).to.equal(hash);
  });

  it('decide as a machine without them where all is in one', () => {
    const plain = machineConfig({ pcpus: 3, durationNs: 500e6, seed: 0, guests: [mixed('a', 4), hogs('b', 2)] });
    for (const scheduler of ['credit', 'sedf', 'null']) {
      const { hash } = resultOf({ ...plain, scheduler });
      expect(resultOf({ ...plain, scheduler, sparePools: 3 }).hash, scheduler).to.equal(hash);
    }
  });

  it('do not change each other: what is in one is bit for bit the same whatever runs in another', () => {
    const inA = [mixed('a1', 3, { pool: 'A' }), hogs('a2', 2, { pool: 'A', weight: 700, cap: 80 })];
    const others: readonly (readonly GuestConfig[])[] = [
      [],
      [hogs('b', 5, { pool: 'B' })],
      [mixed('b', 2, { pool: 'B' }), hogs('c', 1, { pool: 'B', cap: 20 }), mixed('d', 7, { pool: 'B' })],
    ];
    for (const scheduler of ['credit', 'sedf']) {
      const seen = others.map((inB) => {
        const config = machineConfig({
          pcpus: 6,
          seed: 7,
          topology: { sockets: 1, cores: 3, threads: 2 },
          durationNs: 1e9,
          cpupools: [
            { name: 'A', cpus: [1, 2, 5] },
            { name: 'B', cpus: [0, 3, 4], scheduler },
          ],
          guests: [...inA, ...inB],
        });
        const result = resultOf(config);
        const { use, switches, steals, jain } = result.pools!.find(({ name }) => name === 'A')!;
        return {
          pool: { use, switches, steals, jain },
          domains: result.domains.slice(0, 2),
          pcpus: [1, 2, 5].map((p) => result.pcpus[p]),
        };
      });
      expect(seen[1]).to.deep.equal(seen[0]);
      expect(seen[2]).to.deep.equal(seen[0]);
      expect(seen[0]!.pool.switches).to.be.above(100);
    }
  });
});

describe('cpupools at run time', () => {
  const two = () => live({ guests: [hogs('a', 3), hogs('b', 2)] });

  it('take pCPUs from one another, and domains with them', () => {
    const m = two();
    m.run(50);
    expect(m.remove(0, 3)).to.equal(0);
    m.check();
    expect(m.remove(0, 2)).to.equal(0);
    expect(m.pools.freeCpus()).to.deep.equal([2, 3]);
    const id = m.do(() => m.pools.create(SPEC, ANY));
    expect(id).to.equal(1);
    for (const p of [2, 3]) expect(m.do(() => m.pools.addCpu(id, p))).to.equal(0);
    m.run(50);
    // Nobody is there yet: five hogs on two pCPUs.
    expect(m.pcpusOf(1).length + m.pcpusOf(2).length).to.equal(2);
    expect(m.do(() => m.pools.moveDomain(2, id))).to.equal(0);
    m.run(1);
    expect(m.pcpusOf(2)).to.deep.equal([2, 3]);
    expect(m.pcpusOf(1)).to.deep.equal([0, 1]);
    expect(shares(m, 600)).to.deep.equal([2, 2]);
    expect(m.pools.info(0)).to.include({ id: 0, domains: 1 }).and.to.have.deep.property('cpus', [0, 1]);
    expect(m.pools.info(1)).to.include({ id: 1, domains: 1 }).and.to.have.deep.property('cpus', [2, 3]);
    // And back again.
    expect(m.do(() => m.pools.moveDomain(2, 0))).to.equal(0);
    m.run(1);
    for (const p of [3, 2]) expect(m.remove(id, p)).to.equal(0);
    expect(m.do(() => m.pools.destroy(id))).to.equal(0);
    for (const p of [2, 3]) expect(m.do(() => m.pools.addCpu(0, p))).to.equal(0);
    m.run(50);
    expect(shares(m, 600).reduce((x, y) => x + y)).to.be.closeTo(4, 1e-6);
  });

  it('keep the last pCPU on line while they have domains, though another is off line', () => {
    const m = two();
    m.run(50);
    const id = m.do(() => m.pools.create(SPEC, ANY));
    for (const p of [2, 3]) {
      expect(m.remove(0, p)).to.equal(0);
      expect(m.do(() => m.pools.addCpu(id, p))).to.equal(0);
    }
    expect(m.do(() => m.pools.moveDomain(2, id))).to.equal(0);
    m.run(1);
    m.do(() => m.hv.hotplug.offline(3));
    m.run(1);
    expect(m.pools.info(id)!.cpus).to.deep.equal([2, 3]);
    expect(m.remove(id, 2)).to.equal(-E.XEN_EBUSY);
    m.run(5);
    expect(m.pcpusOf(2)).to.deep.equal([2]);
  });

  it('have their accounting on their own first pCPU', () => {
    const m = live({ guests: [hogs('a', 1, { cap: 30 }), hogs('b', 1), hogs('c', 1, { weight: 512 })] });
    const id = m.do(() => m.pools.create(SPEC, ANY));
    expect(m.remove(0, 0)).to.equal(0);
    expect(m.do(() => m.pools.addCpu(id, 0))).to.equal(0);
    for (const d of [2, 3]) m.do(() => m.pools.moveDomain(d, id));
    m.run(200);
    const [a, b, c] = shares(m, 3000);
    expect(a).to.be.closeTo(0.3, 0.02);
    expect(b).to.be.closeTo(1 / 3, 0.02);
    expect(c).to.be.closeTo(2 / 3, 0.02);
  });

  it('let go who was parked for a cap, and keep weight and cap', () => {
    const m = live({ guests: [hogs('a', 1, { cap: 10 }), hogs('b', 1)] });
    const parked = (): boolean => m.sim.built.image.table(CREDIT_VCPU).isParked(0) !== 0;
    for (let n = 0; !parked(); n++) {
      m.run(5);
      expect(n).to.be.below(100);
    }
    const id = m.do(() => m.pools.create(SPEC, ANY));
    m.remove(0, 3);
    m.do(() => m.pools.addCpu(id, 3));
    m.do(() => m.pools.moveDomain(1, id));
    expect(parked()).to.equal(false);
    m.run(1);
    expect(m.pcpusOf(1)).to.deep.equal([3]);
    m.run(100);
    expect(shares(m, 3000)[0]).to.be.closeTo(0.1, 0.02);
  });

  it('keep a wish for affinity that has no pCPU in the pool while it is so', () => {
    const m = live({ guests: [hogs('a', 1, { cpus: [[3]] })] });
    m.run(1);
    expect(m.remove(0, 3)).to.equal(0);
    m.run(1);
    expect(m.pcpusOf(1).length).to.equal(1);
    expect(m.do(() => m.pools.addCpu(0, 3))).to.equal(0);
    m.run(1);
    expect(m.pcpusOf(1)).to.deep.equal([3]);
  });

  it("say what is wrong in Xen's numbers", () => {
    const m = two();
    m.run(5);
    const id = m.do(() => m.pools.create(SPEC, 3));
    expect(id).to.equal(3);
    const { create, destroy, addCpu, moveDomain } = m.pools;
    expect(m.do(() => create(SPEC, 3))).to.equal(-E.XEN_EEXIST);
    expect(m.do(() => create({ ...SPEC, policy: 99 }, ANY))).to.equal(-E.XEN_EINVAL);
    expect(m.do(() => addCpu(id, 0))).to.equal(-E.XEN_EBUSY);
    expect(m.do(() => addCpu(id, 9))).to.equal(-E.XEN_EINVAL);
    expect(m.do(() => addCpu(id, ANY))).to.equal(-E.XEN_ENODEV);
    expect(
      m.do(() => moveDomain(1, id)),
      'a pool without pCPUs',
    ).to.equal(-E.XEN_ENOENT);
    expect(m.do(() => moveDomain(1, 2))).to.equal(-E.XEN_ENOENT);
    expect(m.do(() => moveDomain(9, id))).to.equal(-E.XEN_ESRCH);
    expect(m.remove(id, 1)).to.equal(-E.XEN_EADDRNOTAVAIL);
    expect(m.remove(2, 1)).to.equal(-E.XEN_ENOENT);
    expect(m.remove(0, 0)).to.equal(0);
    expect(m.do(() => addCpu(2, ANY))).to.equal(-E.XEN_ENOENT);
    expect(m.do(() => addCpu(id, ANY))).to.equal(0);
    expect(
      m.do(() => destroy(id)),
      'with a pCPU',
    ).to.equal(-E.XEN_EBUSY);
    expect(m.do(() => destroy(0))).to.equal(-E.XEN_EBUSY);
    expect(m.do(() => destroy(2))).to.equal(-E.XEN_ENOENT);
    const free = m.pools.info(id)!.cpus[0]!;
    expect(m.do(() => moveDomain(1, id))).to.equal(0);
    expect(m.remove(id, free), 'the last one of a pool with a domain').to.equal(-E.XEN_EBUSY);
    m.do(() => m.hv.domains.shutdown(1, 0));
    expect(m.do(() => moveDomain(1, 0))).to.equal(-E.XEN_EBUSY);
    expect(m.remove(id, free), 'a domain that has ended holds nothing').to.equal(0);
    expect(m.do(() => destroy(id))).to.equal(0);
    for (let n = 0; n < 4; n++) expect(m.do(() => create(SPEC, ANY))).to.equal(1 + n);
    expect(m.do(() => create(SPEC, ANY))).to.equal(-E.XEN_ENOSPC);
    m.run(20);
  });

  it('hold whatever is done to them', () => {
    const step = fc.record({
      what: fc.nat(5),
      pool: fc.nat(3),
      p: fc.nat(3),
      d: fc.integer({ min: 1, max: 3 }),
      us: fc.nat(3000),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 25 }), (steps) => {
        const m = live({
          sparePools: 3,
          guests: [hogs('a', 3, { cap: 60 }), mixed('b', 3, { cpus: [[1], [2, 3]] }), mixed('c', 2)],
        });
        const policies = m.sim.built.params.hv.policies.length;
        m.run(2);
        for (const { what, pool, p, d, us } of steps) {
          if (what === 0) m.do(() => m.pools.create({ ...SPEC, policy: (pool + p) % policies }, ANY));
          else if (what === 1) m.do(() => m.pools.destroy(pool));
          else if (what === 2) m.do(() => m.pools.addCpu(pool, p));
          // In its own name, as a command does, or in another's turn, as a hypercall would.
          else if (what === 3) m.do(() => m.pools.removeCpu(m.poolOfPcpu(p), p), (p + (us % 4)) % 4);
          else if (what === 4) m.do(() => m.pools.moveDomain(d, pool));
          else m.do(() => m.hv.sched.setAffinity(m.hv.context.domain.firstVcpu(d), [p, (p + d) % 4], [pool]));
          m.check();
          m.run(us / 1000 + 0.01);
        }
        // Everybody gets on, but for whom null has no pCPU.
        const isNull = (pool: number): boolean => m.sim.built.params.hv.policies[m.pools.info(pool)!.policy] === 'null';
        for (const [n, share] of shares(m, 400).entries()) {
          if (!isNull(m.hv.context.domain.pool(n + 1))) expect(share).to.be.above(0);
        }
      }),
      { numRuns: 40 },
    );
  });
});
