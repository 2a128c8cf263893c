/**
 * The x87 (Intel SDM vol. 1, 8; vol. 2 under each instruction): what handlers leave to a function of the core. An instruction first has its
 * operand from memory, then looks at the stack, then at the operands, then at the result; it has changed nothing where memory faults.
 * Exceptions that are not masked wait for the next instruction that looks for them, which is #MF. This file is as long as it is because all
 * instructions share what is known of the one that is done.
 */
import iced from 'iced-x86';
import type { Image } from '../../shared/image.js';
import { areas } from './areas.js';
import {
  type Extended,
  exactly,
  fromBcd,
  fromFloat,
  fromInteger,
  INDEFINITE,
  type Operand,
  type Outcome,
  operandOf,
  quieted,
  toBcd,
  toFloat,
  toInteger,
  zero,
} from './extended.js';
import {
  arithmetic,
  type ConstantName,
  comparison,
  constant,
  type ExtendedBinary,
  extracted,
  type Order,
  remainder,
  roundedToInteger,
  scaled,
  squareRoot,
} from './extended-arithmetic.js';
import type { Mmu } from './mmu.js';
import { CHOP, EXCEPTION } from './soft-float.js';
import { FLAG, REC, ST, VECTOR } from './state.js';
import { type X87Code, type X87Mnemonic, x87CodeOf } from './x87-code.js';
import { type EnvironmentBytes, registerAt } from './x87-images.js';
import { FSW, X87Registers } from './x87-registers.js';
import { x87State } from './x87-state.js';

const { MemorySize } = iced;

/** Exceptions that are found before there is a result, which there is none then. */
const BEFORE = EXCEPTION.invalid | EXCEPTION.denormal | EXCEPTION.zeroDivide;
const UNORDERED = FSW.C0 | FSW.C2 | FSW.C3;

/** They do not look whether an exception is pending. */
const NOT_WAITING: ReadonlySet<X87Mnemonic> = new Set<X87Mnemonic>([
  ...(['Fninit', 'Fnclex', 'Fnstcw', 'Fnstsw', 'Fnstenv', 'Fnsave', 'Fneni', 'Fndisi', 'Fnsetpm'] as const),
  ...(['Fxsave', 'Fxsave64', 'Fxrstor', 'Fxrstor64'] as const),
]);

