/** Interrupt lines by hand: raised by the test, handled by hypercalls. */
import { expect } from 'chai';
import { EOI_LIMIT_NS, RATE_PERIOD_NS, RATE_THRESHOLD } from '../../src/hv/irq.js';
import { IRQ_MAX_GUESTS } from '../../src/hv/irq-records.js';
import {
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSPC,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
} from '../../src/shared/public/errno.js';
import * as E from '../../src/shared/public/event-channel.js';
import * as P from '../../src/shared/public/physdev.js';
import { __HYPERVISOR_physdev_op } from '../../src/shared/public/xen.js';
import { eventOps } from './event-ops.js';
import { EDGE, irqOps, LEVEL, QUIET_DEVICES } from './irq-ops.js';
import { busyProbe, type ProbeOptions, portBits } from './probe.js';

/** Longer than a message takes. */
const A_WHILE = 3000;
const LINES = 24;

/** Guests that compute for ever, each of which may have both lines. */
function setUp({ machine, ...options }: ProbeOptions = {}) {
  const p = busyProbe({ widths: [64, 64], ...options, machine: { devices: QUIET_DEVICES, ...machine } });
  const ops = irqOps(p);
  const guests = options.widths?.length ?? 2;
  for (let n = 0; n < guests; n++) for (const irq of [LEVEL, EDGE]) ops.give(p.domainOf(n), irq);
  const [v1, v2] = [p.vcpuOf(0), p.vcpuOf(1)];
  const pass = (ns = A_WHILE): void => p.run(p.now + ns);
  /** Whether the port of v's domain is pending; it is not any more afterwards. */
  const takePending = (v: number, port: number): boolean => {
    const d = p.context.vcpu.domain(v);
    const was = p.hv.events.isPending(d, port);
    p.hv.events.clearPending(d, port);
    return was;
  };
  return { p, ops, ports: eventOps(p), v1, v2, pass, takePending };
}

