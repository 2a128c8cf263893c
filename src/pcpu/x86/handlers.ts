/**
 * The interpreter: a handler for each form, made from the form's steps. It finds its operands by the record that it is for, so one
 * serves all instructions of its form. Handlers are cases of one WebAssembly function, a loop around a switch: code that is run
 * stays in it from its first instruction to an exit. Forms that turn up later are functions of their own, which the loop calls, until
 * there are so many that a new loop with all of them is worth it (core.ts).
 *
 * (st: the VCPU's block, pc: the record, left: instructions left of the budget, this one among them) → one of EXIT, or of GO
 */
import { floatStep } from './floating.js';
import type { AddressForm, Binary, Comparison, HelperName, Size, Step, Unary } from './ir.js';
import {
  CODE_TLB_ENTRY,
  EXIT,
  REC,
  RECORD_BYTES,
  ST,
  TLB_ENTRIES,
  TLB_ENTRY,
  TLB_WAY_BYTES,
  TLB_WAYS,
  VECTOR,
} from './state.js';
import {
  ATOMIC,
  Code,
  type FuncType,
  I32,
  I64,
  type ImportedFunc,
  MEM,
  moduleBytes,
  OP,
  V128,
  type ValueType,
} from './wasm-module.js';
import { SIMD_MEM } from './wasm-simd.js';
import { wideStep } from './wide.js';

const HANDLER: FuncType = { params: [I32, I32, I32], results: [I32] };
const OF_STATE: FuncType = { params: [I32], results: [I32] };
const OF_ACCESS: FuncType = { params: [I32, I32], results: [I32] };
const TYPES = [HANDLER, OF_STATE, OF_ACCESS];
const TYPE = { handler: 0, ofState: 1, ofAccess: 2 } as const;

/** Functions of the core that handlers call. All are called with the VCPU's block, whose `record` is set. */
export interface Services {
  /**
   * For a read that the TLB does not answer: `address` is where. The image address of the bytes, or −1: an exception is set up.
   * @param access its size in bytes; plus FOR_WRITE where it may be written, too
   */
  load(st: number, access: number): number;
  /** Writes the bytes of `value` to `address`. 0, or 1 where that was code, or −1: an exception is set up. */
  store(st: number, size: number): number;
  /** All instructions of the budget are done: how many more there are now, 0 to leave. */
  more(st: number): number;
  /** 0 where the instruction is done, else 1 + an exit. */
  helper: Readonly<Record<HelperName, (st: number) => number>>;
}

export const FOR_WRITE = 32;
/** Added to the size of an access that is a locked one, too: of a store, that it is the one for which the bus was taken. */
export const LOCKED = 64;

/** Cases that are always there; handlers of forms follow. 0 is that of records that hold nothing. */
export const SLOT = { miss: 0, jump: 1, link: 2, undefined: 3, first: 4 } as const;

/** How a function says that code goes on: at `record`, at `rip`, or at `record` by handler n, which is not that of the record: `by` − n. */
export const GO = { atRecord: -1, atRip: -2, by: -3 } as const;

export const [STATE, PC, LEFT] = [0, 1, 2];

const IMPORTS: ImportedFunc[] = [
  { name: 'load', type: TYPE.ofAccess },
  { name: 'store', type: TYPE.ofAccess },
  { name: 'more', type: TYPE.ofState },
];
const LOAD_SLOW = 0;
const STORE_SLOW = 1;
const MORE_BUDGET = 2;

