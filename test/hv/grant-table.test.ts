/** Grants of version 1: what each command says, what it counts, and who has which frame when a domain ends. */
import { expect } from 'chai';
import { MAPTRACK_ENTRIES } from '../../src/hv/grants/records.js';
import { OWNER_GONE } from '../../src/hv/mm/records.js';
import { PAGE_SIZE } from '../../src/shared/image.js';
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM, XEN_ESRCH } from '../../src/shared/public/errno.js';
import * as G from '../../src/shared/public/grant-table.js';
import { offsetsOf } from '../../src/shared/public/layout.js';
import * as X from '../../src/shared/public/xen.js';
import { ARGS, DATA, frameOf, type Kernel, kernels, L1, MAP, setUp } from './grant-ops.js';

const RW = 2n;
const PRESENT = 1n;
const USER_OF_KERNEL = 1n << 52n;
const GRANT = 1n << 62n;
const NX = 1n << 63n;

/** Two kernels, the first of which grants the second the page at DATA by reference 8. */
function granted(flags: number = G.GTF_permit_access) {
  const m = kernels();
  const [a, b] = m.kernels as [Kernel, Kernel];
  expect(setUp(a, 1)).to.equal(G.GNTST_okay);
  expect(setUp(b, 1)).to.equal(G.GNTST_okay);
  a.grant(8, b.id, a.mfn(DATA), flags);
  return { ...m, a, b };
}

const okay = ({ broken }: { broken(): string[] }): void => {
  expect(broken()).to.deep.equal([]);
};