for (const width of [32, 64] as const) {
  describe(`pirqs of ${width}-bit guests`, () => {
    const both = (): ReturnType<typeof setUp> => setUp({ widths: [width, width] });

    it('are bound to ports, and given back with them', () => {
      const { ops, ports, v1, v2 } = both();
      const port = ops.bind(v1, LEVEL);
      expect(port).to.be.above(0);
      expect(ports.status(v1, port)).to.include({ rc: 0, status: E.EVTCHNSTAT_pirq, vcpu: 0 });
      expect(ports.status(v1, port).first & 0xffff).to.equal(LEVEL);
      expect(ops.bind(v2, LEVEL)).to.equal(-XEN_EBUSY);
      expect(ports.close(v1, port)).to.equal(0);
      expect(ports.status(v1, port).status).to.equal(E.EVTCHNSTAT_closed);
      expect(ops.bind(v2, LEVEL)).to.be.above(0);
    });

    it('are refused out of range, without permission, without a line, twice', () => {
      const { p, ops, v1 } = both();
      for (const pirq of [-1, LINES, 0x7fffffff]) expect(ops.bind(v1, pirq), `${pirq}`).to.equal(-XEN_EINVAL);
      for (const pirq of [0, 5]) expect(ops.bind(v1, pirq), `${pirq}`).to.equal(-XEN_EPERM);
      p.hv.irqs.permit(p.domainOf(0), LEVEL, false);
      expect(ops.bind(v1, LEVEL)).to.equal(-XEN_EPERM);
      expect(ops.bind(v1, EDGE)).to.be.above(0);
      expect(ops.bind(v1, EDGE, true)).to.equal(-XEN_EEXIST);
    });

    it('are refused when there are no ports, and are not bound then', () => {
      const { p, ops, ports, v1, v2 } = both();
      while (ports.allocUnbound(v1, p.domainOf(1)) > 0);
      expect(ops.bind(v1, LEVEL)).to.equal(-XEN_ENOSPC);
      expect(ops.bind(v2, LEVEL)).to.be.above(0);
    });

    it('are shared only if all agree', () => {
      for (const [first, second] of [
        [false, true],
        [true, false],
        [false, false],
      ] as const) {
        const { ops, v1, v2 } = both();
        expect(ops.bind(v1, LEVEL, first)).to.be.above(0);
        expect(ops.bind(v2, LEVEL, second), `${first}, ${second}`).to.equal(-XEN_EBUSY);
      }
      const { ops, v1, v2 } = both();
      expect(ops.status(v1, LEVEL)).to.equal(P.XENIRQSTAT_needs_eoi);
      expect(ops.bind(v1, LEVEL, true)).to.be.above(0);
      expect(ops.bind(v2, LEVEL, true)).to.be.above(0);
      expect(ops.status(v1, LEVEL)).to.equal(P.XENIRQSTAT_needs_eoi | P.XENIRQSTAT_shared);
    });

    it('are mapped by domain 0 alone', () => {
      const { p, ops, v1 } = both();
      expect(ops.map(v1, 5, 5)).to.equal(-XEN_EPERM);
      expect(ops.unmap(v1, LEVEL)).to.equal(-XEN_EPERM);
      expect(ops.map(v1, 5, 5, 77)).to.equal(-XEN_ESRCH);
      expect(p.hv.irqs.irqOf(p.domainOf(0), LEVEL)).to.equal(LEVEL);
    });

    it('have other numbers than their lines if they are mapped so', () => {
      const { p, ops, v1, pass } = both();
      const d = p.domainOf(0);
      expect(p.hv.irqs.unmap(d, LEVEL)).to.equal(0);
      expect(p.hv.irqs.isPermitted(d, LEVEL)).to.equal(false);
      expect(p.hv.irqs.map(d, LEVEL, 3)).to.equal(3);
      expect(ops.bind(v1, LEVEL)).to.equal(-XEN_EPERM);
      const port = ops.bind(v1, 3);
      ops.assert(LEVEL);
      pass();
      expect(p.hv.events.isPending(d, port)).to.equal(true);
      expect(ops.eoi(v1, LEVEL)).to.equal(0);
      expect(ops.line(LEVEL).inFlight).to.equal(1);
      expect(ops.eoi(v1, 3)).to.equal(0);
      expect(ops.line(LEVEL).inFlight).to.equal(0);
    });

    it('are not found by bad pointers and unknown commands', () => {
      const { p, v1 } = both();
      const physdev = (cmd: number, at: number): number => p.call(v1, __HYPERVISOR_physdev_op, cmd, at);
      for (const cmd of [5, 6, 12, 13, 14, 23]) expect(physdev(cmd, 0xfffffff0), `${cmd}`).to.equal(-XEN_EFAULT);
      const known = [5, 6, 12, 13, 14, 23];
      for (let cmd = 0; cmd < 40; cmd++) {
        if (!known.includes(cmd)) expect(physdev(cmd, p.scratch(v1)), `${cmd}`).to.equal(-XEN_ENOSYS);
      }
      for (const pirq of [-1, LINES]) {
        expect(irqOps(p).eoi(v1, pirq)).to.equal(-XEN_EINVAL);
        expect(irqOps(p).status(v1, pirq)).to.equal(-XEN_EINVAL);
      }
    });
  });
}

describe('pirqs of domain 0', () => {
  const alone = (profile: 'modern' | 'classic' = 'modern') =>
    setUp({ widths: [64], guest: { privileged: true }, machine: { profile } });

  it('are mapped by itself: any line, any free number', () => {
    const { p, ops } = alone();
    expect(ops.bind(0, 5)).to.equal(-XEN_EINVAL);
    expect(ops.map(0, 5, 5)).to.equal(5);
    expect(ops.bind(0, 5)).to.be.above(0);
    expect(ops.map(0, 5, 6)).to.equal(-XEN_EEXIST);
    expect(ops.map(0, 5, -1)).to.equal(5);
    const free = ops.freePirq(0);
    expect(free).to.be.at.least(16);
    expect(ops.map(0, 7, -1)).to.equal(free);
    for (const irq of [0, -1, LINES]) expect(ops.map(0, irq, 9), `${irq}`).to.equal(-XEN_EINVAL);
    expect(ops.map(0, 9, LINES)).to.equal(-XEN_EINVAL);
    expect(ops.map(0, 9, 9, undefined, P.MAP_PIRQ_TYPE_MSI)).to.equal(-XEN_EINVAL);
    expect(p.hv.irqs.irqOf(0, free)).to.equal(7);
  });

  it('run out', () => {
    const { ops } = alone();
    // Numbers 16 to 23 are free.
    for (let irq = 1; irq <= 8; irq++) expect(ops.map(0, irq, -1)).to.equal(15 + irq);
    expect(ops.freePirq(0)).to.equal(-XEN_ENOSPC);
    expect(ops.map(0, 9, -1)).to.equal(-XEN_ENOSPC);
    expect(ops.map(0, 9, 9)).to.equal(9);
  });

  it('are unbound when they are unmapped', () => {
    const { p, ops, pass } = alone();
    ops.map(0, LEVEL, LEVEL);
    const port = ops.bind(0, LEVEL);
    expect(ops.unmap(0, LEVEL)).to.equal(0);
    expect(ops.unmap(0, LEVEL)).to.equal(-XEN_EINVAL);
    ops.assert(LEVEL);
    pass();
    expect(p.hv.events.isPending(0, port)).to.equal(false);
    expect(ops.line(LEVEL).unhandled).to.equal(1);
  });

  it('are lines in the classic profile, which maps nothing', () => {
    const { p, ops, pass } = alone('classic');
    const port = ops.bind(0, LEVEL);
    expect(port).to.be.above(0);
    expect([ops.map(0, 5, 5), ops.unmap(0, 5), ops.freePirq(0)]).to.deep.equal([-XEN_ENOSYS, -XEN_ENOSYS, -XEN_ENOSYS]);
    expect([ops.status(0, LEVEL), ops.status(0, EDGE)]).to.deep.equal([P.XENIRQSTAT_needs_eoi, 0]);
    ops.assert(LEVEL);
    pass();
    expect(p.hv.events.isPending(0, port)).to.equal(true);
  });
});

