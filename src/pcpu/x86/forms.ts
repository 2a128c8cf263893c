/**
 * From iced-x86's instructions to what the rest of the core works with: a form, which is all that an instruction's meaning hangs on, and
 * the numbers that make one instruction of that form: registers, displacement, immediate.
 */
import iced from 'iced-x86';
import type { AddressForm, Size } from './ir.js';
import { REC, RECORD_BYTES, ST } from './state.js';
import { REPEAT, STRING, stringCode } from './strings.js';
import { x87Code } from './x87-code.js';

const { Mnemonic, OpKind, Register, RegisterExt, MemorySizeExt, ConditionCode } = iced;

export type OperandForm =
  | { readonly kind: 'register'; readonly size: Size }
  | { readonly kind: 'xmm' }
  | { readonly kind: 'mm' }
  /** A register of the x87: which one, the record says. */
  | { readonly kind: 'fpr' }
  /** `size` is 0 where there is none: of an address only, or of an area. */
  | { readonly kind: 'memory'; readonly size: number }
  | { readonly kind: 'immediate' }
  | { readonly kind: 'branch' }
  /** A segment register: which one, the record says. */
  | { readonly kind: 'selector' }
  /** A control or debug register, which only ring 0 has. */
  | { readonly kind: 'privileged' }
  /** What no instruction of the core has. */
  | { readonly kind: 'other' };

export interface Form {
  /** iced-x86's name; `String` for all string instructions. */
  readonly mnemonic: string;
  /** iced-x86's number of the exact encoding, which says what the operands do not. */
  readonly code: number;
  readonly operands: readonly OperandForm[];
  readonly address: AddressForm | undefined;
  /** Of Jcc, SETcc, CMOVcc, LOOPcc: iced-x86's name, as in `ne`; else `None`. */
  readonly condition: string;
  /** What of the immediate says what the instruction does, and is not an operand: 0 where there is no such thing. */
  readonly variant: number;
  /** Whether its change of memory is one for everybody: by LOCK, or as XCHG is. */
  readonly isLocked: boolean;
  /** Whether the next instruction in memory always follows it. */
  readonly isStraight: boolean;
  /** What handlers are found by: equal for forms of equal meaning. */
  readonly key: string;
}

/** An instruction as a record of RECORD_BYTES, but for its handler; and its form. */
export interface Decoded {
  readonly form: Form;
  readonly record: Uint8Array;
  readonly length: number;
  /** Whether the next instruction in memory does not follow it. */
  readonly endsBlock: boolean;
}

/** Offset in a VCPU's block of a general register, as wide as it is; undefined for others. */
function registerOffset(register: number): number | undefined {
  if (register >= Register.AH && register <= Register.BH) return ST.gpr + 8 * (register - Register.AH) + 1;
  if (RegisterExt.isGPR(register)) return ST.gpr + 8 * RegisterExt.number(RegisterExt.fullRegister(register));
  if (RegisterExt.isMM(register)) return ST.fpr + 16 * RegisterExt.number(register);
  if (RegisterExt.isXMM(register) && RegisterExt.number(register) < 16)
    return ST.xmm + 16 * RegisterExt.number(register);
  if (RegisterExt.isSegmentRegister(register)) return ST.selectors + 2 * RegisterExt.number(register);
  return undefined;
}

