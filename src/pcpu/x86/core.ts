/** One worker's x86 core: runs the code of any VCPU whose block it is given, up to a budget of instructions. */
import type { Image } from '../../shared/image.js';
import type { BusLock } from './bus-lock.js';
import { codeCache, type SharedCode } from './code-cache.js';
import { debugRegisters } from './debug-registers.js';
import type { DebugStops } from './debug-stops.js';
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
import { interruptReturn } from './interrupt-return.js';
import type { Step } from './ir.js';
import { lockedAccesses } from './locked.js';
import { meaningOf } from './meanings/index.js';
import { type MachineMemory, type Mmu, mmu, pageAfter, type SharedPages } from './mmu.js';
import { outwait } from './outwait.js';
import { isPair } from './pairs.js';
import { MOST_TRACES, RecordReader, regionAround, regionModule } from './regions.js';
import type { FlatSelectors } from './segment-descriptors.js';
import { type OwnDescriptors, type Segments, segments, XEN_SELECTORS } from './segments.js';
import { CODE_TLB_ENTRY, EXIT, noPage, REC, ST, TLB, TLB_BYTES, tlbPlace, VECTOR } from './state.js';
import { stepping } from './stepping.js';
import { MORE, strings } from './strings.js';
import { hasTs, runBeforeFloating } from './task-switched.js';
import { usedPlaces } from './used-places.js';
import { x87 } from './x87.js';

const WASM_PAGE = 65536;
/** Handlers at most; slots of the table. */
const TABLE_SLOTS = 32768;
/** Functions are worth a new loop soon when there are more than so many times the forms of the last one, else after so many instructions. */
const LOOP_GROWTH = 1.5;
const SETTLED = 1 << 26;

/** Instructions run at a time: where a slice ends is a sample of what is run often. The engine changes to optimised code only then, too. */
const SLICE = 1 << 16;
/** Instructions run up to a place, as far as samples say, before the code around it is made a region. */
const HOT = 1 << 19;
/** Instructions between two samples of code that is left and entered again and again. */
const SAMPLE = 1 << 10;
/** The first of the table's slots for regions. */
const REGION_SLOTS = TABLE_SLOTS / 2;
/** Modules for regions at most: a process cannot have more than some 30,000. */
const MOST_REGIONS = 1024;

type Handler = (st: number, pc: number, left: number) => number;

/**
 * What of the machine a core has for itself, as image addresses; and the TLBs of the pCPUs, one after the other, TLB_BYTES for a guest's
 * kernel and as many for its applications: they have page tables of their own.
 */
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
  /** The cycle counter, low and high word. @param left instructions left of the budget, the one that asks among them */
  counter(st: number, left: number): readonly [number, number];
  /** Of the run that goes on, all instructions that it was given are done: how many more it may go on by; 0: it ends. @default 0 */
  more?(): number;
  /** Where guests run beside the turns. */
  readonly shared: SharedPages | undefined;
  /** Where several workers run code at the same time. */
  readonly bus: BusLock | undefined;
  /** Where there may be a debugger outside. */
  readonly stops?: DebugStops | undefined;
  /** CPUID: eax, ebx, ecx, edx. */
  cpuid(leaf: number, subleaf: number): readonly [number, number, number, number];
  /** @default Xen's */
  readonly selectors?: FlatSelectors;
  /** Guests' own segments. @default there are none */
  readonly descriptors?: OwnDescriptors;
}

