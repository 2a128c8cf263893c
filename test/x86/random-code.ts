/**
 * Random cases: sequences of all forms of instructions (forms.ts), with operands made from what kinds of operands a form has.
 * They do what programs do: addresses mostly lie in the data, divisors are mostly not zero, and jumps go forward. What the
 * architecture leaves undefined they neither read nor depend on.
 *
 * An instruction comes with others that prepare it, a unit: a move that loads its base register, say.
 */
import { Code, Instruction, Mnemonic, OpCodeOperandKind as Kind, OpKind, Register } from 'iced-x86';
import {
  ALL_FLAGS,
  type Case,
  CODE_BASE,
  CODE_LIMIT,
  CODE_OFFSET,
  CODE_PAGE_BYTES,
  DATA_BASE,
  DATA_BYTES,
  Flag,
  MXCSR_INITIAL,
  RAX,
  RBP,
  RBX,
  RCX,
  RDI,
  RDX,
  RFLAGS_SET,
  RSI,
  RSP,
} from './case.js';
import { isShift, statusFlags } from './defined-flags.js';
import { type FeatureSet, type Form, generatedForms } from './forms.js';
import { dataAddress, integer, Random, word } from './random-values.js';
import { type Label, Sequence } from './sequence.js';

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
  /** Instructions at most. @default 32 */
  readonly length?: number;
}

/** Instructions a unit has at most, and bytes those have. */
const UNIT_BYTES = 80;

/** How likely an operand in memory lies where there is (partly) nothing. */
const BAD_ADDRESS = 0.01;
/** How likely 16 bytes are not aligned. */
const MISALIGNED = 0.01;
/** How likely a division gets whatever comes. */
const BAD_DIVISION = 0.08;

const gpr64 = (r: number): Register => Register.RAX + r;
const gpr32 = (r: number): Register => Register.EAX + r;
const DATA_END = DATA_BASE + BigInt(DATA_BYTES);

const fits = (value: bigint, bits: number): boolean => BigInt.asIntN(bits, value) === value;

interface MemoryWish {
  /** Where it shall lie. @default somewhere in the data, mostly */
  readonly address?: bigint;
  /** It is not accessed: any address will do. */
  readonly isFree?: boolean;
}

class Generator {
  private readonly sequence: Sequence;
  /** Registers that are prepared for the instruction to come. */
  private pinned = new Set<number>();
  /** Around here most data is: what was written is read again. */
  private readonly spot: bigint;
  private readonly random: Random;

  constructor(random: Random, gpr: BigUint64Array) {
    this.random = random;
    this.sequence = new Sequence(gpr);
    this.spot = dataAddress(random, 64, 512) & ~15n;
  }

  run(forms: readonly Form[], length: number): Sequence {
    const { sequence, random } = this;
    while (sequence.length < length && sequence.bytes < CODE_LIMIT - UNIT_BYTES) {
      sequence.nextUnit();
      this.pinned.clear();
      this.unit(random.pick(forms));
    }
    return sequence;
  }

  private unit(form: Form): void {
    const { sequence, random } = this;
    this.defineFlags(form);
    const extra = this.prepare(form);
    // Some choices do not go together, such as AH and R8.
    for (let attempt = 0; attempt < 20; attempt++) {
      const instruction = new Instruction();
      try {
        instruction.code = form.code;
        form.operands.forEach((kind, i) => {
          this.operand(instruction, form, kind, i, extra);
        });
        if (form.canLock && instruction.op0Kind === OpKind.Memory && random.chance(0.35)) instruction.hasLockPrefix = true;
        if (extra.rep) instruction.hasRepPrefix = true;
        if (extra.repne) instruction.hasRepnePrefix = true;
        sequence.emit(instruction, extra);
        return;
      } catch (error) {
        instruction.free();
        (globalThis as any).failures?.push([form.name, String(error)]);
      }
    }
  }

  // What comes before.

