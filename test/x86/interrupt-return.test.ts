/** IRET in ring 3, and segments of a guest's own: by hand. */
import { expect } from 'chai';
import { EXIT, FLAG, SEGMENT, ST, VECTOR } from '../../src/pcpu/x86/state.js';
import { type BareMachine, bareMachine, registers } from './bench-machine.js';

const CODE = 0x40_0000n;
const DATA = 0x20_0000n;
const TABLE = 0x30_0000n;
const [RCX, RBX, RSP] = [1, 3, 4];
const IRETQ = [0x48, 0xcf];
const IRETD = [0xcf];
const HLT = 0xf4;
const [USER_CS, USER_SS] = [0xe033, 0xe02b];

/** Entries of a table: 64-bit code, code of 32 bits, data with a base, absent data, data of privilege 0, absent code. */
const DESCRIPTORS = [
  0n,
  0x00af_fb00_0000_ffffn,
  0x00cf_fb00_0000_ffffn,
  0x12cf_f234_5678_ffffn,
  0x00cf_7300_0000_ffffn,
  0x00cf_9300_0000_ffffn,
  0x00af_7b00_0000_ffffn,
];
const selector = (n: number): number => 8 * n + 3;

interface Machine extends BareMachine {
  readonly r: ReturnType<typeof registers>;
  /** Runs up to an exception. */
  run(): string;
}

function machineWith(code: readonly number[], hot?: number): Machine {
  let table = 0;
  const m = bareMachine(64, undefined, false, hot, {
    over: {
      descriptors: (_, wanted) =>
        (wanted & 4) !== 0 ? -1 : wanted >> 3 < DESCRIPTORS.length ? table + (wanted & ~7) : 0,
    },
  });
  m.map({ virtual: CODE, bytes: 4096, isWritable: false, isExecutable: true });
  m.map({ virtual: DATA, bytes: 4096 });
  m.map({ virtual: TABLE, bytes: 4096 });
  table = m.at(TABLE);
  const view = new DataView(m.image.buffer);
  for (const [n, x] of DESCRIPTORS.entries()) view.setBigUint64(table + 8 * n, x, true);
  m.image.u8.set([...code, HLT], m.at(CODE));
  m.image.u8.fill(HLT, m.at(CODE) + 64, m.at(CODE) + 128);
  const r = registers(m);
  r.rip = CODE;
  r.set(RSP, DATA + 64n);
  const names = Object.entries(VECTOR);
  return {
    ...m,
    r,
    run() {
      expect(m.core.run(m.st, 100)).to.equal(EXIT.exception);
      const name = names.find(([, n]) => n === r.word(ST.vector))![0];
      return `${name}(${r.word(ST.errorCode).toString(16)}) +${r.rip - CODE}`;
    },
  };
}

interface Frame {
  readonly rip?: bigint;
  readonly cs?: number;
  readonly flags?: number;
  readonly ss?: number;
}

/** IRET with a frame: where it ends, which is the HLT at 64 where it is done. */
function iret(
  { rip = CODE + 64n, cs = USER_CS, flags = 2, ss = USER_SS }: Frame,
  code = IRETQ,
): Machine & { ended: string } {
  const m = machineWith(code);
  const view = new DataView(m.image.buffer);
  const words = [rip, BigInt(cs), BigInt(flags), DATA + 512n, BigInt(ss)];
  const size = code === IRETQ ? 8 : 4;
  for (const [n, x] of words.entries()) {
    if (size === 8) view.setBigUint64(m.at(DATA) + 64 + 8 * n, x, true);
    else view.setUint32(m.at(DATA) + 64 + 4 * n, Number(x), true);
  }
  return { ...m, ended: m.run() };
}
const selectorOf = (m: BareMachine, n: number): number =>
  new DataView(m.image.buffer).getUint16(m.st + ST.selectors + 2 * n, true);

