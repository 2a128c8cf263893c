import { expect } from 'chai';
import { TIMER } from '../../src/hv/records.js';
import { POWER_ON_NS } from '../../src/machine/build.js';
import { oscillators } from '../../src/shared/oscillator.js';
import { __HYPERVISOR_set_timer_op, VIRQ_TIMER } from '../../src/shared/public/xen.js';
import { guest, hog, machineConfig } from '../support/in-process.js';
import { busyProbe, type Probe, pairOf, probe, timePage } from './probe.js';

const pageOf = (p: Probe, v: number) => timePage(p.view, p.context.vcpu.infoAddr(v) + 32);

/** now = system_time + (((tsc - tsc_timestamp) << shift) * mul >> 32), in exact arithmetic. */
function extrapolate(page: ReturnType<typeof pageOf>, tsc: bigint): bigint {
  const delta = tsc - page.tscTimestamp;
  const shifted = page.shift < 0 ? delta >> BigInt(-page.shift) : delta << BigInt(page.shift);
  return page.systemTime + ((shifted * BigInt(page.mul)) >> 32n);
}

const FREQUENCIES = [1e6, 3_579_545, 33_333_333, 999_999_999, 1e9, 2.4e9, 3_000_000_001, 6e9];

for (const width of [32, 64] as const) {
  describe(`the time page of a ${width}-bit guest`, () => {
    it('holds the counter, system time, mul, shift and flags of the last stamp, and an even version', () => {
      const p = busyProbe({ widths: [width], machine: { cycleHz: 3e9 } });
      const v = p.vcpuOf(0);
      p.run(1_500_000_000);
      const page = pageOf(p, v);
      // The calibration at one second.
      expect(page.systemTime).to.equal(1_000_000_000n);
      // It counts from power-on.
      expect(page.tscTimestamp).to.equal(BigInt((POWER_ON_NS + 1e9) * 3));
      expect([page.mul, page.shift, page.flags]).to.deep.equal([Math.floor((1e9 * 2 ** 32) / 1.5e9), -1, 1]);
      expect(page.version % 2).to.equal(0);
      expect(page.version).to.be.above(0);
    });

    it('carries the pair of its pCPU from each switch-in on', () => {
      const p = busyProbe({ widths: [width, width], machine: { pcpus: 1 }, guest: { cpus: [] } });
      const pairs = new Set<bigint>();
      const versions = new Map<number, number>();
      let switches = 0;
      let current = p.context.pcpu.current(0);
      p.sim.run(3.2e9, () => {
        const v = p.context.pcpu.current(0);
        if (v === current) return;
        current = v;
        switches++;
        const page = pageOf(p, v);
        expect(page).to.deep.include(pairOf(p, 0));
        expect(page.version % 2).to.equal(0);
        // Each switch-in writes it, even if nothing is new.
        expect(page.version).to.be.above(versions.get(v) ?? 0);
        versions.set(v, page.version);
        pairs.add(page.systemTime);
      });
      expect(switches).to.be.above(50);
      expect([...pairs]).to.deep.equal([0n, 1_000_000_000n, 2_000_000_000n, 3_000_000_000n]);
    });

    it('carries the pair of its pCPU from each calibration on', () => {
      const p = busyProbe({ widths: [width], vcpus: 2, machine: { latencyNs: 3000 } });
      const seen: number[][] = [[], []];
      p.sim.run(3.2e9, (q) => {
        const page = pageOf(p, p.vcpuOf(0, q));
        expect(page).to.deep.include(pairOf(p, q));
        const systemTime = Number(page.systemTime);
        if (seen[q]!.at(-1) !== systemTime) seen[q]!.push(systemTime);
      });
      // The other hears of it L after the second, and pairs the middle of an exchange that takes 2 L.
      expect(seen).to.deep.equal([
        [0, 1e9, 2e9, 3e9],
        [0, 1e9 + 6000, 2e9 + 6000, 3e9 + 6000],
      ]);
    });

    it('holds the wall clock at system time 0', () => {
      const p = busyProbe({ widths: [width], machine: { bootTimeS: 0xfedc_ba98 } });
      const page = p.context.domain.sharedInfo(1);
      const [version, secHi] = width === 64 ? [3072, 3084] : [2304, 2340];
      // Written when the domain was created and when the clock was set.
      expect(p.view.getUint32(page + version, true)).to.equal(4);
      expect(p.view.getUint32(page + version + 4, true)).to.equal(0xfedc_ba98);
      expect(p.view.getUint32(page + version + 8, true)).to.equal(0);
      expect(p.view.getUint32(page + secHi, true)).to.equal(0);
    });
  });
}

