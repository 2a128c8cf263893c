/**
 * Code that is run often, as one function: a region, made of the same steps as handlers are (handlers.ts), but for the instructions of one
 * place. Registers and numbers are constants in it, values go from one instruction to the next in locals, and words of the VCPU's block are
 * written where code leaves: flags that nobody reads are never computed.
 *
 * A region consists of traces. A trace begins at a head, goes through conditional branches that are not taken, and ends where code goes
 * elsewhere. It counts its instructions at once: where the budget ends within it, its head is run by the handler it had before, and so all
 * that follows up to the next head. Heads' records have slots of the region as handlers; other records keep theirs.
 */
import type { FrameCode } from './code-cache.js';
import type { Form } from './forms.js';
import {
  type Flow,
  GO,
  type HandlerModule,
  jumpCase,
  LEFT,
  LOADS,
  leave,
  moduleOf,
  PC,
  STATE,
  Translation,
} from './handlers.js';
import type { AddressForm, HelperName, Size, Step } from './ir.js';
import { REC, RECORD_BYTES, ST } from './state.js';
import { Code, I32, I64, MEM, OP } from './wasm-module.js';

/** Instructions of a region, and of a trace, at most: what the engine compiles in some ten milliseconds. */
const MOST = 400;
const MOST_OF_TRACE = 32;
export const MOST_TRACES = 64;

interface Instruction {
  readonly record: number;
  readonly steps: readonly Step[];
}

interface Trace {
  readonly head: number;
  readonly instructions: readonly Instruction[];
  /** The record behind the last one. */
  readonly next: number;
}

export interface Region {
  readonly traces: readonly Trace[];
}

/** The VCPU's block is theirs while they run, and records are looked at. */
const isElsewhere = ({ op }: Step): boolean => op === 'exit' || op === 'helper';

/** Reads records. */
export class RecordReader {
  readonly #view: DataView;

  constructor(buffer: ArrayBufferLike) {
    this.#view = new DataView(buffer);
  }

  u8 = (at: number): number => this.#view.getUint8(at);
  u16 = (at: number): number => this.#view.getUint16(at, true);
  i32 = (at: number): number => this.#view.getInt32(at, true);
  i64 = (at: number): bigint => this.#view.getBigInt64(at, true);
}

/**
 * What is worth a region around a record of a frame.
 * @param stepsOf what a form means; undefined where the core does not have it
 * @param isTaken whether a record is the head of another region
 */
