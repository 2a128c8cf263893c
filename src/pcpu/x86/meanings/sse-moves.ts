/**
 * Moves and shuffles of xmm registers, and MXCSR (Intel SDM vol. 1, 10.4.1, 10.4.4, 11.4.1). Registers are written whole: a later read
 * of all of one that was written in parts would have to wait for those.
 */
import type { Value, Wide } from '../ir.js';
import { MXCSR } from '../soft-float.js';
import { ST, VECTOR } from '../state.js';
import type { Meaning, Writer } from './writer.js';

const bytes = (from: number, count: number): number[] => Array.from({ length: count }, (_, n) => from + n);

/** A value in the lowest lane, zero above it. */
export function zeroExtended(w: Writer, x: Value, size: 4 | 8): Wide {
  return w.withLane(size, 0, w.wideConst(0n), x);
}

const moveAligned: Meaning = (w) => w.writeWide(0, w.wide(1));
const moveUnaligned: Meaning = (w) => w.writeWide(0, w.wideUnaligned(1), false);

/** From memory with zeroes above; between registers the rest stays. */
const moveScalar =
  (size: 4 | 8): Meaning =>
  (w) => {
    const x = w.low(1, size);
    if (w.isMemory(0)) w.write(0, x);
    else if (w.isMemory(1)) w.setWideOperand(0, zeroExtended(w, x, size));
    else w.setWideOperand(0, w.withLane(size, 0, w.wideOperand(0), x));
  };

/** Half a register and memory. */
const moveHalf =
  (half: 0 | 1): Meaning =>
  (w) => {
    if (w.isMemory(0)) w.write(0, w.lane(8, half, w.wideOperand(1)));
    else w.setWideOperand(0, w.withLane(8, half, w.wideOperand(0), w.read(1)));
  };

/** MOVD and MOVQ: one of the operands may be a general register. */
const moveExtended =
  (size: 4 | 8): Meaning =>
  (w) => {
    const source = w.form.operands[1]!;
    const x = source.kind === 'register' ? w.read(1) : w.low(1, size);
    if (w.form.operands[0]!.kind === 'xmm') w.setWideOperand(0, zeroExtended(w, x, size));
    else w.write(0, x);
  };

/** Any bytes of the two operands. */
const pick =
  (order: readonly number[]): Meaning =>
  (w) => {
    const b = w.wide(1);
    w.setWideOperand(0, w.shuffle(w.wideOperand(0), b, order));
  };

/** Lanes of both operands in turn, from the lower or the upper halves. */
function interleave(laneBytes: number, half: 0 | 1): Meaning {
  const lanes = 8 / laneBytes;
  const order: number[] = [];
  for (let n = 0; n < lanes; n++) {
    const from = 8 * half + n * laneBytes;
    order.push(...bytes(from, laneBytes), ...bytes(16 + from, laneBytes));
  }
  return pick(order);
}

/** Places of the bytes of a shuffle, from places of words: see placesOf in forms.ts. */
function places(w: Writer): Wide {
  const words = w.wideUnary('i16x8_extend_low_i8x16_u', w.splat(8, w.imm()));
  const inEach = (x: bigint): Wide =>
    w.wideConst(Array.from({ length: 8 }).reduce((all: bigint) => (all << 16n) | x, 0n));
  return w.wideBinary('i16x8_add', w.wideBinary('i16x8_mul', words, inEach(0x0101n)), inEach(0x0100n));
}

const shuffleWords: Meaning = (w) => {
  const x = w.wide(1);
  w.setWideOperand(0, w.wideBinary('i8x16_swizzle', x, places(w)));
};

/** The lower half from the first operand, the upper one from the second. */
const shuffleTwo: Meaning = (w) => {
  const b = w.wide(1);
  const at = places(w);
  const [low, high] = [w.wideOperand(0), b].map((x) => w.wideBinary('i8x16_swizzle', x, at)) as [Wide, Wide];
  w.setWideOperand(0, w.shuffle(low, high, [...bytes(0, 8), ...bytes(24, 8)]));
};

const signs =
  (fn: 'i8x16_bitmask' | 'i32x4_bitmask' | 'i64x2_bitmask'): Meaning =>
  (w) =>
    w.setOperand(0, w.size(0), w.wideSigns(fn, w.wideOperand(1)));

const insertWord: Meaning = (w) => {
  const x = w.isMemory(1) ? w.load(w.effectiveAddress(), 2) : w.read(1);
  w.setWideOperand(0, w.withLane(2, w.form.variant, w.wideOperand(0), x));
};

const extractWord: Meaning = (w) => w.write(0, w.lane(2, w.form.variant, w.wideOperand(1)));

/** Bytes whose masks are negative; the others are written with what they are. */
const storeMasked: Meaning = (w) => {
  const at = w.effectiveAddress();
  const before = w.loadWide(at, true);
  const isWritten = w.wideBinary('i8x16_gt_s', w.wideConst(0n), w.wideOperand(2));
  w.storeWide(at, w.wideSelect(isWritten, w.wideOperand(1), before));
};

const loadMxcsr: Meaning = (w) => {
  const x = w.read(0);
  w.trap(w.compare('gt_u', x, w.const(MXCSR.all)), VECTOR.GP);
  w.setFixed(ST.mxcsr, 4, x);
};

/** Caches are not seen, but for the access. */
const flushLine: Meaning = (w) => {
  w.load(w.effectiveAddress(), 1);
};

export const SSE_MOVES: Readonly<Record<string, Meaning>> = {
  Movaps: moveAligned,
  Movapd: moveAligned,
  Movdqa: moveAligned,
  Movntps: moveAligned,
  Movntpd: moveAligned,
  Movntdq: moveAligned,
  Movups: moveUnaligned,
  Movupd: moveUnaligned,
  Movdqu: moveUnaligned,
  Movss: moveScalar(4),
  Movsd: moveScalar(8),
  Movlps: moveHalf(0),
  Movlpd: moveHalf(0),
  Movhps: moveHalf(1),
  Movhpd: moveHalf(1),
  Movhlps: pick([...bytes(24, 8), ...bytes(8, 8)]),
  Movlhps: pick([...bytes(0, 8), ...bytes(16, 8)]),
  Movd: moveExtended(4),
  Movq: moveExtended(8),
  Unpcklps: interleave(4, 0),
  Unpckhps: interleave(4, 1),
  Unpcklpd: interleave(8, 0),
  Unpckhpd: interleave(8, 1),
  Punpcklbw: interleave(1, 0),
  Punpckhbw: interleave(1, 1),
  Punpcklwd: interleave(2, 0),
  Punpckhwd: interleave(2, 1),
  Punpckldq: interleave(4, 0),
  Punpckhdq: interleave(4, 1),
  Punpcklqdq: interleave(8, 0),
  Punpckhqdq: interleave(8, 1),
  Pshufd: shuffleWords,
  Pshuflw: shuffleWords,
  Pshufhw: shuffleWords,
  Shufps: shuffleTwo,
  Shufpd: shuffleTwo,
  Movmskps: signs('i32x4_bitmask'),
  Movmskpd: signs('i64x2_bitmask'),
  Pmovmskb: signs('i8x16_bitmask'),
  Pinsrw: insertWord,
  Pextrw: extractWord,
  Maskmovdqu: storeMasked,
  Clflush: flushLine,
  Ldmxcsr: loadMxcsr,
  Stmxcsr: (w) => w.write(0, w.fixed(ST.mxcsr, 4)),
};
