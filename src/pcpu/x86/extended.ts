/**
 * The x87's 80-bit numbers (Intel SDM vol. 1, 4.2.2, 8.2): what their bits say, rounding to any format, and conversions from and to the
 * formats that memory has.
 */
import { bitLength, DOWN, EXCEPTION, NEAREST, type Rounding, rounded, UP } from './soft-float.js';

/** As a register holds it: the integer bit is bit 63 of the significand. */
export interface Extended {
  readonly isNegative: boolean;
  /** Biased by BIAS, 15 bits. */
  readonly exponent: number;
  readonly significand: bigint;
}

/** `unsupported`: pseudo-NaNs, pseudo-infinities and unnormals. Pseudo-denormals are denormal. */
export type ExtendedClass = 'zero' | 'denormal' | 'normal' | 'infinite' | 'quiet' | 'signalling' | 'unsupported';

/** An operand: what it is, and for numbers `significand` · 2^`power`. */
export interface Operand {
  readonly kind: ExtendedClass;
  readonly isNegative: boolean;
  readonly significand: bigint;
  readonly power: number;
  /** The same in a register. */
  readonly bits: Extended;
}

/** What the control word says: bits of significands, rounding, and exceptions that are masked. */
export interface Control {
  readonly precision: number;
  readonly rounding: Rounding;
  readonly masks: number;
}

/** A result with the exceptions that it raises; `isUp`: it was rounded to more than it is. */
export interface Outcome<T> {
  readonly value: T;
  readonly exceptions: number;
  readonly isUp: boolean;
}

/** Significands and exponents that a format has. */
interface Format {
  readonly precision: number;
  readonly least: number;
  readonly greatest: number;
}

const BIAS = 16383;
const EXPONENT_ONES = 0x7fff;
const INTEGER_BIT = 1n << 63n;
const QUIET_BIT = 1n << 62n;
/** What exponents are wrapped by where overflow or underflow is not masked (SDM vol. 1, 8.5.4, 8.5.5). */
const WRAP = 24576;

const FORMATS = {
  f32: { precision: 24, least: -126, greatest: 127 },
  f64: { precision: 53, least: -1022, greatest: 1023 },
} as const;
export type MemoryFloat = keyof typeof FORMATS;
const SIGN_BIT: Readonly<Record<MemoryFloat, number>> = { f32: 31, f64: 63 };

/** All 15 bits of exponent, and a significand as the control word has it. */
const extendedFormat = (precision: number): Format => ({ precision, least: 1 - BIAS, greatest: BIAS });

export const zero = (isNegative: boolean): Extended => ({ isNegative, exponent: 0, significand: 0n });
export const infinity = (isNegative: boolean): Extended => ({
  isNegative,
  exponent: EXPONENT_ONES,
  significand: INTEGER_BIT,
});
/** The real indefinite. */
export const INDEFINITE: Extended = {
  isNegative: true,
  exponent: EXPONENT_ONES,
  significand: INTEGER_BIT | QUIET_BIT,
};

export const exactly = <T>(value: T, exceptions = 0): Outcome<T> => ({ value, exceptions, isUp: false });
export const INVALID: Outcome<Extended> = exactly(INDEFINITE, EXCEPTION.invalid);

export function classOf({ exponent, significand }: Extended): ExtendedClass {
  if (exponent === 0) return significand === 0n ? 'zero' : 'denormal';
  if ((significand & INTEGER_BIT) === 0n) return 'unsupported';
  if (exponent !== EXPONENT_ONES) return 'normal';
  if (significand === INTEGER_BIT) return 'infinite';
  return (significand & QUIET_BIT) !== 0n ? 'quiet' : 'signalling';
}

export const operandOf = (x: Extended): Operand => ({
  kind: classOf(x),
  isNegative: x.isNegative,
  significand: x.significand,
  power: Math.max(x.exponent, 1) - BIAS - 63,
  bits: x,
});

const isNan = ({ kind }: Operand): boolean => kind === 'quiet' || kind === 'signalling';
export const isZero = ({ kind }: Operand): boolean => kind === 'zero';
export const isInfinite = ({ kind }: Operand): boolean => kind === 'infinite';

export const quieted = (x: Extended): Extended => ({ ...x, significand: x.significand | QUIET_BIT });

/** The result where an operand is no number: SDM vol. 1, table 4-7 and 8.5.1.2. Undefined where all are numbers. */
export function nanOf(a: Operand, b: Operand = a): Outcome<Extended> | undefined {
  if (a.kind === 'unsupported' || b.kind === 'unsupported') return INVALID;
  if (!isNan(a) && !isNan(b)) return undefined;
  const isInvalid = a.kind === 'signalling' || b.kind === 'signalling';
  return exactly(quieted(chosenNan(a, b)), isInvalid ? EXCEPTION.invalid : 0);
}

