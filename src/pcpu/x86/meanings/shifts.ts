/** Shifts, rotates and bits (Intel SDM vol. 1, 7.3.6 and 7.3.7). */
import type { Size, Truth, Value } from '../ir.js';
import type { Meaning, Writer } from './writer.js';

const RCX = 8;

/** The count: operand n, or 1 where there is none; modulo 64, or 32. */
function countOf(w: Writer, n: number): Value {
  const operand = w.form.operands[n];
  if (operand === undefined) return w.const(1);
  const count = operand.kind === 'immediate' ? w.imm() : w.fixed(RCX, 1);
  return w.and(count, w.const(w.size(0) === 8 ? 63 : 31));
}

const bitAt = (w: Writer, x: Value, n: Value): Value => w.and(w.binary('shr_u', x, n), w.const(1));
const topBit = (w: Writer, x: Value, size: Size): Value => w.and(w.shr(x, 8 * size - 1), w.const(1));

/** Flag words after a shift by `count`, of which 0 leaves them. */
function flagsUnlessZero(w: Writer, count: Value, result: Value, aux: Value): { result: Value; aux: Value } {
  const isZero = w.isZero(count);
  return { result: w.select(isZero, w.result(), result), aux: w.select(isZero, w.aux(), aux) };
}

const shiftLeft: Meaning = (w) => {
  const size = w.size(0);
  const [x, count] = [w.read(0, true), countOf(w, 1)];
  const result = w.binary('shl', x, count);
  // The last bit that left: of 64 bits it is gone from the result.
  const carry = size === 8 ? bitAt(w, x, w.sub(w.const(64), count)) : w.and(w.shr(result, 8 * size), w.const(1));
  const overflow = w.xor(topBit(w, result, size), carry);
  const [extended, aux] = [w.signExtend(result, size), w.auxOf(carry, overflow)];
  const words = flagsUnlessZero(w, count, extended, aux);
  w.write(0, result);
  w.setFlagWords(words.result, words.aux);
};

function shiftRight(isSigned: boolean): Meaning {
  return (w) => {
    const size = w.size(0);
    const [read, count] = [w.read(0, true), countOf(w, 1)];
    const x = isSigned ? w.signExtend(read, size) : read;
    const fn = isSigned ? 'shr_s' : 'shr_u';
    const result = w.binary(fn, x, count);
    const carry = w.and(w.binary(fn, x, w.sub(count, w.const(1))), w.const(1));
    const overflow = isSigned ? w.const(0) : topBit(w, x, size);
    const words = flagsUnlessZero(w, count, w.signExtend(result, size), w.auxOf(carry, overflow));
    w.write(0, result);
    w.setFlagWords(words.result, words.aux);
  };
}

/** ROL and ROR: CF is the bit that came round; a count of 0 changes no flag, one that is a multiple of the size changes CF. */
function rotate(isLeft: boolean): Meaning {
  return (w) => {
    const size = w.size(0);
    const bits = 8 * size;
    const [x, count] = [w.read(0, true), countOf(w, 1)];
    let result: Value;
    if (size === 8) result = w.binary(isLeft ? 'rotl' : 'rotr', x, count);
    else {
      const by = w.and(count, w.const(bits - 1));
      const back = w.and(w.sub(w.const(bits), by), w.const(bits - 1));
      const [left, right] = isLeft ? [by, back] : [back, by];
      result = w.mask(w.or(w.binary('shl', x, left), w.binary('shr_u', x, right)), size);
      // By 0 both are x itself.
      result = w.select(w.isZero(by), x, result);
    }
    const top = topBit(w, result, size);
    const carry = isLeft ? w.and(result, w.const(1)) : top;
    const below = w.and(w.shr(result, bits - 2), w.const(1));
    const overflow = isLeft ? w.xor(top, carry) : w.xor(top, below);
    const aux = w.select(w.isZero(count), w.aux(), w.auxWith(w.aux(), carry, overflow));
    w.write(0, result);
    w.setFlagWords(w.result(), aux);
  };
}

/** RCL and RCR: a rotate of one bit more, CF at its top. */
function rotateWithCarry(isLeft: boolean): Meaning {
  return (w) => {
    const size = w.size(0);
    const bits = 8 * size;
    const [x, masked] = [w.read(0, true), countOf(w, 1)];
    const cf = w.carry();
    // Modulo bits + 1; counts are at most 31, or 63 of 64 bits.
    const count = size < 4 ? w.binary('rem_u', masked, w.const(bits + 1)) : masked;
    const isNone = w.isZero(count);
    const less = w.sub(count, w.const(1));
    const rest = w.sub(w.const(bits), count);
    /** Shifts by 64 are by 0 to a processor. */
    const shift = (fn: 'shl' | 'shr_u', y: Value, n: Value): Value =>
      size === 8 ? w.select(w.compare('ge_u', n, w.const(64)), w.const(0), w.binary(fn, y, n)) : w.binary(fn, y, n);
    const restPlus = w.add(rest, w.const(1));
    const around = isLeft
      ? w.or(w.or(shift('shl', x, count), w.binary('shl', cf, less)), shift('shr_u', x, restPlus))
      : w.or(w.or(shift('shr_u', x, count), w.binary('shl', cf, rest)), shift('shl', x, restPlus));
    const result = w.select(isNone, x, w.mask(around, size));
    const carry = w.select(isNone, cf, isLeft ? bitAt(w, x, rest) : bitAt(w, x, less));
    const top = topBit(w, result, size);
    const below = w.and(w.shr(result, bits - 2), w.const(1));
    const overflow = isLeft ? w.xor(top, carry) : w.xor(top, below);
    const aux = w.select(w.isZero(masked), w.aux(), w.auxWith(w.aux(), carry, overflow));
    w.write(0, result);
    w.setFlagWords(w.result(), aux);
  };
}

