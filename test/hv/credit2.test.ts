import { expect } from 'chai';
import fc from 'fast-check';
import { socketOf } from '../../src/balancer/topology.js';
import { budgetLock, type RunqueueArrangement } from '../../src/hv/context.js';
import { runqueueLeads } from '../../src/hv/sched/credit2-arrangement.js';
import {
  CREDIT_INIT,
  CREDIT2_DOMAIN,
  CREDIT2_GLOBAL,
  CREDIT2_RUNQ,
  CREDIT2_VCPU,
  LOAD_ONE,
  MAX_CPUS_RUNQUEUE,
} from '../../src/hv/sched/credit2-records.js';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { SCHEDOP_yield } from '../../src/shared/public/sched.js';
import { RUNSTATE_running } from '../../src/shared/public/vcpu.js';
import { __HYPERVISOR_sched_op } from '../../src/shared/public/xen.js';
import { LOCK_RANK } from '../../src/shared/spinlock.js';
import { guest, hog, machineConfig, simulate, workload } from '../support/in-process.js';
import { freeMachine, watchLocks } from './free-machine.js';
import { invariants } from './invariants.js';
import { probe } from './probe.js';

const MS = 1e6;

const credit2Machine = (guests: readonly GuestConfig[], over: Partial<MachineConfig> = {}): MachineConfig =>
  machineConfig({ scheduler: 'credit2', guests, ...over });

/** A domain that computes for ever on all its VCPUs. */
const busy = (name: string, over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({
    name,
    ...over,
    workload: { ...hog(), tasks: hog().tasks.map((t) => ({ ...t, instance: over.vcpus ?? 1 })) },
  });

/** Runs a machine, looks at all its records after every turn, and returns its result. */
function run(guests: readonly GuestConfig[], over: Partial<MachineConfig> = {}) {
  const sim = simulate(credit2Machine(guests, over));
  const { check } = invariants(sim);
  sim.run(undefined, check);
  return sim.result();
}

const shares = (guests: readonly GuestConfig[], over: Partial<MachineConfig> = {}): number[] =>
  run(guests, over).domains.map(({ share }) => share);

function expectShares(found: readonly number[], wanted: readonly number[], within: number): void {
  expect(found).to.have.length(wanted.length);
  for (const [n, share] of wanted.entries()) expect(found[n], `domain ${n}`).to.be.closeTo(share, within);
}

describe('run queues of credit2', () => {
  const queues = (arrangement: RunqueueArrangement, sockets: number, cores: number, threads: number): number[] => {
    const leads = runqueueLeads({ sockets, cores, threads }, arrangement);
    return leads.flatMap((lead, p) => (lead === p ? [leads.filter((l) => l === lead).length] : []));
  };

  it('are one for a pCPU, a core, a socket or the host', () => {
    expect(queues('cpu', 2, 2, 2)).to.deep.equal([1, 1, 1, 1, 1, 1, 1, 1]);
    expect(queues('core', 2, 2, 2)).to.deep.equal([2, 2, 2, 2]);
    expect(queues('socket', 2, 2, 2)).to.deep.equal([4, 4]);
    expect(queues('node', 2, 2, 2)).to.deep.equal([4, 4]);
    expect(queues('all', 2, 2, 2)).to.deep.equal([8]);
  });

  it('have at most 16 pCPUs, and whole cores', () => {
    expect(queues('socket', 1, 24, 1)).to.deep.equal([16, 8]);
    expect(queues('all', 2, 5, 3)).to.deep.equal([15, 15]);
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 24 }),
        fc.integer({ min: 1, max: 4 }),
        fc.constantFrom<RunqueueArrangement>('core', 'socket', 'node', 'all'),
        (sockets, cores, threads, arrangement) => {
          const topology = { sockets, cores, threads };
          const leads = runqueueLeads(topology, arrangement);
          for (const [p, lead] of leads.entries()) {
            expect(leads[lead]).to.equal(lead);
            expect(p - lead).to.be.within(0, MAX_CPUS_RUNQUEUE - 1);
            expect(lead % threads, 'a core is split').to.equal(0);
            if (arrangement !== 'all') expect(socketOf(topology, p)).to.equal(socketOf(topology, lead));
          }
        },
      ),
    );
  });
});

