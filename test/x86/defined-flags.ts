/** Which status flags an instruction leaves defined. The architecture leaves some to the processor's taste. */
import { Decoder, DecoderOptions, type Instruction, Mnemonic, OpKind, Register, RflagsBits } from 'iced-x86';
import { type Case, Flag, RCX, STATUS_FLAGS } from './case.js';
import { addressOperands, gprsWritten, isBranch, isUnconditional, operandBits } from './instructions.js';

const BITS: readonly (readonly [RflagsBits, bigint])[] = [
  [RflagsBits.OF, Flag.OF],
  [RflagsBits.SF, Flag.SF],
  [RflagsBits.ZF, Flag.ZF],
  [RflagsBits.AF, Flag.AF],
  [RflagsBits.CF, Flag.CF],
  [RflagsBits.PF, Flag.PF],
];

/** Status flags of iced's bits as those of rflags. */
export function statusFlags(bits: number): bigint {
  let flags = 0n;
  for (const [bit, flag] of BITS) if (bits & bit) flags |= flag;
  return flags;
}

const ROTATES: ReadonlySet<Mnemonic> = new Set([Mnemonic.Rol, Mnemonic.Ror, Mnemonic.Rcl, Mnemonic.Rcr]);
const SHIFTS: ReadonlySet<Mnemonic> = new Set([
  ...[Mnemonic.Shl, Mnemonic.Sal, Mnemonic.Shr, Mnemonic.Sar],
  ...[Mnemonic.Shld, Mnemonic.Shrd],
]);

export const isShift = (mnemonic: Mnemonic): boolean => ROTATES.has(mnemonic) || SHIFTS.has(mnemonic);

/** Flags defined after a shift or rotate of `bits` bits by `count`, which is masked already. */
function afterShiftBy(mnemonic: Mnemonic, bits: number, count: number, before: bigint): bigint {
  if (count === 0) return before;
  const overflow = count === 1 ? before | Flag.OF : before & ~Flag.OF;
  if (ROTATES.has(mnemonic)) return overflow | Flag.CF;
  const after = (overflow | Flag.SF | Flag.ZF | Flag.PF | Flag.CF) & ~Flag.AF;
  const loses = mnemonic === Mnemonic.Shl || mnemonic === Mnemonic.Sal || mnemonic === Mnemonic.Shr;
  return loses && count >= bits ? after & ~Flag.CF : after;
}

/** Whatever the count may be, flags that are defined after it. */
function afterAnyShift(mnemonic: Mnemonic, bits: number, before: bigint): bigint {
  let after = -1n;
  for (let n = 0; n <= shiftMask(bits); n++) after &= afterShiftBy(mnemonic, bits, n, before);
  return after;
}

const shiftMask = (bits: number): number => (bits === 64 ? 63 : 31);

/**
 * Flags that are defined after an instruction.
 *
 * @param count in CL for shifts by CL, in rcx for repeated string instructions, where it is known
 */
export function definedAfter(instruction: Instruction, before: bigint, count: number | undefined): bigint {
  const { mnemonic } = instruction;
  if (isShift(mnemonic)) {
    const last = instruction.opCount - 1;
    const shift = instruction.opKind(last) === OpKind.Register ? count : Number(instruction.immediate(last));
    const bits = operandBits(instruction);
    if (shift === undefined) return afterAnyShift(mnemonic, bits, before);
    return afterShiftBy(mnemonic, bits, shift & shiftMask(bits), before);
  }
  const { rflagsWritten, rflagsCleared, rflagsSet, rflagsUndefined } = instruction;
  const after = (before & ~statusFlags(rflagsUndefined)) | statusFlags(rflagsWritten | rflagsCleared | rflagsSet);
  if (!instruction.isStringInstruction || !(instruction.hasRepPrefix || instruction.hasRepnePrefix)) return after;
  // Done no times, it leaves flags alone.
  if (count === undefined) return after & before;
  return count === 0 ? before : after;
}

/**
 * Flags that are defined where an instruction faults. Makers differ in whether CMPS and SCAS that were repeated some times have
 * changed them.
 */
export function definedIfFaults(instruction: Instruction, before: bigint): bigint {
  const isRepeated = instruction.hasRepPrefix || instruction.hasRepnePrefix;
  return isRepeated && statusFlags(instruction.rflagsWritten) !== 0n ? 0n : before;
}