describe('a grant table', () => {
  it('grows to what is asked for, of frames behind the domain’s memory', () => {
    const m = kernels();
    const [a] = m.kernels as [Kernel];
    const f = offsetsOf(G.gnttab_query_size, 64);
    const size = (dom: number = X.DOMID_SELF): readonly number[] => {
      expect(a.op(G.GNTTABOP_query_size, [[f.dom, dom, 2]])).to.equal(0);
      return [a.u32(ARGS + f.nr_frames), a.u32(ARGS + f.max_nr_frames), a.i16(ARGS + f.status)];
    };
    expect(size()).to.deep.equal([0, 64, G.GNTST_okay]);
    expect(setUp(a, 2)).to.equal(G.GNTST_okay);
    const first = a.mfn(16 << 20);
    expect([a.u64(ARGS + 256), a.u64(ARGS + 264)]).to.deep.equal([BigInt(first), BigInt(first + 1)]);
    expect(setUp(a, 1)).to.equal(G.GNTST_okay);
    expect(size(a.id)).to.deep.equal([2, 64, G.GNTST_okay]);
    expect(setUp(a, 64)).to.equal(G.GNTST_okay);
    expect(setUp(a, 65)).to.equal(G.GNTST_general_error);
    expect(size()).to.deep.equal([64, 64, G.GNTST_okay]);
    expect(size(2)[2]).to.equal(G.GNTST_permission_denied);
    expect(size(7)[2]).to.equal(G.GNTST_bad_domain);
    expect(setUp(a, 1, 2)).to.equal(G.GNTST_permission_denied);
    expect(setUp(a, 1, 7)).to.equal(G.GNTST_bad_domain);
    okay(m);
  });

  it('is refused without a place for its answer, and in numbers', () => {
    const [a] = kernels().kernels as [Kernel];
    const f = offsetsOf(G.gnttab_setup_table, 64);
    const fields = [
      [f.dom, X.DOMID_SELF, 2],
      [f.nr_frames, 1, 4],
      [f.frame_list, 1n << 40n, 8],
    ] as const;
    expect(a.op(G.GNTTABOP_setup_table, fields)).to.equal(-XEN_EFAULT);
    expect(a.op(G.GNTTABOP_setup_table, fields, 2)).to.equal(-XEN_EINVAL);
    expect(a.op(G.GNTTABOP_query_size, [], 0)).to.equal(-XEN_EINVAL);
    expect(a.call(X.__HYPERVISOR_grant_table_op, G.GNTTABOP_setup_table, 1n << 40n, 1)).to.equal(-XEN_EFAULT);
    expect(a.call(X.__HYPERVISOR_grant_table_op, G.GNTTABOP_map_grant_ref, 1n << 40n, 1)).to.equal(-XEN_EFAULT);
    expect(a.call(X.__HYPERVISOR_grant_table_op, G.GNTTABOP_map_grant_ref, ARGS, -1)).to.equal(-XEN_EINVAL);
    expect(a.call(X.__HYPERVISOR_grant_table_op, G.GNTTABOP_map_grant_ref, ARGS, 0)).to.equal(0);
    for (const cmd of [G.GNTTABOP_dump_table, G.GNTTABOP_cache_flush, 13]) expect(a.op(cmd, [])).to.equal(-XEN_ENOSYS);
  });

  it('has version 1 only', () => {
    const [a] = kernels().kernels as [Kernel];
    const version = (x: number): readonly number[] => [a.op(G.GNTTABOP_set_version, [[0, x, 4]]), a.u32(ARGS)];
    expect(version(1)).to.deep.equal([0, 1]);
    expect(version(2)).to.deep.equal([-XEN_ENOSYS, 1]);
    expect(version(3)).to.deep.equal([-XEN_EINVAL, 1]);
    const get = (dom: number): number => a.op(G.GNTTABOP_get_version, [[0, dom, 2]]);
    expect(get(X.DOMID_SELF)).to.equal(0);
    expect(a.u32(ARGS + 4)).to.equal(1);
    expect(get(2)).to.equal(-XEN_EPERM);
    expect(get(7)).to.equal(-XEN_ESRCH);
    const f = offsetsOf(G.gnttab_get_status_frames, 64);
    const dom = [f.dom, X.DOMID_SELF, 2] as const;
    expect(a.op(G.GNTTABOP_get_status_frames, [[f.nr_frames, 1, 4], dom])).to.equal(0);
    expect(a.i16(ARGS + f.status)).to.equal(G.GNTST_general_error);
    expect(a.op(G.GNTTABOP_transfer, [])).to.equal(0);
    expect(a.i16(ARGS + offsetsOf(G.gnttab_transfer, 64).status)).to.equal(G.GNTST_bad_page);
  });

  it('is no page table, whenever that is tried', () => {
    const m = kernels();
    const [a] = m.kernels as [Kernel];
    const pin = (mfn: number): number => {
      const f = [
        [0, X.MMUEXT_PIN_L1_TABLE, 4],
        [8, mfn, 8],
      ] as const;
      a.op(99, f);
      return a.call(X.__HYPERVISOR_mmuext_op, ARGS, 1, 0, X.DOMID_SELF);
    };
    expect(pin(a.mfn(16 << 20))).to.equal(-XEN_EINVAL);
    expect(setUp(a, 1)).to.equal(G.GNTST_okay);
    expect(pin(a.mfn(16 << 20))).to.equal(-XEN_EINVAL);
    // The shared info page.
    expect(pin(a.mfn(0) - 1)).to.equal(-XEN_EINVAL);
    okay(m);
  });

  it('has entries swapped that nobody uses', () => {
    const m = granted();
    const { a, b } = m;
    const f = offsetsOf(G.gnttab_swap_grant_ref, 64);
    const swap = (x: number, y: number): number => {
      const fields = [
        [f.ref_a, x, 4],
        [f.ref_b, y, 4],
      ] as const;
      expect(a.op(G.GNTTABOP_swap_grant_ref, fields)).to.equal(0);
      return a.i16(ARGS + f.status);
    };
    expect(swap(8, 9)).to.equal(G.GNTST_okay);
    expect([a.flags(8), a.flags(9)]).to.deep.equal([0, G.GTF_permit_access]);
    expect(swap(8, 8)).to.equal(G.GNTST_okay);
    expect(swap(8, 512)).to.equal(G.GNTST_bad_gntref);
    expect(b.map(a, 9).status).to.equal(G.GNTST_okay);
    expect(swap(8, 9)).to.equal(G.GNTST_eagain);
  });
});

