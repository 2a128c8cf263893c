/** One worker's x86 core: runs the code of any VCPU whose block it is given, up to a budget of instructions. */
import type { Image } from '../../shared/image.js';
import type { BusLock } from './bus-lock.js';
import { codeCache, type SharedCode } from './code-cache.js';
import { exactFloat } from './floating.js';
import type { Form } from './forms.js';
import {
  FOR_WRITE,
  type HandlerModule,
  type HandlerSource,
  handlerModule,
  LOCKED,
  loopModule,
  type Services,
  SLOT,
} from './handlers.js';
import { lockedAccesses } from './locked.js';
import { meaningOf } from './meanings/index.js';
import { type MachineMemory, type Mmu, mmu, pageAfter, type SharedPages } from './mmu.js';
import { isPair } from './pairs.js';
import { CODE_TLB_ENTRY, EXIT, noPage, REC, ST, TLB, TLB_BYTES, TLB_ENTRIES, tlbPlace, VECTOR } from './state.js';
import { strings } from './strings.js';
import { x87 } from './x87.js';

const WASM_PAGE = 65536;
/** Handlers at most; slots of the table. */
const TABLE_SLOTS = 16384;
/** A new loop is made when there are more than so many times the forms of the last one, and so many more. */
const LOOP_GROWTH = 1.5;
const LOOP_LEAST = 1;

/** Instructions after which functions are worth a new loop, though they are few. */
const SETTLED = 1 << 24;

/** Instructions run at a time: the engine changes to optimised code only when the loop is entered. */
const SLICE = 1 << 20;

type Handler = (st: number, pc: number, left: number) => number;

/** What of the machine a core has for itself, as image addresses; and the TLBs of the pCPUs, TLB_BYTES each, one after the other. */
export interface CoreArea {
  readonly tlbs: number;
  /** Number of the worker. */
  readonly self: number;
  readonly code: { readonly base: number; readonly bytes: number };
}

/** What the core does not know by itself. */
export interface Surroundings {
  readonly memory: MachineMemory;
  readonly code: SharedCode;
  /** Machine frame of a VCPU's top-level page table. */
  rootOf(st: number): number;
  /** The cycle counter, low and high word. */
  counter(st: number): readonly [number, number];
  /** Where guests run beside the turns. */
  readonly shared: SharedPages | undefined;
  /** Where several workers run code at the same time. */
  readonly bus: BusLock | undefined;
  /** CPUID: eax, ebx, ecx, edx. */
  cpuid(leaf: number, subleaf: number): readonly [number, number, number, number];
}

export interface X86Core {
  readonly mmu: Mmu;
  /**
   * Runs VCPU v, whose block `st` is, from `rip` on, with the TLB of pCPU p. @param budget instructions at most, at least 1
   * @returns one of EXIT but `miss`; `left` of the block says how many of the budget are left, `rip` of it where to go on, or the
   *   instruction that faulted
   */
  run(st: number, budget: number, v?: number, p?: number): number;
  /** A frame was written by somebody else: its image address. */
  codeChanged(frame: number): void;
  /** Forgets all translations of pCPU p, as for another page table: before it runs code again. */
  flush(p?: number): void;
  /** Forgets those of the page that holds an address, as INVLPG does. */
  invalidate(address: bigint, p?: number): void;
}

