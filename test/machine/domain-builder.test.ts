/** Domains with kernels of their own that domain 0's toolstack builds: they are what the hypervisor itself would have made of them. */
import { expect } from 'chai';
import { withBuiltKernels } from '../../src/config/built-kernels.js';
import { noWorkload } from '../../src/config/kernel-file.js';
import { FOREIGN, FOREIGN_FRAMES, mfnOf, PAGE, PGT, PGT_pinned } from '../../src/hv/mm/records.js';
import { DOMAIN_STATE } from '../../src/hv/records.js';
import { readKernel } from '../../src/loader/kernel.js';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { invariants } from '../../src/machine/invariants.js';
import { BACK_END } from '../../src/pcpu/model/back-end-records.js';
import { RING_FRAMES } from '../../src/pcpu/model/back-ends.js';
import { TOOL_JOB } from '../../src/pcpu/model/privcmd-records.js';
import { ST, STATE_BYTES } from '../../src/pcpu/x86/state.js';
import { PAGE_SIZE } from '../../src/shared/image.js';
import { destroyDomain } from '../../src/toolstack/domctl.js';
import { load } from '../../src/xenstore/saved.js';
import { elfOf } from '../support/elf.js';
import { guest, machineConfig, type Simulation, simulate } from '../support/in-process.js';

const KERNEL = { image: readKernel(elfOf([0xeb, 0xfe])), commandLine: 'quiet splash' };

