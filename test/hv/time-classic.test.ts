/** Timer events and time pages by the rules of Xen 3.0.4 (XEN-FACTS §2). */
import { expect } from 'chai';
import type { Profile } from '../../src/hv/context.js';
import { VCPU } from '../../src/hv/records.js';
import { VIRQ_TIMER } from '../../src/shared/public/xen.js';
import { guest, hog, machineConfig, type Simulation, simulate, workload } from '../support/in-process.js';
import { busyProbe, pairOf, timePage } from './probe.js';

/** Sleepers and hogs that push each other aside all the time, on two pCPUs. */
const busy = (profile: Profile): Simulation =>
  simulate(
    machineConfig({
      profile,
      pcpus: 2,
      durationNs: 300e6,
      guests: [
        guest({
          name: 'sleepers',
          vcpus: 2,
          workload: workload({ s: { instance: 2, loop: -1, run: 700, sleep: 1_900 } }),
        }),
        ...['a', 'b', 'c'].map((name) => guest({ name, workload: hog() })),
      ],
    }),
  );

/** How many switches-in there were, and how many of them came with no timer event. */
function switchesIn(sim: Simulation): { all: number; silent: number } {
  const { hv } = sim.built.core;
  const { pcpu, vcpu, isIdle } = hv.context;
  const events = hv.events as { -readonly [K in keyof typeof hv.events]: (typeof hv.events)[K] };
  const { sendVirq } = events;
  const sent = new Set<number>();
  events.sendVirq = (v, virq) => {
    if (virq === VIRQ_TIMER) sent.add(v);
    sendVirq(v, virq);
  };
  const before = Array.from({ length: sim.built.shape.hv.vcpus }, (_, v) => vcpu.switches(v));
  let [all, silent] = [0, 0];
  sim.run(undefined, (p) => {
    const v = pcpu.current(p);
    if (!isIdle(v) && vcpu.switches(v) !== before[v]) {
      before[v] = vcpu.switches(v);
      all++;
      if (!sent.has(v)) silent++;
    }
    sent.clear();
  });
  return { all, silent };
}

describe('the timer event of a switch-in', () => {
  it('is sent every time in the classic profile', () => {
    const { all, silent } = switchesIn(busy('classic'));
    expect(all).to.be.above(150);
    expect(silent).to.equal(0);
  });

  it('is sent in the modern profile when a tick was missed', () => {
    const { all, silent } = switchesIn(busy('modern'));
    expect(silent).to.be.within(1, all - 1);
  });

  it('is sent in the classic profile to a VCPU that stopped its ticker, too', () => {
    const sim = busy('classic');
    sim.run(1e6);
    const { vcpu } = sim.built.core.hv.context;
    for (let v = 0; v < sim.built.shape.hv.vcpus; v++) vcpu.setPeriodicPeriod(v, 0);
    expect(switchesIn(sim).silent).to.equal(0);
  });
});

describe('the ticker of the classic profile', () => {
  it('is the same raster of 10 ms for every VCPU, whenever it was switched in', () => {
    const sim = busy('classic');
    const { image, core } = sim.built;
    const last = image.table(VCPU).periodicLastEvent;
    const { pcpu, isIdle } = core.hv.context;
    let ticks = 0;
    sim.run(undefined, (p, ns) => {
      const v = pcpu.current(p);
      if (isIdle(v) || last(v) !== ns || ns === 0) return;
      ticks++;
      expect(ns % 10e6).to.equal(0);
    });
    expect(ticks).to.be.above(25);
  });

  it('writes the time page of who runs, and the modern one does not', () => {
    for (const [profile, writes] of [
      ['classic', 50],
      ['modern', 0],
    ] as const) {
      const p = busyProbe({ machine: { profile } });
      const v = p.vcpuOf(0);
      const page = () => timePage(p.view, p.context.vcpu.infoAddr(v) + 32);
      p.run(5e6);
      const { version } = page();
      p.run(505e6);
      expect(page().version - version, profile).to.equal(2 * writes);
      const { version: _, ...rest } = page();
      expect(rest).to.deep.equal(pairOf(p, 0));
    }
  });
});
