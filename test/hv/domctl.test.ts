/** domctl: domains made, paused, looked at and destroyed by domain 0 while the machine runs. */
import { expect } from 'chai';
import { invariants as findBroken } from '../../src/machine/invariants.js';
import * as D from '../../src/shared/public/domctl.js';
import { xen_domctl } from '../../src/shared/public/domctl-layout.js';
import {
  XEN_EACCES,
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENODATA,
  XEN_ENOMEM,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
} from '../../src/shared/public/errno.js';
import * as E from '../../src/shared/public/event-channel.js';
import { sizeOf } from '../../src/shared/public/layout.js';
import { XENMEM_populate_physmap } from '../../src/shared/public/memory.js';
import { __HYPERVISOR_domctl, DOMID_SELF } from '../../src/shared/public/xen.js';
import { type Dom0, dom0Machine } from './dom0-ops.js';
import { eventOps } from './event-ops.js';
import { irqOps, LEVEL, QUIET_DEVICES } from './irq-ops.js';

const COMMANDS = [
  ...[D.XEN_DOMCTL_createdomain, D.XEN_DOMCTL_getdomaininfo, D.XEN_DOMCTL_destroydomain, D.XEN_DOMCTL_pausedomain],
  ...[D.XEN_DOMCTL_unpausedomain, D.XEN_DOMCTL_max_mem, D.XEN_DOMCTL_max_vcpus, D.XEN_DOMCTL_setvcpuaffinity],
  ...[D.XEN_DOMCTL_getvcpuaffinity, D.XEN_DOMCTL_setvcpucontext, D.XEN_DOMCTL_getvcpucontext],
  ...[D.XEN_DOMCTL_getvcpuinfo, D.XEN_DOMCTL_scheduler_op, D.XEN_DOMCTL_setdomainhandle],
  ...[D.XEN_DOMCTL_set_address_size, D.XEN_DOMCTL_get_address_size, D.XEN_DOMCTL_irq_permission],
];

/** Runs on, and looks at all records after each turn. */
function runChecked(m: Dom0, ns: number): void {
  const broken = findBroken(m.p.sim.built);
  m.p.sim.run(m.p.now + ns, () => {
    const found = broken();
    if (found.length > 0) expect(found, `at ${m.p.now} ns`).to.deep.equal([]);
  });
}

