import { expect } from 'chai';
import { softMask } from '../../src/balancer/records.js';
import { PERFC } from '../../src/hv/perfc.js';
import { VPF_parked } from '../../src/hv/records.js';
import { PRI_BOOST, PRI_OVER, PRI_UNDER } from '../../src/hv/sched/credit-records.js';
import { SCHEDOP_block } from '../../src/shared/public/sched.js';
import { __HYPERVISOR_sched_op, VIRQ_TIMER } from '../../src/shared/public/xen.js';
import { guest, hog, machineConfig, simulate } from '../support/in-process.js';
import { probe } from './probe.js';
import { inTurn, runsAt, setUp } from './sleeper.js';

describe('a VCPU that wakes', () => {
  it('is boosted when it has credit, and runs before those that wait', () => {
    const { p, sleeper, entry, queues, wake } = setUp();
    entry.setPri(sleeper, PRI_UNDER);
    wake();
    expect(entry.pri(sleeper)).to.equal(PRI_BOOST);
    expect(queues.list.first(0)).to.equal(sleeper);
    expect(p.context.perfc.total(PERFC.vcpu_boost)).to.be.above(0);
  });

  it('is not boosted when it is in debt', () => {
    const { sleeper, entry, wake } = setUp();
    entry.setPri(sleeper, PRI_OVER);
    wake();
    expect(entry.pri(sleeper)).to.equal(PRI_OVER);
  });

  it('is not boosted where boost is switched off', () => {
    const { sleeper, entry, wake } = setUp({ boost: false });
    wake();
    expect(entry.pri(sleeper)).to.equal(PRI_UNDER);
  });

  it('is not boosted when it was only moved', () => {
    const { p, sleeper, entry, wake } = setUp();
    // As asked at the end of a move, before the wake-up that ends it.
    p.hv.sched.ops.pickCpu(sleeper);
    wake();
    expect(entry.pri(sleeper)).to.equal(PRI_UNDER);
  });

  it('is boosted by the wake-up after the one that ended a move', () => {
    const { p, sleeper, entry, wake } = setUp({ ratelimitUs: 0 });
    p.hv.sched.ops.pickCpu(sleeper);
    wake();
    p.run(70e6);
    expect(p.isRunning(sleeper) || p.context.queues.isQueued(sleeper)).to.equal(true);
    while (!p.isRunning(sleeper)) p.run(p.now + 1e6);
    p.call(sleeper, __HYPERVISOR_sched_op, SCHEDOP_block);
    p.run(p.now + 1e3);
    entry.setPri(sleeper, PRI_UNDER);
    wake();
    expect(entry.pri(sleeper)).to.equal(PRI_BOOST);
  });

  it('is not boosted when it was parked', () => {
    const { p, runner, cv, entry } = setUp();
    cv.setIsParked(runner, 1);
    inTurn(p, 0, () => p.hv.sched.sleep(runner, VPF_parked));
    p.run(p.now + 2);
    expect(p.context.vcpu.runstate(runner)).to.equal(3);
    entry.setPri(runner, PRI_UNDER);
    inTurn(p, 0, () => p.hv.sched.clearFlag(runner, VPF_parked));
    expect(entry.pri(runner)).to.equal(PRI_UNDER);
    expect(p.context.queues.isQueued(runner)).to.equal(true);
  });

  it('loses its boost at the first tick', () => {
    const { p, sleeper, entry, wake } = setUp();
    p.run(7.5e6);
    wake();
    p.run(9.9e6);
    expect([p.isRunning(sleeper), entry.pri(sleeper)]).to.deep.equal([true, PRI_BOOST]);
    p.run(10.1e6);
    expect(entry.pri(sleeper)).to.equal(PRI_UNDER);
  });
});