describe('a grant', () => {
  it('is mapped at an address, read and written, and unmapped', () => {
    const m = granted();
    const { a, b } = m;
    const before = b.pte(MAP);
    const { status, handle } = b.map(a, 8);
    expect(status).to.equal(G.GNTST_okay);
    expect(b.u64(ARGS + offsetsOf(G.gnttab_map_grant_ref, 64).dev_bus_addr)).to.equal(BigInt(a.mfn(DATA) * PAGE_SIZE));
    const pte = b.pte(MAP);
    expect(frameOf(pte)).to.equal(a.mfn(DATA));
    const bits = PRESENT | RW | USER_OF_KERNEL | GRANT | NX;
    expect(pte & bits).to.equal(bits);
    expect(a.flags(8)).to.equal(G.GTF_permit_access | G.GTF_reading | G.GTF_writing);
    okay(m);
    // What b's kernel says there is in a's page: a hypercall's answer.
    expect(b.call(X.__HYPERVISOR_xen_version, 1, MAP)).to.equal(0);
    expect(a.u16(DATA)).to.not.equal(0);
    expect(b.unmap(handle)).to.equal(G.GNTST_okay);
    expect(b.pte(MAP)).to.equal(0n);
    expect(before).to.not.equal(0n);
    expect(a.flags(8)).to.equal(G.GTF_permit_access);
    expect(b.unmap(handle)).to.equal(G.GNTST_bad_handle);
    okay(m);
  });

  it('is mapped by the entry of a page table', () => {
    const m = granted();
    const { a, b } = m;
    const flags = G.GNTMAP_host_map | G.GNTMAP_contains_pte | G.GNTMAP_application_map | (5 << 16);
    const address = b.pteAt(MAP);
    for (const wrong of [address + 4, a.pteAt(MAP), b.mfn(DATA) * PAGE_SIZE, 1n << 60n, 0xffff_f000])
      expect(b.map(a, 8, { flags, address: wrong }).status).to.equal(G.GNTST_general_error);
    expect(a.flags(8)).to.equal(G.GTF_permit_access);
    const { status, handle } = b.map(a, 8, { flags, address });
    expect(status).to.equal(G.GNTST_okay);
    const pte = b.pte(MAP);
    expect(pte & USER_OF_KERNEL).to.equal(0n);
    expect((pte >> 9n) & 7n).to.equal(5n);
    okay(m);
    expect(b.unmap(handle, MAP)).to.equal(G.GNTST_general_error);
    expect(b.unmap(handle, address + 8)).to.equal(G.GNTST_general_error);
    expect(b.unmap(handle, address)).to.equal(G.GNTST_okay);
    okay(m);
  });

  it('is refused to who may not have it', () => {
    const m = kernels(3);
    const [a, b, c] = m.kernels as [Kernel, Kernel, Kernel];
    expect(b.map(a, 0).status).to.equal(G.GNTST_bad_gntref);
    setUp(a, 1);
    a.grant(8, b.id, a.mfn(DATA));
    expect(c.map(a, 8).status).to.equal(G.GNTST_general_error);
    expect(b.map(a, 9).status).to.equal(G.GNTST_general_error);
    expect(b.map(a, 512).status).to.equal(G.GNTST_bad_gntref);
    expect(b.map(a, 0xffff_ffff).status).to.equal(G.GNTST_bad_gntref);
    expect(b.map(a, 8, { dom: 77 }).status).to.equal(G.GNTST_bad_domain);
    expect(b.map(a, 8, { dom: X.DOMID_SELF }).status).to.equal(G.GNTST_bad_domain);
    expect(b.map(a, 8, { flags: G.GNTMAP_readonly }).status).to.equal(G.GNTST_bad_gntref);
    expect(b.map(a, 8, { address: 1n << 45n }).status).to.equal(G.GNTST_general_error);
    // Not its own, not there, or a page table: which may be read.
    for (const mfn of [c.mfn(DATA), 0xffff_ffff, 0]) {
      a.grant(9, b.id, mfn);
      expect(b.map(a, 9).status).to.equal(G.GNTST_bad_page);
    }
    a.grant(9, b.id, a.mfn(L1));
    expect(b.map(a, 9).status).to.equal(G.GNTST_general_error);
    expect(a.flags(9)).to.equal(G.GTF_permit_access);
    expect(b.map(a, 9, { flags: G.GNTMAP_host_map | G.GNTMAP_readonly }).status).to.equal(G.GNTST_okay);
    for (const flags of [G.GTF_accept_transfer, G.GTF_transitive, G.GTF_permit_access | G.GTF_sub_page]) {
      a.grant(10, b.id, a.mfn(DATA), flags);
      expect(b.map(a, 10).status).to.equal(G.GNTST_general_error);
      expect(a.flags(10)).to.equal(flags);
    }
    expect(m.broken()).to.deep.equal([]);
  });

  it('is read only where it says so, or who maps it', () => {
    const m = granted(G.GTF_permit_access | G.GTF_readonly);
    const { a, b } = m;
    expect(b.map(a, 8).status).to.equal(G.GNTST_general_error);
    const flags = G.GNTMAP_host_map | G.GNTMAP_readonly;
    const read = b.map(a, 8, { flags });
    expect(read.status).to.equal(G.GNTST_okay);
    expect(b.pte(MAP) & RW).to.equal(0n);
    expect(b.call(X.__HYPERVISOR_xen_version, 1, MAP)).to.equal(-XEN_EFAULT);
    expect(a.flags(8)).to.equal(G.GTF_permit_access | G.GTF_readonly | G.GTF_reading);
    okay(m);
    // The domain changes its mind: who reads does not write, but may map it again.
    a.grant(8, b.id, a.mfn(DATA), G.GTF_permit_access | G.GTF_reading);
    const write = b.map(a, 8, { address: MAP + PAGE_SIZE });
    expect(write.status).to.equal(G.GNTST_okay);
    expect(a.flags(8)).to.equal(G.GTF_permit_access | G.GTF_reading | G.GTF_writing);
    okay(m);
    // One does not go by the other's handle: it would stay, with a reference for the wrong one.
    expect(b.unmap(write.handle, MAP)).to.equal(G.GNTST_general_error);
    expect(b.unmap(read.handle, MAP + PAGE_SIZE)).to.equal(G.GNTST_general_error);
    expect(b.unmap(write.handle, MAP + PAGE_SIZE)).to.equal(G.GNTST_okay);
    expect(a.flags(8)).to.equal(G.GTF_permit_access | G.GTF_reading);
    expect(b.unmap(read.handle)).to.equal(G.GNTST_okay);
    expect(a.flags(8)).to.equal(G.GTF_permit_access);
    okay(m);
  });

  it('is mapped several times, each by a handle of its own, up to what can be counted', () => {
    const m = granted();
    const { a, b } = m;
    const handles = [];
    for (let n = 0; n < 128; n++) {
      const { status, handle } = b.map(a, 8, { address: MAP + n * PAGE_SIZE });
      expect(status).to.equal(G.GNTST_okay);
      handles.push(handle);
    }
    expect(new Set(handles).size).to.equal(128);
    expect(b.map(a, 8, { address: DATA }).status).to.equal(G.GNTST_general_error);
    okay(m);
    // By the wrong handle it is as good, as both map the frame.
    expect(b.unmap(handles[0]!, MAP + PAGE_SIZE)).to.equal(G.GNTST_okay);
    expect(b.unmap(handles[1]!, MAP + PAGE_SIZE)).to.equal(G.GNTST_general_error);
    expect(b.unmap(handles[1]!, MAP)).to.equal(G.GNTST_okay);
    for (let n = 2; n < 128; n++) expect(b.unmap(handles[n]!, MAP + n * PAGE_SIZE)).to.equal(G.GNTST_okay);
    expect(a.flags(8)).to.equal(G.GTF_permit_access);
    expect(b.map(a, 8).handle).to.equal(handles[127]);
    okay(m);
  });

  it('is another frame’s for who comes later, not for who has it', () => {
    const m = granted();
    const { a, b } = m;
    const first = b.map(a, 8);
    a.grant(8, b.id, a.mfn(DATA + PAGE_SIZE), a.flags(8));
    const second = b.map(a, 8, { address: MAP + PAGE_SIZE });
    expect([frameOf(b.pte(MAP)), frameOf(b.pte(MAP + PAGE_SIZE))]).to.deep.equal([a.mfn(DATA), a.mfn(DATA)]);
    // While it is mapped it is nothing else.
    for (const { handle, address } of [
      { ...first, address: MAP },
      { ...second, address: MAP + PAGE_SIZE },
    ])
      expect(b.unmap(handle, address)).to.equal(G.GNTST_okay);
    expect(frameOf(b.map(a, 8).status === 0 ? b.pte(MAP) : 0n)).to.equal(a.mfn(DATA + PAGE_SIZE));
    okay(m);
  });

  it('is for devices, too, which have the frame where it is', () => {
    const m = granted();
    const { a, b } = m;
    const device = a.mfn(DATA) * PAGE_SIZE;
    const { status, handle } = b.map(a, 8, { flags: G.GNTMAP_host_map | G.GNTMAP_device_map });
    expect(status).to.equal(G.GNTST_okay);
    okay(m);
    expect(b.unmap(handle, MAP, device + 1)).to.equal(G.GNTST_bad_dev_addr);
    expect(b.unmap(handle, 0, device + PAGE_SIZE)).to.equal(G.GNTST_bad_dev_addr);
    expect(b.unmap(handle, MAP, 0)).to.equal(G.GNTST_okay);
    okay(m);
    expect(a.flags(8)).to.equal(G.GTF_permit_access | G.GTF_reading | G.GTF_writing);
    expect(b.unmap(handle, MAP, 0)).to.equal(G.GNTST_okay);
    expect(b.unmap(handle, 0, device)).to.equal(G.GNTST_okay);
    expect(a.flags(8)).to.equal(G.GTF_permit_access);
    expect(b.unmap(handle, 0, device)).to.equal(G.GNTST_bad_handle);
    okay(m);
  });

  it('is a domain’s own, too', () => {
    const m = granted();
    const { a } = m;
    a.grant(9, a.id, a.mfn(DATA));
    const { status, handle } = a.map(a, 9);
    expect(status).to.equal(G.GNTST_okay);
    okay(m);
    expect(a.unmap(handle)).to.equal(G.GNTST_okay);
    okay(m);
  });

  it('makes place for what is mapped elsewhere', () => {
    const m = granted();
    const { a, b } = m;
    const elsewhere = b.pte(DATA);
    const { handle } = b.map(a, 8);
    const f = offsetsOf(G.gnttab_unmap_and_replace, 64);
    const replace = (other: number, at = MAP): number => {
      b.op(G.GNTTABOP_unmap_and_replace, [
        [f.host_addr, at, 8],
        [f.new_addr, other, 8],
        [f.handle, handle, 4],
      ]);
      return b.i16(ARGS + f.status);
    };
    expect(replace(MAP)).to.equal(G.GNTST_general_error);
    expect(replace(2 ** 45)).to.equal(G.GNTST_general_error);
    expect(replace(DATA)).to.equal(G.GNTST_okay);
    expect([b.pte(MAP), b.pte(DATA)]).to.deep.equal([elsewhere, 0n]);
    expect(replace(DATA)).to.equal(G.GNTST_bad_handle);
    okay(m);
  });

  it('needs a handle, of which there are so many', () => {
    const m = granted();
    const { a, b } = m;
    let last = 0;
    for (let n = 0; n < MAPTRACK_ENTRIES; n++) {
      a.grant(16 + (n % 400), b.id, a.mfn(DATA), G.GTF_permit_access | (n < 400 ? 0 : G.GTF_reading | G.GTF_writing));
      const { status, handle } = b.map(a, 16 + (n % 400), { flags: G.GNTMAP_device_map });
      expect(status).to.equal(G.GNTST_okay);
      last = handle;
    }
    expect(b.map(a, 8).status).to.equal(G.GNTST_no_space);
    expect(b.unmap(last, 0, a.mfn(DATA) * PAGE_SIZE)).to.equal(G.GNTST_okay);
    expect(b.map(a, 8)).to.deep.equal({ status: G.GNTST_okay, handle: last });
    expect(b.unmap(MAPTRACK_ENTRIES)).to.equal(G.GNTST_bad_handle);
    okay(m);
  });

  it('is done one by one in a list, as far as that goes', () => {
    const m = granted();
    const { a, b } = m;
    const f = offsetsOf(G.gnttab_map_grant_ref, 64);
    const one = (n: number, ref: number) =>
      [
        [32 * n + f.host_addr, MAP + n * PAGE_SIZE, 8],
        [32 * n + f.flags, G.GNTMAP_host_map, 4],
        [32 * n + f.ref, ref, 4],
        [32 * n + f.dom, a.id, 2],
      ] as const;
    expect(b.op(G.GNTTABOP_map_grant_ref, [...one(0, 8), ...one(1, 600), ...one(2, 8)], 3)).to.equal(0);
    const status = (n: number): number => b.i16(ARGS + 32 * n + f.status);
    expect([0, 1, 2].map(status)).to.deep.equal([G.GNTST_okay, G.GNTST_bad_gntref, G.GNTST_okay]);
    okay(m);
  });
});

