/**
 * Floating point of handlers. The host's own does what is usual: numbers that are normal or zero, rounded to nearest, no exception that
 * MXCSR would have to be told of. A test behind the operation finds everything else, which is done again, exactly, by a function of the
 * core (soft-float.ts). The usual is inexact: where the flag for that is not set yet, operations that may set it are done exactly, too.
 *
 * Nothing is left to WebAssembly that it leaves open: bits of NaNs never come out of it.
 */
import type { Image } from '../../shared/image.js';
import type { FloatArithmetic, FloatOperation, FloatType, Step } from './ir.js';
import { EXCEPTION, MXCSR, softFloat } from './soft-float.js';
import { ST, VECTOR } from './state.js';
import { type Code, I32, MEM, OP, V128 } from './wasm-module.js';
import { SIMD, SIMD_LANE, SIMD_MEM } from './wasm-simd.js';

type FloatStep = Extract<Step, { readonly op: 'float' }>;

const OPERATIONS: readonly FloatOperation[] = [
  ...(['add', 'sub', 'mul', 'div', 'sqrt', 'min', 'max'] as const),
  ...(['eq', 'lt', 'le', 'unord', 'neq', 'nlt', 'nle', 'ord', 'ucomi', 'comi'] as const),
  ...(['widen', 'narrow', 'toInt32', 'truncateToInt32', 'toInt64', 'truncateToInt64'] as const),
  ...(['fromInt32', 'fromInt64'] as const),
];

/** Bytes of a lane: of the operands, then of the result. */
function laneBytes(fn: FloatOperation, type: FloatType): readonly [number, number] {
  const own = type === 'f32' ? 4 : 8;
  switch (fn) {
    case 'widen':
      return [4, 8];
    case 'narrow':
      return [8, 4];
    case 'toInt32':
    case 'truncateToInt32':
      return [own, 4];
    case 'toInt64':
    case 'truncateToInt64':
      return [own, 8];
    case 'fromInt32':
      return [4, own];
    case 'fromInt64':
      return [8, own];
    default:
      return [own, own];
  }
}

const codeOf = ({ fn, type, lanes }: FloatStep): number =>
  OPERATIONS.indexOf(fn) | (lanes << 8) | (type === 'f64' ? 1 << 16 : 0);

const BEFORE = EXCEPTION.invalid | EXCEPTION.denormal | EXCEPTION.zeroDivide;

/** Does what `floatCode` of the block says with its `floatA` and `floatB`. Returns false where it ends in #XM. */
export function exactFloat(image: Image): (st: number) => boolean {
  const view = new DataView(image.buffer);
  const read = (at: number, bytes: number): bigint =>
    bytes === 4 ? BigInt(view.getUint32(at, true)) : view.getBigUint64(at, true);
  return (st) => {
    const what = view.getUint32(st + ST.floatCode, true);
    const mxcsr = view.getUint32(st + ST.mxcsr, true);
    const fn = OPERATIONS[what & 0xff]!;
    const type = what >> 16 === 0 ? 'f32' : 'f64';
    const [from, to] = laneBytes(fn, type);
    let exceptions = 0;
    const results: bigint[] = [];
    for (let n = 0; n < ((what >> 8) & 0xff); n++) {
      const [a, b] = [read(st + ST.floatA + n * from, from), read(st + ST.floatB + n * from, from)];
      const outcome = softFloat(fn, type, mxcsr, a, b);
      results.push(outcome.bits);
      exceptions |= outcome.exceptions;
    }
    const unmasked = exceptions & ~(mxcsr >> 7);
    // Those of operands come before there is a result that could have any.
    const told = (unmasked & BEFORE) !== 0 ? exceptions & BEFORE : exceptions;
    view.setUint32(st + ST.mxcsr, mxcsr | told, true);
    if (unmasked !== 0) {
      view.setInt32(st + ST.vector, VECTOR.XM, true);
      view.setInt32(st + ST.errorCode, 0, true);
      return false;
    }
    view.setBigUint64(st + ST.floatResult, 0n, true);
    view.setBigUint64(st + ST.floatResult + 8, 0n, true);
    for (const [n, bits] of results.entries()) {
      if (to === 4) view.setUint32(st + ST.floatResult + 4 * n, Number(bits), true);
      else view.setBigUint64(st + ST.floatResult + 8 * n, bits, true);
    }
    return true;
  };
}