function chosenNan(a: Operand, b: Operand): Extended {
  if (!isNan(b)) return a.bits;
  if (!isNan(a)) return b.bits;
  // Of a quiet and a signalling one, the quiet one.
  if (a.kind !== b.kind) return a.kind === 'quiet' ? a.bits : b.bits;
  if (a.significand !== b.significand) return a.significand > b.significand ? a.bits : b.bits;
  return a.isNegative ? b.bits : a.bits;
}

/** Raises denormal for those operands that are. */
export function withDenormals<T>(outcome: Outcome<T>, ...operands: readonly Operand[]): Outcome<T> {
  if (!operands.some(({ kind }) => kind === 'denormal')) return outcome;
  return { ...outcome, exceptions: outcome.exceptions | EXCEPTION.denormal };
}

/** A number as a register has it, which must fit. */
export function extended(isNegative: boolean, significand: bigint, power: number): Extended {
  if (significand === 0n) return zero(isNegative);
  const length = bitLength(significand);
  const exponent = power + length - 1;
  if (exponent >= 1 - BIAS)
    return { isNegative, exponent: exponent + BIAS, significand: significand << BigInt(64 - length) };
  return { isNegative, exponent: 0, significand: significand << BigInt(power - (1 - BIAS - 63)) };
}

/** What rounding to a format gives; `overflow`, `underflow`: not masked, there is no result but for one with another exponent. */
interface Rounded {
  readonly kind: 'finite' | 'infinite' | 'overflow' | 'underflow';
  readonly significand: bigint;
  readonly power: number;
  readonly exceptions: number;
  readonly isUp: boolean;
}

/** A number above 0, rounded. @param isSticky it is more than that by less than its last bit, of which there are enough */
function round(
  f: Format,
  { rounding, masks }: Control,
  isNegative: boolean,
  significand: bigint,
  power: number,
  isSticky: boolean,
): Rounded {
  const length = bitLength(significand);
  const normalDrop = length - f.precision;
  const unbounded = rounded(significand, normalDrop, isSticky, isNegative, rounding);
  const inexact = unbounded.isInexact ? EXCEPTION.inexact : 0;
  // What it would be if exponents had no bounds says whether it is tiny or too large.
  const carry = unbounded.isUp && bitLength(unbounded.significand) > f.precision ? 1 : 0;
  const exponent = power + length - 1 + carry;
  const asItIs = (kind: Rounded['kind'], exceptions: number): Rounded => ({
    kind,
    significand: unbounded.significand,
    power: power + normalDrop,
    exceptions: exceptions | inexact,
    isUp: unbounded.isUp,
  });
  if (exponent > f.greatest) {
    if ((masks & EXCEPTION.overflow) === 0) return asItIs('overflow', EXCEPTION.overflow);
    const isUp = rounding === NEAREST || rounding === (isNegative ? DOWN : UP);
    return {
      kind: isUp ? 'infinite' : 'finite',
      significand: (1n << BigInt(f.precision)) - 1n,
      power: f.greatest - (f.precision - 1),
      exceptions: EXCEPTION.overflow | EXCEPTION.inexact,
      isUp,
    };
  }
  if (exponent >= f.least) return asItIs('finite', 0);
  if ((masks & EXCEPTION.underflow) === 0) return asItIs('underflow', EXCEPTION.underflow);
  const leastPower = f.least - (f.precision - 1);
  const drop = Math.max(normalDrop, leastPower - power);
  const tiny = rounded(significand, drop, isSticky, isNegative, rounding);
  return {
    kind: 'finite',
    significand: tiny.significand,
    power: power + drop,
    exceptions: tiny.isInexact ? EXCEPTION.underflow | EXCEPTION.inexact : 0,
    isUp: tiny.isUp,
  };
}

/**
 * A number for a register. Where overflow or underflow is not masked, its exponent is wrapped.
 * @param precision bits of its significand @default what the control word says
 */
export function roundedExtended(
  control: Control,
  isNegative: boolean,
  significand: bigint,
  power: number,
  isSticky = false,
  precision = control.precision,
): Outcome<Extended> {
  const r = round(extendedFormat(precision), control, isNegative, significand, power, isSticky);
  if (r.kind === 'infinite') return { value: infinity(isNegative), exceptions: r.exceptions, isUp: r.isUp };
  const wrap = r.kind === 'overflow' ? -WRAP : r.kind === 'underflow' ? WRAP : 0;
  const exponent = r.power + wrap + bitLength(r.significand) - 1;
  // Only FSCALE gets farther than that.
  if (wrap < 0 && exponent > BIAS)
    return { value: infinity(isNegative), exceptions: r.exceptions | EXCEPTION.inexact, isUp: true };
  if (wrap > 0 && exponent < 1 - BIAS)
    return { value: zero(isNegative), exceptions: r.exceptions | EXCEPTION.inexact, isUp: false };
  return { value: extended(isNegative, r.significand, r.power + wrap), exceptions: r.exceptions, isUp: r.isUp };
}

