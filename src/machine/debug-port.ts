/**
 * What a debugger outside can do to the VCPUs of the first guest, one of machine code: halt them, look at them and change them, let them go
 * on. They are halted in two ways. Who comes to a stop is so in the midst of its turn, at its instruction, while its worker waits; whoever
 * interrupts them pauses the machine, between two turns. Neither is anything that the guest, or the order of turns, could see.
 *
 * In free mode other VCPUs go on for a moment after one has come to a stop. It is told when they, too, are halted.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { mfnOf, PTE } from '../hv/mm/records.js';
import { walk } from '../hv/mm/walk.js';
import { VPF_domain_paused, VPF_down, VPF_paused } from '../hv/records.js';
import { sharedCode } from '../pcpu/x86/code-cache.js';
import {
  type DebuggerRecords,
  type DebugStop,
  debuggerRecords,
  HIT,
  MOST_STOPS,
  STEP,
  STOP_FOR,
} from '../pcpu/x86/debugger-records.js';
import { ST, STATE_BYTES, TLB, TLB_BYTES } from '../pcpu/x86/state.js';
import { PAGE_SIZE } from '../shared/image.js';
import { SHUTDOWN_crash } from '../shared/public/sched.js';
import { RUNSTATE_blocked, RUNSTATE_runnable, RUNSTATE_running } from '../shared/public/vcpu.js';
import type { BuiltMachine } from './build.js';
import { domainNumber, type MachineConfig } from './config.js';

export { type DebugStop, MOST_STOPS, STOP_FOR } from '../pcpu/x86/debugger-records.js';

/** Between two looks at whether all VCPUs are halted, or the machine is well, host ms. */
const LOOK_MS = 1;
const WELL_MS = 200;

/** Why VCPUs were halted: by their stops, or from outside. */
export type Halt =
  | { readonly why: 'breakpoint' | 'step'; readonly vcpu: number }
  /** Where it was accessed. */
  | { readonly why: 'data'; readonly vcpu: number; readonly address: bigint }
  /** By an exception that its kernel does not handle: the domain ends when it goes on. */
  | { readonly why: 'crash'; readonly vcpu: number; readonly vector: number }
  | { readonly why: 'interrupt' };

/** The machine as far as it is driven from here. */
export interface DebuggedRun {
  pause(): Promise<unknown>;
  resume(): Promise<unknown>;
  isFinished(): boolean;
}

export class DebugPort {
  /** Called when the VCPUs are halted, which had been running. */
  onHalt: (halt: Halt) => void = () => {};
  readonly #built: BuiltMachine;
  readonly #run: DebuggedRun;
  readonly #records: DebuggerRecords;
  readonly #domain: number;
  readonly #view: DataView;
  #state: 'running' | 'in turn' | 'paused' = 'running';
  /** Somebody wants the machine paused; and it is about to be, perhaps because somebody wanted it. */
  #isInterrupted = false;
  #pausing: Promise<void> | undefined;
  #halted: Halt = { why: 'interrupt' };
  /** Hits that have been told of. */
  #seen = 0;
  #isWatching = false;
  /** Where VCPU 0 begins; and the stop there, until it is reached. */
  readonly #entry: bigint;
  #start: DebugStop | undefined;

  constructor(built: BuiltMachine, config: MachineConfig, run: DebuggedRun) {
    if (config.hasDebugger !== true || built.shape.x86.vcpus === 0)
      throw new RangeError('the machine was not made for a debugger');
    this.#built = built;
    this.#run = run;
    this.#records = debuggerRecords(built.image);
    const first = config.guests.findIndex(({ kernel }) => kernel !== undefined);
    this.#domain = domainNumber(config.guests, first);
    this.#view = new DataView(built.image.buffer);
    this.#records.domain = this.#domain;
    this.#records.stops = [];
    this.#entry = config.guests[first]!.kernel!.image.entry;
  }

  get isRunning(): boolean {
    return this.#state === 'running';
  }

  /** Whether it is halted, or about to be, where its VCPU 0 begins. */
  get isStarting(): boolean {
    return this.#start !== undefined;
  }

