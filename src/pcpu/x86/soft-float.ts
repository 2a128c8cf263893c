/**
 * Floating point as SSE has it, one operation on one lane, exactly: all rounding modes, denormals, FTZ and DAZ, NaNs, and the exceptions
 * (Intel SDM vol. 1, 11.5 and appendix E; IEEE 754). Slow: it is for what the host's own floating point does not say (floating.ts).
 */
import type { FloatOperation, FloatType } from './ir.js';

/** Exceptions, as MXCSR has them: flags from bit 0 on, masks from bit 7 on. */
export const EXCEPTION = { invalid: 1, denormal: 2, zeroDivide: 4, overflow: 8, underflow: 16, inexact: 32 } as const;
/** Bits of MXCSR. */
export const MXCSR = { daz: 0x40, masks: 0x1f80, rounding: 0x6000, ftz: 0x8000, all: 0xffff } as const;
const UNDERFLOW_MASK = EXCEPTION.underflow << 7;
const OVERFLOW_MASK = EXCEPTION.overflow << 7;

/** To nearest, down, up, towards zero: as MXCSR and the x87's control word have it. */
export type Rounding = 0 | 1 | 2 | 3;
export const [NEAREST, DOWN, UP, CHOP] = [0, 1, 2, 3] as const;

interface Format {
  readonly bits: bigint;
  /** Bits of a significand, the hidden one among them. */
  readonly precision: number;
  readonly greatest: number;
  readonly least: number;
}

const FORMATS: Readonly<Record<FloatType, Format>> = {
  f32: { bits: 32n, precision: 24, greatest: 127, least: -126 },
  f64: { bits: 64n, precision: 53, greatest: 1023, least: -1022 },
};

/** A number: `significand` · 2^`exponent`. */
interface Unpacked {
  readonly kind: 'finite' | 'infinite' | 'nan';
  readonly isNegative: boolean;
  readonly significand: bigint;
  readonly exponent: number;
  readonly isDenormal: boolean;
  readonly isSignalling: boolean;
}

export interface Outcome {
  readonly bits: bigint;
  readonly exceptions: number;
}

const exponentOnes = ({ bits, precision }: Format): bigint => (1n << (bits - BigInt(precision))) - 1n;
const quietBit = ({ precision }: Format): bigint => 1n << BigInt(precision - 2);
const signBit = ({ bits }: Format): bigint => 1n << (bits - 1n);
const infinity = (f: Format): bigint => exponentOnes(f) << BigInt(f.precision - 1);
const defaultNan = (f: Format): bigint => signBit(f) | infinity(f) | quietBit(f);

/** Of a number above 0. */
export function bitLength(x: bigint): number {
  const high = Number(x >> 32n);
  if (high < 2 ** 32) return high === 0 ? 32 - Math.clz32(Number(x)) : 64 - Math.clz32(high);
  const digits = x.toString(16);
  return 4 * digits.length - (Math.clz32(Number.parseInt(digits[0]!, 16)) - 28);
}

function unpacked(x: bigint, f: Format, mxcsr: number): Unpacked {
  const fraction = x & ((1n << BigInt(f.precision - 1)) - 1n);
  const biased = (x >> BigInt(f.precision - 1)) & exponentOnes(f);
  const isNegative = (x & signBit(f)) !== 0n;
  const plain = { isNegative, isDenormal: false, isSignalling: false };
  if (biased === exponentOnes(f)) {
    const isSignalling = fraction !== 0n && (fraction & quietBit(f)) === 0n;
    const kind = fraction === 0n ? 'infinite' : 'nan';
    return { ...plain, kind, significand: 0n, exponent: 0, isSignalling };
  }
  const least = f.least - (f.precision - 1);
  if (biased === 0n) {
    const isZero = fraction === 0n || (mxcsr & MXCSR.daz) !== 0;
    return { ...plain, kind: 'finite', significand: isZero ? 0n : fraction, exponent: least, isDenormal: !isZero };
  }
  const significand = fraction | (1n << BigInt(f.precision - 1));
  return { ...plain, kind: 'finite', significand, exponent: least + Number(biased) - 1 };
}

const roundingOf = (mxcsr: number): Rounding => ((mxcsr >> 13) & 3) as Rounding;

/** A significand without its lowest `drop` bits. `isUp`: it is more than it was. */
export function rounded(
  significand: bigint,
  drop: number,
  isSticky: boolean,
  isNegative: boolean,
  rounding: Rounding,
): { significand: bigint; isInexact: boolean; isUp: boolean } {
  if (drop <= 0) return { significand: significand << BigInt(-drop), isInexact: isSticky, isUp: false };
  const kept = significand >> BigInt(drop);
  const rest = significand - (kept << BigInt(drop));
  const isInexact = rest !== 0n || isSticky;
  const half = 1n << BigInt(drop - 1);
  let isUp = false;
  if (rounding === NEAREST) isUp = rest > half || (rest === half && (isSticky || (kept & 1n) === 1n));
  else if (rounding === DOWN) isUp = isInexact && isNegative;
  else if (rounding === UP) isUp = isInexact && !isNegative;
  return { significand: isUp ? kept + 1n : kept, isInexact, isUp };
}

