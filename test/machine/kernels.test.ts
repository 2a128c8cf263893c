/** Domains whose VCPUs run machine code: what they compute, how they end, and that they end alone. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { noWorkload } from '../../src/config/kernel-file.js';
import { readKernel } from '../../src/loader/kernel.js';
import { findConfigProblem } from '../../src/machine/check-config.js';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { invariants } from '../../src/machine/invariants.js';
import { Machine } from '../../src/machine/machine.js';
import type { RunResult } from '../../src/machine/result.js';
import { ST, STATE_BYTES, TLB, TLB_BYTES } from '../../src/pcpu/x86/state.js';
import { vcpu_guest_context } from '../../src/shared/public/arch-x86-layout.js';
import { XEN_EFAULT, XEN_EINVAL, XEN_EPERM, XEN_ESRCH } from '../../src/shared/public/errno.js';
import { offsetsOf } from '../../src/shared/public/layout.js';
import { VCPUOP_initialise } from '../../src/shared/public/vcpu.js';
import { XENVER_extraversion } from '../../src/shared/public/version.js';
import {
  __HYPERVISOR_mmuext_op,
  __HYPERVISOR_vcpu_op,
  __HYPERVISOR_xen_version,
  DOMID_SELF,
  MMUEXT_PIN_L4_TABLE,
  MMUEXT_TLB_FLUSH_ALL,
  MMUEXT_TLB_FLUSH_LOCAL,
  MMUEXT_TLB_FLUSH_MULTI,
} from '../../src/shared/public/xen.js';
import { mmuext_op } from '../../src/shared/public/xen-layout.js';
import { elfOf } from '../support/elf.js';
import { guest, hog, machineConfig, simulate, workload } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

const MEMORY_MIB = 16;
const MEMORY = MEMORY_MIB * 2 ** 20;
/** Of a kernel of one page at 1 MiB: behind it the list of frames, 8 pages, start info and two more, four page tables for the first 4 MiB, a stack. */
const MAPPED = 4 << 20;
const TABLES = 0x101000 + 8 * 4096 + 3 * 4096;
const STACK = TABLES + 5 * 4096;

