/**
 * What an instruction means, as a list of steps: a small language of values and effects, written down once (meanings/) and read by
 * whatever executes it. Values are 64 bits wide, or truth values; accesses have a size in bytes, reads are extended with zeroes.
 *
 * The order of steps is the order of what happens. An instruction that may fault has changed nothing before: `Builder` refuses a
 * step that may fault behind one that changes the VCPU.
 */

export type Size = 1 | 2 | 4 | 8;

declare const value: unique symbol;
declare const truth: unique symbol;
/** The number of the step that makes a 64-bit value. */
export type Value = number & { readonly [value]: true };
/** The number of the step that makes a truth value. */
export type Truth = number & { readonly [truth]: true };

export type Binary =
  | 'add'
  | 'sub'
  | 'mul'
  /** Upper halves of the 128-bit products. */
  | 'mulhi_u'
  | 'mulhi_s'
  | 'and'
  | 'or'
  | 'xor'
  | 'shl'
  | 'shr_u'
  | 'shr_s'
  | 'rotl'
  | 'rotr'
  | 'div_u'
  | 'div_s'
  | 'rem_u'
  | 'rem_s';
export type Unary = 'clz' | 'ctz' | 'popcnt' | 'extend8_s' | 'extend16_s' | 'extend32_s';
export type Comparison = 'eq' | 'ne' | 'lt_s' | 'lt_u' | 'gt_s' | 'gt_u' | 'le_s' | 'le_u' | 'ge_s' | 'ge_u';

/** How the address of a memory operand comes about. */
export interface AddressForm {
  readonly hasIndex: boolean;
  readonly hasSegment: boolean;
  /** A 64-bit address in the place of the immediate, and no register. */
  readonly isAbsolute: boolean;
  /** 32-bit addresses are cut off. */
  readonly bits: 32 | 64;
}

export type Step =
  | { readonly op: 'const'; readonly value: bigint }
  /** A register operand. */
  | { readonly op: 'operand'; readonly n: number; readonly size: Size }
  /** A register that the instruction names by itself, at an offset of the VCPU's block. */
  | { readonly op: 'fixed'; readonly at: number; readonly size: Size }
  | { readonly op: 'imm' }
  /** Base of the memory operand's segment. */
  | { readonly op: 'segment' }
  | { readonly op: 'address'; readonly form: AddressForm }
  /** Address of the next instruction. */
  | { readonly op: 'nextRip' }
  | { readonly op: 'binary'; readonly fn: Binary; readonly a: Value; readonly b: Value }
  | { readonly op: 'unary'; readonly fn: Unary; readonly a: Value }
  | { readonly op: 'compare'; readonly fn: Comparison; readonly a: Value; readonly b: Value }
  | { readonly op: 'both'; readonly a: Truth; readonly b: Truth }
  | { readonly op: 'either'; readonly a: Truth; readonly b: Truth }
  | { readonly op: 'differ'; readonly a: Truth; readonly b: Truth }
  | { readonly op: 'not'; readonly a: Truth }
  | { readonly op: 'select'; readonly when: Truth; readonly a: Value; readonly b: Value }
  /** `forWrite`: the same bytes are written by a later step. */
  | { readonly op: 'load'; readonly address: Value; readonly size: Size; readonly forWrite: boolean }
  | { readonly op: 'store'; readonly address: Value; readonly size: Size; readonly value: Value }
  | { readonly op: 'setOperand'; readonly n: number; readonly size: Size; readonly value: Value }
  | { readonly op: 'setFixed'; readonly at: number; readonly size: Size; readonly value: Value }
  /** Ends the instruction with an exception where `when` holds. */
  | { readonly op: 'trap'; readonly when: Truth; readonly vector: number; readonly errorCode: number }
  /** Does what cannot be said here: a function of the core by name, which may end the run with an exit. */
  | { readonly op: 'helper'; readonly name: HelperName; readonly argument: Value | undefined }
  /** Goes on at the branch's own target where `when` holds, else with the next instruction. */
  | { readonly op: 'branch'; readonly when: Truth | undefined }
  | { readonly op: 'jump'; readonly target: Value }
  /** Ends the run; the instruction is done. */
  | { readonly op: 'exit'; readonly reason: number };