describe('an entry that maps a grant', () => {
  const update = (b: Kernel, address: number, value: bigint): number =>
    b.call(X.__HYPERVISOR_update_va_mapping, address, value, 0);

  it('is made by the hypervisor alone', () => {
    const m = granted();
    const { b } = m;
    expect(update(b, MAP, b.pte(MAP) | GRANT)).to.equal(-XEN_EINVAL);
    okay(m);
  });

  for (const [how, act] of [
    ['overwritten', (b: Kernel) => update(b, MAP, 0n)],
    ['overwritten by what looks the same', (b: Kernel) => update(b, MAP, b.pte(DATA))],
    ['covered by another grant', (b: Kernel, a: Kernel) => b.map(a, 8).status],
  ] as const) {
    it(`ends the domain that has it ${how}`, () => {
      const m = granted();
      const { a, b } = m;
      b.map(a, 8);
      expect(act(b, a)).to.equal(0);
      expect(m.sim.result().domains[b.id - 1]!.ended).to.include('a page-table entry that mapped a grant');
      okay(m);
      m.sim.built.core.turns.interact(0, () => m.hv.destruction.destroy(b.d));
      m.sim.run(1_000_000);
      expect(a.flags(8)).to.equal(G.GTF_permit_access);
      okay(m);
    });
  }
});

