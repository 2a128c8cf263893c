/** Segment registers: against the processor that the tests run on, with Linux's selectors, and by hand with Xen's. */
import { expect } from 'chai';
import { DR7_INITIAL } from '../../src/pcpu/x86/debug-registers.js';
import { EXIT, SEGMENT, ST, VECTOR } from '../../src/pcpu/x86/state.js';
import { type BareMachine, bareMachine, registers } from './bench-machine.js';
import { type Case, DATA_BASE, DATA_BYTES, describeCase, plainState, RAX, RBX, RCX, RSP } from './case.js';
import { coreCpu, PATIENCE } from './core-cpu.js';
import { nativeCpu } from './native/cpu.js';

const CODE = 0x40_0000n;
const DATA = 0x20_0000n;
const HLT = 0xf4;
const { ES, CS, SS, DS, FS, GS } = SEGMENT;
const NAMES = Object.keys(SEGMENT);

/** ModRM of segment register `n` with ECX, and with [RBX]. */
const withRegister = (n: number): number => 0xc1 | (n << 3);
const withMemory = (n: number): number => 0x03 | (n << 3);

/** Null ones, those of Linux with any privilege, the kernel's, those that are no segments, of the LDT, beyond the table. */
const SELECTORS = [
  ...[0, 0x23, 0x2b, 0x33, 0x20, 0x21, 0x28, 0x2a, 0x30, 0x32],
  ...[0x08, 0x10, 0x18, 0x13, 0x1b, 0x40, 0x43, 0x63, 0x04, 0x07, 0x2f, 0x37, 0x1003, 0xe02b, 0xe033, 0xffff],
];