const kernel = (name: string, file: Uint8Array, commandLine = '', over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({
    name,
    memoryMib: MEMORY_MIB,
    workload: noWorkload(name),
    kernel: { file: name, image: readKernel(file), commandLine },
    ...over,
  });

function run(over: Partial<MachineConfig> & Pick<MachineConfig, 'guests'>): RunResult {
  const sim = simulate(machineConfig({ durationNs: 10e9, ...over }));
  const broken = invariants(sim.built);
  sim.run(undefined, () => expect(broken()).to.deep.equal([]));
  return sim.result();
}

const MOV_RAX = (x: bigint): number[] => [
  0x48,
  0xb8,
  ...Array.from({ length: 8 }, (_, n) => Number((x >> BigInt(8 * n)) & 255n)),
];
const JMP_RAX = [0xff, 0xe0];
const LOAD_RAX = [0x48, 0x8b, 0x00];
const STORE_RAX = [0x48, 0x89, 0x00];

describe('a kernel that does what it must not', () => {
  const cases: readonly (readonly [what: string, code: readonly number[], says: readonly string[]])[] = [
    ['an undefined instruction', [0x0f, 0x0b], ['unhandled #UD', 'RIP: 0000000000100000  ud2  (0f 0b)']],
    ['an instruction that is not there', [0xc5, 0xf8, 0x58, 0xc1], ['not implemented: vaddps', 'unhandled #UD']],
    ['a privileged instruction', [0x90, 0xf4], ['unhandled #GP(0000)', 'RIP: 0000000000100001  hlt']],
    // push 0x102; popfq; nop
    [
      'a single step',
      [0x68, 0x02, 0x01, 0, 0, 0x9d, 0x90],
      ['unhandled #DB', 'RIP: 0000000000100007', 'RFLAGS: 0000000000000302', 'ss: e02b   cs: e033'],
    ],
    // mov ecx,0xe010; mov ds,ecx
    ['a selector of the hypervisor', [0xb9, 0x10, 0xe0, 0, 0, 0x8e, 0xd9], ['unhandled #GP(e010)', 'mov ds,ecx']],
    ['a breakpoint', [0xcc], ['unhandled #BP', 'RIP: 0000000000100001']],
    ['a division by zero', [0x31, 0xc9, 0xf7, 0xf1], ['unhandled #DE', 'RIP: 0000000000100002  div ecx']],
    [
      'a jump to nowhere',
      [...MOV_RAX(0x7fff_0000_0000n), ...JMP_RAX],
      ['unhandled #PF(0014) at 00007fff00000000', 'RIP: 00007fff00000000  (its code cannot be read)'],
    ],
    [
      'a jump to an address that is none',
      [...MOV_RAX(1n << 63n), ...JMP_RAX],
      ['unhandled #GP(0000)', 'RIP: 000000000010000a  jmp rax', 'rax: 8000000000000000'],
    ],
    [
      'a pointer to nothing',
      [...MOV_RAX(0x7fff_0000_0008n), ...LOAD_RAX],
      ['unhandled #PF(0004) at 00007fff00000008', 'mov rax,[rax]'],
    ],
    [
      'a read over the end of what is mapped',
      [...MOV_RAX(BigInt(MAPPED) - 3n), ...LOAD_RAX],
      [`unhandled #PF(0004) at ${MAPPED.toString(16).padStart(16, '0')}`],
    ],
    [
      'a write to its page tables',
      // mov rax,[rsi+88]: of start info, where they are.
      [...[0x48, 0x8b, 0x46, 0x58], ...STORE_RAX],
      [`unhandled #PF(0007) at ${TABLES.toString(16).padStart(16, '0')}`],
    ],
    [
      'an instruction of the x87 that is not there',
      [0xd9, 0xfe],
      ['not implemented: fsin', 'unhandled #UD', 'RIP: 0000000000100000  fsin'],
    ],
    // fldcw, fld1, fldz, fdivp, fwait: a division by zero is not masked.
    [
      'an exception of the x87',
      [...[0xd9, 0x2d, 0x08, 0, 0, 0], ...[0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x9b, 0x90], ...[0x7b, 0x03]],
      ['unhandled #MF', 'RIP: 000000000010000c  wait'],
    ],
    // Loads from where the control word says.
    [
      'what the x87 has at the beginning',
      [...[0x50, 0xd9, 0x3c, 0x24, 0x58], ...[0x0f, 0xb7, 0xc0, 0x48, 0x8b, 0x80, 0, 0, 0, 0x40]],
      ['unhandled #PF(0004) at 000000004000037f'],
    ],
    // push rax, over and over: through all that can be written.
    // Its page tables lie below the stack.
    [
      'a stack without end',
      [0x50, 0xeb, 0xfd],
      [`unhandled #PF(0007) at ${(STACK - 8).toString(16).padStart(16, '0')}`],
    ],
  ];
  for (const [what, code, says] of cases) {
    it(`crashes alone: ${what}`, () => {
      const guests = [kernel('bad', elfOf(code)), guest({ name: 'good', workload: hog() })];
      const { domains, hypervisorConsole } = run({ pcpus: 1, durationNs: 50e6, guests });
      expect(domains[0]!.ended).to.equal('crash: an exception that it does not handle');
      for (const words of says) expect(hypervisorConsole).to.include(words);
      expect(domains[1]!.ended).to.equal(undefined);
      expect(domains[1]!.share).to.be.above(0.9);
    });
  }

  it('is held to its part of a pCPU when it loops for ever', () => {
    const guests = [kernel('loop', elfOf([0xeb, 0xfe])), guest({ name: 'hog', workload: hog() })];
    const { domains } = run({ pcpus: 1, durationNs: 300e6, guests });
    for (const { share } of domains) expect(share).to.be.closeTo(0.5, 0.01);
  });
});

describe('a hypercall of a kernel', () => {
  const FREE = 0x30_0000;
  const sim = simulate(
    machineConfig({
      pcpus: 2,
      guests: [kernel('k', elfOf([0xeb, 0xfe]), '', { vcpus: 2 }), guest({ workload: hog() })],
    }),
  );
  const { hypercall, context } = sim.built.core.hv;
  const { domain, regs, image } = context;
  const view = new DataView(image.buffer);
  const d = sim.built.core.hv.domains.find(1);
  const v = domain.firstVcpu(d);
  const block = (k: number): number => image.region('x86-vcpu').base + (v + k) * STATE_BYTES;
  const root = context.vcpu.guestTable(v);
  /** Image address of an address of the domain's: of its memory, behind the shared info page. */
  const at = (address: number): number => domain.frames(d) + 4096 + address;
  const call = (nr: number, ...args: readonly number[]): number => {
    regs.setNr(v, nr);
    for (let k = 0; k < 6; k++) {
      regs.setLo(v, k, args[k] ?? 0);
      regs.setHi(v, k, 0);
    }
    return hypercall.call(v);
  };

  it('cannot read or write the page tables', () => {
    const version = (at: number): number => call(__HYPERVISOR_xen_version, XENVER_extraversion, at);
    expect(version(FREE)).to.equal(0);
    expect(version(TABLES)).to.equal(-XEN_EFAULT);
    expect(version(TABLES - 8)).to.equal(-XEN_EFAULT);
    expect(version(MAPPED)).to.equal(-XEN_EFAULT);
  });

  it('brings up no VCPU with page tables that nobody has looked at', () => {
    const cr3 = at(FREE) + offsetsOf(vcpu_guest_context, 64).ctrlreg + 24;
    const initialise = (): number => call(__HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, FREE);
    image.u8.fill(0, at(FREE), at(FREE) + 8192);
    view.setBigUint64(cr3, BigInt(root + 1) << 12n, true);
    expect(initialise()).to.equal(-XEN_EINVAL);
    view.setBigUint64(cr3, (1n << 40n) | (BigInt(root) << 12n), true);
    expect(initialise()).to.equal(-XEN_EINVAL);
    view.setBigUint64(cr3, BigInt(root) << 12n, true);
    expect(initialise()).to.equal(0);
    expect(context.vcpu.guestTable(v + 1)).to.equal(root);
    expect(view.getInt32(block(1) + ST.isPresent, true)).to.equal(1);
  });

  it('flushes what pCPUs remember, of the VCPUs that it names', () => {
    const tlb = (p: number): number => image.region('x86-tlb').base + 2 * p * TLB_BYTES + TLB.vcpu;
    const op = at(FREE);
    const fields = offsetsOf(mmuext_op, 64);
    const flush = (cmd: number, mask = 0): number => {
      for (const p of [0, 1]) view.setInt32(tlb(p), v + p + 1, true);
      view.setInt32(op + fields.cmd, cmd, true);
      view.setBigUint64(op + fields['arg2.vcpumask'], BigInt(FREE + 64), true);
      view.setUint8(at(FREE) + 64, mask);
      return call(__HYPERVISOR_mmuext_op, FREE, 1, FREE + 128, DOMID_SELF);
    };
    const whose = (): number[] => [0, 1].map((p) => view.getInt32(tlb(p), true));
    expect(flush(MMUEXT_TLB_FLUSH_LOCAL)).to.equal(0);
    expect(whose()).to.deep.equal([0, v + 2]);
    expect(view.getInt32(at(FREE) + 128, true)).to.equal(1);
    expect(flush(MMUEXT_TLB_FLUSH_MULTI, 2)).to.equal(0);
    expect(whose()).to.deep.equal([v + 1, 0]);
    expect(flush(MMUEXT_TLB_FLUSH_ALL)).to.equal(0);
    expect(whose()).to.deep.equal([0, 0]);
    expect(flush(MMUEXT_PIN_L4_TABLE)).to.equal(-XEN_EINVAL);
    expect(view.getInt32(at(FREE) + 128, true)).to.equal(0);
    expect(call(__HYPERVISOR_mmuext_op, FREE, 1, 0, 5)).to.equal(-XEN_ESRCH);
    expect(call(__HYPERVISOR_mmuext_op, FREE, 1, 0, 1)).to.equal(-XEN_ESRCH);
    expect(call(__HYPERVISOR_mmuext_op, FREE, 1, 0, 2)).to.equal(-XEN_EPERM);
    expect(call(__HYPERVISOR_mmuext_op, MEMORY, 1, 0, DOMID_SELF)).to.equal(-XEN_EFAULT);
    expect(call(__HYPERVISOR_mmuext_op, 0, 0, 0, DOMID_SELF)).to.equal(0);
  });
});

describe('a kernel that cannot be', () => {
  const problem = (over: Partial<MachineConfig>, ...guests: GuestConfig[]): string | undefined =>
    findConfigProblem(machineConfig({ ...over, guests }))?.message;
  const nop = elfOf([0x90]);

  it('is refused', () => {
    expect(problem({}, kernel('k', nop, '', { abi: 32 }))).to.include('64-bit');
    expect(problem({}, kernel('k', elfOf([0x90], { bss: 2 * MEMORY })))).to.include('no memory any more');
    expect(problem({}, kernel('k', elfOf([0x90], { bss: MEMORY - 0x110000 })))).to.include('the domain has 4096');
    expect(problem({}, kernel('k', nop, '', { memoryMib: 4096 }))).to.include('room for');
    expect(problem({}, kernel('k', nop))).to.equal(undefined);
  });
});

/** Of the benchmark, but for the three that are single instructions in a loop or only about caches. */
const KERNELS = ['sieve', 'crc32', 'matmul', 'qsort', 'chase', 'memloop', 'sha256', 'fib', 'strsearch', 'vm'];

let files: Map<string, Uint8Array> | undefined;

/** Checksums that the benchmark's kernels find natively, for a part of all iterations. */
const natively = new Map<string, string>();
const DIV = 200;

/** One of the executables of perf/x86, all of which are built at the first time; undefined where there is no compiler. */
function built(name: string): Uint8Array | undefined {
  if (files !== undefined) return files.get(name);
  files = new Map();
  const sources = fileURLToPath(new URL('../../../perf/x86/', import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), 'kernels-'));
  try {
    execFileSync(join(sources, 'build.sh'), [folder], { stdio: ['ignore', 'ignore', 'pipe'] });
    for (const file of ['bench.elf', 'smp.elf', 'pong.elf', 'litmus.elf'])
      files.set(file, readFileSync(join(folder, file)));
    for (const name of KERNELS) {
      const [, sum] = execFileSync(join(folder, 'native'), [`${DIV}`, name], { encoding: 'utf8' }).split(' ');
      natively.set(name, sum!);
    }
  } catch (error) {
    if ((error as { status?: number }).status !== 77) throw error;
  } finally {
    rmSync(folder, { recursive: true });
  }
  return files.get(name);
}