describe('a copy', () => {
  const f = offsetsOf(G.gnttab_copy, 64);
  interface Ends {
    readonly flags: number;
    readonly from: number;
    readonly fromDom: number;
    readonly fromOffset: number;
    readonly to: number;
    readonly toDom: number;
    readonly toOffset: number;
    readonly length: number;
  }
  function copy(k: Kernel, ends: Partial<Ends>): number {
    const { flags = 0, from = k.mfn(DATA), fromDom = X.DOMID_SELF, fromOffset = 0 } = ends;
    const { to = k.mfn(DATA), toDom = X.DOMID_SELF, toOffset = 0, length = 16 } = ends;
    k.op(G.GNTTABOP_copy, [
      [f['source.u.ref'], from, 8],
      [f['source.domid'], fromDom, 2],
      [f['source.offset'], fromOffset, 2],
      [f['dest.u.ref'], to, 8],
      [f['dest.domid'], toDom, 2],
      [f['dest.offset'], toOffset, 2],
      [f.len, length, 2],
      [f.flags, flags, 2],
    ]);
    return k.i16(ARGS + f.status);
  }

  it('goes from and to what is granted, and frames of the caller’s', () => {
    const m = granted();
    const { a, b } = m;
    const { u8 } = m.hv.context.image;
    u8.fill(0x5a, a.at(DATA) + 100, a.at(DATA) + 116);
    const from = { flags: G.GNTCOPY_source_gref, from: 8, fromDom: a.id, fromOffset: 100 };
    expect(copy(b, { ...from, toOffset: 7 })).to.equal(G.GNTST_okay);
    expect([...u8.slice(b.at(DATA) + 6, b.at(DATA) + 24)]).to.deep.equal([0, ...new Array(16).fill(0x5a), 0]);
    u8.fill(0xa5, b.at(DATA), b.at(DATA) + PAGE_SIZE);
    expect(copy(b, { flags: G.GNTCOPY_dest_gref, to: 8, toDom: a.id, length: PAGE_SIZE })).to.equal(G.GNTST_okay);
    expect(u8.slice(a.at(DATA), a.at(DATA) + PAGE_SIZE).every((x) => x === 0xa5)).to.equal(true);
    expect(a.flags(8)).to.equal(G.GTF_permit_access);
    expect(copy(b, { to: b.mfn(MAP) })).to.equal(G.GNTST_okay);
    expect(b.u32(MAP)).to.equal(0xa5a5a5a5);
    okay(m);
  });

  it('is refused', () => {
    const m = granted(G.GTF_permit_access | G.GTF_readonly);
    const { a, b } = m;
    const source = { flags: G.GNTCOPY_source_gref, from: 8, fromDom: a.id };
    const dest = { flags: G.GNTCOPY_dest_gref, to: 8, toDom: a.id };
    const before = m.hv.context.image.u8.slice(a.at(0), a.at(0) + (16 << 20));
    expect(copy(b, { ...source, fromOffset: PAGE_SIZE - 15 })).to.equal(G.GNTST_bad_copy_arg);
    expect(copy(b, { ...source, toOffset: PAGE_SIZE - 15 })).to.equal(G.GNTST_bad_copy_arg);
    expect(copy(b, dest)).to.equal(G.GNTST_general_error);
    expect(copy(b, { ...source, from: 9 })).to.equal(G.GNTST_general_error);
    expect(copy(b, { ...source, from: 512 })).to.equal(G.GNTST_bad_gntref);
    expect(copy(b, { ...source, fromDom: 77 })).to.equal(G.GNTST_bad_domain);
    expect(copy(b, { fromDom: a.id })).to.equal(G.GNTST_permission_denied);
    expect(copy(b, { toDom: b.id })).to.equal(G.GNTST_permission_denied);
    expect(copy(b, { from: a.mfn(DATA) })).to.equal(G.GNTST_bad_page);
    expect(copy(b, { to: 2 ** 40 })).to.equal(G.GNTST_bad_page);
    expect(copy(b, { to: b.mfn(L1) })).to.equal(G.GNTST_general_error);
    a.grant(9, b.id, b.mfn(DATA));
    expect(copy(b, { ...source, from: 9 })).to.equal(G.GNTST_bad_page);
    a.grant(9, 0, 0, 0);
    expect(m.hv.context.image.u8.slice(a.at(0), a.at(0) + (16 << 20))).to.deep.equal(before);
    okay(m);
  });
});