  /** Halts them before their first instruction: at once, or when the domain has been built. */
  haltAtStart(): void {
    if (this.vcpus().length > 0) {
      this.interrupt();
      return;
    }
    this.#start = { address: this.#entry, bytes: 1, purpose: STOP_FOR.execution };
    this.#records.isAttached = true;
    this.addStop(this.#start);
    this.#watch();
  }

  /** Simulation time, ns; before 0 it boots. */
  get timeNs(): number {
    const { floors, shape } = this.#built.core.hv.context;
    return Math.min(...Array.from({ length: shape.runners }, (_, w) => floors.floor(w)));
  }

  /** VCPUs that have registers. */
  vcpus(): number[] {
    const { domain } = this.#built.core.hv.context;
    const all = Array.from({ length: domain.maxVcpus(this.#domain) }, (_, k) => k);
    return all.filter((k) => this.#view.getInt32(this.block(k) + ST.isPresent, true) !== 0);
  }

  /** `d1v0 running` */
  nameOf(k: number): string {
    const { domain, vcpu } = this.#built.core.hv.context;
    const v = domain.firstVcpu(this.#domain) + k;
    const flags = vcpu.pauseFlags(v);
    const states = {
      [RUNSTATE_running]: 'running',
      [RUNSTATE_runnable]: 'runnable',
      [RUNSTATE_blocked]: 'blocked',
    } as Readonly<Record<number, string>>;
    const isPaused = (flags & (VPF_paused | VPF_domain_paused)) !== 0;
    const state = (flags & VPF_down) !== 0 ? 'down' : isPaused ? 'paused' : states[vcpu.runstate(v)];
    return `d${domain.id(this.#domain)}v${k} ${state ?? 'offline'}`;
  }

  /** Image address of VCPU k's block (state.ts). */
  block(k: number): number {
    const { domain } = this.#built.core.hv.context;
    return this.#built.image.region('x86-vcpu').base + (domain.firstVcpu(this.#domain) + k) * STATE_BYTES;
  }

  /** The image, as a view. Registers of VCPUs that are halted may be changed. */
  get view(): DataView {
    return this.#view;
  }

  /** Bytes of VCPU k's memory from a virtual address on, as many as there are of so many. */
  read(k: number, address: bigint, bytes: number): Uint8Array {
    const data = new Uint8Array(bytes);
    let done = 0;
    for (const [at, length] of this.#pieces(k, address, bytes)) {
      data.set(this.#built.image.u8.subarray(at, at + length), done);
      done += length;
    }
    return data.subarray(0, done);
  }

  /** Writes all of it, whatever its page tables allow, or nothing: false. */
  write(k: number, address: bigint, data: Uint8Array): boolean {
    const { image } = this.#built;
    const pieces = this.#pieces(k, address, data.length);
    if (pieces.reduce((sum, [, length]) => sum + length, 0) < data.length) return false;
    const frames = image.region('frames').base;
    const code = sharedCode(image, image.region('x86-code-frames').base, frames);
    let done = 0;
    for (const [at, length] of pieces) {
      image.u8.set(data.subarray(done, done + length), at);
      done += length;
      const frame = at & ~(PAGE_SIZE - 1);
      if (code.hasCodeNow(frame)) code.written(frame);
    }
    return true;
  }

  /** Where so many bytes lie in the image, page by page, up to the first that is not there. */
  #pieces(k: number, address: bigint, bytes: number): (readonly [at: number, length: number])[] {
    const { image } = this.#built;
    const frames = image.region('frames');
    const { domain, vcpu } = this.#built.core.hv.context;
    const v = domain.firstVcpu(this.#domain) + k;
    const isUser = this.#view.getInt32(this.block(k) + ST.isUser, true) !== 0;
    const root = isUser ? vcpu.guestTableUser(v) : vcpu.guestTable(v);
    const half = (x: bigint): number => Number(BigInt.asIntN(32, x));
    const pieces: (readonly [number, number])[] = [];
    for (let done = 0; done < bytes; ) {
      const here = address + BigInt(done);
      const offset = Number(here & BigInt(PAGE_SIZE - 1));
      const entry = walk(image, frames, root, half(here), half(here >> 32n));
      if (entry === undefined || (entry.lo & PTE.present) === 0) break;
      const page = frames.base + mfnOf(entry.lo, entry.hi) * PAGE_SIZE;
      const length = Math.min(bytes - done, PAGE_SIZE - offset);
      pieces.push([page + offset, length]);
      done += length;
    }
    return pieces;
  }

  /** False: there is no room for more. */
  addStop(stop: DebugStop): boolean {
    const { stops } = this.#records;
    if (stops.length >= MOST_STOPS) return false;
    this.#records.stops = [...stops, stop];
    return true;
  }

  /** False: there is none. */
  removeStop(stop: DebugStop): boolean {
    const { stops } = this.#records;
    const n = stops.findIndex(
      (s) => s.address === stop.address && s.bytes === stop.bytes && s.purpose === stop.purpose,
    );
    if (n < 0) return false;
    this.#records.stops = stops.toSpliced(n, 1);
    return true;
  }

  /** Somebody is there: a VCPU is halted before it ends its domain. */
  attach(): void {
    this.#records.isAttached = true;
  }

  /** Nothing halts them any more, and they go on. */
  async detach(): Promise<void> {
    this.#records.isAttached = false;
    this.#records.stops = [];
    this.#start = undefined;
    this.#isInterrupted = false;
    if (this.#state === 'running') this.#clearSteps();
    else await this.resume();
  }

  /** Halts them wherever they are; `onHalt` says when. */
  interrupt(): void {
    if (this.#state !== 'running') return;
    this.#isInterrupted = true;
    this.#pausing ??= this.#pause();
    // A machine that failed says so by itself.
    this.#pausing.catch(() => undefined);
  }

  async #pause(): Promise<void> {
    try {
      await this.#run.pause();
    } finally {
      this.#pausing = undefined;
    }
    if (this.#run.isFinished()) return;
    // One that came to a stop before has told of it, and they have gone on since.
    if (!this.#isInterrupted) {
      await this.#run.resume();
      return;
    }
    this.#halt('paused', { why: 'interrupt' });
  }

  #halt(state: 'in turn' | 'paused', why: Halt): void {
    const halt: Halt = this.#start === undefined ? why : { why: 'interrupt' };
    if (this.#start !== undefined) this.removeStop(this.#start);
    this.#start = undefined;
    this.#state = state;
    this.#isInterrupted = false;
    this.#halted = halt;
    // It came to a stop while the last that there was went away.
    if (state === 'in turn' && !this.#records.isAttached) void this.resume();
    else this.onHalt(halt);
  }

  /** Lets them go on. @param steps VCPUs that are to stop behind their next instruction */
  async resume(steps: readonly number[] = []): Promise<void> {
    const { image } = this.#built;
    const was = this.#state;
    if (was === 'running') return;
    const { firstVcpu } = this.#built.core.hv.context.domain;
    const first = firstVcpu(this.#domain);
    this.#clearSteps();
    if (this.#halted.why === 'data') this.#records.setDataHit(first + this.#halted.vcpu, undefined);
    for (const k of steps) this.#records.setStep(first + k, STEP.wanted);
    // Page tables may have been written, and stops are others.
    const tlbs = image.region('x86-tlb');
    for (let p = 0; p < tlbs.count; p++) Atomics.store(image.i32, (tlbs.base + p * TLB_BYTES + TLB.vcpu) >> 2, 0);
    this.#state = 'running';
    this.#watch();
    if (was === 'paused') await this.#run.resume();
    else {
      Atomics.store(image.i32, this.#records.HALTED, 0);
      Atomics.notify(image.i32, this.#records.HALTED);
    }
  }

  #clearSteps(): void {
    const { domain } = this.#built.core.hv.context;
    const first = domain.firstVcpu(this.#domain);
    for (let k = 0; k < domain.maxVcpus(this.#domain); k++) this.#records.setStep(first + k, STEP.none);
  }

  /** Waits for VCPUs that come to stops, until one has. */
  #watch(): void {
    if (this.#isWatching) return;
    this.#isWatching = true;
    const { i32 } = this.#built.image;
    const { HITS } = this.#records;
    const look = async (): Promise<void> => {
      while (Atomics.load(i32, HITS) === this.#seen) {
        if (this.#run.isFinished()) return;
        const { async: isWaiting, value } = Atomics.waitAsync(i32, HITS, this.#seen, WELL_MS);
        if (isWaiting) await value;
      }
      this.#seen = Atomics.load(i32, HITS);
      for (let w = 0; w < this.#built.shape.workers; w++)
        while (Atomics.load(i32, this.#records.atWork(w)) !== 0 && !this.#run.isFinished()) await delay(LOOK_MS);
      if (!this.#run.isFinished()) this.#halt('in turn', this.#lastHit());
    };
    void look().finally(() => {
      this.#isWatching = false;
    });
  }

  #lastHit(): Halt {
    const { vcpu: v, why, address } = this.#records.hit;
    const vcpu = v - this.#built.core.hv.context.domain.firstVcpu(this.#domain);
    if (why === HIT.data) return { why: 'data', vcpu, address };
    if (why === HIT.crash) return { why: 'crash', vcpu, vector: Number(address) };
    return { why: why === HIT.step ? 'step' : 'breakpoint', vcpu };
  }

  /** How the domain ended; undefined: it did not. */
  end(): { readonly code: number; readonly isCrash: boolean } | undefined {
    const { domain } = this.#built.core.hv.context;
    if (domain.isShutDown(this.#domain) === 0) return undefined;
    const code = domain.shutdownCode(this.#domain);
    return { code, isCrash: code === SHUTDOWN_crash };
  }
}
