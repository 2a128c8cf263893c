/** The x87 where no processor has to be asked: what its state is at the beginning, in memory, and behind exceptions. */
import { expect } from 'chai';
import {
  compare,
  DATA_BASE,
  DATA_BYTES,
  type Outcome,
  plainState,
  RBX,
  Vector,
  X87_INITIAL,
  x87Fields,
} from './case.js';
import { coreCpu, PATIENCE } from './core-cpu.js';

const core = coreCpu(PATIENCE);
/** Runs code in hexadecimal, with rbx at the data. */
const run = (code: string, data: readonly bigint[] = []): Outcome => {
  const words = new BigUint64Array(DATA_BYTES / 8);
  words.set(data);
  return core.run({
    code: Uint8Array.from(Buffer.from(code.replaceAll(' ', ''), 'hex')),
    state: plainState({ gpr: { [RBX]: DATA_BASE } }),
    data: new Uint8Array(words.buffer),
  });
};
const word = ({ data }: Outcome, offset: number): number => Buffer.from(data).readUInt16LE(offset);
const fields = (outcome: Outcome): Readonly<Record<string, bigint>> => x87Fields(outcome.state.x87!);

const FLD1 = 'd9 e8';
const FLDZ = 'd9 ee';
const FLDPI = 'd9 eb';
const FDIVP = 'de f9';
const FNINIT = 'db e3';
const FWAIT = '9b';
const FNSTSW_AX = 'df e0';
const FLDCW = 'd9 2b';
const FNSTENV = 'd9 33';
const FXSAVE = '0f ae 03';
const FXSAVE64 = '48 0f ae 03';
const FXRSTOR = '0f ae 0b';
/** All exceptions but the division by zero are masked. */
const NO_ZERO_DIVIDE = 0x37bn;

describe('the x87', () => {
  it('is initialised by FNINIT', () => {
    const { state } = run(`${FLD1} ${FLDPI} ${FNINIT}`);
    const { fcw, fsw, ftw, fip, fdp } = x87Fields(state.x87!);
    expect([fcw, fsw, ftw, fip, fdp]).to.deep.equal([0x37fn, 0n, 0n, 0n, 0n]);
  });

  it('pushes, computes and pops', () => {
    const outcome = run(`${FLD1} ${FLDPI} de c1`); // faddp
    expect(fields(outcome).st0).to.equal(0x4001_8487_ed51_10b4_611an);
    expect(fields(outcome).fsw! & 0x3800n).to.equal(0x3800n);
    expect(fields(outcome).ftw).to.equal(0x80n);
  });

  it('raises #MF at the next instruction that waits, not before', () => {
    const code = `${FLDCW} ${FLD1} ${FLDZ} ${FDIVP} ${FNSTSW_AX}`;
    const done = run(code, [NO_ZERO_DIVIDE]);
    expect(done.exception).to.equal(undefined);
    expect(done.state.gpr[0]! & 0x8084n).to.equal(0x8084n);
    // The operands stay.
    expect(fields(done).ftw).to.equal(0xc0n);
    for (const waiting of [FWAIT, FLD1, FLDCW]) {
      const { exception, state } = run(`${code} ${waiting}`, [NO_ZERO_DIVIDE]);
      expect(exception?.vector).to.equal(Vector.MF);
      expect(state.rip).to.equal(done.state.rip);
    }
  });

  it('tells an environment what is in registers', () => {
    const outcome = run(`${FLD1} ${FLDZ} ${FNSTENV}`);
    // Valid, zero, and six that are empty.
    expect(word(outcome, 8)).to.equal(0x1fff);
    // It masks all exceptions behind it.
    expect(fields(run(`${FLDCW} ${FNSTENV}`, [0x340n])).fcw).to.equal(0x37fn);
  });

  it('is stored by FXSAVE and loaded by FXRSTOR, xmm registers and MXCSR with it', () => {
    const stored = run(`${FLD1} ${FLDPI} 66 0f 76 c0 ${FXSAVE}`); // pcmpeqd xmm0, xmm0
    expect([word(stored, 0), word(stored, 2), word(stored, 4)]).to.deep.equal([0x37f, 0x3000, 0xc0]);
    expect([word(stored, 24), word(stored, 28)]).to.deep.equal([0x1f80, 0xffff]);
    const data = [...new BigUint64Array(stored.data.buffer)];
    const loaded = run(FXRSTOR, data);
    expect(fields(loaded)).to.deep.equal(fields(stored));
    expect(loaded.state.xmm).to.deep.equal(stored.state.xmm);
    expect(run(`${FXRSTOR} ${FXSAVE64}`, data).data).to.deep.equal(stored.data);
  });

  it('stores addresses where an exception is pending', () => {
    const outcome = run(`${FLDCW} ${FLDZ} dc 3b ${FXSAVE64}`, [0x37fn ^ 4n, 0n]); // fdivr qword [rbx]
    expect(fields(outcome).fdp).to.equal(DATA_BASE);
    expect(Buffer.from(outcome.data).readBigUInt64LE(16)).to.equal(DATA_BASE);
  });

  it('leaves all as it was where an image cannot be loaded', () => {
    const before = run('90');
    for (const [code, data] of [
      [FXRSTOR, [0n, 0n, 0n, 0x10_0000n]],
      ['0f ae 4b 08', []],
    ] as const) {
      const { state, ...outcome } = run(code, data);
      expect(outcome.exception?.vector).to.equal(Vector.GP);
      expect(state.x87).to.deep.equal(X87_INITIAL);
      const same = { ...before, state: { ...before.state, rip: state.rip } };
      expect(compare({ state, data: before.data }, same, 0n)).to.deep.equal([]);
    }
  });
});