describe('credit2 shares a pCPU', () => {
  it('by weight: 256 to 512 is a third to two thirds', () => {
    const found = shares([busy('a', { weight: 256 }), busy('b', { weight: 512 })], { durationNs: 3e9 });
    expectShares(found, [1 / 3, 2 / 3], 0.005);
  });

  it('by VCPU: a domain of two gets twice what a domain of one gets', () => {
    expectShares(shares([busy('one'), busy('two', { vcpus: 2 })], { durationNs: 3e9 }), [1 / 3, 2 / 3], 0.005);
  });

  it('by weights that are far apart', () => {
    const found = shares([busy('a', { weight: 1 }), busy('b', { weight: 65535 })], { durationNs: 3e9 });
    // The lightest has its 500 us now and then.
    expect(found[0]).to.be.below(0.06);
    expect(found[0]! + found[1]!).to.be.closeTo(1, 1e-6);
  });

  it('of several as well: eight hogs with weights 1 to 8 on four pCPUs', () => {
    const weights = [1, 2, 3, 4, 5, 6, 7, 8];
    const guests = weights.map((w) => busy(`w${w}`, { weight: 100 * w }));
    // All of 4 pCPUs by weight, 9 a pCPU: nobody is owed more than one.
    const found = shares(guests, { pcpus: 4, durationNs: 5e9 });
    expectShares(
      found,
      weights.map((w) => w / 9),
      0.02,
    );
  });

  it('with whoever comes just before the end of a tick: what runs, pays', () => {
    // 9.4 ms of each 10 ms from just after the tick: under sampled debit it never pays.
    const rogue = workload({ rogue: { loop: -1, run: 9_400, timer: { ref: 'tick', period: 10_000 } } });
    const found = shares([guest({ name: 'rogue', workload: rogue }), busy('hog')], { durationNs: 3e9 });
    expect(found[0]).to.be.closeTo(0.5, 0.03);
    expect(found[1]).to.be.closeTo(0.5, 0.03);
  });

  it('and does not lose the rest of a division', () => {
    const sim = simulate(credit2Machine([busy('a', { weight: 7 }), busy('b', { weight: 1000 })], { durationNs: 1e9 }));
    const cv = sim.built.image.table(CREDIT2_VCPU);
    sim.run(undefined, () => {
      for (const v of [0, 1]) expect(cv.residual(v)).to.be.within(0, cv.weight(v) - 1);
    });
  });
});

