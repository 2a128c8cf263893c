import { expect } from 'chai';
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM } from '../../src/shared/public/errno.js';
import * as S from '../../src/shared/public/sched.js';
import {
  __HYPERVISOR_multicall,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_sched_op_compat,
  VIRQ_TIMER,
} from '../../src/shared/public/xen.js';
import { eventOps } from './event-ops.js';
import { busyProbe, type Probe, portBits } from './probe.js';

const LATENCY = 2000;

for (const width of [32, 64] as const) {
  /** A guest of two VCPUs that always run, and an IPI port for VCPU 0. */
  const setUp = () => {
    const p = busyProbe({ widths: [width, width], vcpus: 2 });
    const v = p.vcpuOf(0);
    const { vcpu, image, domain } = p.context;
    const ops = eventOps(p);
    const sched = (cmd: number, arg = 0): number => p.call(v, __HYPERVISOR_sched_op, cmd, arg);
    const upcallMask = (on: number): void => {
      image.u8[vcpu.infoAddr(v) + 1] = on;
    };
    const maskPort = (port: number): void => {
      image.u8[domain.sharedInfo(p.domainOf(0)) + (width === 64 ? 2560 : 2176) + (port >> 3)]! |= 1 << (port & 7);
    };
    /** SCHEDOP_poll of VCPU 0. */
    const poll = (ports: readonly number[], timeoutNs = 0, count = ports.length): number => {
      const list = p.arg(
        v,
        ports.slice(0, 60).map((port, k) => [4 * k, port, 4] as const),
        1,
      );
      return sched(
        S.SCHEDOP_poll,
        p.arg(v, [
          [0, list, width === 64 ? 8 : 4],
          [width === 64 ? 8 : 4, count, 4],
          [width === 64 ? 16 : 8, timeoutNs, 8],
        ]),
      );
    };
    /** When VCPU 0 runs again, ns; Infinity = not before `untilNs`. */
    const wakesAt = (untilNs: number): number => {
      p.run(p.now + 2);
      expect(p.isBlocked(v), 'blocked').to.equal(true);
      let at = Infinity;
      p.sim.run(untilNs, (_, ns) => {
        if (at === Infinity && p.isRunning(v)) at = ns;
      });
      return at;
    };
    return { p, v, ops, sched, poll, wakesAt, upcallMask, maskPort, port: ops.bindIpi(v, 0) };
  };

  describe(`sched_op of ${width}-bit guests`, () => {
    describe('block', () => {
      it('sleeps until an event comes', () => {
        const { p, v, ops, sched, wakesAt, port } = setUp();
        expect(sched(S.SCHEDOP_block)).to.equal(0);
        expect(wakesAt(50e6)).to.equal(Infinity);
        ops.send(v + 1, port);
        p.run(p.now + LATENCY + 1);
        expect(p.isRunning(v)).to.equal(true);
      });

      it('enables upcalls', () => {
        const { p, v, sched, upcallMask } = setUp();
        upcallMask(1);
        sched(S.SCHEDOP_block);
        expect(p.context.image.u8[p.context.vcpu.infoAddr(v) + 1]).to.equal(0);
      });

      it('does not sleep when an event came since the guest last looked', () => {
        const { p, v, ops, sched, upcallMask, port } = setUp();
        upcallMask(1);
        ops.send(v + 1, port);
        expect(sched(S.SCHEDOP_block)).to.equal(0);
        p.run(p.now + 5e6);
        expect(p.isRunning(v)).to.equal(true);
        expect(p.context.vcpu.runstateTime(v, 2)).to.equal(0);
      });

      it('does not lose an event sent before the pCPU was given up', () => {
        const { p, v, ops, sched, port } = setUp();
        sched(S.SCHEDOP_block);
        ops.send(v + 1, port);
        p.run(p.now + 5e6);
        expect(p.isRunning(v)).to.equal(true);
      });

      it('is not ended by a masked port', () => {
        const { p, v, ops, sched, wakesAt, maskPort, port } = setUp();
        maskPort(port);
        sched(S.SCHEDOP_block);
        expect(wakesAt(5e6)).to.equal(Infinity);
        ops.send(v + 1, port);
        p.run(p.now + 5e6);
        expect(p.isBlocked(v)).to.equal(true);
      });
    });

    describe('poll', () => {
      it('is ended by its port, though that is masked', () => {
        const { p, v, ops, poll, wakesAt, maskPort, port } = setUp();
        maskPort(port);
        expect(poll([port])).to.equal(0);
        expect(wakesAt(5e6)).to.equal(Infinity);
        ops.send(v + 1, port);
        p.run(p.now + LATENCY + 1);
        expect(p.isRunning(v)).to.equal(true);
        expect(p.context.domain.pollers(p.domainOf(0))).to.equal(0);
      });

      it('is not ended by another masked port', () => {
        const { p, v, ops, poll, wakesAt, maskPort, port } = setUp();
        const other = ops.bindIpi(v, 0);
        maskPort(port);
        maskPort(other);
        poll([port]);
        expect(wakesAt(5e6)).to.equal(Infinity);
        ops.send(v + 1, other);
        p.run(p.now + 5e6);
        expect(p.isBlocked(v)).to.equal(true);
      });

      it('of several ports is ended by any of them', () => {
        const { p, v, ops, poll, wakesAt, maskPort, port } = setUp();
        const other = ops.bindIpi(v, 0);
        maskPort(other);
        poll([port, other]);
        expect(wakesAt(5e6)).to.equal(Infinity);
        ops.send(v + 1, other);
        p.run(p.now + LATENCY + 1);
        expect(p.isRunning(v)).to.equal(true);
      });

      it('is ended by its time-out, on time', () => {
        const { poll, wakesAt, maskPort, port } = setUp();
        maskPort(port);
        poll([port], 7_654_321);
        expect(wakesAt(20e6)).to.equal(7_654_321);
      });

      it('does not sleep when a port is pending already, or the time is over', () => {
        const { p, v, ops, poll, maskPort, port } = setUp();
        maskPort(port);
        expect(poll([port], p.now - 1)).to.equal(0);
        ops.send(v + 1, port);
        expect(poll([port])).to.equal(0);
        p.run(p.now + 5e6);
        expect(p.isRunning(v)).to.equal(true);
        expect(p.context.vcpu.runstateTime(v, 2)).to.equal(0);
        expect(p.context.domain.pollers(p.domainOf(0))).to.equal(0);
      });

      it('refuses more than 128 ports, ports that there are not, and bad pointers', () => {
        const { p, poll, sched, port } = setUp();
        expect(poll([port], 0, 129)).to.equal(-XEN_EINVAL);
        expect(poll([port, 0])).to.equal(-XEN_EINVAL);
        expect(poll([port, 4096])).to.equal(-XEN_EINVAL);
        expect(sched(S.SCHEDOP_poll, 0xffff_fff0)).to.equal(-XEN_EFAULT);
        const badList = p.arg(p.vcpuOf(0), [
          [0, 0xffff_fff0, width === 64 ? 8 : 4],
          [width === 64 ? 8 : 4, 1, 4],
        ]);
        expect(sched(S.SCHEDOP_poll, badList)).to.equal(-XEN_EFAULT);
        p.run(p.now + 1e6);
        expect(p.isRunning(p.vcpuOf(0))).to.equal(true);
      });

      it('twice in one multicall leaves one poller, and none when it is over', () => {
        const { p, v, ops, maskPort, port } = setUp();
        maskPort(port);
        const word = width / 8;
        const ports = p.arg(v, [[0, port, 4]], 1);
        const arg = p.arg(
          v,
          [
            [0, ports, word as 4 | 8],
            [word, 1, 4],
            [2 * word, 0, 8],
          ],
          2,
        );
        const entry = [__HYPERVISOR_sched_op, 0, S.SCHEDOP_poll, arg, 0, 0, 0, 0];
        const list = p.arg(
          v,
          [...entry, ...entry].map((x, k) => [k * word, x, word as 4 | 8] as const),
        );
        expect(p.call(v, __HYPERVISOR_multicall, list, 2)).to.equal(0);
        expect(p.context.domain.pollers(p.domainOf(0))).to.equal(1);
        p.run(p.now + 1000);
        ops.send(v + 1, port);
        p.run(p.now + LATENCY + 1);
        expect(p.isRunning(v)).to.equal(true);
        expect(p.context.domain.pollers(p.domainOf(0))).to.equal(0);
      });
    });

    describe('shutdown', () => {
      it('ends the domain with its code, and no other domain', () => {
        const { p, v, sched } = setUp();
        expect(sched(S.SCHEDOP_shutdown, p.arg(v, [[0, S.SHUTDOWN_reboot, 4]]))).to.equal(0);
        p.run(p.now + 5e6);
        const { domain, vcpu } = p.context;
        expect([domain.isShutDown(1), domain.shutdownCode(1), domain.isShutDown(2)]).to.deep.equal([1, 1, 0]);
        expect([0, 1, 2, 3].map((n) => vcpu.runstate(n))).to.deep.equal([3, 3, 0, 0]);
      });

      it('refuses codes that there are not', () => {
        const { p, v, sched } = setUp();
        expect(sched(S.SCHEDOP_shutdown, p.arg(v, [[0, 6, 4]]))).to.equal(-XEN_EINVAL);
        expect(sched(S.SCHEDOP_shutdown_code, p.arg(v, [[0, 6, 4]]))).to.equal(-XEN_EINVAL);
        expect(sched(S.SCHEDOP_shutdown, 0xffff_ffff)).to.equal(-XEN_EFAULT);
        expect(p.context.domain.isShutDown(1)).to.equal(0);
      });
    });

    it('refuses what it does not have', () => {
      const { sched } = setUp();
      expect(sched(S.SCHEDOP_remote_shutdown)).to.equal(-XEN_EPERM);
      for (const cmd of [S.SCHEDOP_watchdog, S.SCHEDOP_pin_override, 8, 0xffff]) {
        expect(sched(cmd)).to.equal(-XEN_ENOSYS);
      }
    });

    it('in its older form blocks, yields and shuts down with the code as argument', () => {
      const { p, v, wakesAt } = setUp();
      expect(p.call(v, __HYPERVISOR_sched_op_compat, S.SCHEDOP_yield)).to.equal(0);
      expect(p.call(v, __HYPERVISOR_sched_op_compat, S.SCHEDOP_poll)).to.equal(-XEN_ENOSYS);
      expect(p.call(v, __HYPERVISOR_sched_op_compat, S.SCHEDOP_block)).to.equal(0);
      expect(wakesAt(5e6)).to.equal(Infinity);
      expect(p.call(v + 1, __HYPERVISOR_sched_op_compat, S.SCHEDOP_shutdown, 6)).to.equal(-XEN_EINVAL);
      expect(p.call(v + 1, __HYPERVISOR_sched_op_compat, S.SCHEDOP_shutdown, S.SHUTDOWN_suspend)).to.equal(0);
      expect(p.context.domain.shutdownCode(1)).to.equal(S.SHUTDOWN_suspend);
    });
  });
}

