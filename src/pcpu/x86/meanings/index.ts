/** What every instruction of the core means, by iced-x86's mnemonic. Others raise #UD. */
import type { Form } from '../forms.js';
import type { Step } from '../ir.js';
import { ARITHMETIC } from './arithmetic.js';
import { CONTROL } from './control.js';
import { DATA } from './data.js';
import { isMmx, MMX, MmxWriter } from './mmx.js';
import { hasSelector, SEGMENTS } from './segments.js';
import { SHIFTS } from './shifts.js';
import { SSE_FLOAT } from './sse-float.js';
import { SSE_INTEGER } from './sse-integer.js';
import { SSE_MOVES } from './sse-moves.js';
import { SYSTEM } from './system.js';
import { type Meaning, Writer } from './writer.js';
import { X87 } from './x87.js';

export const MEANINGS: Readonly<Record<string, Meaning>> = {
  ...ARITHMETIC,
  ...DATA,
  ...SHIFTS,
  ...CONTROL,
  ...SSE_MOVES,
  ...SSE_INTEGER,
  ...SSE_FLOAT,
  ...X87,
  ...SYSTEM,
};

/** Whether the core has operands like these, or does not look at them. */
const isKnown = ({ mnemonic, operands }: Form): boolean =>
  mnemonic === 'String' || mnemonic in SYSTEM || operands.every(({ kind }) => kind !== 'other');

/**
 * The steps of a form; undefined where the core does not have it.
 * @param isParallel for code that several workers run at the same time
 */
export function meaningOf(form: Form, isParallel: boolean): readonly Step[] | undefined {
  const hasMm = isMmx(form);
  const meaning = (hasMm ? MMX : hasSelector(form) ? SEGMENTS : MEANINGS)[form.mnemonic];
  if (meaning === undefined || !isKnown(form)) return undefined;
  const writer = hasMm ? new MmxWriter(form, isParallel) : new Writer(form, isParallel);
  meaning(writer);
  return writer.steps;
}