/** What the same is called for either type. */
const BY_TYPE = {
  f32: {
    eq: SIMD.f32x4_eq,
    ne: SIMD.f32x4_ne,
    lt: SIMD.f32x4_lt,
    le: SIMD.f32x4_le,
    ge: SIMD.f32x4_ge,
    abs: SIMD.f32x4_abs,
    pmin: SIMD.f32x4_pmin,
    pmax: SIMD.f32x4_pmax,
    nearest: SIMD.f32x4_nearest,
    trunc: SIMD.f32x4_trunc,
    arithmetic: {
      add: SIMD.f32x4_add,
      sub: SIMD.f32x4_sub,
      mul: SIMD.f32x4_mul,
      div: SIMD.f32x4_div,
      sqrt: SIMD.f32x4_sqrt,
    },
  },
  f64: {
    eq: SIMD.f64x2_eq,
    ne: SIMD.f64x2_ne,
    lt: SIMD.f64x2_lt,
    le: SIMD.f64x2_le,
    ge: SIMD.f64x2_ge,
    abs: SIMD.f64x2_abs,
    pmin: SIMD.f64x2_pmin,
    pmax: SIMD.f64x2_pmax,
    nearest: SIMD.f64x2_nearest,
    trunc: SIMD.f64x2_trunc,
    arithmetic: {
      add: SIMD.f64x2_add,
      sub: SIMD.f64x2_sub,
      mul: SIMD.f64x2_mul,
      div: SIMD.f64x2_div,
      sqrt: SIMD.f64x2_sqrt,
    },
  },
} as const;

/** The same 4 or 8 bytes in all lanes. */
const all = (type: FloatType, bits: bigint): bigint => {
  const half = type === 'f32' ? bits | (bits << 32n) : bits;
  return half | (half << 64n);
};

function bitsOf(type: FloatType, x: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  if (type === 'f32') view.setFloat32(0, x);
  else view.setFloat64(0, x);
  return all(type, type === 'f32' ? BigInt(view.getUint32(0)) : view.getBigUint64(0));
}

const LEAST_NORMAL: Readonly<Record<FloatType, number>> = { f32: 2 ** -126, f64: 2 ** -1022 };
/** Integers up to this are floats. */
const WHOLE: Readonly<Record<FloatType, number>> = { f32: 2 ** 24, f64: 2 ** 53 };

/**
 * Rounded to nearest, and inexact results are not worth telling: MXCSR under this is that. FTZ and DAZ make no difference to what is
 * neither denormal nor becomes so.
 */
const USUAL = {
  bits: MXCSR.rounding | (EXCEPTION.inexact << 7) | EXCEPTION.inexact,
  are: (EXCEPTION.inexact << 7) | EXCEPTION.inexact,
} as const;

/** Puts one float step together. */
class FloatCode {
  readonly #code: Code;
  readonly #step: FloatStep;
  readonly #state: number;
  readonly #push: (n: number) => void;
  readonly #result: number;

  constructor(code: Code, step: FloatStep, state: number, push: (n: number) => void) {
    this.#code = code;
    this.#step = step;
    this.#state = state;
    this.#push = push;
    this.#result = code.local(V128);
  }

