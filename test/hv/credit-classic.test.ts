/** What the credit scheduler of Xen 3.0.4 does differently; credit.test.ts has what is common, and today's rules. */
import { expect } from 'chai';
import { hardMask } from '../../src/balancer/records.js';
import type { Profile } from '../../src/hv/context.js';
import { PERFC } from '../../src/hv/perfc.js';
import { PRI_OVER, PRI_UNDER } from '../../src/hv/sched/credit-records.js';
import { SCHEDOP_block, SCHEDOP_yield } from '../../src/shared/public/sched.js';
import { __HYPERVISOR_sched_op, VIRQ_TIMER } from '../../src/shared/public/xen.js';
import { guest, hog, machineConfig } from '../support/in-process.js';
import { probe } from './probe.js';
import { inTurn, runsAt, setUp } from './sleeper.js';

const PROFILES = ['classic', 'modern'] as const;

describe('the debit of the classic profile', () => {
  it('is 100 credits for who runs at a tick', () => {
    const { p, runner, cv } = setUp({ profile: 'classic' });
    cv.setCredit(runner, 0);
    p.run(10e6 - 1);
    expect(cv.credit(runner)).to.equal(0);
    p.run(10e6 + 1);
    expect(cv.credit(runner)).to.equal(-100);
    p.run(20e6 + 1);
    expect(cv.credit(runner)).to.equal(-200);
  });

  it('is nothing for who has left by then', () => {
    for (const [profile, credit] of [
      ['classic', 0],
      ['modern', -85],
    ] as const) {
      const { p, runner, cv, switchedInAt } = setUp({ profile });
      cv.setCredit(runner, 0);
      p.run(switchedInAt + 8.5e6);
      p.call(runner, __HYPERVISOR_sched_op, SCHEDOP_block);
      p.run(p.now + 2);
      expect(p.isRunning(runner)).to.equal(false);
      expect(cv.credit(runner), profile).to.equal(credit);
    }
  });
});

describe('a wake-up in the classic profile', () => {
  it('takes the pCPU at once, without a ratelimit', () => {
    const { p, sleeper, wake, switchedInAt } = setUp({ profile: 'classic' });
    p.run(switchedInAt + 300_000);
    wake();
    expect(runsAt(p, sleeper, 20e6)).to.equal(switchedInAt + 300_001);
  });

  /** Four pCPUs, a hog on pCPU 0, the others idle; a sleeper that was last there is woken. */
  function wakeBesideIdlers(profile: Profile, cpus: readonly number[] | undefined, boost: boolean) {
    const p = probe(
      machineConfig({
        profile,
        pcpus: 4,
        boost,
        guests: [guest({ name: 'hog', workload: hog() }), guest({ name: 'sleeper', workload: hog() })],
      }),
    );
    const [hogVcpu, v] = [p.vcpuOf(0), p.vcpuOf(1)];
    const { queues, vcpu, pcpu, perfc } = p.context;
    vcpu.setPeriodicPeriod(v, 0);
    p.call(v, __HYPERVISOR_sched_op, SCHEDOP_block);
    p.run(3e6);
    if (cpus) queues.masks.assign(queues.word(hardMask(v)), cpus);
    queues.entry.setProcessor(v, 0);
    queues.entry.setPri(v, PRI_UNDER);
    queues.entry.setPri(hogVcpu, PRI_UNDER);
    const [idle, busy] = [perfc.total(PERFC.tickled_idle_cpu), perfc.total(PERFC.tickled_busy_cpu)];
    inTurn(p, 0, () => p.hv.events.sendVirq(v, VIRQ_TIMER));
    const told = [1, 2, 3].filter((q) => pcpu.reschedIpiAt(q) < Infinity);
    const idlers = [1, 2, 3].filter((q) => queues.masks.has(queues.idlers(q), q));
    p.run(p.now + 10_000);
    return {
      told,
      idlers,
      idle: perfc.total(PERFC.tickled_idle_cpu) - idle,
      busy: perfc.total(PERFC.tickled_busy_cpu) - busy,
      bothRun: p.isRunning(v) && p.isRunning(hogVcpu),
    };
  }

  it('tells every idle pCPU of the affinity, not one', () => {
    expect(wakeBesideIdlers('classic', undefined, false)).to.deep.include({ told: [1, 2, 3], idle: 3, busy: 0 });
    expect(wakeBesideIdlers('classic', [0, 2, 3], false)).to.deep.include({ told: [2, 3], idle: 2, busy: 0 });
    expect(wakeBesideIdlers('modern', undefined, false).told).to.have.length(1);
  });

  it('leaves them idlers until they have looked', () => {
    expect(wakeBesideIdlers('classic', undefined, false).idlers).to.deep.equal([1, 2, 3]);
    expect(wakeBesideIdlers('modern', undefined, false).idlers).to.have.length(2);
  });

  it('tells its own pCPU as well when it is of higher priority than who runs there', () => {
    expect(wakeBesideIdlers('classic', undefined, true)).to.deep.include({ told: [1, 2, 3], idle: 3, busy: 1 });
    expect(wakeBesideIdlers('modern', undefined, true)).to.deep.include({ idle: 1, busy: 0 });
  });

  it('has both run in the end', () => {
    for (const boost of [false, true]) {
      expect(wakeBesideIdlers('classic', undefined, boost).bothRun, `boost ${boost}`).to.equal(true);
    }
  });
});

describe('a yield in the classic profile', () => {
  it('lets equals go first, but nobody of lower priority', () => {
    for (const profile of PROFILES) {
      for (const other of [PRI_UNDER, PRI_OVER]) {
        const { p, sleeper, runner, wake, entry } = setUp({ profile, boost: false });
        p.run(p.now + 2e6);
        entry.setPri(sleeper, other);
        wake();
        p.run(p.now + 1e3);
        expect(p.isRunning(runner)).to.equal(true);
        p.call(runner, __HYPERVISOR_sched_op, SCHEDOP_yield);
        p.run(p.now + 2);
        const givesWay = profile === 'modern' || other === PRI_UNDER;
        expect(p.isRunning(sleeper), `${profile}, ${other}`).to.equal(givesWay);
      }
    }
  });
});

describe('load balancing in the classic profile', () => {
  it('looks for work at every schedule, not once a millisecond', () => {
    const looks = (profile: Profile): number => {
      const p = probe(machineConfig({ profile, pcpus: 2, guests: [guest({ workload: hog(), cpus: [[0]] })] }));
      p.run(5e6);
      const before = p.context.perfc.total(PERFC.load_balance_idle);
      for (let n = 0; n < 5; n++) {
        inTurn(p, 1, () => p.hv.smp.raiseSchedule(1));
        p.run(p.now + 10_000);
      }
      return p.context.perfc.total(PERFC.load_balance_idle) - before;
    };
    expect(looks('classic')).to.equal(5);
    expect(looks('modern')).to.equal(1);
  });
});
