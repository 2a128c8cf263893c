/**
 * Floating point in xmm registers (Intel SDM vol. 1, 10.4.1.2, 11.4.1). Results, flags of MXCSR and #XM are the processor's, in all
 * rounding modes; but for RCPPS and RSQRTPS, which each maker approximates in its own way: here they are as exact as division is, and
 * leave the flags alone.
 */
import type { FloatComparison, FloatOperation, FloatType, Value, Wide } from '../ir.js';
import type { Meaning, Writer } from './writer.js';

const sizeOf = (type: FloatType): 4 | 8 => (type === 'f32' ? 4 : 8);
const lanesOf = (type: FloatType): number => 16 / sizeOf(type);

/** The lowest float of operand n, in all lanes: so the others have no exceptions of their own. */
const scalar = (w: Writer, n: number, type: FloatType): Wide => w.splat(sizeOf(type), w.low(n, sizeOf(type)));

/** Sets the lowest float of operand 0, the rest stays. */
function setScalar(w: Writer, x: Wide, size: 4 | 8): void {
  const order = Array.from({ length: 16 }, (_, n) => (n < size ? n : 16 + n));
  w.setWideOperand(0, w.shuffle(x, w.wideOperand(0), order));
}

const packed =
  (fn: FloatOperation, type: FloatType): Meaning =>
  (w) => {
    const b = w.wide(1);
    w.setWideOperand(0, w.float(fn, type, lanesOf(type), w.wideOperand(0), b));
  };

const single =
  (fn: FloatOperation, type: FloatType): Meaning =>
  (w) => {
    const b = scalar(w, 1, type);
    setScalar(w, w.float(fn, type, 1, scalar(w, 0, type), b), sizeOf(type));
  };

const packedOfOne =
  (fn: FloatOperation, type: FloatType, lanes = lanesOf(type)): Meaning =>
  (w) =>
    w.setWideOperand(0, w.float(fn, type, lanes, w.wide(1)));

const singleOfOne =
  (fn: FloatOperation, type: FloatType, resultSize = sizeOf(type)): Meaning =>
  (w) =>
    setScalar(w, w.float(fn, type, 1, scalar(w, 1, type)), resultSize);

/** By the lower three bits of the immediate. */
const PREDICATES: readonly FloatComparison[] = ['eq', 'lt', 'le', 'unord', 'neq', 'nlt', 'nle', 'ord'];

const compare =
  (how: typeof packed | typeof single, type: FloatType): Meaning =>
  (w) =>
    how(PREDICATES[w.form.variant]!, type)(w);

const compareFlags =
  (fn: 'ucomi' | 'comi', type: FloatType): Meaning =>
  (w) => {
    const b = scalar(w, 1, type);
    const flags = w.lane(4, 0, w.float(fn, type, 1, scalar(w, 0, type), b));
    const { result, aux } = w.wordsOf(flags);
    w.setFlagWords(result, aux);
  };

/** To a general register. */
const toRegister =
  (isTruncated: boolean, type: FloatType): Meaning =>
  (w) => {
    const size = w.size(0) === 8 ? 8 : 4;
    const x = scalar(w, 1, type);
    const bits = size === 8 ? 'Int64' : 'Int32';
    w.setOperand(0, size, w.lane(size, 0, w.float(isTruncated ? `truncateTo${bits}` : `to${bits}`, type, 1, x)));
  };

const fromInteger =
  (type: FloatType): Meaning =>
  (w) => {
    const size = w.size(1);
    const n: Value = w.signExtend(w.read(1), size);
    const x = w.splat(8, n);
    // A double holds all integers of 32 bits.
    const isExact = type === 'f64' && size === 4;
    setScalar(
      w,
      isExact ? w.wideUnary('f64x2_convert_low_i32x4_s', x) : w.float('fromInt64', type, 1, x),
      sizeOf(type),
    );
  };

/** The lower half of operand n, in both. */
const lowerHalf = (w: Writer, n: number): Wide => w.splat(8, w.low(n, 8));

const reciprocal =
  (isRoot: boolean, isPacked: boolean): Meaning =>
  (w) => {
    const x = isPacked ? w.wide(1) : scalar(w, 1, 'f32');
    const result = w.wideUnary(isRoot ? 'f32x4_reciprocal_root' : 'f32x4_reciprocal', x);
    if (isPacked) w.setWideOperand(0, result);
    else setScalar(w, result, 4);
  };

/** An operation in its four shapes. */
const shapes = (name: string, fn: FloatOperation): Record<string, Meaning> => ({
  [`${name}ps`]: packed(fn, 'f32'),
  [`${name}pd`]: packed(fn, 'f64'),
  [`${name}ss`]: single(fn, 'f32'),
  [`${name}sd`]: single(fn, 'f64'),
});

export const SSE_FLOAT: Readonly<Record<string, Meaning>> = {
  ...shapes('Add', 'add'),
  ...shapes('Sub', 'sub'),
  ...shapes('Mul', 'mul'),
  ...shapes('Div', 'div'),
  ...shapes('Min', 'min'),
  ...shapes('Max', 'max'),
  Sqrtps: packedOfOne('sqrt', 'f32'),
  Sqrtpd: packedOfOne('sqrt', 'f64'),
  Sqrtss: singleOfOne('sqrt', 'f32'),
  Sqrtsd: singleOfOne('sqrt', 'f64'),
  Rcpps: reciprocal(false, true),
  Rcpss: reciprocal(false, false),
  Rsqrtps: reciprocal(true, true),
  Rsqrtss: reciprocal(true, false),
  Cmpps: compare(packed, 'f32'),
  Cmppd: compare(packed, 'f64'),
  Cmpss: compare(single, 'f32'),
  Cmpsd: compare(single, 'f64'),
  Ucomiss: compareFlags('ucomi', 'f32'),
  Ucomisd: compareFlags('ucomi', 'f64'),
  Comiss: compareFlags('comi', 'f32'),
  Comisd: compareFlags('comi', 'f64'),
  Cvtss2si: toRegister(false, 'f32'),
  Cvtsd2si: toRegister(false, 'f64'),
  Cvttss2si: toRegister(true, 'f32'),
  Cvttsd2si: toRegister(true, 'f64'),
  Cvtsi2ss: fromInteger('f32'),
  Cvtsi2sd: fromInteger('f64'),
  Cvtss2sd: singleOfOne('widen', 'f32', 8),
  Cvtsd2ss: singleOfOne('narrow', 'f64', 4),
  Cvtps2pd: (w) => w.setWideOperand(0, w.float('widen', 'f32', 2, lowerHalf(w, 1))),
  Cvtpd2ps: packedOfOne('narrow', 'f64'),
  Cvtdq2ps: packedOfOne('fromInt32', 'f32'),
  Cvtdq2pd: (w) => w.setWideOperand(0, w.wideUnary('f64x2_convert_low_i32x4_s', lowerHalf(w, 1))),
  Cvtps2dq: packedOfOne('toInt32', 'f32'),
  Cvttps2dq: packedOfOne('truncateToInt32', 'f32'),
  Cvtpd2dq: packedOfOne('toInt32', 'f64'),
  Cvttpd2dq: packedOfOne('truncateToInt32', 'f64'),
};
