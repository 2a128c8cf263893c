/** What random instructions need before they make sense: a stack, pointers, a divisor that is not zero, a place to jump to. */
import { Code, OpCodeOperandKind as Kind, Mnemonic, OpKind, Register } from 'iced-x86';
import { ALL_FLAGS, DATA_BASE, MXCSR_INITIAL, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP } from './case.js';
import { isShift } from './defined-flags.js';
import { type Form, isX87 } from './forms.js';
import { BAD_ADDRESS, DATA_END, type Extra, type OperandMaker } from './random-operands.js';
import { dataAddress, integer, type Random } from './random-values.js';
import type { Label, Sequence } from './sequence.js';

/** How likely a division gets whatever comes. */
const BAD_DIVISION = 0.08;

export class Preparation {
  private readonly maker: OperandMaker;
  private readonly random: Random;
  private readonly sequence: Sequence;

  constructor(maker: OperandMaker) {
    this.maker = maker;
    this.random = maker.random;
    this.sequence = maker.sequence;
  }

  /** Registers and memory that the instruction needs beyond its operands, and how it is to be made. */
  prepare(form: Form): Extra {
    const { random, maker } = this;
    const has = (kind: Kind) => form.operands.includes(kind);
    if (form.isStack) this.prepareStack(form);
    if (has(Kind.br32_1) || has(Kind.br64_1) || has(Kind.br64_4)) return this.prepareBranch(form);
    if (has(Kind.seg_rSI) || has(Kind.es_rDI)) return this.prepareString(form);
    switch (form.mnemonic) {
      case Mnemonic.Div:
      case Mnemonic.Idiv:
        return this.prepareDivision(form);
      case Mnemonic.Bt:
      case Mnemonic.Bts:
      case Mnemonic.Btr:
      case Mnemonic.Btc:
        return has(Kind.imm8) ? {} : this.prepareBit(form);
      case Mnemonic.Jmp:
      case Mnemonic.Call: {
        const label = this.sequence.label(random.below(2));
        return random.chance(0.5) ? this.jumpByRegister(label) : this.jumpByMemory(label);
      }
      case Mnemonic.Cmpxchg:
      case Mnemonic.Cmpxchg8b:
      case Mnemonic.Cmpxchg16b:
        return random.chance(0.5) ? this.prepareExchange(form) : this.prepareDestination(form);
      case Mnemonic.Popf:
      case Mnemonic.Popfd:
      case Mnemonic.Popfq: {
        // TF, NT, AC and what else is the system's stay clear.
        const flags = Number(random.u64() & ALL_FLAGS);
        maker.emit(form.code === Code.Popfw ? Code.Push_imm16 : Code.Pushq_imm32, flags);
        return {};
      }
      case Mnemonic.Ret: {
        const label = this.sequence.label(random.below(2));
        maker.emitTo(label, Code.Pushq_imm32, 0);
        return { label };
      }
      case Mnemonic.Ldmxcsr:
        return this.prepareMxcsr();
      case Mnemonic.Fldcw:
      case Mnemonic.Fldenv:
      case Mnemonic.Frstor:
      case Mnemonic.Fxrstor:
      case Mnemonic.Fxrstor64:
        return this.prepareX87State(form);
      case Mnemonic.Fnstenv:
      case Mnemonic.Fnsave:
      case Mnemonic.Fxsave:
      case Mnemonic.Fxsave64:
        return { address: this.imageAddress(form) };
      // AMD's are in the state of MMX where this faults.
      case Mnemonic.Maskmovq:
        maker.setRegister(RDI, maker.goodAddress(8));
        return {};
      case Mnemonic.Maskmovdqu:
        maker.setPointer(RDI, 16, 0);
        return {};
      case Mnemonic.Xlatb:
        maker.setPointer(RBX, 256, 0);
        return {};
      default:
        if (isX87(form.name)) return this.prepareX87(form);
        return isShift(form.mnemonic) && has(Kind.cl) ? this.prepareShift(form) : {};
    }
  }

