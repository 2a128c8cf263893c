/** sysctl, memory_op and platform_op: what domain 0 asks of the host. */
import { expect } from 'chai';
import { PERFC_NAMES } from '../../src/hv/perfc.js';
import * as D from '../../src/shared/public/domctl.js';
import { XEN_EACCES, XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM, XEN_ESRCH } from '../../src/shared/public/errno.js';
import * as M from '../../src/shared/public/memory.js';
import { XENPF_getidletime } from '../../src/shared/public/platform.js';
import * as S from '../../src/shared/public/sysctl.js';
import { __HYPERVISOR_memory_op, DOMID_SELF } from '../../src/shared/public/xen.js';
import { XEN_SCHEDULER_SEDF } from '../../src/shared/sedf-abi.js';
import { guest, hog } from '../support/in-process.js';
import { type Dom0, dom0Machine } from './dom0-ops.js';

const COMMANDS = [
  ...[S.XEN_SYSCTL_readconsole, S.XEN_SYSCTL_physinfo, S.XEN_SYSCTL_sched_id, S.XEN_SYSCTL_perfc_op],
  ...[S.XEN_SYSCTL_getdomaininfolist, S.XEN_SYSCTL_debug_keys, S.XEN_SYSCTL_getcpuinfo, S.XEN_SYSCTL_availheap],
  ...[S.XEN_SYSCTL_cpu_hotplug, S.XEN_SYSCTL_cputopoinfo, S.XEN_SYSCTL_scheduler_op],
];
const dom0Guest = guest({ name: 'Domain-0', privileged: true, cpus: [[0]], workload: hog() });
const text = (m: Dom0, area: number, bytes: number): string => {
  const at = m.p.at(m.v, m.p.scratch(m.v, area));
  return new TextDecoder().decode(m.p.context.image.u8.slice(at, at + bytes));
};

