/** What the x87 computes with numbers of its own, exactly: Intel SDM vol. 1, 8.3; vol. 2 under each instruction. */
import {
  type Control,
  type Extended,
  exactly,
  extended,
  INVALID,
  infinity,
  isInfinite,
  isZero,
  nanOf,
  type Operand,
  type Outcome,
  operandOf,
  roundedExtended,
  whole,
  withDenormals,
  zero,
} from './extended.js';
import { bitLength, CHOP, DOWN, EXCEPTION, NEAREST, root } from './soft-float.js';

export type ExtendedBinary = 'add' | 'sub' | 'mul' | 'div';

/** Bits of a quotient or a root, which are enough for any rounding with what is left of them. */
const ENOUGH = 72;
const FULL = 64;

/** Powers of 2 that a term may lie below the other and still be more than something that is left over. */
const FAR = 140;

function sum(control: Control, a: Operand, b: Operand): Outcome<Extended> {
  if (isZero(a) && isZero(b))
    return exactly(zero(a.isNegative === b.isNegative ? a.isNegative : control.rounding === DOWN));
  if (isZero(a) || isZero(b)) {
    const { isNegative, significand, power } = isZero(a) ? b : a;
    return roundedExtended(control, isNegative, significand, power);
  }
  const highest = Math.max(a.power, b.power);
  const power = Math.max(Math.min(a.power, b.power), highest - FAR);
  const term = (x: Operand): bigint => {
    const magnitude = x.power < power ? 1n : x.significand << BigInt(x.power - power);
    return x.isNegative ? -magnitude : magnitude;
  };
  const total = term(a) + term(b);
  if (total === 0n) return exactly(zero(control.rounding === DOWN));
  return roundedExtended(control, total < 0n, total < 0n ? -total : total, power);
}

function quotient(control: Control, a: Operand, b: Operand): Outcome<Extended> {
  const shift = Math.max(0, ENOUGH + bitLength(b.significand) - bitLength(a.significand));
  const dividend = a.significand << BigInt(shift);
  const q = dividend / b.significand;
  const isSticky = q * b.significand !== dividend;
  return roundedExtended(control, a.isNegative !== b.isNegative, q, a.power - shift - b.power, isSticky);
}

export function arithmetic(fn: ExtendedBinary, control: Control, a: Operand, signedB: Operand): Outcome<Extended> {
  const nan = nanOf(a, signedB);
  if (nan !== undefined) return nan;
  const b = fn === 'sub' ? { ...signedB, isNegative: !signedB.isNegative } : signedB;
  const isNegative = a.isNegative !== b.isNegative;
  switch (fn) {
    case 'add':
    case 'sub':
      if (isInfinite(a) && isInfinite(b) && isNegative) return INVALID;
      if (isInfinite(a)) return withDenormals(exactly(infinity(a.isNegative)), b);
      if (isInfinite(b)) return withDenormals(exactly(infinity(b.isNegative)), a);
      return withDenormals(sum(control, a, b), a, b);
    case 'mul':
      if ((isInfinite(a) && isZero(b)) || (isInfinite(b) && isZero(a))) return INVALID;
      if (isInfinite(a) || isInfinite(b)) return withDenormals(exactly(infinity(isNegative)), a, b);
      if (isZero(a) || isZero(b)) return withDenormals(exactly(zero(isNegative)), a, b);
      return withDenormals(
        roundedExtended(control, isNegative, a.significand * b.significand, a.power + b.power),
        a,
        b,
      );
    case 'div':
      if ((isInfinite(a) && isInfinite(b)) || (isZero(a) && isZero(b))) return INVALID;
      if (isInfinite(a)) return withDenormals(exactly(infinity(isNegative)), b);
      if (isZero(b)) return exactly(infinity(isNegative), EXCEPTION.zeroDivide);
      if (isInfinite(b) || isZero(a)) return withDenormals(exactly(zero(isNegative)), a, b);
      return withDenormals(quotient(control, a, b), a, b);
  }
}

export function squareRoot(control: Control, x: Extended): Outcome<Extended> {
  const a = operandOf(x);
  const nan = nanOf(a);
  if (nan !== undefined) return nan;
  if (isZero(a)) return exactly(x);
  if (a.isNegative) return INVALID;
  if (isInfinite(a)) return exactly(x);
  let shift = 2 * ENOUGH;
  if (((a.power - shift) & 1) !== 0) shift++;
  const wide = a.significand << BigInt(shift);
  const r = root(wide);
  return withDenormals(roundedExtended(control, false, r, (a.power - shift) / 2, r * r !== wide), a);
}

/** −1, 0 or 1, as a is less, equal or greater; undefined where they have no order. */
export type Order = -1 | 0 | 1 | undefined;

/** @param isQuiet quiet NaNs are no invalid operands */
export function comparison(a: Operand, b: Operand, isQuiet: boolean): Outcome<Order> {
  const nan = nanOf(a, b);
  if (nan !== undefined) return exactly<Order>(undefined, isQuiet ? nan.exceptions : EXCEPTION.invalid);
  return withDenormals(exactly(order(a, b)), a, b);
}

function order(a: Operand, b: Operand): Order {
  const sign = (x: Operand): number => (isZero(x) ? 0 : x.isNegative ? -1 : 1);
  if (sign(a) !== sign(b) || isZero(a)) return Math.sign(sign(a) - sign(b)) as Order;
  const magnitudes = orderOfMagnitudes(a, b);
  return (a.isNegative ? -magnitudes : magnitudes) as Order;
}