/** SHLD and SHRD. Counts above the size are undefined. */
function shiftDouble(isLeft: boolean): Meaning {
  return (w) => {
    const size = w.size(0);
    const bits = 8 * size;
    const [x, filler, count] = [w.read(0, true), w.read(1), countOf(w, 2)];
    const isNone = w.isZero(count);
    const back = w.sub(w.const(bits), count);
    const shifted = isLeft
      ? w.or(w.binary('shl', x, count), w.binary('shr_u', filler, back))
      : w.or(w.binary('shr_u', x, count), w.binary('shl', filler, back));
    const result = w.select(isNone, x, w.mask(shifted, size));
    const carry = isLeft ? bitAt(w, x, back) : bitAt(w, x, w.sub(count, w.const(1)));
    const overflow = w.xor(topBit(w, result, size), topBit(w, x, size));
    const words = flagsUnlessZero(w, count, w.signExtend(result, size), w.auxOf(carry, overflow));
    w.write(0, result);
    w.setFlagWords(words.result, words.aux);
  };
}

/** The memory operand's address and some more: one of 32 bits is cut off behind that, too. */
function moved(w: Writer, by: Value): Value {
  const { bits, hasSegment } = w.form.address!;
  const sum = w.add(w.effectiveAddress(), by);
  if (bits === 64) return sum;
  return hasSegment ? w.add(w.mask(w.sub(sum, w.segment()), 4), w.segment()) : w.mask(sum, 4);
}

/** BT and its kin: CF is the bit, the other flags but ZF are undefined, and stay. */
function testBit(change: 'none' | 'set' | 'reset' | 'complement'): Meaning {
  return (w) => {
    const size = w.size(0);
    const bits = 8 * size;
    const isChanging = change !== 'none';
    const number = w.read(1);
    const n = w.and(number, w.const(bits - 1));
    const isFar = w.isMemory(0) && w.form.operands[1]!.kind === 'register';
    // A register names any bit of memory, before or behind the operand.
    const far = isFar
      ? w.binary(
          'shl',
          w.binary('shr_s', w.signExtend(number, size), w.const(Math.log2(bits))),
          w.const(Math.log2(size)),
        )
      : undefined;
    const address = far === undefined ? undefined : moved(w, far);
    const x =
      address === undefined
        ? w.read(0, isChanging)
        : isChanging
          ? w.loadToChange(address, size)
          : w.load(address, size);
    const carry = bitAt(w, x, n);
    const aux = w.or(w.and(w.aux(), w.const(~(3n << 62n))), w.auxOf(carry, w.number(w.overflow())));
    if (isChanging) {
      const bit = w.binary('shl', w.const(1), n);
      const result = change === 'set' ? w.or(x, bit) : change === 'reset' ? w.and(x, w.invert(bit)) : w.xor(x, bit);
      if (address === undefined) w.write(0, result);
      else w.storeChanged(address, size, result);
    }
    w.setFlagWords(w.result(), aux);
  };
}

/** BSF and BSR: ZF says whether the source was 0; then the destination stays. */
function scan(isForward: boolean): Meaning {
  return (w) => {
    const size = w.size(0);
    const x = w.read(1);
    const isZero: Truth = w.isZero(x);
    const n = isForward ? w.unary('ctz', x) : w.sub(w.const(63), w.unary('clz', x));
    const flags = w.select(isZero, w.const(0), w.const(1));
    if (size === 4) w.setOperand(0, 8, w.select(isZero, w.operand(0, 8), n));
    else w.setOperand(0, size, w.select(isZero, w.operand(0, size), n));
    w.setFlagWords(flags, w.const(0));
  };
}

export const SHIFTS: Readonly<Record<string, Meaning>> = {
  Shl: shiftLeft,
  Sal: shiftLeft,
  Shr: shiftRight(false),
  Sar: shiftRight(true),
  Rol: rotate(true),
  Ror: rotate(false),
  Rcl: rotateWithCarry(true),
  Rcr: rotateWithCarry(false),
  Shld: shiftDouble(true),
  Shrd: shiftDouble(false),
  Bt: testBit('none'),
  Bts: testBit('set'),
  Btr: testBit('reset'),
  Btc: testBit('complement'),
  Bsf: scan(true),
  Bsr: scan(false),
  // Without BMI1 and ABM, the same instructions with a prefix that does nothing.
  Tzcnt: scan(true),
  Lzcnt: scan(false),
};