/** A register's number as a float in memory. Where overflow or underflow is not masked, there is none. */
export function toFloat(control: Control, type: MemoryFloat, x: Extended): Outcome<bigint> {
  const f = FORMATS[type];
  const fractionBits = BigInt(f.precision - 1);
  const signOf = (isNegative: boolean): bigint => (isNegative ? 1n << BigInt(SIGN_BIT[type]) : 0n);
  const sign = signOf(x.isNegative);
  const ones = BigInt(2 * f.greatest + 1) << fractionBits;
  const a = operandOf(x);
  const nan = nanOf(a);
  if (nan !== undefined) {
    const fraction = (nan.value.significand & (INTEGER_BIT - 1n)) >> (63n - fractionBits);
    return exactly(signOf(nan.value.isNegative) | ones | fraction, nan.exceptions);
  }
  if (isZero(a)) return exactly(sign);
  if (isInfinite(a)) return exactly(sign | ones);
  const r = round(f, control, x.isNegative, a.significand, a.power, false);
  // The integer bit counts up the exponent by itself, as does a carry out of the significand.
  const biased = BigInt(r.power - (f.least - (f.precision - 1)));
  const bits = r.kind === 'infinite' ? ones : (biased << fractionBits) + r.significand;
  return { value: sign | bits, exceptions: r.exceptions, isUp: r.isUp };
}

/** A float in memory as an operand: it is denormal, or a signalling NaN, where it is that in memory. */
export function fromFloat(type: MemoryFloat, bits: bigint): Operand {
  const f = FORMATS[type];
  const fractionBits = BigInt(f.precision - 1);
  const isNegative = bits >> BigInt(SIGN_BIT[type]) !== 0n;
  const ones = 2 * f.greatest + 1;
  const exponent = Number((bits >> fractionBits) & BigInt(ones));
  const fraction = bits & ((1n << fractionBits) - 1n);
  if (exponent === ones)
    return operandOf({
      isNegative,
      exponent: EXPONENT_ONES,
      significand: INTEGER_BIT | (fraction << (63n - fractionBits)),
    });
  const significand = exponent === 0 ? fraction : fraction | (1n << fractionBits);
  const power = f.least - (f.precision - 1) + Math.max(exponent, 1) - 1;
  const operand = operandOf(extended(isNegative, significand, power));
  return exponent === 0 && fraction !== 0n ? { ...operand, kind: 'denormal' } : operand;
}

export const fromInteger = (n: bigint): Operand => operandOf(extended(n < 0n, n < 0n ? -n : n, 0));

/** Powers of 2 below which all that counts of a number is that it is not zero. */
const LEAST_POWER = -70;

/** The magnitude of a number as an integer. */
export function whole(x: Operand, rounding: Rounding): Outcome<bigint> {
  if (isZero(x)) return exactly(0n);
  const [magnitude, power] = x.power < LEAST_POWER ? [1n, LEAST_POWER] : [x.significand, x.power];
  const { significand, isInexact, isUp } = rounded(magnitude, -power, false, x.isNegative, rounding);
  return { value: significand, exceptions: isInexact ? EXCEPTION.inexact : 0, isUp };
}

/** A register's number as an integer in memory; the integer indefinite where it does not fit. */
export function toInteger(x: Extended, bits: number, rounding: Rounding): Outcome<bigint> {
  const a = operandOf(x);
  const indefinite = exactly(1n << BigInt(bits - 1), EXCEPTION.invalid);
  if (nanOf(a) !== undefined || isInfinite(a) || a.power >= bits) return indefinite;
  const { value, exceptions, isUp } = whole(a, rounding);
  const n = x.isNegative ? -value : value;
  if (BigInt.asIntN(bits, n) !== n) return indefinite;
  return { value: BigInt.asUintN(bits, n), exceptions, isUp };
}

const BCD_DIGITS = 18;
const BCD_INDEFINITE = 0xffff_c000_0000_0000_0000n;

/** Packed BCD: 18 digits, and a sign in bit 79 (SDM vol. 1, 4.7). */
export function toBcd(x: Extended, rounding: Rounding): Outcome<bigint> {
  const a = operandOf(x);
  const indefinite = exactly(BCD_INDEFINITE, EXCEPTION.invalid);
  if (nanOf(a) !== undefined || isInfinite(a) || a.power >= 64) return indefinite;
  const { value, exceptions, isUp } = whole(a, rounding);
  const digits = value.toString();
  if (digits.length > BCD_DIGITS) return indefinite;
  return { value: BigInt(`0x${digits}`) | (x.isNegative ? 1n << 79n : 0n), exceptions, isUp };
}

export function fromBcd(bits: bigint): Extended {
  let n = 0n;
  for (let digit = BCD_DIGITS - 1; digit >= 0; digit--) n = 10n * n + ((bits >> BigInt(4 * digit)) & 15n);
  return extended(bits >> 79n !== 0n, n, 0);
}
