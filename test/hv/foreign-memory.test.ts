/** What domain 0 does to build domains with page tables: their frames in its physical map, their page tables, ports, hypercall page. */
import { expect } from 'chai';
import { noWorkload } from '../../src/config/kernel-file.js';
import { FOREIGN_FIRST, FOREIGN_FRAMES, PGT } from '../../src/hv/mm/records.js';
import { readKernel } from '../../src/loader/kernel.js';
import { invariants } from '../../src/machine/invariants.js';
import { PAGE_SIZE } from '../../src/shared/image.js';
import * as D from '../../src/shared/public/domctl.js';
import {
  XEN_EACCES,
  XEN_EAGAIN,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
} from '../../src/shared/public/errno.js';
import { EVTCHNOP_alloc_unbound } from '../../src/shared/public/event-channel.js';
import * as M from '../../src/shared/public/memory.js';
import * as X from '../../src/shared/public/xen.js';
import { elfOf } from '../support/elf.js';
import { guest, hog, workload } from '../support/in-process.js';
import { dom0Machine } from './dom0-ops.js';

const KERNEL = 2;
const RING = 5;

function setUp() {
  const m = dom0Machine({
    pcpus: 3,
    guests: [
      guest({ name: 'Domain-0', privileged: true, cpus: [[0]], workload: hog() }),
      guest({ name: 'g1', cpus: [[1]], workload: workload({ t: { run: 1_000_000 } }) }),
      guest({
        name: 'kernel',
        memoryMib: 8,
        cpus: [[2]],
        workload: noWorkload('kernel'),
        // It does nothing, for ever.
        kernel: { file: 'kernel', image: readKernel(elfOf([0xeb, 0xfe])), commandLine: '' },
      }),
    ],
  });
  const { p, v } = m;
  const { context, mm } = p.hv;
  const broken = invariants(p.sim.built);
  const shared = (context.domain.sharedInfo(KERNEL) - context.image.region('frames').base) / PAGE_SIZE;

  interface Batch {
    readonly by?: number;
    readonly domid?: number;
    readonly space?: number;
    readonly of?: number;
    readonly gpfns?: readonly number[];
    readonly lists?: number;
  }

  /** @returns the answer, and what came of each frame */
  function map(mfns: readonly number[], batch: Batch = {}): readonly [number, readonly number[]] {
    const { by = v, domid = X.DOMID_SELF, space = M.XENMAPSPACE_gmfn_foreign, of = KERNEL } = batch;
    const gpfns = batch.gpfns ?? mfns.map((_, n) => FOREIGN_FIRST + n);
    const lists = batch.lists ?? p.scratch(by, 1);
    const at = (n: number): number => lists + 64 * n;
    if (batch.lists === undefined)
      for (const [n, mfn] of mfns.entries()) {
        p.arg(by, [[8 * n, mfn, 8]], 1);
        p.arg(by, [[64 + 8 * n, gpfns[n]!, 8]], 1);
        p.arg(by, [[128 + 4 * n, 77, 4]], 1);
      }
    const arg = p.arg(by, [
      [0, domid, 2],
      [2, space, 2],
      [4, mfns.length, 2],
      [6, of, 2],
      [8, at(0), 8],
      [16, at(1), 8],
      [24, at(2), 8],
    ]);
    const rc = p.call(by, X.__HYPERVISOR_memory_op, M.XENMEM_add_to_physmap_batch, arg);
    expect(broken()).to.deep.equal([]);
    return [rc, batch.lists === undefined ? mfns.map((_, n) => p.u32(by, at(2) + 4 * n) | 0) : []];
  }

  function unmap(gpfn: number, { by = v, domid = X.DOMID_SELF }: Batch = {}): number {
    const arg = p.arg(by, [
      [0, domid, 2],
      [8, gpfn, 8],
    ]);
    const rc = p.call(by, X.__HYPERVISOR_memory_op, M.XENMEM_remove_from_physmap, arg);
    expect(broken()).to.deep.equal([]);
    return rc;
  }

  function mmuext(cmd: number, mfn: number, domid: number, by = v): number {
    const arg = p.arg(by, [
      [0, cmd, 4],
      [8, mfn, 8],
    ]);
    const rc = p.call(by, X.__HYPERVISOR_mmuext_op, arg, 1, 0, domid);
    expect(broken()).to.deep.equal([]);
    return rc;
  }

  return {
    ...{ m, p, v, context, mm, map, unmap, mmuext },
    guestVcpu: context.domain.firstVcpu(1),
    shared,
    /** A frame of the kernel's memory that nothing refers to. */
    free: shared + 1 + 2000,
    table: context.vcpu.guestTable(context.domain.firstVcpu(KERNEL)),
    pageAt: p.hv.foreign.pageAt,
  };
}

