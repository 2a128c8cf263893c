import { expect } from 'chai';
import { Code, Decoder, DecoderOptions, Mnemonic } from 'iced-x86';
import {
  ALL_FLAGS,
  type Case,
  CODE_BASE,
  CODE_OFFSET,
  CODE_PAGE_BYTES,
  compare,
  DATA_BASE,
  DATA_BYTES,
  describeCase,
  disassemble,
  endOf,
  Flag,
  MXCSR_INITIAL,
  type Outcome,
  PageFault,
  plainState,
  RAX,
  RBX,
  RCX,
  RDX,
  RSP,
  Vector,
  xmmValue,
} from './case.js';
import { analyseFlags, statusFlags } from './defined-flags.js';
import { FEATURE_SETS, formStatus, formsOf, generatedForms } from './forms.js';
import { type NativeCpu, nativeCpu } from './native/cpu.js';
import { randomCase } from './random-code.js';
import { shrink } from './shrink.js';

const DATA_END = DATA_BASE + BigInt(DATA_BYTES);

/** Code in hexadecimal, and what the state has that is not plain. */
function caseOf(code: string, state: Parameters<typeof plainState>[0] = {}, data: Record<number, bigint> = {}): Case {
  const words = new BigUint64Array(DATA_BYTES / 8);
  for (const [offset, value] of Object.entries(data)) words[Number(offset) / 8] = value;
  return {
    code: Uint8Array.from(Buffer.from(code.replaceAll(' ', ''), 'hex')),
    state: plainState(state),
    data: new Uint8Array(words.buffer),
  };
}

const xmm = (...halves: readonly bigint[]): Uint8Array => {
  const words = new BigUint64Array(32);
  words.set(halves);
  return new Uint8Array(words.buffer);
};
const word = ({ data }: Outcome, offset: number): bigint => Buffer.from(data).readBigUInt64LE(offset);
const START = CODE_BASE + BigInt(CODE_OFFSET);