function operandForm(instruction: iced.Instruction, n: number): OperandForm {
  const kind = instruction.opKind(n);
  switch (kind) {
    case OpKind.Register: {
      const register = instruction.opRegister(n);
      if (RegisterExt.isGPR(register)) return { kind: 'register', size: RegisterExt.size(register) as Size };
      if (RegisterExt.isST(register)) return { kind: 'fpr' };
      if (RegisterExt.isMM(register)) return { kind: 'mm' };
      if (RegisterExt.isSegmentRegister(register)) return { kind: 'selector' };
      if (RegisterExt.isCR(register) || RegisterExt.isDR(register)) return { kind: 'privileged' };
      return RegisterExt.isXMM(register) && RegisterExt.number(register) < 16 ? { kind: 'xmm' } : { kind: 'other' };
    }
    case OpKind.NearBranch16:
    case OpKind.NearBranch32:
    case OpKind.NearBranch64:
      return { kind: 'branch' };
    case OpKind.Memory:
      return { kind: 'memory', size: MemorySizeExt.size(instruction.memorySize) };
    // MASKMOVDQU and MASKMOVQ.
    case OpKind.MemorySegEDI:
    case OpKind.MemorySegRDI:
      return { kind: 'memory', size: 16 };
    case OpKind.MemorySegSI:
    case OpKind.MemorySegESI:
    case OpKind.MemorySegRSI:
    case OpKind.MemoryESDI:
    case OpKind.MemoryESEDI:
    case OpKind.MemoryESRDI:
    case OpKind.MemorySegDI:
      return { kind: 'other' };
    default:
      return kind >= OpKind.Immediate8 && kind <= OpKind.Immediate32to64 ? { kind: 'immediate' } : { kind: 'other' };
  }
}

const STRING_OPERATION: Readonly<Record<string, number>> = {
  movs: STRING.movs,
  stos: STRING.stos,
  lods: STRING.lods,
  scas: STRING.scas,
  cmps: STRING.cmps,
};
const STRING_SIZE: Readonly<Record<string, number>> = { b: 1, w: 2, d: 4, q: 8 };

/** What a string instruction does, as strings.ts wants it; undefined for others. */
function stringOf(instruction: iced.Instruction): bigint | undefined {
  if (!instruction.isStringInstruction) return undefined;
  const name = (Mnemonic[instruction.mnemonic] ?? '').toLowerCase();
  const [operation, size] = [STRING_OPERATION[name.slice(0, 4)], STRING_SIZE[name.slice(4)]];
  if (operation === undefined || size === undefined) return undefined;
  const kinds = Array.from({ length: instruction.opCount }, (_, n) => instruction.opKind(n));
  const isNarrow = kinds.some((kind) => kind === OpKind.MemorySegESI || kind === OpKind.MemoryESEDI);
  const repeat = instruction.hasRepnePrefix ? REPEAT.repne : instruction.hasRepPrefix ? REPEAT.repe : REPEAT.none;
  return stringCode(operation, size, repeat, isNarrow);
}

/** Bases whose accesses are to the stack. */
const STACK_REGISTERS: readonly number[] = [Register.RSP, Register.RBP, Register.ESP, Register.EBP];

/** Whether segment register `segment` has a base of its own in 64-bit mode. */
const hasBase = (segment: number): boolean => segment === Register.FS || segment === Register.GS;

const isMoffs = (code: number): boolean => /moffs/.test(iced.Code[code]!);

function addressForm(instruction: iced.Instruction): AddressForm | undefined {
  const operands = Array.from({ length: instruction.opCount }, (_, n) => instruction.opKind(n));
  if (operands.includes(OpKind.MemorySegEDI) || operands.includes(OpKind.MemorySegRDI)) {
    return {
      hasIndex: false,
      hasSegment: hasBase(instruction.segmentPrefix),
      isAbsolute: false,
      bits: operands.includes(OpKind.MemorySegEDI) ? 32 : 64,
    };
  }
  if (!operands.includes(OpKind.Memory)) return undefined;
  const base = instruction.memoryBase;
  const isNarrow =
    base === Register.EIP ||
    (base >= Register.EAX && base <= Register.R15D) ||
    (instruction.memoryIndex >= Register.EAX && instruction.memoryIndex <= Register.R15D) ||
    (base === Register.None && instruction.memoryIndex === Register.None && instruction.memoryDisplSize === 4);
  return {
    hasIndex: instruction.memoryIndex !== Register.None,
    hasSegment: hasBase(instruction.segmentPrefix),
    isAbsolute:
      base === Register.None &&
      instruction.memoryIndex === Register.None &&
      instruction.memoryDisplSize === 8 &&
      isMoffs(instruction.code),
    bits: isNarrow ? 32 : 64,
  };
}

