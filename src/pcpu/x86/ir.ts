/**
 * What an instruction means, as a list of steps: a small language of values and effects, written down once (meanings/) and read by
 * whatever executes it. Values are 64 bits wide, or 128, or truth values; accesses have a size in bytes, reads are extended with zeroes.
 *
 * The order of steps is the order of what happens. An instruction that may fault has changed nothing before: `Builder` refuses a
 * step that may fault behind one that changes the VCPU.
 */

export type Size = 1 | 2 | 4 | 8;

declare const value: unique symbol;
declare const wide: unique symbol;
declare const truth: unique symbol;
/** The number of the step that makes a 64-bit value. */
export type Value = number & { readonly [value]: true };
/** The number of the step that makes a 128-bit value. */
export type Wide = number & { readonly [wide]: true };
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

/**
 * What is done to all lanes of 128 bits alike, as WebAssembly names and means it. Of floating point only what cannot raise an exception
 * of the processor, or comes behind a test for that.
 */
export type WideBinary =
  | 'and'
  | 'or'
  | 'xor'
  /** a & ~b. */
  | 'andnot'
  | `i${'8x16' | '16x8' | '32x4' | '64x2'}_${'add' | 'sub'}`
  | `i${'8x16' | '16x8'}_${'add_sat' | 'sub_sat'}_${'s' | 'u'}`
  | `i${'8x16' | '16x8' | '32x4'}_${'eq' | 'gt_s'}`
  | 'i8x16_min_u'
  | 'i8x16_max_u'
  | 'i16x8_min_s'
  | 'i16x8_max_s'
  | 'i8x16_avgr_u'
  | 'i16x8_avgr_u'
  | 'i16x8_mul'
  | `i32x4_extmul_${'low' | 'high'}_i16x8_${'s' | 'u'}`
  | 'i64x2_extmul_low_i32x4_u'
  | 'i32x4_dot_i16x8_s'
  | 'i8x16_narrow_i16x8_s'
  | 'i8x16_narrow_i16x8_u'
  | 'i16x8_narrow_i32x4_s'
  /** Bytes of a by the numbers in b; 0 for those above 15. */
  | 'i8x16_swizzle';
export type WideUnary =
  | 'i16x8_extadd_pairwise_i8x16_u'
  | 'i32x4_extadd_pairwise_i16x8_u'
  | 'f64x2_convert_low_i32x4_s'
  /** About 1 / a and 1 / √a: bits of NaNs may be any. */
  | 'f32x4_reciprocal'
  | 'f32x4_reciprocal_root'
  | 'i16x8_extend_low_i8x16_u';
/** By a count that may be anything: as if bit by bit. */
export type WideShift = `i${'16x8' | '32x4' | '64x2'}_${'shl' | 'shr_u'}` | `i${'16x8' | '32x4'}_shr_s`;
/** One bit of each lane, its sign. */
export type WideSigns = 'i8x16_bitmask' | 'i32x4_bitmask' | 'i64x2_bitmask';
export type LaneSize = 2 | 4 | 8;

/**
 * Floating point as the processor has it, MXCSR with all that it says and is told: it may end in #XM. floating.ts says how.
 * Comparisons are by the predicates of CMPPS and give masks; `ucomi` and `comi` give status flags.
 */
export type FloatOperation =
  | FloatArithmetic
  | FloatComparison
  | 'min'
  | 'max'
  | 'ucomi'
  | 'comi'
  | 'widen'
  | 'narrow'
  | 'toInt32'
  | 'truncateToInt32'
  | 'toInt64'
  | 'truncateToInt64'
  | 'fromInt32'
  | 'fromInt64';
