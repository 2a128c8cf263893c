/** Which status flags an instruction leaves defined. The architecture leaves some to the processor's taste. */
import { type Instruction, Mnemonic, RflagsBits } from 'iced-x86';
import { Flag } from './case.js';

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

/** Flags defined after a shift or rotate; `count`, as far as it is known, is what the instruction has, not masked. */
export function afterShift(mnemonic: Mnemonic, bits: number, count: number | undefined, before: bigint): bigint {
  const mask = bits === 64 ? 63 : 31;
  if (count !== undefined) return afterShiftBy(mnemonic, bits, count & mask, before);
  let after = -1n;
  for (let n = 0; n <= mask; n++) after &= afterShiftBy(mnemonic, bits, n, before);
  return after;
}

/** Flags defined after any other instruction. */
export function afterOther(instruction: Instruction, before: bigint): bigint {
  const { rflagsWritten, rflagsCleared, rflagsSet, rflagsUndefined } = instruction;
  return (before & ~statusFlags(rflagsUndefined)) | statusFlags(rflagsWritten | rflagsCleared | rflagsSet);
}