  /** @returns the local of the result */
  emit(callExact: () => void): number {
    const code = this.#code;
    const state = this.#state;
    this.#usual();
    code.if();
    code.get(state);
    this.#push(this.#step.a);
    code.simdMem(SIMD_MEM.store, ST.floatA);
    code.get(state);
    this.#push(this.#step.b);
    code.simdMem(SIMD_MEM.store, ST.floatB);
    code.get(state).i32(codeOf(this.#step)).mem(MEM.i32_store, ST.floatCode);
    callExact();
    code.get(state).simdMem(SIMD_MEM.load, ST.floatResult).set(this.#result).op(OP.end);
    return this.#result;
  }

  /** Sets the result, and leaves whether it is to be had in another way. */
  #usual(): void {
    const { fn } = this.#step;
    switch (fn) {
      case 'add':
      case 'sub':
      case 'mul':
      case 'div':
      case 'sqrt':
        this.#arithmetic(fn);
        break;
      case 'widen':
      case 'narrow':
        this.#convert(fn);
        break;
      case 'toInt32':
      case 'truncateToInt32':
      case 'toInt64':
      case 'truncateToInt64':
        this.#toInteger(fn.startsWith('truncate'), fn.endsWith('64'));
        break;
      case 'fromInt32':
        this.#fromInt32();
        break;
      case 'fromInt64':
        this.#fromInt64();
        break;
      default:
        this.#compare(fn);
        break;
    }
  }

  get #type(): FloatType {
    return this.#step.type;
  }

  get #ops(): (typeof BY_TYPE)[FloatType] {
    return BY_TYPE[this.#type];
  }

  #a = (): void => this.#push(this.#step.a);
  #b = (): void => this.#push(this.#step.b);
  #r = (): Code => this.#code.get(this.#result);

  #isUnusual(): void {
    const code = this.#code;
    code.get(this.#state).mem(MEM.i32_load, ST.mxcsr).i32(USUAL.bits).op(OP.i32_and).i32(USUAL.are).op(OP.i32_ne);
  }

  /** Ones where it is denormal. */
  #denormal(x: () => void, type = this.#type): void {
    const code = this.#code;
    const ops = BY_TYPE[type];
    x();
    code.simd(ops.abs).v128(bitsOf(type, LEAST_NORMAL[type])).simd(ops.lt);
    x();
    code.v128(0n).simd(ops.ne).simd(SIMD.and);
  }

