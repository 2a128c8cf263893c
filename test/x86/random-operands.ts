/** Operands of random instructions, by their kinds, and the moves that load what those need. */
import { Code, Instruction, OpCodeOperandKind as Kind, Mnemonic, OpKind, Register } from 'iced-x86';
import { CODE_BASE, DATA_BASE, DATA_BYTES, RAX, RSP } from './case.js';
import { isShift } from './defined-flags.js';
import type { Form } from './forms.js';
import { dataAddress, integer, type Random } from './random-values.js';
import type { Label, Sequence } from './sequence.js';

/** How likely an operand in memory lies where there is (partly) nothing. */
export const BAD_ADDRESS = 0.01;
/** How likely 16 bytes are not aligned. */
const MISALIGNED = 0.01;

const REGISTERS = [...Array(16).keys()];
const gpr32 = (r: number): Register => Register.EAX + r;
const gpr64 = (r: number): Register => Register.RAX + r;
export const DATA_END = DATA_BASE + BigInt(DATA_BYTES);

const fits = (value: bigint, bits: number): boolean => BigInt.asIntN(bits, value) === value;

/** How an instruction is to be made. */
export interface Extra {
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

interface MemoryWish {
  /** Where it shall lie. @default somewhere in the data, mostly */
  readonly address?: bigint;
  /** It is not accessed: any address will do. */
  readonly isFree?: boolean;
}

/** Kinds of operands that are a general register, and how many bytes those have. */
const GENERAL: ReadonlyMap<Kind, number> = new Map([
  ...[Kind.r8_reg, Kind.r8_opcode].map((kind) => [kind, 1] as const),
  ...[Kind.r16_reg, Kind.r16_reg_mem, Kind.r16_rm, Kind.r16_opcode].map((kind) => [kind, 2] as const),
  ...[Kind.r32_reg, Kind.r32_reg_mem, Kind.r32_rm, Kind.r32_opcode].map((kind) => [kind, 4] as const),
  ...[Kind.r64_reg, Kind.r64_reg_mem, Kind.r64_rm, Kind.r64_opcode].map((kind) => [kind, 8] as const),
]);

const GENERAL_OR_MEMORY: ReadonlyMap<Kind, number> = new Map([
  [Kind.r8_or_mem, 1],
  [Kind.r16_or_mem, 2],
  [Kind.r32_or_mem, 4],
  [Kind.r64_or_mem, 8],
]);

const FIXED: ReadonlyMap<Kind, Register> = new Map([
  [Kind.al, Register.AL],
  [Kind.cl, Register.CL],
  [Kind.ax, Register.AX],
  [Kind.dx, Register.DX],
  [Kind.eax, Register.EAX],
  [Kind.rax, Register.RAX],
  [Kind.st0, Register.ST0],
]);

/** Immediates, with the bits that are in the instruction. */
const IMMEDIATE: ReadonlyMap<Kind, readonly [OpKind, number]> = new Map([
  [Kind.imm8, [OpKind.Immediate8, 8]],
  [Kind.imm8_const_1, [OpKind.Immediate8, 8]],
  [Kind.imm8sex16, [OpKind.Immediate8to16, 8]],
  [Kind.imm8sex32, [OpKind.Immediate8to32, 8]],
  [Kind.imm8sex64, [OpKind.Immediate8to64, 8]],
  [Kind.imm16, [OpKind.Immediate16, 16]],
  [Kind.imm32, [OpKind.Immediate32, 32]],
  [Kind.imm32sex64, [OpKind.Immediate32to64, 32]],
  [Kind.imm64, [OpKind.Immediate64, 64]],
]);

/** Memory at a register that goes without saying, with addresses of 64 and of 32 bits. */
const IMPLIED: ReadonlyMap<Kind, readonly [OpKind, OpKind]> = new Map([
  [Kind.seg_rSI, [OpKind.MemorySegRSI, OpKind.MemorySegESI]],
  [Kind.es_rDI, [OpKind.MemoryESRDI, OpKind.MemoryESEDI]],
  [Kind.seg_rDI, [OpKind.MemorySegRDI, OpKind.MemorySegEDI]],
]);

const XMM: ReadonlySet<Kind> = new Set([Kind.xmm_reg, Kind.xmm_rm]);
const MM: ReadonlySet<Kind> = new Set([Kind.mm_reg, Kind.mm_rm, Kind.mm_or_mem]);
const BRANCH: ReadonlySet<Kind> = new Set([Kind.br64_1, Kind.br64_4]);

/** The instructions `emit` can make that have an immediate. */
const LAST_IMMEDIATE: ReadonlyMap<Code, OpKind> = new Map([
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

export class OperandMaker {
  readonly random: Random;
  readonly sequence: Sequence;
  /** Registers that are prepared for the instruction to come. */
  readonly pinned = new Set<number>();
  /** Around here most data is: what was written is read again. */
  private readonly spot: bigint;

  constructor(random: Random, sequence: Sequence) {
    this.random = random;
    this.sequence = sequence;
    this.spot = dataAddress(random, 64, 512) & ~15n;
  }

  make(code: Code): Instruction {
    const instruction = new Instruction();
    instruction.code = code;
    return instruction;
  }

  /** An instruction of registers, and of one immediate at last. */
  emit(code: Code, ...operands: readonly number[]): void {
    this.emitTo(undefined, code, ...operands);
  }

  emitTo(label: Label | undefined, code: Code, ...operands: readonly number[]): void {
    const instruction = this.make(code);
    const immediate = LAST_IMMEDIATE.get(code);
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
  setRegister(r: number, value: bigint): void {
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

  /** Loads a register with an address in the data, mostly. */
  setPointer(r: number, bytes: number, margin: number, over = 0n): void {
    const { random } = this;
    const isBad = random.chance(BAD_ADDRESS);
    this.setRegister(r, (isBad ? this.badAddress(bytes) : dataAddress(random, bytes, margin)) | over);
  }

  /** A register for the instruction to come that is not in use. */
  freeRegister(): number {
    for (;;) {
      const r = this.random.below(16);
      if (r !== RSP && !this.pinned.has(r)) {
        this.pinned.add(r);
        return r;
      }
    }
  }

  /** The part of a general register that has some bytes; not AH and its like. */
  sized(r: number, bytes: number): Register {
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

  /** Makes operand i one of its kind, as it was prepared or at random. Throws for kinds no form has that is generated. */
  operand(instruction: Instruction, form: Form, i: number, extra: Extra): void {
    const { random } = this;
    const kind = form.operands[i]!;
    const isFree = FREE_MEMORY.has(form.mnemonic);
    const memory = () =>
      this.memory(
        instruction,
        form.memoryBytes,
        i,
        extra.address === undefined ? { isFree } : { address: extra.address },
      );
    const register = (r: Register) => {
      instruction.setOpKind(i, OpKind.Register);
      instruction.setOpRegister(i, r);
    };

    const bytes = GENERAL.get(kind) ?? GENERAL_OR_MEMORY.get(kind);
    const fixed = FIXED.get(kind);
    const immediate = IMMEDIATE.get(kind);
    const implied = IMPLIED.get(kind);
    if (bytes !== undefined) {
      // Where a register is prepared for the number of a bit, what the bit is of may be one too.
      const isAlike = extra.source !== undefined && random.chance(0.4);
      const isRegister = isAlike || extra.register !== undefined || (extra.address === undefined && random.chance(0.5));
      const prepared = [extra.register, extra.source][i];
      if (GENERAL_OR_MEMORY.has(kind) && !isRegister) memory();
      else register(prepared === undefined ? this.anyGeneral(bytes) : this.sized(prepared, bytes));
    } else if (fixed !== undefined) {
      register(fixed);
    } else if (immediate) {
      this.immediate(instruction, form, i, immediate);
    } else if (implied) {
      instruction.setOpKind(i, implied[extra.is32 ? 1 : 0]);
    } else if (BRANCH.has(kind)) {
      instruction.setOpKind(i, OpKind.NearBranch64);
      instruction.nearBranch64 = CODE_BASE; // until it is known
    } else if (XMM.has(kind)) {
      register(this.anyXmm());
    } else if (MM.has(kind)) {
      if (kind === Kind.mm_or_mem && random.chance(0.5)) memory();
      else register(Register.MM0 + random.below(8));
    } else if (kind === Kind.sti_opcode) {
      register(Register.ST0 + random.below(random.chance(0.6) ? 3 : 8));
    } else if (kind === Kind.xmm_or_mem) {
      if (random.chance(0.5)) register(this.anyXmm());
      else memory();
    } else if (kind === Kind.mem) {
      memory();
    } else if (kind === Kind.mem_offs) {
      this.offset(instruction, form.memoryBytes, i);
    } else if (kind === Kind.seg_rBX_al) {
      instruction.setOpKind(i, OpKind.Memory);
      instruction.memoryBase = Register.RBX;
      instruction.memoryIndex = Register.AL;
    } else {
      throw new Error(`${form.name}: an operand of kind ${Kind[kind]}`);
    }
  }

  private immediate(instruction: Instruction, form: Form, i: number, [kind, bits]: readonly [OpKind, number]): void {
    const { random } = this;
    let value = integer(random);
    let opKind = kind;
    if (form.operands[i] === Kind.imm8_const_1) value = 1n;
    else if (form.mnemonic === Mnemonic.Enter) {
      // Bytes of a frame, and how deep it is nested.
      value = BigInt(i === 0 ? random.below(64) : random.pick([0, 0, 1, 1, 2, 3, 32, 33, random.below(32)]));
      if (i === 1) opKind = OpKind.Immediate8_2nd;
    } else if (form.mnemonic === Mnemonic.Ret) value = BigInt(random.below(64));
    else if (isShift(form.mnemonic)) value = BigInt(this.shiftCount(form));
    instruction.setOpKind(i, opKind);
    if (bits === 64) instruction.setImmediateU64(i, value);
    else if (bits === 8 && kind === OpKind.Immediate8) instruction.setImmediateU32(i, Number(value & 0xffn));
    else instruction.setImmediateI32(i, Number(BigInt.asIntN(bits, value)));
  }

  shiftCount(form: Form): number {
    const { random } = this;
    const bits = form.memoryBytes * 8;
    const isDouble = form.mnemonic === Mnemonic.Shld || form.mnemonic === Mnemonic.Shrd;
    // More than 16 bits out of 16 are undefined.
    if (isDouble && bits === 16)
      return random.pick([0, 1, random.below(16), random.below(16), 16, 32 + random.below(16)]);
    return random.pick([0, 1, 1, bits - 1, bits, bits + 1, random.below(bits), random.below(256)]) & 0xff;
  }

  private anyGeneral(bytes: number): Register {
    const { random } = this;
    if (bytes === 1 && random.chance(0.15)) return Register.AH + random.below(4);
    // A few of them more often, so that instructions have to do with each other; rsp is needed for the stack.
    const r = random.chance(0.3) ? random.below(4) : random.below(16);
    return this.sized(r === RSP && random.chance(0.8) ? RAX : r, bytes);
  }

  private anyXmm(): Register {
    return Register.XMM0 + this.random.below(this.random.chance(0.5) ? 4 : 16);
  }

  // Addresses.

  goodAddress(bytes: number): bigint {
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

  /** Mostly in the data. */
  address(bytes: number): bigint {
    return this.random.chance(BAD_ADDRESS) ? this.badAddress(bytes) : this.goodAddress(bytes);
  }

  /** Makes operand i a place in memory, and loads a base register if there is none that leads there. */
  memory(instruction: Instruction, bytes: number, i: number, wish: MemoryWish): void {
    const { random } = this;
    instruction.setOpKind(i, OpKind.Memory);
    // Segments other than fs and gs count for nothing.
    if (random.chance(0.02))
      instruction.segmentPrefix = random.pick([Register.ES, Register.CS, Register.SS, Register.DS]);
    if (wish.isFree) this.anywhere(instruction);
    else this.at(instruction, wish.address ?? this.address(bytes));
  }

  /** Addresses a place relative to rip, to nothing or to registers. */
  private at(instruction: Instruction, target: bigint): void {
    const { random } = this;
    const shape = random.below(100);
    if (shape < 9 && fits(target, 32)) {
      if (shape < 5) instruction.memoryBase = Register.RIP;
      instruction.memoryDisplacement = target;
      instruction.memoryDisplSize = 8;
      return;
    }
    const is32 = target < 1n << 32n && shape < 16;
    if (this.byKnown(instruction, target, is32)) return;
    const base = this.freeRegister();
    const near = BigInt(random.chance(0.5) ? 0 : random.between(-200, 200));
    this.setRegister(base, BigInt.asUintN(64, target - near));
    instruction.memoryBase = gpr64(base);
    this.displace(instruction, near, false, false);
  }

  /** Addresses a place by registers whose values are known; false where none leads there. */
  private byKnown(instruction: Instruction, target: bigint, is32: boolean): boolean {
    const { random } = this;
    const { known } = this.sequence;
    const name = is32 ? gpr32 : gpr64;
    const scale = random.pick([1, 2, 4, 8]);
    const usable = REGISTERS.filter((r) => known[r] !== undefined);
    const index = random.chance(0.35) ? random.pick(usable.filter((r) => r !== RSP)) : undefined;
    // Not any base goes with any index.
    for (const i of index === undefined ? [undefined] : [index, undefined]) {
      const rest = target - (i === undefined ? 0n : known[i]! * BigInt(scale));
      const distance = (r: number | undefined) =>
        BigInt.asIntN(is32 ? 32 : 64, rest - (r === undefined ? 0n : known[r]!));
      const bases = i === undefined || random.chance(0.9) ? usable : [undefined];
      const possible = bases.filter((r) => fits(distance(r), 32));
      if (possible.length === 0) continue;
      const base = random.pick(possible);
      if (base !== undefined) instruction.memoryBase = name(base);
      if (i !== undefined) {
        instruction.memoryIndex = name(i);
        instruction.memoryIndexScale = scale;
      }
      this.displace(instruction, distance(base), is32, base === undefined);
      return true;
    }
    return false;
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