describe('domctl', () => {
  it('is domain 0’s alone, whatever the command', () => {
    const m = dom0Machine();
    runChecked(m, 5e6);
    const domU = m.p.context.domain.firstVcpu(1);
    const v = [domU, domU + 1].find((w) => m.p.isRunning(w))!;
    for (const cmd of COMMANDS) expect(m.domctl(cmd, 1, {}, v).rc, `command ${cmd}`).to.equal(-XEN_EPERM);
    expect(m.domctl(D.XEN_DOMCTL_pausedomain, 77, {}, v).rc).to.equal(-XEN_ESRCH);
  });

  it('looks at the argument first: is it there, of this version, of a domain that exists, a command it knows', () => {
    const m = dom0Machine();
    const { v } = m;
    const bytes = sizeOf(xen_domctl, 64);
    const end = m.p.context.domain.nrFrames(0) * 4096;
    expect(m.p.call(v, __HYPERVISOR_domctl, end - bytes + 1)).to.equal(-XEN_EFAULT);
    expect(m.domctl(D.XEN_DOMCTL_pausedomain, 77, { interface_version: 0x14 }).rc).to.equal(-XEN_EACCES);
    for (const cmd of COMMANDS.slice(2)) expect(m.domctl(cmd, 77).rc, `command ${cmd}`).to.equal(-XEN_ESRCH);
    expect(m.domctl(9999, 77).rc).to.equal(-XEN_ESRCH);
    expect(m.domctl(9999, 1).rc).to.equal(-XEN_ENOSYS);
  });

  describe('createdomain', () => {
    it('gives growing numbers, which come back last, and takes a number that is asked for', () => {
      const m = dom0Machine();
      const create = (id = 0): number => {
        const made = m.domctl(D.XEN_DOMCTL_createdomain, id, { 'u.createdomain.max_vcpus': 1 });
        return made.rc < 0 ? made.rc : made.get('domain');
      };
      expect([create(), create()]).to.deep.equal([2, 3]);
      expect(m.domctl(D.XEN_DOMCTL_destroydomain, 2).rc).to.equal(0);
      expect(m.record(2)).to.equal(-1);
      expect(create()).to.equal(4);
      expect(create(3)).to.equal(-XEN_EEXIST);
      expect(create(99)).to.equal(99);
      // Three spare domains: 3, 4 and 99.
      expect(create()).to.equal(-XEN_ENOMEM);
      expect(m.domctl(D.XEN_DOMCTL_destroydomain, 99).rc).to.equal(0);
      expect(create()).to.equal(5);
    });

    it('refuses what this hypervisor has not got, and makes nothing then', () => {
      const m = dom0Machine();
      for (const fields of [
        { 'u.createdomain.max_vcpus': 0 },
        { 'u.createdomain.max_vcpus': 129 },
        { 'u.createdomain.max_vcpus': 1, 'u.createdomain.flags': D.XEN_DOMCTL_CDF_hvm },
        { 'u.createdomain.max_vcpus': 1, 'u.createdomain.flags': 1 << 8 },
        { 'u.createdomain.max_vcpus': 1, 'u.createdomain.cpupool_id': 1 },
      ]) {
        expect(m.domctl(D.XEN_DOMCTL_createdomain, 0, fields).rc, JSON.stringify(fields)).to.equal(-XEN_EINVAL);
      }
      expect(m.info(2)).to.equal(undefined);
    });

    it('makes a domain that has nothing, is paused and says so', () => {
      const m = dom0Machine();
      m.domctl(D.XEN_DOMCTL_createdomain, 0, { 'u.createdomain.max_vcpus': 2 });
      expect(m.info(2)).to.deep.equal({
        id: 2,
        flags: D.XEN_DOMINF_paused,
        totPages: 0,
        maxPages: 0,
        cpuTimeNs: 0,
        online: 0,
        maxVcpuId: D.XEN_INVALID_MAX_VCPU_ID,
      });
    });
  });

  describe('max_vcpus', () => {
    it('gives as many VCPUs as were announced, once, as far as there are any', () => {
      const m = dom0Machine();
      const give = (id: number, max: number): number =>
        m.domctl(D.XEN_DOMCTL_max_vcpus, id, { 'u.max_vcpus.max': max }).rc;
      for (const max of [4, 3]) m.domctl(D.XEN_DOMCTL_createdomain, 0, { 'u.createdomain.max_vcpus': max });
      expect(give(2, 3)).to.equal(-XEN_EINVAL);
      expect(give(2, 4)).to.equal(0);
      expect(give(2, 4)).to.equal(0);
      expect(m.info(2)!.maxVcpuId).to.equal(3);
      // Six spare ones, of which two are left.
      expect(give(3, 3)).to.equal(-XEN_ENOMEM);
      expect(give(0, 1)).to.equal(-XEN_EINVAL);
      m.domctl(D.XEN_DOMCTL_destroydomain, 2);
      expect(give(3, 3)).to.equal(0);
      runChecked(m, 1e6);
    });
  });

  it('builds a domain that boots at its first unpause, and is destroyed without a trace', () => {
    const m = dom0Machine();
    const free = m.p.context.host.freePages(0);
    const domid = m.build({ pages: 16_384 });
    const d = m.record(domid);
    const v = m.p.context.domain.firstVcpu(d);
    expect(m.p.context.host.freePages(0)).to.equal(free - 16_384);
    runChecked(m, 5e6);
    expect(m.info(domid)!.cpuTimeNs).to.equal(0);
    expect(m.domctl(D.XEN_DOMCTL_unpausedomain, domid).rc).to.equal(0);
    // Behind whoever runs there, for a timeslice.
    runChecked(m, 100e6);
    const { flags, online } = m.info(domid)!;
    expect(online).to.equal(1);
    // It has no task: it booted and sleeps.
    expect(flags).to.equal(D.XEN_DOMINF_blocked);
    expect(m.p.context.vcpu.eventCallback(v)).to.not.equal(0);
    expect(m.domctl(D.XEN_DOMCTL_destroydomain, domid).rc).to.equal(0);
    expect(m.info(domid)).to.equal(undefined);
    expect(m.p.context.host.freePages(0)).to.equal(free);
    runChecked(m, 20e6);
    expect(m.console()).to.match(/\(XEN\) d2: created for 1 VCPUs of 64 bits\n\(XEN\) d2: destroyed\n$/);
  });

  it('destroys a domain whose VCPUs run once they are off their pCPUs', () => {
    const m = dom0Machine();
    runChecked(m, 5e6);
    expect(m.p.isRunning(1) || m.p.isRunning(2)).to.equal(true);
    expect(m.domctl(D.XEN_DOMCTL_destroydomain, 1).rc).to.equal(0);
    expect(m.info(1)!.flags & D.XEN_DOMINF_dying).to.not.equal(0);
    // Again is no mistake.
    expect(m.domctl(D.XEN_DOMCTL_destroydomain, 1).rc).to.equal(0);
    runChecked(m, 100e3);
    expect(m.info(1)).to.equal(undefined);
    expect(m.p.context.host.freePages(0)).to.equal(m.p.context.host.totalPages(0) - 64 * 256);
    // Its VCPUs are there for others.
    m.domctl(D.XEN_DOMCTL_unpausedomain, m.build({ vcpus: 5 }));
    m.domctl(D.XEN_DOMCTL_unpausedomain, m.build({ vcpus: 3 }));
    runChecked(m, 30e6);
  });

  it('refuses to destroy or pause the domain that asks', () => {
    const m = dom0Machine();
    for (const cmd of [D.XEN_DOMCTL_destroydomain, D.XEN_DOMCTL_pausedomain]) {
      expect(m.domctl(cmd, 0).rc).to.equal(-XEN_EINVAL);
    }
  });

  it('closes the other ends of a destroyed domain’s event channels, and nobody binds to its successor by mistake', () => {
    const m = dom0Machine();
    const events = eventOps(m.p);
    const domid = m.build();
    const port = events.allocUnbound(m.v, domid);
    m.domctl(D.XEN_DOMCTL_unpausedomain, domid);
    runChecked(m, 5e6);
    const d = m.record(domid);
    // In the new domain's name: it has just booted and is made to run.
    const { ports, events: channels } = m.p.hv;
    const local = channels.findFree(d);
    ports.set(d, local, E.EVTCHNSTAT_interdomain, 0, 0, port);
    ports.set(0, port, E.EVTCHNSTAT_interdomain, 0, d, local);
    expect(events.status(m.v, port)).to.include({ status: E.EVTCHNSTAT_interdomain, first: domid, second: local });
    m.domctl(D.XEN_DOMCTL_destroydomain, domid);
    runChecked(m, 1e6);
    expect(events.status(m.v, port)).to.include({ status: E.EVTCHNSTAT_unbound, first: domid });
    expect(events.send(m.v, port)).to.equal(0);
    const next = m.build();
    expect(m.record(next)).to.not.equal(-1);
    expect(events.status(m.v, port).first).to.not.equal(next);
    expect(events.allocUnbound(m.v, DOMID_SELF)).to.be.above(port);
  });

  describe('pausedomain', () => {
    it('counts, and holds every VCPU until it is taken back as often', () => {
      const m = dom0Machine();
      const pause = (): number => m.domctl(D.XEN_DOMCTL_pausedomain, 1).rc;
      const unpause = (): number => m.domctl(D.XEN_DOMCTL_unpausedomain, 1).rc;
      const ran = (): number => m.info(1)!.cpuTimeNs;
      expect(unpause()).to.equal(-XEN_EINVAL);
      expect([pause(), pause()]).to.deep.equal([0, 0]);
      runChecked(m, 100e3);
      const before = ran();
      runChecked(m, 10e6);
      expect(ran()).to.equal(before);
      expect(m.info(1)!.flags & D.XEN_DOMINF_paused).to.not.equal(0);
      expect(unpause()).to.equal(0);
      runChecked(m, 10e6);
      expect(ran()).to.equal(before);
      expect(unpause()).to.equal(0);
      runChecked(m, 10e6);
      expect(ran()).to.be.above(before);
      expect(m.info(1)!.flags & D.XEN_DOMINF_paused).to.equal(0);
    });
  });

  describe('setvcpuaffinity', () => {
    it('takes hard and soft masks, and answers what can be had of them', () => {
      const m = dom0Machine();
      const { rc } = m.setAffinity(1, 0, [1, 2, 7], [0, 2]);
      expect(rc).to.equal(0);
      expect(m.readMask(1)).to.deep.equal([1, 2]);
      expect(m.readMask(2)).to.deep.equal([2]);
      const [hard, soft] = [m.mask(3, []), m.mask(4, [])];
      const get = {
        'u.vcpuaffinity.flags': D.XEN_VCPUAFFINITY_HARD | D.XEN_VCPUAFFINITY_SOFT,
      };
      void hard;
      void soft;
      // Null masks: nothing to write to.
      expect(m.domctl(D.XEN_DOMCTL_getvcpuaffinity, 1, get).rc).to.equal(-XEN_EINVAL);
      const context = m.p.context;
      expect([0, 1, 2].filter((p) => context.queues.masks.has(context.queues.givenAffinity(1, 0), p))).to.deep.equal([
        0, 2,
      ]);
      runChecked(m, 20e6);
    });

    it('refuses masks without a pCPU on line, VCPUs that are not there and no mask at all, and changes nothing', () => {
      const m = dom0Machine();
      expect(m.setAffinity(1, 0, [5]).rc).to.equal(-XEN_EINVAL);
      expect(m.setAffinity(1, 0, [1], [5]).rc).to.equal(-XEN_EINVAL);
      expect(m.setAffinity(1, 0).rc).to.equal(-XEN_EINVAL);
      expect(m.setAffinity(1, 2, [1]).rc).to.equal(-XEN_EINVAL);
      const { queues } = m.p.context;
      expect([0, 1, 2].filter((p) => queues.masks.has(queues.givenAffinity(1, 1), p))).to.deep.equal([1, 2]);
    });

    it('moves a VCPU that runs where it may not any more', () => {
      const m = dom0Machine();
      runChecked(m, 5e6);
      for (const id of [0, 1]) expect(m.setAffinity(1, id, [2]).rc).to.equal(0);
      runChecked(m, 20e6);
      for (const v of [1, 2]) expect(m.p.context.queues.entry.processor(v)).to.equal(2);
    });
  });

  describe('scheduler_op', () => {
    const CREDIT = { 'u.scheduler_op.sched_id': D.XEN_SCHEDULER_CREDIT };
    it('gets and puts weight and cap; 0 and all ones leave them', () => {
      const m = dom0Machine();
      const get = (): number[] => {
        const a = m.domctl(D.XEN_DOMCTL_scheduler_op, 1, {
          ...CREDIT,
          'u.scheduler_op.cmd': D.XEN_DOMCTL_SCHEDOP_getinfo,
        });
        expect(a.rc).to.equal(0);
        return [a.get('u.scheduler_op.u.credit.weight'), a.get('u.scheduler_op.u.credit.cap')];
      };
      const put = (weight: number, cap: number): number =>
        m.domctl(D.XEN_DOMCTL_scheduler_op, 1, {
          ...CREDIT,
          'u.scheduler_op.cmd': D.XEN_DOMCTL_SCHEDOP_putinfo,
          'u.scheduler_op.u.credit.weight': weight,
          'u.scheduler_op.u.credit.cap': cap,
        }).rc;
      expect(get()).to.deep.equal([256, 0]);
      expect(put(512, 50)).to.equal(0);
      expect(get()).to.deep.equal([512, 50]);
      expect(put(0, 0xffff)).to.equal(0);
      expect(get()).to.deep.equal([512, 50]);
      runChecked(m, 100e6);
    });

    it('refuses another policy, an unknown command, and parameters that credit has not', () => {
      const m = dom0Machine();
      const op = (fields: Record<string, number>): number => m.domctl(D.XEN_DOMCTL_scheduler_op, 1, fields).rc;
      expect(op({ 'u.scheduler_op.sched_id': D.XEN_SCHEDULER_CREDIT2 })).to.equal(-XEN_EINVAL);
      expect(op({ ...CREDIT, 'u.scheduler_op.cmd': 4 })).to.equal(-XEN_EINVAL);
      expect(
        op({ ...CREDIT, 'u.scheduler_op.cmd': D.XEN_DOMCTL_SCHEDOP_getvcpuinfo, 'u.scheduler_op.u.v.nr_vcpus': 1 }),
      ).to.equal(-XEN_EINVAL);
    });
  });

  it('shows a VCPU: where it is, how long it ran, how it began', () => {
    const m = dom0Machine();
    runChecked(m, 20e6);
    const info = m.domctl(D.XEN_DOMCTL_getvcpuinfo, 1, { 'u.getvcpuinfo.vcpu': 1 });
    expect(info.rc).to.equal(0);
    const { entry } = m.p.context.queues;
    expect(info.get('u.getvcpuinfo.cpu')).to.equal(entry.processor(2));
    expect(info.get('u.getvcpuinfo.running')).to.equal(entry.isRunning(2));
    expect(info.get('u.getvcpuinfo.online')).to.equal(1);
    expect(info.get('u.getvcpuinfo.cpu_time')).to.be.within(5e6, 21e6);
    expect(m.domctl(D.XEN_DOMCTL_getvcpuinfo, 1, { 'u.getvcpuinfo.vcpu': 2 }).rc).to.equal(-XEN_EINVAL);
    m.domctl(D.XEN_DOMCTL_createdomain, 0, { 'u.createdomain.max_vcpus': 1 });
    expect(m.domctl(D.XEN_DOMCTL_getvcpuinfo, 2, { 'u.getvcpuinfo.vcpu': 0 }).rc).to.equal(-XEN_ESRCH);
    m.domctl(D.XEN_DOMCTL_max_vcpus, 2, { 'u.max_vcpus.max': 1 });
    expect(m.domctl(D.XEN_DOMCTL_getvcpucontext, 2, { 'u.vcpucontext.vcpu': 0 }).rc).to.equal(-XEN_ENODATA);
    expect(
      m.domctl(D.XEN_DOMCTL_setvcpucontext, 2, { 'u.vcpucontext.vcpu': 0, 'u.vcpucontext.ctxt': 1 << 30 }).rc,
    ).to.equal(-XEN_EFAULT);
  });

  describe('memory', () => {
    it('comes from what the host has, up to what the domain may have', () => {
      const m = dom0Machine({ memoryMib: 256 });
      const { host } = m.p.context;
      expect(host.freePages(0)).to.equal((256 - 128) * 256);
      m.domctl(D.XEN_DOMCTL_createdomain, 0, { 'u.createdomain.max_vcpus': 1 });
      const populate = (extents: number, order: number): number =>
        m.memory(XENMEM_populate_physmap, {
          extent_start: m.list(1, new Array<number>(8 * extents).fill(0)),
          nr_extents: extents,
          extent_order: order,
          domid: 2,
        });
      expect(populate(1, 0)).to.equal(0);
      expect(m.console()).to.match(/Over-allocation for domain 2: 1 > 0\n$/);
      m.domctl(D.XEN_DOMCTL_max_mem, 2, { 'u.max_mem.max_memkb': 1 << 30 });
      expect(populate(4, 9)).to.equal(4);
      // 128 MiB: 64 extents of 2 MiB, of which four are gone.
      expect(populate(61, 9)).to.equal(60);
      expect(host.freePages(0)).to.equal(0);
      m.domctl(D.XEN_DOMCTL_destroydomain, 2);
      expect(host.freePages(0)).to.equal((256 - 128) * 256);
    });
  });
});

