/** What meanings are written with: the operands of a form, and status flags, above the steps of ir.ts. */
import type { Form } from '../forms.js';
import { Builder, type Size, type Truth, type Value, type Wide } from '../ir.js';
import { FLAG, RSP, ST, VECTOR } from '../state.js';

/** iced-x86's names of the conditions of Jcc, SETcc and CMOVcc. */
export const CONDITIONS = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'];

const CARRIES = 0xc000_0000_0000_0000n;
const NIBBLE_CARRY = 8n;

export class Writer extends Builder {
  readonly form: Form;
  /** Whether this is for code that several workers run at the same time; else nothing comes between two accesses. */
  readonly isParallel: boolean;
  #address: Value | undefined;

  constructor(form: Form, isParallel: boolean) {
    super();
    this.form = form;
    this.isParallel = isParallel;
  }

  /** Size of operand n, bytes. Immediates are as wide as the first operand. */
  size(n: number): Size {
    const operand = this.form.operands[n]!;
    if ((operand.kind === 'register' || operand.kind === 'memory') && operand.size !== 0) return operand.size as Size;
    return n === 0 ? 8 : this.size(0);
  }

  isMemory = (n: number): boolean => this.form.operands[n]?.kind === 'memory';

  /** Address of the memory operand, which every form has at most one of. */
  effectiveAddress(): Value {
    this.#address ??= this.address(this.form.address!);
    return this.#address;
  }

  /** Operand n, extended with zeroes to 64 bits. @param forWrite it is written, too */
  read(n: number, forWrite = false): Value {
    const operand = this.form.operands[n]!;
    switch (operand.kind) {
      case 'register':
        return this.operand(n, operand.size);
      case 'memory':
        return forWrite
          ? this.loadToChange(this.effectiveAddress(), this.size(n))
          : this.load(this.effectiveAddress(), this.size(n));
      case 'immediate':
        return this.mask(this.imm(), this.size(n));
      default:
        throw new Error(`${this.form.key}: operand ${n} cannot be read`);
    }
  }

  get isLocked(): boolean {
    return this.isParallel && this.form.isLocked;
  }

  /** What `storeChanged` writes anew: in one piece with that where the instruction is locked. */
  loadToChange(address: Value, size: Size): Value {
    return this.isLocked ? this.lockedLoad(address, size) : this.load(address, size, true);
  }

  storeChanged(address: Value, size: Size, value: Value): void {
    if (this.isLocked) this.lockedStore(address, size, value);
    else this.store(address, size, value);
  }

  /** Sets operand n, of which only as many bytes count as it has. */
  write(n: number, value: Value): void {
    if (this.isMemory(n)) this.storeChanged(this.effectiveAddress(), this.size(n), value);
    else this.setOperand(n, this.size(n), value);
  }

  /** All of operand n, an xmm register or 16 bytes of memory: aligned ones, or #GP. */
  wide(n: number): Wide {
    if (!this.isMemory(n)) return this.wideOperand(n);
    this.align();
    return this.loadWide(this.effectiveAddress());
  }

  wideUnaligned(n: number): Wide {
    return this.isMemory(n) ? this.loadWide(this.effectiveAddress()) : this.wideOperand(n);
  }

  writeWide(n: number, x: Wide, isAligned = true): void {
    if (this.isMemory(n)) {
      if (isAligned) this.align();
      this.storeWide(this.effectiveAddress(), x);
    } else this.setWideOperand(n, x);
  }

  /** Addresses that are no multiple of 16 raise #GP. */
  align(): void {
    const low = this.and(this.effectiveAddress(), this.const(15));
    this.trap(this.compare('ne', low, this.const(0)), VECTOR.GP);
  }

  /** The lowest bytes of operand n, an xmm register or memory that has no more. */
  low(n: number, size: 4 | 8): Value {
    return this.isMemory(n) ? this.load(this.effectiveAddress(), size) : this.operand(n, size);
  }

  mask(x: Value, size: Size): Value {
    return size === 8 ? x : this.and(x, this.const((1n << BigInt(8 * size)) - 1n));
  }

  signExtend(x: Value, size: Size): Value {
    return size === 8 ? x : this.unary(size === 4 ? 'extend32_s' : size === 2 ? 'extend16_s' : 'extend8_s', x);
  }

  shl = (x: Value, n: number): Value => this.binary('shl', x, this.const(n));
  shr = (x: Value, n: number): Value => this.binary('shr_u', x, this.const(n));
  isZero = (x: Value): Truth => this.compare('eq', x, this.const(0));
  isNegative = (x: Value): Truth => this.compare('lt_s', x, this.const(0));
  invert = (x: Value): Value => this.xor(x, this.const(-1));
  /** 1 or 0. */
  number = (when: Truth): Value => this.select(when, this.const(1), this.const(0));

  result = (): Value => this.fixed(ST.result, 8);
  aux = (): Value => this.fixed(ST.aux, 8);
  /** CF, 0 or 1. */
  carry = (): Value => this.shr(this.aux(), 63);

