/**
 * Where a debugger outside (src/gdb) has VCPUs stop, as a worker's core sees it. Code in a page with a breakpoint is run one instruction at
 * a time, and never found by the TLB for code, so that whoever comes there is seen; other pages are as fast as ever. Data that is watched is
 * in no TLB: who touches its page in passing has not done so, and does it again as one instruction by itself.
 *
 * Nothing of this is the guest's: its own breakpoints and single steps are those of debug-registers.ts and stepping.ts.
 */
import { VCPU } from '../../hv/records.js';
import type { Image } from '../../shared/image.js';
import type { Executor } from '../turn.js';
import { type DebugStop, debuggerRecords, HIT, STEP, STOP_FOR } from './debugger-records.js';
import type { Access, Watch } from './mmu.js';
import { EXIT, ST, STATE_BYTES } from './state.js';

/** Between two looks at whether the machine was ended, host ms. */
const LOOK_MS = 200;
const PAGE = 4096;

export interface DebugStops {
  /** Whether the instruction at `rip` of the block is to be run by itself. */
  isNear(st: number): boolean;
  /** Whether it is not to be run: the VCPU is to be halted. */
  before(st: number): boolean;
  /** Code is about to be run. @param isSlow whether it is one instruction */
  begin(isSlow: boolean): void;
  /** It was run. @param isDone whether the instruction was, or else an element of it @returns whether the VCPU is to be halted */
  after(st: number, reason: number, isDone: boolean): boolean;
  /** It was to touch memory that is not to be touched so: whether that was ours, and it is to be run again by itself. */
  isToRepeat(): boolean;
  /** Whether code of a page is to be looked for each time. */
  isPageWithStops(low: number, high: number): boolean;
  /** Breakpoints for data besides those of the guest's own. */
  watching(own: Watch): Watch;
  /** Says why VCPU v is to be halted, unless another one has been, and returns when it may go on. @param waiting called now and then */
  halt(v: number, waiting: () => void): void;
  /** The same of one that is about to be ended by an exception. */
  crashed(v: number, vector: number, waiting: () => void): void;
  /** Whoever runs VCPUs waits while they are halted, and says when it is at work. */
  guard(executor: Executor, waiting: () => void): void;
}

/** A page by a number, which is exact. */
const pageNumber = (low: number, high: number): number => (high >>> 0) * 0x100000 + (low >>> 12);

