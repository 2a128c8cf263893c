import { expect } from 'chai';
import {
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_ENXIO,
  XEN_ETIME,
} from '../../src/shared/public/errno.js';
import * as V from '../../src/shared/public/vcpu.js';
import { __HYPERVISOR_vcpu_op, VIRQ_TIMER } from '../../src/shared/public/xen.js';
import { eventOps } from './event-ops.js';
import { busyProbe, type Probe, pairOf, timePage } from './probe.js';

const BAD = 0xffff_fff0;

/** Makes the timer port of v visible: masked, so that its pending bit stays until the test looks. */
function watchTimer(p: Probe, v: number, width: 32 | 64) {
  const { vcpu, domain, image } = p.context;
  const port = vcpu.virqPort(v, VIRQ_TIMER);
  const page = domain.sharedInfo(vcpu.domain(v));
  image.u8[page + (width === 64 ? 2560 : 2176) + (port >> 3)]! |= 1 << (port & 7);
  const isPending = (): boolean => ((image.u8[page + 2048 + (port >> 3)]! >> (port & 7)) & 1) === 1;
  const clear = (): void => {
    image.u8[page + 2048 + (port >> 3)]! &= ~(1 << (port & 7));
  };
  /** Times at which the timer event came, until `untilNs`. */
  return (untilNs: number): number[] => {
    const at: number[] = [];
    clear();
    p.sim.run(untilNs, (_, ns) => {
      if (!isPending()) return;
      at.push(ns);
      clear();
    });
    return at;
  };
}