export type FloatArithmetic = 'add' | 'sub' | 'mul' | 'div' | 'sqrt';
export type FloatComparison = 'eq' | 'lt' | 'le' | 'unord' | 'neq' | 'nlt' | 'nle' | 'ord';
/** Of the operands; of the result where that is the only float. */
export type FloatType = 'f32' | 'f64';

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
  | { readonly op: 'not'; readonly a: Truth }
  | { readonly op: 'select'; readonly when: Truth; readonly a: Value; readonly b: Value }
  /** `forWrite`: the same bytes are written by a later step. */
  | { readonly op: 'load'; readonly address: Value; readonly size: Size; readonly forWrite: boolean }
  | { readonly op: 'store'; readonly address: Value; readonly size: Size; readonly value: Value }
  /** A load and the store of the same bytes, between which nobody else writes them; only computations lie between the two. */
  | { readonly op: 'lockedLoad'; readonly address: Value; readonly size: Size }
  | { readonly op: 'lockedStore'; readonly address: Value; readonly size: Size; readonly value: Value }
  /** Lets others' locked accesses in again, which helper `lockBus` has kept out. */
  | { readonly op: 'unlockBus' }
  /** All accesses before are seen by everybody before those behind it. */
  | { readonly op: 'fence' }
  | { readonly op: 'setOperand'; readonly n: number; readonly size: Size; readonly value: Value }
  | { readonly op: 'setFixed'; readonly at: number; readonly size: Size; readonly value: Value }
  | { readonly op: 'wideConst'; readonly value: bigint }
  /** An xmm register operand. */
  | { readonly op: 'wideOperand'; readonly n: number }
  | { readonly op: 'loadWide'; readonly address: Value; readonly forWrite: boolean }
  | { readonly op: 'wideBinary'; readonly fn: WideBinary; readonly a: Wide; readonly b: Wide }
  | { readonly op: 'wideUnary'; readonly fn: WideUnary; readonly a: Wide }
  | { readonly op: 'wideShift'; readonly fn: WideShift; readonly a: Wide; readonly by: Value }
  | { readonly op: 'wideSigns'; readonly fn: WideSigns; readonly a: Wide }
  /** Bits of a where `when` has ones, of b elsewhere. */
  | { readonly op: 'wideSelect'; readonly when: Wide; readonly a: Wide; readonly b: Wide }
  /** Bytes by their numbers in a, which has 0 to 15, and b. */
  | { readonly op: 'shuffle'; readonly a: Wide; readonly b: Wide; readonly bytes: readonly number[] }
  | { readonly op: 'lane'; readonly size: LaneSize; readonly n: number; readonly a: Wide }
  | { readonly op: 'withLane'; readonly size: LaneSize; readonly n: number; readonly a: Wide; readonly value: Value }
  /** `size` bytes of a value in all lanes. */
  | { readonly op: 'splat'; readonly size: 1 | 4 | 8; readonly a: Value }
  /** Of the first `lanes` lanes; the others of the result may be anything. */
  | {
      readonly op: 'float';
      readonly fn: FloatOperation;
      readonly type: FloatType;
      readonly lanes: number;
      readonly a: Wide;
      readonly b: Wide;
    }
  | { readonly op: 'setWideOperand'; readonly n: number; readonly value: Wide }
  | { readonly op: 'storeWide'; readonly address: Value; readonly value: Wide }
  /** Ends the instruction with an exception where `when` holds. */
  | { readonly op: 'trap'; readonly when: Truth; readonly vector: number; readonly errorCode: Value }
  /** Does what cannot be said here: a function of the core by name, which may end the run with an exit. */
  | { readonly op: 'helper'; readonly name: HelperName; readonly argument: Value | undefined }
  /** Goes on at the branch's own target where `when` holds, else with the next instruction. */
  | { readonly op: 'branch'; readonly when: Truth | undefined }
  | { readonly op: 'jump'; readonly target: Value }
  /** Ends the run where `when` holds, else goes on; the instruction is done. */
  | { readonly op: 'exit'; readonly reason: number; readonly when: Truth | undefined };

