/** The x87's state in memory (Intel SDM vol. 1, 8.1.10, 10.5; vol. 2, FXSAVE), as data: environments, and what FXSAVE writes. */
import type { Extended } from './extended.js';
import type { X87Registers } from './x87-registers.js';

/** Bytes of an environment, by its size of operands; a register has 10 more of each. */
export type EnvironmentBytes = 14 | 28;
const REGISTER_BYTES = 10;
export const stateBytes = (environment: EnvironmentBytes): number => environment + 8 * REGISTER_BYTES;

export function putRegister(to: DataView, at: number, { isNegative, exponent, significand }: Extended): void {
  to.setBigUint64(at, significand, true);
  to.setUint16(at + 8, exponent | (isNegative ? 0x8000 : 0), true);
}

export function registerAt(from: DataView, at: number): Extended {
  const word = from.getUint16(at + 8, true);
  return { isNegative: word >= 0x8000, exponent: word & 0x7fff, significand: from.getBigUint64(at, true) };
}

/** FNSTENV. */
export function putEnvironment(r: X87Registers, to: DataView, bytes: EnvironmentBytes): void {
  const isWide = bytes === 28;
  const words = [r.controlWord, r.statusWord, r.tagWord];
  for (const [n, word] of words.entries()) {
    if (isWide) to.setUint32(4 * n, 0xffff_0000 + word, true);
    else to.setUint16(2 * n, word, true);
  }
  const [instruction, operand] = [r.lastInstruction, r.lastOperand];
  if (isWide) {
    to.setUint32(12, Number(instruction & 0xffff_ffffn), true);
    to.setUint32(20, Number(operand & 0xffff_ffffn), true);
    to.setUint32(24, 0xffff_0000, true);
  } else {
    to.setUint16(6, Number(instruction & 0xffffn), true);
    to.setUint16(10, Number(operand & 0xffffn), true);
  }
}

/** FLDENV. */
export function takeEnvironment(r: X87Registers, from: DataView, bytes: EnvironmentBytes): void {
  const isWide = bytes === 28;
  const word = (n: number): number => from.getUint16((isWide ? 4 : 2) * n, true);
  r.controlWord = word(0);
  r.statusWord = word(1);
  r.tagWord = word(2);
  r.lastInstruction = BigInt(isWide ? from.getUint32(12, true) : word(3));
  r.lastOperand = BigInt(isWide ? from.getUint32(20, true) : word(5));
}

/** FNSAVE, which initialises the x87 behind it. */
export function putState(r: X87Registers, to: DataView, environment: EnvironmentBytes): void {
  putEnvironment(r, to, environment);
  for (let i = 0; i < 8; i++) putRegister(to, environment + REGISTER_BYTES * i, r.get(i));
}

/** FRSTOR. */
export function takeState(r: X87Registers, from: DataView, environment: EnvironmentBytes): void {
  takeEnvironment(r, from, environment);
  takeRegisters(r, from, environment, REGISTER_BYTES);
}

/** Registers with the tags that there are already. */
function takeRegisters(r: X87Registers, from: DataView, at: number, bytes: number): void {
  const { valid } = r;
  for (let i = 0; i < 8; i++) r.set(i, registerAt(from, at + bytes * i));
  r.valid = valid;
}

/** Bits of a linear address: a pointer has no more. */
const ADDRESS_BITS = 48;

/** Bytes of an image of FXSAVE, those of them that it writes, and where MXCSR and xmm registers lie. */
export const FX = {
  bytes: 512,
  written: 416,
  mxcsr: 24,
  mxcsrMask: 28,
  registers: 32,
  xmm: 160,
  xmmBytes: 256,
} as const;

/** The x87's part of FXSAVE. Pointers are those of an exception that is pending, as on AMD's. @param isWide they have 64 bits */
export function putFx(r: X87Registers, to: DataView, isWide: boolean): void {
  to.setUint16(0, r.controlWord, true);
  to.setUint16(2, r.statusWord, true);
  to.setUint8(4, r.valid);
  if (r.isPending) {
    const mask = isWide ? -1n : 0xffff_ffffn;
    to.setBigUint64(8, r.lastInstruction & mask, true);
    to.setBigUint64(16, r.lastOperand & mask, true);
  }
  for (let i = 0; i < 8; i++) putRegister(to, FX.registers + 16 * i, r.get(i));
}

/** The x87's part of FXRSTOR. */
export function takeFx(r: X87Registers, from: DataView, isWide: boolean): void {
  const pointer = (at: number): bigint =>
    isWide
      ? BigInt.asUintN(64, BigInt.asIntN(ADDRESS_BITS, from.getBigUint64(at, true)))
      : BigInt(from.getUint32(at, true));
  r.controlWord = from.getUint16(0, true);
  r.statusWord = from.getUint16(2, true);
  r.valid = from.getUint8(4);
  r.lastInstruction = pointer(8);
  r.lastOperand = pointer(16);
  takeRegisters(r, from, FX.registers, 16);
}
