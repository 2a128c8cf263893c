/** Single steps, breakpoints, and what a load of SS holds off: by hand, on a core without a hypervisor. */
import { expect } from 'chai';
import { DR6_INITIAL, DR7_INITIAL } from '../../src/pcpu/x86/debug-registers.js';
import { EXIT, FLAG, ST, VECTOR } from '../../src/pcpu/x86/state.js';
import { XEN_EPERM } from '../../src/shared/public/errno.js';
import { type BareMachine, bareMachine, registers } from './bench-machine.js';

const CODE = 0x40_0000n;
const DATA = 0x20_0000n;
const STACK = DATA + 0x800n;
const [RAX, RCX, RBX, RSP, RSI, RDI] = [0, 1, 3, 4, 6, 7];
const BS = 0x4000;
const MANY = 1_000_000;

const HLT = 0xf4;
const NOP = 0x90;
const INC_EAX = [0xff, 0xc0];
const POPFQ = 0x9d;
const MOV_SS_ECX = [0x8e, 0xd1];
const STORE = [0x89, 0x03]; // mov [rbx],eax
const LOAD = [0x8b, 0x03]; // mov eax,[rbx]
const REP_MOVSB = [0xf3, 0xa4];
const SYSCALL = [0x0f, 0x05];

interface Given {
  readonly flags?: number;
  readonly isParallel?: boolean;
  readonly offset?: number;
}

function machineWith(code: readonly number[], { flags = 0, isParallel = false, offset = 0 }: Given = {}): BareMachine {
  const m = bareMachine(64, undefined, isParallel);
  m.map({ virtual: CODE, bytes: 8192, isWritable: false, isExecutable: true });
  m.map({ virtual: DATA, bytes: 8192 });
  m.image.u8.set(code, m.at(CODE) + offset);
  const r = registers(m);
  r.rip = CODE + BigInt(offset);
  r.set(RSP, STACK);
  r.set(RBX, DATA);
  new DataView(m.image.buffer).setInt32(m.st + ST.flags, FLAG.IF | flags, true);
  return m;
}

const put = (m: BareMachine, virtual: bigint, x: bigint): void =>
  new DataView(m.image.buffer).setBigUint64(m.at(virtual), x, true);

/** What a run came to: an exception's vector, or the exit. */
function next(m: BareMachine, budget = MANY): string {
  const reason = m.core.run(m.st, budget);
  const r = registers(m);
  const at = `+${(r.rip - CODE).toString(16)}`;
  const left = r.word(ST.left);
  const ran = ` after ${budget - left}`;
  if (reason === EXIT.budget) return `budget ${at}`;
  if (reason === EXIT.syscall) return `syscall ${at}${ran}`;
  const vector = r.word(ST.vector);
  const name = Object.entries(VECTOR).find(([, n]) => n === vector)?.[0];
  return `#${name} ${at}${ran}`;
}

/** Bits of DR6 that are set, but for those that always are; cleared then. */
function dr6(m: BareMachine): number {
  const x = Number(m.core.debugRegister(m.st, 6)) ^ DR6_INITIAL;
  expect(m.core.setDebugRegister(m.st, 6, 0n)).to.equal(0);
  return x;
}

type Purpose = 'execution' | 'write' | 'access';

/** Sets breakpoint n, and enables it. */
function breakAt(m: BareMachine, n: number, address: bigint, purpose: Purpose, length: 1 | 2 | 4 | 8 = 1): void {
  const rw = { execution: 0n, write: 1n, access: 3n }[purpose];
  const len = { 1: 0n, 2: 1n, 8: 2n, 4: 3n }[length];
  expect(m.core.setDebugRegister(m.st, n, address)).to.equal(0);
  const before = m.core.debugRegister(m.st, 7);
  const value = before | (1n << BigInt(2 * n)) | ((rw | (len << 2n)) << BigInt(16 + 4 * n));
  expect(m.core.setDebugRegister(m.st, 7, value)).to.equal(0);
}

const setFlag = (m: BareMachine, flag: number, isSet: boolean): void => {
  const view = new DataView(m.image.buffer);
  const flags = view.getInt32(m.st + ST.flags, true);
  view.setInt32(m.st + ST.flags, isSet ? flags | flag : flags & ~flag, true);
};

const ss = (m: BareMachine): void => registers(m).set(RCX, 0xe02bn);

