/** Grants as tests use them: kernels that compute, and hypercalls in their names. */
import { noWorkload } from '../../src/config/kernel-file.js';
import { readKernel } from '../../src/loader/kernel.js';
import { invariants } from '../../src/machine/invariants.js';
import { PAGE_SIZE } from '../../src/shared/image.js';
import * as G from '../../src/shared/public/grant-table.js';
import { offsetsOf } from '../../src/shared/public/layout.js';
import * as X from '../../src/shared/public/xen.js';
import { elfOf } from '../support/elf.js';
import { guest, machineConfig, type Simulation, simulate } from '../support/in-process.js';

const MEMORY_MIB = 16;
/** Where arguments go, what is granted lies, and grants are mapped: memory that the kernel has mapped and leaves alone. */
export const ARGS = 0x30_0000;
export const DATA = 0x31_0000;
export const MAP = 0x32_0000;
/** Its page tables (see kernels.test.ts): of the second 2 MiB. */
const TABLES = 0x101000 + 8 * PAGE_SIZE + 3 * PAGE_SIZE;
export const L1 = TABLES + 4 * PAGE_SIZE;

/** A field of an argument: its offset, its value, its bytes. */
type Field = readonly [offset: number, value: number | bigint, bytes: 2 | 4 | 8];

export interface Kernel {
  /** Record and number of the domain, and its VCPU. */
  readonly d: number;
  readonly id: number;
  readonly v: number;
  /** Image address of an address of its memory. */
  at(address: number): number;
  mfn(address: number): number;
  call(nr: number, ...args: readonly (number | bigint)[]): number;
  /** One grant_table_op with this argument. @returns its result */
  op(cmd: number, fields: readonly Field[], count?: number): number;
  u16(address: number): number;
  i16(address: number): number;
  u32(address: number): number;
  u64(address: number): bigint;
  /** Writes entry `ref` of its grant table. */
  grant(ref: number, to: number, mfn: number, flags?: number): void;
  flags(ref: number): number;
  /** @returns status and handle */
  map(from: Kernel, ref: number, over?: Partial<MapOptions>): { status: number; handle: number };
  unmap(handle: number, address?: number, device?: number): number;
  /** The entry that maps an address of its second 2 MiB. */
  pte(address: number): bigint;
  /** Machine address of that entry. */
  pteAt(address: number): number;
}

interface MapOptions {
  readonly dom: number;
  readonly flags: number;
  readonly address: number | bigint;
}

export interface Kernels {
  readonly sim: Simulation;
  readonly hv: Simulation['built']['core']['hv'];
  readonly kernels: readonly Kernel[];
  broken(): string[];
}

const MFN_BITS = 12n;

/** So many kernels that compute for ever, each on a pCPU of its own. */
export function kernels(count = 2, vcpus = 1): Kernels {
  const image = readKernel(elfOf([0xeb, 0xfe]));
  const guests = Array.from({ length: count }, (_, n) =>
    guest({
      name: `k${n}`,
      vcpus,
      memoryMib: MEMORY_MIB,
      workload: noWorkload('k'),
      kernel: { file: 'k', image, commandLine: '' },
      cpus: Array.from({ length: vcpus }, () => [n]),
    }),
  );
  const sim = simulate(machineConfig({ pcpus: count, guests }));
  const { hv } = sim.built.core;
  const { context } = hv;
  const { domain, regs, image: memory, queues } = context;
  const view = new DataView(memory.buffer);

  function kernelOf(n: number): Kernel {
    const d = hv.domains.find(n + 1);
    const v = domain.firstVcpu(d);
    const at = (address: number): number => domain.frames(d) + PAGE_SIZE + address;
    const base = memory.region('frames').base;
    const mfn = (address: number): number => Math.floor((at(address) - base) / PAGE_SIZE);
    const entry = (ref: number): number =>
      base + hv.grants.tables.mfn(d, Math.floor(ref / 512)) * PAGE_SIZE + 8 * (ref % 512);
    const pteAt = (address: number): number => mfn(L1) * PAGE_SIZE + 8 * ((address >> 12) & 511);

    function call(nr: number, ...args: readonly (number | bigint)[]): number {
      hv.smp.enterTurn(queues.entry.processor(v));
      regs.setNr(v, nr);
      for (let k = 0; k < 6; k++) {
        const x = BigInt.asUintN(64, BigInt(args[k] ?? 0));
        regs.setLo(v, k, Number(x & 0xffffffffn) | 0);
        regs.setHi(v, k, Number(x >> 32n) | 0);
      }
      return hv.hypercall.call(v);
    }

    function op(cmd: number, fields: readonly Field[], number = 1): number {
      memory.u8.fill(0xee, at(ARGS), at(ARGS) + 64);
      for (const [offset, value, bytes] of fields) {
        const to = at(ARGS) + offset;
        if (bytes === 8) view.setBigUint64(to, BigInt.asUintN(64, BigInt(value)), true);
        else if (bytes === 4) view.setUint32(to, Number(value), true);
        else view.setUint16(to, Number(value), true);
      }
      return call(X.__HYPERVISOR_grant_table_op, cmd, ARGS, number);
    }

    const i16 = (address: number): number => view.getInt16(at(address), true);
    const u32 = (address: number): number => view.getUint32(at(address), true);
    return {
      d,
      v,
      id: domain.id(d),
      at,
      mfn,
      call,
      op,
      i16,
      u32,
      pteAt,
      u16: (address) => view.getUint16(at(address), true),
      u64: (address) => view.getBigUint64(at(address), true),
      grant(ref, to, frame, flags = G.GTF_permit_access) {
        view.setUint16(entry(ref) + 2, to, true);
        view.setUint32(entry(ref) + 4, frame, true);
        view.setUint16(entry(ref), flags, true);
      },
      flags: (ref) => view.getUint16(entry(ref), true),
      map(from, ref, { dom = from.id, flags = G.GNTMAP_host_map, address = MAP } = {}) {
        const f = offsetsOf(G.gnttab_map_grant_ref, 64);
        op(G.GNTTABOP_map_grant_ref, [
          [f.host_addr, address, 8],
          [f.flags, flags, 4],
          [f.ref, ref, 4],
          [f.dom, dom, 2],
        ]);
        return { status: i16(ARGS + f.status), handle: u32(ARGS + f.handle) };
      },
      unmap(handle, address = MAP, device = 0) {
        const f = offsetsOf(G.gnttab_unmap_grant_ref, 64);
        op(G.GNTTABOP_unmap_grant_ref, [
          [f.host_addr, address, 8],
          [f.dev_bus_addr, device, 8],
          [f.handle, handle, 4],
        ]);
        return i16(ARGS + f.status);
      },
      pte: (address) => view.getBigUint64(base + pteAt(address), true),
    };
  }

  const all = Array.from({ length: count }, (_, n) => kernelOf(n));
  const find = invariants(sim.built);
  return { sim, hv, kernels: all, broken: find };
}

export const frameOf = (pte: bigint): number => Number((pte >> MFN_BITS) & 0xff_ffff_ffffn);

/** Gives a kernel a grant table of so many frames. @returns a GNTST */
export function setUp(kernel: Kernel, frames: number, dom: number = X.DOMID_SELF): number {
  const f = offsetsOf(G.gnttab_setup_table, 64);
  kernel.op(G.GNTTABOP_setup_table, [
    [f.dom, dom, 2],
    [f.nr_frames, frames, 4],
    [f.frame_list, ARGS + 256, 8],
  ]);
  return kernel.i16(ARGS + f.status);
}