describe('the native oracle', () => {
  let cpu: NativeCpu;

  before(function () {
    const found = nativeCpu();
    if (found) cpu = found;
    else this.skip();
  });

  const run = (...args: Parameters<typeof caseOf>): Outcome => cpu.run([caseOf(...args)])[0]!;

  it('adds, and sets flags', () => {
    const { state, exception } = run('48 01 d8', { gpr: { [RAX]: 2n ** 64n - 1n, [RBX]: 1n } });
    expect(exception).equal(undefined);
    expect(state.gpr[RAX]).equal(0n);
    expect(state.rflags & ALL_FLAGS).equal(Flag.CF | Flag.PF | Flag.AF | Flag.ZF);
    expect(state.rip).equal(START + 3n);
  });

  it('takes every register and flag as it is given', () => {
    const gpr = Object.fromEntries(Array.from({ length: 16 }, (_, r) => [r, BigInt(r + 1) * 0x1111_2222_3333n]));
    const given = plainState({
      gpr,
      rflags: 0xed7n,
      mxcsr: 0x5fbf,
      xmm: Uint8Array.from({ length: 256 }, (_, i) => i),
    });
    const c: Case = { code: Uint8Array.of(0x90), state: given, data: new Uint8Array(DATA_BYTES).fill(7) };
    const outcome = cpu.run([c])[0]!;
    expect(compare(outcome, { state: { ...given, rip: given.rip + 1n }, data: c.data }, ALL_FLAGS)).deep.equal([]);
    expect(outcome.state.rflags).equal(given.rflags);
  });

  it('divides by zero: #DE at the division', () => {
    const { state, exception } = run('90 48 f7 f3', { gpr: { [RAX]: 5n } });
    expect(exception).deep.equal({ vector: Vector.DE, errorCode: 0, address: 0n });
    expect(state.rip).equal(START + 1n);
    expect(state.gpr[RAX]).equal(5n);
  });

  it('loads and stores beyond the data: #PF with the first byte that is not there', () => {
    const gpr = { [RBX]: DATA_END - 3n };
    const load = run('48 8b 03', { gpr });
    expect(load.exception).deep.equal({ vector: Vector.PF, errorCode: PageFault.USER, address: DATA_END });
    const store = run('48 89 03', { gpr: { ...gpr, [RAX]: -1n & 0xffn } });
    expect(store.exception).deep.equal({
      vector: Vector.PF,
      errorCode: PageFault.USER | PageFault.WRITE,
      address: DATA_END,
    });
    expect(store.data.every((byte) => byte === 0)).equal(true);
    const below = run('8a 03', { gpr: { [RBX]: DATA_BASE - 1n } });
    expect(below.exception?.address).equal(DATA_BASE - 1n);
    const kernel = run('8a 03', { gpr: { [RBX]: 2n ** 64n - 1n } });
    expect(kernel.exception).deep.equal({ vector: Vector.PF, errorCode: PageFault.USER, address: 2n ** 64n - 1n });
  });

  it('does not write to code, and does not execute data or what is not there', () => {
    const write = run('88 03', { gpr: { [RBX]: CODE_BASE } });
    const { PRESENT, WRITE, USER, FETCH } = PageFault;
    expect(write.exception).deep.equal({ vector: Vector.PF, errorCode: PRESENT | WRITE | USER, address: CODE_BASE });
    const data = run('ff e3', { gpr: { [RBX]: DATA_BASE } });
    expect(data.exception).deep.equal({ vector: Vector.PF, errorCode: PRESENT | USER | FETCH, address: DATA_BASE });
    expect(data.state.rip).equal(DATA_BASE);
    // The page ends amid a move.
    const cut = run('48 b8 00 00', { rip: CODE_BASE + BigInt(CODE_PAGE_BYTES - 4) });
    const end = CODE_BASE + BigInt(CODE_PAGE_BYTES);
    expect(cut.exception).deep.equal({ vector: Vector.PF, errorCode: USER | FETCH, address: end });
    expect(cut.state.rip).equal(end - 4n);
  });

  it('pushes and pops on a stack in the data', () => {
    const { state, ...outcome } = run('50 59', { gpr: { [RAX]: 77n, [RSP]: DATA_BASE + 64n } });
    expect([state.gpr[RCX], state.gpr[RSP]]).deep.equal([77n, DATA_BASE + 64n]);
    expect(word({ state, ...outcome }, 56)).equal(77n);
  });

  it('survives any stack pointer', () => {
    for (const rsp of [0n, 1n, 2n ** 47n, 2n ** 63n, 2n ** 64n - 1n]) {
      const outcome = run('48 ff c0', { gpr: { [RSP]: rsp } });
      expect([outcome.exception, outcome.state.gpr[RAX], outcome.state.gpr[RSP]]).deep.equal([undefined, 1n, rsp]);
    }
    const push = run('50', { gpr: { [RSP]: 2n ** 63n } });
    expect(push.exception).deep.equal({ vector: Vector.SS, errorCode: 0, address: 0n });
  });

  it('exchanges under LOCK', () => {
    const gpr = { [RAX]: 5n, [RCX]: 9n, [RBX]: DATA_BASE + 16n };
    const equal = run('f0 48 0f b1 0b', { gpr }, { 16: 5n });
    expect(word(equal, 16)).equal(9n);
    expect(equal.state.rflags & Flag.ZF).equal(Flag.ZF);
    const other = run('f0 48 0f b1 0b', { gpr }, { 16: 6n });
    expect([word(other, 16), other.state.gpr[RAX], other.state.rflags & Flag.ZF]).deep.equal([6n, 6n, 0n]);
  });

  it('faults where MOVAPS is not aligned', () => {
    const { exception, state } = run('0f 28 03', { gpr: { [RBX]: DATA_BASE + 8n } });
    expect(exception).deep.equal({ vector: Vector.GP, errorCode: 0, address: 0n });
    expect(state.rip).equal(START);
  });

  it('multiplies doubles, and raises what is not masked', () => {
    const [two, three, six] = [0x4000_0000_0000_0000n, 0x4008_0000_0000_0000n, 0x4018_0000_0000_0000n];
    const registers = xmm(two, three, three, two);
    const product = run('66 0f 59 c1', { xmm: registers });
    expect(xmmValue(product.state.xmm, 0)).equal((six << 64n) | six);
    expect(product.state.mxcsr).equal(MXCSR_INITIAL);
    const third = run('66 0f 5e c1', { xmm: registers });
    expect(third.state.mxcsr).equal(MXCSR_INITIAL | 0x20);
    const raised = run('66 0f 5e c1', { xmm: registers, mxcsr: 0 });
    expect(raised.exception).deep.equal({ vector: Vector.XM, errorCode: 0, address: 0n });
  });

  it('ends where code has no end', () => {
    const outcomes = cpu.run([caseOf('eb fe'), caseOf('48 ff c0')]);
    expect(outcomes[0]!.timedOut).equal(true);
    expect(outcomes[1]!.state.gpr[RAX]).equal(1n);
  });

  it('tells #UD, #GP and #BP from the end', () => {
    expect(run('0f 0b').exception?.vector).equal(Vector.UD);
    expect(run('f4').exception?.vector).equal(Vector.GP);
    const breakpoint = run('cc 90');
    expect([breakpoint.exception?.vector, breakpoint.state.rip]).deep.equal([Vector.BP, START + 1n]);
  });

  it('keeps cases apart', () => {
    const cases = Array.from({ length: 300 }, (_, seed) => randomCase(seed).case);
    const together = cpu.run(cases);
    const backwards = cpu.run([...cases].reverse()).reverse();
    together.forEach((outcome, i) => {
      expect(compare(outcome, backwards[i]!, ALL_FLAGS), `seed ${i}`).deep.equal([]);
    });
  });

  it('runs random code, most of it to its end', () => {
    const count = 2000;
    const outcomes = cpu.run(Array.from({ length: count }, (_, seed) => randomCase(seed).case));
    expect(outcomes.filter(({ timedOut }) => timedOut)).deep.equal([]);
    const ended = outcomes.filter(({ exception }) => exception);
    expect(ended.length).within(0.05 * count, 0.25 * count);
    const vectors = new Set(ended.map(({ exception }) => exception!.vector));
    expect([...vectors]).include.members([Vector.DE, Vector.GP, Vector.PF, Vector.XM]);
    vectors.delete(Vector.SS); // an address by rsp or rbp that is not canonical: seldom
    expect(vectors.size).equal(4);
  });

  it('shrinks a failing case to what makes it fail', () => {
    const fails = (c: Case) => cpu.run([c])[0]!.exception?.vector === Vector.DE;
    const seed = Array.from({ length: 3000 }, (_, s) => s).find((s) => {
      const { case: c } = randomCase(s, { sets: ['integer'] });
      return c.code.length > 60 && fails(c);
    })!;
    const small = shrink(randomCase(seed, { sets: ['integer'] }).case, fails);
    expect(disassemble(small).length, describeCase(small)).most(2);
    expect(fails(small)).equal(true);
    expect(small.data.every((byte) => byte === 0)).equal(true);
  });
});

