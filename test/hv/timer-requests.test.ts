/**
 * Timers that a VCPU left in the queue of another worker, one interleaving after the other: what two workers do at the same time
 * is done on this thread, the one's in the middle of the other's, at every place where that can be.
 */
import { expect } from 'chai';
import * as V from '../../src/shared/public/vcpu.js';
import { __HYPERVISOR_vcpu_op } from '../../src/shared/public/xen.js';
import { watchTimers } from './free-machine.js';
import { busy, interleave, pair, START, start } from './interleave.js';
import { firesOf, type Moved, moved, NEW, NEWER, OLD, set } from './moved-timer.js';

describe('a timer in the queue of another worker', () => {
  it('fires at the newest time, wherever a request comes together with the service of one for a timer that has fired', () => {
    const ways = interleave(
      () => {
        const s = moved();
        s.m.runWorker(0, OLD);
        s.m.run(OLD - 50_000);
        set(s, NEW, OLD - 50_000);
        // The old one fires before its worker hears of the new time.
        expect(s.m.turn(0)).to.equal(0);
        return s;
      },
      [({ m }) => m.takeMail(0), (s) => set(s, NEWER + 300_000, OLD - 30_000)],
      (s, how) =>
        expect(
          firesOf(s)
            .slice(1)
            .map(([at]) => at),
          JSON.stringify(how),
        ).to.deep.equal([NEWER + 300_000]),
    );
    expect(ways).to.be.above(5);
  });

  /** The request is under way; VCPU 0 is back on a pCPU of worker 0 before its mail is looked at. */
  function back(p: number) {
    const s = movedOf4();
    set4(s, NEW);
    const { m } = s;
    const t = START + 30_000;
    m.act(2, t, ({ hv }) => hv.sched.setAffinity(0, [p]));
    m.turn(1);
    // Its pCPU looks at its queue for a reason of its own.
    m.act(p, t + 5000, ({ hv }) => hv.smp.raiseSchedule(p));
    expect(m.turn(0)).to.equal(p);
    expect(m.context.pcpu.current(p)).to.equal(0);
    return s;
  }
  function movedOf4() {
    const m = start([busy(1, { cpus: [[0]] })], { pcpus: 4, threads: 2 });
    m.act(0, START + 100, (_, calls) => calls.setTimer(0, OLD));
    m.act(2, START + 200, ({ hv }) => hv.sched.setAffinity(0, [2]));
    m.run(START + 20_000);
    expect([m.context.pcpu.current(0), m.context.pcpu.current(2)]).to.deep.equal([m.context.idleOf(0), 0]);
    return { m, fires: watchTimers(m) };
  }
  const set4 = ({ m }: Moved, deadline: number): void =>
    m.act(2, START + 20_000, (_, calls) => calls.setTimer(0, deadline));

  for (const p of [0, 1]) {
    it(`set on pCPU ${p} while an older request is under way, fires once at the newest time`, () => {
      const s = back(p);
      s.m.act(p, s.m.clock(p) + 10, (_, calls) => calls.setTimer(0, NEWER));
      expect(firesOf(s).map(([at]) => at)).to.deep.equal([NEWER]);
    });
    it(`stopped on pCPU ${p} while an older request is under way, does not fire`, () => {
      const s = back(p);
      s.m.act(p, s.m.clock(p) + 10, ({ hv }) => hv.timers.stopSingleshot(0));
      expect(firesOf(s)).to.deep.equal([]);
    });
  }

  it('set on pCPU 1 while an older request for pCPU 0 is under way, leaves the timers of others alone', () => {
    const guests = [busy(1, { cpus: [[0]] }), busy(1, { name: 'other', cpus: [[0]] })];
    const m = start(guests, { pcpus: 4, threads: 2, ratelimitUs: 0 });
    const v = m.context.pcpu.current(0);
    const other = 1 - v;
    m.act(0, START + 100, (_, calls) => calls.setTimer(v, OLD));
    m.act(2, START + 200, ({ hv }) => hv.sched.setAffinity(v, [2]));
    m.run(START + 20_000);
    expect([m.context.pcpu.current(0), m.context.pcpu.current(2)]).to.deep.equal([other, v]);
    m.act(0, START + 21_000, (_, calls) => calls.setTimer(other, NEW + 100_000));
    const fires = watchTimers(m);
    m.act(2, START + 21_000, (_, calls) => calls.setTimer(v, NEW));
    m.act(2, START + 30_000, ({ hv }) => hv.sched.setAffinity(v, [1]));
    m.turn(1);
    m.act(1, START + 35_000, ({ hv }) => hv.smp.raiseSchedule(1));
    expect(m.turn(0)).to.equal(1);
    expect(m.context.pcpu.current(1)).to.equal(v);
    m.act(1, START + 36_000, (_, calls) => calls.setTimer(v, NEWER));
    m.run(START + 3e6);
    expect(fires.map(({ v, at }) => [v, at])).to.deep.equal([
      [v, NEWER],
      [other, NEW + 100_000],
    ]);
  });
});

describe('runstates of a sibling', () => {
  it('that was switched in by a pCPU that is ahead has had no negative time', () => {
    const m = pair();
    m.act(1, START + 10, (_, calls) => calls.block(1));
    m.run(START + 10_000);
    // Woken and switched in at a later time than pCPU 0 has got to.
    m.act(1, START + 60_000, ({ hv }) => hv.sched.unblock(1));
    m.turn(1);
    expect(m.context.vcpu.stateEntryTime(1)).to.be.above(START + 50_000);
    const { kv } = m.mem;
    m.act(0, START + 10_000, ({ hv }, calls) => {
      expect(calls.call(0, __HYPERVISOR_vcpu_op, V.VCPUOP_get_runstate_info, 1, kv.argGuest(0), 0)).to.equal(0);
      const at = kv.argAddr(0) + 16;
      const times = [0, 1, 2, 3].map((k) => hv.memory.u64(at + 8 * k));
      expect(
        times.every((ns) => ns <= 2 ** 50),
        `${times}`,
      ).to.equal(true);
      expect(times[0]! + times[1]! + times[2]! + times[3]!).to.equal(hv.context.now());
      expect(hv.context.now()).to.be.at.least(hv.memory.u64(kv.argAddr(0) + 8));
    });
  });
});
