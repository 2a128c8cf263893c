/** What has a segment register, or one that only ring 0 has, for an operand (Intel SDM vol. 2, MOV, PUSH, POP). */
import iced from 'iced-x86';
import type { Form } from '../forms.js';
import type { Size } from '../ir.js';
import { EXIT, RSP, ST, VECTOR } from '../state.js';
import type { Meaning, Writer } from './writer.js';

export const hasSelector = ({ operands }: Form): boolean =>
  operands.some(({ kind }) => kind === 'selector' || kind === 'privileged');

const move: Meaning = (w) => {
  const [to, from] = w.form.operands;
  if (to?.kind === 'privileged' || from?.kind === 'privileged') w.trap(w.isZero(w.const(0)), VECTOR.GP);
  else if (to?.kind === 'selector') {
    w.helper('loadSegment', w.read(1));
    // It was SS.
    w.exit(EXIT.attend, w.compare('ne', w.fixed(ST.shadow, 4), w.const(0)));
  } else w.write(0, w.operand(1, 2));
};

/** Bytes that PUSH and POP have on the stack; the selector is the lowest two. */
const bytesOf = (w: Writer): Size => (iced.Code[w.form.code]!.startsWith(`${w.form.mnemonic}w`) ? 2 : 8);

const push: Meaning = (w) => {
  const size = bytesOf(w);
  const top = w.sub(w.rsp(), w.const(size));
  w.store(top, size, w.operand(0, 2));
  w.setFixed(RSP, 8, top);
};

/** Of FS and GS only: 64-bit mode has no others. */
const pop: Meaning = (w) => {
  const size = bytesOf(w);
  const top = w.rsp();
  w.helper('loadSegment', w.load(top, size));
  w.setFixed(RSP, 8, w.add(top, w.const(size)));
};

export const SEGMENTS: Readonly<Record<string, Meaning>> = { Mov: move, Push: push, Pop: pop };
