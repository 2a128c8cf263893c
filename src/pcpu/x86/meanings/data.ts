/** Moves, conversions, exchanges and the stack (Intel SDM vol. 1, 7.3.1). */
import iced from 'iced-x86';
import type { Size, Value } from '../ir.js';
import { EXIT, FLAG, RSP, ST, VECTOR } from '../state.js';
import { CONDITIONS, type Meaning, type Writer } from './writer.js';

const PUSHES_16: readonly number[] = [iced.Code.Push_imm16, iced.Code.Pushw_imm8];

const RAX = ST.gpr;
const RBP = ST.gpr + 8 * 5;

const move: Meaning = (w) => w.write(0, w.read(1));

const moveSigned: Meaning = (w) => w.write(0, w.signExtend(w.read(1), w.size(1)));

const load: Meaning = (w) => w.write(0, w.effectiveAddress());

/** Sign extension within the accumulator. */
const widen =
  (from: Size, to: Size): Meaning =>
  (w) =>
    w.setFixed(RAX, to, w.signExtend(w.fixed(RAX, from), from));

/** The accumulator's sign in all of DX, EDX or RDX. */
const signOf =
  (size: Size): Meaning =>
  (w) =>
    w.setFixed(ST.gpr + 16, size, w.binary('shr_s', w.signExtend(w.fixed(RAX, size), size), w.const(63)));

const exchange: Meaning = (w) => {
  const memory = w.isMemory(0) ? 0 : 1;
  const [a, b] = [w.read(memory, true), w.read(1 - memory)];
  w.write(memory, b);
  w.write(1 - memory, a);
};

const exchangeAdd: Meaning = (w) => {
  const size = w.size(0);
  const [a, b] = [w.read(0, true), w.read(1)];
  const sum = w.add(a, b);
  const aux = w.addAux(a, b, sum, size);
  // In this order: of XADD r, r the sum stays.
  if (w.isMemory(0)) w.write(0, sum);
  w.setOperand(1, size, a);
  if (!w.isMemory(0)) w.setOperand(0, size, sum);
  w.setFlagWords(w.signExtend(sum, size), aux);
};

/** Memory is written in any case, with what was there. */
const compareExchange: Meaning = (w) => {
  const size = w.size(0);
  const [a, b, accumulator] = [w.read(0, true), w.read(1), w.fixed(RAX, size)];
  const difference = w.sub(accumulator, a);
  const aux = w.subAux(accumulator, a, difference, size);
  const isEqual = w.isZero(w.mask(difference, size));
  const replaced = w.select(isEqual, b, a);
  const before = w.fixed(RAX, 8);
  const target = w.isMemory(0) ? a : w.operand(0, 8);
  if (w.isMemory(0)) w.write(0, replaced);
  // A 32-bit accumulator that is equal keeps its upper half.
  if (size === 4) w.setFixed(RAX, 8, w.select(isEqual, before, a));
  else w.setFixed(RAX, size, w.select(isEqual, accumulator, a));
  // After the accumulator, which it may be. A register that is not replaced keeps its upper half, too.
  if (!w.isMemory(0)) {
    if (size === 4) w.setOperand(0, 8, w.select(isEqual, b, target));
    else w.setOperand(0, size, replaced);
  }
  w.setFlagWords(w.signExtend(difference, size), aux);
};

const swapBytes: Meaning = (w) => {
  const size = w.size(0);
  const bits = 8 * size;
  const x = w.read(0);
  let result: Value = w.const(0);
  for (let at = 0; at < bits; at += 8) {
    const byte = w.and(w.shr(x, at), w.const(0xff));
    result = w.or(result, w.shl(byte, bits - 8 - at));
  }
  // Undefined on 16 bits: processors leave zero.
  w.write(0, size === 2 ? w.const(0) : result);
};

const moveIf: Meaning = (w) => w.write(0, w.select(w.condition(w.form.condition), w.read(1), w.read(0)));

const setIf: Meaning = (w) => w.write(0, w.number(w.condition(w.form.condition)));

/** 8 bytes, or 2 where the operand is 2 wide: 64-bit mode has no 4. */
function push(w: Writer, x: Value, size: Size): void {
  const top = w.sub(w.rsp(), w.const(size));
  w.store(top, size, x);
  w.setFixed(RSP, 8, top);
}

const pushOperand: Meaning = (w) => {
  const kind = w.form.operands[0]!.kind;
  // Immediates have been extended to 64 bits. Only the code says whether they are pushed as 16.
  if (kind === 'immediate') push(w, w.imm(), PUSHES_16.includes(w.form.code) ? 2 : 8);
  else push(w, w.read(0), w.size(0));
};

const pop: Meaning = (w) => {
  const size = w.size(0);
  const top = w.rsp();
  const x = w.load(top, size);
  const next = w.add(top, w.const(size));
  if (w.isMemory(0)) {
    // Where RSP is the base of its address, that is RSP as it will be: forms.ts sees to it.
    w.write(0, x);
    w.setFixed(RSP, 8, next);
    return;
  }
  w.setFixed(RSP, 8, next);
  w.setOperand(0, size, x);
};

/** Encodings with an operand of 16 bits. */
const isWord = (w: Writer): boolean => /w(_|$)/.test(iced.Code[w.form.code]!);

const leave: Meaning = (w) => {
  const size = isWord(w) ? 2 : 8;
  const base = w.fixed(RBP, 8);
  const x = w.load(base, size);
  w.setFixed(RSP, 8, w.add(base, w.const(size)));
  w.setFixed(RBP, size, x);
};

