/** What of operating systems' instructions ring 3 may, and what the hypervisor executes for a kernel there. */
import { expect } from 'chai';
import { emulation } from '../../src/pcpu/x86/emulation.js';
import type { PrivilegedState } from '../../src/pcpu/x86/privileged-state.js';
import { EXIT, FLAG, ST, VECTOR } from '../../src/pcpu/x86/state.js';
import { setTs } from '../../src/pcpu/x86/task-switched.js';
import { XEN_EINVAL } from '../../src/shared/public/errno.js';
import { type BareMachine, bareMachine, registers } from './bench-machine.js';
import {
  type Case,
  DATA_BASE,
  DATA_BYTES,
  describeCase,
  plainState,
  RBX as RBX_OF_CASE,
  RDI as RDI_OF_CASE,
} from './case.js';
import { coreCpu, PATIENCE } from './core-cpu.js';
import { nativeCpu } from './native/cpu.js';

const CODE = 0x40_0000n;
const DATA = 0x20_0000n;
const [RAX, RCX, RDX, RBX, RSP, RSI, RDI] = [0, 1, 2, 3, 4, 6, 7];
const MANY = 1000;
const NOP = 0x90;
/** Ends a sequence: nobody does it for the kernel. */
const HLT = 0xf4;
const ONES = 0xffff_ffff_ffff_ffffn;

const bytes = (code: string): number[] => [...Buffer.from(code.replaceAll(' ', ''), 'hex')];

/** Raise #GP at once. */
const PRIVILEGED: Readonly<Record<string, string>> = {
  hlt: 'f4',
  cli: 'fa',
  sti: 'fb',
  'in al,imm': 'e4 21',
  'in eax,imm': 'e5 21',
  'in al,dx': 'ec',
  'in ax,dx': '66 ed',
  'in eax,dx': 'ed',
  'out imm,al': 'e6 21',
  'out imm,eax': 'e7 21',
  'out dx,al': 'ee',
  'out dx,eax': 'ef',
  insb: '6c',
  insw: '66 6d',
  insd: '6d',
  outsb: '6e',
  outsw: '66 6f',
  outsd: '6f',
  'rep insb': 'f3 6c',
  'rep outsd': 'f3 6f',
  rdmsr: '0f 32',
  wrmsr: '0f 30',
  clts: '0f 06',
  'lmsw ax': '0f 01 f0',
  'lgdt [rbx]': '0f 01 13',
  'lidt [rbx]': '0f 01 1b',
  'lldt ax': '0f 00 d0',
  'ltr ax': '0f 00 d8',
  'lldt [0]': '0f 00 14 25 00 00 00 00',
  'invlpg [rbx]': '0f 01 3b',
  invd: '0f 08',
  wbinvd: '0f 09',
  'wbinvd with a prefix': 'f3 0f 09',
  sysret: '0f 07',
  'sysret of 64 bits': '48 0f 07',
  sysexit: '0f 35',
  'sysexit of 64 bits': '48 0f 35',
  swapgs: '0f 01 f8',
  'mov rax,cr0': '0f 20 c0',
  'mov rax,cr2': '0f 20 d0',
  'mov rax,cr3': '0f 20 d8',
  'mov rax,cr4': '0f 20 e0',
  'mov rax,cr8': '44 0f 20 c0',
  'mov cr0,rax': '0f 22 c0',
  'mov cr3,rax': '0f 22 d8',
  'mov cr8,rax': '44 0f 22 c0',
  'mov rax,dr0': '0f 21 c0',
  'mov dr7,rax': '0f 23 f8',
};
/** RDPMC may be allowed by the system the tests run on. */
const RDPMC = '0f 33';
/** Not for any ring but 0, or not there. */
const UNDEFINED: Readonly<Record<string, string>> = {
  'mov rax,cr1': '0f 20 c8',
  'mov rax,cr5': '0f 20 e8',
  'mov rax,dr8': '44 0f 21 c0',
  monitor: '0f 01 c8',
  mwait: '0f 01 c9',
  xsetbv: '0f 01 d1',
  vmcall: '0f 01 c1',
  'lock mov rax,cr0': 'f0 0f 20 c0',
  'sgdt eax': '0f 01 c0',
};

