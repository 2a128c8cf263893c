/** Page tables of a paravirtual domain, by hypercalls in its name on a machine that stands between two turns. */
import { expect } from 'chai';
import fc from 'fast-check';
import { noWorkload } from '../../src/config/kernel-file.js';
import { PAGE, PGT } from '../../src/hv/mm/records.js';
import { readKernel } from '../../src/loader/kernel.js';
import { invariants } from '../../src/machine/invariants.js';
import { ST, STATE_BYTES } from '../../src/pcpu/x86/state.js';
import { XEN_EBUSY, XEN_EINVAL } from '../../src/shared/public/errno.js';
import * as M from '../../src/shared/public/memory.js';
import * as X from '../../src/shared/public/xen.js';
import { elfOf } from '../support/elf.js';
import { guest, hog, machineConfig, simulate } from '../support/in-process.js';

const [PRESENT, RW, USER, ACCESSED] = [1n, 2n, 4n, 0x20n];
/** Where arguments are; pages from POOL on are played with, all in the first 4 MiB, which are mapped. */
const ARGS = 0x20_0000;
const POOL = 0x30_0000;
const POOL_PAGES = 20;
const LOOP = [0xeb, 0xfe];

function machineOf(code: readonly number[] = LOOP) {
  const kernel = { file: 'k', image: readKernel(elfOf(code)), commandLine: '' };
  const sim = simulate(
    machineConfig({
      pcpus: 1,
      guests: [
        guest({ name: 'k', memoryMib: 8, workload: noWorkload('k'), kernel }),
        guest({ name: 'hog', workload: hog() }),
      ],
    }),
  );
  const { hv } = sim.built.core;
  const { image, domain, regs, vcpu } = hv.context;
  const view = new DataView(image.buffer);
  const d = hv.domains.find(1);
  const v = domain.firstVcpu(d);
  const page = image.table(PAGE);
  const frames = image.region('frames').base;
  const memory = domain.frames(d) + 4096;
  const mfnOf = (address: number): number => (memory - frames + address) / 4096;
  const call = (nr: number, ...args: readonly (number | bigint)[]): number => {
    regs.setNr(v, nr);
    for (let k = 0; k < 6; k++) {
      const x = BigInt.asUintN(64, BigInt(args[k] ?? 0));
      regs.setLo(v, k, Number(BigInt.asIntN(32, x)));
      regs.setHi(v, k, Number(BigInt.asIntN(32, x >> 32n)));
    }
    return hv.hypercall.call(v);
  };
  const write = (address: number, words: readonly (number | bigint)[]): void => {
    for (const [n, word] of words.entries())
      view.setBigUint64(memory + address + 8 * n, BigInt.asUintN(64, BigInt(word)), true);
  };
  const entry = (mfn: number, flags: bigint): bigint => (BigInt(mfn) << 12n) | flags;
  const map = (address: number, value: bigint, flags = X.UVMF_INVLPG): number =>
    call(X.__HYPERVISOR_update_va_mapping, address, value, flags);
  return {
    ...{ sim, hv, view, d, v, page, frames, memory, mfnOf, call, write, entry, map },
    root: vcpu.guestTable(v),
    readOnly: (address: number): number => map(address, entry(mfnOf(address), PRESENT | ACCESSED)),
    update(...updates: readonly (readonly [ptr: bigint, val: bigint])[]): number {
      write(ARGS, updates.flat());
      return call(X.__HYPERVISOR_mmu_update, ARGS, updates.length, 0, X.DOMID_SELF);
    },
    ext(cmd: number, arg1: number | bigint, arg2: number | bigint = 0): number {
      write(ARGS, [cmd, arg1, arg2]);
      return call(X.__HYPERVISOR_mmuext_op, ARGS, 1, 0, X.DOMID_SELF);
    },
    reserve(cmd: number, word: number, order = 0): number {
      write(ARGS, [ARGS + 64, 1, order, X.DOMID_SELF]);
      write(ARGS + 64, [word]);
      return call(X.__HYPERVISOR_memory_op, cmd, ARGS);
    },
    /** Image address of an entry of a frame. */
    entryAt: (mfn: number, n: number): number => frames + mfn * 4096 + 8 * n,
  };
}
type Probe = ReturnType<typeof machineOf>;