/** Instructions whose sizes are not those of their operands: their meaning looks at the code. */
const BY_CODE: readonly number[] = [
  Mnemonic.Push,
  Mnemonic.Enter,
  Mnemonic.Loop,
  Mnemonic.Loope,
  Mnemonic.Loopne,
  Mnemonic.Xlatb,
];

/** Operands that do not say how wide the instruction's others are. */
const HAS_NO_SIZE: readonly OperandForm['kind'][] = ['selector', 'privileged', 'other'];

/** Bits of the immediate of those whose meaning hangs on it. */
const VARIANTS: ReadonlyMap<number, number> = new Map(
  [Mnemonic.Cmpps, Mnemonic.Cmppd, Mnemonic.Cmpss, Mnemonic.Cmpsd, Mnemonic.Pinsrw, Mnemonic.Pextrw].map((m) => [m, 7]),
);

function variantOf(instruction: iced.Instruction): number {
  const last = instruction.opCount - 1;
  const bits = VARIANTS.get(instruction.mnemonic);
  if (bits === undefined || instruction.opKind(last) !== OpKind.Immediate8) return 0;
  return instruction.immediate8 & bits;
}

/** Shuffles of words: from where each of the 8 words of the result comes, by the immediate. */
const WORDS: ReadonlyMap<number, (imm: number, word: number) => number> = new Map([
  [Mnemonic.Pshufw, (imm, n) => (n < 4 ? (imm >> (2 * n)) & 3 : n)],
  [Mnemonic.Pshuflw, (imm, n) => (n < 4 ? (imm >> (2 * n)) & 3 : n)],
  [Mnemonic.Pshufhw, (imm, n) => (n < 4 ? n : 4 + ((imm >> (2 * (n - 4))) & 3))],
  [Mnemonic.Pshufd, (imm, n) => 2 * ((imm >> (2 * (n >> 1))) & 3) + (n & 1)],
  [Mnemonic.Shufps, (imm, n) => 2 * ((imm >> (2 * (n >> 1))) & 3) + (n & 1)],
  [Mnemonic.Shufpd, (imm, n) => 4 * ((imm >> (n >> 2)) & 1) + (n & 3)],
]);

/** The immediate of a shuffle as its meaning wants it: a byte for each word, the place of that word's first byte. */
function placesOf(instruction: iced.Instruction): bigint | undefined {
  const word = WORDS.get(instruction.mnemonic);
  if (word === undefined) return undefined;
  let places = 0n;
  for (let n = 0; n < 8; n++) places |= BigInt(2 * word(instruction.immediate8, n)) << BigInt(8 * n);
  return places;
}

const keyOfOperand = (operand: OperandForm): string =>
  operand.kind[0] + ('size' in operand ? String(operand.size) : '');

/**
 * What an instruction is. Its address is the offset in its page: nothing in a record says which page.
 * @param offset where in its page it lies
 */
