import { expect } from 'chai';
import { runQueues } from '../../src/balancer/run-queues.js';
import type { Profile } from '../../src/hv/context.js';
import { PERFC } from '../../src/hv/perfc.js';
import { creditAccounting } from '../../src/hv/sched/credit-accounting.js';
import { CREDIT_DOMAIN, CREDIT_GLOBAL, CREDIT_VCPU, PRI_OVER, PRI_UNDER } from '../../src/hv/sched/credit-records.js';
import type { GenericScheduler } from '../../src/hv/sched/interface.js';
import { lists, NONE } from '../../src/shared/list.js';
import { sharedWords } from '../../src/shared/shared-words.js';
import { guest, hog, machineConfig, simulate } from '../support/in-process.js';

interface Dom {
  readonly weight?: number;
  readonly cap?: number;
  readonly vcpus?: number;
}

/** Credits of one pCPU per timeslice of 30 ms. */
const CPT = 300;

/** The accounting alone, over the records of a machine that has not run: all VCPUs active, no credit yet. */
function setUp(pcpus: number, doms: readonly Dom[], profile: Profile = 'modern') {
  const { built } = simulate(
    machineConfig({
      profile,
      pcpus,
      guests: doms.map(({ weight = 256, cap = 0, vcpus = 1 }, n) =>
        guest({ name: `g${n}`, weight, cap, vcpus, workload: hog() }),
      ),
    }),
  );
  const { image, core } = built;
  const { context } = core.hv;
  const cv = image.table(CREDIT_VCPU);
  const cd = image.table(CREDIT_DOMAIN);
  const cg = image.table(CREDIT_GLOBAL);
  const links = <T extends typeof CREDIT_VCPU | typeof CREDIT_DOMAIN>(s: T) =>
    image.columns(s as typeof CREDIT_VCPU, 'next', 'prev', 'linked');
  const activeVcpus = lists(image.i32, links(CREDIT_VCPU), image.columns(CREDIT_DOMAIN, 'first', 'last'));
  const activeDomains = lists(
    image.i32,
    image.columns(CREDIT_DOMAIN, 'next', 'prev', 'linked'),
    image.columns(CREDIT_GLOBAL, 'first', 'last'),
  );
  const calls: string[] = [];
  const pool = { index: 0, params: context.params, pcpus: () => pcpus, master: () => 0 };
  const generic: GenericScheduler = {
    isRunnable: () => true,
    pause: (v) => calls.push(`pause ${v}`),
    unpause: (v) => calls.push(`unpause ${v}, parked ${cv.isParked(v)}`),
    requestMigration: () => {},
    raiseSchedule: () => {},
    keyChanged: () => {},
    lock: () => 0,
    park: () => {},
  };
  const accounting = creditAccounting(context, generic, { cv, cd, cg, activeVcpus, activeDomains, pool });
  const vcpus = doms.reduce((n, d) => n + (d.vcpus ?? 1), 0);
  const all = Array.from({ length: vcpus }, (_, v) => v);
  for (const v of all) accounting.activate(v);
  const { entry } = runQueues(image, context.shape, sharedWords(image.i32, image.u8, 'never'));
  return {
    accounting,
    cv,
    cd,
    cg,
    machine: context.machine,
    calls,
    entry,
    /** Sets credits, runs one accounting, gives the new credits. */
    after(credits: readonly number[], balance = 0): number[] {
      for (const [v, credit] of credits.entries()) cv.setCredit(v, credit);
      cg.setBalance(0, balance);
      accounting.run();
      return all.map((v) => cv.credit(v));
    },
    order(): number[] {
      const out: number[] = [];
      for (let d = activeDomains.first(0); d !== NONE; d = activeDomains.next(d)) out.push(d);
      return out;
    },
    isActive: (v: number) => activeVcpus.isLinked(v),
    counter: (name: keyof typeof PERFC) => context.perfc.total(PERFC[name]),
  };
}