/** Checksums of the native executable for a twentieth of all iterations. */
const CHECKSUMS: Readonly<Record<string, string>> = {
  qsort: 'f664e658',
  vm: '21277f1e',
  fib: '50549780',
  strsearch: 'a85c1c00',
};

describe('the kernels of the benchmark', function () {
  this.timeout(300_000);
  let file: Uint8Array | undefined;
  before(function () {
    file = built('bench.elf');
    if (file === undefined) this.skip();
  });

  it('compute what they do natively, among others, wherever the scheduler moves them', async () => {
    const names = ['qsort', 'vm', 'fib', 'strsearch'];
    const guests = [
      ...names.map((name) => kernel(name, file!, `div=20 only=${name}`)),
      guest({ name: 'web', vcpus: 2, workload: workload({ w: { instance: 3, loop: -1, run: 300, sleep: 500 } }) }),
    ];
    const config = machineConfig({ pcpus: 3, durationNs: 900e6, seed: 3, guests });
    const alone = await runMachine(config);
    for (const { name, console: said } of alone.domains.slice(0, names.length)) {
      expect(said, name).to.match(new RegExp(`^S ${name} \\d+\nE ${CHECKSUMS[name]}\nDONE\n$`));
    }
    expect(alone.domains.slice(0, 4).reduce((n, d) => n + d.migrations, 0)).to.be.above(0);
    const two = await runMachine({ ...config, threads: 3 });
    expect(two.hash).to.equal(alone.hash);
    expect(two.domains.map((d) => d.console)).to.deep.equal(alone.domains.map((d) => d.console));
  });
});

