/**
 * Races of free mode, one interleaving after the other: what two workers do at the same time is done on this thread, the one's
 * in the middle of the other's, at every place where that can be.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { HARD } from '../../src/balancer/run-queues.js';
import { CPU_TIME, RENDEZVOUS, TIMER, VPF_blocked, VPF_paused } from '../../src/hv/records.js';
import { oscillators } from '../../src/shared/oscillator.js';
import {
  RUNSTATE_blocked,
  RUNSTATE_offline,
  RUNSTATE_runnable,
  RUNSTATE_running,
} from '../../src/shared/public/vcpu.js';
import { guest, workload } from '../support/in-process.js';
import { type FreeMachine, interrupt, watchLocks, watchRunstates, watchTimers } from './free-machine.js';
import { busy, interleave, LATENCY, pair, START, start, WINDOW } from './interleave.js';
import { invariants } from './invariants.js';
import { firesOf, type Moved, moved, NEW, NEWER, OLD, set } from './moved-timer.js';

const stateOf = ({ context }: FreeMachine, v: number): number => context.vcpu.runstate(v);

/** A turn of pCPU p at `ns`, for whatever reason. */
function turnAt(m: FreeMachine, p: number, ns: number): void {
  const { keys } = m.cores[m.workerOf(p)]!;
  keys.set(p, ns);
  expect(m.turn(m.workerOf(p))).to.equal(p);
}

/** Whether anything of IPI port of VCPU v is left to be taken. */
function hasEvent({ context, mem, cores }: FreeMachine, v: number): boolean {
  return cores[0]!.hv.events.isPending(context.vcpu.domain(v), mem.kv.ipiPort(v));
}

