/** Integer arithmetic and logic (Intel SDM vol. 1, 7.3.2 to 7.3.4). */
import type { Value } from '../ir.js';
import { ST, VECTOR } from '../state.js';
import type { Meaning, Writer } from './writer.js';

const RAX = ST.gpr;
const RDX = ST.gpr + 16;

function add(withCarry: boolean): Meaning {
  return (w) => {
    const size = w.size(0);
    const [a, b] = [w.read(0, true), w.read(1)];
    const plain = w.add(a, b);
    const sum = withCarry ? w.add(plain, w.carry()) : plain;
    const aux = w.addAux(a, b, sum, size);
    w.write(0, sum);
    w.setFlagWords(w.signExtend(sum, size), aux);
  };
}

function sub(withBorrow: boolean, isKept: boolean): Meaning {
  return (w) => {
    const size = w.size(0);
    const [a, b] = [w.read(0, isKept), w.read(1)];
    const plain = w.sub(a, b);
    const difference = withBorrow ? w.sub(plain, w.carry()) : plain;
    const aux = w.subAux(a, b, difference, size);
    if (isKept) w.write(0, difference);
    w.setFlagWords(w.signExtend(difference, size), aux);
  };
}

function logic(fn: 'and' | 'or' | 'xor', isKept = true): Meaning {
  return (w) => {
    const result = w.binary(fn, w.read(0, isKept), w.read(1));
    if (isKept) w.write(0, result);
    w.setFlagWords(w.signExtend(result, w.size(0)), w.const(0));
  };
}

/** INC and DEC leave CF alone. */
function step(by: 1 | -1): Meaning {
  return (w) => {
    const size = w.size(0);
    const a = w.read(0, true);
    const one = w.const(1);
    const result = by === 1 ? w.add(a, one) : w.sub(a, one);
    const carries = by === 1 ? w.addAux(a, one, result, size) : w.subAux(a, one, result, size);
    const overflow = w.and(w.xor(w.shr(carries, 63), w.shr(carries, 62)), one);
    const aux = w.or(w.and(carries, w.const(8)), w.auxOf(w.carry(), overflow));
    w.write(0, result);
    w.setFlagWords(w.signExtend(result, size), aux);
  };
}

const neg: Meaning = (w) => {
  const size = w.size(0);
  const a = w.read(0, true);
  const zero = w.const(0);
  const result = w.sub(zero, a);
  const aux = w.subAux(zero, a, result, size);
  w.write(0, result);
  w.setFlagWords(w.signExtend(result, size), aux);
};

const not: Meaning = (w) => w.write(0, w.invert(w.read(0, true)));

/** What MUL and IMUL set: CF = OF; the rest is undefined, and as a logic operation on the low half leaves it. */
function setMultiplied(w: Writer, low: Value, isWide: Value): void {
  w.setFlagWords(w.signExtend(low, w.size(0)), w.auxOf(isWide, isWide));
}

/** One operand: the product of it and AL, AX, EAX or RAX in AX, DX:AX, EDX:EAX or RDX:RAX. */
function multiplyWide(isSigned: boolean): Meaning {
  return (w) => {
    const size = w.size(0);
    const extend = (x: Value): Value => (isSigned ? w.signExtend(x, size) : x);
    const a = extend(w.fixed(RAX, size));
    const b = extend(w.read(0));
    const low = w.binary('mul', a, b);
    const high = size === 8 ? w.binary(isSigned ? 'mulhi_s' : 'mulhi_u', a, b) : w.mask(w.shr(low, 8 * size), size);
    const part = w.mask(low, size);
    const fits = isSigned
      ? w.compare('eq', w.mask(w.binary('shr_s', w.signExtend(low, size), w.const(63)), size), high)
      : w.isZero(high);
    if (size === 1) w.setFixed(RAX, 2, low);
    else {
      w.setFixed(RAX, size, part);
      w.setFixed(RDX, size, high);
    }
    setMultiplied(w, part, w.number(w.not(fits)));
  };
}

/** Two or three operands: the low half. */
const multiply: Meaning = (w) => {
  if (w.form.operands.length === 1) {
    multiplyWide(true)(w);
    return;
  }
  const size = w.size(0);
  const last = w.form.operands.length - 1;
  const [a, b] = [w.signExtend(w.read(last - 1), size), w.signExtend(w.read(last), size)];
  const low = w.binary('mul', a, b);
  const fits =
    size === 8
      ? w.compare('eq', w.binary('mulhi_s', a, b), w.binary('shr_s', low, w.const(63)))
      : w.compare('eq', w.signExtend(low, size), low);
  w.setOperand(0, size, low);
  setMultiplied(w, low, w.number(w.not(fits)));
};

/** #DE where the divisor is 0 or the quotient does not fit. Flags are undefined, and stay. */
function divide(isSigned: boolean): Meaning {
  return (w) => {
    const size = w.size(0);
    const divisor = w.read(0);
    w.trap(w.isZero(divisor), VECTOR.DE);
    if (size === 8) {
      w.helper(isSigned ? 'divideSigned' : 'divide', divisor);
      return;
    }
    const bits = 8 * size;
    const low = w.fixed(RAX, size);
    const high = size === 1 ? w.fixed(RAX + 1, 1) : w.fixed(RDX, size);
    const joined = w.or(w.shl(high, bits), low);
    const dividend = isSigned && size < 4 ? w.signExtend(joined, size === 1 ? 2 : 4) : joined;
    const by = isSigned ? w.signExtend(divisor, size) : divisor;
    if (isSigned) {
      // The one quotient that 64 bits have no room for.
      const least = w.compare('eq', dividend, w.const(1n << 63n));
      w.trap(w.both(least, w.compare('eq', by, w.const(-1))), VECTOR.DE);
    }
    const quotient = w.binary(isSigned ? 'div_s' : 'div_u', dividend, by);
    const remainder = w.binary(isSigned ? 'rem_s' : 'rem_u', dividend, by);
    const fits = isSigned ? w.signExtend(quotient, size) : w.mask(quotient, size);
    w.trap(w.compare('ne', fits, quotient), VECTOR.DE);
    if (size === 1) {
      w.setFixed(RAX, 1, quotient);
      w.setFixed(RAX + 1, 1, remainder);
    } else {
      w.setFixed(RAX, size, quotient);
      w.setFixed(RDX, size, remainder);
    }
  };
}

export const ARITHMETIC: Readonly<Record<string, Meaning>> = {
  Add: add(false),
  Adc: add(true),
  Sub: sub(false, true),
  Sbb: sub(true, true),
  Cmp: sub(false, false),
  And: logic('and'),
  Or: logic('or'),
  Xor: logic('xor'),
  Test: logic('and', false),
  Inc: step(1),
  Dec: step(-1),
  Neg: neg,
  Not: not,
  Mul: multiplyWide(false),
  Imul: multiply,
  Div: divide(false),
  Idiv: divide(true),
};