describe('yield', () => {
  it('lets the next VCPU of the same priority run at once', () => {
    const p: Probe = busyProbe({ widths: [64, 64], machine: { pcpus: 1 }, guest: { cpus: [] } });
    const first = p.context.pcpu.current(0);
    p.call(first, __HYPERVISOR_sched_op, S.SCHEDOP_yield);
    p.run(p.now + 2);
    expect(p.context.pcpu.current(0)).to.equal(1 - first);
    expect(p.context.queues.entry.yielded(first)).to.equal(0);
  });
});

describe('an upcall', () => {
  it('is taken by a running VCPU of another pCPU after one latency', () => {
    const p = busyProbe({ vcpus: 2 });
    const v = p.vcpuOf(0);
    const ops = eventOps(p);
    const port = ops.bindIpi(v, 1);
    const { vcpu, domain } = p.context;
    const bits = () => portBits(p.view, 64, domain.sharedInfo(p.domainOf(0)), vcpu.infoAddr(v + 1), port);
    const sent = p.now;
    ops.send(v, port);
    p.run(sent + LATENCY);
    expect(bits()).to.include({ pending: true, upcallPending: true });
    p.run(sent + LATENCY + 1);
    // The port is none of the guest kernel's own: it takes the upcall and leaves the bit.
    expect(bits()).to.include({ selected: false, upcallPending: false, upcallMasked: false });
    expect(vcpu.virqPort(v + 1, VIRQ_TIMER)).to.not.equal(port);
  });
});