for (const width of [32, 64] as const) {
  const setUp = (vcpus = 2) => {
    const p = busyProbe({ widths: [width], vcpus });
    const v = p.vcpuOf(0);
    const op = (cmd: number, id: number, arg = 0): number => p.call(v, __HYPERVISOR_vcpu_op, cmd, id, arg);
    const u64 = (x: number): number => p.arg(v, [[0, x, 8]]);
    const singleshot = (ns: number, flags: number): number =>
      op(
        V.VCPUOP_set_singleshot_timer,
        0,
        p.arg(v, [
          [0, ns, 8],
          [8, flags, 4],
        ]),
      );
    return { p, v, op, u64, singleshot };
  };

  describe(`vcpu_op of ${width}-bit guests`, () => {
    it('takes a VCPU down and up again, and says which it is', () => {
      const { p, v, op } = setUp();
      expect(op(V.VCPUOP_is_up, 1)).to.equal(1);
      expect(op(V.VCPUOP_down, 1)).to.equal(0);
      p.run(p.now + 1e6);
      expect(op(V.VCPUOP_is_up, 1)).to.equal(0);
      expect(p.context.vcpu.runstate(v + 1)).to.equal(V.RUNSTATE_offline);
      expect(op(V.VCPUOP_up, 1)).to.equal(0);
      p.run(p.now + 1e6);
      expect(p.isRunning(v + 1)).to.equal(true);
      expect(op(V.VCPUOP_down, 2)).to.equal(-XEN_ENOENT);
      expect(op(V.VCPUOP_initialise, 1)).to.equal(-XEN_EEXIST);
      expect(op(V.VCPUOP_initialise, 1, BAD)).to.equal(-XEN_EFAULT);
    });

    it('lets a VCPU that goes down and up before its pCPU noticed run on', () => {
      const { p, v, op } = setUp();
      op(V.VCPUOP_down, 1);
      op(V.VCPUOP_up, 1);
      p.run(p.now + 1e6);
      expect(p.isRunning(v + 1)).to.equal(true);
      expect(p.context.vcpu.runstateTime(v + 1, V.RUNSTATE_offline)).to.be.below(1e6);
    });

    it('shuts down a domain whose last VCPU goes down', () => {
      const { p, op } = setUp();
      op(V.VCPUOP_down, 1);
      p.run(p.now + 1e6);
      expect(op(V.VCPUOP_down, 0)).to.equal(0);
      expect(p.context.domain.isShutDown(1)).to.equal(1);
    });

    it('refuses what it does not have', () => {
      const { op } = setUp();
      for (const cmd of [14, 0xffff]) expect(op(cmd, 0)).to.equal(-XEN_ENOSYS);
    });

    it('sends NMIs, which a modelled kernel has no handler for, and tells nobody but domain 0 where it is', () => {
      const { op } = setUp();
      expect(op(V.VCPUOP_send_nmi, 1)).to.equal(0);
      expect(op(V.VCPUOP_send_nmi, 99)).to.equal(-XEN_ENOENT);
      expect(op(V.VCPUOP_send_nmi, 1, 4096)).to.equal(-XEN_EINVAL);
      expect(op(V.VCPUOP_get_physid, 0)).to.equal(-XEN_EINVAL);
    });

    describe('runstates', () => {
      const [entry, times, size] = width === 64 ? [8, 16, 48] : [4, 12, 44];

      it('are given byte for byte: state, time of entry, four times that sum to now', () => {
        const { p, v, op } = setUp();
        p.view.setUint8(p.at(v, p.scratch(v)) + size, 0xaa);
        expect(op(V.VCPUOP_get_runstate_info, 1, p.scratch(v))).to.equal(0);
        const at = p.scratch(v);
        expect(p.u32(v, at)).to.equal(V.RUNSTATE_running);
        expect(p.u64(v, at + entry)).to.equal(p.context.vcpu.stateEntryTime(v + 1));
        const sum = [0, 1, 2, 3].reduce((total, k) => total + p.u64(v, at + times + 8 * k), 0);
        expect(sum).to.equal(p.now);
        expect(p.u32(v, at + size) & 0xff).to.equal(0xaa);
        expect(op(V.VCPUOP_get_runstate_info, 0, BAD)).to.equal(-XEN_EFAULT);
      });

      it('are kept in an area at any address of the guest, from registration on', () => {
        const { p, v, op, u64 } = setUp();
        const area = p.scratch(v, 1) + 3;
        expect(op(V.VCPUOP_register_runstate_memory_area, 1, u64(area))).to.equal(0);
        expect(p.u32(v, area)).to.equal(V.RUNSTATE_running);
        op(V.VCPUOP_down, 1);
        p.run(p.now + 5e6);
        expect(p.u32(v, area)).to.equal(V.RUNSTATE_offline);
        expect(p.u64(v, area + entry)).to.equal(p.context.vcpu.stateEntryTime(v + 1));
        for (let k = 0; k < 4; k++) {
          expect(p.u64(v, area + times + 8 * k)).to.equal(p.context.vcpu.runstateTime(v + 1, k));
        }
      });

      it('are not kept outside the guest', () => {
        const { p, op, u64 } = setUp();
        const before = p.context.vcpu.runstateAddr(1);
        expect(op(V.VCPUOP_register_runstate_memory_area, 1, u64(BAD))).to.equal(-XEN_EFAULT);
        expect(op(V.VCPUOP_register_runstate_memory_area, 1, BAD)).to.equal(-XEN_EFAULT);
        expect(p.context.vcpu.runstateAddr(1)).to.equal(before);
      });
    });

    describe('timers', () => {
      it('tick with the period asked for, and stop', () => {
        const { p, v, op, u64 } = setUp();
        const timerEvents = watchTimer(p, v, width);
        expect(op(V.VCPUOP_set_periodic_timer, 0, u64(2_500_000))).to.equal(0);
        const start = p.now;
        expect(timerEvents(start + 10e6 + 1)).to.deep.equal([2.5e6, 5e6, 7.5e6, 10e6].map((t) => start + t));
        expect(op(V.VCPUOP_stop_periodic_timer, 0)).to.equal(0);
        expect(timerEvents(p.now + 50e6)).to.deep.equal([]);
      });

      it('of another running VCPU can be set and stopped too', () => {
        const { p, v, op, u64 } = setUp();
        const timerEvents = watchTimer(p, v + 1, width);
        op(V.VCPUOP_set_periodic_timer, 1, u64(4_000_000));
        const start = p.now;
        expect(timerEvents(start + 9e6)).to.deep.equal([start + 4e6, start + 8e6]);
        op(V.VCPUOP_stop_periodic_timer, 1);
        expect(timerEvents(p.now + 50e6)).to.deep.equal([]);
      });

      it('refuse periods below 1 ms and beyond all reason', () => {
        const { p, v, op, u64 } = setUp();
        expect(op(V.VCPUOP_set_periodic_timer, 0, u64(999_999))).to.equal(-XEN_EINVAL);
        expect(op(V.VCPUOP_set_periodic_timer, 0, u64(2 ** 63))).to.equal(-XEN_EINVAL);
        expect(op(V.VCPUOP_set_periodic_timer, 0, BAD)).to.equal(-XEN_EFAULT);
        expect(p.context.vcpu.periodicPeriod(v)).to.equal(10e6);
      });

      it('fire once at the time of a single shot', () => {
        const { p, v, op, singleshot } = setUp();
        op(V.VCPUOP_stop_periodic_timer, 0);
        const timerEvents = watchTimer(p, v, width);
        expect(singleshot(3_456_789, V.VCPU_SSHOTTMR_future)).to.equal(0);
        expect(timerEvents(20e6)).to.deep.equal([3_456_789]);
      });

      it('answer -ETIME to a past single shot that is to be in the future, and keep the old one', () => {
        const { p, v, op, singleshot } = setUp();
        op(V.VCPUOP_stop_periodic_timer, 0);
        const timerEvents = watchTimer(p, v, width);
        singleshot(3_000_000, 0);
        expect(singleshot(p.now - 1, V.VCPU_SSHOTTMR_future)).to.equal(-XEN_ETIME);
        expect(timerEvents(20e6)).to.deep.equal([3_000_000]);
      });

      it('fire a past single shot at once otherwise', () => {
        const { p, v, op, singleshot } = setUp();
        op(V.VCPUOP_stop_periodic_timer, 0);
        const timerEvents = watchTimer(p, v, width);
        const start = p.now;
        expect(singleshot(5, 0)).to.equal(0);
        expect(timerEvents(20e6)).to.deep.equal([start + 1000]);
      });

      it('stop a single shot, and are only set by the VCPU itself', () => {
        const { p, v, op, singleshot } = setUp();
        op(V.VCPUOP_stop_periodic_timer, 0);
        const timerEvents = watchTimer(p, v, width);
        singleshot(3_000_000, 0);
        expect(op(V.VCPUOP_stop_singleshot_timer, 0)).to.equal(0);
        expect(timerEvents(20e6)).to.deep.equal([]);
        expect(op(V.VCPUOP_set_singleshot_timer, 1, p.scratch(v))).to.equal(-XEN_EINVAL);
        expect(op(V.VCPUOP_stop_singleshot_timer, 1)).to.equal(-XEN_EINVAL);
      });
    });

    describe('register_vcpu_info', () => {
      const place = (p: Probe, v: number, frame: number, offset: number): number =>
        p.arg(v, [
          [0, frame, 8],
          [8, offset, 4],
          [12, 0, 4],
        ]);

      it('moves the vcpu_info once, makes everything pending and keeps its time', () => {
        const { p, v, op } = setUp();
        const { vcpu, domain } = p.context;
        // Past a calibration, so that no field of the time page is 0 any more.
        p.run(1.1e9);
        const frame = domain.nrFrames(1) - 1;
        expect(op(V.VCPUOP_register_vcpu_info, 0, place(p, v, frame, 3072))).to.equal(0);
        const info = vcpu.infoAddr(v);
        expect(info).to.equal(p.at(v, frame * 4096 + 3072));
        expect(p.view.getUint8(info)).to.equal(1);
        expect(p.view.getUint32(info + (width === 64 ? 8 : 4), true)).to.equal(0xffffffff);
        expect(p.view.getUint32(info + 12, true)).to.equal(width === 64 ? 0xffffffff : 0);
        expect(timePage(p.view, info + 32)).to.deep.include(pairOf(p, 0));
        expect(op(V.VCPUOP_register_vcpu_info, 0, place(p, v, frame, 3072))).to.equal(-XEN_EINVAL);
      });

      it('brings events to the new place', () => {
        const { p, v, op } = setUp();
        const ops = eventOps(p);
        const port = ops.bindIpi(v, 0);
        op(V.VCPUOP_register_vcpu_info, 0, place(p, v, p.context.domain.nrFrames(1) - 1, 3072));
        const info = p.context.vcpu.infoAddr(v);
        // The kernel looks where it put it.
        p.mem.kv.setInfoAddr(v, info);
        p.run(p.now + 1e6);
        // The guest took what the move made pending.
        expect(p.view.getUint8(info)).to.equal(0);
        ops.send(v, port);
        expect(p.view.getUint8(info)).to.equal(1);
      });

      it('refuses places that are outside, across a page, unaligned, or of a VCPU that runs', () => {
        const { p, v, op } = setUp();
        const frames = p.context.domain.nrFrames(1);
        const register = (id: number, frame: number, offset: number): number =>
          op(V.VCPUOP_register_vcpu_info, id, place(p, v, frame, offset));
        expect(register(0, frames, 0)).to.equal(-XEN_EINVAL);
        expect(register(0, 2 ** 40, 0)).to.equal(-XEN_EINVAL);
        expect(register(0, frames - 1, 4096 - 56)).to.equal(-XEN_EINVAL);
        expect(register(0, frames - 1, 4)).to.equal(-XEN_ENXIO);
        expect(register(1, frames - 1, 3072)).to.equal(-XEN_EINVAL);
        expect(op(V.VCPUOP_register_vcpu_info, 0, BAD)).to.equal(-XEN_EFAULT);
      });
    });

    it('keeps a copy of the time page where it is registered', () => {
      const { p, v, op, u64 } = setUp();
      const area = p.scratch(v, 1) + 4;
      expect(op(V.VCPUOP_register_vcpu_time_memory_area, 0, u64(area + 1))).to.equal(-XEN_ENXIO);
      expect(op(V.VCPUOP_register_vcpu_time_memory_area, 0, u64(BAD))).to.equal(-XEN_EFAULT);
      expect(op(V.VCPUOP_register_vcpu_time_memory_area, 0, u64(area))).to.equal(0);
      const info = p.context.vcpu.infoAddr(v) + 32;
      const copy = () => Buffer.from(p.context.image.u8.slice(p.at(v, area) + 4, p.at(v, area) + 32));
      const page = () => Buffer.from(p.context.image.u8.slice(info + 4, info + 32));
      expect(timePage(p.view, p.at(v, area))).to.deep.include(pairOf(p, 0));
      expect(copy().equals(page())).to.equal(true);
      // The next calibration stamps both.
      p.run(1e9 + 10);
      expect(p.u64(v, area + 16)).to.equal(1e9);
      expect(copy().equals(page())).to.equal(true);
      expect(p.u32(v, area) % 2).to.equal(0);
    });
  });
}