  /** What is to be done behind it: what of its result is not compared is made equal. */
  finish(form: Form, { address }: Extra): void {
    if (address === undefined) return;
    const is = (...mnemonics: readonly Mnemonic[]): boolean => mnemonics.includes(form.mnemonic);
    const isPacked = form.memoryBytes === 14 || form.memoryBytes === 94;
    let offsets: readonly number[] = [];
    // Opcode and selectors; MXCSR_MASK is the processor's.
    if (is(Mnemonic.Fnstenv, Mnemonic.Fnsave)) offsets = isPacked ? [8, 12] : [16, 18, 24];
    else if (is(Mnemonic.Fxsave)) offsets = [6, 12, 20, 28, 30];
    else if (is(Mnemonic.Fxsave64)) offsets = [6, 28, 30];
    for (const offset of offsets) {
      const store = this.maker.make(Code.Mov_rm16_imm16);
      this.maker.memory(store, 2, 0, { address: address + BigInt(offset) });
      store.setOpKind(1, OpKind.Immediate16);
      store.setImmediateI32(1, 0);
      this.sequence.emit(store);
    }
  }

  private storeImmediate(address: bigint, value: number): void {
    const store = this.maker.make(Code.Mov_rm32_imm32);
    this.maker.memory(store, 4, 0, { address });
    store.setOpKind(1, OpKind.Immediate32);
    store.setImmediateU32(1, value >>> 0);
    this.sequence.emit(store);
  }

  /** Numbers lie where numbers of their size may. */
  private prepareX87(form: Form): Extra {
    const { random, maker } = this;
    if (form.memoryBytes === 0 || random.chance(0.3)) return {};
    const align = BigInt(form.memoryBytes === 10 ? 16 : form.memoryBytes) - 1n;
    return { address: maker.goodAddress(16) & ~align };
  }

  /** For the state of the x87; now and then where a part of it is not there. */
  private imageAddress(form: Form): bigint {
    const { random, maker } = this;
    const bytes = form.memoryBytes;
    const address = random.chance(0.02) ? DATA_END - BigInt(random.below(bytes)) : maker.goodAddress(bytes);
    return bytes === 512 && random.chance(0.98) ? address & ~15n : address;
  }

  /** Control and status word mostly as they may be: else nothing would be masked. */
  private prepareX87State(form: Form): Extra {
    const { random } = this;
    const address = this.imageAddress(form);
    // Bit 17 of MXCSR is AMD's.
    if (form.memoryBytes === 512)
      this.storeImmediate(address + 24n, random.chance(0.03) ? 0x10000 : randomMxcsr(random));
    if (random.chance(0.05)) return { address };
    const isPacked = form.memoryBytes !== 28 && form.memoryBytes !== 108;
    const [control, status] = [randomControlWord(random), randomStatusWord(random)];
    const isWord = form.memoryBytes === 2;
    this.storeImmediate(address, isPacked && !isWord ? control | (status << 16) : control);
    if (!isPacked) this.storeImmediate(address + 4n, status);
    if (form.memoryBytes === 512) {
      // The opcode, which the tag word lies beside.
      this.storeImmediate(address + 4n, random.below(256));
    }
    return { address };
  }

  private prepareStack(form: Form): void {
    const { sequence, random, maker } = this;
    const isGood = (value: bigint | undefined) =>
      value !== undefined && value >= DATA_BASE + 512n && value <= DATA_END - 256n;
    const fresh = () => dataAddress(random, 0, 512) & (random.chance(0.9) ? ~7n : ~0n);
    if (form.mnemonic === Mnemonic.Leave || form.mnemonic === Mnemonic.Enter) {
      if (!isGood(sequence.known[RBP])) maker.setRegister(RBP, fresh());
      if (form.mnemonic === Mnemonic.Leave) return;
    }
    if (random.chance(BAD_ADDRESS))
      maker.setRegister(RSP, random.pick([DATA_BASE, DATA_BASE + 4n, DATA_END, DATA_END - 4n]));
    else if (!isGood(sequence.known[RSP])) maker.setRegister(RSP, fresh());
    maker.pinned.add(RSP);
  }

  private prepareBranch(form: Form): Extra {
    const { random, sequence, maker } = this;
    const isCounted = [Mnemonic.Loop, Mnemonic.Loope, Mnemonic.Loopne, Mnemonic.Jecxz, Mnemonic.Jrcxz].includes(
      form.mnemonic,
    );
    if (isCounted && random.chance(0.6)) maker.setRegister(RCX, random.pick([0n, 1n, 2n, 1n << 32n, (1n << 32n) + 1n]));
    const isConditional = isCounted || (form.mnemonic !== Mnemonic.Jmp && form.mnemonic !== Mnemonic.Call);
    // What an unconditional jump leaves out is never executed.
    return { label: sequence.label(random.below(isConditional ? 4 : 2)) };
  }