describe('random code', () => {
  it('is the same for the same seed', () => {
    for (const seed of [0, 1, 12345]) {
      const [a, b] = [randomCase(seed), randomCase(seed)];
      expect(describeCase(a.case)).equal(describeCase(b.case));
      expect([a.definedFlags, a.forms]).deep.equal([b.definedFlags, b.forms]);
    }
    expect(describeCase(randomCase(1).case)).not.equal(describeCase(randomCase(2).case));
  });

  for (const set of FEATURE_SETS)
    it(`has every form of the ${set} set, or a reason why not`, () => {
      const seen = new Set<Code>();
      for (let seed = 0; seed < 1500; seed++)
        for (const code of randomCase(seed, { sets: [set] }).forms) seen.add(code);
      for (const code of formsOf(set)) {
        const status = formStatus(code);
        if (status === 'generated') expect(seen.has(code), Code[code]).equal(true);
        else expect(seen.has(code), `${Code[code]}: ${status}`).equal(false);
      }
      expect(generatedForms(set).length).least(80);
    });

  it('reads no flag that is undefined, as looking at its code says too', () => {
    let [agreed, all] = [0, 0];
    for (let seed = 0; seed < 400; seed++) {
      const { case: c, definedFlagsAt, definedFlags } = randomCase(seed);
      if (endOf(c) === CODE_BASE + BigInt(CODE_PAGE_BYTES)) continue;
      const analysis = analyseFlags(c);
      all++;
      if (analysis.isDefined) agreed++;
      // The generator does not remember that CL alone was loaded.
      const isExact = !disassemble(c).some((line) => / mov cl,/.test(line));
      const decoder = new Decoder(64, c.code, DecoderOptions.None);
      decoder.ip = c.state.rip;
      while (decoder.canDecode) {
        const instruction = decoder.decode();
        const defined = definedFlagsAt(instruction.ip);
        expect(statusFlags(instruction.rflagsRead) & ~defined, `seed ${seed}`).equal(0n);
        if (isExact) expect(analysis.definedAt(instruction.ip) & ~defined, `seed ${seed}`).equal(0n);
        instruction.free();
      }
      if (isExact) expect(analysis.definedAt(endOf(c)) & ~definedFlags, `seed ${seed}`).equal(0n);
      decoder.free();
    }
    expect(agreed / all).least(0.9);
  });
});