describe('single steps', () => {
  it('trap behind the instruction that follows the POPF that sets TF, and behind each from then on', () => {
    const m = machineWith([POPFQ, ...INC_EAX, NOP, HLT]);
    put(m, STACK, BigInt(FLAG.TF));
    expect(next(m)).to.equal('#DB +3 after 2');
    expect(dr6(m)).to.equal(BS);
    expect(registers(m).get(RAX)).to.equal(1n);
    expect(next(m)).to.equal('#DB +4 after 1');
    // A fault, and no trap.
    dr6(m);
    expect(next(m)).to.equal('#GP +4 after 0');
    expect(dr6(m)).to.equal(0);
  });

  it('trap behind the POPF that clears TF, and no more', () => {
    const m = machineWith([POPFQ, NOP, HLT], { flags: FLAG.TF });
    put(m, STACK, 2n);
    expect(next(m)).to.equal('#DB +1 after 1');
    expect(next(m)).to.equal('#GP +2 after 1');
  });

  it('are seen by PUSHF', () => {
    const m = machineWith([0x9c, HLT], { flags: FLAG.TF });
    next(m);
    expect(new DataView(m.image.buffer).getUint32(m.at(STACK - 8n), true) & FLAG.TF).to.equal(FLAG.TF);
  });

  it('follow branches, from page to page', () => {
    // jmp to the next page, and back
    const m = machineWith([0xe9, 0xfb, 0x0f, 0, 0], { flags: FLAG.TF });
    m.image.u8.set([0xe9, 0xfb, 0xef, 0xff, 0xff], m.at(CODE + 4096n));
    expect([next(m), next(m), next(m)]).to.deep.equal(['#DB +1000 after 1', '#DB +0 after 1', '#DB +1000 after 1']);
  });

  it('are one of each of two instructions that have one handler', () => {
    // cmp eax,eax; je +0
    const m = machineWith([0x39, 0xc0, 0x74, 0x00, HLT], { flags: FLAG.TF });
    expect([next(m), next(m)]).to.deep.equal(['#DB +2 after 1', '#DB +4 after 1']);
  });

  it('trap behind each element of a repeated string instruction, which is done behind the last one', () => {
    const m = machineWith([...REP_MOVSB, HLT], { flags: FLAG.TF });
    const r = registers(m);
    r.set(RCX, 3n);
    r.set(RSI, DATA);
    r.set(RDI, DATA + 16n);
    for (const left of [2n, 1n]) {
      expect(next(m)).to.equal('#DB +0 after 0');
      expect(dr6(m)).to.equal(BS);
      expect(r.get(RCX)).to.equal(left);
      expect(r.word(ST.flags) & FLAG.RF).to.equal(FLAG.RF);
    }
    expect(next(m)).to.equal('#DB +2 after 1');
    expect(r.get(RCX)).to.equal(0n);
    expect(r.word(ST.flags) & FLAG.RF).to.equal(0);
  });

  it('are nothing that the cycle counter sees', () => {
    const m = machineWith([NOP, 0x0f, 0x31, HLT], { flags: FLAG.TF });
    expect([next(m, 100), next(m, 99)]).to.deep.equal(['#DB +1 after 1', '#DB +3 after 1']);
    expect(registers(m).get(RAX)).to.equal(99n);
    const watched = machineWith([NOP, 0x0f, 0x31, HLT]);
    breakAt(watched, 0, DATA, 'access');
    expect(next(watched, 100)).to.equal('#GP +3 after 2');
    expect(registers(watched).get(RAX)).to.equal(99n);
  });

  it('come in the place of the budget, where both end', () => {
    const m = machineWith([NOP, NOP, HLT], { flags: FLAG.TF });
    expect(next(m, 1)).to.equal('#DB +1 after 1');
  });

  it('trap behind SYSCALL when the hypervisor is done, as its SYSRET does', () => {
    const m = machineWith([...SYSCALL, NOP, HLT], { flags: FLAG.TF });
    expect(next(m)).to.equal('syscall +2 after 1');
    expect(dr6(m)).to.equal(0);
    // R11 has the flags.
    expect(registers(m).get(11) & BigInt(FLAG.TF)).to.equal(BigInt(FLAG.TF));
    expect(next(m)).to.equal('#DB +2 after 0');
    expect(dr6(m)).to.equal(BS);
    expect(next(m)).to.equal('#DB +3 after 1');
  });

  it('are no more where the hypervisor has cleared TF behind SYSCALL', () => {
    const m = machineWith([...SYSCALL, NOP, HLT], { flags: FLAG.TF });
    next(m);
    setFlag(m, FLAG.TF, false);
    expect(next(m)).to.equal('#GP +3 after 1');
    setFlag(m, FLAG.TF, true);
    expect(next(m)).to.equal('#GP +3 after 0');
  });
});

