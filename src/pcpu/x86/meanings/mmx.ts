/**
 * MMX, and what SSE and SSE2 add to it (Intel SDM vol. 1, 9, 10.4.4, 11.4.4). mm registers are the significands of R0 to R7; here they are
 * 16 bytes whose halves are alike, so that what xmm instructions do to each lane is what these do. All but EMMS leave the x87 with TOP 0
 * and no register empty.
 */
import type { Form } from '../forms.js';
import type { FloatOperation, FloatType, Value, Wide, WideBinary } from '../ir.js';
import { ST, VECTOR } from '../state.js';
import { FSW } from '../x87-registers.js';
import { SSE_INTEGER } from './sse-integer.js';
import { SSE_MOVES, zeroExtended } from './sse-moves.js';
import { type Meaning, Writer } from './writer.js';

/** Sign and exponent of a register that was written. */
const ONES = 0xffff;
/** Bits of all registers. */
const ALL = 0xff;

export class MmxWriter extends Writer {
  isMm = (n: number): boolean => this.form.operands[n]?.kind === 'mm';

  override wideOperand(n: number): Wide {
    return this.isMm(n) ? this.splat(8, this.operand(n, 8)) : super.wideOperand(n);
  }

  /** Of memory, as many bytes as the operand has, at any address. */
  override wide(n: number): Wide {
    const operand = this.form.operands[n]!;
    return operand.kind === 'memory' && operand.size <= 8 ? this.splat(8, this.read(n)) : super.wide(n);
  }

  override setWideOperand(n: number, x: Wide): void {
    super.setWideOperand(n, this.isMm(n) ? this.withLane(2, 4, x, this.const(ONES)) : x);
  }

  /** Operand n, an mm register, a general one or memory. */
  value(n: number): Value {
    return this.isMm(n) ? this.operand(n, 8) : this.read(n);
  }
}

/** An x87 exception that waits comes first. */
function wait(w: Writer): void {
  const isPending = w.compare('ne', w.and(w.fixed(ST.fsw, 2), w.const(FSW.pending)), w.const(0));
  w.trap(isPending, VECTOR.MF);
}

/** The status word with TOP 0. */
const topped = (w: Writer): Value => w.and(w.fixed(ST.fsw, 2), w.const(~FSW.top));

/** An instruction of mm registers, which are in use from then on. */
const on =
  (meaning: (w: MmxWriter) => void): Meaning =>
  (w) => {
    wait(w);
    const status = topped(w);
    meaning(w as MmxWriter);
    w.setFixed(ST.fsw, 2, status);
    w.setFixed(ST.ftw, 2, w.const(ALL));
  };

/** Both operands to the first. */
const combine = (how: (w: MmxWriter, a: Wide, b: Wide) => Wide): Meaning =>
  on((w) => {
    const b = w.wide(1);
    w.setWideOperand(0, how(w, w.wideOperand(0), b));
  });

const bytes = (from: number, count: number): number[] => Array.from({ length: count }, (_, n) => from + n);

const pack = (fn: WideBinary): Meaning =>
  combine((w, a, b) => {
    const both = w.wideBinary(fn, a, b);
    const order = [...bytes(0, 4), ...bytes(8, 4)];
    return w.shuffle(both, both, [...order, ...order]);
  });

/** Lanes of both operands in turn, from the lower or the upper halves. */
const interleave = (laneBytes: number, half: 0 | 1): Meaning =>
  combine((w, a, b) => {
    const order: number[] = [];
    for (let from = 4 * half; from < 4 * half + 4; from += laneBytes)
      order.push(...bytes(from, laneBytes), ...bytes(16 + from, laneBytes));
    return w.shuffle(a, b, [...order, ...order]);
  });

const move = on((w) => {
  if (w.isMm(0)) w.setWideOperand(0, w.splat(8, w.value(1)));
  else w.write(0, w.value(1));
});

const insertWord = on((w) => {
  const x = w.isMemory(1) ? w.load(w.effectiveAddress(), 2) : w.read(1);
  w.setWideOperand(0, w.withLane(2, w.form.variant & 3, w.wideOperand(0), x));
});

const extractWord = on((w) => w.write(0, w.lane(2, w.form.variant & 3, w.wideOperand(1))));

const signs = on((w) =>
  w.setOperand(0, w.size(0), w.and(w.wideSigns('i8x16_bitmask', w.wideOperand(1)), w.const(0xff))),
);

const storeMasked = on((w) => {
  const at = w.effectiveAddress();
  const before = w.load(at, 8, true);
  const isWritten = w.wideBinary('i8x16_gt_s', w.wideConst(0n), w.wideOperand(2));
  w.store(at, 8, w.lane(8, 0, w.wideSelect(isWritten, w.wideOperand(1), w.splat(8, before))));
});