describe('sysctl', () => {
  it('is domain 0’s alone, of one version, with the commands it knows', () => {
    const m = dom0Machine();
    m.p.run(5e6);
    const domU = [1, 2].find((v) => m.p.isRunning(v))!;
    for (const cmd of COMMANDS) expect(m.sysctl(cmd, {}, domU).rc, `command ${cmd}`).to.equal(-XEN_EPERM);
    expect(m.sysctl(S.XEN_SYSCTL_physinfo, { interface_version: 0x14 }).rc).to.equal(-XEN_EACCES);
    expect(m.sysctl(S.XEN_SYSCTL_tbuf_op).rc).to.equal(-XEN_ENOSYS);
  });

  it('tells what the host has', () => {
    const m = dom0Machine({ pcpus: 5, cycleHz: 2e9 });
    const host = m.sysctl(S.XEN_SYSCTL_physinfo);
    expect(host.rc).to.equal(0);
    const get = (field: string): number => host.get(`u.physinfo.${field}`);
    expect(
      ['threads_per_core', 'cores_per_socket', 'nr_cpus', 'max_cpu_id', 'nr_nodes', 'cpu_khz'].map(get),
    ).to.deep.equal([1, 5, 5, 4, 1, 2e6]);
    expect([get('total_pages'), get('free_pages')]).to.deep.equal([1024 * 256, (1024 - 128) * 256]);
    expect(m.sysctl(S.XEN_SYSCTL_availheap).get('u.availheap.avail_bytes')).to.equal((1024 - 128) * 2 ** 20);
  });

  it('lists domains by number, from one on, as many as fit', () => {
    const m = dom0Machine();
    for (const id of [40, 7]) m.domctl(D.XEN_DOMCTL_createdomain, id, { 'u.createdomain.max_vcpus': 1 });
    const ids = (first: number, most: number): number[] => {
      const a = m.sysctl(S.XEN_SYSCTL_getdomaininfolist, {
        'u.getdomaininfolist.first_domain': first,
        'u.getdomaininfolist.max_domains': most,
        'u.getdomaininfolist.buffer': m.list(1),
      });
      expect(a.rc).to.equal(0);
      const n = a.get('u.getdomaininfolist.num_domains');
      return Array.from({ length: n }, (_, k) => m.p.view.getUint16(m.p.at(m.v, m.p.scratch(m.v, 1)) + 112 * k, true));
    };
    expect(ids(0, 10)).to.deep.equal([0, 1, 7, 40]);
    expect(ids(2, 1)).to.deep.equal([7]);
    expect(ids(41, 10)).to.deep.equal([]);
  });

  it('reads the console: all of it, what is new, and what came after it was cleared', () => {
    const m = dom0Machine();
    const read = (fields: Record<string, number> = {}): readonly [string, number] => {
      const a = m.sysctl(S.XEN_SYSCTL_readconsole, {
        'u.readconsole.buffer': m.list(1),
        'u.readconsole.count': 1000,
        ...fields,
      });
      expect(a.rc).to.equal(0);
      return [text(m, 1, a.get('u.readconsole.count')), a.get('u.readconsole.index')];
    };
    const [all, end] = read();
    expect(all).to.match(
      /^\(XEN\) System RAM: 1024MB \(1048576kB\)\n\(XEN\) Using scheduler: SMP Credit Scheduler \(credit\)\n/,
    );
    // Domain 0's own words are on it as well.
    expect(all).to.contain('\nringzero guest: 1 tasks on 1 VCPUs\n');
    m.p.hv.console.print('news');
    expect(read({ 'u.readconsole.incremental': 1, 'u.readconsole.index': end })[0]).to.equal('(XEN) news\n');
    expect(read({ 'u.readconsole.clear': 1 })[0]).to.equal(`${all}(XEN) news\n`);
    expect(read()[0]).to.equal('');
    m.p.hv.console.print('more');
    expect(read()[0]).to.equal('(XEN) more\n');
    expect(
      m.sysctl(S.XEN_SYSCTL_readconsole, { 'u.readconsole.buffer': 1 << 30, 'u.readconsole.count': 4 }).rc,
    ).to.equal(-XEN_EFAULT);
  });

  it('keeps the last 16 KiB of the console', () => {
    const m = dom0Machine();
    for (let n = 0; n < 2000; n++) m.p.hv.console.print(`line ${n}`);
    const all = m.console();
    expect(all.length).to.equal(16_384);
    expect(all.endsWith('(XEN) line 1999\n')).to.equal(true);
  });

  it('names its counters, gives their values and sets them to 0', () => {
    const m = dom0Machine();
    m.p.run(20e6);
    const counts = m.sysctl(S.XEN_SYSCTL_perfc_op, { 'u.perfc_op.cmd': S.XEN_SYSCTL_PERFCOP_query });
    expect(counts.get('u.perfc_op.nr_counters')).to.equal(PERFC_NAMES.length);
    expect(counts.get('u.perfc_op.nr_vals')).to.equal(3 * PERFC_NAMES.length);
    const query = (): number[] => {
      const val = m.list(1);
      expect(
        m.sysctl(S.XEN_SYSCTL_perfc_op, { 'u.perfc_op.cmd': S.XEN_SYSCTL_PERFCOP_query, 'u.perfc_op.val': val }).rc,
      ).to.equal(0);
      return [0, 1, 2].map((p) => m.p.u32(m.v, val + 4 * p));
    };
    const total = m.p.context.perfc.total(0);
    expect(query().reduce((a, b) => a + b, 0))
      .to.equal(total)
      .and.above(0);
    m.sysctl(S.XEN_SYSCTL_perfc_op, { 'u.perfc_op.cmd': S.XEN_SYSCTL_PERFCOP_reset });
    expect(query()).to.deep.equal([0, 0, 0]);
    expect(m.sysctl(S.XEN_SYSCTL_perfc_op, { 'u.perfc_op.cmd': 3 }).rc).to.equal(-XEN_EINVAL);
  });

  it('tells how long each pCPU idled, and platform_op the same', () => {
    const m = dom0Machine({ guests: [dom0Guest] });
    m.p.run(50e6);
    const info = m.list(1);
    const a = m.sysctl(S.XEN_SYSCTL_getcpuinfo, { 'u.getcpuinfo.max_cpus': 9, 'u.getcpuinfo.info': info });
    expect(a.get('u.getcpuinfo.nr_cpus')).to.equal(3);
    const idle = [0, 1, 2].map((p) => m.p.u64(m.v, info + 8 * p));
    expect(idle[0]).to.be.below(1e6);
    expect(idle.slice(1)).to.deep.equal([m.p.now, m.p.now].map(Math.floor));
    const { bitmap } = m.mask(2, [1, 2, 5], 8);
    const b = m.platform(XENPF_getidletime, {
      'u.getidletime.cpumap_bitmap': bitmap,
      'u.getidletime.cpumap_nr_cpus': 8,
      'u.getidletime.idletime': info,
    });
    expect(b.rc).to.equal(0);
    expect(m.readMask(2, 8)).to.deep.equal([1, 2]);
    expect(m.p.u64(m.v, info + 16)).to.be.at.least(idle[2]!);
  });

  it('tells where pCPUs are; of one that is off line nothing', () => {
    const m = dom0Machine();
    m.offline(2);
    expect(m.sysctl(S.XEN_SYSCTL_cputopoinfo).get('u.cputopoinfo.num_cpus')).to.equal(3);
    const list = m.list(1);
    m.sysctl(S.XEN_SYSCTL_cputopoinfo, { 'u.cputopoinfo.num_cpus': 3, 'u.cputopoinfo.cputopo': list });
    const row = (p: number): number[] => [0, 4, 8].map((k) => m.p.u32(m.v, list + 12 * p + k));
    expect([0, 1, 2].map(row)).to.deep.equal([
      [0, 0, 0],
      [1, 0, 0],
      [S.XEN_INVALID_CORE_ID, S.XEN_INVALID_SOCKET_ID, S.XEN_INVALID_NODE_ID],
    ]);
  });

  describe('scheduler_op', () => {
    const op = (m: Dom0, cmd: number, fields: Record<string, number> = {}) =>
      m.sysctl(S.XEN_SYSCTL_scheduler_op, {
        'u.scheduler_op.sched_id': D.XEN_SCHEDULER_CREDIT,
        'u.scheduler_op.cmd': cmd,
        ...fields,
      });
    const put = (m: Dom0, tslice: number, ratelimit: number, delay: number) =>
      op(m, S.XEN_SYSCTL_SCHEDOP_putinfo, {
        'u.scheduler_op.u.sched_credit.tslice_ms': tslice,
        'u.scheduler_op.u.sched_credit.ratelimit_us': ratelimit,
        'u.scheduler_op.u.sched_credit.vcpu_migr_delay_us': delay,
      });
    const get = (m: Dom0): number[] => {
      const a = op(m, S.XEN_SYSCTL_SCHEDOP_getinfo);
      return ['tslice_ms', 'ratelimit_us', 'vcpu_migr_delay_us'].map((f) =>
        a.get(`u.scheduler_op.u.sched_credit.${f}`),
      );
    };

    it('changes timeslice, rate limit and migration delay of a running machine, within their bounds', () => {
      const m = dom0Machine();
      expect(get(m)).to.deep.equal([30, 1000, 0]);
      for (const [t, r, d] of [
        [0, 0, 0],
        [1001, 0, 0],
        [30, 99, 0],
        [30, 500_001, 0],
        [1, 1001, 0],
        [30, 0, 100_001],
      ] as const) {
        expect(put(m, t, r, d).rc, `${t} ${r} ${d}`).to.equal(-XEN_EINVAL);
      }
      expect(get(m)).to.deep.equal([30, 1000, 0]);
      expect(put(m, 5, 0, 200).rc).to.equal(0);
      expect(get(m)).to.deep.equal([5, 0, 200]);
      expect(m.console()).to.match(/\(XEN\) Disabling context switch rate limiting\n$/);
      m.p.run(50e6);
    });

    it('gives hogs that share a pCPU turns of the new timeslice', () => {
      const pair = guest({
        name: 'pair',
        vcpus: 2,
        cpus: [[1], [1]],
        workload: { ...hog(), tasks: hog().tasks.map((t) => ({ ...t, instance: 2 })) },
      });
      const switches = (tslice: number): number => {
        const m = dom0Machine({ pcpus: 2, guests: [dom0Guest, pair] });
        put(m, tslice, 0, 0);
        m.p.run(100e6);
        const before = m.p.context.pcpu.switches(1);
        m.p.run(1100e6);
        return m.p.context.pcpu.switches(1) - before;
      };
      expect(switches(30)).to.be.within(30, 40);
      expect(switches(5)).to.be.within(180, 220);
    });

    it('is of the policy that runs, in the pool of all pCPUs', () => {
      const m = dom0Machine();
      expect(m.sysctl(S.XEN_SYSCTL_sched_id).get('u.sched_id.sched_id')).to.equal(D.XEN_SCHEDULER_CREDIT);
      expect(op(m, 2).rc).to.equal(-XEN_EINVAL);
      expect(op(m, 1, { 'u.scheduler_op.cpupool_id': 1 }).rc).to.equal(-XEN_ESRCH);
      expect(op(m, 1, { 'u.scheduler_op.sched_id': D.XEN_SCHEDULER_NULL }).rc).to.equal(-XEN_EINVAL);
      const sedf = dom0Machine({ scheduler: 'sedf' });
      expect(sedf.sysctl(S.XEN_SYSCTL_sched_id).get('u.sched_id.sched_id')).to.equal(XEN_SCHEDULER_SEDF);
    });
  });

  it('shows run queues at the debug key r, in Xen’s form', () => {
    const m = dom0Machine();
    m.p.run(60e6);
    const keys = m.list(
      1,
      [...'qr'].map((c) => c.charCodeAt(0)),
    );
    const from = m.console().length;
    expect(m.sysctl(S.XEN_SYSCTL_debug_keys, { 'u.debug_keys.keys': keys, 'u.debug_keys.nr_keys': 2 }).rc).to.equal(0);
    const lines = m
      .console()
      .slice(from)
      .split('\n')
      .map((l) => l.replace('(XEN) ', ''));
    for (const line of [
      'sched_smt_power_savings: disabled',
      'Online Cpus: 0-2',
      'Cpupool 0:',
      'Scheduler: SMP Credit Scheduler (credit)',
      '\tncpus              = 3',
      '\ttslice             = 30ms',
      '\tratelimit          = 1000us',
      'active units:',
      'CPUs info:',
      'CPU[00] current=d0v0, curr=d0v0, prev=NULL',
    ]) {
      expect(lines).to.include(line);
    }
    expect(
      lines.filter((l) => /^\trun: \[0\.0\] pri=-\d flags=0 cpu=0 credit=-?\d+ \[w=256,cap=0\]$/.test(l)),
    ).to.have.length(1);
  });
});

