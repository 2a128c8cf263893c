/** Workers of free mode that have nothing to do with each other, and when they no longer are. */
import { expect } from 'chai';
import { buildMachine } from '../../src/machine/build.js';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import * as E from '../../src/shared/public/event-channel.js';
import { __HYPERVISOR_event_channel_op, DOMID_SELF } from '../../src/shared/public/xen.js';
import { guest, hog, machineConfig, workload } from '../support/in-process.js';
import { type FreeMachine, freeMachine } from './free-machine.js';
import { invariants } from './invariants.js';

const START = 1_000_000;
/** pCPUs of the two workers. */
const [FIRST, SECOND] = [
  [0, 1],
  [2, 3],
];

/** A domain whose VCPUs sleep and run, pinned to these pCPUs. */
const pinned = (name: string, vcpus: number, ...cpus: (readonly number[])[]): GuestConfig =>
  guest({
    name,
    vcpus,
    cpus: Array.from({ length: vcpus }, (_, v) => cpus[v % cpus.length]!),
    workload: workload({ t: { instance: 2 * vcpus, run: 70, sleep: 200 } }),
  });

function start(guests: readonly GuestConfig[], over: Partial<MachineConfig> = {}): FreeMachine {
  return freeMachine(machineConfig({ pcpus: 4, threads: 2, guests, ...over }), true);
}

const twoPools = (): FreeMachine => start([pinned('a', 3, FIRST!), pinned('b', 3, SECOND!)]);

/** Whether every pCPU's bits are in masks that it shares with exactly these others. */
function groups({ context }: FreeMachine): number[][] {
  const { queues } = context;
  const byMask = new Map<number, number[]>();
  for (let p = 0; p < 4; p++) byMask.set(queues.idlers(p), [...(byMask.get(queues.idlers(p)) ?? []), p]);
  return [...byMask.values()];
}

describe('groups of ordered mode', () => {
  const two = [pinned('a', 1, [0]), pinned('b', 1, [1]), pinned('c', 1, [1])];
  const ordered = (threads = 1) => buildMachine(machineConfig({ pcpus: 4, threads, guests: two }), 1).core.hv;

  it('have masks of their own, with those of pCPUs that nobody uses in the first', () => {
    const { queues } = ordered().context;
    expect([0, 1, 2, 3].map(queues.groupOf)).to.deep.equal([1, 2, 1, 1]);
    expect(queues.idlers(2)).to.equal(queues.idlers(0));
    expect(queues.idlers(1)).to.not.equal(queues.idlers(0));
    for (const p of [0, 1, 2, 3]) {
      expect(queues.masks.has(queues.idlers(p), p)).to.equal(true);
      expect(queues.masks.has(queues.idlers(1), p)).to.equal(p === 1);
    }
  });

  it('are one when a VCPU is allowed pCPUs of two, and not for one of its own', () => {
    const { separation, context } = ordered();
    separation.allow(1, [1]);
    expect(context.queues.groupOf(1)).to.equal(2);
    separation.allow(1, [1, 3]);
    expect([0, 1, 2, 3].map(context.queues.groupOf)).to.deep.equal([1, 1, 1, 1]);
  });

  it('are one when something leads from a domain to another, unless they may be in the middle of turns', () => {
    const { separation, context } = ordered();
    separation.connected(2, 3);
    // Asked for in vain.
    separation.connect(3, 1);
    expect(context.queues.groupOf(1)).to.equal(2);
    separation.connected(3, 1);
    expect(context.queues.groupOf(1)).to.equal(1);
    const sideBySide = ordered(2).separation;
    sideBySide.connect(2, 3);
    expect(() => sideBySide.connect(3, 1)).to.throw(/at the same time/);
  });

  it('have all their turns with one worker when they become one, and every key where it was', () => {
    const { core } = buildMachine(machineConfig({ pcpus: 4, threads: 2, guests: two }), 1);
    const { pcpu } = core.hv.context;
    const state = (): number[] => [0, 1, 2, 3].map(core.keys.key);
    const before = state();
    expect([0, 1, 2, 3].map(pcpu.worker)).to.deep.equal([0, 1, 0, 0]);
    core.hv.separation.allow(0, [0, 1]);
    expect([0, 1, 2, 3].map(pcpu.worker)).to.deep.equal([0, 0, 0, 0]);
    expect(state()).to.deep.equal(before);
    expect(core.keys.earliestOf(1)).to.equal(Infinity);
  });
});

