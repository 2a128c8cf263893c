/** Steps on 128 bits as WebAssembly (ir.ts says what they mean), but for floating point (floating.ts). */
import type { LaneSize, Step, WideBinary, WideShift, WideSigns, WideUnary } from './ir.js';
import { type Code, I64, OP } from './wasm-module.js';
import { SIMD, SIMD_LANE } from './wasm-simd.js';

const BINARY: Readonly<Record<Exclude<WideBinary, 'i8x16_swizzle'>, number>> = SIMD;
const UNARY: Readonly<Record<Exclude<WideUnary, 'f32x4_reciprocal' | 'f32x4_reciprocal_root'>, number>> = SIMD;
const SHIFTS: Readonly<Record<WideShift, number>> = SIMD;
const SIGNS: Readonly<Record<WideSigns, number>> = SIMD;
const REPLACE: Readonly<Record<LaneSize, number>> = {
  2: SIMD_LANE.i16x8_replace,
  4: SIMD_LANE.i32x4_replace,
  8: SIMD_LANE.i64x2_replace,
};

/** 1 in all lanes. */
const ONES = 0x3f80_0000_3f80_0000_3f80_0000_3f80_0000n;

/** Steps whose value is on the stack when they are done, and depends on nothing but other values. */
export type WideStep = Extract<
  Step,
  {
    readonly op:
      | 'wideBinary'
      | 'wideUnary'
      | 'wideShift'
      | 'wideSigns'
      | 'wideSelect'
      | 'shuffle'
      | 'lane'
      | 'withLane'
      | 'splat';
  }
>;

/** Bits of a lane, by the name of what is done to it. */
const laneBits = (fn: WideShift): bigint => BigInt(/^i(\d+)/.exec(fn)![1]!);

/** A count that is too large makes zero, or nothing but signs. */
function shift(code: Code, fn: WideShift, a: number, by: number, push: (n: number) => void): void {
  const bits = laneBits(fn);
  push(a);
  push(by);
  if (fn.endsWith('shr_s')) {
    code.i64(bits - 1n);
    push(by);
    code.i64(bits).op(OP.i64_lt_u).op(OP.select).op(OP.i32_wrap_i64).simd(SHIFTS[fn]);
    return;
  }
  code.op(OP.i32_wrap_i64).simd(SHIFTS[fn]).v128(0n);
  push(by);
  code.i64(bits).op(OP.i64_lt_u).selectWide();
}

/** Leaves the value of a step on the stack. @param push puts that of another there @returns its type, where that is not V128 */
export function wideStep(code: Code, step: WideStep, push: (n: number) => void): typeof I64 | undefined {
  switch (step.op) {
    case 'wideBinary':
      push(step.a);
      push(step.b);
      code.simd(step.fn === 'i8x16_swizzle' ? SIMD.swizzle : BINARY[step.fn]);
      return undefined;
    case 'wideUnary':
      if (step.fn === 'f32x4_reciprocal' || step.fn === 'f32x4_reciprocal_root') {
        code.v128(ONES);
        push(step.a);
        if (step.fn === 'f32x4_reciprocal_root') code.simd(SIMD.f32x4_sqrt);
        code.simd(SIMD.f32x4_div);
        return undefined;
      }
      push(step.a);
      code.simd(UNARY[step.fn]);
      return undefined;
    case 'wideShift':
      shift(code, step.fn, step.a, step.by, push);
      return undefined;
    case 'wideSigns':
      push(step.a);
      code.simd(SIGNS[step.fn]).op(OP.i64_extend_i32_u);
      return I64;
    case 'wideSelect':
      push(step.a);
      push(step.b);
      push(step.when);
      code.simd(SIMD.bitselect);
      return undefined;
    case 'shuffle':
      push(step.a);
      push(step.b);
      code.shuffle(step.bytes);
      return undefined;
    case 'lane':
      push(step.a);
      if (step.size === 8) code.simdLane(SIMD_LANE.i64x2_extract, step.n);
      else {
        code.simdLane(step.size === 4 ? SIMD_LANE.i32x4_extract : SIMD_LANE.i16x8_extract_u, step.n);
        code.op(OP.i64_extend_i32_u);
      }
      return I64;
    case 'withLane':
      push(step.a);
      push(step.value);
      if (step.size !== 8) code.op(OP.i32_wrap_i64);
      code.simdLane(REPLACE[step.size], step.n);
      return undefined;
    case 'splat':
      push(step.a);
      if (step.size === 8) code.simd(SIMD.i64x2_splat);
      else code.op(OP.i32_wrap_i64).simd(step.size === 4 ? SIMD.i32x4_splat : SIMD.i8x16_splat);
      return undefined;
  }
}