describe('IRET in ring 3', () => {
  it('goes back where its frame says', () => {
    for (const code of [IRETQ, IRETD]) {
      const m = iret({ cs: selector(1), flags: 0x2 | FLAG.CF | FLAG.DF }, code);
      expect(m.ended).to.equal('GP(0) +64');
      expect(m.r.get(RSP)).to.equal(DATA + 512n);
      expect([selectorOf(m, SEGMENT.CS), selectorOf(m, SEGMENT.SS)]).to.deep.equal([selector(1), USER_SS]);
      expect(m.r.word(ST.df)).to.equal(1);
    }
  });

  it('changes neither IF nor the I/O privilege level, nor what is of other modes', () => {
    const m = iret({ flags: 0x1b_3002 | FLAG.AC });
    expect(m.ended).to.equal('GP(0) +64');
    expect(m.r.word(ST.flags)).to.equal(FLAG.IF | FLAG.AC | FLAG.RF);
  });

  it('is refused with selectors that code and stack cannot have', () => {
    for (const [frame, ended] of [
      [{ cs: 0 }, 'GP(0) +0'],
      [{ cs: 0xe031 }, 'GP(e030) +0'],
      [{ cs: 0xe008 }, 'GP(e008) +0'],
      [{ cs: USER_SS }, 'GP(e028) +0'],
      [{ cs: selector(2) }, 'GP(10) +0'],
      [{ cs: selector(6) }, 'NP(30) +0'],
      [{ cs: selector(7) }, 'GP(38) +0'],
      [{ ss: 3 }, 'GP(0) +0'],
      [{ ss: USER_CS }, 'GP(e030) +0'],
      [{ ss: selector(4) }, 'SS(20) +0'],
      [{ ss: selector(5) }, 'GP(28) +0'],
      [{ rip: 1n << 47n }, 'GP(0) +0'],
    ] as const) {
      const m = iret(frame);
      expect(
        m.ended,
        JSON.stringify(frame, (_, x) => (typeof x === 'bigint' ? String(x) : x)),
      ).to.equal(ended);
      expect(m.r.get(RSP)).to.equal(DATA + 64n);
      expect(selectorOf(m, SEGMENT.CS)).to.equal(USER_CS);
    }
  });

  it('asks for a page of the local table that is not known', () => {
    expect(iret({ cs: selector(1) | 4 }).ended).to.equal('localTable(8) +0');
  });

  it('begins single steps with the instruction that it leads to', () => {
    const m = iret({ flags: 0x2 | FLAG.TF });
    // HLT faults before it could trap.
    expect(m.ended).to.equal('GP(0) +64');
    expect(m.r.word(ST.flags) & FLAG.TF).to.equal(FLAG.TF);
  });
});

describe("segments of a guest's own", () => {
  const MOV_FS_ECX = [0x8e, 0xe1];
  function load(n: number): Machine & { ended: string } {
    const m = machineWith(MOV_FS_ECX);
    m.r.set(RCX, BigInt(n));
    return { ...m, ended: m.run() };
  }

  it('give FS their base', () => {
    const m = load(selector(3));
    expect(m.ended).to.equal('GP(0) +2');
    expect(m.r.wide(ST.fsBase)).to.equal(0x1234_5678n);
    // That it was used is written there.
    expect(m.image.i32[(m.at(TABLE) + 28) >> 2]).to.equal(0x12cf_f334 | 0);
  });

  it('are refused as the processor does', () => {
    expect(load(selector(4)).ended).to.equal('NP(20) +0');
    expect(load(selector(5)).ended).to.equal('GP(28) +0');
    expect(load(selector(100)).ended).to.equal('GP(320) +0');
    expect(load(selector(3) | 4).ended).to.equal('localTable(18) +0');
    // Code can be read.
    expect(load(selector(1)).ended).to.equal('GP(0) +2');
  });

  it('are seen by LSL', () => {
    // lsl ebx,ecx
    const m = machineWith([0x0f, 0x03, 0xd9]);
    m.r.set(RCX, BigInt(selector(3)));
    expect(m.run()).to.equal('GP(0) +3');
    expect(m.r.get(RBX)).to.equal(0xffff_ffffn);
  });
});