  /** Sees to it that the flags it reads are defined. */
  private defineFlags(form: Form): void {
    const probe = new Instruction();
    probe.code = form.code;
    const read = statusFlags(probe.rflagsRead);
    probe.free();
    if ((read & ~this.sequence.defined) === 0n) return;
    const code = this.random.pick([Code.Cmp_rm32_r32, Code.Add_rm64_r64, Code.Sub_rm8_r8, Code.Cmp_rm64_r64, Code.Neg_rm32]);
    const bytes = { [Code.Sub_rm8_r8]: Register.AL, [Code.Cmp_rm32_r32]: Register.EAX, [Code.Neg_rm32]: Register.EAX };
    const base = (bytes as Record<number, Register>)[code] ?? Register.RAX;
    const register = () => base + this.random.below(4);
    this.emit(code, register(), ...(code === Code.Neg_rm32 ? [] : [register()]));
  }

  /** Registers and memory that the instruction needs beyond its operands, and how it is to be made. */
  private prepare(form: Form): Extra {
    const { random } = this;
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
        return random.chance(0.5) ? this.prepareExchange(form) : {};
      case Mnemonic.Popf:
      case Mnemonic.Popfd:
      case Mnemonic.Popfq: {
        // TF, NT, AC and what else is the system's stay clear.
        const flags = Number(random.u64() & ALL_FLAGS);
        this.emit(form.code === Code.Popfw ? Code.Push_imm16 : Code.Pushq_imm32, flags);
        return {};
      }
      case Mnemonic.Ret: {
        const label = this.sequence.label(random.below(2));
        this.emitTo(label, Code.Pushq_imm32, 0);
        return { label };
      }
      case Mnemonic.Ldmxcsr:
        return this.prepareMxcsr();
      case Mnemonic.Maskmovdqu:
        this.setPointer(RDI, 16, 0);
        return {};
      case Mnemonic.Xlatb:
        this.setPointer(RBX, 256, 0);
        return {};
      default:
        return isShift(form.mnemonic) && has(Kind.cl) ? this.prepareShift(form) : {};
    }
  }

  private prepareStack(form: Form): void {
    const { sequence, random } = this;
    const isGood = (value: bigint | undefined) => value !== undefined && value >= DATA_BASE + 512n && value <= DATA_END - 256n;
    const fresh = () => dataAddress(random, 0, 512) & (random.chance(0.9) ? ~7n : ~0n);
    if (form.mnemonic === Mnemonic.Leave || form.mnemonic === Mnemonic.Enter) {
      if (!isGood(sequence.known[RBP])) this.setRegister(RBP, fresh());
      if (form.mnemonic === Mnemonic.Leave) return;
    }
    if (random.chance(BAD_ADDRESS)) this.setRegister(RSP, random.pick([DATA_BASE, DATA_BASE + 4n, DATA_END, DATA_END - 4n]));
    else if (!isGood(sequence.known[RSP])) this.setRegister(RSP, fresh());
    this.pinned.add(RSP);
  }

  private prepareBranch(form: Form): Extra {
    const { random, sequence } = this;
    const isCounted = [Mnemonic.Loop, Mnemonic.Loope, Mnemonic.Loopne, Mnemonic.Jecxz, Mnemonic.Jrcxz].includes(form.mnemonic);
    if (isCounted && random.chance(0.6)) this.setRegister(RCX, random.pick([0n, 1n, 2n, 1n << 32n, (1n << 32n) + 1n]));
    const isConditional = isCounted || (form.mnemonic !== Mnemonic.Jmp && form.mnemonic !== Mnemonic.Call);
    // What an unconditional jump leaves out is never executed.
    return { label: sequence.label(random.below(isConditional ? 4 : 2)) };
  }

  private jumpByRegister(label: Label): Extra {
    const r = this.freeRegister();
    if (this.random.chance(0.5)) this.emitTo(label, Code.Mov_r32_imm32, gpr32(r), 0);
    else this.emitTo(label, Code.Mov_r64_imm64, gpr64(r), 0);
    return { label, register: r };
  }

  private jumpByMemory(label: Label): Extra {
    const address = this.goodAddress(8);
    const store = this.make(Code.Mov_rm64_imm32);
    this.memory(store, 8, 0, { address });
    store.setOpKind(1, OpKind.Immediate32to64);
    this.sequence.emit(store, { label });
    return { label, address };
  }

  private prepareString(form: Form): Extra {
    const { random } = this;
    const rep = form.canRep && random.chance(0.6);
    const repne = rep && form.canRepne && random.chance(0.5);
    const is32 = random.chance(0.15);
    const count = rep ? random.below(13) : undefined;
    // The other half of a register counts for nothing.
    const garbage = () => (is32 && random.chance(0.5) ? BigInt(random.below(0x1_0000)) << 32n : 0n);
    if (count !== undefined) this.setRegister(RCX, BigInt(count) | garbage());
    const margin = form.memoryBytes * 13;
    for (const [kind, r] of [[Kind.seg_rSI, RSI], [Kind.es_rDI, RDI]] as const) {
      if (!form.operands.includes(kind)) continue;
      const known = this.sequence.known[r];
      const isGood = known !== undefined && known >= DATA_BASE + BigInt(margin) && known < DATA_END - BigInt(margin + 8);
      if (!isGood || random.chance(0.5)) this.setPointer(r, form.memoryBytes, margin, garbage());
    }
    return { rep: rep && !repne, repne, is32, ...(count === undefined ? {} : { count }) };
  }

  /** A division that goes well: the dividend extended, the divisor not zero. */
  private prepareDivision(form: Form): Extra {
    const { random } = this;
    if (random.chance(BAD_DIVISION)) return {};
    const isSigned = form.mnemonic === Mnemonic.Idiv;
    const bytes = form.memoryBytes;
    if (isSigned) {
      const code = { 1: Code.Cbw, 2: Code.Cwd, 4: Code.Cdq, 8: Code.Cqo }[bytes]!;
      this.emit(code);
    } else if (bytes === 1) this.emit(Code.Mov_r8_imm8, Register.AH, 0);
    else this.setRegister(RDX, 0n);
    this.pinned.add(RAX).add(RDX);
    const [orRm, orImm] = {
      1: [Code.Or_rm8_imm8, OpKind.Immediate8],
      2: [Code.Or_rm16_imm8, OpKind.Immediate8to16],
      4: [Code.Or_rm32_imm8, OpKind.Immediate8to32],
      8: [Code.Or_rm64_imm8, OpKind.Immediate8to64],
    }[bytes] as [Code, OpKind];
    const or = this.make(orRm);
    or.setOpKind(1, orImm);
    or.setImmediateI32(1, random.pick([1, 2, 3, 7, 0x70]));
    if (random.chance(0.5)) {
      const address = this.goodAddress(bytes);
      this.memory(or, bytes, 0, { address });
      this.sequence.emit(or);
      return { address };
    }
    const register = this.freeRegister();
    or.setOpKind(0, OpKind.Register);
    or.setOpRegister(0, this.sized(register, bytes));
    this.sequence.emit(or);
    return { register };
  }

  /** The bit's number may lie far from the operand: the address takes that back. */
  private prepareBit(form: Form): Extra {
    const { random } = this;
    const bytes = form.memoryBytes;
    const number = random.between(-4000, 4000);
    const r = this.freeRegister();
    this.setRegister(r, BigInt.asUintN(64, BigInt(number)));
    const away = BigInt(Math.floor(number / (8 * bytes)) * bytes);
    return { source: r, address: BigInt.asUintN(64, this.address(bytes) - away) };
  }

  /** CL, and with it which flags the shift defines, mostly known. */
  private prepareShift(form: Form): Extra {
    const { random, sequence } = this;
    const isDouble = form.mnemonic === Mnemonic.Shld || form.mnemonic === Mnemonic.Shrd;
    const is16 = form.memoryBytes === 2;
    const known = sequence.known[RCX];
    this.pinned.add(RCX);
    if (!(isDouble && is16)) {
      if (known !== undefined && random.chance(0.5)) return { count: Number(known & 0xffn) };
      if (random.chance(0.15)) return known === undefined ? {} : { count: Number(known & 0xffn) };
    }
    const count = this.shiftCount(form);
    if (random.chance(0.5)) this.emit(Code.Mov_r8_imm8, Register.CL, count);
    else this.setRegister(RCX, (random.u64() & ~0xffn) | BigInt(count));
    return { count };
  }

  private shiftCount(form: Form): number {
    const { random } = this;
    const bits = form.memoryBytes * 8;
    const isDouble = form.mnemonic === Mnemonic.Shld || form.mnemonic === Mnemonic.Shrd;
    // More than 16 bits out of 16 are undefined.
    if (isDouble && bits === 16) return random.pick([0, 1, random.below(16), random.below(16), 16, 32 + random.below(16)]);
    return random.pick([0, 1, 1, bits - 1, bits, bits + 1, random.below(bits), random.below(256)]) & 0xff;
  }

  /** Makes a comparison that comes out equal, or half of one. */
  private prepareExchange(form: Form): Extra {
    const { random } = this;
    const bytes = form.memoryBytes;
    const isPair = form.mnemonic !== Mnemonic.Cmpxchg;
    const address = this.goodAddress(bytes);
    const half = isPair ? bytes / 2 : bytes;
    const code = { 1: Code.Mov_r8_rm8, 2: Code.Mov_r16_rm16, 4: Code.Mov_r32_rm32, 8: Code.Mov_r64_rm64 }[half]!;
    const parts = isPair && random.chance(0.9) ? [RAX, RDX] : [RAX];
    parts.forEach((r, i) => {
      const load = this.make(code);
      load.setOpKind(0, OpKind.Register);
      load.setOpRegister(0, this.sized(r, half));
      this.memory(load, half, 1, { address: address + BigInt(i * half) });
      this.sequence.emit(load);
      this.pinned.add(r);
    });
    return { address };
  }

  private prepareMxcsr(): Extra {
    const { random } = this;
    if (random.chance(0.03)) return {};
    const address = this.goodAddress(4);
    const store = this.make(Code.Mov_rm32_imm32);
    this.memory(store, 4, 0, { address });
    store.setOpKind(1, OpKind.Immediate32);
    store.setImmediateU32(1, randomMxcsr(random));
    this.sequence.emit(store);
    return { address };
  }

  // Small instructions.

  private make(code: Code): Instruction {
    const instruction = new Instruction();
    instruction.code = code;
    return instruction;
  }

  /** An instruction of registers, and of one immediate at last. */
  private emit(code: Code, ...operands: readonly number[]): void {
    this.emitTo(undefined, code, ...operands);
  }

  private emitTo(label: Label | undefined, code: Code, ...operands: readonly number[]): void {
    const instruction = this.make(code);
    const immediate = IMMEDIATES.get(code);
    operands.forEach((operand, i) => {
      if (immediate !== undefined && i === operands.length - 1) {
        instruction.setOpKind(i, immediate);
        if (immediate === OpKind.Immediate64) instruction.setImmediateU64(i, BigInt(operand));
        else instruction.setImmediateI32(i, operand);
      } else {
        instruction.setOpKind(i, OpKind.Register);
        instruction.setOpRegister(i, operand);
      }
    });
    this.sequence.emit(instruction, label ? { label } : {});
  }

  /** Loads a register, and keeps it for the instruction to come. */
  private setRegister(r: number, value: bigint): void {
    const { random, sequence } = this;
    const signed = BigInt.asIntN(64, value);
    const instruction = new Instruction();
    if (value < 1n << 32n && random.chance(0.6)) {
      instruction.code = Code.Mov_r32_imm32;
      instruction.setOpRegister(0, gpr32(r));
      instruction.setOpKind(1, OpKind.Immediate32);
      instruction.setImmediateU32(1, Number(value));
    } else if (fits(signed, 32) && random.chance(0.7)) {
      instruction.code = Code.Mov_rm64_imm32;
      instruction.setOpRegister(0, gpr64(r));
      instruction.setOpKind(1, OpKind.Immediate32to64);
      instruction.setImmediateI64(1, signed);
    } else {
      instruction.code = Code.Mov_r64_imm64;
      instruction.setOpRegister(0, gpr64(r));
      instruction.setOpKind(1, OpKind.Immediate64);
      instruction.setImmediateU64(1, value);
    }
    sequence.emit(instruction);
    sequence.known[r] = value;
    this.pinned.add(r);
  }

  private setPointer(r: number, bytes: number, margin: number, over = 0n): void {
    const { random } = this;
    const isBad = random.chance(BAD_ADDRESS);
    this.setRegister(r, (isBad ? this.badAddress(bytes) : dataAddress(random, bytes, margin)) | over);
  }

  /** A register for the instruction to come that is not in use. */
  private freeRegister(): number {
    for (;;) {
      const r = this.random.below(16);
      if (r !== RSP && !this.pinned.has(r)) {
        this.pinned.add(r);
        return r;
      }
    }
  }

  private sized(r: number, bytes: number): Register {
    switch (bytes) {
      case 1:
        return r < 4 ? Register.AL + r : Register.SPL + r - 4;
      case 2:
        return Register.AX + r;
      case 4:
        return gpr32(r);
      default:
        return gpr64(r);
    }
  }

  // Operands.

  private operand(instruction: Instruction, form: Form, kind: Kind, i: number, extra: Extra): void {
    const { random } = this;
    const register = (r: Register) => {
      instruction.setOpKind(i, OpKind.Register);
      instruction.setOpRegister(i, r);
    };
    const immediate = (opKind: OpKind, bits: number) => {
      instruction.setOpKind(i, opKind);
      const value = integer(random);
      if (bits === 64) instruction.setImmediateU64(i, value);
      else instruction.setImmediateI32(i, Number(BigInt.asIntN(bits, value)));
    };
    const memory = () => {
      const isFree = FREE_MEMORY.has(form.mnemonic);
      this.memory(instruction, form.memoryBytes, i, extra.address === undefined ? { isFree } : { address: extra.address });
    };
    const prepared = i === 0 ? extra.register : i === 1 ? extra.source : undefined;
    const general = (bytes: number) => register(prepared === undefined ? this.anyGeneral(bytes) : this.sized(prepared, bytes));
    const isRegister = extra.register !== undefined || (extra.address === undefined && random.chance(0.5));
    const generalOrMemory = (bytes: number) => {
      // Where a register is prepared for the bits, what they are of may be one too.
      if (isRegister || (extra.source !== undefined && random.chance(0.4))) general(bytes);
      else memory();
    };
    switch (kind) {
      case Kind.r8_or_mem:
        return generalOrMemory(1);
      case Kind.r16_or_mem:
        return generalOrMemory(2);
      case Kind.r32_or_mem:
        return generalOrMemory(4);
      case Kind.r64_or_mem:
        return generalOrMemory(8);
      case Kind.r8_reg:
      case Kind.r8_opcode:
        return general(1);
      case Kind.r16_reg:
      case Kind.r16_reg_mem:
      case Kind.r16_rm:
      case Kind.r16_opcode:
        return general(2);
      case Kind.r32_reg:
      case Kind.r32_reg_mem:
      case Kind.r32_rm:
      case Kind.r32_opcode:
        return general(4);
      case Kind.r64_reg:
      case Kind.r64_reg_mem:
      case Kind.r64_rm:
      case Kind.r64_opcode:
        return general(8);
      case Kind.xmm_reg:
      case Kind.xmm_rm:
        return register(Register.XMM0 + this.anyXmm());
      case Kind.xmm_or_mem:
        return random.chance(0.5) ? register(Register.XMM0 + this.anyXmm()) : memory();
      case Kind.mem:
        return memory();
      case Kind.mem_offs:
        return this.offset(instruction, form.memoryBytes, i);
      case Kind.al:
        return register(Register.AL);
      case Kind.cl:
        return register(Register.CL);
      case Kind.ax:
        return register(Register.AX);
      case Kind.dx:
        return register(Register.DX);
      case Kind.eax:
        return register(Register.EAX);
      case Kind.rax:
        return register(Register.RAX);
      case Kind.imm8_const_1:
        instruction.setOpKind(i, OpKind.Immediate8);
        return instruction.setImmediateI32(i, 1);
      case Kind.imm8:
        return this.imm8(instruction, form, i);
      case Kind.imm8sex16:
        return immediate(OpKind.Immediate8to16, 8);
      case Kind.imm8sex32:
        return immediate(OpKind.Immediate8to32, 8);
      case Kind.imm8sex64:
        return immediate(OpKind.Immediate8to64, 8);
      case Kind.imm16:
        if (form.mnemonic !== Mnemonic.Enter && form.mnemonic !== Mnemonic.Ret) return immediate(OpKind.Immediate16, 16);
        instruction.setOpKind(i, OpKind.Immediate16);
        return instruction.setImmediateI32(i, random.below(64));
      case Kind.imm32:
        return immediate(OpKind.Immediate32, 32);
      case Kind.imm32sex64:
        return immediate(OpKind.Immediate32to64, 32);
      case Kind.imm64:
        return immediate(OpKind.Immediate64, 64);
      case Kind.seg_rSI:
        return instruction.setOpKind(i, extra.is32 ? OpKind.MemorySegESI : OpKind.MemorySegRSI);
      case Kind.es_rDI:
        return instruction.setOpKind(i, extra.is32 ? OpKind.MemoryESEDI : OpKind.MemoryESRDI);
      case Kind.seg_rDI:
        return instruction.setOpKind(i, OpKind.MemorySegRDI);
      case Kind.seg_rBX_al:
        instruction.setOpKind(i, OpKind.Memory);
        instruction.memoryBase = Register.RBX;
        instruction.memoryIndex = Register.AL;
        return;
      case Kind.br64_1:
      case Kind.br64_4:
        instruction.setOpKind(i, OpKind.NearBranch64);
        instruction.nearBranch64 = CODE_BASE;
        return;
      default:
        throw new Error(`${form.name}: an operand of kind ${Kind[kind]}`);
    }
  }

  private imm8(instruction: Instruction, form: Form, i: number): void {
    const { random } = this;
    if (form.mnemonic === Mnemonic.Enter) {
      instruction.setOpKind(i, OpKind.Immediate8_2nd);
      instruction.setImmediateI32(i, random.pick([0, 0, 1, 1, 2, 3, 32, 33, random.below(32)]));
      return;
    }
    instruction.setOpKind(i, OpKind.Immediate8);
    instruction.setImmediateU32(i, isShift(form.mnemonic) ? this.shiftCount(form) : Number(integer(random) & 0xffn));
  }

  private anyGeneral(bytes: number): Register {
    const { random } = this;
    if (bytes === 1 && random.chance(0.15)) return Register.AH + random.below(4);
    // A few of them more often, so that instructions have to do with each other; rsp is needed for the stack.
    const r = random.chance(0.3) ? random.below(4) : random.below(16);
    return this.sized(r === RSP && random.chance(0.8) ? RAX : r, bytes);
  }

  private anyXmm(): number {
    return this.random.chance(0.5) ? this.random.below(4) : this.random.below(16);
  }

  // Addresses.

  private goodAddress(bytes: number): bigint {
    const { random } = this;
    const align = bytes === 16 && !random.chance(MISALIGNED) ? ~15n : ~0n;
    const kind = random.below(20);
    if (kind < 1) return align & random.pick([DATA_BASE, DATA_END - BigInt(bytes)]);
    if (kind < 3) return align & (DATA_BASE + BigInt(DATA_BYTES / 2 - random.below(bytes + 1)));
    if (kind < 12) return align & (this.spot + BigInt(random.below(64)));
    return align & dataAddress(random, bytes);
  }

  /** Partly or wholly where there is nothing. */
  private badAddress(bytes: number): bigint {
    const { random } = this;
    const align = bytes === 16 && random.chance(0.7) ? ~15n : ~0n;
    if (random.chance(0.4)) return align & (DATA_END - BigInt(random.below(bytes)));
    if (random.chance(0.6)) return align & (DATA_BASE - BigInt(1 + random.below(bytes)));
    return integer(random);
  }

  private address(bytes: number): bigint {
    return this.random.chance(BAD_ADDRESS) ? this.badAddress(bytes) : this.goodAddress(bytes);
  }

  /** Makes operand i a place in memory, and loads a base register if there is none that leads there. */
  private memory(instruction: Instruction, bytes: number, i: number, wish: MemoryWish): void {
    const { random, sequence } = this;
    instruction.setOpKind(i, OpKind.Memory);
    // Segments other than fs and gs count for nothing.
    if (random.chance(0.02)) instruction.segmentPrefix = random.pick([Register.ES, Register.CS, Register.SS, Register.DS]);
    if (wish.isFree) return this.anywhere(instruction);
    const target = wish.address ?? this.address(bytes);
    const shape = random.below(100);
    const isLow = fits(target, 32) && target >= 0n;
    if (isLow && shape < 5) {
      instruction.memoryBase = Register.RIP;
      instruction.memoryDisplacement = target;
      instruction.memoryDisplSize = 8;
      return;
    }
    if (isLow && shape < 9) {
      instruction.memoryDisplacement = target;
      instruction.memoryDisplSize = 8;
      return;
    }
    const is32 = target < 1n << 32n && shape < 16;
    const bits = is32 ? 32 : 64;
    const name = is32 ? gpr32 : gpr64;
    const scale = random.pick([1, 2, 4, 8]);
    const indices = [...Array(16).keys()].filter((r) => r !== RSP && sequence.known[r] !== undefined);
    const wanted = random.chance(0.35) && indices.length > 0 ? random.pick(indices) : undefined;
    // Not any base goes with any index.
    for (const index of wanted === undefined ? [undefined] : [wanted, undefined]) {
      const rest = target - (index === undefined ? 0n : sequence.known[index]! * BigInt(scale));
      const bases: (number | undefined)[] = index === undefined || random.chance(0.9) ? [...Array(16).keys()] : [undefined];
      const distance = (r: number | undefined) => BigInt.asIntN(bits, rest - (r === undefined ? 0n : sequence.known[r]!));
      const possible = bases.filter((r) => r === undefined || sequence.known[r] !== undefined).filter((r) => fits(distance(r), 32));
      if (possible.length === 0) continue;
      const base = random.pick(possible);
      if (base !== undefined) instruction.memoryBase = name(base);
      if (index !== undefined) {
        instruction.memoryIndex = name(index);
        instruction.memoryIndexScale = scale;
      }
      return this.displace(instruction, distance(base), is32, base === undefined);
    }
    const base = this.freeRegister();
    const near = BigInt(random.chance(0.5) ? 0 : random.between(-200, 200));
    this.setRegister(base, BigInt.asUintN(64, target - near));
    instruction.memoryBase = gpr64(base);
    this.displace(instruction, near, false, false);
  }

  private displace(instruction: Instruction, by: bigint, is32: boolean, isLong: boolean): void {
    const { random } = this;
    const whole = is32 ? 4 : 8;
    instruction.memoryDisplacement = BigInt.asUintN(64, by);
    if (isLong) instruction.memoryDisplSize = whole;
    else if (by === 0n && random.chance(0.8)) instruction.memoryDisplSize = 0;
    else instruction.memoryDisplSize = fits(by, 8) && random.chance(0.8) ? 1 : whole;
  }

  /** Any registers, any displacement: for what does not go there. */
  private anywhere(instruction: Instruction): void {
    const { random } = this;
    const name = random.chance(0.15) ? gpr32 : gpr64;
    const index = random.below(16);
    instruction.memoryBase = name(random.below(16));
    if (index !== RSP && random.chance(0.6)) {
      instruction.memoryIndex = name(index);
      instruction.memoryIndexScale = random.pick([1, 2, 4, 8]);
    }
    this.displace(instruction, BigInt.asIntN(random.pick([8, 32]), integer(random)), name === gpr32, false);
  }

  /** The address itself, as an operand (A0 to A3). */
  private offset(instruction: Instruction, bytes: number, i: number): void {
    const target = this.address(bytes);
    instruction.setOpKind(i, OpKind.Memory);
    instruction.memoryDisplacement = target;
    instruction.memoryDisplSize = target < 1n << 32n && this.random.chance(0.3) ? 4 : 8;
  }
}