describe('the rate limit', () => {
  it('lets who has just been switched in run for 1 ms before a boosted VCPU takes over', () => {
    const { p, sleeper, wake, switchedInAt } = setUp();
    p.run(switchedInAt + 300_000);
    wake();
    expect(runsAt(p, sleeper, 20e6)).to.equal(switchedInAt + 1e6);
  });

  it('sets no timer shorter than 500 us', () => {
    const { p, sleeper, wake, switchedInAt } = setUp();
    p.run(switchedInAt + 800_000);
    wake();
    // One ns later, at the turn that looks at the queue.
    expect(runsAt(p, sleeper, 20e6)).to.equal(switchedInAt + 800_001 + 500_000);
  });

  it('does not hold up a wake-up after that time', () => {
    const { p, sleeper, wake, switchedInAt } = setUp();
    p.run(switchedInAt + 1.5e6);
    wake();
    expect(runsAt(p, sleeper, 20e6)).to.equal(switchedInAt + 1.5e6 + 1);
  });

  it('can be switched off', () => {
    const { p, sleeper, wake, switchedInAt } = setUp({ ratelimitUs: 0 });
    p.run(switchedInAt + 300_000);
    wake();
    expect(runsAt(p, sleeper, 20e6)).to.equal(switchedInAt + 300_001);
  });
});

describe('the debit', () => {
  it('takes exactly 10 credits a millisecond and carries the rest over', () => {
    const { p, runner, cv, pcpu, switchedInAt } = setUp({ durationNs: 1e9 });
    cv.setCredit(runner, 0);
    cv.setStartTime(runner, switchedInAt);
    cv.setResidual(runner, 0);
    // Two ticks on; accounting is at 30 ms.
    p.run(20e6 + 1);
    const burnt = (20e6 - switchedInAt) * 10;
    expect(-cv.credit(runner) * 1e6 + cv.residual(runner)).to.equal(burnt);
    expect(cv.residual(runner)).to.be.within(0, 999_999);
    expect(pcpu.current(0)).to.equal(runner);
  });
});

describe('priorities that accounting changed', () => {
  it('reorder a queue at the next tick, not before', () => {
    const sim = simulate(machineConfig({ guests: ['a', 'b', 'c'].map((name) => guest({ name, workload: hog() })) }));
    const { queues, pcpu } = sim.built.core.hv.context;
    const { list, entry, runq } = queues;
    sim.run(12e6);
    const [first, second] = [list.first(0), list.next(list.first(0))];
    expect(pcpu.current(0)).to.not.equal(first);
    entry.setPri(first, PRI_OVER);
    runq.setSortEpoch(0, -1);
    sim.run(19.9e6);
    expect([list.first(0), list.next(first)]).to.deep.equal([first, second]);
    sim.run(20.1e6);
    expect([list.first(0), list.next(second)]).to.deep.equal([second, first]);
  });
});

describe('a cap', () => {
  it('is kept by parking: half a pCPU in stretches of whole accounting periods', () => {
    const sim = simulate(machineConfig({ durationNs: 6e9, guests: [guest({ cap: 50, workload: hog() })] }));
    sim.run();
    const { context } = sim.built.core.hv;
    expect(context.vcpu.runstateTime(0, 0) / 6e9).to.be.within(0.48, 0.53);
    expect(context.perfc.total(PERFC.vcpu_park)).to.be.above(40);
    expect(context.perfc.total(PERFC.vcpu_park) - context.perfc.total(PERFC.vcpu_unpark)).to.be.within(0, 1);
    // Its first wake-up, at boot.
    expect(context.perfc.total(PERFC.vcpu_boost)).to.equal(1);
  });
});