describe('VCPUs beyond the 32 of the shared info page', () => {
  const setUp = () => {
    const p = busyProbe({ guest: { vcpus: 34, cpus: [] }, vcpus: 34 });
    return { p, v: p.vcpuOf(0) };
  };

  it('run once their vcpu_info is registered', () => {
    const { p, v } = setUp();
    p.run(5e6);
    const infos = [31, 32, 33].map((id) => p.context.vcpu.infoAddr(v + id) - p.context.domain.frames(1));
    expect(infos[0]).to.equal(31 * 64);
    expect(Math.min(infos[1]!, infos[2]!)).to.be.at.least(4096);
    expect([32, 33].every((id) => p.isRunning(v + id))).to.equal(true);
  });

  it('cannot be brought up before', () => {
    const { p, v } = setUp();
    p.context.vcpu.setInfoMoved(v + 33, 0);
    expect(p.call(v, __HYPERVISOR_vcpu_op, V.VCPUOP_up, 33)).to.equal(-XEN_EINVAL);
    expect(p.call(v, __HYPERVISOR_vcpu_op, V.VCPUOP_up, 31)).to.equal(0);
  });

  it('have a time page of their own', () => {
    const { p, v } = setUp();
    p.run(5e6);
    const { vcpu, queues } = p.context;
    const page = () => timePage(p.view, vcpu.infoAddr(v + 33) + 32);
    const pair = () => pairOf(p, queues.entry.processor(v + 33));
    expect(page()).to.deep.include(pair());
    const atSwitchIn = page();
    p.run(1.1e9);
    expect(page()).to.deep.include(pair());
    expect(page().systemTime > atSwitchIn.systemTime).to.equal(true);
  });
});
