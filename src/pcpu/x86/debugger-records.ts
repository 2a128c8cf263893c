/**
 * What a debugger outside and the workers say to each other about a domain's VCPUs: in the image, whose main thread writes while the VCPUs
 * are halted. A VCPU that comes to a stop says so here, and its worker waits, in the midst of the turn, until it may go on: so nothing of
 * it is seen by the guest, nor by the order of turns.
 */
import { type Image, type Region, rawRegion } from '../../shared/image.js';

/** Stops at most that there are at a time. */
export const MOST_STOPS = 1024;
const HEADER_BYTES = 64;
const STOP = { address: 0, bytes: 8, kind: 12, size: 16 } as const;
const OF_VCPU = { step: 0, hit: 4, address: 8, size: 16 } as const;
const OF_WORKER_BYTES = 64;

/** What a stop is for. */
export const STOP_FOR = { execution: 0, write: 1, read: 2, access: 3 } as const;
export type StopFor = (typeof STOP_FOR)[keyof typeof STOP_FOR];

/** Why a VCPU was halted. */
export const HIT = { none: 0, breakpoint: 1, data: 2, step: 3, crash: 4 } as const;

/** Of a VCPU: whether it is to stop behind its next instruction, or before the one that comes now. */
export const STEP = { none: 0, wanted: 1, done: 2 } as const;

export interface DebugStop {
  /** The first byte, a virtual address. */
  readonly address: bigint;
  /** Of data: how many. */
  readonly bytes: number;
  readonly purpose: StopFor;
}

export const debuggerRegions = (vcpus: number, workers: number): Region[] => [
  // Owner: the main thread, but for the words of Atomics.
  rawRegion('x86-debugger', HEADER_BYTES + MOST_STOPS * STOP.size, 1),
  // Owner: who runs the VCPU; while it is halted the main thread.
  rawRegion('x86-debugger-vcpu', OF_VCPU.size, vcpus),
  // Atomics. Whether the worker is at work on a VCPU in its own name.
  rawRegion('x86-debugger-worker', OF_WORKER_BYTES, workers),
];

export interface DebuggerRecords {
  /** Words of the image, for Atomics: whether VCPUs are halted; how many hits there were; the version of the list of stops. */
  readonly HALTED: number;
  readonly HITS: number;
  readonly VERSION: number;
  /** The same: whether worker w is at work. */
  readonly atWork: (w: number) => number;
  /** Whether the machine may have a debugger at all: said before workers start. */
  isOn: boolean;
  /** Whether somebody is there, who wants to see a crash. */
  isAttached: boolean;
  /** The domain whose VCPUs are debugged, by its record; it may be yet to be built. */
  domain: number;
  /** The VCPU that was halted last, and why; of a crash the exception's vector in the place of the address. */
  hit: { readonly vcpu: number; readonly why: number; readonly address: bigint };
  stops: readonly DebugStop[];
  step(v: number): number;
  setStep(v: number, step: number): void;
  /** Data that VCPU v accessed, where a stop was for that: the address; undefined = none. */
  dataHit(v: number): bigint | undefined;
  setDataHit(v: number, address: bigint | undefined): void;
}

export function debuggerRecords(image: Image): DebuggerRecords {
  const { i32 } = image;
  const view = new DataView(image.buffer);
  const base = image.region('x86-debugger').base;
  const vcpuBase = image.region('x86-debugger-vcpu').base;
  const workerBase = image.region('x86-debugger-worker').base;
  const word = (n: number): number => (base >> 2) + n;
  const [ON, ATTACHED, DOMAIN] = [word(0), word(1), word(2)];
  const [HIT_VCPU, HIT_WHY, NUMBER, HIT_ADDRESS] = [word(4), word(5), word(6), base + 32];
  const VERSION = word(12);
  const of = (v: number): number => vcpuBase + v * OF_VCPU.size;

  return {
    HALTED: word(10),
    HITS: word(11),
    VERSION,
    atWork: (w) => (workerBase + w * OF_WORKER_BYTES) >> 2,
    get isOn() {
      return i32[ON] !== 0;
    },
    set isOn(is) {
      i32[ON] = is ? 1 : 0;
    },
    get isAttached() {
      return Atomics.load(i32, ATTACHED) !== 0;
    },
    set isAttached(is) {
      Atomics.store(i32, ATTACHED, is ? 1 : 0);
    },
    get domain() {
      return i32[DOMAIN]!;
    },
    set domain(d) {
      i32[DOMAIN] = d;
    },
    get hit(): DebuggerRecords['hit'] {
      return { vcpu: i32[HIT_VCPU]!, why: i32[HIT_WHY]!, address: view.getBigUint64(HIT_ADDRESS, true) };
    },
    set hit({ vcpu, why, address }) {
      i32[HIT_VCPU] = vcpu;
      i32[HIT_WHY] = why;
      view.setBigUint64(HIT_ADDRESS, address, true);
    },
    get stops(): readonly DebugStop[] {
      return Array.from({ length: i32[NUMBER]! }, (_, n) => {
        const at = base + HEADER_BYTES + n * STOP.size;
        return {
          address: view.getBigUint64(at + STOP.address, true),
          bytes: view.getUint32(at + STOP.bytes, true),
          purpose: view.getInt32(at + STOP.kind, true) as StopFor,
        };
      });
    },
    set stops(all) {
      if (all.length > MOST_STOPS) throw new RangeError(`more than ${MOST_STOPS} stops`);
      for (const [n, { address, bytes, purpose }] of all.entries()) {
        const at = base + HEADER_BYTES + n * STOP.size;
        view.setBigUint64(at + STOP.address, address, true);
        view.setUint32(at + STOP.bytes, bytes, true);
        view.setInt32(at + STOP.kind, purpose, true);
      }
      i32[NUMBER] = all.length;
      Atomics.add(i32, VERSION, 1);
    },
    step: (v) => view.getInt32(of(v) + OF_VCPU.step, true),
    setStep: (v, step) => view.setInt32(of(v) + OF_VCPU.step, step, true),
    dataHit: (v) =>
      view.getInt32(of(v) + OF_VCPU.hit, true) === 0 ? undefined : view.getBigUint64(of(v) + OF_VCPU.address, true),
    setDataHit(v, address) {
      view.setInt32(of(v) + OF_VCPU.hit, address === undefined ? 0 : 1, true);
      view.setBigUint64(of(v) + OF_VCPU.address, address ?? 0n, true);
    },
  };
}
