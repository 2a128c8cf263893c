/** Page tables, translations, code that is written while it runs, and budgets: by hand, on a core without a hypervisor. */
import { expect } from 'chai';
import { EXIT, ST, TLB_ENTRIES, VECTOR } from '../../src/pcpu/x86/state.js';
import { type BareMachine, bareMachine, registers } from './bench-machine.js';

const CODE = 0x40_0000n;
const DATA = 0x20_0000_0000n;
const [RAX, RCX, RDX, RBX, RSP] = [0, 1, 2, 3, 4];
const [ACCESSED, DIRTY] = [0x20, 0x40];

const HLT = 0xf4;
const LOAD = [0x8b, 0x03];
const STORE = [0x89, 0x03];

interface Set {
  readonly isWritable?: boolean;
  readonly offset?: number;
  /** Instructions after which code is made a region. */
  readonly hot?: number | undefined;
}

function machineWith(code: readonly number[], { isWritable = false, offset = 0, hot }: Set = {}): BareMachine {
  const m = bareMachine(64, undefined, false, hot);
  m.map({ virtual: CODE, bytes: 8192, isWritable, isExecutable: true });
  m.map({ virtual: DATA, bytes: 8192 });
  for (const [n, byte] of code.entries()) m.image.u8[m.at(CODE + BigInt(offset + n))] = byte;
  registers(m).rip = CODE + BigInt(offset);
  return m;
}

/** Another page-table entry for a page; what the core knows of the page stays. @returns the one before */
function exchange(m: BareMachine, virtual: bigint, entry: bigint): bigint {
  const view = new DataView(m.image.buffer);
  const at = m.entryAt(virtual);
  const before = view.getBigUint64(at, true);
  view.setBigUint64(at, entry, true);
  return before;
}

/** Runs up to the HLT, which faults. */
function runToHalt(m: BareMachine): void {
  expect(m.core.run(m.st, 1_000_000)).to.equal(EXIT.exception);
  expect(registers(m).word(ST.vector)).to.equal(VECTOR.GP);
}