describe('memory_op', () => {
  it('tells how much a domain has and may have, and how much there is', () => {
    const m = dom0Machine();
    const ask = (cmd: number, domid: number, by = m.v): number =>
      m.p.call(by, __HYPERVISOR_memory_op, cmd, m.p.arg(by, [[0, domid, 2]]));
    expect(ask(M.XENMEM_current_reservation, DOMID_SELF)).to.equal(64 * 256);
    expect(ask(M.XENMEM_maximum_reservation, 1)).to.equal(64 * 256);
    expect(ask(M.XENMEM_current_reservation, 77)).to.equal(-XEN_ESRCH);
    expect(m.p.call(m.v, __HYPERVISOR_memory_op, M.XENMEM_maximum_ram_page)).to.equal(1024 * 256);
    expect(m.p.call(m.v, __HYPERVISOR_memory_op, M.XENMEM_current_reservation, 1 << 30)).to.equal(-XEN_EFAULT);
    expect(m.p.call(m.v, __HYPERVISOR_memory_op, M.XENMEM_exchange)).to.equal(-XEN_ENOSYS);
    m.p.run(5e6);
    const domU = [1, 2].find((v) => m.p.isRunning(v))!;
    expect(ask(M.XENMEM_current_reservation, 0, domU)).to.equal(-XEN_EPERM);
  });

  it('takes frames back, but none that is backed, and gives them again', () => {
    const m = dom0Machine();
    const { domain, host } = m.p.context;
    const free = host.freePages(0);
    const list = (gmfns: readonly number[]): number => {
      const at = m.list(1);
      for (const [k, g] of gmfns.entries()) m.p.view.setBigUint64(m.p.at(m.v, at) + 8 * k, BigInt(g), true);
      return at;
    };
    const op = (cmd: number, gmfns: readonly number[], order = 0): number =>
      m.memory(cmd, { extent_start: list(gmfns), nr_extents: gmfns.length, extent_order: order, domid: 1 });
    expect(op(M.XENMEM_decrease_reservation, [1024, 2048], 9)).to.equal(2);
    expect(host.freePages(0)).to.equal(free + 1024);
    expect(domain.totPages(1)).to.equal(64 * 256 - 1024);
    // A backed frame in the list ends it.
    expect(op(M.XENMEM_decrease_reservation, [5000, 1, 6000])).to.equal(1);
    expect(op(M.XENMEM_populate_physmap, [1024, 2048], 9)).to.equal(2);
    expect(op(M.XENMEM_populate_physmap, [5000, 5001])).to.equal(1);
    expect(host.freePages(0)).to.equal(free);
    // Where the call was interrupted, it goes on.
    expect(op(M.XENMEM_decrease_reservation | (1 << 6), [1, 5000])).to.equal(2);
    expect(op(M.XENMEM_populate_physmap, [5000], 19)).to.equal(0);
  });
});