function bare(code: readonly number[], hot?: number): BareMachine {
  const m = bareMachine(64, undefined, false, hot);
  m.map({ virtual: CODE, bytes: 4096, isWritable: false, isExecutable: true });
  m.map({ virtual: DATA, bytes: 8192 });
  m.image.u8.set([...code, HLT], m.at(CODE));
  const r = registers(m);
  r.rip = CODE;
  r.set(RSP, DATA + 0x800n);
  r.set(RBX, DATA);
  return m;
}

/** The exception that code ends with, and where. */
function fault(m: BareMachine): string {
  expect(m.core.run(m.st, MANY)).to.equal(EXIT.exception);
  const r = registers(m);
  const name = Object.entries(VECTOR).find(([, n]) => n === r.word(ST.vector))?.[0];
  return `#${name}(${r.word(ST.errorCode)}) +${r.rip - CODE}`;
}

describe('instructions of operating systems, in ring 3', () => {
  for (const [what, code] of Object.entries({ ...PRIVILEGED, rdpmc: RDPMC }))
    it(`${what} is #GP, whatever its operands are`, () => {
      const m = bare([NOP, ...bytes(code)]);
      registers(m).set(RCX, 5n);
      const before = Array.from({ length: 16 }, (_, n) => registers(m).get(n));
      expect(fault(m)).to.equal('#GP(0) +1');
      expect(Array.from({ length: 16 }, (_, n) => registers(m).get(n))).to.deep.equal(before);
    });

  for (const [what, code] of Object.entries(UNDEFINED))
    it(`${what} is #UD`, () => {
      expect(fault(bare([NOP, ...bytes(code)]))).to.equal('#UD(0) +1');
    });

  it('are so on the processor', function () {
    const native = nativeCpu();
    if (native === undefined) this.skip();
    const cases: Case[] = Object.values(PRIVILEGED).map((code) => ({
      code: Uint8Array.from([NOP, ...bytes(code)]),
      state: plainState({ gpr: { [RBX_OF_CASE]: DATA_BASE, [RDI_OF_CASE]: DATA_BASE } }),
      data: new Uint8Array(DATA_BYTES),
    }));
    const core = coreCpu(PATIENCE);
    for (const [n, outcome] of native.run(cases).entries()) {
      const differences = native.compare(core.run(cases[n]!), outcome, cases[n]!, 0n);
      if (differences.length > 0) expect.fail(`${describeCase(cases[n]!)}\n${differences.join('\n')}`);
    }
  });

  it('POPF keeps IF and IOPL', () => {
    // push 0; popf; pushf; pop rax; push 0x3002; popf; pushf; pop rcx
    const m = bare(bytes('6a 00 9d 9c 58 68 02 30 00 00 9d 9c 59'));
    fault(m);
    expect(registers(m).get(RAX)).to.equal(BigInt(FLAG.IF | 2));
    expect(registers(m).get(RCX)).to.equal(BigInt(FLAG.IF | 2));
  });

  it('SMSW says CR0, as wide as it is asked for', () => {
    const m = bare(bytes('0f 01 e0  48 0f 01 e1  66 0f 01 e2  0f 01 63 08'));
    const r = registers(m);
    for (const n of [RAX, RCX, RDX]) r.set(n, ONES);
    fault(m);
    expect(r.get(RAX)).to.equal(0x8005_0033n);
    expect(r.get(RCX)).to.equal(0x8005_0033n);
    expect(r.get(RDX)).to.equal(0xffff_ffff_ffff_0033n);
    expect(m.image.u8.slice(m.at(DATA) + 8, m.at(DATA) + 12)).to.deep.equal(Uint8Array.from([0x33, 0, 0, 0]));
    setTs(m.image, m.st, true);
    r.rip = CODE;
    fault(m);
    expect(r.get(RAX)).to.equal(0x8005_003bn);
  });

  it("SGDT, SIDT, SLDT and STR say Xen's", () => {
    const m = bare(bytes('0f 01 03  0f 01 4b 10  0f 00 c0  0f 00 c9  66 0f 00 ca'));
    const r = registers(m);
    for (const n of [RAX, RCX, RDX]) r.set(n, ONES);
    m.image.u8.fill(0xee, m.at(DATA), m.at(DATA) + 32);
    fault(m);
    const view = new DataView(m.image.buffer);
    const table = (at: number): unknown[] => [
      view.getUint16(m.at(DATA) + at, true),
      view.getBigUint64(m.at(DATA) + at + 2, true),
      view.getUint8(m.at(DATA) + at + 10),
    ];
    expect(table(0)).to.deep.equal([0xefff, 0xffff_8200_0000_0000n, 0xee]);
    expect(table(16)).to.deep.equal([0xfff, 0xffff_82d0_4000_0000n, 0xee]);
    expect([r.get(RAX), r.get(RCX), r.get(RDX)]).to.deep.equal([0n, 0xe040n, 0xffff_ffff_ffff_e040n]);
  });

  it('SGDT writes nothing where not all of it can be written', () => {
    const m = bare(bytes('0f 01 03'));
    m.map({ virtual: DATA + 0x1000n, bytes: 4096, isWritable: false });
    const at = m.at(DATA) + 4096 - 4;
    m.image.u8.fill(0xee, at, at + 4);
    registers(m).set(RBX, DATA + 0x1000n - 4n);
    expect(fault(m)).to.equal('#PF(7) +0');
    expect(m.image.u8.slice(at, at + 4)).to.deep.equal(Uint8Array.of(0xee, 0xee, 0xee, 0xee));
  });

  /** ZF behind an instruction with ECX for a selector; all other flags are set before and stay. */
  function zero(code: string, selector: number): readonly [boolean, bigint] {
    // push 0x8d5 or 0x895; popf; …; pushf; pop rdx
    const m = bare([...bytes('68 d5 08 00 00 9d'), ...bytes(code), ...bytes('9c 5a')]);
    const r = registers(m);
    r.set(RCX, BigInt(selector) | 0x1234_0000n);
    r.set(RAX, ONES);
    fault(m);
    const flags = Number(r.get(RDX));
    expect(flags & 0x895).to.equal(0x895);
    return [(flags & FLAG.ZF) !== 0, r.get(RAX)];
  }

  it('VERR, VERW, LAR and LSL know the flat segments of ring 3, and no others', () => {
    const [VERR, VERW, LAR, LSL, LAR_16] = ['0f 00 e1', '0f 00 e9', '0f 02 c1', '0f 03 c1', '66 0f 02 c1'];
    for (const [selector, rights, isWritable] of [
      [0xe023, 0xc0fb00n, false],
      [0xe02b, 0xc0f300n, true],
      [0xe033, 0xa0fb00n, false],
      [0xe030, 0xa0fb00n, false],
    ] as const) {
      expect(zero(VERR, selector)[0]).to.equal(true);
      expect(zero(VERW, selector)[0]).to.equal(isWritable);
      expect(zero(LAR, selector)).to.deep.equal([true, rights]);
      expect(zero(LAR_16, selector)).to.deep.equal([true, 0xffff_ffff_ffff_0000n | (rights & 0xffffn)]);
      expect(zero(LSL, selector)).to.deep.equal([true, 0xffff_ffffn]);
    }
    for (const selector of [0, 3, 0xe008, 0xe013, 0xe01b, 0xe043, 0xe027, 0x2b, 0xffff])
      for (const code of [VERR, VERW, LAR, LSL, LAR_16]) expect(zero(code, selector)).to.deep.equal([false, ONES]);
  });
});

