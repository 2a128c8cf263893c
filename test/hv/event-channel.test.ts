import { expect } from 'chai';
import {
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSPC,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
} from '../../src/shared/public/errno.js';
import * as E from '../../src/shared/public/event-channel.js';
import {
  __HYPERVISOR_event_channel_op,
  VIRQ_ARCH_0,
  VIRQ_CON_RING,
  VIRQ_DEBUG,
  VIRQ_TIMER,
} from '../../src/shared/public/xen.js';
import { guest, hog, machineConfig, simulate } from '../support/in-process.js';
import { eventOps } from './event-ops.js';
import { busyProbe, type PortBits, portBits } from './probe.js';

const NO_DOMAIN = 77;

for (const width of [32, 64] as const) {
  /** Two guests of two VCPUs, all of which always run. */
  const setUp = () => {
    const p = busyProbe({ widths: [width, width], vcpus: 2 });
    const { vcpu, domain, image } = p.context;
    const [d1, d2] = [p.domainOf(0), p.domainOf(1)];
    const [v1, v2] = [p.vcpuOf(0), p.vcpuOf(1)];
    const bits = (v: number, port: number): PortBits =>
      portBits(p.view, width, domain.sharedInfo(vcpu.domain(v)), vcpu.infoAddr(v), port);
    /** Sets or clears the mask bit of a port in the shared info page, as a guest does. */
    const setMask = (v: number, port: number, on: boolean): void => {
      const at = domain.sharedInfo(vcpu.domain(v)) + (width === 64 ? 2560 : 2176) + (port >> 3);
      if (on) image.u8[at]! |= 1 << (port & 7);
      else image.u8[at]! &= ~(1 << (port & 7));
    };
    return { p, ops: eventOps(p), d1, d2, v1, v2, bits, setMask };
  };

  describe(`event channels of ${width}-bit guests`, () => {
    describe('alloc_unbound', () => {
      it('gives a port that waits for the domain named', () => {
        const { ops, v1, d2 } = setUp();
        const port = ops.allocUnbound(v1, d2);
        expect(port).to.be.above(0);
        expect(ops.status(v1, port)).to.include({ rc: 0, status: E.EVTCHNSTAT_unbound, vcpu: 0, first: d2 });
      });

      it('takes its own number for DOMID_SELF, and no other domain', () => {
        const { ops, v1, d1, d2 } = setUp();
        expect(ops.allocUnbound(v1, d2, d1)).to.be.above(0);
        expect(ops.allocUnbound(v1, d2, d2)).to.equal(-XEN_EPERM);
        expect(ops.allocUnbound(v1, d2, NO_DOMAIN)).to.equal(-XEN_ESRCH);
        expect(ops.allocUnbound(v1, d2, 0)).to.equal(-XEN_ESRCH);
      });

      it('gives ports until there are none', () => {
        const { ops, v1, d2, p } = setUp();
        const ports = new Set<number>();
        let port = ops.allocUnbound(v1, d2);
        for (; port > 0; port = ops.allocUnbound(v1, d2)) ports.add(port);
        expect(port).to.equal(-XEN_ENOSPC);
        // Three of each VCPU's own were there before; port 0 is never used.
        expect(ports.size).to.equal(p.context.shape.evtchns - 1 - 6);
        expect(ports.has(0)).to.equal(false);
      });
    });

    describe('bind_interdomain', () => {
      it('ties two ports together, each naming the other', () => {
        const { ops, v1, v2, d1, d2 } = setUp();
        const remote = ops.allocUnbound(v1, d2);
        const local = ops.bindInterdomain(v2, d1, remote);
        expect(ops.status(v2, local)).to.include({ status: E.EVTCHNSTAT_interdomain, first: d1, second: remote });
        expect(ops.status(v1, remote)).to.include({ status: E.EVTCHNSTAT_interdomain, first: d2, second: local });
      });

      it('makes the new port pending: the other side may have sent before', () => {
        const { ops, v1, v2, d1, d2, bits } = setUp();
        const local = ops.bindInterdomain(v2, d1, ops.allocUnbound(v1, d2));
        expect(bits(v2, local)).to.include({ pending: true, selected: true, upcallPending: true });
      });

      it('refuses a port that waits for another domain, is bound, closed or beyond the last', () => {
        const { ops, v1, v2, d1, d2 } = setUp();
        const forItself = ops.allocUnbound(v1, d1);
        expect(ops.bindInterdomain(v2, d1, forItself)).to.equal(-XEN_EINVAL);
        const remote = ops.allocUnbound(v1, d2);
        ops.bindInterdomain(v2, d1, remote);
        expect(ops.bindInterdomain(v2, d1, remote)).to.equal(-XEN_EINVAL);
        for (const port of [0, 60, 100_000, 0xffffffff]) {
          expect(ops.bindInterdomain(v2, d1, port)).to.equal(-XEN_EINVAL);
        }
        expect(ops.bindInterdomain(v2, NO_DOMAIN, remote)).to.equal(-XEN_ESRCH);
      });

      it('lets a domain tie two ports of its own', () => {
        const { ops, v1, d1, bits } = setUp();
        const one = ops.allocUnbound(v1, d1);
        const two = ops.bindInterdomain(v1, d1, one);
        expect(two).to.not.equal(one);
        expect(ops.send(v1, two)).to.equal(0);
        expect(bits(v1, one).pending).to.equal(true);
      });
    });

    describe('bind_virq', () => {
      it('binds a VIRQ of a VCPU once', () => {
        const { ops, v1 } = setUp();
        const port = ops.bindVirq(v1, VIRQ_DEBUG, 1);
        expect(ops.status(v1, port)).to.include({ status: E.EVTCHNSTAT_virq, vcpu: 1, first: VIRQ_DEBUG });
        expect(ops.bindVirq(v1, VIRQ_DEBUG, 1)).to.equal(-XEN_EEXIST);
        expect(ops.bindVirq(v1, VIRQ_DEBUG, 0)).to.be.above(0);
      });

      it('binds global VIRQs on VCPU 0 only', () => {
        const { ops, v1 } = setUp();
        expect(ops.bindVirq(v1, VIRQ_CON_RING, 1)).to.equal(-XEN_EINVAL);
        expect(ops.bindVirq(v1, VIRQ_ARCH_0, 1)).to.equal(-XEN_EINVAL);
        expect(ops.bindVirq(v1, VIRQ_CON_RING, 0)).to.be.above(0);
      });

      it('refuses VIRQs and VCPUs that there are not', () => {
        const { ops, v1 } = setUp();
        expect(ops.bindVirq(v1, 24, 0)).to.equal(-XEN_EINVAL);
        expect(ops.bindVirq(v1, 0xffffffff, 0)).to.equal(-XEN_EINVAL);
        expect(ops.bindVirq(v1, VIRQ_DEBUG, 2)).to.equal(-XEN_ENOENT);
      });
    });

    describe('bind_ipi and bind_vcpu', () => {
      it('bind a port to the VCPU named, whose vcpu_info is then told', () => {
        const { ops, v1, bits } = setUp();
        const port = ops.bindIpi(v1, 1);
        expect(ops.status(v1, port)).to.include({ status: E.EVTCHNSTAT_ipi, vcpu: 1 });
        expect(ops.send(v1, port)).to.equal(0);
        expect(bits(v1 + 1, port)).to.include({ pending: true, selected: true, upcallPending: true });
        expect(bits(v1, port)).to.include({ selected: false, upcallPending: false });
        expect(ops.bindIpi(v1, 2)).to.equal(-XEN_ENOENT);
      });

      it('move unbound, interdomain and global VIRQ ports, and no others', () => {
        const { ops, v1, v2, d1, d2, bits } = setUp();
        const unbound = ops.allocUnbound(v1, d2);
        expect(ops.bindVcpu(v1, unbound, 1)).to.equal(0);
        expect(ops.status(v1, unbound).vcpu).to.equal(1);
        const remote = ops.bindInterdomain(v2, d1, unbound);
        ops.send(v2, remote);
        expect(bits(v1 + 1, unbound)).to.include({ selected: true, upcallPending: true });
        expect(ops.bindVcpu(v1, ops.bindVirq(v1, VIRQ_CON_RING, 0), 1)).to.equal(0);
        for (const port of [ops.bindIpi(v1, 0), ops.bindVirq(v1, VIRQ_DEBUG, 0), 60]) {
          expect(ops.bindVcpu(v1, port, 1)).to.equal(-XEN_EINVAL);
        }
        expect(ops.bindVcpu(v1, 0, 1)).to.equal(-XEN_EINVAL);
        expect(ops.bindVcpu(v1, unbound, 2)).to.equal(-XEN_ENOENT);
      });
    });

    describe('send', () => {
      it('sets exactly the bits of the public headers, near and far ports alike', () => {
        const { ops, p, v1, d1, bits } = setUp();
        const page = p.context.domain.sharedInfo(d1);
        const pending = () => p.view.getBigUint64(page + 2048, true) | (p.view.getBigUint64(page + 2056, true) << 64n);
        let port = ops.bindIpi(v1, 0);
        for (; port > 0; port = ops.bindIpi(v1, 0)) {
          const before = pending();
          expect(ops.send(v1, port)).to.equal(0);
          expect(pending() ^ before).to.equal(1n << BigInt(port));
          expect(bits(v1, port)).to.deep.include({ pending: true, selected: true, upcallPending: true });
        }
        // All words that hold ports are selected, and no others.
        const words = Math.floor((p.context.shape.evtchns - 1) / width) + 1;
        const selector = p.view.getUint32(p.context.vcpu.infoAddr(v1) + (width === 64 ? 8 : 4), true);
        expect(selector).to.equal(2 ** words - 1);
      });

      it('of an interdomain port makes the other end pending, in the other domain only', () => {
        const { ops, v1, v2, d1, d2, bits } = setUp();
        const remote = ops.allocUnbound(v1, d2);
        const local = ops.bindInterdomain(v2, d1, remote);
        expect(bits(v1, remote).pending).to.equal(false);
        expect(ops.send(v2, local)).to.equal(0);
        expect(bits(v1, remote)).to.include({ pending: true, selected: true, upcallPending: true });
      });

      it('drops what is sent to an unbound port', () => {
        const { ops, v1, d2, bits } = setUp();
        const port = ops.allocUnbound(v1, d2);
        expect(ops.send(v1, port)).to.equal(0);
        expect(bits(v1, port).pending).to.equal(false);
      });

      it('refuses closed ports, VIRQs, port 0 and ports beyond the last', () => {
        const { ops, v1 } = setUp();
        for (const port of [60, 0, 68, 100_000, 0xffffffff, ops.bindVirq(v1, VIRQ_DEBUG, 0)]) {
          expect(ops.send(v1, port)).to.equal(-XEN_EINVAL);
        }
      });

      it('faults when the argument is not all in the guest', () => {
        const { p, v1 } = setUp();
        const end = p.context.domain.nrFrames(p.domainOf(0)) * 4096;
        for (const cmd of [E.EVTCHNOP_send, E.EVTCHNOP_status, E.EVTCHNOP_bind_virq]) {
          expect(p.call(v1, __HYPERVISOR_event_channel_op, cmd, end - 2)).to.equal(-XEN_EFAULT);
          expect(p.call(v1, __HYPERVISOR_event_channel_op, cmd, 0xffff_fffe)).to.equal(-XEN_EFAULT);
          // Beyond 4 GiB; a 32-bit guest has no such registers.
          const high = 2 ** 32 + p.scratch(v1);
          if (width === 64) expect(p.call(v1, __HYPERVISOR_event_channel_op, cmd, high)).to.equal(-XEN_EFAULT);
        }
      });

      it('sets the pending bit only while the port is masked', () => {
        const { ops, v1, bits, setMask } = setUp();
        const port = ops.bindIpi(v1, 0);
        setMask(v1, port, true);
        expect(ops.send(v1, port)).to.equal(0);
        expect(bits(v1, port)).to.deep.equal({
          pending: true,
          masked: true,
          selected: false,
          upcallPending: false,
          upcallMasked: false,
        });
      });
    });

    describe('unmask', () => {
      it('delivers what came while the port was masked', () => {
        const { ops, v1, bits, setMask } = setUp();
        const port = ops.bindIpi(v1, 0);
        setMask(v1, port, true);
        ops.send(v1, port);
        expect(ops.unmask(v1, port)).to.equal(0);
        expect(bits(v1, port)).to.include({ pending: true, masked: false, selected: true, upcallPending: true });
      });

      it('only clears the mask when nothing came', () => {
        const { ops, v1, bits, setMask } = setUp();
        const port = ops.bindIpi(v1, 0);
        setMask(v1, port, true);
        expect(ops.unmask(v1, port)).to.equal(0);
        expect(bits(v1, port)).to.include({ pending: false, masked: false, selected: false, upcallPending: false });
      });

      it('refuses ports that there are not', () => {
        const { ops, v1 } = setUp();
        expect([ops.unmask(v1, 0), ops.unmask(v1, 4096)]).to.deep.equal([-XEN_EINVAL, -XEN_EINVAL]);
      });
    });

    describe('close and reset', () => {
      it('closing frees the port, its pending bit and its VIRQ', () => {
        const { ops, v1, bits } = setUp();
        const port = ops.bindIpi(v1, 0);
        ops.send(v1, port);
        expect(ops.close(v1, port)).to.equal(0);
        expect(bits(v1, port).pending).to.equal(false);
        expect(ops.status(v1, port).status).to.equal(E.EVTCHNSTAT_closed);
        expect(ops.close(v1, port)).to.equal(-XEN_EINVAL);
        const virq = ops.bindVirq(v1, VIRQ_DEBUG, 1);
        expect(virq).to.equal(port);
        ops.close(v1, virq);
        expect(ops.bindVirq(v1, VIRQ_DEBUG, 1)).to.equal(port);
      });

      it('closing one end leaves the other unbound for the same domain', () => {
        const { ops, v1, v2, d1, d2 } = setUp();
        const remote = ops.allocUnbound(v1, d2);
        ops.close(v2, ops.bindInterdomain(v2, d1, remote));
        expect(ops.status(v1, remote)).to.include({ status: E.EVTCHNSTAT_unbound, first: d2 });
        expect(ops.bindInterdomain(v2, d1, remote)).to.be.above(0);
      });

      it('a closed VIRQ is not raised any more', () => {
        const { ops, p, v1, bits } = setUp();
        const port = p.context.vcpu.virqPort(v1, VIRQ_TIMER);
        ops.close(v1, port);
        p.hv.events.sendVirq(v1, VIRQ_TIMER);
        expect(bits(v1, port).pending).to.equal(false);
      });

      it('reset closes all ports of the domain, and of no other', () => {
        const { ops, v1, v2, d1, d2 } = setUp();
        const remote = ops.allocUnbound(v2, d1);
        ops.bindInterdomain(v1, d2, remote);
        expect(ops.reset(v1, d2)).to.equal(-XEN_EPERM);
        expect(ops.reset(v1)).to.equal(0);
        for (let port = 1; port < 68; port++) expect(ops.status(v1, port).status).to.equal(E.EVTCHNSTAT_closed);
        expect(ops.status(v2, remote).status).to.equal(E.EVTCHNSTAT_unbound);
        expect(ops.status(v2, 1).status).to.equal(E.EVTCHNSTAT_virq);
      });
    });

    it('status refuses foreign domains and ports that there are not', () => {
      const { ops, v1, d2 } = setUp();
      expect(ops.status(v1, 1, d2).rc).to.equal(-XEN_EPERM);
      expect(ops.status(v1, 1, NO_DOMAIN).rc).to.equal(-XEN_ESRCH);
      expect([ops.status(v1, 0).rc, ops.status(v1, 68).rc]).to.deep.equal([-XEN_EINVAL, -XEN_EINVAL]);
    });

    it('bind_pirq finds no line on a host without devices', () => {
      const { ops, v1 } = setUp();
      for (const pirq of [0, 1, 16]) expect(ops.raw(v1, E.EVTCHNOP_bind_pirq, [[0, pirq, 4]])).to.equal(-XEN_EINVAL);
    });

    it('commands without a handler answer -ENOSYS', () => {
      const { ops, v1 } = setUp();
      for (const cmd of [E.EVTCHNOP_init_control, 14, 0xffff]) {
        expect(ops.raw(v1, cmd, [])).to.equal(-XEN_ENOSYS);
      }
    });
  });
}

describe('an event for a VCPU that has no vcpu_info yet', () => {
  it('does not touch the vcpu_info of VCPU 0, whose later events it would hide', () => {
    // VCPU 32 has no place in the shared info page, and nobody has registered one: the guest has not run yet.
    const { built } = simulate(machineConfig({ guests: [guest({ vcpus: 33, workload: hog() })] }));
    const { context, events } = built.core.hv;
    const { vcpu, domain, evtchn, image } = context;
    const [d, port] = [1, 5];
    const info = vcpu.infoAddr(domain.firstVcpu(d));
    const before = image.u8.slice(info, info + 32);
    evtchn.setState(events.record(d, port), E.EVTCHNSTAT_ipi);
    evtchn.setNotifyVcpu(events.record(d, port), 32);
    events.setPending(d, port);
    expect(events.isPending(d, port)).to.equal(true);
    expect([...image.u8.slice(info, info + 32)]).to.deep.equal([...before]);
  });
});