const BINARY: Readonly<Record<Exclude<Binary, 'mulhi_u' | 'mulhi_s'>, number>> = {
  add: OP.i64_add,
  sub: OP.i64_sub,
  mul: OP.i64_mul,
  and: OP.i64_and,
  or: OP.i64_or,
  xor: OP.i64_xor,
  shl: OP.i64_shl,
  shr_u: OP.i64_shr_u,
  shr_s: OP.i64_shr_s,
  rotl: OP.i64_rotl,
  rotr: OP.i64_rotr,
  div_u: OP.i64_div_u,
  div_s: OP.i64_div_s,
  rem_u: OP.i64_rem_u,
  rem_s: OP.i64_rem_s,
};
const UNARY: Readonly<Record<Unary, number>> = {
  clz: OP.i64_clz,
  ctz: OP.i64_ctz,
  popcnt: OP.i64_popcnt,
  extend8_s: OP.i64_extend8_s,
  extend16_s: OP.i64_extend16_s,
  extend32_s: OP.i64_extend32_s,
};
const COMPARE: Readonly<Record<Comparison, number>> = {
  eq: OP.i64_eq,
  ne: OP.i64_ne,
  lt_s: OP.i64_lt_s,
  lt_u: OP.i64_lt_u,
  gt_s: OP.i64_gt_s,
  gt_u: OP.i64_gt_u,
  le_s: OP.i64_le_s,
  le_u: OP.i64_le_u,
  ge_s: OP.i64_ge_s,
  ge_u: OP.i64_ge_u,
};
export const LOADS: Readonly<Record<Size, number>> = {
  1: MEM.i64_load8_u,
  2: MEM.i64_load16_u,
  4: MEM.i64_load32_u,
  8: MEM.i64_load,
};
const STORES: Readonly<Record<Size, number>> = {
  1: MEM.i64_store8,
  2: MEM.i64_store16,
  4: MEM.i64_store32,
  8: MEM.i64_store,
};

type AccessSize = Size | 16;

/** Leaves with an exit; pc is the record that was not done. */
export function leave(code: Code, reason: number): void {
  code.get(STATE).get(PC).mem(MEM.i32_store, ST.record);
  code.get(STATE).get(LEFT).mem(MEM.i32_store, ST.left);
  code.i32(reason).op(OP.return);
}

/** Leaves with an exit; `rip` says where to go on. */
function leaveAtRip(code: Code, reason: number): void {
  code.get(STATE).i32(0).mem(MEM.i32_store, ST.record);
  code.get(STATE).get(LEFT).mem(MEM.i32_store, ST.left);
  code.i32(reason).op(OP.return);
}

/** How handlers go on, which is what the two kinds differ in. */
export interface Flow {
  /** With the record in PC. */
  toRecord(code: Code): void;
  /** With the address in `rip`. */
  toRip(code: Code): void;
}

const BY_RETURN: Flow = {
  toRecord: (code) => leave(code, GO.atRecord),
  toRip: (code) => leave(code, GO.atRip),
};

/** An instruction is done. @param budgetEnds leaves: nothing is left of the budget */
function count(code: Code, budgetEnds: () => void): void {
  code.get(LEFT).i32(1).op(OP.i32_sub).tee(LEFT).op(OP.i32_eqz).if();
  code.get(STATE).call(MORE_BUDGET).tee(LEFT).op(OP.i32_eqz).if();
  budgetEnds();
  code.op(OP.end);
  code.op(OP.end);
}

/** The instruction is done; PC is where to go on. */
const retire = (code: Code): void => count(code, () => leave(code, EXIT.budget));

function nextRecord(code: Code, flow: Flow): void {
  code.get(PC).i32(RECORD_BYTES).op(OP.i32_add).set(PC);
  retire(code);
  flow.toRecord(code);
}

/** Goes on at the virtual address in local `target`. */
export function jumpTo(code: Code, flow: Flow, target: number): void {
  code.get(STATE).get(target).mem(MEM.i64_store, ST.rip);
  flow.toRip(code);
}

/** Address of an operand's register: offset `at` of the record says where in the VCPU's block. */
function operandAddress(code: Code, at: number): void {
  code.get(STATE).get(PC).mem(MEM.i32_load16_u, at).op(OP.i32_add);
}

/** Address of the entry that an address has in one of the TLBs: `tlbPlace`, as code. */
function tlbEntry(code: Code, tlb: number, address: () => void, bytes: number): void {
  code.get(STATE).mem(MEM.i32_load, tlb);
  address();
  // Times `bytes` all along.
  const shift = BigInt(Math.log2(bytes));
  code.i64(12n - shift).op(OP.i64_shr_u);
  address();
  code
    .i64(22n - shift)
    .op(OP.i64_shr_u)
    .op(OP.i64_xor)
    .op(OP.i32_wrap_i64);
  code
    .i32((TLB_ENTRIES - 1) * bytes)
    .op(OP.i32_and)
    .op(OP.i32_add);
}

/** An instruction as code; this one for all instructions of its form: registers and numbers are looked up in the record at PC. */
export class Translation {
  readonly code: Code;
  readonly #flow: Flow;
  /** Local of each step's value. */
  readonly #locals: number[] = [];
  readonly #steps: readonly Step[];
  readonly #helpers: Map<HelperName, number>;
  #tlbEntry = -1;
  #offset = -1;
  #host = -1;
  /** What a helper returned. */
  #reason = -1;
  /** Of a locked access: depth of its loop, and what was read. */
  #retry = -1;
  #before = -1;
  /** Words of the block that were set or are known from the instruction before: local of their values, or a constant. */
  readonly #words: Map<number, number | bigint>;