export interface X86Core {
  readonly mmu: Mmu;
  readonly segments: Segments;
  /**
   * Runs VCPU v, whose block `st` is, from `rip` on, with the TLB of pCPU p. @param budget instructions at most, at least 1
   * @returns one of EXIT but `miss` and `attend`; `left` of the block says how many of the budget are left, `rip` of it where to go on,
   *   or the instruction that faulted. #DB is none of an instruction that was begun and not done: what it traps behind has been counted
   */
  run(st: number, budget: number, v?: number, p?: number): number;
  /**
   * Runs one instruction, or one element of a string, by the TLB of pCPU p, with data of the page at `page` redirected (Mmu.redirect).
   * @returns as `run`
   */
  runRedirected(st: number, v: number, p: number, page: bigint, to: number): number;
  /**
   * Looks into page tables of the VCPU whose block it is, or into what they map, outside of a run. Page tables are what they are until that
   * has ended, as with a run: so there is no waiting for locks meanwhile.
   */
  touching<T>(st: number, act: () => T): T;
  /** Whether SS was loaded just now: no event may come before the next instruction is done. */
  isShadowed(st: number): boolean;
  /** Debug register n, 0 to 7, for the hypervisor. @returns 0, or why Xen refuses it, as it says so */
  setDebugRegister(st: number, n: number, x: bigint): number;
  debugRegister(st: number, n: number): bigint;
  /**
   * Words of 8 bytes of VCPU v's memory, by the TLB of pCPU p, while it runs no code. @param words where their halves go, low ones first
   * @returns false: an exception is set up
   */
  read(st: number, v: number, p: number, low: number, high: number, words: Int32Array, count: number): boolean;
  /** The same; false: an exception is set up, and some may be written. */
  write(st: number, v: number, p: number, low: number, high: number, words: Int32Array, count: number): boolean;
  /** Whether the TLB for code knows the code at `rip`, and what it begins with: undefined, it is to be looked at otherwise. */
  beginsWith(st: number, v: number, p: number, bytes: readonly number[]): boolean | undefined;
  /** From here on the block says the TLB of pCPU p, whichever VCPU v last ran with. */
  use(st: number, v: number, p: number): void;
  /** A frame was written by somebody else: its image address. */
  codeChanged(frame: number): void;
  /** Forgets all translations of pCPU p, as for another page table: before it runs code again. */
  flush(p?: number): void;
  /** Forgets those of VCPU v's kernel, or of its applications, which run no code. */
  forget(v: number, p: number, isUser: boolean): void;
  /** Forgets those of the page that holds an address, as INVLPG does. While p runs no code. */
  invalidate(address: bigint, p?: number): void;
  /**
   * Forgets what pCPU p remembers of VCPU v, of the page that holds an address or all. p may run code at this moment, on another worker:
   * on return it does so without them. @param waiting called now and then meanwhile
   */
  shootDown(v: number, page: bigint | undefined, p: number, waiting: () => void): void;
}