/** It does nothing, for ever; and has a ramdisk that ends within a page. */
const idler = (name: string, over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({
    name,
    memoryMib: 8,
    workload: noWorkload(name),
    kernel: { file: name, ...KERNEL, ramdisk: Uint8Array.from({ length: 10_001 }, (_, n) => n % 251) },
    ...over,
  });

const dom0 = (): GuestConfig => guest({ name: 'Domain-0', privileged: true, workload: noWorkload('Domain-0') });

const built = (...guests: GuestConfig[]): MachineConfig =>
  withBuiltKernels(machineConfig({ pcpus: 2, durationNs: 1e9, guests: [dom0(), ...guests] }));

/** Lets it run, with all records in order after each turn. */
function run(sim: Simulation, ns: number): void {
  const broken = invariants(sim.built);
  sim.run(ns, (_p, at) => {
    const found = broken();
    if (found.length > 0) expect.fail(`at ${at} ns: ${found.slice(0, 5).join('; ')}`);
  });
}

/** Domain d's memory, page by page, with numbers of its own in the place of machine frames. */
function memoryOf({ built: { core, params, image } }: Simulation, d: number): Map<number, bigint[]> {
  const { hv } = core;
  const { layout } = params.guest.kernels[d]!;
  const words = new BigUint64Array(image.buffer);
  const pfnOf = (mfn: number): number => hv.mm.m2p!.get(mfn);
  const tables = new Set(layout.tables.map(({ pfn }) => pfn));
  const isP2m = (pfn: number): boolean => pfn >= layout.p2m && pfn < layout.p2m + layout.p2mPages;
  const shared = hv.context.domain.sharedInfo(d) - image.region('frames').base;
  const pages = new Map<number, bigint[]>();
  const [first, count] = [shared / PAGE_SIZE, hv.context.domain.backedFrames(d)];
  for (let mfn = first; mfn < first + count; mfn++) {
    const pfn = pfnOf(mfn);
    if (pfn >= hv.context.domain.totPages(d)) continue;
    const at = hv.mm.tables.frame(mfn) / 8;
    const page = Array.from(words.subarray(at, at + PAGE_SIZE / 8));
    const own = (word: bigint): bigint => BigInt(pfnOf(Number(word)));
    if (isP2m(pfn))
      pages.set(
        pfn,
        page.map((word, n) => ((pfn - layout.p2m) * 512 + n < hv.context.domain.totPages(d) ? own(word) : word)),
      );
    else if (tables.has(pfn))
      pages.set(
        pfn,
        page.map((word, n) => {
          const isXens = n >= 256 && n < 272 && pfn === layout.tables[0]!.pfn;
          if (isXens || (word & 1n) === 0n) return 0n;
          const mfn = mfnOf(Number(BigInt.asIntN(32, word)), Number(BigInt.asIntN(32, word >> 32n)));
          return (word & ~0x000f_ffff_ffff_f000n) | (BigInt(pfnOf(mfn)) << 12n);
        }),
      );
    else if (pfn === layout.startInfo) {
      expect(page[5], 'shared_info').to.equal(BigInt(shared));
      pages.set(
        pfn,
        page.map((word, n) => (n === 5 ? 0n : n === 7 || n === 9 ? own(word) : word)),
      );
    } else pages.set(pfn, page);
  }
  return pages;
}

describe('a domain that domain 0 builds', () => {
  it('has in its memory and registers what the hypervisor would have put there', () => {
    const theirs = simulate(machineConfig({ pcpus: 2, durationNs: 1e9, guests: [dom0(), idler('one')] }));
    const ours = simulate(built(idler('one')));
    run(theirs, 20_000_000);
    run(ours, 20_000_000);
    const [expected, found] = [memoryOf(theirs, 1), memoryOf(ours, 1)];
    expect([...found.keys()].sort((a, b) => a - b)).to.deep.equal(Array.from({ length: 8 * 256 }, (_, n) => n));
    for (const [pfn, page] of expected) expect(found.get(pfn), `frame ${pfn}`).to.deep.equal(page);
    const { domain } = ours.built.core.hv.context;
    const block = ({ built: { image, core } }: Simulation): Buffer => {
      const at = image.region('x86-vcpu').base + core.hv.context.domain.firstVcpu(1) * STATE_BYTES;
      return Buffer.from(image.u8.slice(at + ST.gpr, at + ST.gpr + 16 * 8).buffer);
    };
    expect(block(ours)).to.deep.equal(block(theirs));
    expect(domain.totPages(1)).to.equal(8 * 256);
  });

  it('has its page tables pinned, and nothing of it stays with domain 0 but its rings', () => {
    const sim = simulate(built(idler('one'), idler('two')));
    run(sim, 20_000_000);
    const { image, params, core } = sim.built;
    const page = image.table(PAGE);
    for (const d of [1, 2]) {
      const { layout } = params.guest.kernels[d]!;
      const top = core.hv.context.vcpu.guestTable(core.hv.context.domain.firstVcpu(d));
      expect(core.hv.mm.m2p!.get(top)).to.equal(layout.tables[0]!.pfn);
      expect(page.type(top) & PGT_pinned).to.equal(PGT_pinned);
      expect(core.hv.mm.tables.types.typeOf(top)).to.equal(PGT.l4_page_table);
    }
    const foreign = image.table(FOREIGN);
    const mapped = Array.from({ length: FOREIGN_FRAMES }, (_, n) => n).filter((n) => foreign.mfn(n) !== 0);
    expect(mapped).to.deep.equal([0, 1, 2, 3].map((n) => RING_FRAMES + n));
  });

  it('is in xenstore, is served, and is let go of when it is gone; and can be built again', () => {
    const config = built(idler('one'));
    const { toolstack } = config;
    const jobs = [
      ...toolstack!.jobs,
      { atNs: 30e6, text: 'destroy', calls: [destroyDomain(1)] },
      { ...toolstack!.jobs[0]!, atNs: 40e6 },
    ];
    const [host, ...guests] = config.guests;
    const at = { file: 'test', line: 1, column: 1 };
    const events = [
      { kind: 'tool', job: 1, at },
      { kind: 'until', ns: 30e6, at },
      { kind: 'tool', job: 2, at },
      { kind: 'until', ns: 40e6, at },
      { kind: 'tool', job: 3, at },
      { kind: 'suspend', ref: 'end', at },
    ] as const;
    const [task] = host!.workload.tasks;
    const tasks = [{ ...task!, phases: [{ name: 'script', loop: 1, events }] }];
    const sim = simulate({
      ...config,
      guests: [{ ...host!, workload: { ...host!.workload, tasks } }, ...guests],
      toolstack: { ...toolstack!, jobs },
    });
    const { image, core } = sim.built;
    const { domain } = core.hv.context;
    const back = image.table(BACK_END);
    const nodes = (): string[] => {
      const { base } = image.region('xenstore');
      return [...load(image.u8.slice(base + 4, base + 4 + image.i32[base >> 2]!)).nodes.keys()];
    };
    const isThere = (): boolean => nodes().some((path) => path.startsWith('/local/domain/1'));
    const free = core.hv.context.host.freePages(0);
    run(sim, 20_000_000);
    expect([domain.state(1), back.isServed(0), isThere()]).to.deep.equal([DOMAIN_STATE.alive, 1, true]);
    run(sim, 38_000_000);
    expect([domain.state(1), back.isServed(0)]).to.deep.equal([DOMAIN_STATE.free, 0]);
    expect(core.hv.context.host.freePages(0)).to.equal(free);
    const foreign = image.table(FOREIGN);
    for (let n = 0; n < FOREIGN_FRAMES; n++) expect(foreign.mfn(n)).to.equal(0);
    run(sim, 60_000_000);
    expect(image.table(TOOL_JOB).failed(3)).to.equal(0);
    expect([domain.state(1), back.isServed(0), isThere()]).to.deep.equal([DOMAIN_STATE.alive, 1, true]);
  });
});