/** How an instruction is to be made. */
interface Extra {
  /** Where its branch goes, or what prepared it did. */
  readonly label?: Label;
  /** Of a shift by CL, or of repetitions. */
  readonly count?: number;
  /** The register that operand 0 shall be. */
  readonly register?: number;
  /** The register that operand 1 shall be. */
  readonly source?: number;
  /** Where its memory shall lie. */
  readonly address?: bigint;
  readonly rep?: boolean;
  readonly repne?: boolean;
  /** Addresses of 32 bits. */
  readonly is32?: boolean;
}

const IMMEDIATES: ReadonlyMap<Code, OpKind> = new Map([
  [Code.Push_imm16, OpKind.Immediate16],
  [Code.Pushq_imm32, OpKind.Immediate32to64],
  [Code.Mov_r8_imm8, OpKind.Immediate8],
  [Code.Mov_r32_imm32, OpKind.Immediate32],
  [Code.Mov_r64_imm64, OpKind.Immediate64],
]);

/** These have an operand in memory and do not go there. */
const FREE_MEMORY: ReadonlySet<Mnemonic> = new Set([
  Mnemonic.Lea,
  Mnemonic.Nop,
  ...[Mnemonic.Prefetch, Mnemonic.Prefetchw, Mnemonic.Prefetchnta],
  ...[Mnemonic.Prefetcht0, Mnemonic.Prefetcht1, Mnemonic.Prefetcht2],
]);