describe('credit accounting', () => {
  it('shares what one pCPU earns by weight', () => {
    const a = setUp(1, [{ weight: 256 }, { weight: 512 }]);
    expect(a.after([0, 0])).to.deep.equal([100, 200]);
    expect(a.cg.balance(0)).to.equal(CPT);
  });

  it('weighs every VCPU of a domain', () => {
    const a = setUp(1, [{ vcpus: 2 }, { vcpus: 1 }]);
    expect(a.after([0, 0, 0])).to.deep.equal([100, 100, 100]);
  });

  it('rounds shares up', () => {
    // 300 / 7 = 42.9 for each of seven; 256 * 300 / 1000 = 76.8 and 744 * 300 / 1000 = 223.2.
    expect(setUp(1, [{ vcpus: 7 }]).after([0, 0, 0, 0, 0, 0, 0])).to.deep.equal(new Array(7).fill(43));
    expect(setUp(1, [{ weight: 256 }, { weight: 744 }]).after([0, 0])).to.deep.equal([77, 224]);
  });

  it('gives nobody more than a pCPU for each VCPU, and the rest to those that come after', () => {
    const a = setUp(2, [{ weight: 512 }, { weight: 256 }]);
    // Fair is 400 of 600, the peak 300: the 100 left over are 300 of the other's scale, 900 in all, its third 300.
    expect(a.after([0, 0])).to.deep.equal([300, 300]);
  });

  it('serves a domain that gave something up first next time, when an earlier one wanted more', () => {
    const a = setUp(2, [{ weight: 256 }, { weight: 512 }]);
    expect(a.order()).to.deep.equal([1, 2]);
    expect(a.after([0, 0])).to.deep.equal([200, 300]);
    expect(a.order()).to.deep.equal([2, 1]);
    expect(a.counter('acct_reorder')).to.equal(1);
    expect(a.after([0, 0])).to.deep.equal([300, 300]);
  });

  it('lifts a negative balance by handing out as much more', () => {
    const a = setUp(1, [{ weight: 256 }, { weight: 512 }]);
    // 300 + 300 to share; peaks are 300 + 100 and 300 + 200.
    expect(a.after([-150, -150], -300)).to.deep.equal([50, 250]);
    expect(a.counter('acct_balance')).to.equal(1);
  });

  it('hands no more than a pCPU and its part of the shortfall to one domain', () => {
    const a = setUp(4, [{ weight: 256 }, { weight: 512 }]);
    // 1200 + 90: fair 430 of the first is above its peak of 300 + 30, which it gets.
    expect(a.after([-290, -290], -90)).to.deep.equal([40, 70]);
  });

  it('makes who is in debt OVER and who is not UNDER', () => {
    const a = setUp(1, [{}, {}]);
    a.after([-151, -150]);
    expect([a.cv.credit(0), a.cv.credit(1)]).to.deep.equal([-1, 0]);
    expect([a.entry.pri(0), a.entry.pri(1)]).to.deep.equal([PRI_OVER, PRI_UNDER]);
  });

  it('lets debt grow no further than a timeslice', () => {
    const a = setUp(1, [{}, {}]);
    expect(a.after([-700, 0])).to.deep.equal([-CPT, 150]);
    expect(a.cg.balance(0)).to.equal(-CPT + 150);
    expect(a.counter('acct_min_credit')).to.equal(1);
  });

  it('takes who has more than a timeslice off the active list and halves its credit', () => {
    const a = setUp(1, [{ weight: 256 }, { weight: 512 }]);
    expect(a.after([201, 0])).to.deep.equal([150, 200]);
    expect([a.isActive(0), a.isActive(1)]).to.deep.equal([false, true]);
    expect([a.cg.weight(0), a.cd.activeVcpus(1)]).to.deep.equal([512, 0]);
    expect(a.order()).to.deep.equal([2]);
  });

  it('keeps who has exactly a timeslice', () => {
    const a = setUp(1, [{}]);
    expect(a.after([0])).to.deep.equal([CPT]);
    expect(a.isActive(0)).to.equal(true);
  });

  it('rests when nobody is active', () => {
    const a = setUp(1, [{}]);
    a.accounting.deactivate(0);
    a.cg.setBalance(0, -50);
    a.accounting.run();
    expect([a.cg.balance(0), a.cg.nextAccounting(0)]).to.deep.equal([0, Infinity]);
    expect(a.counter('acct_no_work')).to.equal(1);
    a.accounting.activate(0);
    expect(a.cg.nextAccounting(0)).to.equal(30e6);
  });

  it('moves the epoch, so that every pCPU sorts its queue at its next tick', () => {
    const a = setUp(1, [{}]);
    const epoch = a.cg.sortEpoch(0);
    a.after([0]);
    expect(a.cg.sortEpoch(0)).to.equal(epoch + 1);
  });

  describe('with a cap', () => {
    it('gives at most the cap', () => {
      expect(setUp(1, [{ cap: 50 }]).after([0])).to.deep.equal([150]);
      expect(setUp(4, [{ cap: 150, vcpus: 2 }, {}]).after([0, 0, 0])).to.deep.equal([225, 225, 300]);
    });

    it('parks a VCPU that is further in debt than its part of the cap', () => {
      const a = setUp(1, [{ cap: 50 }]);
      expect(a.after([-301])).to.deep.equal([-151]);
      expect(a.calls).to.deep.equal(['pause 0']);
      expect(a.cv.isParked(0)).to.equal(1);
      expect(a.counter('vcpu_park')).to.equal(1);
    });

    it('does not park one whose debt is just that part', () => {
      const a = setUp(1, [{ cap: 50 }]);
      expect(a.after([-300])).to.deep.equal([-150]);
      expect(a.calls).to.deep.equal([]);
    });

    it('parks once, and unpauses before it clears the flag when the debt is paid', () => {
      const a = setUp(1, [{ cap: 50 }]);
      a.after([-600]);
      a.after([-301]);
      a.after([-150]);
      expect(a.calls).to.deep.equal(['pause 0', 'unpause 0, parked 1']);
      expect(a.cv.isParked(0)).to.equal(0);
    });

    it('leaves what a capped domain cannot have to the others', () => {
      // Fair is 150 each, the cap 75: 75 left over, twice that on the other's scale, (300 + 150) / 2.
      expect(setUp(1, [{ cap: 25 }, {}]).after([0, 0])).to.deep.equal([75, 225]);
    });
  });
});