export function decoded(instruction: iced.Instruction, offset: number): Decoded {
  const operands = Array.from({ length: instruction.opCount }, (_, n) => operandForm(instruction, n));
  const address = addressForm(instruction);
  const condition = ConditionCode[instruction.conditionCode] ?? 'None';
  const repeat = instruction.hasRepnePrefix ? 'repne' : instruction.hasRepPrefix ? 'repe' : '';
  const mnemonic = Mnemonic[instruction.mnemonic] ?? 'INVALID';
  const isLocked = instruction.hasLockPrefix || (instruction.mnemonic === Mnemonic.Xchg && address !== undefined);
  const how =
    address === undefined
      ? ''
      : `${address.hasIndex ? 'i' : ''}${address.hasSegment ? 's' : ''}${address.isAbsolute ? 'a' : ''}${address.bits}`;
  const isExact =
    operands.length === 0 ||
    operands.some(({ kind }) => HAS_NO_SIZE.includes(kind)) ||
    BY_CODE.includes(instruction.mnemonic);
  const variant = variantOf(instruction);
  const exact = isExact ? `#${instruction.code}` : '';
  const key = `${mnemonic} ${operands.map(keyOfOperand).join(',')} ${how} ${isLocked ? 'lock' : ''} ${repeat} ${exact} ${variant}`;

  const record = new Uint8Array(RECORD_BYTES);
  const view = new DataView(record.buffer);
  view.setUint16(REC.offset, offset, true);
  view.setUint8(REC.length, instruction.length);
  for (const at of [REC.base, REC.index, REC.segment]) view.setUint16(at, ST.zero, true);
  for (const [n, { kind }] of operands.entries()) {
    if (kind === 'register' || kind === 'xmm' || kind === 'mm' || kind === 'selector') {
      if (n < 3) view.setUint16(REC.operand0 + 2 * n, registerOffset(instruction.opRegister(n))!, true);
    } else if (kind === 'immediate') view.setBigInt64(REC.imm, instruction.immediate(n), true);
    else if (kind === 'branch') view.setBigInt64(REC.imm, instruction.nearBranchTarget, true);
  }
  const places = placesOf(instruction);
  if (places !== undefined) view.setBigInt64(REC.imm, places, true);
  // Two immediates: the level lies above the size.
  if (instruction.mnemonic === Mnemonic.Enter) {
    view.setInt32(REC.imm, instruction.immediate16 | (instruction.immediate8_2nd << 16), true);
  }
  if (address !== undefined) {
    const base = instruction.memoryBase;
    // iced-x86 has added the address of the next instruction, which here is that in the page.
    if (base === Register.RIP || base === Register.EIP) view.setUint16(REC.base, ST.codePage, true);
    else if (instruction.mnemonic === Mnemonic.Maskmovdqu || instruction.mnemonic === Mnemonic.Maskmovq)
      view.setUint16(REC.base, registerOffset(Register.RDI)!, true);
    else if (base !== Register.None) view.setUint16(REC.base, registerOffset(base)!, true);
    if (address.hasIndex && instruction.memoryIndex !== Register.AL)
      view.setUint16(REC.index, registerOffset(instruction.memoryIndex)!, true);
    view.setUint8(REC.shift, Math.log2(instruction.memoryIndexScale));
    if (STACK_REGISTERS.includes(base)) view.setUint16(REC.segment, ST.stack, true);
    // POP writes with RSP as it will be.
    const more =
      instruction.mnemonic === Mnemonic.Pop && (base === Register.RSP || base === Register.ESP)
        ? MemorySizeExt.size(instruction.memorySize)
        : 0;
    if (address.isAbsolute) view.setBigUint64(REC.imm, instruction.memoryDisplacement, true);
    else view.setInt32(REC.disp, Number(BigInt.asIntN(32, instruction.memoryDisplacement)) + more, true);
  } else if (instruction.isStackInstruction) view.setUint16(REC.segment, ST.stack, true);
  const string = stringOf(instruction);
  if (string !== undefined) view.setBigInt64(REC.imm, string, true);
  if ((address !== undefined || string !== undefined) && hasBase(instruction.segmentPrefix)) {
    view.setUint16(REC.segment, instruction.segmentPrefix === Register.FS ? ST.fsBase : ST.gsBase, true);
  }
  const x87 = x87Code(instruction);
  if (x87 !== undefined) view.setBigInt64(REC.imm, x87, true);
  const { Next, ConditionalBranch } = iced.FlowControl;
  const flow = instruction.flowControl;
  return {
    form: {
      mnemonic: string === undefined ? mnemonic : 'String',
      code: instruction.code,
      operands,
      address,
      condition,
      variant,
      isLocked,
      isStraight: flow === Next,
      key,
    },
    record,
    length: instruction.length,
    endsBlock: flow !== Next && flow !== ConditionalBranch,
  };
}