/** The float of a number that is not zero. @param isSticky it is more than that by less than its last bit, of which there are enough */
function packed(
  f: Format,
  mxcsr: number,
  isNegative: boolean,
  significand: bigint,
  exponent: number,
  isSticky = false,
): Outcome {
  const rounding = roundingOf(mxcsr);
  const sign = isNegative ? signBit(f) : 0n;
  const length = bitLength(significand);
  const normalDrop = length - f.precision;
  const unbounded = rounded(significand, normalDrop, isSticky, isNegative, rounding);
  // What it would be if exponents had no bounds says whether it is tiny.
  const carried = bitLength(unbounded.significand) > f.precision ? 1 : 0;
  const isTiny = exponent + length - 1 + carried < f.least;
  /** There is no result, and inexact is what it would be without bounds. */
  const unmasked = (exception: number): Outcome => ({
    bits: 0n,
    exceptions: exception | (unbounded.isInexact ? EXCEPTION.inexact : 0),
  });
  let exceptions = 0;
  if (isTiny && (mxcsr & MXCSR.ftz) !== 0 && (mxcsr & UNDERFLOW_MASK) !== 0) {
    return { bits: sign, exceptions: EXCEPTION.underflow | EXCEPTION.inexact };
  }
  const leastDrop = f.least - (f.precision - 1) - exponent;
  const drop = Math.max(normalDrop, leastDrop);
  const { significand: kept, isInexact } = rounded(significand, drop, isSticky, isNegative, rounding);
  if (isInexact) exceptions |= EXCEPTION.inexact;
  if (isTiny && (mxcsr & UNDERFLOW_MASK) === 0) return unmasked(EXCEPTION.underflow);
  if (isTiny && isInexact) exceptions |= EXCEPTION.underflow;
  // A carry out of the significand counts up the exponent by itself.
  const biased = drop + exponent - (f.least - (f.precision - 1));
  const bits = (BigInt(biased) << BigInt(f.precision - 1)) + kept;
  if (bits >= infinity(f)) {
    if ((mxcsr & OVERFLOW_MASK) === 0) return unmasked(EXCEPTION.overflow);
    const isInfinite = rounding === NEAREST || rounding === (isNegative ? DOWN : UP);
    return {
      bits: sign | (isInfinite ? infinity(f) : infinity(f) - 1n),
      exceptions: exceptions | EXCEPTION.overflow | EXCEPTION.inexact,
    };
  }
  return { bits: sign | bits, exceptions };
}

/** Of a whole number, rounded down. */
export function root(x: bigint): bigint {
  if (x < 2n) return x;
  let r = 1n << BigInt((bitLength(x) + 1) >> 1);
  for (;;) {
    const next = (r + x / r) >> 1n;
    if (next >= r) return r;
    r = next;
  }
}

const INVALID = (f: Format): Outcome => ({ bits: defaultNan(f), exceptions: EXCEPTION.invalid });
const zero = (f: Format, isNegative: boolean): bigint => (isNegative ? signBit(f) : 0n);

function withDenormals(outcome: Outcome, ...operands: readonly Unpacked[]): Outcome {
  if (!operands.some(({ isDenormal }) => isDenormal)) return outcome;
  return { bits: outcome.bits, exceptions: outcome.exceptions | EXCEPTION.denormal };
}

/** a + b of finite numbers. */
function sum(f: Format, mxcsr: number, a: Unpacked, b: Unpacked): Outcome {
  const exponent = Math.min(a.exponent, b.exponent);
  const term = (x: Unpacked): bigint =>
    (x.isNegative ? -x.significand : x.significand) << BigInt(x.exponent - exponent);
  const total = term(a) + term(b);
  if (total === 0n) {
    const isNegative = a.isNegative === b.isNegative ? a.isNegative : roundingOf(mxcsr) === DOWN;
    return { bits: zero(f, isNegative), exceptions: 0 };
  }
  return packed(f, mxcsr, total < 0n, total < 0n ? -total : total, exponent);
}

function quotient(f: Format, mxcsr: number, a: Unpacked, b: Unpacked): Outcome {
  const isNegative = a.isNegative !== b.isNegative;
  const shift = Math.max(0, 2 * f.precision + 8 + bitLength(b.significand) - bitLength(a.significand));
  const dividend = a.significand << BigInt(shift);
  const q = dividend / b.significand;
  return packed(f, mxcsr, isNegative, q, a.exponent - shift - b.exponent, q * b.significand !== dividend);
}