describe('INT1', () => {
  it('traps, and says nothing in DR6', () => {
    const m = machineWith([NOP, 0xf1, HLT]);
    expect(next(m)).to.equal('#DB +2 after 2');
    expect(dr6(m)).to.equal(0);
  });
});

describe('a load of SS', () => {
  it('holds off the single step for one instruction', () => {
    const m = machineWith([...MOV_SS_ECX, NOP, NOP, HLT], { flags: FLAG.TF });
    ss(m);
    expect(next(m)).to.equal('#DB +3 after 2');
    expect(next(m)).to.equal('#DB +4 after 1');
  });

  it('holds off nothing more behind another one', () => {
    const m = machineWith([...MOV_SS_ECX, ...MOV_SS_ECX, NOP, NOP, HLT], { flags: FLAG.TF });
    ss(m);
    expect(next(m)).to.equal('#DB +4 after 2');
    expect(m.core.isShadowed(m.st)).to.equal(false);
    expect(next(m)).to.equal('#DB +5 after 1');
  });

  it('is said where the budget ends behind it, until the next instruction is done', () => {
    for (const flags of [0, FLAG.TF]) {
      const m = machineWith([...MOV_SS_ECX, NOP, NOP, HLT], { flags });
      ss(m);
      expect(m.core.isShadowed(m.st)).to.equal(false);
      expect(next(m, 1)).to.equal('budget +2');
      expect(m.core.isShadowed(m.st)).to.equal(true);
      expect(next(m, 1)).to.equal(flags === 0 ? 'budget +3' : '#DB +3 after 1');
      expect(m.core.isShadowed(m.st)).to.equal(false);
    }
  });

  it('is over with a fault of the next instruction', () => {
    const m = machineWith([...MOV_SS_ECX, HLT]);
    ss(m);
    expect(next(m)).to.equal('#GP +2 after 1');
    expect(m.core.isShadowed(m.st)).to.equal(false);
  });

  it('that is refused holds off nothing', () => {
    const m = machineWith([...MOV_SS_ECX, HLT]);
    expect(next(m)).to.equal('#GP +0 after 0');
    expect(m.core.isShadowed(m.st)).to.equal(false);
  });

  it('holds off a breakpoint of the next instruction, which is run', () => {
    const m = machineWith([...MOV_SS_ECX, NOP, NOP, HLT]);
    ss(m);
    breakAt(m, 0, CODE + 2n, 'execution');
    expect(next(m)).to.equal('#GP +4 after 3');
  });

  it('reports a breakpoint that it hit itself behind the next instruction', () => {
    // mov ss,[rbx]
    const m = machineWith([0x8e, 0x13, NOP, HLT]);
    put(m, DATA, 0xe02bn);
    breakAt(m, 2, DATA, 'access', 2);
    expect(next(m)).to.equal('#DB +3 after 2');
    expect(dr6(m)).to.equal(4);
  });
});

describe('debug registers', () => {
  it('begin as a reset leaves them', () => {
    const m = machineWith([HLT]);
    const all = [0, 1, 2, 3, 6, 7].map((n) => m.core.debugRegister(m.st, n));
    expect(all).to.deep.equal([0n, 0n, 0n, 0n, BigInt(DR6_INITIAL), BigInt(DR7_INITIAL)]);
  });

  it('take what Xen lets a guest set, and nothing else', () => {
    const m = machineWith([HLT]);
    const set = (n: number, x: bigint): number => m.core.setDebugRegister(m.st, n, x);
    for (const good of [0n, (1n << 47n) - 1n, 0xffff_8800_0000_0000n, (1n << 64n) - 1n]) {
      expect(set(3, good)).to.equal(0);
      expect(m.core.debugRegister(m.st, 3)).to.equal(good);
    }
    for (const bad of [1n << 47n, 0xffff_8000_0000_0000n, 0xffff_87ff_ffff_ffffn, 1n << 63n])
      expect(set(3, bad), bad.toString(16)).to.equal(-XEN_EPERM);
    // Reserved bits are set right.
    expect(set(6, 0xffff_ffff_ffff_ffffn)).to.equal(0);
    expect(m.core.debugRegister(m.st, 6)).to.equal(0xffff_efffn);
    expect(set(7, 0xffff_ffff_0000_dc00n)).to.equal(0);
    expect(m.core.debugRegister(m.st, 7)).to.equal(0x400n);
    // General detection, and breakpoints for input and output.
    expect(set(7, 0x2000n)).to.equal(-XEN_EPERM);
    expect(set(7, 0x2_0001n)).to.equal(-XEN_EPERM);
    expect(set(7, 0x2_0000n)).to.equal(0);
    // DR4 and DR5 are DR6 and DR7.
    expect(set(5, 0x401n)).to.equal(0);
    expect([m.core.debugRegister(m.st, 7), m.core.debugRegister(m.st, 5)]).to.deep.equal([0x401n, 0x401n]);
    expect(set(8, 0n)).to.be.below(0);
  });

  it('are not for code in ring 3', () => {
    for (const code of [
      [0x0f, 0x21, 0xc0],
      [0x0f, 0x23, 0xf8],
      [0x0f, 0x20, 0xc0],
    ])
      expect(next(machineWith(code))).to.equal('#GP +0 after 0');
  });
});