/** How far the reader of a time page may be off at simulation time t, in cycles: what the hypervisor cannot know better. */
function uncertainCycles(t: number): number {
  // At boot the frequency is measured to a cycle in 50 ms. The next second corrects what came of it, the third begins anew.
  if (t < 1e9) return 1 + t / 50e6;
  return t < 2e9 ? 21 : 4;
}

describe('a reader of the time page', () => {
  for (const hz of FREQUENCIES) {
    const cycle = 1e9 / hz;
    const errorsOf = (calibration: 'rendezvous' | 'off', within: (t: number) => number): void => {
      const p = busyProbe({ machine: { cycleHz: hz, calibration } });
      const v = p.vcpuOf(0);
      const counters = oscillators(p.context.image);
      let reads = 0;
      for (let t = 1_234_567; t < 4.5e9; t += 87_654_321) {
        p.run(t);
        const read = Number(extrapolate(pageOf(p, v), BigInt(counters.read(0, t))));
        expect(Math.abs(read - t), `at ${t} ns`).to.be.at.most(within(t));
        expect(read, `at ${t} ns`).to.equal(p.hv.time.systemTime(0));
        reads++;
      }
      expect(reads).to.be.above(50);
    };

    it(`knows the simulation time within one cycle and 2 ns at a known frequency of ${hz} Hz`, () => {
      // 2 ns: the rounding of the reader, and of the factor over some seconds.
      errorsOf('off', () => cycle + 2);
    });

    it(`knows it as well as the frequency was measured at ${hz} Hz`, () => {
      errorsOf('rendezvous', (t) => uncertainCycles(t) * cycle + 2);
    });
  }
});

/** Lets timer events of v stay visible, and gives the times at which they came. */
function timerEvents(p: Probe, v: number, untilNs: number, afterTurn: (ns: number) => void = () => {}): number[] {
  const { vcpu, domain, image } = p.context;
  // The first port that the kernel binds, here or at its start.
  const port = vcpu.virqPort(v, VIRQ_TIMER) || 1;
  const page = domain.sharedInfo(vcpu.domain(v));
  const [byte, bit] = [port >> 3, 1 << (port & 7)];
  image.u8[page + 2560 + byte]! |= bit;
  image.u8[page + 2048 + byte]! &= ~bit;
  const at: number[] = [];
  p.sim.run(untilNs, (_, ns) => {
    afterTurn(ns);
    if ((image.u8[page + 2048 + byte]! & bit) === 0) return;
    at.push(ns);
    image.u8[page + 2048 + byte]! &= ~bit;
  });
  return at;
}