/** What the core does by functions of its own. */
export type HelperName =
  | 'divide'
  | 'divideSigned'
  | 'cpuid'
  | 'rdtsc'
  | 'string'
  | 'enter'
  | 'float'
  | 'x87'
  /** The segment register that is the first operand. */
  | 'loadSegment'
  /** What is known of the segment whose selector is the argument. */
  | 'lookAtSegment'
  /** Of words of so many bytes. */
  | 'interruptReturn'
  /** For 16 bytes at the address. */
  | 'lockBus'
  | 'unlockBus'
  | 'awaitBus';

const CHANGES: readonly Step['op'][] = [
  'setOperand',
  'setFixed',
  'store',
  'lockedStore',
  'setWideOperand',
  'storeWide',
];
const MAY_FAULT: readonly Step['op'][] = [
  ...(['load', 'store', 'lockedLoad', 'loadWide', 'storeWide', 'float', 'trap', 'helper'] as const),
];

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
  #wide = (step: Step): Wide => this.#push(step) as Wide;
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
  not = (a: Truth): Truth => this.#truth({ op: 'not', a });
  select = (when: Truth, a: Value, b: Value): Value => this.#value({ op: 'select', when, a, b });
  load = (address: Value, size: Size, forWrite = false): Value => this.#value({ op: 'load', address, size, forWrite });

  wideConst = (x: bigint): Wide => this.#wide({ op: 'wideConst', value: x });
  loadWide = (address: Value, forWrite = false): Wide => this.#wide({ op: 'loadWide', address, forWrite });
  wideBinary = (fn: WideBinary, a: Wide, b: Wide): Wide => this.#wide({ op: 'wideBinary', fn, a, b });
  wideUnary = (fn: WideUnary, a: Wide): Wide => this.#wide({ op: 'wideUnary', fn, a });
  wideShift = (fn: WideShift, a: Wide, by: Value): Wide => this.#wide({ op: 'wideShift', fn, a, by });
  wideSigns = (fn: WideSigns, a: Wide): Value => this.#value({ op: 'wideSigns', fn, a });
  wideSelect = (when: Wide, a: Wide, b: Wide): Wide => this.#wide({ op: 'wideSelect', when, a, b });
  shuffle = (a: Wide, b: Wide, bytes: readonly number[]): Wide => this.#wide({ op: 'shuffle', a, b, bytes });
  lane = (size: LaneSize, n: number, a: Wide): Value => this.#value({ op: 'lane', size, n, a });
  withLane = (size: LaneSize, n: number, a: Wide, x: Value): Wide =>
    this.#wide({ op: 'withLane', size, n, a, value: x });
  splat = (size: 1 | 4 | 8, a: Value): Wide => this.#wide({ op: 'splat', size, a });
  float = (fn: FloatOperation, type: FloatType, lanes: number, a: Wide, b: Wide = a): Wide =>
    this.#wide({ op: 'float', fn, type, lanes, a, b });

  wideOperand(n: number): Wide {
    return this.#wide({ op: 'wideOperand', n });
  }
  setWideOperand(n: number, set: Wide): void {
    this.#push({ op: 'setWideOperand', n, value: set });
  }
  storeWide(address: Value, stored: Wide): void {
    this.#push({ op: 'storeWide', address, value: stored });
  }
  store(address: Value, size: Size, stored: Value): void {
    this.#push({ op: 'store', address, size, value: stored });
  }
  lockedLoad = (address: Value, size: Size): Value => this.#value({ op: 'lockedLoad', address, size });
  lockedStore(address: Value, size: Size, stored: Value): void {
    this.#push({ op: 'lockedStore', address, size, value: stored });
  }
  unlockBus(): void {
    this.#push({ op: 'unlockBus' });
  }
  fence(): void {
    this.#push({ op: 'fence' });
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
  /** What stays where a later step ends in an exception. */
  setFirst(at: number, size: Size, set: Value): void {
    this.steps.push({ op: 'setFixed', at, size, value: set });
  }
  trap(when: Truth, vector: number, errorCode = this.const(0)): void {
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
  exit(reason: number, when?: Truth): void {
    this.#push({ op: 'exit', reason, when });
  }
}
