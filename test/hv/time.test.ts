import { expect } from 'chai';
import { TIMER } from '../../src/hv/records.js';
import { __HYPERVISOR_set_timer_op, VIRQ_TIMER } from '../../src/shared/public/xen.js';
import { guest, hog, machineConfig } from '../support/in-process.js';
import { busyProbe, type Probe, probe } from './probe.js';

/** Word-free reading of a time page, as the public header describes it. */
function timePage(p: Probe, v: number) {
  const at = p.context.vcpu.infoAddr(v) + 32;
  return {
    version: p.view.getUint32(at, true),
    tscTimestamp: p.view.getBigUint64(at + 8, true),
    systemTime: p.view.getBigUint64(at + 16, true),
    mul: p.view.getUint32(at + 24, true),
    shift: p.view.getInt8(at + 28),
    flags: p.view.getUint8(at + 29),
  };
}

/** now = system_time + (((tsc - tsc_timestamp) << shift) * mul >> 32), in exact arithmetic. */
function extrapolate(page: ReturnType<typeof timePage>, tsc: bigint): bigint {
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
      const page = timePage(p, v);
      // The calibration at one second.
      expect(page.systemTime).to.equal(1_000_000_000n);
      expect(page.tscTimestamp).to.equal(3_000_000_000n);
      expect([page.mul, page.shift, page.flags]).to.deep.equal([Math.floor((1e9 * 2 ** 32) / 1.5e9), -1, 1]);
      expect(page.version % 2).to.equal(0);
      expect(page.version).to.be.above(0);
    });

    it('is stamped at each switch-in', () => {
      const p = busyProbe({ widths: [width, width], machine: { pcpus: 1 }, guest: { cpus: [] } });
      const switches = new Set<number>();
      let current = p.context.pcpu.current(0);
      p.sim.run(200e6, (_, ns) => {
        const v = p.context.pcpu.current(0);
        if (v === current) return;
        current = v;
        switches.add(ns);
        expect(timePage(p, v).systemTime).to.equal(BigInt(ns));
      });
      expect(switches.size).to.be.above(3);
    });

    it('holds the wall clock at system time 0', () => {
      const p = busyProbe({ widths: [width], machine: { bootTimeS: 0xfedc_ba98 } });
      const page = p.context.domain.sharedInfo(1);
      const [version, secHi] = width === 64 ? [3072, 3084] : [2304, 2340];
      expect(p.view.getUint32(page + version, true)).to.equal(2);
      expect(p.view.getUint32(page + version + 4, true)).to.equal(0xfedc_ba98);
      expect(p.view.getUint32(page + version + 8, true)).to.equal(0);
      expect(p.view.getUint32(page + secHi, true)).to.equal(0);
    });
  });
}

describe('a reader of the time page', () => {
  for (const hz of FREQUENCIES) {
    it(`knows the simulation time within one cycle and 1 ns at ${hz} Hz`, () => {
      const p = busyProbe({ machine: { cycleHz: hz } });
      const v = p.vcpuOf(0);
      let reads = 0;
      for (let t = 1_234_567; t < 2.5e9; t += 87_654_321) {
        p.run(t);
        const page = timePage(p, v);
        const error = Number(extrapolate(page, (BigInt(t) * BigInt(hz)) / 1_000_000_000n) - BigInt(t));
        expect(Math.abs(error), `at ${t} ns`).to.be.at.most(1e9 / hz + 1);
        reads++;
      }
      expect(reads).to.be.above(20);
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
      expect(fires(60e6)).to.deep.equal([start + 1]);
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