export function x86Core(image: Image, area: CoreArea, outside: Surroundings): X86Core {
  const { i32 } = image;
  const view = new DataView(image.buffer);
  const word = (address: number): number => address >> 2;
  const table = new WebAssembly.Table({ element: 'anyfunc', initial: TABLE_SLOTS });
  const memoryPages = image.buffer.byteLength / WASM_PAGE;
  const slots = new Map<string, number>();
  const { code } = outside;
  /** The frame that nobody had code of before it was decoded here. */
  let marked = 0;
  function mark(frame: number): boolean {
    const isFirst = code.mark(frame);
    if (isFirst) marked = frame;
    return isFirst;
  }
  const cache = codeCache(image, area.code, handlerOf, pairOf, () => generation++, { ...code, mark });
  /** A frame with code was written here. */
  function written(frame: number): void {
    // What others wrote since is still to be followed.
    if (code.written(frame) === seenWrites) seenWrites++;
    cache.drop(frame);
  }
  const writtenTo = (frame: number): void => {
    if (code.hasCodeNow(frame)) written(frame);
  };
  const { bus } = outside;
  const left = (frame: number): void => {
    if (code.hasCode(frame)) written(frame);
  };
  const paging = mmu(
    image,
    outside.memory,
    { hasCode: code.hasCode, written: writtenTo, left: bus && left },
    outside.shared,
    outside.rootOf,
  );
  const locked = bus && lockedAccesses(image, paging, writtenTo, bus);
  /** Writes of others to code that this core has followed. */
  let seenWrites = code.writes();
  const marksSeen = (st: number): number => word(i32[word(st + ST.tlb)]! + TLB.marks);

  /** Follows what was decoded and written since: before translations and records are used. */
  function follow(st: number): void {
    const marks = code.marks();
    if (marks !== i32[marksSeen(st)]) {
      i32[marksSeen(st)] = marks;
      // Code that others have decoded since may have been written here since, unseen: it must be read again.
      paging.flush(st);
    }
    if (code.writes() === seenWrites) return;
    seenWrites = code.writes();
    cache.dropWritten();
  }

  const string = strings(image, paging, writtenTo);
  const float87 = x87(image, paging, writtenTo);

  const float = exactFloat(image);

  const services: Services = {
    load(st, access) {
      const size = access & (FOR_WRITE - 1);
      return (access & LOCKED) !== 0 ? locked!.load(st, size) : paging.load(st, size, (access & FOR_WRITE) !== 0);
    },
    store(st, access) {
      if ((access & LOCKED) === 0) return paging.store(st, access);
      locked!.store(st, access & (FOR_WRITE - 1));
      return 0;
    },
    helper: {
      divide: (st) => divide(st, false),
      divideSigned: (st) => divide(st, true),
      cpuid(st) {
        const [eax, ebx, ecx, edx] = outside.cpuid(i32[word(st)]!, i32[word(st + 8)]!);
        for (const [n, x] of [eax, ecx, edx, ebx].entries()) setRegister(st, n, x);
        return 0;
      },
      rdtsc(st) {
        const [low, high] = outside.counter(st);
        setRegister(st, 0, low);
        setRegister(st, 2, high);
        return 0;
      },
      enter: (st) => enter(st),
      float: (st) => (float(st) ? 0 : 1 + EXIT.exception),
      lockBus: (st) => (locked!.take(st) ? 0 : 1 + EXIT.exception),
      unlockBus() {
        bus!.release();
        return 0;
      },
      awaitBus() {
        bus!.wait();
        return 0;
      },
      x87: (st) => (float87(st) ? 0 : 1 + EXIT.exception),
      string: (st) => (string(st) < 0 ? 1 + EXIT.exception : 0),
    },
  };

  /** The lower half of a general register; the upper is cleared. */
  function setRegister(st: number, n: number, x: number): void {
    i32[word(st + ST.gpr + 8 * n)] = x;
    i32[word(st + ST.gpr + 8 * n) + 1] = 0;
  }

  function raise(st: number, vector: number): number {
    i32[word(st + ST.vector)] = vector;
    i32[word(st + ST.errorCode)] = 0;
    return 1 + EXIT.exception;
  }

  /** RDX:RAX by a divisor of 64 bits. */
  function divide(st: number, isSigned: boolean): number {
    const read = (at: number): bigint =>
      isSigned ? view.getBigInt64(st + at, true) : view.getBigUint64(st + at, true);
    const divisor = read(ST.address);
    const dividend = (read(ST.gpr + 16) << 64n) | view.getBigUint64(st + ST.gpr, true);
    const quotient = dividend / divisor;
    if (quotient !== (isSigned ? BigInt.asIntN(64, quotient) : BigInt.asUintN(64, quotient)))
      return raise(st, VECTOR.DE);
    view.setBigUint64(st + ST.gpr, BigInt.asUintN(64, quotient), true);
    view.setBigUint64(st + ST.gpr + 16, BigInt.asUintN(64, dividend % divisor), true);
    return 0;
  }

  /** ENTER: a frame, and above it the frame pointers of so many levels outside. Nothing has changed when an access faults. */
  function enter(st: number): number {
    const record = i32[word(st + ST.record)]!;
    const imm = i32[word(record + REC.imm)]!;
    const size = view.getUint8(record + REC.length) === 5 ? 2 : 8;
    const [bytes, level] = [BigInt(imm & 0xffff), (imm >> 16) & 31];
    const RSP_AT = st + ST.gpr + 32;
    const RBP_AT = st + ST.gpr + 40;
    const frameBefore = view.getBigUint64(RBP_AT, true);
    let top = BigInt.asUintN(64, view.getBigUint64(RSP_AT, true) - BigInt(size));
    const frame = top;
    const put = (at: bigint, x: bigint): boolean => {
      view.setBigUint64(st + ST.address, BigInt.asUintN(64, at), true);
      view.setBigUint64(st + ST.value, x, true);
      return paging.store(st, size) === 0;
    };
    if (!put(top, frameBefore)) return 1 + EXIT.exception;
    for (let n = 1; n < level; n++) {
      view.setBigUint64(st + ST.address, BigInt.asUintN(64, frameBefore - BigInt(n * size)), true);
      const at = paging.load(st, size, false);
      if (at < 0) return 1 + EXIT.exception;
      const outer = size === 8 ? view.getBigUint64(at, true) : BigInt(view.getUint16(at, true));
      top = BigInt.asUintN(64, top - BigInt(size));
      if (!put(top, outer)) return 1 + EXIT.exception;
    }
    if (level > 0) {
      top = BigInt.asUintN(64, top - BigInt(size));
      if (!put(top, frame)) return 1 + EXIT.exception;
    }
    const end = BigInt.asUintN(64, top - bytes);
    // The last byte of the frame must be writable, though nothing is written there.
    view.setBigUint64(st + ST.address, end, true);
    if (paging.load(st, size, true) < 0) return 1 + EXIT.exception;
    if (size === 8) view.setBigUint64(RBP_AT, frame, true);
    else view.setUint16(RBP_AT, Number(frame & 0xffffn), true);
    view.setBigUint64(RSP_AT, end, true);
    return 0;
  }

  function instantiate({ bytes, helpers }: HandlerModule): void {
    const env: Record<string, unknown> = { memory: image.memory, table, load: services.load, store: services.store };
    for (const name of helpers) env[name] = services.helper[name];
    new WebAssembly.Instance(new WebAssembly.Module(bytes), { env });
  }

  /** Steps of all forms so far, in the order of their slots. */
  const all: HandlerSource[] = [];
  /** How many of them are in the loop, and how many have a function or are in the loop. */
  let [inLoop, made] = [0, 0];
  /** Instructions run since the last handler was made. */
  let sinceMade = 0;

  function makeLoop(): void {
    instantiate(loopModule(all, memoryPages));
    loop = table.get(0) as Handler;
    inLoop = all.length;
    made = all.length;
    sinceMade = 0;
  }
  let loop: Handler;
  makeLoop();

  function handlerOf(form: Form): number {
    const known = slots.get(form.key);
    if (known !== undefined) return known;
    const steps = meaningOf(form, bus !== undefined);
    const slot = steps === undefined ? SLOT.undefined : SLOT.first + all.length;
    if (steps !== undefined) all.push({ steps });
    slots.set(form.key, slot);
    return slot;
  }

  /** The slot for two instructions in a row; undefined where they are no pair. */
  function pairOf(first: Form, second: Form): number | undefined {
    if (!isPair(first, second)) return undefined;
    const key = `${first.key} + ${second.key}`;
    const known = slots.get(key);
    if (known !== undefined) return known;
    const [steps, next] = [meaningOf(first, bus !== undefined), meaningOf(second, bus !== undefined)];
    if (steps === undefined || next === undefined) return undefined;
    slots.set(key, SLOT.first + all.length);
    all.push({ steps, next });
    return SLOT.first + all.length - 1;
  }

  /** Makes handlers for the forms that have none yet, before their code is run. */
  function makeHandlers(): void {
    if (made === all.length) return;
    if (all.length >= LOOP_GROWTH * inLoop + LOOP_LEAST) {
      makeLoop();
      return;
    }
    instantiate(handlerModule(all.slice(made), SLOT.first + made, memoryPages));
    made = all.length;
    sinceMade = 0;
  }

  /** How often the cache of code has begun anew. */
  let generation = 0;

  function forgetCodeAt(tlb: number, n: number): void {
    const entry = tlb + TLB.code + n * CODE_TLB_ENTRY.bytes;
    i32[word(entry)] = noPage(n);
    i32[word(entry) + 1] = 0;
  }

  /** Where code lies is to be found out anew. */
  function forgetCode(tlb: number): void {
    for (let n = 0; n < TLB_ENTRIES; n++) forgetCodeAt(tlb, n);
    i32[word(tlb + TLB.worker)] = area.self + 1;
    i32[word(tlb + TLB.generation)] = generation;
  }

  /** Makes the TLBs of a pCPU those of VCPU v on this worker. */
  function occupy(st: number, tlb: number, v: number): void {
    i32[word(st + ST.tlb)] = tlb;
    i32[word(st + ST.codeTlb)] = tlb + TLB.code;
    const isOwn = i32[word(tlb + TLB.vcpu)] === v + 1;
    if (!isOwn) {
      i32[word(tlb + TLB.vcpu)] = v + 1;
      paging.flush(st);
    }
    const isKnown = i32[word(tlb + TLB.worker)] === area.self + 1 && i32[word(tlb + TLB.generation)] === generation;
    if (!isOwn || !isKnown) forgetCode(tlb);
  }

  /** The record of the instruction at `rip` of the block, which code goes on from; 0: an exception is set up. */
  function locate(st: number): number {
    const [low, high] = [i32[word(st + ST.rip)]!, i32[word(st + ST.rip) + 1]!];
    const frame = paging.translate(st, low, high, 'fetch');
    if (frame < 0) return 0;
    const offset = low & 4095;
    const marks = code.marks();
    marked = 0;
    let record = cache.recordAt(frame, offset);
    if (record === 0) {
      const second = paging.translate(st, ...pageAfter(low, high), 'fetch');
      if (second < 0) return 0;
      record = cache.recordOfTwo(frame, offset, second);
    }
    makeHandlers();
    // What was decoded just now may be writable by a translation of before. Who decodes does not write meanwhile.
    if (code.marks() !== marks) {
      if (code.marks() === marks + 1 && i32[marksSeen(st)] === marks && marked === frame) {
        i32[marksSeen(st)] = marks + 1;
        paging.flush(st, frame);
      } else follow(st);
    }
    const records = cache.tableOf(frame);
    const tlb = i32[word(st + ST.tlb)]!;
    if (i32[word(tlb + TLB.generation)] !== generation) forgetCode(tlb);
    i32[word(st + ST.codePage)] = low & ~4095;
    i32[word(st + ST.codePage) + 1] = high;
    i32[word(st + ST.records)] = records;
    const entry = tlb + TLB.code + tlbPlace(low) * CODE_TLB_ENTRY.bytes;
    i32[word(entry)] = low & ~4095;
    i32[word(entry) + 1] = high;
    i32[word(entry + CODE_TLB_ENTRY.records)] = records;
    return record;
  }

  /** `rip` of the block from `record` of it, where that says it. */
  function settle(st: number): void {
    const record = i32[word(st + ST.record)]!;
    if (record === 0) return;
    const offset = view.getUint16(record + REC.offset, true);
    view.setBigInt64(st + ST.rip, view.getBigInt64(st + ST.codePage, true) + BigInt(offset), true);
  }

  /** The run itself, between two looks at what others did. */
  function runOn(st: number, budget: number): number {
    let rest = budget;
    for (;;) {
      const slice = Math.min(rest, SLICE);
      i32[word(st + ST.left)] = slice;
      const record = locate(st);
      const reason = record === 0 ? EXIT.exception : loop(st, record, slice);
      const done = slice - i32[word(st + ST.left)]!;
      rest -= done;
      sinceMade += done;
      if (sinceMade > SETTLED && inLoop < all.length) makeLoop();
      i32[word(st + ST.left)] = rest;
      if (record !== 0) settle(st);
      if (reason === EXIT.exception && i32[word(st + ST.vector)] === VECTOR.kept) return EXIT.kept;
      if (record === 0) return reason;
      // It faulted between its two accesses, as another pCPU changed the page tables.
      if (bus?.isHeld() === true) bus.release();
      if (reason === EXIT.miss || (reason === EXIT.budget && rest > 0)) continue;
      if (reason === EXIT.exception && i32[word(st + ST.vector)] === VECTOR.BP) {
        // A trap: reported behind the instruction.
        view.setBigInt64(st + ST.rip, view.getBigInt64(st + ST.rip, true) + 1n, true);
      }
      return reason;
    }
  }

  return {
    mmu: paging,
    run(st, budget, v = 0, p = 0) {
      occupy(st, area.tlbs + p * TLB_BYTES, v);
      if (bus !== undefined) {
        i32[word(st + ST.bus)] = bus.owner;
        i32[word(st + ST.announced)] = bus.announced;
        i32[word(st + ST.busSelf)] = bus.self;
      }
      follow(st);
      const reason = runOn(st, budget);
      if (bus !== undefined) {
        // Code that was decoded meanwhile may have been written meanwhile; this pCPU may not run again for long.
        Atomics.or(i32, marksSeen(st), 0);
        follow(st);
      }
      return reason;
    },
    codeChanged: written,
    flush(p = 0) {
      i32[word(area.tlbs + p * TLB_BYTES + TLB.vcpu)] = 0;
    },
    invalidate(address, p = 0) {
      const tlb = area.tlbs + p * TLB_BYTES;
      const [low, high] = [Number(BigInt.asIntN(32, address)), Number(BigInt.asIntN(32, address >> 32n))];
      paging.invalidate(tlb, low, high);
      // Whatever page of that place it is: it costs one look into the tables.
      forgetCodeAt(tlb, tlbPlace(low));
    },
  };
}