describe('breakpoints for execution', () => {
  it('fault before the instruction, and once only with RF, which that clears', () => {
    // again: nop; inc eax; jmp again
    const m = machineWith([NOP, ...INC_EAX, 0xeb, 0xfb]);
    breakAt(m, 1, CODE + 1n, 'execution');
    expect(next(m)).to.equal('#DB +1 after 1');
    expect(dr6(m)).to.equal(2);
    expect(registers(m).get(RAX)).to.equal(0n);
    expect(next(m)).to.equal('#DB +1 after 0');
    setFlag(m, FLAG.RF, true);
    expect(next(m)).to.equal('#DB +1 after 3');
    expect(registers(m).get(RAX)).to.equal(1n);
  });

  it('do not fault again where the instruction itself has faulted', () => {
    const m = machineWith([0x8b, 0x01, HLT]); // mov eax,[rcx]
    breakAt(m, 0, CODE, 'execution');
    expect(next(m)).to.equal('#DB +0 after 0');
    setFlag(m, FLAG.RF, true);
    expect(next(m)).to.equal('#PF +0 after 0');
    registers(m).set(RCX, DATA);
    // RF is in the flags that the fault saved.
    expect(next(m)).to.equal('#GP +2 after 1');
  });

  it('do not fault again between elements of a string', () => {
    const m = machineWith([...REP_MOVSB, HLT]);
    const r = registers(m);
    r.set(RCX, 3n);
    r.set(RSI, DATA);
    r.set(RDI, DATA + 16n);
    breakAt(m, 0, CODE, 'execution');
    next(m);
    setFlag(m, FLAG.RF, true);
    expect(next(m)).to.equal('#GP +2 after 1');
    expect(r.get(RCX)).to.equal(0n);
  });

  it('are only where an instruction begins, and of one byte', () => {
    const m = machineWith([...INC_EAX, HLT]);
    breakAt(m, 0, CODE + 1n, 'execution');
    expect(next(m)).to.equal('#GP +2 after 1');
  });

  it('come before a page fault of their code, and after the trap of the instruction before', () => {
    const m = machineWith([NOP], { flags: FLAG.TF, offset: 8191 });
    breakAt(m, 0, CODE + 8192n, 'execution');
    expect(next(m)).to.equal('#DB +2000 after 1');
    expect(dr6(m)).to.equal(BS);
    expect(next(m)).to.equal('#DB +2000 after 0');
    expect(dr6(m)).to.equal(1);
    setFlag(m, FLAG.RF, true);
    expect(next(m)).to.equal('#PF +2000 after 0');
  });

  it('are as many as match', () => {
    const m = machineWith([NOP, HLT]);
    breakAt(m, 0, CODE, 'execution');
    breakAt(m, 3, CODE, 'execution');
    breakAt(m, 2, CODE + 1n, 'execution');
    next(m);
    expect(dr6(m)).to.equal(9);
  });
});