export function regionAround(
  code: FrameCode,
  record: number,
  read: RecordReader,
  stepsOf: (form: Form) => readonly Step[] | undefined,
  isTaken: (record: number) => boolean,
): Region {
  const stepsAt = (at: number): readonly Step[] | undefined => {
    const form = code.forms.get(at);
    const steps = form === undefined ? undefined : stepsOf(form);
    return steps === undefined || steps.some(isElsewhere) ? undefined : steps;
  };
  const behind = (at: number): number => {
    const offset = read.u16(at + REC.offset) + read.u8(at + REC.length);
    return offset < 4096 ? read.i32(code.table + 4 * offset) : 0;
  };
  const isBranch = (at: number): boolean => code.forms.get(at)?.operands[0]?.kind === 'branch';
  const isCall = (at: number): boolean => code.forms.get(at)?.mnemonic === 'Call';
  const starts = code.lines.map(([from]) => from);
  const ends = new Set(code.lines.map(([, to]) => to));
  /** The record behind one in its straight line, or where that goes on; 0: it ends. */
  const after = (at: number): number => {
    const next = at + RECORD_BYTES;
    if (ends.has(next)) return 0;
    return code.forms.has(next) ? next : read.i32(next + REC.disp) || next;
  };
  const links = code.lines.map(([, to]) => to - RECORD_BYTES).filter((at) => !code.forms.has(at));
  const goneOn = new Set(links.map((at) => read.i32(at + REC.disp)));
  const heads = new Set<number>(starts.filter((at) => !goneOn.has(at)));
  for (const at of code.forms.keys()) {
    if (isBranch(at)) heads.add(read.i32(at + REC.disp));
    if (isCall(at)) heads.add(behind(at));
    if (stepsAt(at) === undefined) heads.add(after(at));
  }

  interface Found extends Trace {
    /** Heads that code goes on at, and those of what it calls. */
    readonly ways: readonly number[];
    readonly calls: readonly number[];
  }
  const known = new Map<number, Found>();
  function traceAt(head: number): Found {
    const before = known.get(head);
    if (before !== undefined) return before;
    const instructions: Instruction[] = [];
    const ways: number[] = [];
    const calls: number[] = [];
    let at = head;
    for (;;) {
      const steps = stepsAt(at);
      if (steps === undefined) {
        if (code.forms.has(at)) ways.push(after(at));
        break;
      }
      instructions.push({ record: at, steps });
      const [target, last] = [isBranch(at) ? read.i32(at + REC.disp) : 0, steps.at(-1)!];
      if (target !== 0) (isCall(at) ? calls : ways).push(target);
      if (isCall(at)) ways.push(behind(at));
      // Where it may lead is not said: to whatever of the page was run.
      if (last?.op === 'jump' && code.forms.get(at)!.mnemonic === 'Jmp') ways.push(...starts);
      const isEnd = last?.op === 'jump' || (last?.op === 'branch' && last.when === undefined);
      at = after(at);
      if (isEnd || at === 0) break;
      if (heads.has(at) || instructions.length === MOST_OF_TRACE) {
        ways.push(at);
        break;
      }
    }
    const trace = { head, instructions, next: at, ways, calls };
    known.set(head, trace);
    return trace;
  }

  let first = record;
  while (!heads.has(first) && !starts.includes(first)) first -= RECORD_BYTES;
  if (isTaken(first)) first = record;
  const traces: Trace[] = [];
  const seen = new Set<number>();
  let count = 0;
  /** Takes what code comes to from a head. */
  function take(from: number): void {
    const found = [from];
    for (let n = 0; n < found.length && count < MOST && traces.length < MOST_TRACES; n++) {
      const head = found[n]!;
      if (seen.has(head) || !code.forms.has(head) || isTaken(head)) continue;
      seen.add(head);
      const trace = traceAt(head);
      found.push(...trace.ways, ...trace.calls);
      if (trace.instructions.length === 0) continue;
      count += trace.instructions.length;
      traces.push(trace);
    }
  }
  take(first);
  // And what comes here, or the end of a function that a sample happened to hit were a region without the rest of it.
  const isNew = (head: number): boolean => !seen.has(head) && code.forms.has(head) && !isTaken(head);
  for (let before = 0; before < count && count < MOST && traces.length < MOST_TRACES; ) {
    before = count;
    for (const head of heads) if (isNew(head) && traceAt(head).ways.some((to) => seen.has(to))) take(head);
  }
  return { traces };
}

/** Words of the VCPU's block that locals hold. They are in whole words, and none is written before code leaves. */
class Words {
  readonly #locals: Map<number, number>;
  readonly #changed: Set<number>;

  constructor(locals: Iterable<readonly [number, number]> = [], changed: Iterable<number> = []) {
    this.#locals = new Map(locals);
    this.#changed = new Set(changed);
  }