/** @param blocks image address of VCPU 0's block @returns undefined where there can be no debugger */
export function debugStops(image: Image, self: number, blocks: number): DebugStops | undefined {
  const { i32 } = image;
  const records = debuggerRecords(image);
  if (!records.isOn) return undefined;
  const { HALTED, HITS, VERSION } = records;
  const AT_WORK = records.atWork(self);
  const view = new DataView(image.buffer);
  const word = (address: number): number => address >> 2;

  /** The list as it was read last: places of breakpoints in their pages; data. */
  let seen = -1;
  const places = new Map<number, Set<number>>();
  let data: readonly DebugStop[] = [];
  const dataPages = new Set<number>();
  const domainOf = image.table(VCPU).domain;

  function readList(): void {
    const version = Atomics.load(i32, VERSION);
    if (version === seen) return;
    seen = version;
    places.clear();
    dataPages.clear();
    const { stops } = records;
    data = stops.filter(({ purpose }) => purpose !== STOP_FOR.execution);
    for (const { address, purpose } of stops) {
      if (purpose !== STOP_FOR.execution) continue;
      const page = Number(address >> 12n);
      const offsets = places.get(page) ?? new Set();
      places.set(page, offsets.add(Number(address & 4095n)));
    }
    for (const { address, bytes } of data) {
      const last = Number((address + BigInt(bytes - 1)) >> 12n);
      for (let page = Number(address >> 12n); page <= last; page++) dataPages.add(page);
    }
  }

  const vcpuOf = (st: number): number => (st - blocks) / STATE_BYTES;
  const isDebugged = (v: number): boolean => domainOf(v) === records.domain;
  const isHalted = (): boolean => Atomics.load(i32, HALTED) !== 0;

  /** Of the code that runs: whether it is one instruction by itself, as none does now. */
  let mode: 'none' | 'fast' | 'slow' = 'none';
  /** The next instruction has been begun and is to be done by itself; the last one was an element of a string, and the next is one. */
  let [isRepeated, isElement] = [false, false];

  function isAtBreakpoint(st: number): boolean {
    const [low, high] = [i32[word(st + ST.rip)]!, i32[word(st + ST.rip) + 1]!];
    return places.get(pageNumber(low, high))?.has(low & (PAGE - 1)) === true;
  }

  function whyHalted(v: number): { readonly why: number; readonly address: bigint } {
    const st = blocks + v * STATE_BYTES;
    const dataHit = records.dataHit(v);
    if (dataHit !== undefined) return { why: HIT.data, address: dataHit };
    const address = view.getBigUint64(st + ST.rip, true);
    if (records.step(v) === STEP.done) return { why: HIT.step, address };
    return { why: isAtBreakpoint(st) ? HIT.breakpoint : HIT.none, address };
  }

  function awaitGo(waiting: () => void): void {
    const wasAtWork = Atomics.exchange(i32, AT_WORK, 0);
    while (isHalted()) {
      waiting();
      Atomics.wait(i32, HALTED, 1, LOOK_MS);
    }
    Atomics.store(i32, AT_WORK, wasAtWork);
  }

  function report(vcpu: number, why: number, address: bigint): void {
    // Another one's may have come first: this one has its reason again when it goes on.
    if (Atomics.compareExchange(i32, HALTED, 0, 1) !== 0) return;
    records.hit = { vcpu, why, address };
    Atomics.add(i32, HITS, 1);
    Atomics.notify(i32, HITS);
  }

  return {
    isNear(st) {
      readList();
      const v = vcpuOf(st);
      if (!isDebugged(v)) return false;
      if (isHalted() || isRepeated || records.step(v) !== STEP.none || records.dataHit(v) !== undefined) return true;
      return places.size > 0 && places.has(pageNumber(i32[word(st + ST.rip)]!, i32[word(st + ST.rip) + 1]!));
    },
    before(st) {
      const v = vcpuOf(st);
      const wasElement = isElement;
      isElement = false;
      if (isHalted() || records.step(v) === STEP.done || records.dataHit(v) !== undefined) return true;
      // A step goes on from a breakpoint.
      return !isRepeated && !wasElement && records.step(v) === STEP.none && isAtBreakpoint(st);
    },
    begin(isSlow) {
      mode = isSlow ? 'slow' : 'fast';
    },
    after(st, reason, isDone) {
      mode = 'none';
      isRepeated = false;
      const v = vcpuOf(st);
      if (!isDebugged(v)) return false;
      const isFault = reason === EXIT.exception;
      if (isFault) records.setDataHit(v, undefined);
      isElement = reason === EXIT.attend && !isDone;
      if (records.step(v) === STEP.wanted && (isDone || isElement || isFault)) records.setStep(v, STEP.done);
      return records.step(v) === STEP.done || records.dataHit(v) !== undefined;
    },
    isToRepeat() {
      isRepeated &&= mode === 'fast';
      mode = 'none';
      return isRepeated;
    },
    isPageWithStops: (low, high) => places.has(pageNumber(low, high)),
    watching: (own) => ({
      isWatched(st, low, high) {
        const isOurs = dataPages.size > 0 && dataPages.has(pageNumber(low, high)) && isDebugged(vcpuOf(st));
        return isOurs || own.isWatched(st, low, high);
      },
      isTooFast(st, low, high) {
        if (mode !== 'fast' || dataPages.size === 0) return false;
        if (!dataPages.has(pageNumber(low, high)) || !isDebugged(vcpuOf(st))) return false;
        isRepeated = true;
        return true;
      },
      accessed(st, size, access: Access) {
        own.accessed(st, size, access);
        if (mode !== 'slow' || data.length === 0 || !isDebugged(vcpuOf(st))) return;
        const from = view.getBigUint64(st + ST.address, true);
        const unseen = access === 'read' ? STOP_FOR.write : STOP_FOR.read;
        const hit = data.find(
          ({ address, bytes, purpose }) =>
            purpose !== unseen && address < from + BigInt(size) && from < address + BigInt(bytes),
        );
        if (hit !== undefined && records.dataHit(vcpuOf(st)) === undefined)
          records.setDataHit(vcpuOf(st), from > hit.address ? from : hit.address);
      },
    }),
    halt(v, waiting) {
      const { why, address } = whyHalted(v);
      // An element may be one of another string when it goes on.
      isElement = false;
      if (why !== HIT.none) report(v, why, address);
      awaitGo(waiting);
    },
    crashed(v, vector, waiting) {
      readList();
      if (!isDebugged(v) || !records.isAttached) return;
      report(v, HIT.crash, BigInt(vector));
      awaitGo(waiting);
    },
    guard(executor, waiting) {
      const { run, upcall } = executor;
      const guarded = (act: (v: number, p: number) => void) => (v: number, p: number) => {
        // Said first, or who halts the others would take this one for halted.
        for (Atomics.store(i32, AT_WORK, 1); isHalted(); ) awaitGo(waiting);
        act(v, p);
        Atomics.store(i32, AT_WORK, 0);
      };
      executor.run = guarded(run);
      executor.upcall = guarded(upcall);
    },
  };
}