describe('the pCPUs of a credit2 run queue', () => {
  it('have a hog each, for good', () => {
    const sim = simulate(credit2Machine([busy('hogs', { vcpus: 4 })], { pcpus: 4, durationNs: 3e9 }));
    sim.run(1e9);
    const before = sim.result().domains[0]!.migrations;
    sim.run();
    const after = sim.result();
    expect(after.domains[0]!.migrations - before).to.equal(0);
    for (const { use } of after.pcpus) expect(use).to.be.above(0.999);
  });

  it('let a VCPU that slept go before those who compute', () => {
    const web = guest({ name: 'web', workload: workload({ t: { loop: -1, run: 200, sleep: 4_800 } }) });
    const result = run([web, ...['a', 'b', 'c'].map((name) => busy(name))], { durationNs: 2e9, ratelimitUs: 500 });
    // It never uses what it gets, so it is told of to the pCPU as soon as the hog there has run for the ratelimit.
    expect(result.domains[0]!.wake.p99Ns).to.be.below(600e3);
    expect(result.domains[0]!.share).to.be.closeTo(0.04, 0.004);
  });

  it('are told by whole cores first', () => {
    // Two hogs, four threads: they sit on two cores.
    const sim = simulate(
      credit2Machine([busy('a'), busy('b')], { pcpus: 4, topology: { sockets: 1, cores: 2, threads: 2 } }),
    );
    const { pcpu, isIdle } = sim.built.core.hv.context;
    sim.run(100 * MS);
    const used = [0, 1, 2, 3].filter((p) => !isIdle(pcpu.current(p)));
    expect(used.map((p) => p >> 1).sort()).to.deep.equal([0, 1]);
  });

  it('go by soft affinity as long as a pCPU is free there', () => {
    const sim = simulate(credit2Machine([busy('wish', { cpusSoft: [[2]] }), busy('b')], { pcpus: 4 }));
    const { queues } = sim.built.core.hv.context;
    sim.run();
    expect(queues.entry.processor(0)).to.equal(2);
    expect(sim.result().pcpus[2]!.use).to.be.above(0.99);
  });

  it('keep to hard affinity', () => {
    const found = shares([busy('a', { cpus: [[0]] }), busy('b', { cpus: [[0]] }), busy('c', { cpus: [[0, 1]] })], {
      pcpus: 2,
      durationNs: 2e9,
    });
    // The two that must share a pCPU have it to themselves once the third has gone to the other.
    expectShares(found, [0.5, 0.5, 1], 0.05);
  });
});

describe('credit', () => {
  it('is 10 ms more for all when the first has none left, and at most 10.5', () => {
    const sim = simulate(credit2Machine([busy('a'), busy('b')], { durationNs: 500 * MS }));
    const cv = sim.built.image.table(CREDIT2_VCPU);
    let resets = 0;
    let last = [0, 1].map((v) => cv.credit(v));
    sim.run(undefined, () => {
      const credit = [0, 1].map((v) => cv.credit(v));
      for (const v of [0, 1]) expect(credit[v]).to.be.at.most(CREDIT_INIT + 500_000);
      if (credit.some((c, v) => c > last[v]! + MS)) resets++;
      last = credit;
    });
    // Two hogs use 20 ms of it in 20 ms.
    expect(resets).to.be.closeTo(25, 3);
  });

  it('goes down faster for who weighs less', () => {
    const sim = simulate(credit2Machine([busy('light', { weight: 128 }), busy('heavy', { weight: 512 })]));
    const cv = sim.built.image.table(CREDIT2_VCPU);
    const { timeIn } = sim.built.core.hv.runstates;
    const cq = sim.built.image.table(CREDIT2_RUNQ);
    sim.run(100 * MS);
    expect(cq.maxWeight(0)).to.equal(512);
    let seen = 0;
    let at = { credit: cv.credit(0), ran: timeIn(0, RUNSTATE_running) };
    sim.run(undefined, () => {
      const now = { credit: cv.credit(0), ran: timeIn(0, RUNSTATE_running) };
      // Debited for all it ran, and nobody was given anything.
      if (now.credit < at.credit && cv.startTime(0) === sim.built.core.hv.context.now()) {
        expect((at.credit - now.credit) / (now.ran - at.ran)).to.be.closeTo(4, 0.01);
        seen++;
      }
      if (now.credit !== at.credit) at = now;
    });
    expect(seen).to.be.above(10);
  });

  it('does not keep a VCPU that yields on its pCPU', () => {
    const p = probe(credit2Machine([busy('a'), busy('b')]));
    const first = p.context.pcpu.current(0);
    p.call(first, __HYPERVISOR_sched_op, SCHEDOP_yield);
    p.run(p.now + 2);
    expect(p.context.pcpu.current(0)).to.equal(1 - first);
  });
});