describe("frames of others in domain 0's physical map", () => {
  it('are where it wants them, until it takes them out', () => {
    const s = setUp();
    expect(s.pageAt(FOREIGN_FIRST)).to.equal(0);
    expect(
      s.map([s.free, s.free + 1], { gpfns: [FOREIGN_FIRST + RING, FOREIGN_FIRST + FOREIGN_FRAMES - 1] }),
    ).to.deep.equal([0, [0, 0]]);
    expect(s.pageAt(FOREIGN_FIRST + RING)).to.equal(s.mm.tables.frame(s.free));
    expect(s.pageAt(FOREIGN_FIRST + FOREIGN_FRAMES - 1)).to.equal(s.mm.tables.frame(s.free + 1));
    expect(s.unmap(FOREIGN_FIRST + RING)).to.equal(0);
    expect(s.pageAt(FOREIGN_FIRST + RING)).to.equal(0);
    expect(s.unmap(FOREIGN_FIRST + RING)).to.equal(-XEN_ENOENT);
  });

  it('take the place of what was there', () => {
    const s = setUp();
    for (const mfn of [s.free, s.free + 1]) expect(s.map([mfn])).to.deep.equal([0, [0]]);
    expect(s.pageAt(FOREIGN_FIRST)).to.equal(s.mm.tables.frame(s.free + 1));
    expect(s.mm.tables.types.isUnused(s.free, KERNEL)).to.equal(true);
  });

  it('are no places for arguments, which would be used without a reference', () => {
    const s = setUp();
    s.map([s.free]);
    const address = FOREIGN_FIRST * PAGE_SIZE;
    expect(s.p.call(s.v, X.__HYPERVISOR_console_io, X.CONSOLEIO_write, 10, address)).to.equal(-XEN_EFAULT);
  });

  it('stay memory: no page tables, and nobody else’s', () => {
    const s = setUp();
    s.map([s.free]);
    const { types } = s.mm.tables;
    expect(types.typeOf(s.free)).to.equal(PGT.writable_page);
    expect(s.mmuext(X.MMUEXT_PIN_L1_TABLE, s.free, KERNEL)).to.equal(-XEN_EINVAL);
    s.unmap(FOREIGN_FIRST);
    expect(s.mmuext(X.MMUEXT_PIN_L1_TABLE, s.free, KERNEL)).to.equal(0);
    expect(s.map([s.free])).to.deep.equal([0, [-XEN_EINVAL]]);
  });

  it('outlive their domain, as nobody’s', () => {
    const s = setUp();
    s.map([s.free]);
    const free = s.context.host.freePages(0);
    expect(s.m.domctl(D.XEN_DOMCTL_destroydomain, KERNEL).rc).to.equal(0);
    s.p.run(s.p.now + 1_000_000);
    expect(s.context.host.freePages(0)).to.equal(free + 8 * 256);
    expect(s.pageAt(FOREIGN_FIRST)).to.equal(s.mm.tables.frame(s.free));
    expect(s.unmap(FOREIGN_FIRST)).to.equal(0);
    expect(s.context.image.i32[(s.context.image.region('frame-owners').base >> 2) + s.free]).to.equal(0);
  });

  it('are refused one by one, and the others done', () => {
    const s = setUp();
    const others = (s.context.domain.frames(1) - s.context.image.region('frames').base) / PAGE_SIZE;
    expect(s.map([s.free, s.table, others, 2 ** 40, s.free + 1])).to.deep.equal([
      0,
      [0, -XEN_EINVAL, -XEN_EINVAL, -XEN_EINVAL, 0],
    ]);
    for (const gpfn of [0, 1, FOREIGN_FIRST - 1, FOREIGN_FIRST + FOREIGN_FRAMES, 2 ** 40])
      expect(s.map([s.free], { gpfns: [gpfn] }), `${gpfn}`).to.deep.equal([0, [-XEN_EINVAL]]);
  });

  it('are refused altogether to others, of nobody, and for nothing', () => {
    const s = setUp();
    expect(s.map([], {})).to.deep.equal([0, []]);
    expect(s.map([s.free], { by: s.guestVcpu })[0]).to.equal(-XEN_EPERM);
    expect(s.map([s.free], { domid: 0 })[0]).to.equal(0);
    expect(s.map([s.free], { domid: KERNEL })[0]).to.equal(-XEN_EPERM);
    expect(s.map([s.free], { domid: 99 })[0]).to.equal(-XEN_ESRCH);
    expect(s.map([s.free], { space: M.XENMAPSPACE_gmfn })[0]).to.equal(-XEN_EOPNOTSUPP);
    expect(s.map([s.free], { of: 99 })[0]).to.equal(-XEN_ESRCH);
    // Neither its own, nor those of a workload.
    for (const of of [0, 1]) expect(s.map([s.free], { of })[0]).to.equal(-XEN_EINVAL);
    expect(s.map([s.free], { lists: 0x8000_0000 })[0]).to.equal(-XEN_EFAULT);
    for (const by of [s.guestVcpu]) expect(s.unmap(FOREIGN_FIRST, { by })).to.equal(-XEN_EPERM);
    expect(s.unmap(FOREIGN_FIRST, { domid: 99 })).to.equal(-XEN_ESRCH);
    expect(s.unmap(3)).to.equal(-XEN_ENOENT);
    expect(s.p.call(s.v, X.__HYPERVISOR_memory_op, M.XENMEM_add_to_physmap, s.p.scratch(s.v))).to.equal(-XEN_ENOSYS);
  });
});