describe('kernels on real threads', function () {
  this.timeout(300_000);
  before(function () {
    if (built('bench.elf') === undefined) this.skip();
  });
  /** Beside which the scheduler moves kernels. */
  const web = guest({
    name: 'web',
    vcpus: 4,
    workload: workload({ w: { instance: 6, loop: 60, run: 1500, sleep: 2500 } }),
  });

  it('compute what they do natively in either mode, for any number of threads', async () => {
    const guests = [...KERNELS.map((name) => kernel(name, built('bench.elf')!, `div=${DIV} only=${name}`)), web];
    const config = machineConfig({ pcpus: 4, durationNs: 2e9, seed: 3, tsliceMs: 1, debug: false, guests });
    const hashes = new Set<string>();
    for (const [mode, threads] of [
      ['ordered', 1],
      ['ordered', 2],
      ['ordered', 4],
      ['free', 1],
      ['free', 2],
      ['free', 4],
    ] as const) {
      const { domains, hash } = await runMachine({ ...config, mode, threads });
      if (mode === 'ordered') hashes.add(hash);
      const kernels = domains.slice(0, KERNELS.length);
      for (const { name, console: said } of kernels)
        expect(said, `${name}, ${mode} mode, ${threads} threads`).to.match(
          new RegExp(`^S ${name} \\d+\nE ${natively.get(name)}\nDONE\n$`),
        );
      expect(kernels.reduce((n, d) => n + d.migrations, 0)).to.be.above(0);
    }
    expect(hashes.size).to.equal(1);
  });

  it('count together in free mode', async () => {
    const config = machineConfig({
      ...{ pcpus: 4, durationNs: 1e9, mode: 'free', debug: false },
      guests: [kernel('smp', built('smp.elf')!, '4', { vcpus: 4 }), web],
    });
    for (const threads of [1, 2, 4]) {
      const [smp] = (await runMachine({ ...config, threads })).domains;
      expect([smp!.console, smp!.ended], `${threads} threads`).to.deep.equal(['LOCKED 8000 SPUN 8000\n', 'poweroff']);
    }
  });

  it('send each other events at the same times, for any number of threads', async () => {
    const pair = (n: number): GuestConfig[] =>
      [0, 1].map((role) =>
        // Domain numbers begin with 1.
        kernel(`pong${n}${role}`, built('pong.elf')!, `role=${role} peer=${2 * n + 2 - role} rounds=200`),
      );
    const guests = [...pair(0), ...pair(1), web];
    const config = machineConfig({ pcpus: 4, durationNs: 50e6, seed: 3, debug: false, guests });
    const found: unknown[] = [];
    for (const threads of [1, 2, 4]) {
      const { hash, domains } = await runMachine({ ...config, threads });
      for (const { name, console: said } of domains.slice(0, 4)) expect(said, name).to.match(/^PORT \d+ SUM \w{8}\n$/);
      found.push([hash, domains.map((d) => [d.console, d.virtualTimeNs])]);
    }
    expect(found[1]).to.deep.equal(found[0]);
    expect(found[2]).to.deep.equal(found[0]);
  });

  describe('see no order of memory that a processor forbids', () => {
    /** What litmus.c says on so many workers. */
    async function litmus(vcpus: number, threads: number, rounds: number): Promise<string> {
      const guests = [kernel('litmus', built('litmus.elf')!, `vcpus=${vcpus} rounds=${rounds}`, { vcpus })];
      const { domains } = await runMachine(
        machineConfig({ pcpus: vcpus, threads, durationNs: 60e9, mode: 'free', debug: false, guests }),
      );
      return domains[0]!.console;
    }

    it('two VCPUs, and see the one that it allows', async () => {
      const allowed = /^SB (\d+) SB\+mfence 0 SB\+lock 0 SB\+xchg 0 MP 0 LB 0\n$/;
      let seen = 0;
      // One of ten pairs, where both run at the same time; on a host that lets them seldom do so, sooner or later.
      for (let tries = 0; tries < 20 && seen === 0; tries++) {
        const said = await litmus(2, 2, 20);
        expect(said).to.match(allowed);
        seen = Number(allowed.exec(said)![1]);
      }
      if (availableParallelism() > 1) expect(seen, 'SB without a fence').to.be.above(0);
    });

    it('four VCPUs', async () => {
      expect(await litmus(4, 4, 1)).to.match(
        /^SB \d+ SB\+mfence 0 SB\+lock 0 SB\+xchg 0 MP 0 LB 0 IRIW 0 IRIW\+mfence 0\n$/,
      );
    });
  });

  // A guest that had not been run up to there yet had turns before it, which the machine then took in its own past.
  it('stand where the machine stands, for any number of threads', async () => {
    const guests = [
      ...['fib', 'qsort', 'vm'].map((name) => kernel(name, built('bench.elf')!, `div=20000 only=${name}`)),
      ...[0, 1].map((role) => kernel(`pong${role}`, built('pong.elf')!, `role=${role} peer=${5 - role} rounds=500`)),
    ];
    const config = machineConfig({ pcpus: 3, durationNs: 4e6, seed: 3, debug: false, guests });
    const found: unknown[] = [];
    for (const threads of [1, 2, 3]) {
      const machine = await Machine.create({ ...config, threads });
      try {
        const views: unknown[] = [];
        for (const ns of [100_001, 400_000, 1_234_567, 2_000_000]) {
          await machine.runUntil(ns);
          for (let p = 0; p < 3; p++) views.push(await machine.inspect(p));
        }
        for (let n = 0; n < 5; n++) await machine.step(7);
        await machine.resume();
        const { hash } = await machine.run();
        found.push([views, hash]);
      } finally {
        await machine.close();
      }
    }
    expect(found[1]).to.deep.equal(found[0]);
    expect(found[2]).to.deep.equal(found[0]);
  });
});

describe('a kernel of several VCPUs', () => {
  it('counts together, with one hash for any number of threads and any run', async function () {
    const file = built('smp.elf');
    if (file === undefined) this.skip();
    const guests = [
      kernel('smp', file, '4', { vcpus: 4 }),
      guest({ name: 'web', vcpus: 2, workload: workload({ w: { instance: 3, loop: -1, run: 30, sleep: 50 } }) }),
    ];
    const config = machineConfig({ pcpus: 4, durationNs: 2e6, seed: 3, guests });
    const hashes = new Set<string | undefined>();
    for (const threads of [1, 2, 4, 4]) {
      const { hash, domains } = await runMachine({ ...config, threads });
      expect(domains[0]!.console).to.equal('LOCKED 8000 SPUN 8000\n');
      expect(domains[0]!.ended).to.equal('poweroff');
      hashes.add(hash);
    }
    expect(hashes.size).to.equal(1);
  });
});