describe('caps under credit2', () => {
  it('hold a hog at 50 % of an idle pCPU', () => {
    expectShares(shares([busy('a', { cap: 50 })], { durationNs: 2e9 }), [0.5], 0.005);
  });

  it('hold however many VCPUs share the budget', () => {
    const found = shares([busy('a', { cap: 70, vcpus: 3 }), busy('b', { cap: 150, vcpus: 2 })], {
      pcpus: 4,
      durationNs: 2e9,
    });
    expectShares(found, [0.7, 1.5], 0.01);
  });

  it('are handed out in parts, so that VCPUs run side by side', () => {
    const sim = simulate(credit2Machine([busy('a', { cap: 150, vcpus: 3 })], { pcpus: 4 }));
    const { pcpu, isIdle } = sim.built.core.hv.context;
    const busyPcpus = (): number => [0, 1, 2, 3].filter((p) => !isIdle(pcpu.current(p))).length;
    // Each may take 5 of the 15 ms of a period, so at its beginning all three run, and then nobody.
    for (const [ms, running] of [
      [1, 3],
      [4, 3],
      [6, 0],
      [14, 3],
      [16, 0],
    ] as const) {
      sim.run(ms * MS);
      expect(busyPcpus(), `${ms} ms`).to.equal(running);
    }
  });

  it('leave what others do not use alone', () => {
    expectShares(shares([busy('a', { cap: 25 }), busy('b')], { durationNs: 2e9 }), [0.25, 0.75], 0.005);
  });

  it('are not saved up by sleeping', () => {
    // 5 ms of each 10 ms, after 90 ms of sleep: 30 ms of work take 60.
    const sim = simulate(
      credit2Machine([
        guest({ name: 'a', cap: 50, workload: workload({ t: { loop: 1, sleep: 90_000, run: 30_000 } }) }),
      ]),
    );
    sim.run();
    expect(sim.result().simulatedNs / MS).to.be.within(90 + 50, 90 + 62);
  });

  it('need nobody to look while nobody uses them', () => {
    const sleeper = workload({ t: { loop: 1, run: 2_000, sleep: 500_000, run1: 1_000 } });
    const sim = simulate(credit2Machine([guest({ name: 'a', cap: 50, workload: sleeper })], { durationNs: Infinity }));
    const { ops } = sim.built.core.hv.sched;
    sim.run(100 * MS);
    expect(ops.nextAccounting(0)).to.equal(Infinity);
    sim.run();
    expect(sim.result().outcome).to.equal('idle');
  });

  it('can be set, changed and taken away while it runs', () => {
    const sim = simulate(credit2Machine([busy('a', { vcpus: 2 })], { pcpus: 2, durationNs: 4e9 }));
    const { hv, turns } = sim.built.core;
    const { domain } = hv.context;
    const { check } = invariants(sim);
    const share = (untilNs: number, cap: number): number => {
      turns.interact(0, () => {
        domain.setCap(1, cap);
        hv.sched.ops.adjust(1);
      });
      check();
      const ran = (): number => [0, 1].reduce((sum, v) => sum + hv.runstates.timeIn(v, RUNSTATE_running), 0);
      const [from, before] = [hv.context.now(), ran()];
      sim.run(untilNs, check);
      return (ran() - before) / (untilNs - from);
    };
    sim.run(1e9, check);
    expect(share(2e9, 40)).to.be.closeTo(0.4, 0.02);
    expect(share(3e9, 120)).to.be.closeTo(1.2, 0.03);
    expect(share(4e9, 0)).to.be.closeTo(2, 0.01);
  });

  it('are guarded by a lock under that of the run queue', () => {
    expect(LOCK_RANK.budget).to.be.above(LOCK_RANK.runQueue);
    const sim = simulate(credit2Machine([busy('a', { cap: 50 })]));
    sim.run();
    expect(sim.built.core.hv.context.locks.owner(budgetLock(1))).to.equal(-1);
    expect(sim.built.image.table(CREDIT2_DOMAIN).totBudget(1)).to.equal(5 * MS);
  });
});