describe('page tables', () => {
  it('are not written by a hypercall in which they become some', () => {
    const m = machineOf();
    const table = m.mfnOf(POOL);
    // What says how many were done is in the page, which is mapped for reading and linked as a level-1 table in the same list.
    const level1 = Number(m.view.getBigUint64(m.entryAt(Number(level2Of(m)), 0), true) >> 12n) & 0xfffff;
    const at = (mfn: number, n: number): bigint => (BigInt(mfn) << 12n) | BigInt(8 * n);
    const n = POOL / 4096;
    const second = Number(m.view.getBigUint64(m.entryAt(Number(level2Of(m)), 1), true) >> 12n) & 0xfffff;
    expect(level1).not.to.equal(second);
    m.write(ARGS, [at(second, n - 512), m.entry(table, PRESENT), at(level2Of(m), 5), m.entry(table, PRESENT | USER)]);
    const rc = m.call(X.__HYPERVISOR_mmu_update, ARGS, 2, POOL + 8, X.DOMID_SELF);
    expect(rc).to.equal(-XEN_EINVAL);
    expect(m.page.type(table) & 7).not.to.equal(PGT.l1_page_table);
    expect(invariants(m.sim.built)()).to.deep.equal([]);
  });

  it('are none of what the hypervisor writes at any time', () => {
    const m = machineOf();
    const shared = (m.hv.context.domain.sharedInfo(m.d) - m.frames) / 4096;
    expect(m.ext(X.MMUEXT_PIN_L1_TABLE, shared)).to.equal(-XEN_EINVAL);
    expect(m.update([BigInt(level2Of(m)) * 4096n + 40n, m.entry(shared, PRESENT | USER)])).to.equal(-XEN_EINVAL);
    // Nor can an area of a VCPU's become one before another has taken its place.
    m.write(ARGS, [POOL]);
    const register = (): number => m.call(X.__HYPERVISOR_vcpu_op, 5, 0, ARGS);
    expect(register()).to.equal(0);
    m.readOnly(POOL);
    expect(m.ext(X.MMUEXT_PIN_L1_TABLE, m.mfnOf(POOL))).to.equal(-XEN_EINVAL);
    m.write(ARGS, [POOL + 4096]);
    expect(register()).to.equal(0);
    expect(m.ext(X.MMUEXT_PIN_L1_TABLE, m.mfnOf(POOL))).to.not.equal(0);
    m.view.setBigUint64(m.entryAt(m.mfnOf(POOL), 0), 0n, true);
    for (let n = 0; n < 512; n++) m.view.setBigUint64(m.entryAt(m.mfnOf(POOL), n), 0n, true);
    expect(m.ext(X.MMUEXT_PIN_L1_TABLE, m.mfnOf(POOL))).to.equal(0);
    expect(invariants(m.sim.built)()).to.deep.equal([]);
  });

  it('that map more than could ever be written hold nobody up', () => {
    // mov rdi, 1 << 39; mov rcx, 1 << 38; rep stosb
    const code = [
      ...[0x48, 0xbf, 0, 0, 0, 0, 0x80, 0, 0, 0, 0x48, 0xb9, 0, 0, 0, 0, 0x40, 0, 0, 0],
      ...[0xf3, 0xaa, ...LOOP],
    ];
    const m = machineOf(code);
    const tables = [0, 1, 2].map((n) => POOL + 4096 * n);
    const data = m.mfnOf(POOL + 4096 * 3);
    for (const [n, address] of tables.entries()) {
      const below = n === 0 ? data : m.mfnOf(tables[n - 1]!);
      m.write(
        address,
        Array.from({ length: 512 }, () => m.entry(below, PRESENT | RW | USER)),
      );
      expect(m.readOnly(address)).to.equal(0);
    }
    expect(m.update([BigInt(m.root) * 4096n + 8n, m.entry(m.mfnOf(tables[2]!), PRESENT | RW | USER)])).to.equal(0);
    const began = performance.now();
    m.sim.run(200e3);
    expect(performance.now() - began).to.be.below(20_000);
    const rcx = m.view.getBigUint64(m.sim.built.image.region('x86-vcpu').base + m.v * STATE_BYTES + ST.gpr + 8, true);
    expect(rcx > 0n && rcx < 1n << 38n).to.equal(true);
  });

  it('leave a domain with its last reference when that gave them up', () => {
    const m = machineOf();
    const frame = m.mfnOf(POOL);
    const total = m.hv.context.domain.totPages(m.d);
    expect(m.reserve(M.XENMEM_decrease_reservation, frame)).to.equal(1);
    expect(m.hv.context.domain.totPages(m.d)).to.equal(total);
    expect(m.map(POOL, 0n)).to.equal(0);
    expect(m.hv.context.domain.totPages(m.d)).to.equal(total - 1);
    expect(m.map(POOL, m.entry(frame, PRESENT))).to.equal(-XEN_EBUSY);
    expect(m.reserve(M.XENMEM_populate_physmap, POOL / 4096)).to.equal(1);
    expect(m.map(POOL, m.entry(frame, PRESENT | RW))).to.equal(0);
    expect(invariants(m.sim.built)()).to.deep.equal([]);
  });
});

