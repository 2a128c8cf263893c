/**
 * The x87's registers in a VCPU's block (Intel SDM vol. 1, 8.1): the stack of eight, control and status word. Of the tag word only what is
 * empty is kept; the rest is what registers hold. The last opcode and the selectors of the pointers are not kept: they read 0.
 */
import { type Control, classOf, type Extended } from './extended.js';
import type { Rounding } from './soft-float.js';
import { FCW_INITIAL, ST } from './state.js';

/** Bits of the status word. */
export const FSW = {
  exceptions: 0x3f,
  stackFault: 0x40,
  /** ES and B: an exception is pending. */
  pending: 0x8080,
  C0: 0x100,
  C1: 0x200,
  C2: 0x400,
  C3: 0x4000,
  top: 0x3800,
} as const;
/** Bits of the control word that can be written, and those that are always set. */
const FCW = { bits: 0x1f3f, ones: 0x40, precision: 0x300 } as const;

/** Bits of significands by the control word's precision. */
const PRECISIONS = [24, 64, 53, 64] as const;

const TAG = { valid: 0, zero: 1, special: 2, empty: 3 } as const;

export class X87Registers {
  readonly #view: DataView;
  #st = 0;

  constructor(buffer: ArrayBufferLike) {
    this.#view = new DataView(buffer);
  }

  /** The VCPU whose registers they are from now on. */
  select(st: number): void {
    this.#st = st;
  }

  #u16 = (at: number): number => this.#view.getUint16(this.#st + at, true);
  #setU16 = (at: number, x: number): void => this.#view.setUint16(this.#st + at, x, true);

  get controlWord(): number {
    return this.#u16(ST.fcw);
  }
  set controlWord(x: number) {
    this.#setU16(ST.fcw, (x & FCW.bits) | FCW.ones);
    this.#summarize();
  }

  get statusWord(): number {
    return this.#u16(ST.fsw);
  }
  set statusWord(x: number) {
    this.#setU16(ST.fsw, x);
    this.#summarize();
  }

  /** ES and B say whether an exception is flagged that is not masked. */
  #summarize(): void {
    const [control, status] = [this.controlWord, this.statusWord];
    const isPending = (status & ~control & FSW.exceptions) !== 0;
    this.#setU16(ST.fsw, isPending ? status | FSW.pending : status & ~FSW.pending);
  }

  get isPending(): boolean {
    return (this.statusWord & FSW.pending) !== 0;
  }

  get control(): Control {
    const word = this.controlWord;
    return {
      precision: PRECISIONS[(word >> 8) & 3]!,
      rounding: ((word >> 10) & 3) as Rounding,
      masks: word & FSW.exceptions,
    };
  }

  get top(): number {
    return (this.statusWord >> 11) & 7;
  }
  set top(n: number) {
    this.#setU16(ST.fsw, (this.statusWord & ~FSW.top) | ((n & 7) << 11));
  }

  /** A bit for each of R0 to R7 that is not empty. */
  get valid(): number {
    return this.#u16(ST.ftw);
  }
  set valid(bits: number) {
    this.#setU16(ST.ftw, bits & 0xff);
  }

  get lastInstruction(): bigint {
    return this.#view.getBigUint64(this.#st + ST.fip, true);
  }
  set lastInstruction(at: bigint) {
    this.#view.setBigUint64(this.#st + ST.fip, at, true);
  }

  get lastOperand(): bigint {
    return this.#view.getBigUint64(this.#st + ST.fdp, true);
  }
  set lastOperand(at: bigint) {
    this.#view.setBigUint64(this.#st + ST.fdp, at, true);
  }

  /** Number of the register that ST(i) is. */
  #numberOf = (i: number): number => (this.top + i) & 7;
  #placeOf = (i: number): number => this.#st + ST.fpr + 16 * this.#numberOf(i);

  isEmpty = (i: number): boolean => (this.valid & (1 << this.#numberOf(i))) === 0;

  free(i: number): void {
    this.valid &= ~(1 << this.#numberOf(i));
  }

  get(i: number): Extended {
    const at = this.#placeOf(i);
    const word = this.#view.getUint16(at + 8, true);
    return {
      isNegative: word >= 0x8000,
      exponent: word & 0x7fff,
      significand: this.#view.getBigUint64(at, true),
    };
  }

  set(i: number, { isNegative, exponent, significand }: Extended): void {
    const at = this.#placeOf(i);
    this.#view.setBigUint64(at, significand, true);
    this.#view.setUint16(at + 8, exponent | (isNegative ? 0x8000 : 0), true);
    this.valid |= 1 << this.#numberOf(i);
  }

  push(x: Extended): void {
    this.top--;
    this.set(0, x);
  }

  pop(): void {
    this.free(0);
    this.top++;
  }

  /** Says that exceptions were raised. @returns those that are not masked */
  raise(exceptions: number, isStackFault = false): number {
    this.statusWord |= exceptions | (isStackFault ? FSW.stackFault : 0);
    return exceptions & ~this.controlWord;
  }

  setCondition(bits: number): void {
    this.statusWord = (this.statusWord & ~(FSW.C0 | FSW.C1 | FSW.C2 | FSW.C3)) | bits;
  }

  setC1(is: boolean): void {
    this.#setU16(ST.fsw, is ? this.statusWord | FSW.C1 : this.statusWord & ~FSW.C1);
  }

  setC2(is: boolean): void {
    this.#setU16(ST.fsw, is ? this.statusWord | FSW.C2 : this.statusWord & ~FSW.C2);
  }

  /** All two bits of each register. */
  get tagWord(): number {
    let word = 0;
    for (let i = 0; i < 8; i++) word |= this.#tagOf(i) << (2 * this.#numberOf(i));
    return word;
  }
  set tagWord(word: number) {
    let bits = 0;
    for (let n = 0; n < 8; n++) if (((word >> (2 * n)) & 3) !== TAG.empty) bits |= 1 << n;
    this.valid = bits;
  }

  #tagOf(i: number): number {
    if (this.isEmpty(i)) return TAG.empty;
    const kind = classOf(this.get(i));
    return kind === 'normal' ? TAG.valid : kind === 'zero' ? TAG.zero : TAG.special;
  }

  /** FNINIT. Registers keep what they hold. */
  initialise(): void {
    this.#setU16(ST.fsw, 0);
    this.valid = 0;
    this.controlWord = FCW_INITIAL;
    this.lastInstruction = 0n;
    this.lastOperand = 0n;
  }
}