  constructor(
    steps: readonly Step[],
    helpers: Map<HelperName, number>,
    code: Code,
    flow: Flow,
    words: Map<number, number | bigint> = new Map(),
  ) {
    this.#steps = steps;
    this.#helpers = helpers;
    this.code = code;
    this.#flow = flow;
    this.#words = words;
  }

  /** @returns whether the handler has been left */
  protected all(from = 0): boolean {
    let isLeft = false;
    for (let n = from; n < this.#steps.length; n++) isLeft = this.#step(n, this.#steps[n]!) || isLeft;
    return isLeft;
  }

  translate(): void {
    if (!this.all()) nextRecord(this.code, this.#flow);
  }

  /** The instruction, and behind it the next one, in one handler: it can end between the two like any other. */
  translateWith(next: readonly Step[]): void {
    const { code } = this;
    this.all();
    code.get(PC).i32(RECORD_BYTES).op(OP.i32_add).set(PC);
    retire(code);
    new Translation(next, this.#helpers, code, this.#flow, this.#words).translate();
  }

  /** Puts a step's value on the stack. */
  protected push(n: number): void {
    this.#value(n);
  }

  #value(n: number): Code {
    const step = this.#steps[n]!;
    if (step.op === 'const') return this.code.i64(step.value);
    return step.op === 'wideConst' ? this.code.v128(step.value) : this.code.get(this.#locals[n]!);
  }

  #keep(n: number, type: ValueType = I64): void {
    const local = this.code.local(type);
    this.#locals[n] = local;
    this.code.set(local);
  }

  /** @returns whether the handler has been left */
  #step(n: number, step: Step): boolean {
    const { code } = this;
    switch (step.op) {
      case 'const':
      case 'wideConst':
        return false;
      case 'operand':
        this.#locals[n] = this.register(REC.operand0 + 2 * step.n, step.size);
        return false;
      case 'fixed':
        this.#locals[n] = this.fixed(step.at, step.size);
        return false;
      case 'imm':
        this.immediate();
        this.#keep(n);
        return false;
      case 'segment':
        this.#locals[n] = this.register(REC.segment, 8);
        return false;
      case 'address':
        this.address(step.form);
        this.#keep(n);
        return false;
      case 'nextRip':
        this.nextRip();
        this.#keep(n);
        return false;
      case 'binary':
        if (step.fn === 'mulhi_u' || step.fn === 'mulhi_s') this.#highProduct(step.a, step.b, step.fn === 'mulhi_s');
        else {
          this.#value(step.a);
          this.#value(step.b);
          code.op(BINARY[step.fn]);
        }
        this.#keep(n);
        return false;
      case 'unary':
        this.#value(step.a);
        code.op(UNARY[step.fn]);
        this.#keep(n);
        return false;
      case 'compare':
        this.#value(step.a);
        this.#value(step.b);
        code.op(COMPARE[step.fn]);
        this.#keep(n, I32);
        return false;
      case 'both':
      case 'either':
        this.#value(step.a);
        this.#value(step.b);
        code.op(step.op === 'both' ? OP.i32_and : OP.i32_or);
        this.#keep(n, I32);
        return false;
      case 'not':
        this.#value(step.a);
        code.op(OP.i32_eqz);
        this.#keep(n, I32);
        return false;
      case 'select':
        this.#value(step.a);
        this.#value(step.b);
        this.#value(step.when);
        code.op(OP.select);
        this.#keep(n);
        return false;
      case 'load':
        this.#load(n, step.address, step.size, step.forWrite);
        return false;
      case 'store':
        this.#store(n, step.address, step.size, step.value);
        return false;
      case 'lockedLoad':
        this.#lockedLoad(n, step.address, step.size);
        return false;
      case 'lockedStore':
        this.#lockedStore(n, step.size, step.value);
        return false;
      case 'unlockBus':
        this.#helper('unlockBus');
        return false;
      case 'fence':
        code.fence();
        return false;
      case 'setOperand':
        this.setRegister(REC.operand0 + 2 * step.n, step.size, step.value);
        return false;
      case 'setFixed':
        this.setFixed(step.at, step.size, step.value);
        return false;
      case 'wideOperand':
        code.simdMem(SIMD_MEM.load, this.registerAddress(REC.operand0 + 2 * step.n));
        this.#keep(n, V128);
        return false;
      case 'setWideOperand': {
        const at = this.registerAddress(REC.operand0 + 2 * step.n);
        this.#value(step.value);
        code.simdMem(SIMD_MEM.store, at);
        return false;
      }
      case 'loadWide':
        this.#load(n, step.address, 16, step.forWrite);
        return false;
      case 'storeWide':
        this.#store(n, step.address, 16, step.value);
        return false;
      case 'wideBinary':
      case 'wideUnary':
      case 'wideShift':
      case 'wideSigns':
      case 'wideSelect':
      case 'shuffle':
      case 'lane':
      case 'withLane':
      case 'splat':
        this.#keep(n, wideStep(code, step, (m) => this.#value(m)) ?? V128);
        return false;
      case 'float':
        this.#locals[n] = floatStep(
          code,
          step,
          STATE,
          (m) => this.#value(m),
          () => this.#helper('float'),
        );
        return false;
      case 'trap':
        this.#value(step.when);
        code.if();
        code.get(STATE).i32(step.vector).mem(MEM.i32_store, ST.vector);
        code.get(STATE);
        this.#value(step.errorCode);
        code.op(OP.i32_wrap_i64).mem(MEM.i32_store, ST.errorCode);
        this.note();
        code.i32(EXIT.exception).op(OP.return).op(OP.end);
        return false;
      case 'helper':
        if (step.argument !== undefined) {
          code.get(STATE);
          this.#value(step.argument);
          code.mem(MEM.i64_store, ST.address);
        }
        this.#helper(step.name);
        return false;
      case 'branch':
        this.branch(step.when);
        return true;
      case 'jump': {
        const target = code.local(I64);
        this.#value(step.target);
        code.set(target);
        this.jump(target);
        return true;
      }
      case 'exit':
        if (step.when === undefined) {
          this.#exit(step.reason);
          return true;
        }
        this.push(step.when);
        code.if();
        this.#exit(step.reason);
        code.op(OP.end);
        return false;
    }
  }