/** @returns executes the x87 instruction of the VCPU's record; false where it ends in an exception, which is set up */
export function x87(image: Image, paging: Mmu, written: (frame: number) => void): (st: number) => boolean {
  const view = new DataView(image.buffer);
  const r = new X87Registers(image.buffer);
  const whole = x87State(image, r, areas(image, paging, written));
  let st = 0;
  /** Of the instruction. */
  let code: X87Code;

  const addressOf = (): bigint => view.getBigUint64(st + ST.address, true);
  const environmentBytes = (): EnvironmentBytes =>
    code.memory === MemorySize.FpuEnv14 || code.memory === MemorySize.FpuState94 ? 14 : 28;

  /** The instruction is one whose address is kept. */
  function keepPointers(): void {
    const record = view.getInt32(st + ST.record, true);
    const offset = view.getUint16(record + REC.offset, true);
    r.lastInstruction = view.getBigUint64(st + ST.codePage, true) + BigInt(offset);
    if (code.memory !== MemorySize.Unknown) r.lastOperand = addressOf();
  }

  /** The same of one that says by C1 what came of it. */
  function begin(): void {
    keepPointers();
    r.setC1(false);
  }

  /** Bytes of the operand in memory. */
  const bytesOf = (): number => iced.MemorySizeExt.size(code.memory);

  /** Image address of so many bytes of the operand; −1: an exception is set up. */
  const load = (bytes: number): number => paging.load(st, bytes, false);

  function store(bytes: number, x: bigint): boolean {
    view.setBigUint64(st + ST.value, BigInt.asUintN(64, x), true);
    view.setUint16(st + ST.value + 8, Number(x >> 64n), true);
    return paging.store(st, bytes) === 0;
  }

  /** The operand in memory; undefined: an exception is set up. */
  function operand(): Operand | undefined {
    const at = load(bytesOf());
    if (at < 0) return undefined;
    switch (code.memory) {
      case MemorySize.Float32:
        return fromFloat('f32', BigInt(view.getUint32(at, true)));
      case MemorySize.Float64:
        return fromFloat('f64', view.getBigUint64(at, true));
      case MemorySize.Int16:
        return fromInteger(BigInt(view.getInt16(at, true)));
      case MemorySize.Int32:
        return fromInteger(BigInt(view.getInt32(at, true)));
      case MemorySize.Int64:
        return fromInteger(view.getBigInt64(at, true));
      case MemorySize.Bcd:
        return operandOf(fromBcd(view.getBigUint64(at, true) | (BigInt(view.getUint16(at + 8, true)) << 64n)));
      default:
        return operandOf(registerAt(view, at));
    }
  }

  const pop = (times: number): void => {
    for (let n = 0; n < times; n++) r.pop();
  };

  /** A register that has no number, or one for which there is no register. @returns whether that is masked */
  function stackFault(isOverflow = false): boolean {
    r.setC1(isOverflow);
    return r.raise(EXCEPTION.invalid, true) === 0;
  }

  /** The end of an instruction with a result in ST(to). */
  function finish(to: number, { value, exceptions, isUp }: Outcome<Extended>, pops = 0): true {
    if ((exceptions & BEFORE & ~r.control.masks) !== 0) {
      r.raise(exceptions & BEFORE);
      return true;
    }
    r.set(to, value);
    r.raise(exceptions);
    r.setC1(isUp);
    pop(pops);
    return true;
  }

  function underflow(to: number, pops = 0): true {
    if (stackFault()) {
      r.set(to, INDEFINITE);
      pop(pops);
    }
    return true;
  }

  /** The end of an instruction that pushes. */
  function push({ value, exceptions }: Outcome<Extended>): true {
    if (!r.isEmpty(7)) {
      if (stackFault(true)) r.push(INDEFINITE);
      return true;
    }
    // A denormal is loaded, whether it is masked or not.
    if ((r.raise(exceptions) & EXCEPTION.invalid) === 0) r.push(value);
    return true;
  }

  function binary(fn: ExtendedBinary, isReversed: boolean, pops: number): boolean {
    const isMemory = code.memory !== MemorySize.Unknown;
    const [to, from] = code.isToSti ? [code.i, 0] : [0, code.i];
    const fromMemory = isMemory ? operand() : undefined;
    if (isMemory && fromMemory === undefined) return false;
    begin();
    if (r.isEmpty(to) || (!isMemory && r.isEmpty(from))) return underflow(to, pops);
    const [a, b] = [operandOf(r.get(to)), fromMemory ?? operandOf(r.get(from))];
    return finish(to, isReversed ? arithmetic(fn, r.control, b, a) : arithmetic(fn, r.control, a, b), pops);
  }

  /** Compares ST(0), and says by `tell` what it is. @param isQuiet quiet NaNs are no invalid operands */
  function compare(isQuiet: boolean, pops: number, tell: (order: Order) => void, i = code.i): boolean {
    const isMemory = code.memory !== MemorySize.Unknown;
    const fromMemory = isMemory ? operand() : undefined;
    if (isMemory && fromMemory === undefined) return false;
    keepPointers();
    if (r.isEmpty(0) || (!isMemory && r.isEmpty(i))) {
      tell(undefined);
      if (stackFault()) pop(pops);
      return true;
    }
    tellOrder(comparison(operandOf(r.get(0)), fromMemory ?? operandOf(r.get(i)), isQuiet), pops, tell);
    return true;
  }

  function tellOrder({ value, exceptions }: Outcome<Order>, pops: number, tell: (order: Order) => void): void {
    tell(value);
    if ((r.raise(exceptions) & BEFORE) === 0) pop(pops);
  }

  function byCondition(order: Order): void {
    r.setCondition(order === undefined ? UNORDERED : order === 0 ? FSW.C3 : order < 0 ? FSW.C0 : 0);
  }

  /** To the instruction's steps, which set status flags by it. */
  function byFlags(order: Order): void {
    const flags = order === undefined ? FLAG.ZF | FLAG.PF | FLAG.CF : order === 0 ? FLAG.ZF : order < 0 ? FLAG.CF : 0;
    view.setBigUint64(st + ST.address, BigInt(flags), true);
  }

  /** ST(0) to itself. */
  function unary(fn: (x: Extended) => Outcome<Extended>): true {
    begin();
    return r.isEmpty(0) ? underflow(0) : finish(0, fn(r.get(0)));
  }

  /** ST(0) and ST(1) to ST(0). */
  function ofTwo(fn: (x: Extended, y: Extended) => Outcome<Extended>): true {
    begin();
    return r.isEmpty(0) || r.isEmpty(1) ? underflow(0) : finish(0, fn(r.get(0), r.get(1)));
  }

  function loadConstant(x: Extended): true {
    begin();
    return push(exactly(x));
  }

  function fld(): boolean {
    if (code.memory === MemorySize.Unknown) {
      begin();
      if (r.isEmpty(code.i)) {
        if (stackFault()) r.push(INDEFINITE);
        return true;
      }
      return push(exactly(r.get(code.i)));
    }
    const x = operand();
    if (x === undefined) return false;
    begin();
    const isFloat = code.memory === MemorySize.Float32 || code.memory === MemorySize.Float64;
    if (isFloat && x.kind === 'signalling') return push(exactly(quieted(x.bits), EXCEPTION.invalid));
    return push(exactly(x.bits, isFloat && x.kind === 'denormal' ? EXCEPTION.denormal : 0));
  }

  /** ST(0) to memory. What it is there is found before memory is looked for; a fault leaves all as it was. */
  function toMemory({ value, exceptions, isUp }: Outcome<bigint>, isStored: boolean, pops: number): boolean {
    if (isStored ? !store(bytesOf(), value) : paging.load(st, bytesOf(), true) < 0) return false;
    begin();
    r.raise(exceptions);
    r.setC1(isUp);
    if (isStored) pop(pops);
    return true;
  }

  /**
   * @param convert what ST(0) is in memory
   * @param indefinite what is stored where it is empty
   */
  function storeTo(convert: (x: Extended) => Outcome<bigint>, indefinite: bigint, pops: number): boolean {
    const { masks } = r.control;
    if (r.isEmpty(0)) {
      const isMasked = (masks & EXCEPTION.invalid) !== 0;
      if (isMasked ? !store(bytesOf(), indefinite) : paging.load(st, bytesOf(), true) < 0) return false;
      begin();
      if (stackFault()) pop(pops);
      return true;
    }
    const outcome = convert(r.get(0));
    const hasNoResult = (outcome.exceptions & ~EXCEPTION.inexact & ~masks) !== 0;
    if (!hasNoResult) return toMemory(outcome, true, pops);
    return toMemory(exactly(0n, outcome.exceptions & ~EXCEPTION.inexact), false, 0);
  }

  function fst(pops: number): boolean {
    switch (code.memory) {
      case MemorySize.Float32:
        return storeTo((x) => toFloat(r.control, 'f32', x), 0xffc0_0000n, pops);
      case MemorySize.Float64:
        return storeTo((x) => toFloat(r.control, 'f64', x), 0xfff8_0000_0000_0000n, pops);
      case MemorySize.Float80:
        return storeTo((x) => exactly(bitsOf(x)), bitsOf(INDEFINITE), pops);
      default:
        begin();
        return r.isEmpty(0) ? underflow(code.i, pops) : finish(code.i, exactly(r.get(0)), pops);
    }
  }

  /** FSTP that moves nothing where there is nothing. */
  function fstpnce(): true {
    begin();
    if (!r.isEmpty(0)) r.set(code.i, r.get(0));
    pop(1);
    return true;
  }

  const bitsOf = ({ isNegative, exponent, significand }: Extended): bigint =>
    (BigInt(exponent | (isNegative ? 0x8000 : 0)) << 64n) | significand;

  function fist(pops: number, isTruncated = false): boolean {
    const bits = 8 * bytesOf();
    const rounding = isTruncated ? CHOP : r.control.rounding;
    return storeTo((x) => toInteger(x, bits, rounding), 1n << BigInt(bits - 1), pops);
  }

  function fxch(): true {
    begin();
    const isFault = r.isEmpty(0) || r.isEmpty(code.i);
    if (isFault && !stackFault()) return true;
    const [a, b] = [0, code.i].map((i) => (r.isEmpty(i) ? INDEFINITE : r.get(i)));
    r.set(0, b!);
    r.set(code.i, a!);
    return true;
  }

  function fcmov(): true {
    keepPointers();
    if (r.isEmpty(0) || r.isEmpty(code.i)) return underflow(0);
    if (addressOf() !== 0n) r.set(0, r.get(code.i));
    return true;
  }

  function fxam(): true {
    begin();
    const x = r.get(0);
    const sign = x.isNegative ? FSW.C1 : 0;
    if (r.isEmpty(0)) r.setCondition(FSW.C3 | FSW.C0 | sign);
    else r.setCondition(CLASSES[operandOf(x).kind] | sign);
    return true;
  }

  function fprem(isNearest: boolean): true {
    begin();
    r.setC2(false);
    if (r.isEmpty(0) || r.isEmpty(1)) return underflow(0);
    const { quotient, ...outcome } = remainder(r.control, r.get(0), r.get(1), isNearest);
    finish(0, outcome);
    const isRefused = (outcome.exceptions & BEFORE & ~r.control.masks) !== 0;
    if (isRefused || quotient === undefined) return true;
    if (quotient === 'partial') r.setCondition(FSW.C2);
    else
      r.setCondition(
        ((quotient & 4) !== 0 ? FSW.C0 : 0) | ((quotient & 2) !== 0 ? FSW.C3 : 0) | ((quotient & 1) !== 0 ? FSW.C1 : 0),
      );
    return true;
  }

  function fxtract(): true {
    begin();
    if (r.isEmpty(0) || !r.isEmpty(7)) {
      if (stackFault(!r.isEmpty(0))) {
        r.set(0, INDEFINITE);
        r.push(INDEFINITE);
      }
      return true;
    }
    const { value, exceptions } = extracted(r.get(0));
    if ((r.raise(exceptions) & BEFORE) !== 0) return true;
    r.set(0, value[0]);
    r.push(value[1]);
    return true;
  }

  function turn(by: 1 | -1): true {
    begin();
    r.top += by;
    return true;
  }

  function free(pops: number): true {
    begin();
    r.free(code.i);
    pop(pops);
    return true;
  }

  function nothing(): true {
    return true;
  }

  function fldcw(): boolean {
    const at = load(2);
    if (at < 0) return false;
    r.controlWord = view.getUint16(at, true);
    return true;
  }

  function fnstsw(): boolean {
    if (code.memory !== MemorySize.Unknown) return store(2, BigInt(r.statusWord));
    view.setBigUint64(st + ST.address, BigInt(r.statusWord), true);
    return true;
  }

  function fnclex(): true {
    r.statusWord &= ~(FSW.exceptions | FSW.stackFault | FSW.pending);
    return true;
  }

  function fninit(): true {
    r.initialise();
    return true;
  }

  function raise(vector: number): false {
    view.setInt32(st + ST.vector, vector, true);
    view.setInt32(st + ST.errorCode, 0, true);
    return false;
  }

  const named = (name: ConstantName) => (): true => loadConstant(constant(name, r.control));
  const operation = (fn: ExtendedBinary, isReversed: boolean, pops: number) => (): boolean =>
    binary(fn, isReversed, pops);
  const comparing = (isQuiet: boolean, pops: number) => (): boolean => compare(isQuiet, pops, byCondition);
  const comparingOne = (isQuiet: boolean) => (): boolean => compare(isQuiet, 2, byCondition, 1);
  const comparingFlags = (isQuiet: boolean, pops: number) => (): boolean => compare(isQuiet, pops, byFlags);

  const ACTIONS: Readonly<Record<X87Mnemonic, () => boolean>> = {
    Fadd: operation('add', false, 0),
    Fiadd: operation('add', false, 0),
    Faddp: operation('add', false, 1),
    Fsub: operation('sub', false, 0),
    Fisub: operation('sub', false, 0),
    Fsubp: operation('sub', false, 1),
    Fsubr: operation('sub', true, 0),
    Fisubr: operation('sub', true, 0),
    Fsubrp: operation('sub', true, 1),
    Fmul: operation('mul', false, 0),
    Fimul: operation('mul', false, 0),
    Fmulp: operation('mul', false, 1),
    Fdiv: operation('div', false, 0),
    Fidiv: operation('div', false, 0),
    Fdivp: operation('div', false, 1),
    Fdivr: operation('div', true, 0),
    Fidivr: operation('div', true, 0),
    Fdivrp: operation('div', true, 1),
    Fcom: comparing(false, 0),
    Fcomp: comparing(false, 1),
    Fcompp: comparingOne(false),
    Ficom: comparing(false, 0),
    Ficomp: comparing(false, 1),
    Fucom: comparing(true, 0),
    Fucomp: comparing(true, 1),
    Fucompp: comparingOne(true),
    Ftst() {
      begin();
      if (r.isEmpty(0)) {
        byCondition(undefined);
        stackFault();
      } else tellOrder(comparison(operandOf(r.get(0)), operandOf(zero(false)), false), 0, byCondition);
      return true;
    },
    Fxam: fxam,
    Fcomi: comparingFlags(false, 0),
    Fcomip: comparingFlags(false, 1),
    Fucomi: comparingFlags(true, 0),
    Fucomip: comparingFlags(true, 1),
    Fcmovb: fcmov,
    Fcmove: fcmov,
    Fcmovbe: fcmov,
    Fcmovu: fcmov,
    Fcmovnb: fcmov,
    Fcmovne: fcmov,
    Fcmovnbe: fcmov,
    Fcmovnu: fcmov,
    Fld: fld,
    Fild: fld,
    Fbld: fld,
    Fst: () => fst(0),
    Fstp: () => fst(1),
    Fstpnce: fstpnce,
    Fist: () => fist(0),
    Fistp: () => fist(1),
    Fisttp: () => fist(1, true),
    Fbstp: () => storeTo((x) => toBcd(x, r.control.rounding), 0xffff_c000_0000_0000_0000n, 1),
    Fxch: fxch,
    Fld1: () => loadConstant(fromInteger(1n).bits),
    Fldz: () => loadConstant(zero(false)),
    Fldpi: named('pi'),
    Fldl2e: named('log2ofE'),
    Fldl2t: named('log2of10'),
    Fldlg2: named('log10of2'),
    Fldln2: named('lnOf2'),
    Fabs: () => unary((x) => exactly({ ...x, isNegative: false })),
    Fchs: () => unary((x) => exactly({ ...x, isNegative: !x.isNegative })),
    Fsqrt: () => unary((x) => squareRoot(r.control, x)),
    Frndint: () => unary((x) => roundedToInteger(r.control, x)),
    Fscale: () => ofTwo((x, y) => scaled(r.control, x, y)),
    Fxtract: fxtract,
    Fprem: () => fprem(false),
    Fprem1: () => fprem(true),
    Fincstp: () => turn(1),
    Fdecstp: () => turn(-1),
    Ffree: () => free(0),
    Ffreep: () => free(1),
    Fnop() {
      keepPointers();
      return true;
    },
    Fneni: nothing,
    Fndisi: nothing,
    Fnsetpm: nothing,
    Wait: nothing,
    Fldcw: fldcw,
    Fnstcw: () => store(2, BigInt(r.controlWord)),
    Fnstsw: fnstsw,
    Fnclex: fnclex,
    Fninit: fninit,
    Fnstenv: () => whole.storeEnvironment(st, environmentBytes()),
    Fldenv: () => whole.loadEnvironment(st, environmentBytes()),
    Fnsave: () => whole.save(st, environmentBytes()),
    Frstor: () => whole.restore(st, environmentBytes()),
    Fxsave: () => whole.fxsave(st, false),
    Fxsave64: () => whole.fxsave(st, true),
    Fxrstor: () => whole.fxrstor(st, false),
    Fxrstor64: () => whole.fxrstor(st, true),
  };

  return (of) => {
    st = of;
    r.select(st);
    const record = view.getInt32(st + ST.record, true);
    code = x87CodeOf(view.getInt32(record + REC.imm, true));
    if (r.isPending && !NOT_WAITING.has(code.mnemonic)) return raise(VECTOR.MF);
    return ACTIONS[code.mnemonic]();
  };
}

/** What FXAM says of what is in ST(0). */
const CLASSES = {
  unsupported: 0,
  quiet: FSW.C0,
  signalling: FSW.C0,
  normal: FSW.C2,
  infinite: FSW.C2 | FSW.C0,
  zero: FSW.C3,
  denormal: FSW.C3 | FSW.C2,
} as const;