interface Knowledge {
  readonly defined: bigint;
  readonly cl: number | undefined;
  readonly rcx: bigint | undefined;
}

const meet = (a: Knowledge | undefined, b: Knowledge): Knowledge =>
  a === undefined
    ? b
    : {
        defined: a.defined & b.defined,
        cl: a.cl === b.cl ? a.cl : undefined,
        rcx: a.rcx === b.rcx ? a.rcx : undefined,
      };

function counterAfter(instruction: Instruction, { cl, rcx }: Knowledge): Pick<Knowledge, 'cl' | 'rcx'> {
  if (!gprsWritten(instruction).includes(RCX)) return { cl, rcx };
  if (
    instruction.mnemonic !== Mnemonic.Mov ||
    instruction.op1Kind === OpKind.Register ||
    instruction.op1Kind === OpKind.Memory
  )
    return { cl: undefined, rcx: undefined };
  const value = instruction.immediate(1);
  if (instruction.op0Register === Register.CH) return { cl, rcx: undefined };
  const isWhole = operandBits(instruction) >= 32;
  return { cl: Number(value & 0xffn), rcx: isWhole ? BigInt.asUintN(operandBits(instruction), value) : undefined };
}

/** What the flags of a case are worth. */
export interface FlagAnalysis {
  /** Status flags that are defined where the case ends: at the end of its code, or at an instruction that faults. */
  readonly definedAt: (rip: bigint) => bigint;
  /** Nothing in it depends on what the architecture leaves undefined, or the system decides. */
  readonly isDefined: boolean;
}

/**
 * Looks at code that need not come from a generator: less exactly, but for every case that jumps forward, by branches or to
 * addresses that are immediates in it. Where it says that a flag is defined, it is.
 */
export function analyseFlags({ code, state }: Case): FlagAnalysis {
  const decoder = new Decoder(64, code, DecoderOptions.None);
  decoder.ip = state.rip;
  const rcx = state.gpr[RCX]!;
  const before = new Map<bigint, Knowledge>([[state.rip, { defined: STATUS_FLAGS, cl: Number(rcx & 0xffn), rcx }]]);
  const reach = (address: bigint, knowledge: Knowledge) => before.set(address, meet(before.get(address), knowledge));
  const faulting = new Map<bigint, bigint>();
  const addresses: bigint[] = [];
  let isDefined = true;
  let isAfterPush = false;
  while (decoder.canDecode) {
    const instruction = decoder.decode();
    const { ip, nextIP, mnemonic } = instruction;
    const here = before.get(ip);
    const isPopf = mnemonic === Mnemonic.Popf || mnemonic === Mnemonic.Popfq;
    if (here) {
      const count = isShift(mnemonic) ? here.cl : here.rcx === undefined ? undefined : Number(here.rcx !== 0n);
      if (statusFlags(instruction.rflagsRead) & ~here.defined) isDefined = false;
      const isDouble = mnemonic === Mnemonic.Shld || mnemonic === Mnemonic.Shrd;
      if (isDouble && operandBits(instruction) === 16) {
        const by = instruction.opKind(2) === OpKind.Register ? here.cl : Number(instruction.immediate(2));
        if (by === undefined || (by & 31) > 16) isDefined = false;
      }
      // TF and AC are out of scope: what is popped must be known.
      if (isPopf && !isAfterPush) isDefined = false;
      faulting.set(ip, definedIfFaults(instruction, here.defined));
      const after = { defined: definedAfter(instruction, here.defined, count), ...counterAfter(instruction, here) };
      for (const i of addressOperands(instruction)) addresses.push(instruction.immediate(i));
      const isTransfer = isUnconditional(instruction);
      if (isBranch(instruction)) reach(instruction.nearBranch64, after);
      else if (isTransfer) for (const address of addresses) if (address > ip) reach(address, after);
      if (!isTransfer) reach(nextIP, after);
    }
    if (mnemonic !== Mnemonic.Nop) isAfterPush = mnemonic === Mnemonic.Push && instruction.op0Kind !== OpKind.Register;
    instruction.free();
  }
  decoder.free();
  return { definedAt: (rip) => faulting.get(rip) ?? before.get(rip)?.defined ?? 0n, isDefined };
}