describe('the ticker', () => {
  it('sends VIRQ_TIMER to the running VCPU every 10 ms', () => {
    const p = busyProbe();
    const v = p.vcpuOf(0);
    const start = p.context.vcpu.periodicLastEvent(v);
    const expected = [1, 2, 3, 4, 5].map((n) => start + n * 10e6);
    expect(timerEvents(p, v, start + 51e6)).to.deep.equal(expected);
  });

  it('is silent for a VCPU that waits, and sends one event for all it missed when it is switched in', () => {
    const p = probe(
      machineConfig({ guests: [guest({ name: 'a', workload: hog() }), guest({ name: 'b', workload: hog() })] }),
    );
    const { pcpu } = p.context;
    // The one that waits now; it has missed ticks whenever its turn comes.
    const v = 1 - pcpu.current(0);
    const switchedIn: number[] = [];
    const ranIn = new Set<number>();
    let current = pcpu.current(0);
    const events = timerEvents(p, v, 400e6, (ns) => {
      const before = current;
      current = pcpu.current(0);
      if (before === v || current === v) ranIn.add(ns);
      if (before !== v && current === v) switchedIn.push(ns);
    });
    expect(switchedIn.length).to.be.above(3);
    // The first is its start: nothing was missed.
    for (const ns of switchedIn.slice(1)) expect(events, `switched in at ${ns} ns`).to.include(ns);
    for (const ns of events) expect(ranIn.has(ns), `it runs at ${ns} ns`).to.equal(true);
  });
});

for (const width of [32, 64] as const) {
  describe(`set_timer_op of a ${width}-bit guest`, () => {
    const setUp = () => {
      const p = busyProbe({ widths: [width] });
      const v = p.vcpuOf(0);
      p.context.vcpu.setPeriodicPeriod(v, 0);
      p.context.pcpu.setPeriodicAt(0, Infinity);
      const set = (ns: bigint): number =>
        width === 64
          ? p.call(v, __HYPERVISOR_set_timer_op, ns)
          : p.call(v, __HYPERVISOR_set_timer_op, ns & 0xffffffffn, BigInt.asUintN(64, ns) >> 32n);
      const fires = (untilNs: number): number[] => {
        const at: number[] = [];
        const turns = p.context.machine;
        let before = turns.events(0);
        const { base, shift } = p.context.image.column(TIMER, 'position');
        let armed = p.context.image.i32[base + ((2 * v) << shift)] !== 0;
        p.sim.run(untilNs, (_, ns) => {
          const is = p.context.image.i32[base + ((2 * v) << shift)] !== 0;
          if (armed && !is && turns.events(0) > before) at.push(ns);
          armed = is;
          before = turns.events(0);
        });
        return at;
      };
      return { p, set, fires };
    };

    it('fires once at the time asked for', () => {
      const { set, fires } = setUp();
      expect(set(7_777_777n)).to.equal(0);
      expect(fires(60e6)).to.deep.equal([7_777_777]);
    });

    it('fires beyond 32 bits of nanoseconds on time', () => {
      const { set, fires } = setUp();
      set(5_000_000_123n);
      expect(fires(5.1e9)).to.deep.equal([5_000_000_123]);
    });

    it('replaces the deadline', () => {
      const { set, fires } = setUp();
      set(3_000_000n);
      set(9_000_000n);
      expect(fires(60e6)).to.deep.equal([9_000_000]);
    });

    it('stops with 0', () => {
      const { set, fires } = setUp();
      set(3_000_000n);
      expect(set(0n)).to.equal(0);
      expect(fires(60e6)).to.deep.equal([]);
    });

    it('fires at once when the time is past', () => {
      const { p, set, fires } = setUp();
      const start = p.now;
      set(1n);
      expect(fires(60e6)).to.deep.equal([start + 1000]);
    });

    it('fires in 100 ms when the time is negative or more than 2^50 ns ahead', () => {
      for (const ns of [-1n, -(2n ** 63n), 2n ** 50n + 10_000_000n, 2n ** 62n]) {
        const { p, set, fires } = setUp();
        const start = p.now;
        set(ns);
        expect(fires(200e6), `${ns}`).to.deep.equal([start + 100e6]);
      }
    });

    it('waits for a time just within 2^50 ns', () => {
      const { p, set, fires } = setUp();
      set(BigInt(p.now) + 2n ** 50n - 1n);
      expect(fires(200e6)).to.deep.equal([]);
    });
  });
}