interface Kernel extends BareMachine {
  readonly r: ReturnType<typeof registers>;
  readonly state: { cr2: bigint; base: bigint };
  /** Runs until an exception is the kernel's own. */
  run(): string;
}

/** A kernel, for which the hypervisor executes what it does for one. */
function kernel(code: string, over: Partial<PrivilegedState> = {}): Kernel {
  const m = bare(bytes(code));
  const state = { cr2: 0x1234n, base: 0x77n };
  const emulate = emulation(m.image, m.core, {
    isKernel: () => true,
    iopl: () => 0,
    isFirst: () => true,
    counter: () => 0x1_2345_6789n,
    cpuid: (leaf, subleaf) => [leaf, -1, subleaf, 3],
    cr2: () => state.cr2,
    setCr2(_, address) {
      state.cr2 = address;
    },
    base: () => state.base,
    setBase(_, mfn) {
      if (mfn === 0x99n) return -XEN_EINVAL;
      state.base = mfn;
      return 0;
    },
    setHypercallPage: (_, frame) => (frame === 5n ? 0 : -XEN_EINVAL),
    ...over,
  });
  return {
    ...m,
    r: registers(m),
    state,
    run() {
      for (;;) {
        const ended = fault(m);
        if (!emulate(m.st, 0, 0))
          return registers(m).word(ST.vector) === VECTOR.DB ? `#DB +${registers(m).rip - CODE}` : ended;
      }
    },
  };
}