/** Of what is not zero. */
function orderOfMagnitudes(a: Operand, b: Operand): number {
  if (isInfinite(a) || isInfinite(b)) return Number(isInfinite(a)) - Number(isInfinite(b));
  const [m, n] = [a.power + bitLength(a.significand), b.power + bitLength(b.significand)];
  if (m !== n) return Math.sign(m - n);
  const power = Math.min(a.power, b.power);
  const [x, y] = [a.significand << BigInt(a.power - power), b.significand << BigInt(b.power - power)];
  return x < y ? -1 : x > y ? 1 : 0;
}

/** FRNDINT. */
export function roundedToInteger({ rounding }: Control, x: Extended): Outcome<Extended> {
  const a = operandOf(x);
  const nan = nanOf(a);
  if (nan !== undefined) return nan;
  if (isZero(a) || isInfinite(a) || a.power >= 0) return exactly(x);
  const { value, exceptions, isUp } = whole(a, rounding);
  return withDenormals({ value: extended(x.isNegative, value, 0), exceptions, isUp }, a);
}

/** Powers of 2 beyond which all is too large or too small. */
const FARTHEST = 0x10000;

/** FSCALE: a · 2^n, n being b without its fraction. */
export function scaled(control: Control, x: Extended, y: Extended): Outcome<Extended> {
  const [a, b] = [operandOf(x), operandOf(y)];
  const nan = nanOf(a, b);
  if (nan !== undefined) return nan;
  if (isInfinite(b)) {
    if (b.isNegative ? isInfinite(a) : isZero(a)) return INVALID;
    return withDenormals(exactly(b.isNegative ? zero(a.isNegative) : infinity(a.isNegative)), a);
  }
  if (isZero(a) || isInfinite(a)) return withDenormals(exactly(x), b);
  const n = b.power > 0 ? BigInt(FARTHEST) : whole(b, CHOP).value;
  const by = Number(n > BigInt(FARTHEST) ? BigInt(FARTHEST) : n);
  const power = a.power + (b.isNegative ? -by : by);
  return withDenormals(roundedExtended(control, a.isNegative, a.significand, power, false, FULL), a, b);
}

/** FXTRACT: the exponent as a number, and the significand with an exponent of 0. */
export function extracted(x: Extended): Outcome<readonly [exponent: Extended, significand: Extended]> {
  const a = operandOf(x);
  const nan = nanOf(a);
  if (nan !== undefined) return exactly([nan.value, nan.value] as const, nan.exceptions);
  if (isInfinite(a)) return exactly([infinity(false), x] as const);
  if (isZero(a)) return exactly([infinity(true), x] as const, EXCEPTION.zeroDivide);
  const length = bitLength(a.significand);
  const exponent = a.power + length - 1;
  return withDenormals(
    exactly([
      extended(exponent < 0, BigInt(Math.abs(exponent)), 0),
      extended(x.isNegative, a.significand, 1 - length),
    ] as const),
    a,
  );
}

export interface Remainder extends Outcome<Extended> {
  /** The last bits of the quotient; `partial`: there is more to be done. Undefined where there is none. */
  readonly quotient: number | 'partial' | undefined;
}

/** Bits that one FPREM takes off exponents that lie farther apart than a quotient may. */
const farStep = (distance: number): number => 32 | (distance & 31);

/** FPREM, and FPREM1 where the quotient is rounded to nearest. */
export function remainder(control: Control, x: Extended, y: Extended, isNearest: boolean): Remainder {
  const [a, b] = [operandOf(x), operandOf(y)];
  const nan = nanOf(a, b);
  if (nan !== undefined) return { ...nan, quotient: undefined };
  if (isInfinite(a) || isZero(b)) return { ...INVALID, quotient: undefined };
  if (isZero(a) || isInfinite(b)) return { ...withDenormals(exactly(x), a, b), quotient: 0 };
  const distance = a.power + bitLength(a.significand) - (b.power + bitLength(b.significand));
  const power = Math.min(a.power, b.power);
  const dividend = a.significand << BigInt(a.power - power);
  let divisor = b.significand << BigInt(b.power - power);
  const isComplete = distance < FULL;
  if (!isComplete) divisor <<= BigInt(distance - farStep(distance));
  let q = dividend / divisor;
  let rest = dividend - q * divisor;
  let { isNegative } = x;
  if (isNearest && isComplete && (2n * rest > divisor || (2n * rest === divisor && (q & 1n) === 1n))) {
    q++;
    rest = divisor - rest;
    isNegative = !isNegative;
  }
  const value =
    rest === 0n ? exactly(zero(x.isNegative)) : roundedExtended(control, isNegative, rest, power, false, FULL);
  return { ...withDenormals(value, a, b), quotient: isComplete ? Number(q & 7n) : 'partial' };
}

/** log2 10, log2 e, π, log10 2 and ln 2, cut off, and whether the next bits would round them up. */
export type ConstantName = 'log2of10' | 'log2ofE' | 'pi' | 'log10of2' | 'lnOf2';
const CONSTANTS: Readonly<Record<ConstantName, readonly [power: number, cut: bigint, isNearerUp: boolean]>> = {
  log2of10: [-62, 0xd49a_784b_cd1b_8afen, false],
  log2ofE: [-63, 0xb8aa_3b29_5c17_f0bbn, true],
  pi: [-62, 0xc90f_daa2_2168_c234n, true],
  log10of2: [-65, 0x9a20_9a84_fbcf_f798n, true],
  lnOf2: [-64, 0xb172_17f7_d1cf_79abn, true],
};

export function constant(name: ConstantName, { rounding }: Control): Extended {
  const [power, cut, isNearerUp] = CONSTANTS[name];
  const isUp = rounding === NEAREST ? isNearerUp : rounding !== DOWN && rounding !== CHOP;
  return extended(false, isUp ? cut + 1n : cut, power);
}