describe('what else domain 0 does to build a domain', () => {
  it('pins and unpins its page tables, and nothing else of them', () => {
    const s = setUp();
    expect(s.mmuext(X.MMUEXT_PIN_L4_TABLE, s.table, KERNEL)).to.equal(0);
    expect(s.mmuext(X.MMUEXT_PIN_L4_TABLE, s.table, KERNEL)).to.equal(-XEN_EINVAL);
    expect(s.mmuext(X.MMUEXT_UNPIN_TABLE, s.table, KERNEL)).to.equal(0);
    expect(s.mmuext(X.MMUEXT_UNPIN_TABLE, s.table, KERNEL)).to.equal(-XEN_EINVAL);
    for (const cmd of [X.MMUEXT_NEW_BASEPTR, X.MMUEXT_CLEAR_PAGE, X.MMUEXT_TLB_FLUSH_ALL])
      expect(s.mmuext(cmd, s.table, KERNEL), `${cmd}`).to.equal(-XEN_EPERM);
    expect(s.mmuext(X.MMUEXT_PIN_L4_TABLE, s.table, 1)).to.equal(-XEN_EINVAL);
    expect(s.mmuext(X.MMUEXT_PIN_L4_TABLE, s.table, 99)).to.equal(-XEN_ESRCH);
    expect(s.mmuext(X.MMUEXT_PIN_L4_TABLE, s.table, KERNEL, s.guestVcpu)).to.equal(-XEN_EPERM);
  });

  it('makes a page of its memory its hypercall page', () => {
    const s = setUp();
    const init = (domid: number, gmfn: number): number =>
      s.m.domctl(D.XEN_DOMCTL_hypercall_init, domid, { 'u.hypercall_init.gmfn': gmfn }).rc;
    expect(init(KERNEL, s.free)).to.equal(0);
    const page = s.mm.tables.frame(s.free);
    // push %rcx; push %r11; mov $2, %eax; syscall
    expect([...s.context.image.u8.slice(page + 64, page + 64 + 10)]).to.deep.equal([
      0x51, 0x41, 0x53, 0xb8, 2, 0, 0, 0, 0x0f, 5,
    ]);
    for (const gmfn of [s.table, 0, 2 ** 40]) expect(init(KERNEL, gmfn), `${gmfn}`).to.equal(-XEN_EACCES);
    expect(init(1, 0)).to.equal(-XEN_EACCES);
    expect(init(99, 0)).to.equal(-XEN_ESRCH);
  });

  it('opens ports of it for itself', () => {
    const s = setUp();
    const alloc = (by: number, domid: number): number => {
      const arg = s.p.arg(by, [
        [0, domid, 2],
        [2, 0, 2],
      ]);
      return s.p.call(by, X.__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, arg);
    };
    expect(alloc(s.v, KERNEL)).to.equal(0);
    const port = s.p.u32(s.v, s.p.scratch(s.v) + 4);
    expect(s.context.evtchn.state(s.p.hv.events.record(KERNEL, port))).to.equal(1);
    expect(alloc(s.v, 99)).to.equal(-XEN_ESRCH);
    expect(alloc(s.guestVcpu, KERNEL)).to.equal(-XEN_EPERM);
  });

  it('says where a VCPU begins only while its domain is paused', () => {
    const s = setUp();
    const set = (): number =>
      s.m.domctl(D.XEN_DOMCTL_setvcpucontext, KERNEL, {
        'u.vcpucontext.vcpu': 0,
        'u.vcpucontext.ctxt': 0,
      }).rc;
    expect(set()).to.equal(-XEN_EINVAL);
    expect(s.m.domctl(D.XEN_DOMCTL_pausedomain, KERNEL).rc).to.equal(0);
    // It has yet to leave its pCPU.
    expect(set()).to.equal(-XEN_EAGAIN);
    s.p.run(s.p.now + 1_000_000);
    // Without page tables.
    expect(set()).to.equal(-XEN_EINVAL);
  });

  it('leaves its width, which kernels of 32 bits would need', () => {
    const s = setUp();
    expect(s.m.domctl(D.XEN_DOMCTL_set_address_size, KERNEL, { 'u.address_size.size': 32 }).rc).to.equal(-XEN_EINVAL);
    expect(s.m.domctl(D.XEN_DOMCTL_set_address_size, KERNEL, { 'u.address_size.size': 64 }).rc).to.equal(0);
  });
});