describe('workers of free mode', () => {
  it('are separate where every domain stays with one of them', () => {
    expect(twoPools().context.isSeparate()).to.equal(true);
    expect(groups(twoPools())).to.deep.equal([FIRST, SECOND]);
    expect(start([pinned('a', 2, [2], [3])]).context.isSeparate()).to.equal(true);
  });

  it('are separate where there is only one', () => {
    const m = start([guest({ workload: hog() })], { threads: 1 });
    expect(m.context.isSeparate()).to.equal(true);
  });

  it('are not where a VCPU may go from one to the other, or a domain has VCPUs with both', () => {
    for (const guests of [
      [guest({ workload: hog() })],
      [pinned('a', 1, FIRST!), pinned('b', 1, [1, 2])],
      [pinned('a', 2, [0], [3])],
    ]) {
      const m = start(guests);
      expect(m.context.isSeparate()).to.equal(false);
      expect(groups(m)).to.deep.equal([[0, 1, 2, 3]]);
    }
  });

  it('are not where races are looked for', () => {
    expect(start([pinned('a', 1, FIRST!)], { jitterSeed: 1 }).context.isSeparate()).to.equal(false);
  });

  it('have all records in order while they are separate', () => {
    const m = twoPools();
    const { check } = invariants(m);
    for (let ns = START; ns < 40e6; ns += 300_000) {
      m.run(ns);
      check();
    }
  });

  it('are together as soon as a VCPU may use a pCPU of another, with the idle and the overloaded as they were', () => {
    const m = twoPools();
    const { queues } = m.context;
    const { check } = invariants(m);
    m.run(35_000_000);
    const bits = (): boolean[][] =>
      [0, 1, 2, 3].map((p) => [queues.masks.has(queues.idlers(p), p), queues.masks.has(queues.overloaded(p), p)]);
    const pin = (v: number, cpus: readonly number[]): void => {
      m.act(0, m.clock(0) + 1, ({ hv }) => {
        hv.separation.allow(v, cpus);
        const before = bits();
        expect(m.context.isSeparate()).to.equal(cpus.every((p) => p < 2));
        expect(bits()).to.deep.equal(before);
        hv.sched.setAffinity(v, cpus);
      });
      check();
    };
    pin(0, [1]);
    expect(groups(m)).to.deep.equal([FIRST, SECOND]);
    pin(0, [1, 2]);
    expect(groups(m)).to.deep.equal([[0, 1, 2, 3]]);
    for (let ns = 36_000_000; ns < 60e6; ns += 300_000) {
      m.run(ns);
      check();
    }
  });

  describe('of whom a domain binds a port', () => {
    /** Has VCPU v make an event channel call with 32-bit words as its argument; returns the result and the word at `out`. */
    function eventOp(m: FreeMachine, v: number, cmd: number, words: readonly number[], out: number): [number, number] {
      const { domain, vcpu, image } = m.context;
      const args = m.mem.kd.argArea(vcpu.domain(v));
      const at = (domain.frames(vcpu.domain(v)) + args) >> 2;
      for (const [k, word] of words.entries()) image.i32[at + k] = word;
      const p = m.context.queues.entry.processor(v);
      const rc = m.act(p, m.clock(p) + 1, (_, calls) => calls.call(v, __HYPERVISOR_event_channel_op, cmd, args, 0, 0));
      return [rc, image.i32[at + out]!];
    }
    const allow = (m: FreeMachine, v: number, remote: number): number => {
      const [rc, port] = eventOp(m, v, E.EVTCHNOP_alloc_unbound, [DOMID_SELF | (remote << 16), 0], 1);
      expect(rc).to.equal(0);
      return port;
    };

    for (const [what, pool, isSeparate] of [
      ['another', SECOND!, false],
      ['the same worker', FIRST!, true],
    ] as const) {
      it(`of a domain of ${what} are ${isSeparate ? 'separate as before' : 'together'}`, () => {
        const m = start([pinned('a', 1, FIRST!), pinned('b', 1, pool)]);
        m.run(START);
        const port = allow(m, 0, 2);
        expect(m.context.isSeparate()).to.equal(true);
        const [rc, local] = eventOp(m, 1, E.EVTCHNOP_bind_interdomain, [1, port, 0], 2);
        expect(rc).to.equal(0);
        expect(m.context.isSeparate()).to.equal(isSeparate);
        expect(eventOp(m, 1, E.EVTCHNOP_send, [local], 0)[0]).to.equal(0);
        expect(m.cores[0]!.hv.events.isPending(1, port)).to.equal(true);
        invariants(m).check();
      });
    }
  });
});