  /** By address: the record of the next instruction need not follow. */
  #exit(reason: number): void {
    const { code } = this;
    code.get(STATE);
    this.nextRip();
    code.mem(MEM.i64_store, ST.rip);
    code.get(LEFT).i32(1).op(OP.i32_sub).set(LEFT);
    leaveAtRip(code, reason);
  }

  /** Status flags are what the next instruction asks for most. */
  #note(at: number, size: Size, value: number): void {
    if (size !== 8 || (at !== ST.result && at !== ST.aux)) return;
    const step = this.#steps[value]!;
    this.#words.set(at, step.op === 'const' ? step.value : this.#locals[value]!);
  }

  /** A local with `size` bytes of the register that a field of the record names. */
  protected register(field: number, size: Size): number {
    const { code } = this;
    const local = code.local(I64);
    operandAddress(code, field);
    code.mem(LOADS[size], 0).set(local);
    return local;
  }

  protected setRegister(field: number, size: Size, value: number): void {
    operandAddress(this.code, field);
    this.put(size, value, 0);
  }

  /** A local with a word of the block. */
  protected fixed(at: number, size: Size): number {
    const { code } = this;
    const known = size === 8 ? this.#words.get(at) : undefined;
    if (typeof known === 'number') return known;
    const local = code.local(I64);
    if (known === undefined) code.get(STATE).mem(LOADS[size], at);
    else code.i64(known);
    code.set(local);
    return local;
  }

  protected setFixed(at: number, size: Size, value: number): void {
    const { code } = this;
    code.get(STATE);
    // Registers of 4 bytes are extended; other words of the block are not.
    if (size === 4 && at >= ST.codePage) {
      this.#value(value);
      code.mem(MEM.i64_store32, at);
    } else this.put(size, value, at);
    this.#note(at, size, value);
  }

  /** Puts the address of an xmm register on the stack. @returns what is to be added to it */
  protected registerAddress(field: number): number {
    operandAddress(this.code, field);
    return 0;
  }

  protected immediate(): void {
    this.code.get(PC).mem(MEM.i64_load, REC.imm);
  }

  protected address(form: AddressForm): void {
    const { code } = this;
    if (form.isAbsolute) code.get(PC).mem(MEM.i64_load, REC.imm);
    else {
      operandAddress(code, REC.base);
      code.mem(MEM.i64_load, 0);
      code.get(PC).mem(MEM.i64_load32_s, REC.disp).op(OP.i64_add);
    }
    if (form.hasIndex) {
      operandAddress(code, REC.index);
      code.mem(MEM.i64_load, 0);
      code.get(PC).mem(MEM.i64_load8_u, REC.shift).op(OP.i64_shl).op(OP.i64_add);
    }
    if (form.bits === 32) code.i64(0xffff_ffffn).op(OP.i64_and);
    if (form.hasSegment) {
      operandAddress(code, REC.segment);
      code.mem(MEM.i64_load, 0).op(OP.i64_add);
    }
  }

  protected nextRip(): void {
    const { code } = this;
    code.get(STATE).mem(MEM.i64_load, ST.codePage);
    code.get(PC).mem(MEM.i64_load16_u, REC.offset).op(OP.i64_add);
    code.get(PC).mem(MEM.i64_load8_u, REC.length).op(OP.i64_add);
  }

  /** Says in the block where code is: before the core is called, or the run left. */
  protected note(): void {
    const { code } = this;
    code.get(STATE).get(PC).mem(MEM.i32_store, ST.record);
    code.get(STATE).get(LEFT).mem(MEM.i32_store, ST.left);
  }

  /** Step n was a store into code: what is known of it is not so any more. Records are looked at one by one, so they all have seen it. */
  protected wroteCode(_n: number): void {
    this.code.br(1);
  }

  protected jump(target: number): void {
    jumpTo(this.code, this.#flow, target);
  }

  /** A register: 4 bytes clear the upper half, 1 and 2 leave the rest. What `at` is relative to is on the stack. */
  protected put(size: Size, value: number, at: number): void {
    const { code } = this;
    this.#value(value);
    if (size === 4) code.i64(0xffff_ffffn).op(OP.i64_and).mem(MEM.i64_store, at);
    else code.mem(STORES[size], at);
  }

  /**
   * Looks for an address in the TLB: branches to the label around it when there is an answer, of which #host is then the image address;
   * else goes on behind it.
   */
  #lookUp(address: number, tag: number, size: AccessSize, isAligned = false): void {
    const { code } = this;
    if (this.#tlbEntry < 0) {
      this.#tlbEntry = code.local(I32);
      this.#offset = code.local(I64);
    }
    if (this.#host < 0) this.#host = code.local(I32);
    tlbEntry(code, ST.tlb, () => this.#value(address), TLB_ENTRY.bytes);
    code.set(this.#tlbEntry);
    for (let way = 0; way < TLB_WAYS; way++) {
      const entry = way * TLB_WAY_BYTES;
      code.get(this.#tlbEntry).mem(MEM.i64_load, entry + tag);
      this.#value(address);
      code.op(OP.i64_xor).set(this.#offset);
      code.get(this.#tlbEntry).mem(MEM.i32_load, entry + TLB_ENTRY.page);
      code.get(this.#offset).op(OP.i32_wrap_i64).op(OP.i32_add).set(this.#host);
      // The same page, and within it to the last byte; and a multiple of the size.
      code.get(this.#offset);
      if (isAligned)
        code
          .i64(BigInt(~(4096 - size)))
          .op(OP.i64_and)
          .op(OP.i64_eqz);
      else code.i64(BigInt(4097 - size)).op(OP.i64_lt_u);
      code.brIf(0);
    }
  }

  #toSlow(address: number): void {
    const { code } = this;
    this.note();
    code.get(STATE);
    this.#value(address);
    code.mem(MEM.i64_store, ST.address);
  }

  #load(n: number, address: number, size: AccessSize, forWrite: boolean): void {
    const { code } = this;
    code.block();
    this.#lookUp(address, forWrite ? TLB_ENTRY.writeTag : TLB_ENTRY.readTag, size);
    this.#toSlow(address);
    code
      .get(STATE)
      .i32(size + (forWrite ? FOR_WRITE : 0))
      .call(LOAD_SLOW)
      .tee(this.#host);
    code.i32(-1).op(OP.i32_ne).brIf(0);
    code.i32(EXIT.exception).op(OP.return).op(OP.end);
    code.get(this.#host);
    if (size === 16) code.simdMem(SIMD_MEM.load, 0);
    else code.mem(LOADS[size], 0);
    this.#keep(n, size === 16 ? V128 : I64);
  }

  #store(n: number, address: number, size: AccessSize, value: number): void {
    const { code } = this;
    code.block().block();
    this.#lookUp(address, TLB_ENTRY.writeTag, size);
    this.#toSlow(address);
    code.get(STATE);
    this.#value(value);
    if (size === 16) code.simdMem(SIMD_MEM.store, ST.value);
    else code.mem(MEM.i64_store, ST.value);
    code.get(STATE).i32(size).call(STORE_SLOW).tee(this.#host).op(OP.i32_eqz).brIf(1);
    code.get(this.#host).i32(0).op(OP.i32_lt_s).if();
    code.i32(EXIT.exception).op(OP.return).op(OP.end);
    this.wroteCode(n);
    code.op(OP.end);
    code.get(this.#host);
    this.#value(value);
    if (size === 16) code.simdMem(SIMD_MEM.store, 0);
    else code.mem(STORES[size], 0);
    code.op(OP.end);
  }

  /**
   * Opens a loop, at whose end `#lockedStore` writes if memory is still what was read: else all is computed again. Where that cannot be
   * one access of the host's, the bus is taken instead, and `#host` is a copy in the block.
   */
  #lockedLoad(n: number, address: number, size: Size): void {
    const { code } = this;
    code.block();
    this.#lookUp(address, TLB_ENTRY.writeTag, size, true);
    this.#toSlow(address);
    code
      .get(STATE)
      .i32(size + FOR_WRITE + LOCKED)
      .call(LOAD_SLOW)
      .tee(this.#host);
    code.i32(-1).op(OP.i32_ne).brIf(0);
    code.i32(EXIT.exception).op(OP.return).op(OP.end);
    const owner = code.local(I32);
    code.loop();
    this.#retry = code.depth;
    code.get(STATE).mem(MEM.i32_load, ST.announced).i32(1).atomic(ATOMIC.i32_store);
    code.get(STATE).mem(MEM.i32_load, ST.bus).atomic(ATOMIC.i32_load).tee(owner).if();
    code.get(owner).get(STATE).mem(MEM.i32_load, ST.busSelf).op(OP.i32_ne).if();
    this.#renounce();
    this.#helper('awaitBus');
    code.br(code.depth - this.#retry);
    code.op(OP.end).op(OP.end);
    code.get(this.#host).atomic(ATOMIC.i64_load[size]);
    this.#keep(n);
    this.#before = this.#locals[n]!;
  }

  #lockedStore(n: number, size: Size, value: number): void {
    const { code } = this;
    const mask = (1n << BigInt(8 * size)) - 1n;
    code.get(this.#host).get(this.#before);
    this.#value(value);
    if (size < 8) code.i64(mask).op(OP.i64_and);
    code.atomic(ATOMIC.i64_cmpxchg[size]).get(this.#before).op(OP.i64_ne);
    code.brIf(code.depth - this.#retry);
    this.#renounce();
    code.op(OP.end);
    // The copy in the block: it goes where it belongs. Both pages were looked at before.
    code.block();
    code.get(this.#host).get(STATE).i32(ST.value).op(OP.i32_add).op(OP.i32_ne).brIf(0);
    code
      .get(STATE)
      .i32(size + LOCKED)
      .call(STORE_SLOW)
      .op(OP.i32_eqz)
      .brIf(0);
    code.block();
    this.wroteCode(n);
    code.op(OP.end).op(OP.end);
  }

  /** Takes the announcement back. Behind the access, where a plain store will stay. */
  #renounce(): void {
    this.code.get(STATE).mem(MEM.i32_load, ST.announced).i32(0).mem(MEM.i32_store, 0);
  }

  #helper(name: HelperName): void {
    const { code } = this;
    // Not `#host`: a locked access that waits for the bus has its address there.
    if (this.#reason < 0) this.#reason = code.local(I32);
    let index = this.#helpers.get(name);
    if (index === undefined) {
      index = IMPORTS.length + this.#helpers.size;
      this.#helpers.set(name, index);
    }
    this.note();
    code.get(STATE).call(index).tee(this.#reason).if();
    code.get(this.#reason).i32(1).op(OP.i32_sub).op(OP.return).op(OP.end);
  }

  protected branch(when: number | undefined): void {
    const { code } = this;
    if (when !== undefined) {
      this.#value(when);
      code.op(OP.i32_eqz).if();
      nextRecord(code, this.#flow);
      code.op(OP.end);
    }
    // To a record of the same page that is known, or by the address.
    const to = code.local(I32);
    code.get(PC).mem(MEM.i32_load, REC.disp).tee(to).if();
    code.get(to).set(PC);
    retire(code);
    this.#flow.toRecord(code);
    code.op(OP.end);
    const target = code.local(I64);
    code.get(STATE).mem(MEM.i64_load, ST.codePage).get(PC).mem(MEM.i64_load, REC.imm).op(OP.i64_add).set(target);
    jumpTo(code, this.#flow, target);
  }

  /** The upper half of a product, from four products of halves (Hacker's Delight, 8-2). */
  #highProduct(a: number, b: number, isSigned: boolean): void {
    const { code } = this;
    const low = 0xffff_ffffn;
    const shift = isSigned ? OP.i64_shr_s : OP.i64_shr_u;
    const local = (): number => code.local(I64);
    const [a0, a1, b0, b1, w0, t, w1] = [local(), local(), local(), local(), local(), local(), local()];
    const split = (x: number, lower: number, upper: number): void => {
      this.#value(x);
      code.i64(low).op(OP.i64_and).set(lower);
      this.#value(x);
      code.i64(32n).op(shift).set(upper);
    };
    split(a, a0, a1);
    split(b, b0, b1);
    code.get(a0).get(b0).op(OP.i64_mul).set(w0);
    code.get(a1).get(b0).op(OP.i64_mul).get(w0).i64(32n).op(OP.i64_shr_u).op(OP.i64_add).set(t);
    code.get(t).i64(low).op(OP.i64_and).get(a0).get(b1).op(OP.i64_mul).op(OP.i64_add).set(w1);
    code.get(a1).get(b1).op(OP.i64_mul).get(t).i64(32n).op(shift).op(OP.i64_add);
    code.get(w1).i64(32n).op(shift).op(OP.i64_add);
  }
}

/** What a handler is made of: an instruction, or two that are often together. */
export interface HandlerSource {
  readonly steps: readonly Step[];
  /** Of the instruction behind it, whose record follows. */
  readonly next?: readonly Step[] | undefined;
}

function translate({ steps, next }: HandlerSource, helpers: Map<HelperName, number>, code: Code, flow: Flow): void {
  const translation = new Translation(steps, helpers, code, flow);
  if (next === undefined) translation.translate();
  else translation.translateWith(next);
}

/** The instruction is done; `rip` says where to go on. First the page that code is run from, then the TLB for code. */
export function jumpCase(code: Code, flow: Flow): void {
  const [target, page, entry] = [code.local(I64), code.local(I64), code.local(I32)];
  count(code, () => leaveAtRip(code, EXIT.budget));
  code.get(STATE).mem(MEM.i64_load, ST.rip).tee(target).i64(-4096n).op(OP.i64_and).tee(page);
  code.get(STATE).mem(MEM.i64_load, ST.codePage).op(OP.i64_ne).if();
  tlbEntry(code, ST.codeTlb, () => code.get(page), CODE_TLB_ENTRY.bytes);
  code.tee(entry).mem(MEM.i64_load, CODE_TLB_ENTRY.tag).get(page).op(OP.i64_ne).if();
  leaveAtRip(code, EXIT.miss);
  code.op(OP.end);
  code.get(STATE).get(page).mem(MEM.i64_store, ST.codePage);
  code.get(STATE).get(entry).mem(MEM.i32_load, CODE_TLB_ENTRY.records).mem(MEM.i32_store, ST.records);
  code.op(OP.end);
  code.get(STATE).mem(MEM.i32_load, ST.records);
  code.get(target).op(OP.i32_wrap_i64).i32(4095).op(OP.i32_and).i32(2).op(OP.i32_shl).op(OP.i32_add);
  code.mem(MEM.i32_load, 0).tee(PC).op(OP.i32_eqz).if();
  leaveAtRip(code, EXIT.miss);
  code.op(OP.end);
  flow.toRecord(code);
}

/** The cases that are always there: see SLOT. */
const STANDING: readonly ((code: Code, flow: Flow) => void)[] = [
  // miss
  (code) => leave(code, EXIT.miss),

  jumpCase,

  // link: no instruction; code goes on where it was decoded before, or in the next page.
  (code, flow) => {
    const to = code.local(I32);
    code.get(PC).mem(MEM.i32_load, REC.disp).tee(to).if();
    code.get(to).set(PC);
    flow.toRecord(code);
    code.op(OP.end);
    code.get(STATE).get(STATE).mem(MEM.i64_load, ST.codePage).get(PC).mem(MEM.i64_load, REC.imm).op(OP.i64_add);
    code.mem(MEM.i64_store, ST.rip);
    // A jump is an instruction, which this is none.
    code.get(LEFT).i32(1).op(OP.i32_add).set(LEFT);
    flow.toRip(code);
  },

  // undefined
  (code) => {
    code.get(STATE).i32(VECTOR.UD).mem(MEM.i32_store, ST.vector);
    code.get(STATE).i32(0).mem(MEM.i32_store, ST.errorCode);
    leave(code, EXIT.exception);
  },
];

export interface HandlerModule {
  readonly bytes: Uint8Array;
  /** Functions of the core that it imports beside `load` and `store`. */
  readonly helpers: readonly HelperName[];
}

export function moduleOf(
  codes: readonly Code[],
  helpers: Map<HelperName, number>,
  memoryPages: number,
  hasTable = false,
): HandlerModule {
  const names = [...helpers.keys()];
  const bytes = moduleBytes({
    types: TYPES,
    memoryPages,
    hasTable,
    imports: [...IMPORTS, ...names.map((name): ImportedFunc => ({ name, type: TYPE.ofState }))],
    funcs: codes.map((code) => ({ type: TYPE.handler, code })),
  });
  return { bytes, helpers: names };
}

/** Handlers as functions. */
export function handlerModule(forms: readonly HandlerSource[], memoryPages: number): HandlerModule {
  const helpers = new Map<HelperName, number>();
  const codes = forms.map((source) => {
    const code = new Code(3);
    translate(source, helpers, code, BY_RETURN);
    // Every way out is a return.
    code.op(OP.unreachable);
    return code;
  });
  return moduleOf(codes, helpers, memoryPages);
}

/** The loop, with all handlers of `forms` in it, whose slots follow the standing ones'; handlers of other slots it calls by the table. */
export function loopModule(forms: readonly HandlerSource[], memoryPages: number): HandlerModule {
  const helpers = new Map<HelperName, number>();
  const code = new Code(3);
  const cases = STANDING.length + forms.length;
  const which = code.local(I32);
  code.get(PC).mem(MEM.i32_load, REC.handler).set(which);
  code.loop();
  const again = code.depth;
  const flow: Flow = {
    toRecord(c) {
      c.get(PC)
        .mem(MEM.i32_load, REC.handler)
        .set(which)
        .br(c.depth - again);
    },
    toRip(c) {
      c.i32(SLOT.jump)
        .set(which)
        .br(c.depth - again);
    },
  };
  // One block for each case, the first innermost, and one around them for functions.
  for (let n = 0; n <= cases; n++) code.block();
  code.get(which).brTable(Array.from({ length: cases + 1 }, (_, n) => n));
  for (let n = 0; n < cases; n++) {
    code.op(OP.end);
    code.releaseLocals();
    // `which` is the first of its type.
    code.local(I32);
    const standing = STANDING[n];
    if (standing !== undefined) standing(code, flow);
    else translate(forms[n - STANDING.length]!, helpers, code, flow);
  }
  code.op(OP.end);
  code.releaseLocals();
  code.local(I32);
  const said = code.local(I32);
  code.get(STATE).get(PC).get(LEFT).get(which).callIndirect(TYPE.handler).tee(said).i32(0).op(OP.i32_lt_s).if();
  code.get(STATE).mem(MEM.i32_load, ST.record).set(PC);
  code.get(STATE).mem(MEM.i32_load, ST.left).set(LEFT);
  code.get(said).i32(GO.atRecord).op(OP.i32_eq).if();
  flow.toRecord(code);
  code.op(OP.end);
  code.get(said).i32(GO.atRip).op(OP.i32_eq).if();
  flow.toRip(code);
  code.op(OP.end);
  code
    .i32(GO.by)
    .get(said)
    .op(OP.i32_sub)
    .set(which)
    .br(code.depth - again);
  code.op(OP.end);
  code.get(said).op(OP.return);
  code.op(OP.end);
  code.op(OP.unreachable);
  return moduleOf([code], helpers, memoryPages, true);
}