describe('page tables', () => {
  it('get accessed by reads and dirty by writes', () => {
    const m = machineWith([...LOAD, HLT]);
    registers(m).set(RBX, DATA);
    expect(m.entry(DATA) & (ACCESSED | DIRTY)).to.equal(0);
    runToHalt(m);
    expect(m.entry(DATA) & (ACCESSED | DIRTY)).to.equal(ACCESSED);
    const w = machineWith([...LOAD, ...STORE, HLT]);
    registers(w).set(RBX, DATA);
    runToHalt(w);
    expect(w.entry(DATA) & (ACCESSED | DIRTY)).to.equal(ACCESSED | DIRTY);
    expect(w.entry(CODE) & ACCESSED).to.equal(ACCESSED);
  });

  it('are asked again after a flush', () => {
    const m = machineWith([...LOAD, 0xeb, 0xfc]);
    registers(m).set(RBX, DATA);
    expect(m.core.run(m.st, 100)).to.equal(EXIT.budget);
    m.unmap(DATA);
    expect(m.core.run(m.st, 100)).to.equal(EXIT.exception);
    expect(registers(m).wide(ST.cr2)).to.equal(DATA);
    expect(registers(m).rip).to.equal(CODE);
  });

  it('are asked again of a page that is invalidated, and of no other', () => {
    // mov eax,[rbx]; mov ecx,[rdx]; jmp back
    const m = machineWith([...LOAD, 0x8b, 0x0a, 0xeb, 0xfa]);
    const [first, second] = [DATA, DATA + 4096n];
    new DataView(m.image.buffer).setUint32(m.at(first), 11, true);
    new DataView(m.image.buffer).setUint32(m.at(second), 22, true);
    const r = registers(m);
    r.set(RBX, first);
    r.set(RDX, second);
    const seen = (): bigint[] => {
      expect(m.core.run(m.st, 3)).to.equal(EXIT.budget);
      return [r.get(RAX), r.get(RCX)];
    };
    seen();
    // The pages change places.
    exchange(m, second, exchange(m, first, exchange(m, second, 0n)));
    expect(seen()).to.deep.equal([11n, 22n]);
    m.core.invalidate(first + 8n);
    expect(seen()).to.deep.equal([22n, 22n]);
    m.core.invalidate(second);
    expect(seen()).to.deep.equal([22n, 11n]);
  });

  it('are asked again of an invalidated page in the second way of its place', () => {
    // mov eax,[rbx]; mov ecx,[rdx]; jmp back: the first goes to the second way when the other comes.
    const m = machineWith([...LOAD, 0x8b, 0x0a, 0xeb, 0xfa]);
    const other = DATA + BigInt((TLB_ENTRIES + 1) * 4096);
    m.map({ virtual: other, bytes: 4096 });
    const r = registers(m);
    r.set(RBX, DATA);
    r.set(RDX, other);
    expect(m.core.run(m.st, 3)).to.equal(EXIT.budget);
    exchange(m, DATA, 0n);
    expect(m.core.run(m.st, 3)).to.equal(EXIT.budget);
    m.core.invalidate(DATA);
    expect(m.core.run(m.st, 3)).to.equal(EXIT.exception);
    expect(r.wide(ST.cr2)).to.equal(DATA);
  });

  it('say the same of a page whether the one beside it was looked up before or not', () => {
    const found = [false, true].map((isNear) => {
      // mov eax,[rbx], or two nops; mov [rdx],eax
      const m = machineWith([...(isNear ? LOAD : [0x90, 0x90]), 0x89, 0x02]);
      const view = new DataView(m.image.buffer);
      // The table of both can be read only, and the second page is not there.
      const table = m.entryAt(DATA) & ~4095;
      const frames = m.image.region('frames');
      const wanted = BigInt((table - frames.base) / 4096);
      for (let at = frames.base; at < frames.base + 4096 * frames.count; at += 8) {
        const entry = view.getBigUint64(at, true);
        if ((entry & 1n) !== 0n && ((entry >> 12n) & 0xff_ffff_ffffn) === wanted)
          view.setBigUint64(at, entry & ~2n, true);
      }
      m.unmap(DATA + 4096n);
      const r = registers(m);
      r.set(RBX, DATA);
      r.set(RDX, DATA + 4096n);
      expect(m.core.run(m.st, 10)).to.equal(EXIT.exception);
      return [r.word(ST.vector), r.word(ST.errorCode), r.wide(ST.cr2)];
    });
    // A write by a user of what is not there, whatever is said above (Intel SDM vol. 3, 4.7).
    expect(found).to.deep.equal([
      [VECTOR.PF, 6, DATA + 4096n],
      [VECTOR.PF, 6, DATA + 4096n],
    ]);
  });

  it('are asked again of an invalidated page of code', () => {
    // Two pages of code that jump to each other; then the second is not there.
    const m = machineWith([0xe9, 0xfb, 0x0f, 0, 0]);
    for (const [n, byte] of [0xe9, 0xfb, 0xef, 0xff, 0xff].entries()) m.image.u8[m.at(CODE + 4096n) + n] = byte;
    expect(m.core.run(m.st, 100)).to.equal(EXIT.budget);
    exchange(m, CODE + 4096n, 0n);
    m.core.invalidate(CODE + 4096n);
    expect(m.core.run(m.st, 100)).to.equal(EXIT.exception);
    expect(registers(m).wide(ST.cr2)).to.equal(CODE + 4096n);
  });

  it('serve pages that share a place of the TLB', () => {
    // mov eax,[rbx]; mov ecx,[rbx + distance]; and again.
    // The next page, and so many places on that the fold takes it back.
    const distance = (TLB_ENTRIES + 1) * 4096;
    const m = machineWith([...LOAD, 0x8b, 0x8b, 0, 0, 0, 0, 0xeb, 0xf6]);
    const bytes = [0, 1, 2, 3].map((n) => (distance >> (8 * n)) & 255);
    for (const [n, byte] of bytes.entries()) m.image.u8[m.at(CODE + 4n + BigInt(n))] = byte;
    m.map({ virtual: DATA + BigInt(distance), bytes: 4096 });
    new DataView(m.image.buffer).setUint32(m.at(DATA), 11, true);
    new DataView(m.image.buffer).setUint32(m.at(DATA + BigInt(distance)), 22, true);
    const r = registers(m);
    r.set(RBX, DATA);
    expect(m.core.run(m.st, 3000)).to.equal(EXIT.budget);
    expect([r.get(RAX), r.get(RCX)]).to.deep.equal([11n, 22n]);
  });
});

