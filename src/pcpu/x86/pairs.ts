/**
 * Instructions that are often together and are run by one handler: something that sets flags, and a jump that looks at them. That saves
 * a dispatch, and the flags come out of locals.
 */
import type { Form } from './forms.js';

/** Only set flags. */
const COMPARING: readonly string[] = ['Cmp', 'Test'];
/** Set a register as well. */
const COMPUTING: readonly string[] = ['Add', 'Sub', 'And', 'Or', 'Xor', 'Inc', 'Dec'];

export function isPair(first: Form, second: Form): boolean {
  if (second.operands[0]?.kind !== 'branch' || second.condition === 'None' || !second.mnemonic.startsWith('J'))
    return false;
  if (COMPARING.includes(first.mnemonic)) return true;
  // A store may change the code behind it.
  return COMPUTING.includes(first.mnemonic) && first.operands[0]?.kind === 'register';
}
