/**
 * The interaction stream: every pCPU's last records in a ring of the image (read after a fault, or by a trace exporter),
 * and one hash over all of them in (time, pCPU) order. The hash is always computed; the rings are optional.
 */
import { type Image, type Region, rawRegion } from './image.js';
import { type NoteKind, TRACE, type TraceKind, traceText } from './trace-kinds.js';

/** Records a pCPU's ring keeps; a power of two. */
export const TRACE_RECORDS = 1024;
/** time lo, time hi, kind, three words; even, to stay aligned. */
const RECORD_WORDS = 6;

export { NOTE, TRACE, type TraceKind } from './trace-kinds.js';

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
  /** Keeps a record that is no part of the machine's own history, a command from outside or the reason for something: not hashed. */
  note(kind: NoteKind | TraceKind, a: number, b: number, c?: number): void;
  /** Whether records are kept: for who would have to work out what to note. */
  readonly keeps: boolean;
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

  function keepRecord(kind: number, a: number, b: number, c: number): void {
    const pcpu = i32[PCPU]!;
    const head = (heads + (pcpu << 4)) | 0;
    const n = i32[head]!;
    const w = (rings + Math.imul(Math.imul(pcpu, TRACE_RECORDS) + (n & (TRACE_RECORDS - 1)), RECORD_WORDS)) | 0;
    i32[w] = i32[TIME_LO]!;
    i32[w + 1] = i32[TIME_HI]!;
    i32[w + 2] = kind;
    i32[w + 3] = a;
    i32[w + 4] = b;
    i32[w + 5] = c;
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
      if (keep) keepRecord(TRACE.turn, 0, 0, 0);
    },
    keeps: keep,
    note(kind, a, b, c = 0) {
      if (keep) keepRecord(kind, a, b, c);
    },
    record(kind, a, b) {
      if (ordered) mix(a ^ (kind << 26), b);
      if (keep) keepRecord(kind, a, b, 0);
    },
  };
}

/** The hash so far as 16 hexadecimal digits. */
export function traceHash(i32: Int32Array, base: number): string {
  const [a, b] = [i32[base >> 2]! >>> 0, i32[(base >> 2) + 1]! >>> 0];
  return a.toString(16).padStart(8, '0') + b.toString(16).padStart(8, '0');
}

export interface TraceRecord {
  readonly ns: number;
  readonly pcpu: number;
  /** One of TRACE or NOTE; what `words` are stands in TRACE_FORMATS. */
  readonly kind: number;
  readonly words: readonly [number, number, number];
}

/** A pCPU's newest records, oldest first. */
export function traceRecords(i32: Int32Array, bases: TraceBases, pcpu: number, most = TRACE_RECORDS): TraceRecord[] {
  const n = i32[(bases.heads >> 2) + pcpu * 16]! >>> 0;
  const records: TraceRecord[] = [];
  for (let k = Math.max(0, n - Math.min(most, TRACE_RECORDS)); k < n; k++) {
    const w = (bases.rings >> 2) + (pcpu * TRACE_RECORDS + (k & (TRACE_RECORDS - 1))) * RECORD_WORDS;
    const ns = i32[w + 1]! * 4294967296 + (i32[w]! >>> 0);
    records.push({ ns, pcpu, kind: i32[w + 2]!, words: [i32[w + 3]!, i32[w + 4]!, i32[w + 5]!] });
  }
  return records;
}

/** The same as text. */
export const lastTrace = (i32: Int32Array, bases: TraceBases, pcpu: number, most: number): string[] =>
  traceRecords(i32, bases, pcpu, most).map(
    ({ ns, kind, words }) => `${(ns / 1e9).toFixed(9)} p${pcpu} ${traceText(kind, words)}`,
  );

export const traceBases = (image: Image): TraceBases => ({
  rings: image.region('trace-rings').base,
  heads: image.region('trace-heads').base,
  hash: image.region('trace-hash').base,
});