/** Two floats of an xmm register or memory. The registers are in use even where this ends in #XM. */
const toIntegers =
  (fn: FloatOperation, type: FloatType): Meaning =>
  (w) => {
    wait(w);
    const x = w.wide(1);
    w.setFirst(ST.fsw, 2, topped(w));
    w.setFirst(ST.ftw, 2, w.const(ALL));
    w.setWideOperand(0, w.float(fn, type, 2, x));
  };

/** From an mm register, or from memory, which leaves the x87 alone. */
const fromIntegers =
  (toFloats: (w: Writer, x: Wide) => Wide): Meaning =>
  (w) => {
    const isMm = w.form.operands[1]!.kind === 'mm';
    if (isMm) wait(w);
    const x = w.wide(1);
    if (isMm) {
      w.setFirst(ST.fsw, 2, topped(w));
      w.setFirst(ST.ftw, 2, w.const(ALL));
    }
    w.setWideOperand(0, toFloats(w, x));
  };

/** Those that do to each lane what they do to one of an xmm register. */
const ALIKE: readonly string[] = [
  ...['Pand', 'Pandn', 'Por', 'Pxor', 'Paddb', 'Paddw', 'Paddd', 'Paddq', 'Psubb', 'Psubw', 'Psubd', 'Psubq'],
  ...['Paddsb', 'Paddsw', 'Paddusb', 'Paddusw', 'Psubsb', 'Psubsw', 'Psubusb', 'Psubusw'],
  ...['Pcmpeqb', 'Pcmpeqw', 'Pcmpeqd', 'Pcmpgtb', 'Pcmpgtw', 'Pcmpgtd'],
  ...['Pminub', 'Pmaxub', 'Pminsw', 'Pmaxsw', 'Pavgb', 'Pavgw'],
  ...['Pmullw', 'Pmulhw', 'Pmulhuw', 'Pmuludq', 'Pmaddwd', 'Psadbw'],
  ...['Psllw', 'Pslld', 'Psllq', 'Psrlw', 'Psrld', 'Psrlq', 'Psraw', 'Psrad'],
];

export const MMX: Readonly<Record<string, Meaning>> = {
  ...Object.fromEntries(ALIKE.map((mnemonic) => [mnemonic, on(SSE_INTEGER[mnemonic]!)])),
  Packsswb: pack('i8x16_narrow_i16x8_s'),
  Packuswb: pack('i8x16_narrow_i16x8_u'),
  Packssdw: pack('i16x8_narrow_i32x4_s'),
  Punpcklbw: interleave(1, 0),
  Punpckhbw: interleave(1, 1),
  Punpcklwd: interleave(2, 0),
  Punpckhwd: interleave(2, 1),
  Punpckldq: interleave(4, 0),
  Punpckhdq: interleave(4, 1),
  // From the words' places, as for xmm registers.
  Pshufw: on(SSE_MOVES.Pshuflw!),
  Movd: move,
  Movq: move,
  Movntq: move,
  Movq2dq: on((w) => w.setWideOperand(0, zeroExtended(w, w.value(1), 8))),
  Movdq2q: on((w) => w.setWideOperand(0, w.splat(8, w.low(1, 8)))),
  Pinsrw: insertWord,
  Pextrw: extractWord,
  Pmovmskb: signs,
  Maskmovq: storeMasked,
  Cvtpi2ps: fromIntegers((w, x) => w.withLane(8, 0, w.wideOperand(0), w.lane(8, 0, w.float('fromInt32', 'f32', 2, x)))),
  Cvtpi2pd: fromIntegers((w, x) => w.wideUnary('f64x2_convert_low_i32x4_s', x)),
  Cvtps2pi: toIntegers('toInt32', 'f32'),
  Cvttps2pi: toIntegers('truncateToInt32', 'f32'),
  Cvtpd2pi: toIntegers('toInt32', 'f64'),
  Cvttpd2pi: toIntegers('truncateToInt32', 'f64'),
  Emms(w) {
    wait(w);
    w.setFixed(ST.fsw, 2, topped(w));
    w.setFixed(ST.ftw, 2, w.const(0));
  },
};

/** Those without an mm register whose operand in memory could be one. */
const OF_MEMORY: readonly string[] = ['Emms', 'Cvtpi2ps', 'Cvtpi2pd'];

export const isMmx = ({ mnemonic, operands }: Form): boolean =>
  OF_MEMORY.includes(mnemonic) || operands.some(({ kind }) => kind === 'mm');