/** What the core does by functions of its own. */
export const HELPERS = ['divide', 'divideSigned', 'cpuid', 'rdtsc', 'string', 'enter'] as const;
export type HelperName = (typeof HELPERS)[number];

const CHANGES: readonly Step['op'][] = ['setOperand', 'setFixed', 'store'];
const MAY_FAULT: readonly Step['op'][] = ['load', 'store', 'trap', 'helper'];

/** Writes steps down. */
export class Builder {
  readonly steps: Step[] = [];
  #isChanged = false;

  #push(step: Step): number {
    if (this.#isChanged && MAY_FAULT.includes(step.op)) throw new Error(`a ${step.op} after something was changed`);
    if (CHANGES.includes(step.op)) this.#isChanged = true;
    this.steps.push(step);
    return this.steps.length - 1;
  }

  #value = (step: Step): Value => this.#push(step) as Value;
  #truth = (step: Step): Truth => this.#push(step) as Truth;

  const = (x: bigint | number): Value => this.#value({ op: 'const', value: BigInt(x) });
  operand = (n: number, size: Size): Value => this.#value({ op: 'operand', n, size });
  fixed = (at: number, size: Size): Value => this.#value({ op: 'fixed', at, size });
  imm = (): Value => this.#value({ op: 'imm' });
  segment = (): Value => this.#value({ op: 'segment' });
  address = (form: AddressForm): Value => this.#value({ op: 'address', form });
  nextRip = (): Value => this.#value({ op: 'nextRip' });
  binary = (fn: Binary, a: Value, b: Value): Value => this.#value({ op: 'binary', fn, a, b });
  add = (a: Value, b: Value): Value => this.binary('add', a, b);
  sub = (a: Value, b: Value): Value => this.binary('sub', a, b);
  and = (a: Value, b: Value): Value => this.binary('and', a, b);
  or = (a: Value, b: Value): Value => this.binary('or', a, b);
  xor = (a: Value, b: Value): Value => this.binary('xor', a, b);
  unary = (fn: Unary, a: Value): Value => this.#value({ op: 'unary', fn, a });
  compare = (fn: Comparison, a: Value, b: Value): Truth => this.#truth({ op: 'compare', fn, a, b });
  both = (a: Truth, b: Truth): Truth => this.#truth({ op: 'both', a, b });
  either = (a: Truth, b: Truth): Truth => this.#truth({ op: 'either', a, b });
  differ = (a: Truth, b: Truth): Truth => this.#truth({ op: 'differ', a, b });
  not = (a: Truth): Truth => this.#truth({ op: 'not', a });
  select = (when: Truth, a: Value, b: Value): Value => this.#value({ op: 'select', when, a, b });
  load = (address: Value, size: Size, forWrite = false): Value => this.#value({ op: 'load', address, size, forWrite });

  store(address: Value, size: Size, stored: Value): void {
    this.#push({ op: 'store', address, size, value: stored });
  }
  /** Two stores of 8 bytes that lie in one page, which was loaded from to be written: neither can fault. */
  storePair(a: Value, first: Value, b: Value, second: Value): void {
    this.store(a, 8, first);
    this.steps.push({ op: 'store', address: b, size: 8, value: second });
  }
  setOperand(n: number, size: Size, set: Value): void {
    this.#push({ op: 'setOperand', n, size, value: set });
  }
  setFixed(at: number, size: Size, set: Value): void {
    this.#push({ op: 'setFixed', at, size, value: set });
  }
  trap(when: Truth, vector: number, errorCode = 0): void {
    this.#push({ op: 'trap', when, vector, errorCode });
  }
  helper(name: HelperName, argument?: Value): void {
    this.#push({ op: 'helper', name, argument });
  }
  branch(when?: Truth): void {
    this.#push({ op: 'branch', when });
  }
  jump(target: Value): void {
    this.#push({ op: 'jump', target });
  }
  exit(reason: number): void {
    this.#push({ op: 'exit', reason });
  }
}