describe('what a toolstack changes of credit2', () => {
  it('is the weight of a domain', () => {
    const sim = simulate(credit2Machine([busy('a'), busy('b')], { durationNs: 4e9 }));
    const { hv, turns } = sim.built.core;
    const { check } = invariants(sim);
    sim.run(1e9, check);
    turns.interact(0, () => {
      hv.context.domain.setWeight(1, 768);
      hv.sched.ops.adjust(1);
    });
    const before = hv.runstates.timeIn(0, RUNSTATE_running);
    sim.run(undefined, check);
    expect((hv.runstates.timeIn(0, RUNSTATE_running) - before) / 3e9).to.be.closeTo(0.75, 0.01);
  });

  it('is the ratelimit', () => {
    const switches = (ratelimitUs: number): number => {
      const tickers = ['a', 'b', 'c'].map((name) =>
        guest({ name, workload: workload({ t: { loop: -1, run: 100, sleep: 100 } }) }),
      );
      const sim = simulate(credit2Machine([busy('hog'), ...tickers]));
      const { hv, turns } = sim.built.core;
      sim.run(100 * MS);
      turns.interact(0, () => hv.sched.ops.settings?.set(0, ratelimitUs * 1000, 0));
      expect(sim.built.image.table(CREDIT2_GLOBAL).ratelimitNs(0)).to.equal(ratelimitUs * 1000);
      sim.run();
      return sim.result().pcpus[0]!.switches;
    };
    expect(switches(0)).to.be.above(1.3 * switches(5000));
  });
});

describe('two credit2 run queues', () => {
  const sockets = { pcpus: 4, topology: { sockets: 2, cores: 2, threads: 1 } };

  it('even out a load that begins on one', () => {
    const sim = simulate(credit2Machine([busy('a', { vcpus: 4, cpus: Array(4).fill([0, 1]) })], sockets));
    const { hv, turns } = sim.built.core;
    const { check } = invariants(sim);
    const cq = sim.built.image.table(CREDIT2_RUNQ);
    sim.run(500 * MS, check);
    expect(cq.avgload(0)).to.be.above(LOAD_ONE);
    expect(cq.avgload(2)).to.equal(0);
    turns.interact(0, () => {
      for (let v = 0; v < 4; v++) hv.sched.setAffinity(v, [0, 1, 2, 3]);
    });
    sim.run(undefined, check);
    const { pcpu, isIdle } = hv.context;
    expect([0, 1, 2, 3].filter((p) => isIdle(pcpu.current(p)))).to.deep.equal([]);
  });

  it('share the VCPUs that boot by their expected load', () => {
    const sim = simulate(credit2Machine([busy('a', { vcpus: 4 })], sockets));
    const { queues } = sim.built.core.hv.context;
    expect([0, 1, 2, 3].filter((v) => queues.queueOf(queues.entry.processor(v)) === 0)).to.have.length(2);
    sim.run();
    for (const { use } of sim.result().pcpus) expect(use).to.be.above(0.99);
  });

  it('are left alone while their loads differ little', () => {
    const sim = simulate(credit2Machine([busy('a', { vcpus: 4 }), busy('b', { vcpus: 4 })], sockets));
    sim.run(300 * MS);
    const before = sim.result().pcpus.map(({ steals }) => steals);
    sim.run();
    expect(sim.result().pcpus.map(({ steals }) => steals)).to.deep.equal(before);
  });
});