  private jumpByRegister(label: Label): Extra {
    const r = this.maker.freeRegister();
    if (this.random.chance(0.5)) this.maker.emitTo(label, Code.Mov_r32_imm32, Register.EAX + r, 0);
    else this.maker.emitTo(label, Code.Mov_r64_imm64, Register.RAX + r, 0);
    return { label, register: r };
  }

  private jumpByMemory(label: Label): Extra {
    const address = this.maker.goodAddress(8);
    const store = this.maker.make(Code.Mov_rm64_imm32);
    this.maker.memory(store, 8, 0, { address });
    store.setOpKind(1, OpKind.Immediate32to64);
    this.sequence.emit(store, { label });
    return { label, address };
  }

  private prepareString(form: Form): Extra {
    const { random, maker } = this;
    const rep = form.canRep && random.chance(0.6);
    const repne = rep && form.canRepne && random.chance(0.5);
    const is32 = random.chance(0.15);
    const count = rep ? random.below(13) : undefined;
    // The other half of a register counts for nothing. Makers differ in whether it is cleared where nothing is done.
    const garbage = () => (is32 && count !== 0 && random.chance(0.5) ? BigInt(random.below(0x1_0000)) << 32n : 0n);
    if (count !== undefined) maker.setRegister(RCX, BigInt(count) | garbage());
    const margin = form.memoryBytes * 13;
    for (const [kind, r] of [
      [Kind.seg_rSI, RSI],
      [Kind.es_rDI, RDI],
    ] as const) {
      if (!form.operands.includes(kind)) continue;
      const known = this.sequence.known[r];
      const isGood =
        known !== undefined && known >= DATA_BASE + BigInt(margin) && known < DATA_END - BigInt(margin + 8);
      if (!isGood || random.chance(0.5)) maker.setPointer(r, form.memoryBytes, margin, garbage());
    }
    return { rep: rep && !repne, repne, is32, ...(count === undefined ? {} : { count }) };
  }

  /** A division that goes well: the dividend extended, the divisor not zero. */
  private prepareDivision(form: Form): Extra {
    const { random, maker } = this;
    if (random.chance(BAD_DIVISION)) return {};
    const isSigned = form.mnemonic === Mnemonic.Idiv;
    // The upper half of the dividend may be anything less than the divisor, whose highest bit is set then.
    const isWide = !isSigned && random.chance(0.4);
    const bytes = form.memoryBytes;
    if (isSigned) {
      const code = { 1: Code.Cbw, 2: Code.Cwd, 4: Code.Cdq, 8: Code.Cqo }[bytes]!;
      maker.emit(code);
    } else if (bytes === 1) maker.emit(Code.Mov_r8_imm8, Register.AH, isWide ? random.below(0x80) : 0);
    else maker.setRegister(RDX, isWide ? BigInt.asUintN(8 * bytes - 1, integer(random)) : 0n);
    maker.pinned.add(RAX).add(RDX);
    const [orRm, orImm] = {
      1: [Code.Or_rm8_imm8, OpKind.Immediate8],
      2: [Code.Or_rm16_imm8, OpKind.Immediate8to16],
      4: [Code.Or_rm32_imm8, OpKind.Immediate8to32],
      8: [Code.Or_rm64_imm8, OpKind.Immediate8to64],
    }[bytes] as [Code, OpKind];
    const or = maker.make(orRm);
    or.setOpKind(1, orImm);
    or.setImmediateI32(1, isWide ? -0x80 : random.pick([1, 2, 3, 7, 0x70]));
    if (random.chance(0.5)) {
      const address = maker.goodAddress(bytes);
      maker.memory(or, bytes, 0, { address });
      this.sequence.emit(or);
      return { address };
    }
    const register = maker.freeRegister();
    or.setOpKind(0, OpKind.Register);
    or.setOpRegister(0, maker.sized(register, bytes));
    this.sequence.emit(or);
    return { register };
  }

  /** The bit's number may lie far from the operand: the address takes that back. */
  private prepareBit(form: Form): Extra {
    const { random, maker } = this;
    const bytes = form.memoryBytes;
    const number = random.between(-4000, 4000);
    const r = maker.freeRegister();
    maker.setRegister(r, BigInt.asUintN(64, BigInt(number)));
    const away = BigInt(Math.floor(number / (8 * bytes)) * bytes);
    return { source: r, address: BigInt.asUintN(64, maker.address(bytes) - away) };
  }