describe('irq_permission', () => {
  for (const profile of ['modern', 'classic'] as const) {
    it(`${profile}: lets a domain bind a line, or takes it from those it may bind`, () => {
      const m = dom0Machine({ profile, devices: QUIET_DEVICES });
      const ops = irqOps(m.p);
      const domU = m.p.context.domain.firstVcpu(1);
      const permit = (pirq: number, allow: boolean): number =>
        m.domctl(D.XEN_DOMCTL_irq_permission, 1, {
          'u.irq_permission.pirq': pirq,
          'u.irq_permission.allow_access': allow ? 1 : 0,
        }).rc;
      runChecked(m, 5e6);
      expect(permit(24, true)).to.equal(-XEN_EINVAL);
      expect(ops.bind(domU, LEVEL)).to.equal(-XEN_EPERM);
      if (profile === 'modern') {
        // Without a pirq of its own domain 0 has no name for the line.
        expect(permit(LEVEL, true)).to.equal(-XEN_EPERM);
        expect(ops.map(m.v, LEVEL, LEVEL)).to.equal(LEVEL);
        expect(ops.map(m.v, LEVEL, LEVEL, 1)).to.equal(LEVEL);
      }
      expect(permit(LEVEL, false)).to.equal(0);
      expect(ops.bind(domU, LEVEL)).to.equal(-XEN_EPERM);
      expect(permit(LEVEL, true)).to.equal(0);
      expect(ops.bind(domU, LEVEL)).to.be.above(0);
    });
  }
});