describe('flags that are defined', () => {
  const definedAfter = (code: string) => {
    const c = caseOf(code);
    return analyseFlags(c).definedAt(endOf(c));
  };
  const { CF, PF, AF, ZF, SF, OF } = Flag;

  it('go with the count of a shift', () => {
    expect(definedAfter('d1 e0')).equal(CF | PF | ZF | SF | OF); // shl eax, 1
    expect(definedAfter('c1 e0 05')).equal(CF | PF | ZF | SF);
    expect(definedAfter('c1 e0 20')).equal(CF | PF | AF | ZF | SF | OF); // by 32 is by 0
    expect(definedAfter('c0 e0 09')).equal(PF | ZF | SF); // 9 out of 8 bits
    expect(definedAfter('c0 f8 09')).equal(CF | PF | ZF | SF); // but sar is defined
    expect(definedAfter('c1 c0 05')).equal(CF | PF | AF | ZF | SF); // rol
    expect(definedAfter('b1 00 d3 e0')).equal(CF | PF | AF | ZF | SF | OF); // by cl, 0
    expect(definedAfter('8a 0b d3 e0')).equal(CF | PF | ZF | SF); // by what was loaded
  });

  it('are those of both ways of a jump', () => {
    expect(definedAfter('74 02 f7 e3')).equal(CF | OF); // mul, or not
    expect(definedAfter('f7 e3 74 00')).equal(CF | OF);
    expect(analyseFlags(caseOf('f7 e3 74 00')).isDefined).equal(false);
  });
});

describe('a comparison of outcomes', () => {
  it('names what differs, of flags those that count', () => {
    const state = plainState();
    const data = new Uint8Array(DATA_BYTES);
    const other = plainState({ gpr: { [RAX]: 1n, [RDX]: 2n }, rflags: state.rflags | Flag.CF | Flag.OF });
    const found = compare(
      { state, data, exception: { vector: Vector.PF, errorCode: 6, address: 0x10n } },
      { state: other, data: data.slice().fill(3, 5, 6) },
      Flag.CF,
    );
    expect(found).deep.equal([
      'ends by: #PF(6) at 0x10 instead of the end',
      'rax: 0x0 instead of 0x1',
      'rdx: 0x0 instead of 0x2',
      'CF: 0 instead of 1',
      '0x20000005: 0x0 instead of 0x3',
    ]);
  });
});

describe('shrinking', () => {
  it('sets right jumps over what it drops', () => {
    // Looks at the code alone, so needs no processor: a conditional jump, and something behind it.
    const fails = (c: Case) => {
      const decoder = new Decoder(64, c.code, DecoderOptions.None);
      decoder.ip = c.state.rip;
      let [jumps, isThere] = [0, false];
      while (decoder.canDecode) {
        const instruction = decoder.decode();
        if (instruction.isJccShortOrNear && instruction.nearBranch64 > instruction.nextIP) jumps++;
        if (instruction.mnemonic === Mnemonic.Imul) isThere = jumps > 0;
        instruction.free();
      }
      decoder.free();
      return isThere && c.state.gpr[RBX] !== 0n;
    };
    const start = Array.from({ length: 5000 }, (_, seed) => randomCase(seed, { sets: ['integer'] }).case).find(fails)!;
    const small = shrink(start, fails);
    expect(fails(small)).equal(true);
    expect(disassemble(small).length, describeCase(small)).most(4);
    expect(small.state.gpr[RBX]).equal(1n);
    expect(describeCase(shrink(start, fails))).equal(describeCase(small));
  });
});