  copy = (): Words => new Words(this.#locals, this.#changed);

  /** General registers, and what no function of the core sets. */
  static has = (at: number, size: number): boolean =>
    at < ST.codePage || (size === 8 && (at === ST.result || at === ST.aux || at === ST.codePage));

  get(code: Code, at: number): number {
    let local = this.#locals.get(at);
    if (local === undefined) {
      local = code.local(I64);
      code.get(STATE).mem(MEM.i64_load, at).set(local);
      this.#locals.set(at, local);
    }
    return local;
  }

  set(at: number, local: number): void {
    this.#locals.set(at, local);
    this.#changed.add(at);
  }

  /** Code leaves here; on other ways it goes on. */
  write(code: Code): void {
    for (const at of this.#changed) code.get(STATE).get(this.#locals.get(at)!).mem(MEM.i64_store, at);
  }
}

/** What instructions of a region have in common: how code goes on. Budget and words are what they should be then. */
interface Ways extends Flow {
  /** At a record that is known. */
  to(record: number): void;
}

const maskOf = (size: Size): bigint => (1n << BigInt(8 * size)) - 1n;

/** One instruction of a trace. */
class Placed extends Translation {
  readonly #read: RecordReader;
  readonly #ways: Ways;
  readonly #record: number;
  /** How many of its trace come before it. */
  readonly #before: number;
  #words: Words;
  /** Whether what is known of this code may be wrong: it leaves by address. */
  #isStale = false;

  constructor(
    { record, steps }: Instruction,
    before: number,
    words: Words,
    code: Code,
    read: RecordReader,
    helpers: Map<HelperName, number>,
    ways: Ways,
  ) {
    super(steps, helpers, code, ways);
    this.#record = record;
    this.#before = before;
    this.#words = words;
    this.#read = read;
    this.#ways = ways;
  }

  /** Leaves out what comes behind it. */
  override translate(): void {
    this.all();
  }

  #spend(count: number): void {
    if (count > 0) this.code.get(LEFT).i32(count).op(OP.i32_sub).set(LEFT);
  }

  protected override register(field: number, size: Size): number {
    return this.fixed(this.#read.u16(this.#record + field), size);
  }

  protected override fixed(at: number, size: Size): number {
    const { code } = this;
    const word = at & ~7;
    if (!Words.has(at, size)) {
      const local = code.local(I64);
      code.get(STATE).mem(LOADS[size], at).set(local);
      return local;
    }
    const whole = this.#words.get(code, word);
    if (size === 8) return whole;
    const local = code.local(I64);
    code.get(whole);
    if (at !== word) code.i64(BigInt(8 * (at - word))).op(OP.i64_shr_u);
    code.i64(maskOf(size)).op(OP.i64_and).set(local);
    return local;
  }

  protected override setRegister(field: number, size: Size, value: number): void {
    const at = this.#read.u16(this.#record + field);
    if (Words.has(at, size)) this.#setWord(at, size, value);
    else {
      this.code.get(STATE);
      this.put(size, value, at);
    }
  }

  protected override setFixed(at: number, size: Size, value: number): void {
    if (Words.has(at, size)) this.#setWord(at, size, value);
    else super.setFixed(at, size, value);
  }

  /** 4 bytes clear the upper half, 1 and 2 leave the rest. */
  #setWord(at: number, size: Size, value: number): void {
    const { code } = this;
    const word = at & ~7;
    const local = code.local(I64);
    if (size < 4) {
      const shift = BigInt(8 * (at - word));
      code
        .get(this.#words.get(code, word))
        .i64(~(maskOf(size) << shift))
        .op(OP.i64_and);
      this.push(value);
      code.i64(maskOf(size)).op(OP.i64_and);
      if (shift > 0n) code.i64(shift).op(OP.i64_shl);
      code.op(OP.i64_or);
    } else {
      this.push(value);
      if (size === 4) code.i64(maskOf(4)).op(OP.i64_and);
    }
    code.set(local);
    this.#words.set(word, local);
  }

  protected override registerAddress(field: number): number {
    this.code.get(STATE);
    return this.#read.u16(this.#record + field);
  }

  protected override immediate(): void {
    this.code.i64(this.#read.i64(this.#record + REC.imm));
  }

  protected override address(form: AddressForm): void {
    const { code } = this;
    const read = this.#read;
    const record = this.#record;
    if (form.isAbsolute) this.immediate();
    else {
      code.i64(BigInt(read.i32(record + REC.disp)));
      if (read.u16(record + REC.base) !== ST.zero) code.get(this.register(REC.base, 8)).op(OP.i64_add);
    }
    if (form.hasIndex && read.u16(record + REC.index) !== ST.zero) {
      code.get(this.register(REC.index, 8));
      code
        .i64(BigInt(read.u8(record + REC.shift)))
        .op(OP.i64_shl)
        .op(OP.i64_add);
    }
    if (form.bits === 32) code.i64(maskOf(4)).op(OP.i64_and);
    if (form.hasSegment) code.get(this.register(REC.segment, 8)).op(OP.i64_add);
  }

  #inPage(offset: bigint): void {
    this.code.get(this.fixed(ST.codePage, 8)).i64(offset).op(OP.i64_add);
  }

  protected override nextRip(): void {
    this.#inPage(BigInt(this.#read.u16(this.#record + REC.offset) + this.#read.u8(this.#record + REC.length)));
  }

  protected override note(): void {
    const { code } = this;
    code.get(STATE).i32(this.#record).mem(MEM.i32_store, ST.record);
    code.get(STATE).get(LEFT).i32(this.#before).op(OP.i32_sub).mem(MEM.i32_store, ST.left);
    this.#words.write(code);
  }

  protected override wroteCode(n: number): void {
    const { code } = this;
    const words = this.#words;
    this.#words = words.copy();
    this.#isStale = true;
    if (!this.all(n + 1)) {
      this.#words.write(code);
      this.#spend(this.#before + 1);
      code.i32(this.#record + RECORD_BYTES).set(PC);
      leave(code, GO.atRecord);
    }
    this.#isStale = false;
    this.#words = words;
  }

  protected override jump(target: number): void {
    const { code } = this;
    this.#words.write(code);
    this.#spend(this.#before);
    code.get(STATE).get(target).mem(MEM.i64_store, ST.rip);
    if (this.#isStale) leave(code, GO.atRip);
    else this.#ways.toRip(code);
  }

  protected override branch(when: number | undefined): void {
    const { code } = this;
    const words = this.#words;
    if (when !== undefined) {
      this.push(when);
      code.if();
      // What is loaded on this way is not there on the other.
      this.#words = words.copy();
    }
    const to = this.#read.i32(this.#record + REC.disp);
    if (to === 0 || this.#isStale) {
      const target = code.local(I64);
      this.#inPage(this.#read.i64(this.#record + REC.imm));
      code.set(target);
      this.jump(target);
    } else {
      this.#words.write(code);
      this.#spend(this.#before + 1);
      this.#ways.to(to);
    }
    if (when !== undefined) code.op(OP.end);
    this.#words = words;
  }
}

/** The module of a region, whose slots from `firstSlot` on are those of its traces' heads; one more is its own. */
export function regionModule(
  { traces }: Region,
  read: RecordReader,
  firstSlot: number,
  memoryPages: number,
): HandlerModule {
  const helpers = new Map<HelperName, number>();
  const code = new Code(3);
  const which = code.local(I32);
  const heads = new Map(traces.map(({ head }, n) => [head, n]));
  code.get(PC).mem(MEM.i32_load, REC.handler).set(which);
  code.loop();
  const again = code.depth;
  const toSlot = (c: Code): void => void c.set(which).br(c.depth - again);
  const flow: Flow = {
    toRecord: (c) => toSlot(c.get(PC).mem(MEM.i32_load, REC.handler)),
    toRip: (c) => toSlot(c.i32(firstSlot + traces.length)),
  };
  for (let n = 0; n <= traces.length + 1; n++) code.block();
  code
    .get(which)
    .i32(firstSlot)
    .op(OP.i32_sub)
    .brTable(Array.from({ length: traces.length + 2 }, (_, n) => n));
  for (const { head, instructions, next } of traces) {
    code.op(OP.end);
    code.releaseLocals();
    // `which` is the first of its type.
    code.local(I32);
    code.loop();
    const start = code.depth;
    const ways: Ways = {
      ...flow,
      to(record) {
        const n = heads.get(record);
        if (record === head) code.br(code.depth - start);
        else if (n !== undefined) toSlot(code.i32(firstSlot + n));
        else {
          code.i32(record).set(PC);
          leave(code, GO.atRecord);
        }
      },
    };
    code
      .get(LEFT)
      .i32(instructions.length + 1)
      .op(OP.i32_lt_s)
      .if();
    code.i32(head).set(PC);
    leave(code, GO.by - read.i32(head + REC.handler));
    code.op(OP.end);
    const words = new Words();
    for (const [n, instruction] of instructions.entries())
      new Placed(instruction, n, words, code, read, helpers, ways).translate();
    words.write(code);
    code.get(LEFT).i32(instructions.length).op(OP.i32_sub).set(LEFT);
    ways.to(next);
    code.op(OP.end);
  }
  code.op(OP.end);
  code.releaseLocals();
  code.local(I32);
  jumpCase(code, flow);
  code.op(OP.end);
  leave(code, GO.atRecord);
  code.op(OP.end);
  code.op(OP.unreachable);
  return moduleOf([code], helpers, memoryPages);
}
