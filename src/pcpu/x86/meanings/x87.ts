/**
 * The x87, and FXSAVE (Intel SDM vol. 1, 8 and 10.5). What is done with its registers is a function of the core; only what hangs on status
 * flags and general registers, or is one of those, is said here.
 */
import { ST } from '../state.js';
import { X87_MNEMONICS } from '../x87-code.js';
import type { Meaning } from './writer.js';

const plain: Meaning = (w) => w.helper('x87', w.form.address === undefined ? undefined : w.effectiveAddress());

/** FCMOVcc, by the name of the condition for integer instructions. */
const moveIf =
  (condition: string): Meaning =>
  (w) =>
    w.helper('x87', w.number(w.condition(condition)));

/** Status flags come back, those that there were where the comparison ended in an exception. */
const compare: Meaning = (w) => {
  w.helper('x87', w.statusFlags());
  const { result, aux } = w.wordsOf(w.fixed(ST.address, 8));
  w.setFlagWords(result, aux);
};

const storeStatus: Meaning = (w) => {
  plain(w);
  if (!w.isMemory(0)) w.setOperand(0, 2, w.fixed(ST.address, 2));
};

/** On a border of 16 bytes, or #GP. */
const aligned: Meaning = (w) => {
  w.align();
  plain(w);
};

export const X87: Readonly<Record<string, Meaning>> = {
  ...Object.fromEntries(X87_MNEMONICS.map((mnemonic) => [mnemonic, plain])),
  Fcmovb: moveIf('b'),
  Fcmove: moveIf('e'),
  Fcmovbe: moveIf('be'),
  Fcmovu: moveIf('p'),
  Fcmovnb: moveIf('ae'),
  Fcmovne: moveIf('ne'),
  Fcmovnbe: moveIf('a'),
  Fcmovnu: moveIf('np'),
  Fcomi: compare,
  Fcomip: compare,
  Fucomi: compare,
  Fucomip: compare,
  Fnstsw: storeStatus,
  Fxsave: aligned,
  Fxsave64: aligned,
  Fxrstor: aligned,
  Fxrstor64: aligned,
};
