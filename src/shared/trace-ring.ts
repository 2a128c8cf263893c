/**
 * The interaction stream: every pCPU's last records in a ring of the image (read after a fault, or by a trace exporter),
 * and one hash over all of them in (time, pCPU) order. The hash is always computed; the rings are optional.
 */
import { type Image, type Region, rawRegion } from './image.js';

/** Records a pCPU's ring keeps; a power of two. */
export const TRACE_RECORDS = 1024;
/** time lo, time hi, event, a, b, one spare; even, to stay aligned. */
const RECORD_WORDS = 6;

/** Kinds of interaction. The numbers enter the hash. */
export const TRACE = {
  turn: 1,
  runstate: 2,
  switch: 3,
  wake: 4,
  timer: 5,
  hypercall: 6,
  upcall: 7,
  tickle: 8,
  steal: 9,
  migrate: 10,
  accounting: 11,
  send: 12,
  domain: 13,
  park: 14,
  control: 15,
  cpupool: 16,
} as const;
export type TraceKind = (typeof TRACE)[keyof typeof TRACE];

const NAMES: Readonly<Record<number, string>> = Object.fromEntries(Object.entries(TRACE).map(([k, v]) => [v, k]));

/** @param runners how many take turns at the same time: 1 in ordered mode */
export const traceRegions = (pcpus: number, runners: number): Region[] => [
  rawRegion('trace-rings', TRACE_RECORDS * RECORD_WORDS * 4, pcpus),
  rawRegion('trace-heads', 64, pcpus),
  rawRegion('trace-hash', 64, runners),
];

export interface Tracer {
  /** Opens the turn of `pcpu` at `ns`; later records belong to it. */
  turn(pcpu: number, ns: number): void;
  record(kind: TraceKind, a: number, b: number): void;
  /** Keeps a record that is no part of the machine's own history, such as a command from outside: not hashed. */
  note(kind: TraceKind, a: number, b: number): void;
}

export interface TraceBases {
  readonly rings: number;
  readonly heads: number;
  readonly hash: number;
}

export interface TracerOptions {
  /** Whether records go to the rings as well. */
  readonly keep: boolean;
  /** Ordered mode: there is one order to hash. */
  readonly ordered: boolean;
  /** Number of this runner: whose turn it is, and when, stands in a place of its own. */
  readonly me: number;
}

/**
 * Two 32-bit lanes of multiply-and-rotate, independent of each other so that they overlap in the processor; only the
 * holder of the turn writes them. In free mode there is no one order, and so no hash.
 */
export function tracer(i32: Int32Array, bases: TraceBases, { keep, ordered, me }: TracerOptions): Tracer {
  const hash = (bases.hash >> 2) + me * 16;
  const rings = bases.rings >> 2;
  const heads = bases.heads >> 2;
  const PCPU = hash + 2;
  const TIME_LO = hash + 3;
  const TIME_HI = hash + 4;

  function mix(a: number, b: number): void {
    const x = i32[hash]! ^ a;
    const y = i32[hash + 1]! ^ b;
    i32[hash] = Math.imul((x << 13) | (x >>> 19), 0x9e3779b1) + b;
    i32[hash + 1] = Math.imul((y << 15) | (y >>> 17), 0x85ebca77) + a;
  }

  function keepRecord(kind: number, a: number, b: number): void {
    const pcpu = i32[PCPU]!;
    const head = (heads + (pcpu << 4)) | 0;
    const n = i32[head]!;
    const w = (rings + Math.imul(Math.imul(pcpu, TRACE_RECORDS) + (n & (TRACE_RECORDS - 1)), RECORD_WORDS)) | 0;
    i32[w] = i32[TIME_LO]!;
    i32[w + 1] = i32[TIME_HI]!;
    i32[w + 2] = kind;
    i32[w + 3] = a;
    i32[w + 4] = b;
    i32[head] = (n + 1) | 0;
  }

  return {
    turn(pcpu, ns) {
      if (!ordered && !keep) return;
      const hi = Math.floor(ns / 4294967296);
      const lo = (ns - hi * 4294967296) | 0;
      i32[PCPU] = pcpu;
      i32[TIME_LO] = lo;
      i32[TIME_HI] = hi;
      if (ordered) mix(lo, (hi << 12) ^ pcpu);
      if (keep) keepRecord(TRACE.turn, 0, 0);
    },
    note(kind, a, b) {
      if (keep) keepRecord(kind, a, b);
    },
    record(kind, a, b) {
      if (ordered) mix(a ^ (kind << 26), b);
      if (keep) keepRecord(kind, a, b);
    },
  };
}

/** The hash so far as 16 hexadecimal digits. */
export function traceHash(i32: Int32Array, base: number): string {
  const [a, b] = [i32[base >> 2]! >>> 0, i32[(base >> 2) + 1]! >>> 0];
  return a.toString(16).padStart(8, '0') + b.toString(16).padStart(8, '0');
}

/** A pCPU's newest records, oldest first, as text. */
export function lastTrace(i32: Int32Array, bases: TraceBases, pcpu: number, most: number): string[] {
  const n = i32[(bases.heads >> 2) + pcpu * 16]! >>> 0;
  const lines: string[] = [];
  for (let k = Math.max(0, n - Math.min(most, TRACE_RECORDS)); k < n; k++) {
    const w = (bases.rings >> 2) + (pcpu * TRACE_RECORDS + (k & (TRACE_RECORDS - 1))) * RECORD_WORDS;
    const ns = i32[w + 1]! * 4294967296 + (i32[w]! >>> 0);
    lines.push(`${(ns / 1e9).toFixed(9)} p${pcpu} ${NAMES[i32[w + 2]!] ?? '?'} ${i32[w + 3]} ${i32[w + 4]}`);
  }
  return lines;
}

export const traceBases = (image: Image): TraceBases => ({
  rings: image.region('trace-rings').base,
  heads: image.region('trace-heads').base,
  hash: image.region('trace-hash').base,
});