  #differsFromZero(x: () => void): void {
    x();
    this.#code.v128(0n).simd(this.#ops.ne);
  }

  #nan(x: () => void): void {
    x();
    x();
    this.#code.simd(this.#ops.ne);
  }

  #arithmetic(fn: FloatArithmetic): void {
    const code = this.#code;
    const { abs, lt, le } = this.#ops;
    this.#a();
    if (fn !== 'sqrt') this.#b();
    code.simd(this.#ops.arithmetic[fn]).set(this.#result);
    this.#denormal(this.#a);
    if (fn !== 'sqrt') {
      this.#denormal(this.#b);
      code.simd(SIMD.or);
      // Tiny, or zero where it need not be.
      this.#r().simd(abs).v128(bitsOf(this.#type, LEAST_NORMAL[this.#type])).simd(le);
      this.#differsFromZero(fn === 'add' || fn === 'sub' ? this.#r : this.#a);
      code.simd(SIMD.and);
      if (fn === 'mul') {
        this.#differsFromZero(this.#b);
        code.simd(SIMD.and);
      }
      code.simd(SIMD.or);
    }
    this.#r().simd(abs).v128(bitsOf(this.#type, Infinity)).simd(lt).simd(SIMD.not).simd(SIMD.or);
    code.simd(SIMD.any_true);
    this.#isUnusual();
    code.if(I32);
    // Where it is no more than that nothing was inexact yet, this may be exact, too.
    code.get(this.#state).mem(MEM.i32_load, ST.mxcsr).i32(USUAL.bits).op(OP.i32_and);
    code.i32(USUAL.are & ~EXCEPTION.inexact).op(OP.i32_ne);
    this.#mayBeInexact(fn);
    code.simd(SIMD.any_true).op(OP.i32_or).op(OP.else).i32(0).op(OP.end);
    code.op(OP.i32_or);
  }

  /**
   * Bits that are not zero where a result, which is normal or zero, is not known to be exact. Sums by their error, which is a float
   * (Knuth, 4.2.2, theorem B); products where factors have no more than half the bits of a float.
   */
  #mayBeInexact(fn: FloatArithmetic): void {
    const code = this.#code;
    const { ne, arithmetic } = this.#ops;
    const lower = this.#type === 'f32' ? 0xfffn : 0x7ff_ffffn;
    const isProduct = (a: () => void, b: () => void, of: () => void): void => {
      a();
      b();
      code.simd(arithmetic.mul);
      of();
      code.simd(ne);
    };
    const long = (a: () => void, b: () => void): void => {
      a();
      b();
      code.simd(SIMD.or).v128(all(this.#type, lower)).simd(SIMD.and);
    };
    switch (fn) {
      case 'add':
      case 'sub': {
        const other = code.local(V128);
        this.#r();
        this.#a();
        code.simd(arithmetic.sub).set(other);
        this.#a();
        this.#r().get(other).simd(arithmetic.sub).simd(arithmetic.sub);
        this.#b();
        code.get(other).simd(fn === 'add' ? arithmetic.sub : arithmetic.add);
        code.simd(arithmetic[fn]).v128(0n).simd(ne);
        return;
      }
      case 'mul':
        long(this.#a, this.#b);
        return;
      case 'div':
        long(this.#r, this.#b);
        isProduct(this.#r, this.#b, this.#a);
        code.simd(SIMD.or);
        return;
      case 'sqrt':
        long(this.#r, this.#r);
        isProduct(this.#r, this.#r, this.#a);
        code.simd(SIMD.or);
        return;
    }
  }

  #compare(fn: Exclude<FloatOperation, FloatArithmetic>): void {
    const code = this.#code;
    const { eq, ne, lt, le, pmin, pmax } = this.#ops;
    const operands = (opcode: number): Code => {
      this.#a();
      this.#b();
      return code.simd(opcode);
    };
    switch (fn) {
      case 'min':
      case 'max':
        // In this order: the second operand is the result where they are equal.
        this.#b();
        this.#a();
        code.simd(fn === 'min' ? pmin : pmax);
        break;
      case 'ucomi':
      case 'comi':
        operands(eq).v128(all(this.#type, 0x40n)).simd(SIMD.and);
        operands(lt).v128(all(this.#type, 1n)).simd(SIMD.and).simd(SIMD.or);
        break;
      case 'eq':
        operands(eq);
        break;
      case 'neq':
        operands(ne);
        break;
      case 'lt':
        operands(lt);
        break;
      case 'nlt':
        operands(lt).simd(SIMD.not);
        break;
      case 'le':
        operands(le);
        break;
      case 'nle':
        operands(le).simd(SIMD.not);
        break;
      case 'unord':
        code.v128(0n);
        break;
      default:
        code.v128((1n << 128n) - 1n);
    }
    code.set(this.#result);
    this.#denormal(this.#a);
    this.#denormal(this.#b);
    code.simd(SIMD.or);
    this.#nan(this.#a);
    code.simd(SIMD.or);
    this.#nan(this.#b);
    code.simd(SIMD.or).simd(SIMD.any_true);
  }

  #convert(fn: 'widen' | 'narrow'): void {
    const code = this.#code;
    this.#a();
    code.simd(fn === 'widen' ? SIMD.f64x2_promote_low_f32x4 : SIMD.f32x4_demote_f64x2_zero).set(this.#result);
    this.#denormal(this.#a);
    if (fn === 'widen') {
      this.#nan(this.#a);
      code.simd(SIMD.or).simd(SIMD.any_true);
      return;
    }
    // By what it is as a double again.
    const again = code.local(V128);
    const wide = (): Code => code.get(again);
    this.#r().simd(SIMD.f64x2_promote_low_f32x4).set(again);
    wide().simd(SIMD.f64x2_abs).v128(bitsOf('f64', Infinity)).simd(SIMD.f64x2_lt).simd(SIMD.not).simd(SIMD.or);
    wide().simd(SIMD.f64x2_abs).v128(bitsOf('f64', LEAST_NORMAL.f32)).simd(SIMD.f64x2_le);
    this.#differsFromZero(this.#a);
    code.simd(SIMD.and).simd(SIMD.or).simd(SIMD.any_true);
    wide();
    this.#a();
    code.simd(SIMD.f64x2_ne).simd(SIMD.any_true);
    this.#isUnusual();
    code.op(OP.i32_and).op(OP.i32_or);
  }

  #toInteger(isTruncated: boolean, isLong: boolean): void {
    const code = this.#code;
    const { ne, lt, le, ge, nearest, trunc } = this.#ops;
    const whole = code.local(V128);
    this.#a();
    code.simd(isTruncated ? trunc : nearest).set(whole);
    const limit = isLong ? 2 ** 63 : 2 ** 31;
    // In range, which no NaN is.
    code.get(whole).v128(bitsOf(this.#type, -limit)).simd(ge);
    if (this.#type === 'f64' && !isLong)
      code
        .get(whole)
        .v128(bitsOf('f64', limit - 1))
        .simd(le);
    else code.get(whole).v128(bitsOf(this.#type, limit)).simd(lt);
    code.simd(SIMD.and).simd(SIMD.not).simd(SIMD.any_true);
    code.get(whole);
    this.#a();
    code.simd(ne).simd(SIMD.any_true);
    this.#isUnusual();
    code.op(OP.i32_and).op(OP.i32_or);
    code.get(whole);
    if (isLong) {
      if (this.#type === 'f32') code.simd(SIMD.f64x2_promote_low_f32x4);
      code.simdLane(SIMD_LANE.f64x2_extract, 0).truncate().simd(SIMD.i64x2_splat);
    } else code.simd(this.#type === 'f32' ? SIMD.i32x4_trunc_sat_f32x4_s : SIMD.i32x4_trunc_sat_f64x2_s_zero);
    code.set(this.#result);
  }

  #fromInt32(): void {
    const code = this.#code;
    this.#a();
    code.simd(SIMD.f32x4_convert_i32x4_s).set(this.#result);
    this.#a();
    code.simd(SIMD.i32x4_abs);
    code
      .v128(all('f32', BigInt(WHOLE.f32)))
      .simd(SIMD.i32x4_gt_u)
      .simd(SIMD.any_true);
    this.#isUnusual();
    code.op(OP.i32_and);
  }

  #fromInt64(): void {
    const code = this.#code;
    const whole = BigInt(WHOLE[this.#type]);
    this.#a();
    code.simdLane(SIMD_LANE.i64x2_extract, 0);
    if (this.#type === 'f32') code.op(OP.f32_convert_i64_s).op(OP.i32_reinterpret_f32).simd(SIMD.i32x4_splat);
    else code.op(OP.f64_convert_i64_s).op(OP.i64_reinterpret_f64).simd(SIMD.i64x2_splat);
    code.set(this.#result);
    this.#a();
    code.simdLane(SIMD_LANE.i64x2_extract, 0).i64(whole).op(OP.i64_add);
    code.i64(2n * whole).op(OP.i64_gt_u);
    this.#isUnusual();
    code.op(OP.i32_and);
  }
}

/**
 * Puts a float step together. @param state the local of the VCPU's block
 * @param push puts the value of a step on the stack
 * @param callExact calls exactFloat and leaves where it says so
 * @returns the local that the result is in
 */
export function floatStep(
  code: Code,
  step: FloatStep,
  state: number,
  push: (n: number) => void,
  callExact: () => void,
): number {
  return new FloatCode(code, step, state, push).emit(callExact);
}