describe('a domain that ends', () => {
  const end = (m: ReturnType<typeof granted>, k: Kernel): void => {
    m.sim.built.core.turns.interact(0, () => m.hv.destruction.destroy(k.d));
    m.sim.run(m.hv.context.now() + 1_000_000);
    expect(m.hv.domains.find(k.id)).to.equal(-1);
    okay(m);
  };

  it('has no grants of others any more', () => {
    const m = granted();
    const { a, b } = m;
    b.map(a, 8);
    b.map(a, 8, { address: MAP + PAGE_SIZE, flags: G.GNTMAP_host_map | G.GNTMAP_device_map | G.GNTMAP_readonly });
    end(m, b);
    expect(a.flags(8)).to.equal(G.GTF_permit_access);
    end(m, a);
  });

  it('leaves frames to those who have them mapped, until they have not', () => {
    const m = granted();
    const { a, b } = m;
    const { handle } = b.map(a, 8);
    const second = b.map(a, 8, { address: MAP + PAGE_SIZE });
    const mfn = frameOf(b.pte(MAP));
    const { image } = m.hv.context;
    const owner = (): number => image.i32[(image.region('frame-owners').base >> 2) + mfn]!;
    end(m, a);
    expect(owner()).to.equal(OWNER_GONE);
    // It is written still, and nobody else's.
    expect(b.call(X.__HYPERVISOR_xen_version, 1, MAP)).to.equal(0);
    expect(b.map(a, 8, { address: DATA }).status).to.equal(G.GNTST_bad_domain);
    expect(b.unmap(handle)).to.equal(G.GNTST_okay);
    expect(owner()).to.equal(OWNER_GONE);
    okay(m);
    expect(b.unmap(second.handle, MAP + PAGE_SIZE)).to.equal(G.GNTST_okay);
    expect(owner()).to.equal(0);
    okay(m);
    end(m, b);
  });

  it('leaves them to one that ends after it', () => {
    const m = granted();
    const { a, b } = m;
    b.map(a, 8);
    setUp(b, 1);
    b.grant(8, a.id, b.mfn(DATA));
    a.map(b, 8);
    end(m, a);
    end(m, b);
    const { image } = m.hv.context;
    const from = image.region('frame-owners').base >> 2;
    for (const mfn of [a.mfn(DATA), b.mfn(DATA)]) expect(image.i32[from + mfn]).to.equal(0);
  });
});