describe('segment registers', () => {
  it('are loaded, refused and read as by the processor', function () {
    const native = nativeCpu();
    if (native === undefined) this.skip();
    const cases: Case[] = [];
    const add = (code: readonly number[], selector: number): void => {
      const data = new Uint8Array(DATA_BYTES);
      new DataView(data.buffer).setUint16(0, selector, true);
      new DataView(data.buffer).setBigUint64(8, 0x7766_5544_3322_1100n, true);
      const gpr = {
        [RAX]: 0x1111_2222_3333_4444n,
        [RBX]: DATA_BASE,
        [RCX]: 0x5555_6666_7777_0000n | BigInt(selector),
        [RSP]: DATA_BASE + 64n,
      };
      cases.push({ code: Uint8Array.from(code), state: plainState({ gpr }), data });
    };
    for (const selector of SELECTORS) {
      for (const n of [ES, CS, SS, DS, FS, GS]) {
        // FS is the C library's.
        if (n === FS && [0, ...[0x20, 0x28, 0x30].flatMap((x) => [x, x | 1, x | 2, x | 3])].includes(selector))
          continue;
        const read = [0x8c, 0xc0 | (n << 3)];
        for (const prefix of [[], [0x48], [0x66]])
          add([...prefix, 0x8e, withRegister(n), ...prefix, ...read], selector);
        add([0x8e, withMemory(n), 0x48, ...read], selector);
        // Written to memory, behind it.
        add([0x8e, withRegister(n), 0x48, 0x83, 0xc3, 0x08, 0x8c, withMemory(n)], selector);
      }
      // push rcx; pop gs; push gs; and the same of 16 bits.
      add([0x51, 0x0f, 0xa9, 0x0f, 0xa8], selector);
      add([0x66, 0x51, 0x66, 0x0f, 0xa9, 0x66, 0x0f, 0xa8], selector);
    }
    for (const n of [ES, CS, SS, DS, FS, GS]) {
      for (const prefix of [[], [0x48], [0x66]]) add([...prefix, 0x8c, 0xc0 | (n << 3)], 0);
      add([0x48, 0x8c, withMemory(n)], 0);
    }
    add([0x0f, 0xa0], 0);
    add([0x66, 0x0f, 0xa0], 0);
    // Control and debug registers; LOCK.
    for (const code of [
      [0x0f, 0x20, 0xc0],
      [0x0f, 0x22, 0xd8],
      [0x0f, 0x21, 0xf8],
      [0x0f, 0x23, 0xc0],
      [0xf0, 0x8e, 0xd9],
    ])
      add(code, 0);
    for (const core of [coreCpu(1), coreCpu(PATIENCE)]) {
      for (const [n, outcome] of native.run(cases).entries()) {
        const differences = native.compare(core.run(cases[n]!), outcome, cases[n]!, 0n);
        if (differences.length > 0) expect.fail(`${describeCase(cases[n]!)}\n${differences.join('\n')}`);
      }
    }
  });

  function machineWith(...code: readonly number[]): BareMachine {
    const m = bareMachine(64);
    m.map({ virtual: CODE, bytes: 4096, isWritable: false, isExecutable: true });
    m.map({ virtual: DATA, bytes: 4096 });
    m.image.u8.set([...code, HLT], m.at(CODE));
    registers(m).rip = CODE;
    registers(m).set(RSP, DATA + 64n);
    return m;
  }
  const selectorOf = (m: BareMachine, n: number): number =>
    new DataView(m.image.buffer).getUint16(m.st + ST.selectors + 2 * n, true);

  /** Loads a selector: the exception's error code where it is refused. */
  function load(m: BareMachine, selector: number): number | 'loaded' {
    const r = registers(m);
    r.set(RCX, BigInt(selector));
    r.rip = CODE;
    expect(m.core.run(m.st, 100)).to.equal(EXIT.exception);
    expect(r.word(ST.vector)).to.equal(VECTOR.GP);
    return r.rip === CODE ? r.word(ST.errorCode) : 'loaded';
  }

  it('are those of a 64-bit guest of Xen at the beginning', () => {
    const m = machineWith();
    const all = NAMES.map((name, n) => [name, selectorOf(m, n)]);
    expect(Object.fromEntries(all)).to.deep.equal({ ES: 0, CS: 0xe033, SS: 0xe02b, DS: 0, FS: 0, GS: 0 });
    expect(m.core.debugRegister(m.st, 7)).to.equal(BigInt(DR7_INITIAL));
  });

  it("take null selectors and those of Xen's flat segments for ring 3", () => {
    for (const n of [ES, DS, FS, GS]) {
      const m = machineWith(0x8e, withRegister(n));
      for (const good of [0, 1, 2, 3, 0xe023, 0xe021, 0xe02b, 0xe033, 0xe028, 0xe031]) {
        expect(load(m, good), `${NAMES[n]} ${good.toString(16)}`).to.equal('loaded');
        expect(selectorOf(m, n)).to.equal(good);
      }
      for (const bad of [4, 8, 0xb, 0xe008, 0xe010, 0xe019, 0xe02f, 0xe03b, 0x2b, 0xffff]) {
        expect(load(m, bad), `${NAMES[n]} ${bad.toString(16)}`).to.equal(bad & ~3);
        expect(selectorOf(m, n)).to.equal(0xe031);
      }
    }
  });

  it('take for SS data of ring 3 only, and no null selector', () => {
    const m = machineWith(0x8e, withRegister(SS));
    expect(load(m, 0xe02b)).to.equal('loaded');
    for (const bad of [0, 1, 3, 0xe028, 0xe023, 0xe033, 0x2b]) expect(load(m, bad)).to.equal(bad & ~3);
    expect(selectorOf(m, SS)).to.equal(0xe02b);
  });

  it('FS and GS get the base of the segment, and keep theirs with a null selector', () => {
    for (const [n, base] of [
      [FS, ST.fsBase],
      [GS, ST.gsBase],
    ] as const) {
      const m = machineWith(0x8e, withRegister(n));
      const view = new DataView(m.image.buffer);
      view.setBigUint64(m.st + base, DATA, true);
      for (const other of [0, 3, 0x2b]) {
        load(m, other);
        expect(view.getBigUint64(m.st + base, true)).to.equal(DATA);
      }
      load(m, 0xe02b);
      expect(view.getBigUint64(m.st + base, true)).to.equal(0n);
    }
  });

  it('FS is pushed and popped as any, and not popped where it is refused', () => {
    // push rcx; pop fs; push fs; pop rax
    const m = machineWith(0x51, 0x0f, 0xa1, 0x0f, 0xa0, 0x58);
    expect(load(m, 0xe02b)).to.equal('loaded');
    expect(registers(m).get(RAX)).to.equal(0xe02bn);
    registers(m).rip = CODE;
    registers(m).set(RCX, 0x1235n);
    expect(m.core.run(m.st, 100)).to.equal(EXIT.exception);
    expect([registers(m).rip, registers(m).get(RSP), selectorOf(m, FS)]).to.deep.equal([CODE + 1n, DATA + 56n, 0xe02b]);
    expect(registers(m).word(ST.errorCode)).to.equal(0x1234);
  });
});
