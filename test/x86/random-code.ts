/**
 * Random cases: sequences of all forms of instructions (forms.ts), with operands made from what kinds of operands a form has.
 * They do what programs do: addresses mostly lie in the data, divisors are mostly not zero, and jumps go forward. What the
 * architecture leaves undefined they neither read nor depend on.
 *
 * An instruction comes with others that prepare it, a unit: a move that loads its base register, say.
 */
import { Code, Instruction, OpCodeOperandKind, OpKind, Register } from 'iced-x86';
import {
  type Case,
  CODE_BASE,
  CODE_LIMIT,
  CODE_OFFSET,
  CODE_PAGE_BYTES,
  DATA_BYTES,
  Flag,
  RFLAGS_SET,
  RSP,
  X87_BYTES,
} from './case.js';
import { statusFlags } from './defined-flags.js';
import { type FeatureSet, type Form, generatedForms } from './forms.js';
import { OperandMaker } from './random-operands.js';
import { Preparation, randomControlWord, randomMxcsr, randomStatusWord } from './random-preparation.js';
import { dataAddress, extended, integer, Random, word } from './random-values.js';
import { Sequence } from './sequence.js';

export interface RandomCase {
  readonly case: Case;
  /** Status flags and DF, those of them that are defined where the case ends: at the end of its code, or by an exception there. */
  readonly definedFlagsAt: (rip: bigint) => bigint;
  /** The same at the end of the code. */
  readonly definedFlags: bigint;
  /** The forms of all its instructions. */
  readonly forms: readonly Code[];
}

export interface RandomOptions {
  /** @default both */
  readonly sets?: readonly FeatureSet[];
  /** Instructions at most, not counting those that the last one needs. @default 32 */
  readonly length?: number;
}

/** Instructions a unit has at most, and bytes those have. */
const UNIT_BYTES = 80;

/** Choices of operands to a form: some do not go together, such as AH and R8. */
const ATTEMPTS = 20;

class Generator {
  private readonly random: Random;
  private readonly sequence: Sequence;
  private readonly maker: OperandMaker;
  private readonly preparation: Preparation;

  constructor(random: Random, gpr: BigUint64Array) {
    this.random = random;
    this.sequence = new Sequence(gpr);
    this.maker = new OperandMaker(random, this.sequence);
    this.preparation = new Preparation(this.maker);
  }

  run(forms: readonly Form[], length: number): Sequence {
    const { sequence, random } = this;
    while (sequence.length < length && sequence.bytes < CODE_LIMIT - UNIT_BYTES) {
      sequence.nextUnit();
      this.unit(random.pick(forms));
    }
    return sequence;
  }

  private unit(form: Form): void {
    const { sequence, random, maker } = this;
    maker.pinned.clear();
    this.defineFlags(form);
    const extra = this.preparation.prepare(form);
    const prepared = new Set(maker.pinned);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const instruction = maker.make(form.code);
      for (let i = 0; i < form.operands.length; i++) maker.operand(instruction, form, i, extra);
      if (form.canLock && instruction.op0Kind === OpKind.Memory && random.chance(0.35))
        instruction.hasLockPrefix = true;
      if (extra.rep) instruction.hasRepPrefix = true;
      if (extra.repne) instruction.hasRepnePrefix = true;
      try {
        sequence.emit(instruction, extra);
        this.preparation.finish(form, extra);
        return;
      } catch (error) {
        instruction.free();
        if (!String(error).includes('REX prefix')) throw error;
      }
      for (const r of maker.pinned) if (!prepared.has(r)) maker.pinned.delete(r);
    }
  }

  /** Sees to it that the flags it reads are defined. */
  private defineFlags(form: Form): void {
    const probe = new Instruction();
    probe.code = form.code;
    // Rotates by 0 read none.
    const count = form.operands.indexOf(OpCodeOperandKind.imm8);
    if (count >= 0) {
      probe.setOpKind(count, OpKind.Immediate8);
      probe.setImmediateU32(count, 1);
    }
    const read = statusFlags(probe.rflagsRead);
    probe.free();
    if ((read & ~this.sequence.defined) === 0n) return;
    const code = this.random.pick([
      Code.Cmp_rm32_r32,
      Code.Add_rm64_r64,
      Code.Sub_rm8_r8,
      Code.Cmp_rm64_r64,
      Code.Neg_rm32,
    ]);
    const bases = { [Code.Sub_rm8_r8]: Register.AL, [Code.Cmp_rm32_r32]: Register.EAX, [Code.Neg_rm32]: Register.EAX };
    const base = (bases as Record<number, Register>)[code] ?? Register.RAX;
    const register = () => base + this.random.below(4);
    this.maker.emit(code, register(), ...(code === Code.Neg_rm32 ? [] : [register()]));
  }
}