describe('a frame that is mapped by another domain', () => {
  it('is one of its own domain’s turns, of which that is told by a turn of its pCPU', () => {
    const m = granted();
    const { a, b } = m;
    const { types } = m.hv.mm.tables;
    const { params, now } = m.hv.context;
    m.sim.run(1_000_000);
    const mfn = a.mfn(DATA);
    const { handle } = b.map(a, 8);
    expect(types.isShared(mfn)).to.equal(false);
    m.sim.run(now() + params.latencyNs);
    expect(types.isShared(mfn)).to.equal(false);
    m.sim.run(now() + 2);
    expect(types.isShared(mfn)).to.equal(true);
    expect(b.unmap(handle)).to.equal(G.GNTST_okay);
    // Until its VCPU has a turn of its own.
    expect(types.isShared(mfn)).to.equal(true);
    m.hv.grants.settle(a.d);
    expect(types.isShared(mfn)).to.equal(false);
    okay(m);
  });

  it('is so at once where its VCPUs run in turns', () => {
    const m = kernels(2, 2);
    const [a, b] = m.kernels as [Kernel, Kernel];
    setUp(a, 1);
    a.grant(8, b.id, a.mfn(DATA));
    m.sim.run(1_000_000);
    const { handle } = b.map(a, 8);
    expect(m.hv.mm.tables.types.isShared(a.mfn(DATA))).to.equal(true);
    expect(b.unmap(handle)).to.equal(G.GNTST_okay);
    expect(m.hv.mm.tables.types.isShared(a.mfn(DATA))).to.equal(false);
    expect(m.broken()).to.deep.equal([]);
  });
});
