/** Free mode: domains end and pCPUs go off line while other workers are at work, one interleaving after the other. */
import { expect } from 'chai';
import { DOMAIN_STATE } from '../../src/hv/records.js';
import { guest, workload } from '../support/in-process.js';
import type { FreeMachine } from './free-machine.js';
import { busy, interleave, START, start, WINDOW } from './interleave.js';
import { invariants } from './invariants.js';

/** A domain of two VCPUs, one with each worker, that sleep and run, and one that computes on the second pCPU. */
const two = (): { readonly m: FreeMachine } => ({
  m: start(
    [
      busy(1, { name: 'stays', cpus: [[0]] }),
      guest({
        name: 'goes',
        vcpus: 2,
        cpus: [[1], [1]],
        workload: workload({ t: { instance: 2, run: 70, sleep: 50 } }),
      }),
    ],
    { durationNs: 1e9 },
  ),
});

/** What a hypercall of pCPU p does up to the end of its turn, where what was put off comes. */
function asCall({ cores, workerOf, context, clock }: FreeMachine, p: number, act: (w: number) => void): void {
  const w = workerOf(p);
  const { hv } = cores[w]!;
  hv.smp.enterTurn(p);
  context.machine.setNow(w, Math.max(START, clock(p)) + 1);
  act(w);
}

function endOfTurn(m: FreeMachine, p: number): void {
  const { hv, keys, turns } = m.cores[m.workerOf(p)]!;
  hv.smp.enterTurn(p);
  if (hv.deferred.isWanted()) hv.deferred.run();
  keys.set(p, Math.min(keys.key(p), Math.max(turns.keyOf(p), m.clock(p) + 1)));
}

/** Up to two turns of the second worker: it may have nothing more to do. */
function turns(m: FreeMachine): void {
  const { keys } = m.cores[1]!;
  for (let n = 0; n < 2 && keys.key(keys.root()) < Infinity; n++) m.turn(1);
}

const GOES = 2;

describe('a domain that is destroyed while another worker is at work', () => {
  it('is gone when its VCPUs are off, wherever the two come together', () => {
    const ways = interleave(
      two,
      [
        ({ m }) => asCall(m, 0, (w) => m.cores[w]!.hv.destruction.destroy(GOES)),
        ({ m }) => {
          turns(m);
        },
      ],
      ({ m }) => {
        const { check } = invariants(m);
        endOfTurn(m, 0);
        m.run(START + 3 * WINDOW);
        expect(m.context.domain.state(GOES)).to.equal(DOMAIN_STATE.free);
        check();
        m.run(START + 4 * WINDOW);
        check();
      },
    );
    expect(ways).to.be.above(20);
  });

  it('leaves no timer behind that another worker was asked to change', () => {
    const { m } = two();
    const { check } = invariants(m);
    // Its timers are the second worker's; it is moved to the first, and asks the second for them.
    m.act(0, START + 10, ({ hv }) => {
      for (const v of [1, 2]) hv.sched.setAffinity(v, [0]);
    });
    m.run(START + WINDOW);
    m.act(0, m.clock(0) + 10, ({ hv }) => hv.destruction.destroy(GOES));
    m.run(START + 5 * WINDOW);
    expect(m.context.domain.state(GOES)).to.equal(DOMAIN_STATE.free);
    check();
  });
});

describe('a pCPU that goes off line while its worker is at work', () => {
  it('is left by all its VCPUs, wherever the two come together', () => {
    const ways = interleave(
      () => ({
        m: start([
          busy(1, { name: 'stays', cpus: [[0]] }),
          guest({ name: 'moves', vcpus: 2, workload: workload({ t: { instance: 2, run: 70, sleep: 50 } }) }),
        ]),
      }),
      [
        ({ m }) => asCall(m, 0, (w) => m.cores[w]!.hv.hotplug.offline(1)),
        ({ m }) => {
          turns(m);
        },
      ],
      ({ m }, { place }) => {
        const { check } = invariants(m);
        const { pcpu, isIdle, queues } = m.context;
        endOfTurn(m, 0);
        m.run(START + 3 * WINDOW);
        expect(queues.isOnline(1)).to.equal(false);
        expect(isIdle(pcpu.current(1))).to.equal(true);
        check();
        const switches = pcpu.switches(1);
        m.run(START + 5 * WINDOW);
        expect(pcpu.switches(1)).to.equal(switches);
        check();
        if (place > 0) return;
        asCall(m, 0, (w) => m.cores[w]!.hv.hotplug.online(1));
        endOfTurn(m, 0);
        m.run(START + 200 * WINDOW);
        check();
        expect(queues.isOnline(1)).to.equal(true);
        expect(pcpu.switches(1)).to.be.above(switches);
      },
    );
    expect(ways).to.be.above(1);
  });

  it('is not waited for at a rendezvous, and comes to the next one when it is back', () => {
    const m = start([busy(1, { name: 'stays', cpus: [[0]] }), busy(2, { name: 'moves' })], { durationNs: 10e9 });
    const { check } = invariants(m);
    m.act(0, START + 10, ({ hv }) => hv.hotplug.offline(1));
    m.run(2.5e9);
    check();
    const before = m.cores[0]!.hv.time.calibrations(1);
    expect(m.cores[0]!.hv.time.calibrations(0)).to.be.at.least(before + 1);
    m.act(0, m.clock(0) + 10, ({ hv }) => hv.hotplug.online(1));
    m.run(4.5e9);
    check();
    // One when it came, and one at each epoch since.
    expect(m.cores[0]!.hv.time.calibrations(1)).to.be.at.least(before + 3);
    expect(Math.abs(m.cores[0]!.hv.time.systemTime(0) - m.cores[1]!.hv.time.systemTime(1))).to.be.below(2e6);
  });
});

describe('workers that are separate', () => {
  it('are together when a pCPU goes off line, as VCPUs may go anywhere then', () => {
    const m = start([busy(1, { cpus: [[0]] }), busy(1, { name: 'b', cpus: [[1]] })]);
    m.act(0, START + 10, ({ hv }) => hv.hotplug.offline(1));
    m.run(START + 5 * WINDOW);
    expect(m.context.isSeparate()).to.equal(false);
    expect(m.context.queues.entry.processor(1)).to.equal(0);
    invariants(m).check();
  });
});