  /** CL, and with it which flags the shift defines, mostly known. */
  private prepareShift(form: Form): Extra {
    const { random, sequence, maker } = this;
    const isDouble = form.mnemonic === Mnemonic.Shld || form.mnemonic === Mnemonic.Shrd;
    const is16 = form.memoryBytes === 2;
    const known = sequence.known[RCX];
    maker.pinned.add(RCX);
    if (!(isDouble && is16)) {
      if (known !== undefined && random.chance(0.5)) return { count: Number(known & 0xffn) };
      if (random.chance(0.15)) return known === undefined ? {} : { count: Number(known & 0xffn) };
    }
    const count = maker.shiftCount(form);
    if (random.chance(0.5)) maker.emit(Code.Mov_r8_imm8, Register.CL, count);
    else maker.setRegister(RCX, (random.u64() & ~0xffn) | BigInt(count));
    return { count };
  }

  /** Makes a comparison that comes out equal, or half of one. */
  private prepareExchange(form: Form): Extra {
    const { random, maker } = this;
    const bytes = form.memoryBytes;
    const isPair = form.mnemonic !== Mnemonic.Cmpxchg;
    const address = maker.goodAddress(bytes);
    const half = isPair ? bytes / 2 : bytes;
    const code = { 1: Code.Mov_r8_rm8, 2: Code.Mov_r16_rm16, 4: Code.Mov_r32_rm32, 8: Code.Mov_r64_rm64 }[half]!;
    const parts = isPair && random.chance(0.9) ? [RAX, RDX] : [RAX];
    parts.forEach((r, i) => {
      const load = maker.make(code);
      load.setOpKind(0, OpKind.Register);
      load.setOpRegister(0, maker.sized(r, half));
      maker.memory(load, half, 1, { address: address + BigInt(i * half) });
      this.sequence.emit(load);
      maker.pinned.add(r);
    });
    return { address };
  }

  /** Makers differ in whether CMPXCHG that comes out unequal clears the upper half of a destination of 32 bits. */
  private prepareDestination(form: Form): Extra {
    const { random, maker } = this;
    if (form.code !== Code.Cmpxchg_rm32_r32) return {};
    if (random.chance(0.5)) return { address: maker.address(4) };
    const register = maker.freeRegister();
    maker.emit(Code.Mov_r32_rm32, Register.EAX + register, Register.EAX + register);
    return { register };
  }

  private prepareMxcsr(): Extra {
    const { random, maker } = this;
    const address = maker.goodAddress(4);
    const store = maker.make(Code.Mov_rm32_imm32);
    maker.memory(store, 4, 0, { address });
    store.setOpKind(1, OpKind.Immediate32);
    // Now and then with reserved bits, but for one that some makers have (bit 17).
    const value = random.chance(0.03) ? Number(integer(random) & 0xfffd_ffffn) : randomMxcsr(random);
    store.setImmediateU32(1, value);
    this.sequence.emit(store);
    return { address };
  }
}

/** The x87's control word: any rounding and precision, exceptions mostly masked. */
export function randomControlWord(random: Random): number {
  const rounding = random.chance(0.5) ? 0 : random.below(4) << 10;
  const precision = random.chance(0.6) ? 0x300 : random.below(4) << 8;
  const masks = random.chance(0.12) ? random.below(64) : 0x3f;
  const reserved = random.chance(0.1) ? random.below(0x10000) & 0xf0c0 : 0x40;
  return rounding | precision | masks | reserved;
}

/** Its status word, mostly without exceptions. */
export function randomStatusWord(random: Random): number {
  const exceptions = random.chance(0.2) ? random.below(256) : 0;
  return exceptions | ((random.below(256) << 8) & ~0x8000) | (random.chance(0.02) ? 0x8000 : 0);
}

/** Any rounding; exceptions mostly masked. */
export function randomMxcsr(random: Random): number {
  const rounding = random.chance(0.5) ? 0 : random.below(4) << 13;
  const zeros = (random.chance(0.15) ? 0x8000 : 0) | (random.chance(0.15) ? 0x40 : 0);
  const masks = random.chance(0.04) ? random.below(64) << 7 : MXCSR_INITIAL;
  const flags = random.chance(0.3) ? random.below(64) : 0;
  return rounding | zeros | masks | flags;
}