describe('breakpoints for data', () => {
  it('trap behind the instruction that accesses one of their bytes', () => {
    const widths: readonly (readonly [1 | 2 | 4 | 8, bigint])[] = [
      [1, DATA + 3n],
      [2, DATA + 2n],
      [4, DATA + 4n],
      [8, DATA + 8n],
    ];
    for (const [length, address] of widths) {
      for (let at = DATA; at < DATA + 24n; at++) {
        const m = machineWith([...STORE, HLT]);
        registers(m).set(RBX, at);
        breakAt(m, 3, address, 'write', length);
        const isHit = at < address + BigInt(length) && address < at + 4n;
        expect(next(m), `${length} at ${at - DATA}`).to.equal(isHit ? '#DB +2 after 1' : '#GP +2 after 1');
        expect(dr6(m)).to.equal(isHit ? 8 : 0);
      }
    }
  });

  it('take no notice of the bits of their address within their length', () => {
    const m = machineWith([...STORE, HLT]);
    breakAt(m, 0, DATA + 7n, 'write', 8);
    expect(next(m)).to.equal('#DB +2 after 1');
  });

  it('for writes are not hit by reads, those for accesses are by both', () => {
    const write = machineWith([...LOAD, ...STORE, HLT]);
    breakAt(write, 0, DATA, 'write', 4);
    expect(next(write)).to.equal('#DB +4 after 2');
    const access = machineWith([...LOAD, ...STORE, HLT]);
    breakAt(access, 0, DATA, 'access', 4);
    expect([next(access), next(access)]).to.deep.equal(['#DB +2 after 1', '#DB +4 after 1']);
  });

  it('are hit though the page was remembered before, and not any more when they are off', () => {
    // again: mov [rbx],eax; jmp again
    const m = machineWith([...STORE, 0xeb, 0xfc]);
    expect(next(m, 10)).to.equal('budget +0');
    breakAt(m, 0, DATA, 'write', 4);
    expect(next(m)).to.equal('#DB +2 after 1');
    expect(m.core.setDebugRegister(m.st, 7, 0n)).to.equal(0);
    expect(next(m, 11)).to.equal('budget +0');
    breakAt(m, 0, DATA + 4096n, 'write', 4);
    expect(next(m, 10)).to.equal('budget +0');
  });

  it('are hit by accesses in two pages, by strings, by those of 16 bytes, by the stack and by locked ones', () => {
    const cases: readonly (readonly [string, readonly number[], number])[] = [
      ['movups [rbx],xmm0', [0x0f, 0x11, 0x03], 0],
      ['mov [rbx+ffe],eax', [0x89, 0x83, 0xfe, 0x0f, 0, 0], 0x1000],
      ['push rax', [0x50], 0x7f8],
      ['lock inc dword [rbx]', [0xf0, 0xff, 0x03], 0],
      ['lock inc dword [rbx+1]', [0xf0, 0xff, 0x43, 0x01], 4],
      ['lock cmpxchg16b [rbx]', [0xf0, 0x48, 0x0f, 0xc7, 0x0b], 8],
      ['fxsave [rbx]', [0x0f, 0xae, 0x03], 32],
      ['fnstenv [rbx]', [0xd9, 0x33], 0],
      ['stosb', [0xaa], 0],
    ];
    for (const isParallel of [false, true]) {
      for (const [name, code, offset] of cases) {
        const m = machineWith([...code, HLT], { isParallel });
        registers(m).set(RDI, DATA);
        breakAt(m, 1, DATA + BigInt(offset), 'write');
        expect(next(m), name).to.equal(`#DB +${code.length} after 1`);
        expect(dr6(m), name).to.equal(2);
      }
    }
  });

  it('trap behind the element of a string that hits them', () => {
    const m = machineWith([...REP_MOVSB, HLT]);
    const r = registers(m);
    r.set(RCX, 4n);
    r.set(RSI, DATA);
    r.set(RDI, DATA + 16n);
    breakAt(m, 0, DATA + 17n, 'write');
    expect(next(m)).to.equal('#DB +0 after 0');
    expect([r.get(RCX), dr6(m)]).to.deep.equal([2n, 1]);
    expect(next(m)).to.equal('#GP +2 after 1');
  });

  it('are reported with a single step, and not where the instruction faults', () => {
    const m = machineWith([...STORE, HLT], { flags: FLAG.TF });
    breakAt(m, 0, DATA, 'write', 4);
    next(m);
    expect(dr6(m)).to.equal(BS | 1);
    // push [rbx] reads, and has no stack.
    const f = machineWith([0xff, 0x33]);
    registers(f).set(RSP, 8n);
    breakAt(f, 0, DATA, 'access', 8);
    expect(next(f)).to.equal('#PF +0 after 0');
    expect(dr6(f)).to.equal(0);
  });

  it('in DR6 are those of the last time, while BS stays', () => {
    const m = machineWith([...STORE, NOP, HLT], { flags: FLAG.TF });
    breakAt(m, 0, DATA, 'write', 4);
    next(m);
    setFlag(m, FLAG.TF, false);
    breakAt(m, 1, CODE + 2n, 'execution');
    next(m);
    expect(dr6(m)).to.equal(BS | 2);
  });

  it('leave counts as they are', () => {
    // inc eax; mov [rbx],eax; jmp back
    const code = [...INC_EAX, ...STORE, 0xeb, 0xfa];
    const [plain, watched] = [machineWith(code), machineWith(code)];
    breakAt(watched, 0, DATA + 512n, 'access', 8);
    for (const budget of [1, 2, 3, 10, 100]) {
      expect(next(watched, budget)).to.equal(next(plain, budget));
      expect(registers(watched).get(RAX)).to.equal(registers(plain).get(RAX));
    }
  });
});