/** @param hot see HOT */
export function x86Core(image: Image, area: CoreArea, outside: Surroundings, hot = HOT): X86Core {
  const { i32 } = image;
  const view = new DataView(image.buffer);
  const word = (address: number): number => address >> 2;
  const usedForCode = usedPlaces(i32);
  const table = new WebAssembly.Table({ element: 'anyfunc', initial: TABLE_SLOTS });
  const memoryPages = image.buffer.byteLength / WASM_PAGE;
  const slots = new Map<string, number>();
  const read = new RecordReader(image.buffer);
  const { code } = outside;
  /** The frame that nobody had code of before it was decoded here. */
  let marked = 0;
  function mark(frame: number): boolean {
    const isFirst = code.mark(frame);
    if (isFirst) marked = frame;
    return isFirst;
  }
  const cache = codeCache(image, area.code, handlerOf, pairOf, forgetAll, { ...code, mark });
  /** A frame with code was written here. */
  function written(frame: number): void {
    // What others wrote since is still to be followed.
    if (code.written(frame) === seenWrites) seenWrites++;
    cache.drop(frame);
  }
  const debug = debugRegisters(image);
  const steps = stepping(image, debug);
  /** Where the data of a page are redirected to, which is no frame. */
  let redirectedTo = 0;
  /** Whether no more than an instruction or an element is to be run. */
  let isSingle = false;
  /** @returns whether it had code */
  function writtenTo(frame: number): boolean {
    if (frame === redirectedTo) return false;
    const isCode = code.hasCodeNow(frame);
    if (isCode) written(frame);
    return isCode;
  }
  const { bus, stops } = outside;
  const left = (frame: number): void => {
    if (code.hasCode(frame)) written(frame);
  };
  const frames = { hasCode: code.hasCode, written: writtenTo, left: bus && left };
  const watch = stops?.watching(debug) ?? debug;
  const paging = mmu(image, outside.memory, frames, outside.shared, outside.rootOf, watch);
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

  /** Whether others have changed what a run that goes on is to follow, and perhaps wait for its end. */
  function isToFollow(st: number): boolean {
    if (bus === undefined) return false;
    const isTaken = Atomics.load(i32, word(i32[word(st + ST.tlb)]! + TLB.vcpu)) === 0;
    return isTaken || code.marks() !== i32[marksSeen(st)] || code.writes() !== seenWrites;
  }

  const string = strings(image, paging, writtenTo);
  const float87 = x87(image, paging, writtenTo);

  const float = exactFloat(image);
  const segment = segments(image, outside.selectors ?? XEN_SELECTORS, outside.descriptors);
  const iret = interruptReturn(image, paging, segment);

  /** Instructions that handlers have been given since they were called, and those of the budget that they have not. */
  let [given, beyond] = [0, 0];

  const services: Services = {
    load(st, access) {
      const size = access & (FOR_WRITE - 1);
      return (access & LOCKED) !== 0 ? locked!.load(st, size) : paging.load(st, size, (access & FOR_WRITE) !== 0);
    },
    store(st, access) {
      if ((access & LOCKED) === 0) return paging.store(st, access);
      return locked!.store(st, access & (FOR_WRITE - 1)) ? 1 : 0;
    },
    more(st) {
      if (beyond > 0 || i32[word(st + ST.stepping)] !== 0 || hasTs(image, st) || isToFollow(st)) return 0;
      const n = outside.more?.() ?? 0;
      given += n;
      return n;
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
        const [low, high] = outside.counter(st, i32[word(st + ST.left)]! + beyond);
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
      string(st) {
        const came = string(st);
        return came === 0 ? 0 : 1 + (came === MORE ? EXIT.attend : EXIT.exception);
      },
      loadSegment: (st) => (segment.load(st) ? 0 : 1 + EXIT.exception),
      lookAtSegment: (st) => (segment.look(st) ? 0 : 1 + EXIT.exception),
      interruptReturn(st) {
        if (!iret(st)) return 1 + EXIT.exception;
        steps.returned();
        return 1 + EXIT.attend;
      },
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
      return paging.store(st, size) >= 0;
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

  /** The functions of a module. */
  function instantiate({ bytes, helpers }: HandlerModule): readonly Handler[] {
    const { helper, ...always } = services;
    const env: Record<string, unknown> = { memory: image.memory, table, ...always };
    for (const name of helpers) env[name] = helper[name];
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env });
    return Object.values(exports) as Handler[];
  }

  /** Steps of all forms so far, in the order of their slots. */
  const all: HandlerSource[] = [];
  /** How many of them are in the loop, and how many have a function or are in the loop. */
  let [inLoop, made] = [0, 0];
  /** Instructions run outside regions since the last loop was made, as samples say. */
  let sinceLoop = 0;

  function makeLoop(): void {
    loop = instantiate(loopModule(all, memoryPages))[0]!;
    inLoop = all.length;
    made = all.length;
    sinceLoop = 0;
  }
  let loop: Handler;
  makeLoop();

  /** What forms mean, as long as somebody may ask. */
  const meanings = new Map<string, readonly Step[] | undefined>();
  function stepsOf(form: Form): readonly Step[] | undefined {
    if (!meanings.has(form.key)) meanings.set(form.key, meaningOf(form, bus !== undefined));
    return meanings.get(form.key);
  }

  function handlerOf(form: Form): number {
    const known = slots.get(form.key);
    if (known !== undefined) return known;
    const steps = stepsOf(form);
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
    const [steps, next] = [stepsOf(first), stepsOf(second)];
    if (steps === undefined || next === undefined) return undefined;
    slots.set(key, SLOT.first + all.length);
    all.push({ steps, next });
    return SLOT.first + all.length - 1;
  }

  /** Makes handlers for the forms that have none yet, before their code is run: a loop, or functions. */
  function makeHandlers(): void {
    if (sinceLoop >= (all.length > LOOP_GROWTH * inLoop ? 4 * hot : SETTLED) && inLoop < all.length) makeLoop();
    if (made === all.length) return;
    for (const handler of instantiate(handlerModule(all.slice(made), memoryPages)))
      table.set(SLOT.first + made++, handler);
  }

  /** Instructions that were run up to places of a frame that are in no region, since the last was made. */
  const heat = new Map<number, number>();
  /** Records that are in a region. */
  const inRegion = new Set<number>();
  let [regions, nextSlot] = [0, REGION_SLOTS];

  /** Whether a region begins at a record. */
  const isRegion = (record: number): boolean => i32[word(record + REC.handler)]! >= REGION_SLOTS;
  /** Instructions run since the last sample. */
  let unsampled = 0;

  /** A sample: code has been run up to a record of a frame. */
  function warm(frame: number, record: number): void {
    const ran = unsampled;
    unsampled = 0;
    const frameCode = cache.codeOf(frame);
    if (inRegion.has(record)) return;
    sinceLoop += ran;
    if (!frameCode.forms.has(record)) return;
    const seen = (heat.get(frame) ?? 0) + ran;
    heat.set(frame, seen < hot ? seen : 0);
    if (seen < hot) return;
    const region = regionAround(frameCode, record, read, stepsOf, isRegion);
    for (const { instructions } of region.traces)
      for (const instruction of instructions) inRegion.add(instruction.record);
    inRegion.add(record);
    const first = nextSlot;
    if (region.traces.length === 0) return;
    const handler = instantiate(regionModule(region, read, first, memoryPages))[0]!;
    for (const [n, { head }] of region.traces.entries()) {
      table.set(first + n, handler);
      i32[word(head + REC.handler)] = first + n;
    }
    regions++;
    nextSlot += region.traces.length + 1;
  }

  function forgetAll(): void {
    for (let slot = REGION_SLOTS; slot < nextSlot; slot++) table.set(slot, null);
    [regions, nextSlot] = [0, REGION_SLOTS];
    heat.clear();
    inRegion.clear();
    generation++;
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
    usedForCode.take(word(tlb + TLB.usedForCode), (n) => forgetCodeAt(tlb, n));
    i32[word(tlb + TLB.worker)] = area.self + 1;
    i32[word(tlb + TLB.generation)] = generation;
  }

  /** Makes the TLBs of a pCPU those of VCPU v on this worker. */
  function occupy(st: number, tlb: number, v: number): void {
    i32[word(st + ST.tlb)] = tlb;
    i32[word(st + ST.codeTlb)] = tlb + TLB.code;
    const isOwn = Atomics.load(i32, word(tlb + TLB.vcpu)) === v + 1;
    if (!isOwn) {
      Atomics.store(i32, word(tlb + TLB.vcpu), v + 1);
      paging.flush(st);
    }
    const isKnown = i32[word(tlb + TLB.worker)] === area.self + 1 && i32[word(tlb + TLB.generation)] === generation;
    if (!isOwn || !isKnown) forgetCode(tlb);
  }

  /** Where `locate` found code. */
  let located = 0;

  /**
   * The same by the TLB for code, as branches find it: half of a hypercall is to get into code again. Now and then it is looked for all the
   * same, for the sample. 0: it is not known there.
   */
  function locateAgain(st: number): number {
    if (unsampled >= SAMPLE || hasTs(image, st)) return 0;
    const [low, high] = [i32[word(st + ST.rip)]!, i32[word(st + ST.rip) + 1]!];
    const entry = word(i32[word(st + ST.codeTlb)]! + tlbPlace(low) * CODE_TLB_ENTRY.bytes);
    if (i32[entry] !== (low & ~4095) || i32[entry + 1] !== high) return 0;
    const records = i32[entry + word(CODE_TLB_ENTRY.records)]!;
    const record = i32[word(records) + (low & 4095)]!;
    if (record === 0) return 0;
    i32[word(st + ST.codePage)] = low & ~4095;
    i32[word(st + ST.codePage) + 1] = high;
    i32[word(st + ST.records)] = records;
    return record;
  }

  /** The record of the instruction at `rip` of the block, which code goes on from; 0: an exception is set up. */
  function locate(st: number): number {
    const [low, high] = [i32[word(st + ST.rip)]!, i32[word(st + ST.rip) + 1]!];
    const frame = paging.translate(st, low, high, 'fetch');
    if (frame < 0) return 0;
    if (regions === MOST_REGIONS || nextSlot + MOST_TRACES >= TABLE_SLOTS) cache.flush();
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
        paging.protect(st, frame);
      } else follow(st);
    }
    warm(frame, record);
    located = frame;
    const records = cache.codeOf(frame).table;
    const tlb = i32[word(st + ST.tlb)]!;
    if (i32[word(tlb + TLB.generation)] !== generation) forgetCode(tlb);
    i32[word(st + ST.codePage)] = low & ~4095;
    i32[word(st + ST.codePage) + 1] = high;
    i32[word(st + ST.records)] = records;
    const entry = tlb + TLB.code + tlbPlace(low) * CODE_TLB_ENTRY.bytes;
    i32[word(entry)] = low & ~4095;
    i32[word(entry) + 1] = high;
    i32[word(entry + CODE_TLB_ENTRY.records)] = records;
    i32[word(entry + CODE_TLB_ENTRY.page)] = frame;
    usedForCode.add(word(tlb + TLB.usedForCode), tlbPlace(low));
    if (stops?.isPageWithStops(low, high) === true) forgetCodeAt(tlb, tlbPlace(low));
    return record;
  }

  /** `rip` of the block from `record` of it, where that says it. */
  function settle(st: number): void {
    const record = i32[word(st + ST.record)]!;
    if (record === 0) return;
    const page = word(st + ST.codePage);
    // The next one may lie in the next page.
    const low = (i32[page]! >>> 0) + view.getUint16(record + REC.offset, true);
    i32[word(st + ST.rip)] = low;
    i32[word(st + ST.rip) + 1] = i32[page + 1]! + (low >= 2 ** 32 ? 1 : 0);
  }

  /** Of the code from a record on that `locate` has found, how many instructions may be a slice: 0 = it is #NM. */
  function longest(st: number, record: number): number {
    if (record === 0 || !hasTs(image, st)) return SLICE;
    const formOf = (at: number): Form | undefined => cache.formOf(located, at);
    const n = runBeforeFloating(record, formOf, (form) => stepsOf(form) !== undefined);
    i32[word(st + ST.record)] = record;
    if (n === 0) raise(st, VECTOR.NM);
    return n;
  }

  /** See `run`: where code goes on is in the block, and whose TLBs it uses. */
  function runCode(st: number, budget: number): number {
    if (bus !== undefined) {
      i32[word(st + ST.bus)] = bus.owner;
      i32[word(st + ST.announced)] = bus.announced;
      i32[word(st + ST.busSelf)] = bus.self;
    }
    follow(st);
    // Accesses to them from now on come to the MMU.
    if (debug.hasBreakpoints(st))
      for (const [low, high] of debug.watched(st)) paging.invalidate(i32[word(st + ST.tlb)]!, low, high);
    let rest = budget;
    for (;;) {
      const isStepping = steps.isOn(st);
      const isNear = stops?.isNear(st) === true;
      const isSlow = isStepping || isNear;
      i32[word(st + ST.stepping)] = isSlow ? 1 : 0;
      i32[word(st + ST.left)] = rest;
      if (isNear && stops!.before(st)) return EXIT.debug;
      if (isStepping && steps.before(st)) {
        stops?.after(st, EXIT.exception, false);
        return EXIT.exception;
      }
      const record = locateAgain(st) || locate(st);
      const most = longest(st, record);
      const slice = isSlow ? 1 : Math.min(rest, most);
      [given, beyond] = [slice, rest - slice];
      i32[word(st + ST.left)] = slice;
      stops?.begin(isSlow);
      const reason = record === 0 || most === 0 ? EXIT.exception : loop(st, record, slice);
      const done = given - i32[word(st + ST.left)]!;
      rest += given - slice - done;
      unsampled += done;
      i32[word(st + ST.left)] = rest;
      if (record !== 0) settle(st);
      if (reason === EXIT.exception && i32[word(st + ST.vector)] === VECTOR.kept) {
        if (isStepping) steps.undone(st);
        if (stops?.isToRepeat() !== true) return EXIT.kept;
        if (bus?.isHeld() === true) bus.release();
        continue;
      }
      const isToHalt = stops?.after(st, reason, done > 0) === true;
      // It faulted between its two accesses, as another pCPU changed the page tables.
      if (bus?.isHeld() === true) bus.release();
      if (reason === EXIT.exception) {
        if (record !== 0) trapped(st);
        steps.raised(st);
        return reason;
      }
      if (isStepping && steps.after(st, reason, done > 0)) return EXIT.exception;
      if (reason === EXIT.syscall) return reason;
      if (isToHalt) return EXIT.debug;
      // Of a string that is long a part counts as an instruction, so that it ends some day.
      if (reason === EXIT.attend && !isSlow && done === 0) {
        i32[word(st + ST.left)] = --rest;
        if (isToFollow(st)) return EXIT.budget;
      }
      if (rest === 0 || isSingle) return EXIT.budget;
    }
  }

  const tlbsOf = (p: number): readonly number[] => [area.tlbs + 2 * p * TLB_BYTES, area.tlbs + (2 * p + 1) * TLB_BYTES];
  /** That of pCPU p which a VCPU uses now. */
  const tlbOf = (st: number, p: number): number =>
    area.tlbs + (2 * p + (i32[word(st + ST.isUser)] === 0 ? 0 : 1)) * TLB_BYTES;

  function invalidate(address: bigint, p = 0): void {
    const [low, high] = [Number(BigInt.asIntN(32, address)), Number(BigInt.asIntN(32, address >> 32n))];
    for (const tlb of tlbsOf(p)) {
      paging.invalidate(tlb, low, high);
      // Whatever page of that place it is: it costs one look into the tables.
      forgetCodeAt(tlb, tlbPlace(low));
    }
  }

  /** INT1 and INT3 are traps: reported behind the instruction. */
  function trapped(st: number): void {
    const vector = i32[word(st + ST.vector)];
    if (vector !== VECTOR.BP && vector !== VECTOR.DB) return;
    const length = view.getUint8(i32[word(st + ST.record)]! + REC.length);
    view.setBigInt64(st + ST.rip, view.getBigInt64(st + ST.rip, true) + BigInt(length), true);
    if (vector === VECTOR.DB) i32[word(st + ST.left)]!--;
  }

  /** Whether so many words lie in one page, none of them in two: one look at the tables does for all. */
  const isInOnePage = (low: number, count: number): boolean => (low & 4095) + 8 * count <= 4096;

  /** `address` of the block is so many bytes behind this one. */
  function setAddress(st: number, low: number, high: number, bytes: number): void {
    i32[word(st + ST.address)] = low + bytes;
    i32[word(st + ST.address) + 1] = (low >>> 0) + bytes >= 2 ** 32 ? high + 1 : high;
  }

  /** Halves of words of memory, at any image address. */
  function copyOut(at: number, words: Int32Array, first: number, count: number): void {
    for (let n = 0; n < 2 * count; n++) words[first + n] = view.getInt32(at + 4 * n, true);
  }

  function readWords(st: number, low: number, high: number, words: Int32Array, count: number): boolean {
    if (isInOnePage(low, count)) {
      setAddress(st, low, high, 0);
      const page = paging.known(st, low, high, false);
      if (page >= 0) paging.accessed(st, 8 * count, 'read');
      const at = page >= 0 ? page + (low & 4095) : paging.load(st, 8 * count, false);
      if (at >= 0) copyOut(at, words, 0, count);
      return at >= 0;
    }
    for (let n = 0; n < count; n++) {
      setAddress(st, low, high, 8 * n);
      const at = paging.load(st, 8, false);
      if (at < 0) return false;
      copyOut(at, words, 2 * n, 1);
    }
    return true;
  }

  function writeWords(st: number, low: number, high: number, words: Int32Array, count: number): boolean {
    if (isInOnePage(low, count)) {
      setAddress(st, low, high, 0);
      const known = paging.known(st, low, high, true);
      const page = known >= 0 ? known : paging.translate(st, low, high, 'write');
      if (page < 0) return false;
      paging.accessed(st, 8 * count, 'write');
      const at = page + (low & 4095);
      for (let n = 0; n < 2 * count; n++) view.setInt32(at + 4 * n, words[n]!, true);
      writtenTo(page);
      return true;
    }
    for (let n = 0; n < count; n++) {
      setAddress(st, low, high, 8 * n);
      i32[word(st + ST.value)] = words[2 * n]!;
      i32[word(st + ST.value) + 1] = words[2 * n + 1]!;
      if (paging.store(st, 8) < 0) return false;
    }
    return true;
  }

  /** The TLB that this core uses. */
  let inUse = 0;

  /** Does something by a TLB. */
  function using<T>(tlb: number, act: () => T): T {
    if (bus === undefined || inUse === tlb) return act();
    // Before a look at whose the TLB is: who takes it away from v looks at this afterwards, so one of the two sees the other.
    Atomics.add(i32, word(tlb + TLB.runs), 1);
    inUse = tlb;
    const result = act();
    inUse = 0;
    Atomics.add(i32, word(tlb + TLB.runs), 1);
    return result;
  }

  function run(st: number, budget: number, v = 0, p = 0): number {
    const tlb = tlbOf(st, p);
    if (bus === undefined) {
      occupy(st, tlb, v);
      return runCode(st, budget);
    }
    const reason = using(tlb, () => {
      occupy(st, tlb, v);
      return runCode(st, budget);
    });
    // Code that was decoded meanwhile may have been written meanwhile, which the addition has made seen; this pCPU may not run again for long.
    follow(st);
    return reason;
  }

  return {
    mmu: paging,
    segments: segment,
    run,
    runRedirected(st, v, p, page, to) {
      const [low, high] = [Number(BigInt.asIntN(32, page)), Number(BigInt.asIntN(32, page >> 32n))];
      const tlb = tlbOf(st, p);
      const reason = using(tlb, () => {
        occupy(st, tlb, v);
        paging.invalidate(tlb, low, high);
        paging.redirect(low, high, to);
        [redirectedTo, isSingle] = [to, true];
        const came = runCode(st, 1);
        [redirectedTo, isSingle] = [0, false];
        paging.redirect(0, 0, 0);
        return came;
      });
      if (bus !== undefined) follow(st);
      return reason;
    },
    touching: (st, act) => using(i32[word(st + ST.tlb)]!, act),
    read(st, v, p, low, high, words, count) {
      const tlb = tlbOf(st, p);
      return using(tlb, () => {
        occupy(st, tlb, v);
        return readWords(st, low, high, words, count);
      });
    },
    write(st, v, p, low, high, words, count) {
      const tlb = tlbOf(st, p);
      return using(tlb, () => {
        occupy(st, tlb, v);
        return writeWords(st, low, high, words, count);
      });
    },
    beginsWith(st, v, p, bytes) {
      const tlb = tlbOf(st, p);
      return using(tlb, () => {
        const low = i32[word(st + ST.rip)]!;
        const entry = word(tlb + TLB.code + tlbPlace(low) * CODE_TLB_ENTRY.bytes);
        const isKnown =
          Atomics.load(i32, word(tlb + TLB.vcpu)) === v + 1 &&
          i32[word(tlb + TLB.worker)] === area.self + 1 &&
          i32[entry] === (low & ~4095) &&
          i32[entry + 1] === i32[word(st + ST.rip) + 1] &&
          (low & 4095) + bytes.length <= 4096;
        if (!isKnown) return undefined;
        const at = i32[entry + word(CODE_TLB_ENTRY.page)]! + (low & 4095);
        for (let n = 0; n < bytes.length; n++) if (image.u8[at + n] !== bytes[n]) return false;
        return true;
      });
    },
    use(st, v, p) {
      const tlb = tlbOf(st, p);
      using(tlb, () => occupy(st, tlb, v));
    },
    isShadowed: (st) => i32[word(st + ST.shadow)] !== 0,
    setDebugRegister: debug.set,
    debugRegister: debug.get,
    codeChanged: written,
    flush(p = 0) {
      for (const tlb of tlbsOf(p)) Atomics.store(i32, word(tlb + TLB.vcpu), 0);
    },
    invalidate,
    forget(v, p, isUser) {
      const at = word(tlbsOf(p)[isUser ? 1 : 0]! + TLB.vcpu);
      if (Atomics.load(i32, at) === v + 1) Atomics.store(i32, at, 0);
    },
    shootDown(v, page, p, waiting) {
      for (const tlb of tlbsOf(p)) {
        if (Atomics.load(i32, word(tlb + TLB.vcpu)) !== v + 1) continue;
        // Nobody else is at it, so there is no need to forget them all.
        if (bus === undefined && page !== undefined) {
          invalidate(page, p);
          return;
        }
        Atomics.store(i32, word(tlb + TLB.vcpu), 0);
        const runs = Atomics.load(i32, word(tlb + TLB.runs));
        // One that is in use here is so by who asks.
        if ((runs & 1) !== 0 && tlb !== inUse) outwait(i32, word(tlb + TLB.runs), runs, waiting);
      }
    },
  };
}