describe('an event that is sent to a pCPU that is behind', () => {
  const SENT = START + 50_000;

  it('is taken at a time at which it had been sent', () => {
    const m = pair();
    m.act(1, SENT, (_, calls) => calls.send(1, m.mem.kv.ipiPort(0)));
    turnAt(m, 0, START + 100);
    expect(hasEvent(m, 0)).to.equal(false);
    expect(m.mem.kv.clockReadAt(0)).to.equal(SENT);
    expect(m.clock(0)).to.equal(SENT);
  });

  it('does not move on a pCPU to whose VCPU it is not sent', () => {
    const m = pair();
    m.act(1, SENT, (_, calls) => calls.send(1, m.mem.kv.ipiPort(1)));
    turnAt(m, 0, START + 100);
    expect(m.clock(0)).to.equal(START + 100);
  });

  it('does not take a pCPU back that is ahead', () => {
    const m = pair();
    m.act(1, SENT, (_, calls) => calls.send(1, m.mem.kv.ipiPort(0)));
    turnAt(m, 0, SENT + 20_000);
    expect(hasEvent(m, 0)).to.equal(false);
    expect(m.clock(0)).to.equal(SENT + 20_000);
  });

  it('interrupts what its VCPU does one latency after it was sent', () => {
    const m = pair();
    m.act(1, SENT, (_, calls) => calls.send(1, m.mem.kv.ipiPort(0)));
    m.runWorker(0, SENT + 10_000);
    expect(hasEvent(m, 0)).to.equal(false);
    expect(m.mem.kv.clockReadAt(0)).to.equal(SENT + LATENCY);
  });

  it('counts when it is sent again before it is taken', () => {
    const m = pair();
    m.act(1, SENT, (_, calls) => calls.send(1, m.mem.kv.ipiPort(0)));
    // The bit is set already, but what its sender has done by now is to be seen as well.
    m.act(1, SENT + 30_000, (_, calls) => calls.send(1, m.mem.kv.ipiPort(0)));
    turnAt(m, 0, START + 100);
    expect(m.mem.kv.clockReadAt(0)).to.equal(SENT + 30_000);
  });

  for (const [first, second] of [
    [1, 2],
    [2, 1],
  ] as const) {
    it(`by two is taken when the later one had sent it: first by pCPU ${first}, then by ${second}`, () => {
      const m = start([busy(3, { cpus: [[0], [1], [2]] })], { pcpus: 3, threads: 3 });
      for (const p of [first, second]) {
        // Under no lock that would bring the second up to the first, as a timer sends.
        m.act(p, p === 1 ? SENT : SENT - 20_000, ({ hv }) =>
          hv.events.setPending(m.context.vcpu.domain(0), m.mem.kv.ipiPort(0)),
        );
      }
      expect([m.clock(1), m.clock(2)]).to.deep.equal([SENT, SENT - 20_000]);
      turnAt(m, 0, START + 100);
      expect(m.mem.kv.clockReadAt(0)).to.equal(SENT);
    });
  }

  it('brings a poll up to it that finds its port pending', () => {
    const m = pair();
    const { kv } = m.mem;
    m.act(1, SENT, (_, calls) => calls.send(1, kv.lockPort(0)));
    m.act(0, START + 100, (_, calls) => calls.poll(0, kv.lockPort(0), Infinity));
    expect(m.clock(0)).to.equal(SENT);
    expect(m.context.vcpu.pauseFlags(0)).to.equal(0);
  });

  it('moves on by any times up to a window apart, and is long past otherwise', () => {
    const m = pair();
    const { machine, vcpu, image } = m.context;
    const port = m.mem.kv.ipiPort(0);
    const info = vcpu.infoAddr(0);
    const [sender, receiver] = [m.cores[1]!.hv, m.cores[0]!.hv];
    const apart = fc.integer({ min: -3 * WINDOW, max: 3 * WINDOW });
    // Around all places where low halves wrap.
    const about = fc.tuple(fc.integer({ min: 1, max: 20_000 }), fc.integer({ min: -2 * WINDOW, max: 2 * WINDOW }));
    fc.assert(
      fc.property(about, apart, ([wraps, off], delta) => {
        const sent = wraps * 2 ** 31 + off;
        // The last one was sent two seconds ago.
        vcpu.setEventSentAt(0, (sent - 2 ** 31) | 0);
        sender.smp.enterTurn(1);
        machine.setNow(1, sent);
        sender.events.setPending(vcpu.domain(0), port);
        receiver.smp.enterTurn(0);
        machine.setNow(0, sent - delta);
        image.u8[info + 1] = 0;
        expect(receiver.events.needsDelivery(0)).to.equal(true);
        expect(machine.now(0)).to.equal(delta > 0 && delta <= WINDOW ? sent : sent - delta);
        // As the guest does when it takes the event: upcall flag, selector, port.
        image.u8[info] = 0;
        image.i32[(info >> 2) + 2] = 0;
        receiver.events.clearPending(vcpu.domain(0), port);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('a VCPU that is woken by a pCPU that is ahead', () => {
  const WOKEN = START + 60_000;

  /** VCPU 0 blocks and pCPU 0 idles. */
  function asleep() {
    const m = pair();
    m.act(0, START + 10, (_, calls) => calls.block(0));
    m.turn(0);
    expect([m.context.pcpu.current(0), stateOf(m, 0)]).to.deep.equal([m.context.idleOf(0), RUNSTATE_blocked]);
    return { m, watched: watchRunstates(m) };
  }

  it('is switched in by one that is behind when it has been woken, and no runstate runs backwards', () => {
    const { m, watched } = asleep();
    m.act(1, WOKEN, (_, calls) => calls.send(1, m.mem.kv.ipiPort(0)));
    expect([stateOf(m, 0), m.context.vcpu.stateEntryTime(0)]).to.deep.equal([RUNSTATE_runnable, WOKEN]);
    // Before the IPI is there, for a reason of its own.
    m.act(0, START + 2000, ({ hv }) => hv.smp.raiseSchedule(0));
    m.turn(0);
    expect([m.context.pcpu.current(0), stateOf(m, 0)]).to.deep.equal([0, RUNSTATE_running]);
    expect(m.context.vcpu.stateEntryTime(0)).to.equal(WOKEN);
    expect(m.clock(0)).to.equal(WOKEN);
    expect(m.context.vcpu.runstateTime(0, RUNSTATE_runnable)).to.be.at.least(0);
    m.run(START + 1e6);
    invariants(m).check();
    expect(watched.backwards).to.deep.equal([]);
  });

  it('runs one latency after it was woken where nothing else happens', () => {
    const { m, watched } = asleep();
    m.act(1, WOKEN, (_, calls) => calls.send(1, m.mem.kv.ipiPort(0)));
    m.runWorker(0, START + 1e6);
    expect([stateOf(m, 0), m.context.vcpu.stateEntryTime(0)]).to.deep.equal([RUNSTATE_running, WOKEN + LATENCY]);
    expect(watched.backwards).to.deep.equal([]);
  });

  it('never has a runstate that runs backwards, wherever the two come together', () => {
    const ways = interleave(
      asleep,
      [
        ({ m }) => {
          m.act(0, START + 2000, ({ hv }) => hv.smp.raiseSchedule(0));
          m.turn(0);
        },
        ({ m }) => m.act(1, WOKEN, (_, calls) => calls.send(1, m.mem.kv.ipiPort(0))),
      ],
      ({ m, watched }, how) => {
        m.run(START + 1e6);
        expect(watched.backwards, JSON.stringify(how)).to.deep.equal([]);
        expect([stateOf(m, 0), hasEvent(m, 0)], JSON.stringify(how)).to.deep.equal([RUNSTATE_running, false]);
        invariants(m).check();
      },
    );
    expect(ways).to.be.above(12);
  });

  it('never has one when it is moved by that pCPU and woken by another in between', () => {
    const ways = interleave(
      () => {
        const m = start([busy(1, { cpus: [[0]] }), busy(1, { name: 'other' })], { pcpus: 3, threads: 3 });
        m.act(0, START + 10, ({ hv }) => hv.sched.sleep(0, VPF_paused));
        m.turn(0);
        expect(stateOf(m, 0)).to.equal(RUNSTATE_offline);
        return { m, watched: watchRunstates(m) };
      },
      [
        // Behind: it lets go of a VCPU that worker 1 has moved away meanwhile, or has not.
        ({ m }) => m.act(0, START + 2000, ({ hv }) => hv.sched.clearFlag(0, VPF_paused)),
        ({ m }) => m.act(1, WOKEN, ({ hv }) => hv.sched.setAffinity(0, [2])),
      ],
      ({ m, watched }, how) => {
        expect(watched.backwards, JSON.stringify(how)).to.deep.equal([]);
        m.run(START + 1e6);
        expect(watched.backwards, JSON.stringify(how)).to.deep.equal([]);
        expect([stateOf(m, 0), m.context.pcpu.current(2)], JSON.stringify(how)).to.deep.equal([RUNSTATE_running, 0]);
        invariants(m).check();
      },
    );
    expect(ways).to.be.above(12);
  });
});

describe('a VCPU that is woken by a pCPU that is behind', () => {
  it('never has a runstate that runs backwards, wherever that comes together with its going to sleep and its move', () => {
    const ways = interleave(
      () => {
        const m = start([busy(1, { cpus: [[0]] })], { pcpus: 3, threads: 3 });
        // The IPI is under way when it goes to sleep, much later by the clock of its pCPU.
        m.act(1, START + 100, ({ hv }) => hv.sched.setAffinity(0, [2]));
        return { m, watched: watchRunstates(m), ...watchLocks(m) };
      },
      [
        ({ m }) => {
          m.act(0, START + 60_000, (_, calls) => calls.block(0));
          m.turn(0);
        },
        ({ m }) => m.act(1, START + 2000, ({ hv }) => hv.sched.unblock(0)),
      ],
      ({ m, watched, unlocked }, how) => {
        expect(watched.backwards, JSON.stringify(how)).to.deep.equal([]);
        m.run(START + 1e6);
        expect([...watched.backwards, ...unlocked], JSON.stringify(how)).to.deep.equal([]);
        const { queues, vcpu } = m.context;
        expect([queues.entry.processor(0), vcpu.pauseFlags(0) & ~VPF_blocked], JSON.stringify(how)).to.deep.equal([
          2, 0,
        ]);
        invariants(m).check();
      },
    );
    expect(ways).to.be.above(12);
  });
});

describe('a VCPU that goes to sleep while an event is sent to it', () => {
  const setUp = () => ({ m: pair() });

  /** It has taken the event, and computes on. */
  function isAwake({ m }: { readonly m: FreeMachine }, how: unknown = ''): void {
    m.run(START + 1e6);
    const state = [stateOf(m, 0), m.context.vcpu.pauseFlags(0), m.context.pcpu.current(0), hasEvent(m, 0)];
    expect(state, JSON.stringify(how)).to.deep.equal([RUNSTATE_running, 0, 0, false]);
    invariants(m).check();
  }

  it('does not sleep through one that comes between the flag and the look', () => {
    const s = setUp();
    const { m } = s;
    m.act(0, START + 100, ({ hv }) => {
      hv.sched.block(0);
      expect(hv.events.needsDelivery(0)).to.equal(false);
      m.act(1, START + 50, (_, calls) => calls.send(1, m.mem.kv.ipiPort(0)));
      expect(hv.events.needsDelivery(0)).to.equal(true);
      hv.sched.cancelBlock(0);
    });
    isAwake(s);
  });

  it('does not sleep through one that comes after the look', () => {
    const s = setUp();
    const { m } = s;
    m.act(0, START + 100, ({ hv }) => {
      hv.sched.block(0);
      expect(hv.events.needsDelivery(0)).to.equal(false);
      m.act(1, START + 50, (_, calls) => calls.send(1, m.mem.kv.ipiPort(0)));
      hv.smp.raiseSchedule(0);
    });
    isAwake(s);
  });

  it('does sleep where none comes', () => {
    const { m } = setUp();
    m.act(0, START + 100, (_, calls) => calls.block(0));
    m.run(START + 1e6);
    expect([stateOf(m, 0), m.context.vcpu.pauseFlags(0)]).to.deep.equal([RUNSTATE_blocked, VPF_blocked]);
  });

  for (const [what, behind] of [
    ['at the same time', 0],
    ['by a pCPU that is ahead', 60_000],
  ] as const) {
    it(`does not sleep through one that is sent ${what}, wherever the two come together`, () => {
      const ways = interleave(
        setUp,
        [
          ({ m }) => {
            m.act(0, START + 100, (_, calls) => calls.block(0));
            m.turn(0);
          },
          ({ m }) => m.act(1, START + 100 + behind, (_, calls) => calls.send(1, m.mem.kv.ipiPort(0))),
        ],
        isAwake,
      );
      expect(ways).to.be.above(12);
    });
  }

  it('does not sleep through one that it polls for, wherever the two come together', () => {
    const ways = interleave(
      setUp,
      [
        ({ m }) => {
          m.act(0, START + 100, (_, calls) => calls.poll(0, m.mem.kv.lockPort(0), Infinity));
          m.turn(0);
        },
        ({ m }) => m.act(1, START + 200, (_, calls) => calls.send(1, m.mem.kv.lockPort(0))),
      ],
      ({ m }, how) => {
        m.run(START + 1e6);
        const state = [
          stateOf(m, 0),
          m.context.vcpu.pauseFlags(0),
          m.context.vcpu.pollPort(0),
          m.context.domain.pollers(1),
        ];
        expect(state, JSON.stringify(how)).to.deep.equal([RUNSTATE_running, 0, 0, 0]);
        invariants(m).check();
      },
    );
    expect(ways).to.be.above(12);
  });

  it('does not sleep through the end of its poll, wherever a sender comes together with its timer', () => {
    const ways = interleave(
      () => {
        const m = pair();
        m.act(0, START + 100, (_, calls) => calls.poll(0, m.mem.kv.lockPort(0), START + 50_000));
        m.turn(0);
        expect(stateOf(m, 0)).to.equal(RUNSTATE_blocked);
        return { m };
      },
      [
        // The turn at which the timer fires.
        ({ m }) => expect(m.turn(0)).to.equal(0),
        ({ m }) => m.act(1, START + 60_000, (_, calls) => calls.send(1, m.mem.kv.lockPort(0))),
      ],
      ({ m }, how) => {
        m.run(START + 1e6);
        const state = [
          stateOf(m, 0),
          m.context.vcpu.pauseFlags(0),
          m.context.vcpu.pollPort(0),
          m.context.domain.pollers(1),
        ];
        expect(state, JSON.stringify(how)).to.deep.equal([RUNSTATE_running, 0, 0, 0]);
        invariants(m).check();
      },
    );
    expect(ways).to.be.above(12);
  });
});

describe('a VCPU that is moved by a pCPU of another worker', () => {
  /** Four pCPUs of two workers. VCPUs 0 and 1 on pCPU 0: one runs and one waits. pCPU 1 idles, 2 is busy, and 3 may be. */
  function setUpWith(isBusy3: boolean) {
    const guests = [
      busy(1, { name: 'a', cpus: [[0]] }),
      busy(1, { name: 'b', cpus: [[0]] }),
      busy(1, { name: 'c', cpus: [[2]] }),
      ...(isBusy3 ? [busy(1, { name: 'd', cpus: [[3]] })] : []),
    ];
    const m = start(guests, { pcpus: 4, threads: 2 });
    const running = m.context.pcpu.current(0);
    const queued = 1 - running;
    expect([stateOf(m, running), stateOf(m, queued)]).to.deep.equal([RUNSTATE_running, RUNSTATE_runnable]);
    return { m, running, queued, watched: watchRunstates(m), ...watchLocks(m) };
  }
  const setUp = () => setUpWith(true);
  type SetUp = ReturnType<typeof setUp>;

  function blockedSetUp() {
    const s = setUp();
    s.m.act(0, START + 10, (_, calls) => calls.block(s.running));
    s.m.turn(0);
    expect([stateOf(s.m, s.running), stateOf(s.m, s.queued)]).to.deep.equal([RUNSTATE_blocked, RUNSTATE_running]);
    return s;
  }

  function hasMoved(
    { m, watched, unlocked }: SetUp,
    v: number,
    cpus: readonly number[],
    state: number,
    how: unknown = '',
  ): void {
    m.run(START + 100e6);
    const what = JSON.stringify(how);
    const { queues, vcpu } = m.context;
    expect(cpus, what).to.include(queues.entry.processor(v));
    expect(
      [vcpu.runstate(v) <= RUNSTATE_runnable ? RUNSTATE_running : vcpu.runstate(v), vcpu.pauseFlags(v)],
      what,
    ).to.deep.equal([state, state === RUNSTATE_blocked ? VPF_blocked : 0]);
    expect([...watched.backwards, ...unlocked], what).to.deep.equal([]);
    // In at most one queue, that of its pCPU; running on it, or queued, or held.
    invariants(m).check();
  }

  const MASKS = [[1], [2], [1, 3], [3]] as const;

  for (const cpus of MASKS) {
    it(`to pCPU ${cpus.join(' or ')} is there afterwards, whether it ran, waited or slept`, () => {
      for (const which of ['running', 'queued'] as const) {
        const s = setUp();
        const v = s[which];
        s.m.act(2, START + 40_000, ({ hv }) => hv.sched.setAffinity(v, cpus));
        hasMoved(s, v, cpus, RUNSTATE_running, which);
        expect(s.m.context.vcpu.lastPcpu(v), which).to.be.oneOf([...cpus]);
      }
      const s = blockedSetUp();
      s.m.act(2, START + 40_000, ({ hv }) => hv.sched.setAffinity(s.running, cpus));
      hasMoved(s, s.running, cpus, RUNSTATE_blocked);
      // It wakes up where it may run.
      s.m.act(2, s.m.clock(2) + 1000, ({ hv }) => hv.sched.unblock(s.running));
      s.m.run(START + 200e6);
      expect(s.m.context.vcpu.lastPcpu(s.running)).to.be.oneOf([...cpus]);
      invariants(s.m).check();
    });
  }

  it('leaves the queue it waited in at once, and waits in no other than its own', () => {
    const s = setUp();
    const { queues } = s.m.context;
    s.m.act(2, START + 40_000, ({ hv }) => hv.sched.setAffinity(s.queued, [3]));
    expect(queues.entry.processor(s.queued)).to.equal(3);
    expect([queues.list.first(0), queues.list.first(3), queues.runq.nrRunnable(0)]).to.deep.equal([-1, s.queued, 1]);
    invariants(s.m).check();
  });

  it('stays where it is until its state is saved, when it runs', () => {
    const s = setUp();
    const { queues, pcpu } = s.m.context;
    s.m.act(2, START + 40_000, ({ hv }) => hv.sched.setAffinity(s.running, [3]));
    expect([queues.entry.processor(s.running), pcpu.current(0)]).to.deep.equal([0, s.running]);
    // The IPI that asks for it is under way.
    s.m.runWorker(0, START + 40_000 + LATENCY);
    expect(queues.entry.processor(s.running)).to.equal(0);
    s.m.runWorker(0, START + 40_000 + LATENCY + 1);
    expect([queues.entry.processor(s.running), pcpu.current(0)]).to.deep.equal([3, s.queued]);
  });

  const move =
    (which: 'running' | 'queued', cpus: readonly number[]) =>
    (s: SetUp): void =>
      s.m.act(2, START + 40_000, ({ hv }) => hv.sched.setAffinity(s[which], cpus));

  /** The running VCPU yields to the one that waits. */
  const switchOver = ({ m, running }: SetUp): void => {
    m.act(0, START + 2000, ({ hv }) => hv.sched.yield(running));
    m.turn(0);
  };

  for (const which of ['running', 'queued'] as const) {
    for (const cpus of [[1], [3]]) {
      it(`to pCPU ${cpus} is there wherever that comes together with a switch: the one that is ${which}`, () => {
        const ways = interleave(setUp, [switchOver, move(which, cpus)], (s, how) =>
          hasMoved(s, s[which], cpus, RUNSTATE_running, how),
        );
        expect(ways).to.be.above(12);
      });
    }
  }

  it('is moved by one only, where its pCPU and who asked for it both could, and idle pCPUs attract it', () => {
    for (const which of ['running', 'queued'] as const) {
      const ways = interleave(
        () => setUpWith(false),
        [switchOver, move(which, [1, 3])],
        (s, how) => {
          hasMoved(s, s[which], [1, 3], RUNSTATE_running, how);
          expect(s.m.context.vcpu.migrations(s[which]), JSON.stringify(how)).to.be.at.most(1);
        },
      );
      expect(ways).to.be.above(12);
    }
  });

  it('is there wherever that comes together with its going to sleep', () => {
    const block = ({ m, running }: SetUp): void => {
      m.act(0, START + 2000, (_, calls) => calls.block(running));
      m.turn(0);
    };
    const ways = interleave(setUp, [block, move('running', [3])], (s, how) =>
      hasMoved(s, s.running, [3], RUNSTATE_blocked, how),
    );
    expect(ways).to.be.above(12);
  });

  it('is there wherever that comes together with its waking up', () => {
    const wake = ({ m, running }: SetUp): void => m.act(0, START + 2000, ({ hv }) => hv.sched.unblock(running));
    const ways = interleave(blockedSetUp, [wake, move('running', [3])], (s, how) =>
      hasMoved(s, s.running, [3], RUNSTATE_running, how),
    );
    expect(ways).to.be.above(12);
  });

  it('is there wherever that comes together with its being moved elsewhere', () => {
    const elsewhere = ({ m, queued }: SetUp): void =>
      m.act(0, START + 2000, ({ hv }) => hv.sched.setAffinity(queued, [1]));
    const ways = interleave(setUp, [elsewhere, move('queued', [3])], (s, how) => {
      const { masks, affinity } = s.m.context.queues;
      // Where the one wants it that had the lock last.
      const cpus = [1, 3].filter((p) => masks.has(affinity(s.queued, HARD), p));
      expect(cpus.length, JSON.stringify(how)).to.equal(1);
      hasMoved(s, s.queued, cpus, RUNSTATE_running, how);
    });
    expect(ways).to.be.above(12);
  });
});

describe('a timer of a VCPU that has moved to another worker', () => {
  it('fires where it was set, if it is left alone', () => {
    expect(firesOf(moved())).to.deep.equal([[OLD, 0]]);
  });

  for (const [what, deadline] of [
    ['later', NEW],
    ['earlier', NEWER],
  ] as const) {
    it(`is set anew by that worker when it is asked to, and fires once, at the new time: ${what}`, () => {
      const s = moved();
      set(s, deadline);
      expect(s.m.cores[0]!.mail.hasMail()).to.equal(true);
      // Nobody else has touched its queue.
      expect(s.m.context.pcpu.timerAt(0)).to.equal(OLD);
      s.m.takeMail(0);
      expect(s.m.context.pcpu.timerAt(0)).to.equal(deadline);
      expect(s.m.cores[0]!.keys.key(0)).to.equal(deadline);
      expect(firesOf(s)).to.deep.equal([[deadline, 0]]);
    });
  }

  it('is set to a time that is over by then, and fires at once', () => {
    const s = moved();
    set(s, START + 10_000);
    const [[at, worker] = [], ...others] = firesOf(s);
    expect([worker, others]).to.deep.equal([0, []]);
    expect(at).to.be.within(START + 10_000, START + 30_000);
  });

  it('is stopped by that worker', () => {
    const s = moved();
    set(s, -1);
    expect(firesOf(s)).to.deep.equal([]);
    expect(s.m.context.pcpu.timerAt(0)).to.equal(Infinity);
  });

  for (const [wishes, times] of [
    [[NEW, NEWER], [NEWER]],
    [[NEWER, NEW], [NEW]],
    [[NEW, -1], []],
    [[-1, NEW], [NEW]],
    [[-1, NEW, -1, NEWER], [NEWER]],
  ] as const) {
    it(`is set to what was asked for last: ${wishes.map((ns) => (ns < 0 ? 'stopped' : ns)).join(', then ')}`, () => {
      const s = moved();
      for (const ns of wishes) set(s, ns);
      expect(firesOf(s).map(([at]) => at)).to.deep.equal(times);
    });
  }

  it('that fires before its worker hears of the new time fires once more, then', () => {
    const s = moved();
    s.m.runWorker(0, OLD - 1);
    s.m.run(OLD - 50_000);
    set(s, NEW, OLD - 50_000);
    // Its worker is in the middle of something.
    expect(s.m.turn(0)).to.equal(0);
    expect(firesOf(s)).to.deep.equal([
      [OLD, 0],
      [NEW, 0],
    ]);
  });

  it("that fires before its worker hears of the new time is still its worker's, until that has heard", () => {
    const s = moved();
    s.m.runWorker(0, OLD - 1);
    s.m.run(OLD - 50_000);
    set(s, NEW, OLD - 50_000);
    expect(s.m.turn(0)).to.equal(0);
    // In no queue, but asked for.
    set(s, NEW + 50_000, OLD - 40_000);
    expect(s.m.context.pcpu.timerAt(1)).to.equal(Infinity);
    expect(firesOf(s)).to.deep.equal([
      [OLD, 0],
      [NEW + 50_000, 0],
    ]);
  });

  it('goes with its VCPU once it has fired', () => {
    const s = moved();
    s.m.run(OLD + 10_000);
    set(s, NEW, OLD + 20_000);
    expect(s.m.cores[0]!.mail.hasMail()).to.equal(false);
    expect(s.m.context.pcpu.timerAt(1)).to.equal(NEW);
    expect(firesOf(s)).to.deep.equal([
      [OLD, 0],
      [NEW, 1],
    ]);
  });

  it('goes with its VCPU once it was stopped', () => {
    const s = moved();
    set(s, -1);
    s.m.takeMail(0);
    set(s, NEW, START + 30_000);
    expect(firesOf(s)).to.deep.equal([[NEW, 1]]);
  });

  it('is set where it was at first, when its VCPU is back', () => {
    const s = moved();
    set(s, NEW);
    s.m.act(1, START + 30_000, ({ hv }) => hv.sched.setAffinity(0, [0]));
    s.m.run(START + 100_000);
    expect(s.m.context.pcpu.current(0)).to.equal(0);
    s.m.act(0, START + 100_000, (_, calls) => calls.setTimer(0, NEWER));
    expect(firesOf(s)).to.deep.equal([[NEWER, 0]]);
  });

  it('is one of several that are asked for at the same time, each of which gets its own', () => {
    // VCPUs 0 and 1 set their timers on pCPU 0 and go to pCPUs 2 and 3, which are worker 1's.
    const guests = [busy(1, { cpus: [[0]] }), busy(1, { name: 'other', cpus: [[0]] })];
    const m = start(guests, { pcpus: 4, threads: 2, ratelimitUs: 0 });
    const times = [NEW, NEWER];
    for (const to of [2, 3]) {
      const v = m.context.pcpu.current(0);
      m.act(0, m.clock(0) + 100, (_, calls) => calls.setTimer(v, OLD + to));
      m.act(to, Math.max(m.clock(to), m.clock(0)), ({ hv }) => hv.sched.setAffinity(v, [to]));
      m.run(m.clock(0) + 20_000);
      expect(m.context.pcpu.current(to)).to.equal(v);
    }
    const fires = watchTimers(m);
    for (const p of [2, 3]) {
      const v = m.context.pcpu.current(p);
      m.act(p, START + 100_000, (_, calls) => calls.setTimer(v, times[v]!));
    }
    m.run(START + 3e6);
    expect(fires).to.deep.equal([
      { v: 1, at: NEWER, worker: 0 },
      { v: 0, at: NEW, worker: 0 },
    ]);
  });

  const asked = (s: Moved): void => set(s, NEW, OLD - 20_000);

  it('fires once at the new time, wherever the request comes together with the old one', () => {
    const ways = interleave(
      () => {
        const s = moved();
        s.m.runWorker(0, OLD);
        s.m.run(OLD - 50_000);
        return s;
      },
      [({ m }) => expect(m.turn(0)).to.equal(0), asked],
      (s, how) => {
        const times = firesOf(s).map(([at]) => at);
        expect(times, JSON.stringify(how)).to.deep.equal([OLD, NEW]);
      },
    );
    expect(ways).to.be.above(12);
  });

  it('fires once at the newest time, wherever another request comes together with the service of one', () => {
    const ways = interleave(
      () => {
        const s = moved();
        set(s, NEW);
        return s;
      },
      [({ m }) => m.takeMail(0), (s) => set(s, NEWER, START + 30_000)],
      (s, how) => expect(firesOf(s), JSON.stringify(how)).to.deep.equal([[NEWER, 0]]),
    );
    expect(ways).to.be.above(5);
  });

  it('does not fire, wherever it is stopped while a request is served', () => {
    const ways = interleave(
      () => {
        const s = moved();
        set(s, NEW);
        return s;
      },
      [({ m }) => m.takeMail(0), (s) => set(s, -1, START + 30_000)],
      (s, how) => expect(firesOf(s), JSON.stringify(how)).to.deep.equal([]),
    );
    expect(ways).to.be.above(5);
  });
});

describe('a rendezvous', () => {
  const EPOCH = 1e9;
  const PCPUS = 4;

  /** Four pCPUs of two workers whose counters run apart, shortly before all calibrate. */
  function setUp() {
    const m = start([busy(PCPUS, { cpus: [[0], [1], [2], [3]] })], {
      pcpus: PCPUS,
      threads: 2,
      durationNs: 3e9,
      tscDriftsPpm: [40, -40, 20, 0],
      tscOffsetsNs: [0, 5000, -7000, 123_456],
    });
    m.run(EPOCH - 20_000);
    const cpu = m.built.image.table(CPU_TIME);
    const before = all((p) => cpu.calibrations(p));
    /** All have calibrated once more, at one and the same time, and go on. */
    const isOver = (how: unknown = ''): void => {
      const what = JSON.stringify(how);
      expect(
        all((p) => cpu.calibrations(p) - before[p]!),
        what,
      ).to.deep.equal([1, 1, 1, 1]);
      expect(all(m.context.pcpu.isHeld), what).to.deep.equal([0, 0, 0, 0]);
      const at = m.built.image.table(RENDEZVOUS).at(0);
      expect(at, what).to.be.within(EPOCH, EPOCH + WINDOW);
      const reading = oscillators(m.built.image).read(PCPUS, at);
      expect(all(cpu.pairMaster), what).to.deep.equal(all(() => reading));
      // Nobody calibrated before the last one came.
      for (const ns of all(cpu.calibratedAt)) expect(ns, what).to.be.at.least(at);
      const clocks = all((p) => m.cores[m.workerOf(p)]!.hv.time.systemTime(p));
      expect(clocks.every(Number.isFinite), what).to.equal(true);
    };
    return { m, cpu, before, isOver };
  }
  const all = <T>(of: (p: number) => T): T[] => Array.from({ length: PCPUS }, (_, p) => of(p));
  const heldOf = ({ m }: { readonly m: FreeMachine }): number[] => all(m.context.pcpu.isHeld);

  it('holds who has come until the last one is there', () => {
    const s = setUp();
    const { m, cpu, before } = s;
    m.runWorker(0, EPOCH + 1);
    expect(heldOf(s)).to.deep.equal([1, 0, 0, 0]);
    m.runWorker(0, EPOCH + 1e6);
    expect(heldOf(s)).to.deep.equal([1, 1, 0, 0]);
    // They have no turns, whatever their guests were at.
    expect([m.clock(0), m.clock(1)]).to.deep.equal([EPOCH, EPOCH + LATENCY]);
    expect(m.cores[0]!.keys.key(m.cores[0]!.keys.root())).to.equal(Infinity);
    // The others are behind, and go on up to the call.
    m.runWorker(1, EPOCH + LATENCY);
    expect(heldOf(s)).to.deep.equal([1, 1, 0, 0]);
    expect(m.turn(1)).to.equal(2);
    expect(heldOf(s)).to.deep.equal([1, 1, 1, 0]);
    expect(all((p) => cpu.calibrations(p) - before[p]!)).to.deep.equal([0, 0, 0, 0]);
    // The last one lets all go, first itself.
    expect(m.turn(1)).to.equal(3);
    expect(heldOf(s)).to.deep.equal([1, 1, 1, 0]);
    expect(all((p) => cpu.calibrations(p) - before[p]!)).to.deep.equal([0, 0, 0, 1]);
    m.run(EPOCH + WINDOW);
    s.isOver();
    invariants(m).check();
  });

  it('is at the time of the last one to come, whose clock was ahead', () => {
    const s = setUp();
    const late = EPOCH + 70_000;
    // Busy in a turn of its own when it is called.
    s.m.act(3, late, () => {});
    s.m.run(EPOCH + WINDOW);
    s.isOver();
    expect(s.m.built.image.table(RENDEZVOUS).at(0)).to.be.at.least(late);
  });

  it('is at no time that is over for anybody, though the last one to come is behind', () => {
    const s = setUp();
    const { m } = s;
    const late = EPOCH + 70_000;
    m.act(3, late, () => {});
    m.runWorker(0, EPOCH + 1);
    m.runWorker(1, EPOCH + WINDOW);
    expect(heldOf(s)).to.deep.equal([1, 0, 1, 1]);
    const came = m.clock(3);
    expect(came).to.be.at.least(late);
    m.runWorker(0, EPOCH + LATENCY + 1);
    expect(m.clock(1)).to.equal(came);
    m.run(EPOCH + WINDOW);
    s.isOver();
    expect(m.built.image.table(RENDEZVOUS).at(0)).to.equal(came);
  });

  it('is come to by all, though the next one is called before all have gone from the last', () => {
    // As a window of a whole epoch allows: the call comes when worker 1 is where the next one is due.
    const m = start([busy(PCPUS, { cpus: [[0], [1], [2], [3]] })], {
      pcpus: PCPUS,
      threads: 2,
      durationNs: 9e9,
      windowNs: EPOCH,
    });
    m.run(EPOCH - 20_000);
    m.runWorker(1, 2 * EPOCH + 30_000);
    for (let ns = EPOCH; ns < 5 * EPOCH; ns += EPOCH / 10) m.run(ns);
    const cpu = m.built.image.table(CPU_TIME);
    expect(all(m.context.pcpu.isHeld)).to.deep.equal([0, 0, 0, 0]);
    expect(new Set(all(cpu.joined))).to.deep.equal(new Set([cpu.joined(0)]));
    expect(cpu.joined(0)).to.be.at.least(3);
  });

  it('lets nobody who is held take events, and everybody afterwards', () => {
    const s = setUp();
    const { m } = s;
    m.runWorker(0, EPOCH + 1e6);
    m.act(2, EPOCH, (_, calls) => calls.send(2, m.mem.kv.ipiPort(0)));
    m.runWorker(0, EPOCH + 1e6);
    expect(hasEvent(m, 0)).to.equal(true);
    expect(m.clock(0)).to.equal(EPOCH);
    m.run(EPOCH + WINDOW);
    expect(hasEvent(m, 0)).to.equal(false);
    s.isOver();
  });

  it('is held once a second, by the same rules each time', () => {
    const s = setUp();
    s.m.run(EPOCH + WINDOW);
    s.isOver();
    s.m.run(2 * EPOCH - 1);
    expect(all((p) => s.cpu.calibrations(p) - s.before[p]!)).to.deep.equal([1, 1, 1, 1]);
    s.m.run(2 * EPOCH + WINDOW);
    expect(all((p) => s.cpu.calibrations(p) - s.before[p]!)).to.deep.equal([2, 2, 2, 2]);
    expect(heldOf(s)).to.deep.equal([0, 0, 0, 0]);
    expect(new Set(all(s.cpu.pairMaster)).size).to.equal(1);
  });

  for (const [what, before0, before1] of [
    ['the call with the others', EPOCH, EPOCH - 10_000],
    ['the last two of all', EPOCH + LATENCY, EPOCH + LATENCY + 1],
  ] as const) {
    it(`is kept by all, wherever they come together: ${what}`, () => {
      const ways = interleave(
        () => {
          const s = setUp();
          s.m.runWorker(0, before0);
          s.m.runWorker(1, before1);
          return s;
        },
        [({ m }) => m.turn(0), ({ m }) => m.runWorker(1, EPOCH + LATENCY + 2)],
        (s, how) => {
          s.m.run(EPOCH + WINDOW);
          s.isOver(how);
          invariants(s.m).check();
        },
      );
      expect(ways).to.be.above(12);
    });
  }
});

describe('a machine of free mode under any interleaving', () => {
  const us = (max: number) => fc.integer({ min: 1, max });
  const task = fc.oneof(
    us(3_000).map((run) => ({ run })),
    fc.tuple(us(300), us(500)).map(([run, sleep]) => ({ loop: -1, run, sleep })),
    fc.tuple(us(200), us(900)).map(([run, period]) => ({ loop: -1, run, timer: { ref: 'unique', period } })),
    fc.tuple(us(300), us(300)).map(([run, run1]) => ({ loop: -1, lock: 'm', run, unlock: 'm', run1, instance: 2 })),
    us(300).map((run) => ({ loop: -1, run, barrier: 'b', instance: 2 })),
    us(300).map((run) => ({ loop: -1, run, yield: '', run1: run })),
  );
  const spec = fc.integer({ min: 2, max: 4 }).chain((pcpus) => {
    const cpus = fc.uniqueArray(fc.nat(pcpus - 1), { minLength: 1 });
    return fc.record({
      machine: fc.record({
        pcpus: fc.constant(pcpus),
        threads: fc.integer({ min: 2, max: pcpus }),
        tsliceMs: fc.constantFrom(1, 5),
        ratelimitUs: fc.constantFrom(0, 100),
        latencyNs: fc.constantFrom(1, LATENCY, 50_000),
      }),
      guests: fc.array(
        fc.record({
          vcpus: fc.integer({ min: 1, max: 3 }),
          cap: fc.constantFrom(0, 0, 30),
          tasks: fc.array(task, { minLength: 1, maxLength: 3 }),
        }),
        { minLength: 1, maxLength: 3 },
      ),
      commands: fc.array(fc.record({ after: fc.nat(200), v: fc.nat(8), cpus, pauses: fc.boolean() }), {
        maxLength: 10,
      }),
      choices: fc.infiniteStream(fc.nat(0xffff)),
    });
  });
  type Spec = typeof spec extends fc.Arbitrary<infer T> ? T : never;

  function walk({ machine, guests, commands, choices }: Spec): void {
    const m = start(
      guests.map(({ tasks, ...g }, n) =>
        guest({ ...g, name: `g${n}`, workload: workload(Object.fromEntries(tasks.map((t, k) => [`t${k}`, t]))) }),
      ),
      machine,
    );
    const { backwards } = watchRunstates(m);
    const { check } = invariants(m);
    const { shape } = m.context;
    const choose = (n: number): number => choices.next().value % n;
    const nextOf = (w: number): number => m.cores[w]!.keys.key(m.cores[w]!.keys.root());

    /** A turn of worker w, unless it is a window ahead of others. */
    function turnOf(w: number): void {
      if (m.cores[w]!.mail.hasMail()) m.takeMail(w);
      const floors = m.cores.map(({ mail }, k) => Math.min(nextOf(k), mail.earliestUnseen()));
      if (nextOf(w) <= Math.min(...floors) + WINDOW) m.turn(w);
    }

    function step(act: () => void, w: number): void {
      const other = (w + 1 + choose(m.cores.length - 1)) % m.cores.length;
      const [place, turns] = [choose(60), 1 + choose(6)];
      const goOn = (): void => {
        for (let k = 0; k < turns; k++) turnOf(other);
      };
      if (!interrupt(m.cores[w]!, place, act, goOn, { outsideLocks: true })) goOn();
    }

    let isMoving = false;
    const waiting = [...commands];
    for (let n = 0, since = 0; n < 400; n++, since++) {
      const w = choose(m.cores.length);
      const command = waiting[0];
      if (command === undefined || since < command.after) step(() => turnOf(w), w);
      else {
        waiting.shift();
        since = 0;
        isMoving = true;
        const v = command.v % shape.vcpus;
        const p = m.cores[w]!.pcpus[0]!;
        const { sched } = m.cores[w]!.hv;
        step(() => {
          m.act(p, m.clock(p) + 1, () => {
            if (command.pauses) sched.sleep(v, VPF_paused);
            else {
              sched.setAffinity(v, command.cpus);
              sched.clearFlag(v, VPF_paused);
            }
          });
        }, w);
      }
      // What is being moved or paused is on its way.
      if (!isMoving && n % 16 === 0) check();
    }
    expect(backwards).to.deep.equal([]);
    m.run(Math.max(...Array.from({ length: shape.pcpus }, (_, p) => m.clock(p))) + 300_000);
    expect(backwards).to.deep.equal([]);
    check();
    checkTimers(m);
    checkSleepers(m);
  }

  /** Nobody sleeps who has an upcall pending that he has not masked. */
  function checkSleepers({ context, built }: FreeMachine): void {
    const { vcpu, shape } = context;
    for (let v = 0; v < shape.vcpus; v++) {
      const [pending, mask] = [built.image.u8[vcpu.infoAddr(v)], built.image.u8[vcpu.infoAddr(v) + 1]];
      if ((vcpu.pauseFlags(v) & VPF_blocked) === 0 || pending === 0 || mask !== 0) continue;
      expect.fail(`VCPU ${v} sleeps through an event`);
    }
  }

  /** Every timer that is armed is in the queue that it says, in the place that it says, and nothing else is. */
  function checkTimers({ context, built }: FreeMachine): void {
    const { pcpu, shape } = context;
    const { i32 } = built.image;
    const timer = built.image.table(TIMER);
    const queues = built.image.region('timer-queues');
    const slot = (p: number, k: number): number => i32[((queues.base + p * queues.size) >> 2) + k]!;
    let armed = 0;
    for (let t = 0; t < 2 * shape.vcpus; t++) {
      if (timer.position(t) === 0) continue;
      armed++;
      expect(slot(timer.queue(t), timer.position(t) - 1), `timer ${t}`).to.equal(t);
      expect(timer.position(t), `timer ${t}`).to.be.at.most(pcpu.timers(timer.queue(t)));
    }
    let queued = 0;
    for (let p = 0; p < shape.pcpus; p++) {
      const size = pcpu.timers(p);
      queued += size;
      const deadlines = Array.from({ length: size }, (_, k) => timer.deadline(slot(p, k)));
      expect(pcpu.timerAt(p)).to.equal(Math.min(...deadlines));
    }
    expect(queued).to.equal(armed);
  }

  it('keeps its queues, masks, timers and runstates right, and sleeps through no event', () => {
    fc.assert(fc.property(spec, walk), { numRuns: 100, interruptAfterTimeLimit: 2_000 });
  });
});