describe('tickling', () => {
  /** Two pCPUs: a hog on pCPU 0, and a sleeper whose last pCPU is 0 and whose soft affinity is as given. */
  function withIdler(soft: readonly number[] | undefined) {
    const p = probe(
      machineConfig({
        pcpus: 2,
        guests: [guest({ name: 'hog', workload: hog(), cpus: [[0]] }), guest({ name: 'sleeper', workload: hog() })],
      }),
    );
    const v = p.vcpuOf(1);
    p.call(v, __HYPERVISOR_sched_op, SCHEDOP_block);
    p.run(3e6);
    const { entry, masks, word } = p.context.queues;
    entry.setProcessor(v, 0);
    entry.setPri(v, PRI_UNDER);
    entry.setPri(p.vcpuOf(0), PRI_UNDER);
    p.context.vcpu.setPeriodicPeriod(v, 0);
    if (soft) {
      for (const cpu of [0, 1]) if (!soft.includes(cpu)) masks.clear(word(softMask(v)), cpu);
      entry.setHasSoftAffinity(v, 1);
    }
    return { p, v, hogVcpu: p.vcpuOf(0) };
  }

  for (const [what, soft] of [
    ['no soft affinity', undefined],
    ['a soft affinity that has no idle pCPU', [0]],
  ] as const) {
    it(`sends a woken VCPU with ${what} to an idle pCPU and leaves the running one alone`, () => {
      const { p, v, hogVcpu } = withIdler(soft);
      inTurn(p, 0, () => p.hv.events.sendVirq(v, VIRQ_TIMER));
      expect(p.context.perfc.total(PERFC.migrate_kicked_away)).to.equal(0);
      p.run(p.now + 5_000);
      expect(p.isRunning(hogVcpu)).to.equal(true);
      expect(p.isRunning(v)).to.equal(true);
      expect(p.context.queues.entry.processor(v)).to.equal(1);
    });
  }

  it('takes a busy pCPU when nobody is idle and the woken VCPU is of higher priority', () => {
    const { p, sleeper, wake, switchedInAt } = setUp();
    p.run(switchedInAt + 2e6);
    const before = p.context.perfc.total(PERFC.tickled_busy_cpu);
    wake();
    expect(p.context.perfc.total(PERFC.tickled_busy_cpu)).to.equal(before + 1);
    p.run(p.now + 2);
    expect(p.isRunning(sleeper)).to.equal(true);
  });

  it('takes no pCPU when the woken VCPU is of no higher priority', () => {
    const { p, sleeper, runner, wake, switchedInAt, entry } = setUp({ boost: false });
    p.run(switchedInAt + 2e6);
    entry.setPri(sleeper, entry.pri(runner));
    const before = p.context.perfc.total(PERFC.tickled_no_cpu);
    wake();
    expect(p.context.perfc.total(PERFC.tickled_no_cpu)).to.equal(before + 1);
    p.run(p.now + 1e6);
    expect(p.isRunning(runner)).to.equal(true);
  });
});

describe('a running VCPU that others wait behind', () => {
  it('moves to an idle pCPU at a tick, and runs on there', () => {
    const sim = simulate(
      machineConfig({
        pcpus: 2,
        guests: [guest({ name: 'free', workload: hog() }), guest({ name: 'pinned', workload: hog(), cpus: [[0]] })],
      }),
    );
    sim.run(200e6);
    const { pcpu, perfc, vcpu } = sim.built.core.hv.context;
    expect([pcpu.current(0), pcpu.current(1)]).to.deep.equal([1, 0]);
    expect(perfc.total(PERFC.migrate_running)).to.be.above(0);
    // Off for no longer than the move took.
    expect(vcpu.runstateTime(0, 3)).to.be.below(10_000);
  });
});

describe('affinity', () => {
  it('is not left for a soft affinity that reaches beyond it', () => {
    const sim = simulate(
      machineConfig({
        pcpus: 3,
        guests: [
          guest({
            name: 'busy',
            vcpus: 3,
            workload: { ...hog(), tasks: hog().tasks.map((t) => ({ ...t, instance: 3 })) },
          }),
          guest({ name: 'torn', workload: hog(), cpus: [[1, 2]], cpusSoft: [[0, 1]] }),
        ],
      }),
    );
    const { pcpu } = sim.built.core.hv.context;
    sim.run(1e9, () => {
      if (pcpu.current(0) === 3) expect.fail('VCPU 3 runs on pCPU 0, which is not in its hard affinity');
    });
    expect(sim.built.core.hv.context.vcpu.switches(3)).to.be.above(0);
  });

  it('to pCPUs that the machine has not is as if they were not named', () => {
    const sim = simulate(
      machineConfig({
        pcpus: 8,
        guests: [guest({ workload: hog(), cpus: [[36, 3]] }), guest({ name: 'x', workload: hog() })],
      }),
    );
    sim.run(50e6);
    expect(sim.built.core.hv.context.vcpu.lastPcpu(0)).to.equal(3);
  });
});
