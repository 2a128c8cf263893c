/** Integers in xmm registers, and logic on them (Intel SDM vol. 1, 10.4.2, 11.4.1.2, 11.4.2). */
import type { Value, Wide, WideBinary, WideShift } from '../ir.js';
import type { Meaning, Writer } from './writer.js';

/** The first operand from both. */
const combine =
  (how: (w: Writer, a: Wide, b: Wide) => Wide): Meaning =>
  (w) => {
    const b = w.wide(1);
    w.setWideOperand(0, how(w, w.wideOperand(0), b));
  };

const by = (fn: WideBinary): Meaning => combine((w, a, b) => w.wideBinary(fn, a, b));

/** ~a & b. */
const andNot = combine((w, a, b) => w.wideBinary('andnot', b, a));

/** By an immediate, or by the lower half of an operand of 16 bytes. */
const shift =
  (fn: WideShift): Meaning =>
  (w) => {
    const count = w.form.operands[1]!.kind === 'immediate' ? w.and(w.imm(), w.const(0xff)) : w.lane(8, 0, w.wide(1));
    w.setWideOperand(0, w.wideShift(fn, w.wideOperand(0), count));
  };

const NUMBERS = Array.from({ length: 16 }, (_, n) => BigInt(n)).reduceRight((all, n) => (all << 8n) | n, 0n);

/** By whole bytes. Places that are not there give zeroes. */
const shiftBytes =
  (isLeft: boolean): Meaning =>
  (w) => {
    const imm = w.and(w.imm(), w.const(0xff));
    const count: Value = w.select(w.compare('gt_u', imm, w.const(15)), w.const(16), imm);
    const places = w.wideBinary(isLeft ? 'i8x16_sub' : 'i8x16_add', w.wideConst(NUMBERS), w.splat(1, count));
    w.setWideOperand(0, w.wideBinary('i8x16_swizzle', w.wideOperand(0), places));
  };

/** The upper halves of products of words. */
const multiplyHigh = (sign: 's' | 'u'): Meaning =>
  combine((w, a, b) => {
    const low = w.wideBinary(`i32x4_extmul_low_i16x8_${sign}`, a, b);
    const high = w.wideBinary(`i32x4_extmul_high_i16x8_${sign}`, a, b);
    const order = Array.from({ length: 8 }, (_, n) => [4 * n + 2, 4 * n + 3]).flat();
    return w.shuffle(low, high, order);
  });

/** Products of the lower doublewords of each half. */
const multiplyDoublewords = combine((w, a, b) => {
  const lower = (x: Wide): Wide => w.shuffle(x, x, [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11]);
  return w.wideBinary('i64x2_extmul_low_i32x4_u', lower(a), lower(b));
});

/** Sums of the differences of bytes in each half. */
const sumDifferences = combine((w, a, b) => {
  const differences = w.wideBinary('or', w.wideBinary('i8x16_sub_sat_u', a, b), w.wideBinary('i8x16_sub_sat_u', b, a));
  const words = w.wideUnary('i16x8_extadd_pairwise_i8x16_u', differences);
  const pairs = w.wideUnary('i32x4_extadd_pairwise_i16x8_u', words);
  const lower = w.wideBinary('and', pairs, w.wideConst((0xffff_ffffn << 64n) | 0xffff_ffffn));
  return w.wideBinary('i64x2_add', lower, w.wideShift('i64x2_shr_u', pairs, w.const(32)));
});

export const SSE_INTEGER: Readonly<Record<string, Meaning>> = {
  Pand: by('and'),
  Andps: by('and'),
  Andpd: by('and'),
  Pandn: andNot,
  Andnps: andNot,
  Andnpd: andNot,
  Por: by('or'),
  Orps: by('or'),
  Orpd: by('or'),
  Pxor: by('xor'),
  Xorps: by('xor'),
  Xorpd: by('xor'),
  Paddb: by('i8x16_add'),
  Paddw: by('i16x8_add'),
  Paddd: by('i32x4_add'),
  Paddq: by('i64x2_add'),
  Psubb: by('i8x16_sub'),
  Psubw: by('i16x8_sub'),
  Psubd: by('i32x4_sub'),
  Psubq: by('i64x2_sub'),
  Paddsb: by('i8x16_add_sat_s'),
  Paddsw: by('i16x8_add_sat_s'),
  Paddusb: by('i8x16_add_sat_u'),
  Paddusw: by('i16x8_add_sat_u'),
  Psubsb: by('i8x16_sub_sat_s'),
  Psubsw: by('i16x8_sub_sat_s'),
  Psubusb: by('i8x16_sub_sat_u'),
  Psubusw: by('i16x8_sub_sat_u'),
  Pcmpeqb: by('i8x16_eq'),
  Pcmpeqw: by('i16x8_eq'),
  Pcmpeqd: by('i32x4_eq'),
  Pcmpgtb: by('i8x16_gt_s'),
  Pcmpgtw: by('i16x8_gt_s'),
  Pcmpgtd: by('i32x4_gt_s'),
  Pminub: by('i8x16_min_u'),
  Pmaxub: by('i8x16_max_u'),
  Pminsw: by('i16x8_min_s'),
  Pmaxsw: by('i16x8_max_s'),
  Pavgb: by('i8x16_avgr_u'),
  Pavgw: by('i16x8_avgr_u'),
  Packsswb: by('i8x16_narrow_i16x8_s'),
  Packuswb: by('i8x16_narrow_i16x8_u'),
  Packssdw: by('i16x8_narrow_i32x4_s'),
  Pmullw: by('i16x8_mul'),
  Pmulhw: multiplyHigh('s'),
  Pmulhuw: multiplyHigh('u'),
  Pmuludq: multiplyDoublewords,
  Pmaddwd: by('i32x4_dot_i16x8_s'),
  Psadbw: sumDifferences,
  Psllw: shift('i16x8_shl'),
  Pslld: shift('i32x4_shl'),
  Psllq: shift('i64x2_shl'),
  Psrlw: shift('i16x8_shr_u'),
  Psrld: shift('i32x4_shr_u'),
  Psrlq: shift('i64x2_shr_u'),
  Psraw: shift('i16x8_shr_s'),
  Psrad: shift('i32x4_shr_s'),
  Pslldq: shiftBytes(true),
  Psrldq: shiftBytes(false),
};