/** Machine frame of the level-2 table of the lowest addresses. */
function level2Of(m: Probe): number {
  let table = m.root;
  for (let level = 4; level > 2; level--)
    table = Number(m.view.getBigUint64(m.entryAt(table, 0), true) >> 12n) & 0xfffff;
  return table;
}

interface Step {
  readonly what: number;
  readonly a: number;
  readonly b: number;
  readonly n: number;
  readonly flags: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  what: fc.nat(15),
  a: fc.nat(POOL_PAGES - 1),
  b: fc.nat(POOL_PAGES + 3),
  n: fc.oneof(fc.nat(3), fc.constantFrom(255, 256, 271, 511)),
  flags: fc.nat(31),
});

/** @returns the result of a hypercall; undefined: none was made */
function perform(m: Probe, { what, a, b, n, flags }: Step): number | undefined {
  const address = POOL + 4096 * a;
  const [frame, domainsLevel2] = [m.mfnOf(address), level2Of(m)];
  // Frames of others and of the hypervisor, and those that are not there, among them.
  const other = b < POOL_PAGES ? m.mfnOf(POOL + 4096 * b) : [0, 1, 1 << 20, domainsLevel2][b - POOL_PAGES]!;
  const bits = PRESENT | ((flags & 1) !== 0 ? RW : 0n) | ((flags & 2) !== 0 ? USER : 0n) | (flags === 31 ? 0x80n : 0n);
  const value = (flags & 12) === 12 ? 0n : m.entry(other, bits);
  switch (what) {
    case 0:
    case 1:
      return m.map(address, value, [0, 1, 2, 5, 6][flags % 5]!);
    case 2:
      return m.readOnly(address);
    case 3:
      return m.map(address, m.entry(frame, PRESENT | RW));
    case 4:
    case 5:
      return m.update([BigInt(frame) * 4096n + BigInt(8 * n + (flags & 2)), value]);
    case 6:
      return m.update(
        [BigInt(domainsLevel2) * 4096n + BigInt(8 * (4 + (n & 3))), value],
        [BigInt(frame) * 4096n + BigInt(8 * n), value],
      );
    case 7:
      return m.ext(X.MMUEXT_PIN_L1_TABLE + (n & 3), other);
    case 8:
      return m.ext(X.MMUEXT_UNPIN_TABLE, other);
    case 9:
      return m.ext(X.MMUEXT_NEW_USER_BASEPTR, (flags & 7) === 0 ? 0 : frame);
    case 10:
      return m.ext((flags & 1) !== 0 ? X.MMUEXT_CLEAR_PAGE : X.MMUEXT_COPY_PAGE, frame, other);
    case 11:
      return m.reserve((flags & 1) !== 0 ? M.XENMEM_decrease_reservation : M.XENMEM_populate_physmap, frame);
    case 12:
      return m.ext(X.MMUEXT_PIN_L1_TABLE, frame);
    default: {
      // What the kernel writes itself, where it can: a table whose entries all name the same.
      const type = m.hv.mm.tables.types.typeOf(frame);
      if (type !== PGT.none && type !== PGT.writable_page) return undefined;
      if (!m.hv.mm.tables.types.isOwner(frame, m.d)) return undefined;
      const words = (flags & 16) !== 0 ? 512 : 1;
      for (let k = 0; k < 512; k++) m.view.setBigUint64(m.entryAt(frame, k), k < words ? value : 0n, true);
      return undefined;
    }
  }
}

describe('any sequence of changes of page tables', () => {
  it('leaves none that can be written, none that names what it must not, and all counts right', () => {
    let [ok, failed] = [0, 0];
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 120, size: 'max' }), (steps) => {
        const m = machineOf();
        const broken = invariants(m.sim.built);
        for (const [k, one] of steps.entries()) {
          const rc = perform(m, one);
          if (rc !== undefined && rc < 0) failed++;
          else if (rc !== undefined) ok++;
          const found = broken();
          if (found.length > 0) expect(found, `behind step ${k}, with result ${rc}`).to.deep.equal([]);
        }
      }),
      { numRuns: 60, interruptAfterTimeLimit: 40_000 },
    );
    expect(ok).to.be.above(failed / 10);
    expect(failed).to.be.above(ok / 10);
  });
});