const RDMSR = '0f 32';
const WRMSR = '0f 30';

function readMsr(n: number, over: Partial<PrivilegedState> = {}): bigint | '#GP' {
  const m = kernel(RDMSR, over);
  for (const register of [RAX, RDX]) m.r.set(register, ONES);
  m.r.set(RCX, BigInt(n) | (7n << 32n));
  if (m.run() === '#GP(0) +0') return '#GP';
  return (m.r.get(RDX) << 32n) | m.r.get(RAX);
}

function writeMsr(n: number, x: bigint, over: Partial<PrivilegedState> = {}): Kernel | '#GP' {
  const m = kernel(WRMSR, over);
  m.r.set(RCX, BigInt(n));
  // Upper halves do not count.
  m.r.set(RAX, BigInt.asUintN(32, x) | (0xabcdn << 32n));
  m.r.set(RDX, BigInt.asUintN(32, x >> 32n) | (0xabcdn << 32n));
  return m.run() === '#GP(0) +0' ? '#GP' : m;
}

describe('what the hypervisor executes for a kernel in ring 3', () => {
  it('is CPUID behind the prefix of forced emulation, and nothing else behind it', () => {
    const m = kernel('0f 0b 78 65 6e 0f a2');
    m.r.set(RAX, ONES);
    m.r.set(RCX, 9n);
    expect(m.run()).to.equal('#GP(0) +7');
    expect([RAX, RBX, RCX, RDX].map((n) => m.r.get(n))).to.deep.equal([0xffff_ffffn, 0xffff_ffffn, 9n, 3n]);
    expect(kernel('0f 0b 78 65 6e 0f 32').run()).to.equal('#UD(0) +0');
    expect(kernel('0f 0b 78 65 6e f3 0f a2').run()).to.equal('#UD(0) +0');
    expect(kernel('0f 0b').run()).to.equal('#UD(0) +0');
  });

  it('is none of what Xen leaves to the kernel', () => {
    const own = ['hlt', 'lmsw ax', 'lgdt [rbx]', 'lidt [rbx]', 'lldt ax', 'ltr ax', 'invlpg [rbx]', 'invd'];
    for (const what of [...own, 'sysret', 'sysexit', 'swapgs', 'mov rax,cr8', 'mov cr8,rax'])
      expect(kernel(PRIVILEGED[what]!, { iopl: () => 3 }).run(), what).to.equal('#GP(0) +0');
    expect(kernel(RDPMC).run()).to.equal('#GP(0) +0');
    // mov rax,[rcx] and mov [rcx],ds, where there is no address.
    for (const code of ['48 8b 01', '8c 19', '48 89 01']) {
      const m = kernel(code);
      m.r.set(RCX, 1n << 50n);
      expect(m.run(), code).to.equal('#GP(0) +0');
    }
  });

  it('is done for the kernel only, but for CPUID', () => {
    const isKernel = (): boolean => false;
    for (const code of ['0f 20 c0', '0f 22 c0', '0f 21 f8', RDMSR, WRMSR, '0f 06', '0f 09', 'fa', 'e4 21']) {
      const m = kernel(code, { isKernel, iopl: () => 2 });
      m.r.set(RCX, 0xc000_0100n);
      m.r.set(RAX, 0x8005_0033n);
      expect(m.run(), code).to.equal('#GP(0) +0');
    }
    expect(kernel('e4 21', { isKernel, iopl: () => 3 }).run()).to.equal('#GP(0) +2');
    expect(kernel('0f 0b 78 65 6e 0f a2', { isKernel }).run()).to.equal('#GP(0) +7');
  });

  it('is found where its code lies in two pages', () => {
    const m = kernel('');
    m.map({ virtual: CODE + 4096n, bytes: 4096, isWritable: false, isExecutable: true });
    m.image.u8[m.at(CODE) + 4095] = 0x0f;
    m.image.u8.set([0x06, HLT], m.at(CODE + 4096n));
    m.r.rip = CODE + 4095n;
    expect(m.run()).to.equal('#GP(0) +4097');
  });

  it('is one step, behind which TF traps', () => {
    // push 0x102; popf; wbinvd; nop
    const m = kernel('68 02 01 00 00 9d 0f 09 90');
    expect(m.run()).to.equal('#DB +8');
    expect(m.core.debugRegister(m.st, 6) & 0x4000n).to.equal(0x4000n);
    expect(m.r.word(ST.flags) & FLAG.RF).to.equal(0);
  });

  it('CR0 is as Xen has it, and only TS can be changed', () => {
    // mov rcx,cr0; clts; mov rdx,cr0
    const m = kernel('0f 20 c1 0f 06 0f 20 c2');
    setTs(m.image, m.st, true);
    expect(m.run()).to.equal('#GP(0) +8');
    expect([m.r.get(RCX), m.r.get(RDX)]).to.deep.equal([0x8005_003bn, 0x8005_0033n]);
    // mov cr0,rax; mov rcx,cr0
    const write = (x: bigint): readonly [string, bigint] => {
      const w = kernel('0f 22 c0 0f 20 c1');
      w.r.set(RAX, x);
      return [w.run(), w.r.get(RCX)];
    };
    expect(write(0x8005_003bn)).to.deep.equal(['#GP(0) +6', 0x8005_003bn]);
    expect(write(0x8005_0033n)).to.deep.equal(['#GP(0) +6', 0x8005_0033n]);
    for (const bad of [0n, 0x8001_003bn, 0x1_8005_003bn]) expect(write(bad)).to.deep.equal(['#GP(0) +0', 0n]);
  });

  it('CR2 and CR3 are what the hypervisor says, which may refuse another page table', () => {
    // mov rcx,cr2; mov cr2,rax; mov rdx,cr3; mov cr3,rbx; mov rdi,cr3; mov cr3,rsi
    const m = kernel('0f 20 d1 0f 22 d0 0f 20 da 0f 22 db 0f 20 df 0f 22 de');
    m.r.set(RAX, 0x5555n);
    m.r.set(RBX, 0x1_2345_6018n);
    m.r.set(RSI, 0x99000n);
    expect(m.run()).to.equal('#GP(0) +15');
    expect([m.r.get(RCX), m.state.cr2]).to.deep.equal([0x1234n, 0x5555n]);
    expect([m.r.get(RDX), m.r.get(RDI), m.state.base]).to.deep.equal([0x77000n, 0x1_2345_6000n, 0x12_3456n]);
  });

  it('CR4 shows what Xen shows, and keeps TSD', () => {
    // mov rcx,cr4; mov cr4,rax; mov rdx,cr4
    const m = kernel('0f 20 e1 0f 22 e0 0f 20 e2');
    m.r.set(RAX, ONES);
    expect(m.run()).to.equal('#GP(0) +9');
    expect([m.r.get(RCX), m.r.get(RDX)]).to.deep.equal([0x620n, 0x624n]);
  });

  it('debug registers take what Xen takes', () => {
    // mov dr0,rax; mov rcx,dr0; mov dr7,rbx; mov rdx,dr5; mov dr7,rsi
    const m = kernel('0f 23 c0 0f 21 c1 0f 23 fb 0f 21 ea 0f 23 fe');
    m.r.set(RAX, DATA);
    m.r.set(RBX, 0x400n);
    m.r.set(RSI, 0x2000n);
    expect(m.run()).to.equal('#GP(0) +12');
    expect([m.r.get(RCX), m.r.get(RDX)]).to.deep.equal([DATA, 0x400n]);
    const other = kernel('0f 23 c0');
    other.r.set(RAX, 0xffff_8000_0000_0000n);
    expect(other.run()).to.equal('#GP(0) +0');
  });

  it('bases of FS and GS are written, read, and used', () => {
    // wrmsr; mov rdi,gs:[8]; mov ecx,0xc0000100; wrmsr; mov rsi,fs:[8]; mov ecx,0xc0000102; mov eax,0x77; wrmsr; rdmsr
    const m = kernel(
      '0f 30 65 48 8b 3c 25 08 00 00 00 b9 00 01 00 c0 0f 30 64 48 8b 34 25 08 00 00 00' +
        'b9 02 01 00 c0 b8 77 00 00 00 0f 30 31 c0 0f 32',
    );
    new DataView(m.image.buffer).setBigUint64(m.at(DATA) + 8, 0xfeed_face_cafe_beefn, true);
    m.r.set(RCX, 0xc000_0101n);
    m.r.set(RAX, DATA);
    expect(m.run()).to.match(/^#GP\(0\) \+43/);
    expect([m.r.get(RDI), m.r.get(RSI)]).to.deep.equal([0xfeed_face_cafe_beefn, 0xfeed_face_cafe_beefn]);
    expect([m.r.get(RAX), m.r.wide(ST.userGsBase), m.r.wide(ST.gsBase)]).to.deep.equal([0x77n, 0x77n, DATA]);
    for (const msr of [0xc000_0100, 0xc000_0101, 0xc000_0102]) {
      expect(writeMsr(msr, 0xffff_8000_0000_0000n)).not.to.equal('#GP');
      expect(writeMsr(msr, 0x7fff_ffff_ffffn)).not.to.equal('#GP');
      for (const bad of [0x8000_0000_0000n, 0xffff_7fff_ffff_ffffn]) expect(writeMsr(msr, bad)).to.equal('#GP');
    }
  });

  it('MSRs are those that Xen has for a guest', () => {
    expect(readMsr(0x10)).to.equal(0x1_2345_6789n);
    expect(readMsr(0x1b)).to.equal(0xfee0_0900n);
    expect(readMsr(0x1b, { isFirst: () => false })).to.equal(0xfee0_0800n);
    expect(readMsr(0xc000_0080)).to.equal(0xd01n);
    expect(readMsr(0x277)).to.equal(0x5_0100_0704_06n);
    expect(readMsr(0x1a0)).to.equal(0x80_1801n);
    for (const zero of [0xce, 0x140, 0x345, 0x4000_0000]) expect(readMsr(zero)).to.equal(0n);
    // STAR, LSTAR, CSTAR, SFMASK; TSC_AUX; MTRRcap; an x2APIC's; of Xen's range; none.
    const others = [0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0103, 0xfe, 0x802, 0x4000_0001, 0x1234];
    for (const other of others) {
      expect(readMsr(other)).to.equal('#GP');
      expect(writeMsr(other, 0n)).to.equal('#GP');
    }
    for (const dropped of [0xc000_0080, 0x1a0]) expect(writeMsr(dropped, 1n)).not.to.equal('#GP');
    for (const readOnly of [0x10, 0x1b, 0xce, 0x277, 0x345]) expect(writeMsr(readOnly, 0n)).to.equal('#GP');
    expect(writeMsr(0x140, 0n)).not.to.equal('#GP');
    expect(writeMsr(0x140, 1n)).to.equal('#GP');
    expect(writeMsr(0x4000_0000, 0x5000n)).not.to.equal('#GP');
    expect(writeMsr(0x4000_0000, 0x5001n)).to.equal('#GP');
    expect(writeMsr(0x4000_0000, 0x6000n)).to.equal('#GP');
  });

  it('ports need the level, and have nobody behind them', () => {
    const level = { iopl: (): number => 1 };
    for (const [what, code] of Object.entries(PRIVILEGED)) {
      if (!/^(in|out|rep|cli|sti)/.test(what) || what.startsWith('inv')) continue;
      const length = bytes(code).length;
      const run = (over: Partial<PrivilegedState>): string => {
        const m = kernel(code, over);
        for (const n of [RSI, RDI]) m.r.set(n, DATA);
        m.r.set(RCX, 3n);
        return m.run();
      };
      expect(run({}), what).to.equal('#GP(0) +0');
      expect(run(level), what).to.equal(`#GP(0) +${length}`);
    }
    const values = (code: string): bigint => {
      const m = kernel(code, level);
      m.r.set(RAX, 0x1122_3344_5566_7788n);
      m.run();
      return m.r.get(RAX);
    };
    expect(values('ec')).to.equal(0x1122_3344_5566_77ffn);
    expect(values('66 ed')).to.equal(0x1122_3344_5566_ffffn);
    expect(values('ed')).to.equal(0xffff_ffffn);
  });

  it('INS and OUTS go through memory, either way, and end where that does', () => {
    const level = { iopl: (): number => 1 };
    // rep insw
    const m = kernel('f3 66 6d', level);
    m.r.set(RDI, DATA + 2n);
    m.r.set(RCX, 3n);
    expect(m.run()).to.equal('#GP(0) +3');
    expect([...m.image.u8.slice(m.at(DATA), m.at(DATA) + 10)]).to.deep.equal([0, 0, ...Array(6).fill(255), 0, 0]);
    expect([m.r.get(RDI), m.r.get(RCX)]).to.deep.equal([DATA + 8n, 0n]);
    // std; rep outsd; cld, over the beginning of what is there
    const down = kernel('fd f3 6f', level);
    down.r.set(RSI, DATA + 8n);
    down.r.set(RCX, 0x1_0000_0005n);
    expect(down.run()).to.match(/^#GP/);
    expect(down.r.word(ST.vector)).to.equal(VECTOR.PF);
    expect([down.r.get(RSI), down.r.get(RCX)]).to.deep.equal([DATA - 4n, 0x1_0000_0002n]);
    expect(down.r.wide(ST.cr2)).to.equal(DATA - 4n);
    // addr32 rep insb, of none and of many
    const narrow = kernel('f3 67 6c', level);
    narrow.r.set(RDI, DATA | (1n << 40n));
    narrow.r.set(RCX, 1n << 32n);
    expect(narrow.run()).to.equal('#GP(0) +3');
    narrow.r.rip = CODE;
    narrow.r.set(RCX, 5000n | (1n << 32n));
    expect(narrow.run()).to.equal('#GP(0) +3');
    expect([narrow.r.get(RDI), narrow.r.get(RCX)]).to.deep.equal([DATA + 5000n, 0n]);
    expect(narrow.image.u8[narrow.at(DATA + 4999n)]).to.equal(255);
  });
});

describe('CR0.TS', () => {
  /** Raise #NM. */
  const floating = [
    'd9 e8',
    '9b',
    'dd 03',
    '0f 77',
    '0f 6f 03',
    '0f 58 c1',
    '0f ae 13',
    '0f ae 1b',
    '0f ae 03',
    'db e3',
  ];
  /** Do not: MOVNTI, SFENCE, PREFETCHT0, CLFLUSH, PAUSE, XLATB. */
  const others = ['0f c3 03', '0f ae f8', '0f 18 0b', '0f ae 3b', 'f3 90', 'd7'];
  /** Is not there: HADDPS. */
  const UNKNOWN = 'f2 0f 7c c1';

  for (const [name, isParallel] of [
    ['in ordered mode', false],
    ['in free mode', true],
  ] as const)
    it(`makes x87, MMX and SSE raise #NM, and nothing else, ${name}`, () => {
      const machine = (code: string): BareMachine => {
        const m = bareMachine(64, undefined, isParallel);
        m.map({ virtual: CODE, bytes: 4096, isWritable: false, isExecutable: true });
        m.map({ virtual: DATA, bytes: 8192 });
        m.image.u8.set([NOP, NOP, ...bytes(code), HLT], m.at(CODE));
        registers(m).rip = CODE;
        registers(m).set(RBX, DATA);
        return m;
      };
      for (const code of floating) {
        const m = machine(code);
        setTs(m.image, m.st, true);
        expect(fault(m), code).to.equal('#NM(0) +2');
        // Two instructions are done, and what is left of the budget says so.
        expect(registers(m).word(ST.left)).to.equal(MANY - 2);
        setTs(m.image, m.st, false);
        expect(fault(m), code).to.equal(`#GP(0) +${2 + bytes(code).length}`);
      }
      for (const code of others) {
        const m = machine(code);
        setTs(m.image, m.st, true);
        expect(fault(m), code).to.equal(`#GP(0) +${2 + bytes(code).length}`);
      }
      const m = machine(UNKNOWN);
      setTs(m.image, m.st, true);
      expect(fault(m)).to.equal('#UD(0) +2');
    });

  it('is looked at behind each branch, in code that is a region, too', () => {
    // mov ecx,100000; again: dec ecx; jnz again; fld1
    const m = bare(bytes('b9 a0 86 01 00 ff c9 75 fc d9 e8'), 1000);
    const r = registers(m);
    const toTheEnd = (): string => {
      r.rip = CODE;
      const reason = m.core.run(m.st, 1_000_000);
      return `${reason === EXIT.exception ? r.word(ST.vector) : reason} +${r.rip - CODE} after ${1_000_000 - r.word(ST.left)}`;
    };
    expect(toTheEnd()).to.equal(`${VECTOR.GP} +11 after 200002`);
    setTs(m.image, m.st, true);
    expect(toTheEnd()).to.equal(`${VECTOR.NM} +9 after 200001`);
    setTs(m.image, m.st, false);
    expect(toTheEnd()).to.equal(`${VECTOR.GP} +11 after 200002`);
  });

  it('counts to the instruction, whatever the budget is', () => {
    // nop; nop; jmp +0; nop; addps xmm0,xmm1
    for (let budget = 1; budget <= 5; budget++) {
      const m = bare(bytes('90 90 eb 00 90 0f 58 c1'));
      setTs(m.image, m.st, true);
      let runs = 0;
      while (m.core.run(m.st, budget) === EXIT.budget) runs++;
      expect(registers(m).word(ST.vector)).to.equal(VECTOR.NM);
      expect(registers(m).rip).to.equal(CODE + 5n);
      expect(runs * budget + budget - registers(m).word(ST.left)).to.equal(4);
    }
  });

  it('holds for an instruction that lies in two pages, and with single steps', () => {
    const m = bare([]);
    m.map({ virtual: CODE + 4096n, bytes: 4096, isWritable: false, isExecutable: true });
    m.image.u8[m.at(CODE) + 4095] = 0x0f;
    m.image.u8.set([0x58, 0xc1, HLT], m.at(CODE + 4096n));
    registers(m).rip = CODE + 4095n;
    setTs(m.image, m.st, true);
    expect(fault(m)).to.equal('#NM(0) +4095');
    // push 0x102; popf; nop; addps
    const stepped = bare(bytes('68 02 01 00 00 9d 90 0f 58 c1'));
    setTs(stepped.image, stepped.st, true);
    expect(fault(stepped)).to.equal('#DB(0) +7');
    expect(fault(stepped)).to.equal('#NM(0) +7');
  });
});