function squareRoot(f: Format, mxcsr: number, a: Unpacked): Outcome {
  let shift = 2 * f.precision + 8;
  if (((a.exponent - shift) & 1) !== 0) shift++;
  const wide = a.significand << BigInt(shift);
  const r = root(wide);
  return packed(f, mxcsr, false, r, (a.exponent - shift) / 2, r * r !== wide);
}

function nanOf(f: Format, bits: readonly bigint[], operands: readonly Unpacked[]): Outcome | undefined {
  const first = operands.findIndex(({ kind }) => kind === 'nan');
  if (first < 0) return undefined;
  const isSignalling = operands.some((x) => x.isSignalling);
  return { bits: bits[first]! | quietBit(f), exceptions: isSignalling ? EXCEPTION.invalid : 0 };
}

function arithmetic(
  fn: 'add' | 'sub' | 'mul' | 'div' | 'sqrt',
  f: Format,
  mxcsr: number,
  aBits: bigint,
  bBits: bigint,
): Outcome {
  const a = unpacked(aBits, f, mxcsr);
  const signed = unpacked(bBits, f, mxcsr);
  const nan = fn === 'sqrt' ? nanOf(f, [aBits], [a]) : nanOf(f, [aBits, bBits], [a, signed]);
  if (nan !== undefined) return nan;
  const b = fn === 'sub' ? { ...signed, isNegative: !signed.isNegative } : signed;
  const [aInfinite, bInfinite] = [a.kind === 'infinite', b.kind === 'infinite'];
  const isZero = (x: Unpacked): boolean => x.kind === 'finite' && x.significand === 0n;
  const isNegative = a.isNegative !== b.isNegative;
  const exactly = (bits: bigint): Outcome => withDenormals({ bits, exceptions: 0 }, a, b);
  const signedInfinity = (negative: boolean): bigint => zero(f, negative) | infinity(f);
  switch (fn) {
    case 'add':
    case 'sub':
      if (aInfinite && bInfinite && isNegative) return INVALID(f);
      if (aInfinite || bInfinite) return exactly(signedInfinity(aInfinite ? a.isNegative : b.isNegative));
      return withDenormals(sum(f, mxcsr, a, b), a, b);
    case 'mul':
      if ((aInfinite && isZero(b)) || (bInfinite && isZero(a))) return INVALID(f);
      if (aInfinite || bInfinite) return exactly(signedInfinity(isNegative));
      if (isZero(a) || isZero(b)) return exactly(zero(f, isNegative));
      return withDenormals(packed(f, mxcsr, isNegative, a.significand * b.significand, a.exponent + b.exponent), a, b);
    case 'div':
      if ((aInfinite && bInfinite) || (isZero(a) && isZero(b))) return INVALID(f);
      if (aInfinite) return exactly(signedInfinity(isNegative));
      if (isZero(b)) return { bits: signedInfinity(isNegative), exceptions: EXCEPTION.zeroDivide };
      if (bInfinite || isZero(a)) return exactly(zero(f, isNegative));
      return withDenormals(quotient(f, mxcsr, a, b), a, b);
    case 'sqrt':
      if (isZero(a)) return { bits: zero(f, a.isNegative), exceptions: 0 };
      if (a.isNegative) return INVALID(f);
      if (aInfinite) return { bits: infinity(f), exceptions: 0 };
      return withDenormals(squareRoot(f, mxcsr, a), a);
  }
}

/** −1, 0 or 1, as a is less, equal or greater; undefined where one is no number. */
function order(a: Unpacked, b: Unpacked): number | undefined {
  if (a.kind === 'nan' || b.kind === 'nan') return undefined;
  const rank = (x: Unpacked): number => (x.kind === 'infinite' ? (x.isNegative ? -1 : 1) : 0);
  if (rank(a) !== 0 || rank(b) !== 0) return Math.sign(rank(a) - rank(b));
  const exponent = Math.min(a.exponent, b.exponent);
  const number = (x: Unpacked): bigint =>
    (x.isNegative ? -x.significand : x.significand) << BigInt(x.exponent - exponent);
  const [m, n] = [number(a), number(b)];
  return m < n ? -1 : m > n ? 1 : 0;
}

const SIGNALLING: readonly FloatOperation[] = ['lt', 'le', 'nlt', 'nle', 'comi', 'min', 'max'];