  /** The carries out of each bit, as AUX has them. */
  #normal(carries: Value, size: Size): Value {
    if (size === 8) return this.and(carries, this.const(CARRIES | NIBBLE_CARRY));
    const top = this.and(this.shl(carries, 64 - 8 * size), this.const(CARRIES));
    return this.or(top, this.and(carries, this.const(NIBBLE_CARRY)));
  }

  setFlagWords(result: Value, aux: Value): void {
    this.setFixed(ST.result, 8, result);
    this.setFixed(ST.aux, 8, aux);
  }

  /** Flags of sum = a + b (+ carry). */
  addAux(a: Value, b: Value, sum: Value, size: Size): Value {
    return this.#normal(this.or(this.and(a, b), this.and(this.or(a, b), this.invert(sum))), size);
  }

  /** Flags of difference = a - b (- borrow). */
  subAux(a: Value, b: Value, difference: Value, size: Size): Value {
    const notA = this.invert(a);
    return this.#normal(this.or(this.and(notA, b), this.and(this.or(notA, b), difference)), size);
  }

  /** AUX of a carry and an overflow, each 0 or 1. */
  auxOf(carry: Value, overflow: Value): Value {
    return this.or(this.shl(carry, 63), this.shl(this.xor(carry, overflow), 62));
  }

  /** AUX as it is but for carry and overflow. */
  auxWith(aux: Value, carry: Value, overflow: Value): Value {
    return this.or(this.and(aux, this.const(~CARRIES)), this.auxOf(carry, overflow));
  }

  overflow(): Truth {
    const aux = this.aux();
    return this.isNegative(this.xor(aux, this.shl(aux, 1)));
  }

  sign(): Truth {
    return this.isNegative(this.xor(this.result(), this.shl(this.aux(), 63)));
  }

  parity(): Truth {
    const byte = this.and(this.xor(this.result(), this.shr(this.aux(), 8)), this.const(0xff));
    return this.isZero(this.and(this.unary('popcnt', byte), this.const(1)));
  }

  /** A condition by iced-x86's name. */
  condition(name: string): Truth {
    switch (name) {
      case 'o':
        return this.overflow();
      case 'no':
        return this.not(this.overflow());
      case 'b':
        return this.isNegative(this.aux());
      case 'ae':
        return this.not(this.isNegative(this.aux()));
      case 'e':
        return this.isZero(this.result());
      case 'ne':
        return this.compare('ne', this.result(), this.const(0));
      case 'be':
        return this.either(this.isNegative(this.aux()), this.isZero(this.result()));
      case 'a':
        return this.not(this.either(this.isNegative(this.aux()), this.isZero(this.result())));
      case 's':
        return this.sign();
      case 'ns':
        return this.not(this.sign());
      case 'p':
        return this.parity();
      case 'np':
        return this.not(this.parity());
      case 'l':
        return this.#less();
      case 'ge':
        return this.not(this.#less());
      case 'le':
        return this.either(this.#less(), this.isZero(this.result()));
      case 'g':
        return this.not(this.either(this.#less(), this.isZero(this.result())));
      default:
        throw new Error(`no condition is called ${name}`);
    }
  }

  /** SF ≠ OF. */
  #less(): Truth {
    const aux = this.aux();
    const overflow = this.xor(aux, this.shl(aux, 1));
    return this.isNegative(this.xor(this.xor(this.result(), this.shl(aux, 63)), overflow));
  }

  /** CF, PF, AF, ZF, SF and OF where RFLAGS has them. */
  statusFlags(): Value {
    const bit = (when: Truth, flag: number): Value => this.select(when, this.const(flag), this.const(0));
    const af = this.shl(this.and(this.aux(), this.const(NIBBLE_CARRY)), 1);
    return [
      bit(this.parity(), FLAG.PF),
      bit(this.isZero(this.result()), FLAG.ZF),
      bit(this.sign(), FLAG.SF),
      bit(this.overflow(), FLAG.OF),
      af,
    ].reduce((all, flag) => this.or(all, flag), this.carry());
  }

  /** The words that say the status flags of `flags`. */
  wordsOf(flags: Value): { result: Value; aux: Value } {
    const has = (flag: number): Value => this.and(this.shr(flags, Math.log2(flag)), this.const(1));
    const zf = has(FLAG.ZF);
    // The result: 0 or 1, neither of which is negative; parity is then 1 for 0 and 0 for 1.
    const result = this.xor(zf, this.const(1));
    const parityIsNow = zf;
    const parityDelta = this.shl(this.xor(parityIsNow, has(FLAG.PF)), 8);
    const aux = [this.shl(has(FLAG.AF), 3), parityDelta, has(FLAG.SF)].reduce(
      (all, part) => this.or(all, part),
      this.auxOf(has(FLAG.CF), has(FLAG.OF)),
    );
    return { result, aux };
  }

  /** The status flags as they are, but for ZF. */
  withZero(isZero: Truth): Value {
    const rest = this.and(this.statusFlags(), this.const(~FLAG.ZF));
    return this.or(rest, this.select(isZero, this.const(FLAG.ZF), this.const(0)));
  }

  rsp = (): Value => this.fixed(RSP, 8);
}

/** Writes down what a form means. */
export type Meaning = (w: Writer) => void;