function randomData(random: Random): Uint8Array {
  const words = new BigUint64Array(DATA_BYTES / 8);
  const floats = random.pick([0, 0.4, 0.9]);
  // A few values again and again; each by itself would take longer than all the rest.
  const some = Array.from({ length: 48 }, () => word(random, floats));
  for (let i = 0; i < words.length; i++) words[i] = some[random.below(some.length)]!;
  return new Uint8Array(words.buffer);
}

/** Numbers of 80 bits among the others. */
function withExtended(random: Random, data: Uint8Array): Uint8Array {
  const view = new DataView(data.buffer);
  for (let at = 0; at < DATA_BYTES; at += 16) if (random.chance(0.6)) putExtended(view, at, extended(random));
  return data;
}

function putExtended(to: DataView, at: number, x: bigint): void {
  to.setBigUint64(at, BigInt.asUintN(64, x), true);
  to.setUint16(at + 8, Number(x >> 64n), true);
}

/** The head of an FXSAVE image. Pointers are clear, as they are read where no exception is pending. */
function randomX87(random: Random): Uint8Array {
  const image = new DataView(new ArrayBuffer(X87_BYTES));
  image.setUint16(0, (randomControlWord(random) & 0x1f3f) | 0x40, true);
  // No exception is pending.
  image.setUint16(2, randomStatusWord(random) & (random.chance(0.05) ? 0x7f7f : 0x7f40), true);
  image.setUint8(4, random.chance(0.5) ? 0xff : random.below(256));
  const some = Array.from({ length: 4 }, () => extended(random));
  for (let i = 0; i < 8; i++)
    putExtended(image, 32 + 16 * i, random.chance(0.5) ? random.pick(some) : extended(random));
  return new Uint8Array(image.buffer);
}

function randomRegisters(random: Random): BigUint64Array {
  const gpr = new BigUint64Array(16);
  for (let r = 0; r < 16; r++) gpr[r] = random.chance(0.3) ? dataAddress(random, 64, 64) : integer(random);
  gpr[RSP] = dataAddress(random, 0, 1024) & ~7n;
  return gpr;
}

const chosen = new Map<string, readonly Form[]>();

function formsFrom(sets: readonly FeatureSet[]): readonly Form[] {
  const key = sets.join();
  let forms = chosen.get(key);
  if (!forms) {
    forms = sets.flatMap((set) => generatedForms(set));
    chosen.set(key, forms);
  }
  return forms;
}

/** Where the code begins: anywhere it fits, and now and then so that the page ends before it does. */
function randomRip(random: Random, bytes: number, mayBeCut: boolean): bigint {
  if (random.chance(0.7)) return CODE_BASE + BigInt(CODE_OFFSET);
  if (random.chance(0.95) || !mayBeCut) return CODE_BASE + BigInt(random.below(CODE_PAGE_BYTES - bytes));
  return CODE_BASE + BigInt(CODE_PAGE_BYTES - 1 - random.below(bytes));
}

/** The case of a seed: the same one every time. */
export function randomCase(seed: number, { sets = ['integer', 'sse'], length = 32 }: RandomOptions = {}): RandomCase {
  const random = new Random(seed);
  const gpr = randomRegisters(random);
  const xmm = new BigUint64Array(32);
  for (let i = 0; i < xmm.length; i++) xmm[i] = word(random, 0.7);
  const rflags = RFLAGS_SET | (random.u64() & 0x8d5n) | (random.chance(0.2) ? Flag.DF : 0n);
  const mxcsr = randomMxcsr(random);
  const hasX87 = sets.includes('x87') || sets.includes('mmx');
  const data = hasX87 ? withExtended(random, randomData(random)) : randomData(random);
  const x87 = hasX87 ? { x87: randomX87(random) } : {};
  const sequence = new Generator(random, gpr).run(formsFrom(sets), random.between(1, length));
  // What an image has that is not compared is cleared behind it.
  const rip = randomRip(random, sequence.bytes, !hasX87);
  const { code, definedAt, definedFlags } = sequence.assemble(rip);
  const room = CODE_PAGE_BYTES - Number(rip - CODE_BASE);
  return {
    case: {
      code: code.subarray(0, Math.min(code.length, room)),
      state: { gpr, rip, rflags, xmm: new Uint8Array(xmm.buffer), mxcsr, ...x87 },
      data,
    },
    definedFlags: definedFlags | Flag.DF,
    definedFlagsAt: (at) => (definedAt.get(at) ?? definedFlags) | Flag.DF,
    forms: sequence.codes,
  };
}