function comparison(fn: FloatOperation, f: Format, mxcsr: number, aBits: bigint, bBits: bigint): Outcome {
  const [a, b] = [unpacked(aBits, f, mxcsr), unpacked(bBits, f, mxcsr)];
  const is = order(a, b);
  const ones = (1n << f.bits) - 1n;
  const isInvalid = is === undefined && (SIGNALLING.includes(fn) || a.isSignalling || b.isSignalling);
  const say = (bits: bigint): Outcome =>
    isInvalid
      ? { bits, exceptions: EXCEPTION.invalid }
      : is === undefined
        ? { bits, exceptions: 0 }
        : withDenormals({ bits, exceptions: 0 }, a, b);
  const mask = (when: boolean): Outcome => say(when ? ones : 0n);
  /** An operand as it is: DAZ makes zero of a denormal. */
  const as = (bits: bigint, x: Unpacked): bigint =>
    x.kind === 'finite' && x.significand === 0n ? zero(f, x.isNegative) : bits;
  switch (fn) {
    case 'min':
      return say(is === -1 ? as(aBits, a) : as(bBits, b));
    case 'max':
      return say(is === 1 ? as(aBits, a) : as(bBits, b));
    case 'ucomi':
    case 'comi':
      return say(is === undefined ? 0x45n : is < 0 ? 1n : is === 0 ? 0x40n : 0n);
    case 'eq':
      return mask(is === 0);
    case 'neq':
      return mask(is !== 0);
    case 'lt':
      return mask(is === -1);
    case 'nlt':
      return mask(is !== -1);
    case 'le':
      return mask(is === -1 || is === 0);
    case 'nle':
      return mask(is !== -1 && is !== 0);
    case 'unord':
      return mask(is === undefined);
    default:
      return mask(is !== undefined);
  }
}

/** From one format to the other. A NaN keeps the upper bits of its payload. */
function converted(from: Format, to: Format, mxcsr: number, bits: bigint): Outcome {
  const a = unpacked(bits, from, mxcsr);
  const sign = zero(to, a.isNegative);
  if (a.kind === 'infinite') return { bits: sign | infinity(to), exceptions: 0 };
  if (a.kind === 'nan') {
    const fraction = bits & ((1n << BigInt(from.precision - 1)) - 1n);
    const by = BigInt(to.precision - from.precision);
    const payload = by < 0n ? fraction >> -by : fraction << by;
    return {
      bits: sign | infinity(to) | quietBit(to) | payload,
      exceptions: a.isSignalling ? EXCEPTION.invalid : 0,
    };
  }
  if (a.significand === 0n) return { bits: sign, exceptions: 0 };
  return withDenormals(packed(to, mxcsr, a.isNegative, a.significand, a.exponent), a);
}

/** To an integer of `bits` bits; the least one where it does not fit. */
function integer(f: Format, mxcsr: number, x: bigint, bits: bigint, isTruncated: boolean): Outcome {
  const a = unpacked(x, f, mxcsr);
  const indefinite = { bits: 1n << (bits - 1n), exceptions: EXCEPTION.invalid };
  if (a.kind !== 'finite') return indefinite;
  const rounding = isTruncated ? CHOP : roundingOf(mxcsr);
  const { significand, isInexact } = rounded(a.significand, -a.exponent, false, a.isNegative, rounding);
  const n = a.isNegative ? -significand : significand;
  if (BigInt.asIntN(Number(bits), n) !== n) return indefinite;
  return { bits: BigInt.asUintN(Number(bits), n), exceptions: isInexact ? EXCEPTION.inexact : 0 };
}

function fromInteger(f: Format, mxcsr: number, x: bigint, bits: number): Outcome {
  const n = BigInt.asIntN(bits, x);
  if (n === 0n) return { bits: 0n, exceptions: 0 };
  return packed(f, mxcsr, n < 0n, n < 0n ? -n : n, 0);
}

/** What an operation makes of a lane of each operand, and the exceptions that are flagged, masked or not. */
export function softFloat(fn: FloatOperation, type: FloatType, mxcsr: number, a: bigint, b: bigint): Outcome {
  const f = FORMATS[type];
  switch (fn) {
    case 'add':
    case 'sub':
    case 'mul':
    case 'div':
    case 'sqrt':
      return arithmetic(fn, f, mxcsr, a, b);
    case 'widen':
      return converted(f, FORMATS.f64, mxcsr, a);
    case 'narrow':
      return converted(f, FORMATS.f32, mxcsr, a);
    case 'toInt32':
    case 'truncateToInt32':
      return integer(f, mxcsr, a, 32n, fn === 'truncateToInt32');
    case 'toInt64':
    case 'truncateToInt64':
      return integer(f, mxcsr, a, 64n, fn === 'truncateToInt64');
    case 'fromInt32':
      return fromInteger(f, mxcsr, a, 32);
    case 'fromInt64':
      return fromInteger(f, mxcsr, a, 64);
    default:
      return comparison(fn, f, mxcsr, a, b);
  }
}