/** Loads of all kinds on hosts of all shapes, whose VCPUs are moved, paused and given other parameters while they run. */
const random = fc
  .record({
    topology: fc.record({
      sockets: fc.integer({ min: 1, max: 3 }),
      cores: fc.integer({ min: 1, max: 3 }),
      threads: fc.integer({ min: 1, max: 2 }),
    }),
    credit2Runqueue: fc.constantFrom<RunqueueArrangement>('cpu', 'core', 'socket', 'all'),
    credit2BalanceUnder: fc.constantFrom(-6, 0),
    credit2BalanceOver: fc.constantFrom(-6, -3),
    credit2LoadWindowShift: fc.constantFrom(22, 26, 30),
    ratelimitUs: fc.constantFrom(0, 100, 1000),
    guests: fc.array(
      fc.record({
        vcpus: fc.integer({ min: 1, max: 4 }),
        weight: fc.constantFrom(1, 64, 256, 1000, 65535),
        cap: fc.constantFrom(0, 0, 20, 70),
        run: fc.integer({ min: 100, max: 20_000 }),
        sleep: fc.constantFrom(0, 0, 300, 5_000),
        soft: fc.boolean(),
      }),
      { minLength: 1, maxLength: 5 },
    ),
    acts: fc.array(fc.tuple(fc.nat(4), fc.nat(63), fc.nat(1000)), { maxLength: 20 }),
  })
  .map(({ topology, guests, acts, ...rest }) => {
    const pcpus = topology.sockets * topology.cores * topology.threads;
    const config = credit2Machine(
      guests.map(({ run: us, sleep, soft, cap, ...g }, n) =>
        guest({
          ...g,
          name: `g${n}`,
          cap: Math.min(cap, 100 * g.vcpus),
          cpusSoft: soft ? Array(g.vcpus).fill([n % pcpus]) : [],
          workload: workload({
            t: { loop: -1, instance: g.vcpus, run: us, ...(sleep > 0 ? { sleep } : { run1: us }) },
          }),
        }),
      ),
      { ...rest, topology, pcpus, durationNs: 50 * MS },
    );
    return { config, acts };
  });

/** What `acts` do to a machine: pin, pause, let go, set weight and cap. */
function disturb(
  { hv }: ReturnType<typeof simulate>['built']['core'],
  shape: { vcpus: number; domains: number; pcpus: number },
  [kind, who, x]: readonly [number, number, number],
): void {
  const v = who % shape.vcpus;
  const d = 1 + (who % (shape.domains - 1));
  const { domain } = hv.context;
  if (kind === 0) hv.sched.setAffinity(v, [x % shape.pcpus, (x >> 3) % shape.pcpus]);
  else if (kind === 1) hv.sched.pause(v);
  else if (kind === 2) hv.sched.unpause(v);
  else {
    if (kind === 3) domain.setWeight(d, 1 + x);
    else domain.setCap(d, x % 3 === 0 ? 0 : Math.min(x, 100 * domain.maxVcpus(d)));
    hv.sched.ops.adjust(d);
  }
}

describe('credit2, whatever happens to it,', () => {
  it('keeps its records right in ordered mode, after every turn', () => {
    fc.assert(
      fc.property(random, ({ config, acts }) => {
        const sim = simulate(config);
        const { check } = invariants(sim);
        const { turns, hv } = sim.built.core;
        for (const [n, act] of acts.entries()) {
          sim.run(Math.round(((n + 1) * config.durationNs) / (acts.length + 1)), check);
          turns.interact(n % config.pcpus, () => disturb(sim.built.core, hv.context.shape, act));
          check();
        }
        sim.run(undefined, check);
      }),
      { numRuns: 60, interruptAfterTimeLimit: 10_000 },
    );
  });

  it('keeps them right, and its locks held, when several workers run it', () => {
    fc.assert(
      fc.property(random, fc.boolean(), ({ config, acts }, isSeparate) => {
        const threads = Math.min(3, config.pcpus);
        const free = freeMachine({ ...config, threads }, isSeparate);
        const { check } = invariants(free);
        const { unlocked } = watchLocks(free);
        for (const [n, act] of acts.entries()) {
          free.run(Math.round(((n + 1) * config.durationNs) / (acts.length + 1)));
          check();
          const p = n % config.pcpus;
          const { shape } = free.context;
          const at = Math.max(...Array.from({ length: config.pcpus }, (_, q) => free.clock(q))) + 1;
          if (free.built.core.hv.context.isSeparate()) continue;
          free.act(p, at, (core) => disturb(core, shape, act));
        }
        free.run(config.durationNs);
        check();
        expect(unlocked).to.deep.equal([]);
      }),
      { numRuns: 60, interruptAfterTimeLimit: 10_000 },
    );
  });
});