/** Any rounding; exceptions mostly masked. */
function randomMxcsr(random: Random): number {
  const rounding = random.chance(0.5) ? 0 : random.below(4) << 13;
  const zeros = (random.chance(0.15) ? 0x8000 : 0) | (random.chance(0.15) ? 0x40 : 0);
  const masks = random.chance(0.04) ? random.below(64) << 7 : MXCSR_INITIAL;
  const flags = random.chance(0.3) ? random.below(64) : 0;
  return rounding | zeros | masks | flags;
}

function randomData(random: Random): Uint8Array {
  const words = new BigUint64Array(DATA_BYTES / 8);
  const floats = random.pick([0, 0.4, 0.9]);
  // A few values again and again; each by itself would take longer than all the rest.
  const some = Array.from({ length: 48 }, () => word(random, floats));
  for (let i = 0; i < words.length; i++) words[i] = some[random.below(some.length)]!;
  return new Uint8Array(words.buffer);
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
function randomRip(random: Random, bytes: number): bigint {
  if (random.chance(0.7)) return CODE_BASE + BigInt(CODE_OFFSET);
  if (random.chance(0.9)) return CODE_BASE + BigInt(random.below(CODE_PAGE_BYTES - bytes));
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
  const data = randomData(random);
  const sequence = new Generator(random, gpr).run(formsFrom(sets), random.between(1, length));
  const rip = randomRip(random, sequence.bytes);
  const { code, definedAt, definedFlags } = sequence.assemble(rip);
  const room = CODE_PAGE_BYTES - Number(rip - CODE_BASE);
  return {
    case: {
      code: code.subarray(0, Math.min(code.length, room)),
      state: { gpr, rip, rflags, xmm: new Uint8Array(xmm.buffer), mxcsr },
      data,
    },
    definedFlags: definedFlags | Flag.DF,
    definedFlagsAt: (at) => (definedAt.get(at) ?? definedFlags) | Flag.DF,
    forms: sequence.codes,
  };
}