/** 8 or 16 bytes that are replaced where they are what the registers say; else they go there. */
function compareExchangeWide(size: 4 | 8): Meaning {
  const [RDX, RBX, RCX] = [ST.gpr + 16, ST.gpr + 24, ST.gpr + 8];
  return (w) => {
    const at = w.effectiveAddress();
    if (size === 8) w.trap(w.compare('ne', w.and(at, w.const(15)), w.const(0)), VECTOR.GP);
    if (size === 4) {
      const x = w.loadToChange(at, 8);
      const expected = w.or(w.shl(w.fixed(RDX, 4), 32), w.fixed(RAX, 4));
      const isEqual = w.compare('eq', x, expected);
      const next = w.or(w.shl(w.fixed(RCX, 4), 32), w.fixed(RBX, 4));
      const flags = w.wordsOf(w.withZero(isEqual));
      const [rax, rdx] = [w.fixed(RAX, 8), w.fixed(RDX, 8)];
      w.storeChanged(at, 8, w.select(isEqual, next, x));
      w.setFixed(RAX, 8, w.select(isEqual, rax, w.mask(x, 4)));
      w.setFixed(RDX, 8, w.select(isEqual, rdx, w.shr(x, 32)));
      w.setFlagWords(flags.result, flags.aux);
      return;
    }
    if (w.isLocked) w.helper('lockBus', at);
    // Aligned, so that the second half cannot fault where the first did not.
    const upper = w.add(at, w.const(8));
    const [low, high] = [w.load(at, 8, true), w.load(upper, 8, true)];
    const [rax, rdx] = [w.fixed(RAX, 8), w.fixed(RDX, 8)];
    const isEqual = w.both(w.compare('eq', low, rax), w.compare('eq', high, rdx));
    const flags = w.wordsOf(w.withZero(isEqual));
    w.storePair(at, w.select(isEqual, w.fixed(RBX, 8), low), upper, w.select(isEqual, w.fixed(RCX, 8), high));
    if (w.isLocked) w.unlockBus();
    w.setFixed(RAX, 8, low);
    w.setFixed(RDX, 8, high);
    w.setFlagWords(flags.result, flags.aux);
  };
}

/** What POPF of an application changes. */
const CHANGED_BY_POPF = FLAG.TF | FLAG.NT | FLAG.AC | FLAG.ID;

const pushFlags =
  (size: Size): Meaning =>
  (w) => {
    const df = w.shl(w.fixed(ST.df, 4), Math.log2(FLAG.DF));
    // RF reads as 0; bit 1 is always set.
    const rest = w.and(w.fixed(ST.flags, 4), w.const(~(FLAG.RF | FLAG.DF)));
    push(w, w.or(w.or(w.or(rest, df), w.statusFlags()), w.const(2)), size);
  };

const popFlags =
  (size: Size): Meaning =>
  (w) => {
    const x = w.load(w.rsp(), size);
    const { result, aux } = w.wordsOf(x);
    const changed = w.const(size === 2 ? CHANGED_BY_POPF & 0xffff : CHANGED_BY_POPF);
    const kept = w.and(w.fixed(ST.flags, 4), w.invert(changed));
    const df = w.and(w.shr(x, Math.log2(FLAG.DF)), w.const(1));
    w.setFixed(RSP, 8, w.add(w.rsp(), w.const(size)));
    w.setFixed(ST.flags, 4, w.or(kept, w.and(x, changed)));
    w.setFixed(ST.df, 4, df);
    w.setFlagWords(result, aux);
    w.exit(EXIT.attend, w.compare('ne', w.and(x, w.const(FLAG.TF)), w.const(0)));
  };

const lahf: Meaning = (w) => {
  const low = w.and(w.statusFlags(), w.const(0xff));
  w.setFixed(RAX + 1, 1, w.or(low, w.const(2)));
};

const sahf: Meaning = (w) => {
  const overflow = w.number(w.overflow());
  const ah = w.and(w.fixed(RAX + 1, 1), w.const(FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF));
  const { result, aux } = w.wordsOf(w.or(ah, w.shl(overflow, Math.log2(FLAG.OF))));
  w.setFlagWords(result, aux);
};

const lookUp: Meaning = (w) => {
  const base = w.add(w.fixed(ST.gpr + 24, 8), w.fixed(RAX, 1));
  const at = w.add(w.form.address!.bits === 32 ? w.mask(base, 4) : base, w.segment());
  w.setFixed(RAX, 1, w.load(at, 1));
};

export const DATA: Readonly<Record<string, Meaning>> = {
  Mov: move,
  Movzx: move,
  Movsx: moveSigned,
  Movsxd: moveSigned,
  Movnti: move,
  Lea: load,
  Cbw: widen(1, 2),
  Cwde: widen(2, 4),
  Cdqe: widen(4, 8),
  Cwd: signOf(2),
  Cdq: signOf(4),
  Cqo: signOf(8),
  Xchg: exchange,
  Xadd: exchangeAdd,
  Cmpxchg: compareExchange,
  Cmpxchg8b: compareExchangeWide(4),
  Cmpxchg16b: compareExchangeWide(8),
  Bswap: swapBytes,
  Push: pushOperand,
  Pop: pop,
  Enter: (w) => w.helper('enter'),
  Leave: leave,
  Pushf: pushFlags(2),
  Pushfq: pushFlags(8),
  Popf: popFlags(2),
  Popfq: popFlags(8),
  Lahf: lahf,
  Sahf: sahf,
  Xlatb: lookUp,
  ...Object.fromEntries(
    CONDITIONS.flatMap((cc) => [
      [`Cmov${cc}`, moveIf],
      [`Set${cc}`, setIf],
    ]),
  ),
};