describe('a level line', () => {
  it('takes L, and raises one event until it is acknowledged', () => {
    const { p, ops, v1, pass, takePending } = setUp();
    const port = ops.bind(v1, LEVEL);
    ops.assert(LEVEL);
    pass(1999);
    expect(takePending(v1, port)).to.equal(false);
    pass(2);
    expect(takePending(v1, port)).to.equal(true);
    // Another device on it, and then the first again.
    ops.assert(LEVEL);
    pass(EOI_LIMIT_NS / 2);
    expect(takePending(v1, port)).to.equal(false);
    expect(ops.line(LEVEL)).to.include({ delivered: 1, inFlight: 1 });
    // Still asserted: it comes again.
    expect(ops.eoi(v1, LEVEL)).to.equal(0);
    pass();
    expect(takePending(v1, port)).to.equal(true);
    ops.deassert(LEVEL);
    ops.deassert(LEVEL);
    ops.eoi(v1, LEVEL);
    pass(10 * EOI_LIMIT_NS);
    expect(takePending(v1, port)).to.equal(false);
    expect(ops.line(LEVEL)).to.include({ delivered: 2, inFlight: 0, forced: 0 });
    expect(p.now).to.be.above(10 * EOI_LIMIT_NS);
  });

  it('is nobody else to acknowledge', () => {
    const { ops, v1, v2, pass } = setUp();
    ops.bind(v1, LEVEL);
    ops.assert(LEVEL);
    pass();
    expect(ops.eoi(v2, LEVEL)).to.equal(0);
    expect(ops.line(LEVEL).inFlight).to.equal(1);
  });

  it('needs both acknowledgements when it is shared', () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ] as const) {
      const { ops, v1, v2, pass, takePending } = setUp();
      const vcpus = [v1, v2];
      const ports = vcpus.map((v) => ops.bind(v, LEVEL, true));
      ops.assert(LEVEL);
      pass();
      expect(vcpus.map((v, k) => takePending(v, ports[k]!))).to.deep.equal([true, true]);
      ops.eoi(vcpus[order[0]]!, LEVEL);
      // Twice is once.
      ops.eoi(vcpus[order[0]]!, LEVEL);
      pass();
      expect(vcpus.map((v, k) => takePending(v, ports[k]!))).to.deep.equal([false, false]);
      ops.eoi(vcpus[order[1]]!, LEVEL);
      pass();
      expect(vcpus.map((v, k) => takePending(v, ports[k]!))).to.deep.equal([true, true]);
    }
  });

  it('is free for the others when a domain that has not acknowledged closes its port', () => {
    const { ops, ports, v1, v2, pass, takePending } = setUp();
    const [port1, port2] = [ops.bind(v1, LEVEL, true), ops.bind(v2, LEVEL, true)];
    ops.assert(LEVEL);
    pass();
    takePending(v2, port2);
    ops.eoi(v2, LEVEL);
    expect(ops.line(LEVEL).inFlight).to.equal(1);
    ports.close(v1, port1);
    expect(ops.line(LEVEL).inFlight).to.equal(0);
    pass();
    expect(takePending(v2, port2)).to.equal(true);
    expect(ops.status(v2, LEVEL) & P.XENIRQSTAT_shared).to.equal(0);
  });

  it('is taken for acknowledged after 1 ms, so that nobody keeps it from the others', () => {
    const { ops, v1, v2, pass, takePending } = setUp();
    const [, port2] = [ops.bind(v1, LEVEL, true), ops.bind(v2, LEVEL, true)];
    ops.assert(LEVEL);
    pass();
    takePending(v2, port2);
    ops.eoi(v2, LEVEL);
    pass(EOI_LIMIT_NS - 2 * A_WHILE);
    expect(takePending(v2, port2)).to.equal(false);
    pass(3 * A_WHILE);
    expect(takePending(v2, port2)).to.equal(true);
    expect(ops.line(LEVEL)).to.include({ delivered: 2, forced: 1 });
  });

  it('waits for ever in the classic profile', () => {
    const { ops, v1, pass } = setUp({ machine: { profile: 'classic' } });
    ops.bind(v1, LEVEL);
    ops.assert(LEVEL);
    pass(500e6);
    expect(ops.line(LEVEL)).to.include({ delivered: 1, inFlight: 1, forced: 0 });
    ops.eoi(v1, LEVEL);
    pass();
    expect(ops.line(LEVEL).delivered).to.equal(2);
  });

  it('that is let go of before its message arrives raises nothing', () => {
    const { ops, v1, pass } = setUp();
    ops.bind(v1, LEVEL);
    ops.assert(LEVEL);
    ops.deassert(LEVEL);
    pass();
    expect(ops.line(LEVEL).delivered).to.equal(0);
  });

  it('is free for the others when a domain has to leave everything', () => {
    for (const profile of ['modern', 'classic'] as const) {
      const { p, ops, v1, v2, pass, takePending } = setUp({ machine: { profile } });
      const [, port2] = [ops.bind(v1, LEVEL, true), ops.bind(v2, LEVEL, true)];
      ops.assert(LEVEL);
      pass();
      takePending(v2, port2);
      ops.eoi(v2, LEVEL);
      p.hv.irqs.release(p.domainOf(0));
      pass();
      expect(takePending(v2, port2), profile).to.equal(true);
      expect(ops.bind(v1, LEVEL, true)).to.equal(-XEN_EPERM);
    }
  });

  it('is had by seven domains at most', () => {
    const widths = Array.from({ length: IRQ_MAX_GUESTS + 1 }, () => 64 as const);
    const { p, ops } = setUp({ widths });
    const bound = widths.map((_, n) => ops.bind(p.vcpuOf(n), LEVEL, true));
    expect(bound.slice(0, -1).every((port) => port > 0)).to.equal(true);
    expect(bound.at(-1)).to.equal(-XEN_EBUSY);
  });
});

