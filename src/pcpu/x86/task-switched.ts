/**
 * CR0.TS (Intel SDM vol. 3, 2.5, 13.4): while it is set, whatever uses registers of the x87 or xmm registers raises #NM, so that a kernel
 * can put off their switch to who uses them. CR0.MP is set, so that WAIT does, too.
 *
 * Handlers and regions know nothing of it, for it would cost a load and a branch with each such instruction. Where it is clear it costs
 * one look at a word with each slice of a run; where it is set, a slice is a straight line, up to its branch or up to before what would
 * raise #NM. Only the hypervisor changes it, between two runs.
 */
import type { Image } from '../../shared/image.js';
import type { Form } from './forms.js';
import { RECORD_BYTES, ST } from './state.js';

/** Have no such register for an operand. FXSAVE and FXRSTOR, and all of the x87, begin with an F. */
const OTHERS: readonly string[] = ['Wait', 'Emms', 'Ldmxcsr', 'Stmxcsr'];
const KINDS: readonly string[] = ['xmm', 'mm', 'fpr'];

/** Whether it raises #NM where TS is set. */
export const usesFloating = ({ mnemonic, operands }: Form): boolean =>
  mnemonic.startsWith('F') || OTHERS.includes(mnemonic) || operands.some(({ kind }) => KINDS.includes(kind));

/** Sets CR0.TS of a VCPU that does not run, as fpu_taskswitch does. */
export function setTs({ i32 }: Image, st: number, isSet: boolean): void {
  i32[(st + ST.ts) >> 2] = isSet ? 1 : 0;
}

export const hasTs = ({ i32 }: Image, st: number): boolean => i32[(st + ST.ts) >> 2] !== 0;

/**
 * How many instructions may be run from a record on where TS is set; 0: that is #NM.
 * @param formOf undefined where a straight line ends
 * @param isKnown whether the core has it: what it does not have is #UD
 */
export function runBeforeFloating(
  record: number,
  formOf: (record: number) => Form | undefined,
  isKnown: (form: Form) => boolean,
): number {
  for (let n = 0; ; n++) {
    const form = formOf(record + n * RECORD_BYTES);
    // None at all: others have written the code just now, and it is looked up anew.
    if (form === undefined) return Math.max(n, 1);
    if (usesFloating(form) && isKnown(form)) return n;
    if (!form.isStraight) return n + 1;
  }
}