describe('credit accounting of the classic profile', () => {
  const classic = (pcpus: number, doms: readonly Dom[]) => setUp(pcpus, doms, 'classic');

  it('shares what one pCPU earns by weight', () => {
    const a = classic(1, [{ weight: 256 }, { weight: 512 }]);
    expect(a.after([0, 0])).to.deep.equal([100, 200]);
    expect(a.cg.balance(0)).to.equal(CPT);
  });

  it('weighs domains, not their VCPUs, who share what their domain gets', () => {
    const a = classic(1, [{ vcpus: 2 }, { vcpus: 1 }]);
    expect(a.cg.weight(0)).to.equal(512);
    expect(a.after([0, 0, 0])).to.deep.equal([75, 75, 150]);
  });

  it('counts the weight of a domain as long as one of its VCPUs is active', () => {
    const a = classic(1, [{ vcpus: 2 }, { weight: 100 }]);
    a.accounting.deactivate(0);
    expect([a.cg.weight(0), a.cd.activeVcpus(1)]).to.deep.equal([356, 1]);
    a.accounting.deactivate(1);
    expect([a.cg.weight(0), a.order()]).to.deep.equal([100, [2]]);
    a.accounting.activate(1);
    expect(a.cg.weight(0)).to.equal(356);
    a.accounting.weightChanged();
    expect(a.cg.weight(0)).to.equal(356);
  });

  it('still gives nobody more than a pCPU for each active VCPU, and the rest to those that come after', () => {
    // Fair is 300 of 600 for each; the single VCPU could take no more, and the two of the other get 150 each.
    expect(classic(2, [{ vcpus: 1 }, { vcpus: 2 }]).after([0, 0, 0])).to.deep.equal([300, 150, 150]);
    // Fair is 400, the peak 300: the 100 left over are 300 of the other's scale, 900 in all, its third 300.
    expect(classic(2, [{ weight: 512 }, { weight: 256, vcpus: 2 }]).after([0, 0, 0])).to.deep.equal([300, 150, 150]);
  });

  it('takes who has more than a timeslice off the active list and leaves it nothing', () => {
    const a = classic(1, [{ weight: 256 }, { weight: 512 }]);
    expect(a.after([201, 0])).to.deep.equal([0, 200]);
    expect([a.isActive(0), a.isActive(1)]).to.deep.equal([false, true]);
    expect(a.cg.weight(0)).to.equal(512);
  });

  it('parks and unparks as the modern one does', () => {
    const a = classic(1, [{ cap: 50 }]);
    expect(a.after([-301])).to.deep.equal([-151]);
    a.after([-150]);
    expect(a.calls).to.deep.equal(['pause 0', 'unpause 0, parked 1']);
  });

  it('comes with every third tick, however late the last one was', () => {
    for (const [profile, next] of [
      ['classic', 60e6],
      ['modern', 65e6],
    ] as const) {
      const a = setUp(1, [{}], profile);
      a.machine.setNow(0, 35e6);
      a.accounting.run();
      expect(a.cg.nextAccounting(0), profile).to.equal(next);
    }
  });
});