describe('a line that nobody has', () => {
  it('is masked at its first interrupt, and served when somebody binds it', () => {
    const { p, ops, v1, pass, takePending } = setUp();
    const turns = (): number => p.context.machine.turns(0);
    const before = turns();
    ops.assert(LEVEL);
    pass(100e3);
    expect(ops.line(LEVEL)).to.include({ delivered: 0, unhandled: 1 });
    expect(turns() - before).to.be.below(10);
    const port = ops.bind(v1, LEVEL);
    pass();
    expect(takePending(v1, port)).to.equal(true);
  });

  it('counts edges that are lost', () => {
    const { ops, v1, pass } = setUp();
    for (let n = 0; n < 5; n++) {
      ops.pulse(EDGE);
      pass();
    }
    expect(ops.line(EDGE)).to.include({ delivered: 0, unhandled: 5 });
    ops.bind(v1, EDGE);
    pass();
    expect(ops.line(EDGE).delivered).to.equal(0);
    ops.pulse(EDGE);
    pass();
    expect(ops.line(EDGE)).to.include({ delivered: 1, unhandled: 5 });
  });
});

describe('an edge line', () => {
  it('needs no acknowledgement', () => {
    const { ops, v1, pass, takePending } = setUp();
    const port = ops.bind(v1, EDGE);
    for (let n = 1; n <= 5; n++) {
      ops.pulse(EDGE);
      pass();
      expect(takePending(v1, port)).to.equal(true);
      expect(ops.line(EDGE)).to.include({ delivered: n, inFlight: 0 });
    }
  });

  it('merges edges while one is under way', () => {
    const { ops, v1, pass } = setUp();
    ops.bind(v1, EDGE);
    for (let n = 0; n < 5; n++) ops.pulse(EDGE);
    pass();
    expect(ops.line(EDGE).delivered).to.equal(1);
  });

  it('waits behind a masked port until it is unmasked', () => {
    const { p, ops, ports, v1, pass } = setUp();
    const port = ops.bind(v1, EDGE);
    const { domain, vcpu, image } = p.context;
    const page = domain.sharedInfo(p.domainOf(0));
    image.u8[page + 2560 + (port >> 3)]! |= 1 << (port & 7);
    ops.pulse(EDGE);
    pass();
    const bits = () => portBits(p.view, 64, page, vcpu.infoAddr(v1), port);
    expect(bits()).to.include({ pending: true, masked: true, selected: false });
    ports.unmask(v1, port);
    expect(bits()).to.include({ pending: true, masked: false, selected: true });
  });
});