for (const [how, hot] of [
  ['by handlers', undefined],
  ['in regions', 0],
] as const) {
  describe(`code that is run ${how}`, () => {
    it('is what was written over it, to the very next instruction', () => {
      // mov byte [rip+4],5; mov eax,1 (whose immediate that is); hlt
      const m = machineWith([0xc6, 0x05, 0x01, 0, 0, 0, 5, 0xb8, 1, 0, 0, 0, HLT], { isWritable: true, hot });
      runToHalt(m);
      expect(registers(m).get(RAX)).to.equal(5n);
      // And again, from the beginning: nothing is remembered.
      m.image.u8[m.at(CODE + 8n)] = 9;
      m.core.codeChanged(m.at(CODE));
      m.image.u8[m.at(CODE + 6n)] = 7;
      registers(m).rip = CODE;
      runToHalt(m);
      expect(registers(m).get(RAX)).to.equal(7n);
    });

    it('is written in a loop that runs it', () => {
      // mov ecx,10; again: inc byte [rip+x] of the immediate; add eax,0; dec ecx; jnz again; hlt
      const code = [0xb9, 10, 0, 0, 0, 0xfe, 0x05, 2, 0, 0, 0, 0x83, 0xc0, 0, 0xff, 0xc9, 0x75, 0xf3, HLT];
      const m = machineWith(code, { isWritable: true, hot });
      runToHalt(m);
      // 1 + 2 + … + 10
      expect(registers(m).get(RAX)).to.equal(55n);
    });

    it('is written by a call that leads to it', () => {
      // lea rsp,[behind the mov]; call next; next: mov rax,0, whose immediate the return address becomes; hlt
      const code = [0x48, 0x8d, 0x25, 15, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, HLT];
      const m = machineWith(code, { isWritable: true, hot });
      runToHalt(m);
      expect([registers(m).get(RAX), registers(m).get(RSP)]).to.deep.equal([CODE + 12n, CODE + 14n]);
    });

    it('is new as often as one likes', () => {
      // mov eax,imm; hlt; ret: nothing follows
      const m = machineWith([0xb8, 0, 0, 0, 0, HLT, 0xc3], { hot });
      for (let n = 1; n < 1200; n++) {
        m.image.u8[m.at(CODE + 1n)] = n & 255;
        m.image.u8[m.at(CODE + 2n)] = n >> 8;
        m.core.codeChanged(m.at(CODE));
        registers(m).rip = CODE;
        runToHalt(m);
        expect(registers(m).get(RAX)).to.equal(BigInt(n));
      }
    });

    it('lies in two pages', () => {
      const m = machineWith([0x05, 1, 0, 0, 0, 0xff, 0xc1, HLT], { offset: 4094, hot });
      runToHalt(m);
      expect([registers(m).get(RAX), registers(m).get(RCX)]).to.deep.equal([1n, 1n]);
    });

    it('ends with the budget, after so many instructions', () => {
      // inc eax; inc ecx; cmp eax,ecx; je over the next; inc ebx; jmp back
      const code = [0xff, 0xc0, 0xff, 0xc1, 0x39, 0xc8, 0x74, 0x02, 0xff, 0xc3, 0xeb, 0xf4];
      const stepped = machineWith(code, { hot });
      for (let n = 1; n <= 40; n++) {
        expect(stepped.core.run(stepped.st, 1)).to.equal(EXIT.budget);
        const whole = machineWith(code, { hot });
        expect(whole.core.run(whole.st, n)).to.equal(EXIT.budget);
        expect(registers(whole).word(ST.left)).to.equal(0);
        const [a, b] = [stepped, whole].map((m) => [RAX, RCX, RBX].map((k) => registers(m).get(k)));
        expect(b, `${n} instructions`).to.deep.equal(a);
        expect(registers(whole).rip).to.equal(registers(stepped).rip);
      }
    });
  });
}