describe('the rate limit of a line', () => {
  /** An edge every `everyNs`, three times 15 ms of them; L is short enough that none merge. */
  function storm(profile: 'modern' | 'classic', everyNs: number) {
    const { p, ops, v1, pass } = setUp({ machine: { profile, latencyNs: 400, durationNs: 10e9 } });
    ops.bind(v1, EDGE);
    const start = p.now;
    const delivered: number[] = [];
    let raised = 0;
    for (let period = 1; period <= 3; period++) {
      for (; p.now < start + period * 15e6; raised++) {
        ops.pulse(EDGE);
        pass(everyNs);
      }
      delivered.push(ops.line(EDGE).delivered);
    }
    return { raised, delivered, throttled: ops.line(EDGE).throttled };
  }

  it('masks a line for 10 ms after 10,000 interrupts in less, again and again', () => {
    expect([RATE_THRESHOLD, RATE_PERIOD_NS]).to.deep.equal([10_000, 10e6]);
    const { raised, delivered, throttled } = storm('modern', 500);
    // 5 ms of storm, 10 ms of silence.
    for (const [k, count] of delivered.entries()) expect(count / (k + 1)).to.be.closeTo(RATE_THRESHOLD, 10);
    expect(throttled + delivered[2]!).to.be.closeTo(raised, 5);
  });

  it('lets 10,000 in more than 10 ms pass', () => {
    const { raised, delivered, throttled } = storm('modern', 1100);
    expect(throttled).to.equal(0);
    expect(raised).to.be.above(4 * RATE_THRESHOLD);
    expect(delivered[2]).to.equal(raised);
  });

  it('is not there in the classic profile', () => {
    const { raised, delivered, throttled } = storm('classic', 500);
    expect(throttled).to.equal(0);
    expect(delivered[2]).to.equal(raised);
  });
});

describe('the route of a line', () => {
  it('is to the pCPU of the VCPU that its port names', () => {
    const { p, ops, ports, pass } = setUp({ widths: [64], vcpus: 3 });
    const v = p.vcpuOf(0);
    const port = ops.bind(v, LEVEL);
    for (const id of [0, 2, 1]) {
      expect(ports.bindVcpu(v, port, id)).to.equal(0);
      ops.assert(LEVEL);
      expect(ops.underWayTo(LEVEL)).to.equal(id);
      pass();
      const { vcpu, domain } = p.context;
      const bits = portBits(p.view, 64, domain.sharedInfo(p.domainOf(0)), vcpu.infoAddr(v + id), port);
      expect(bits.pending).to.equal(true);
      p.hv.events.clearPending(p.domainOf(0), port);
      ops.deassert(LEVEL);
      ops.eoi(v, LEVEL);
    }
  });

  it('follows a VCPU to another pCPU, in the classic profile not', () => {
    for (const profile of ['modern', 'classic'] as const) {
      const { p, ops, v1, pass } = setUp({ widths: [64], machine: { profile, pcpus: 3 } });
      ops.bind(v1, EDGE);
      const before = p.context.queues.entry.processor(v1);
      p.hv.smp.enterTurn(before);
      p.hv.sched.setAffinity(v1, [2]);
      pass(1e6);
      expect(p.context.queues.entry.processor(v1)).to.equal(2);
      ops.pulse(EDGE);
      expect(ops.underWayTo(EDGE), profile).to.equal(profile === 'modern' ? 2 : before);
    }
  });
});
