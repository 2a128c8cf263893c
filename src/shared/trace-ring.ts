/**
 * The interaction stream: every pCPU's last records in a ring of the image (read after a fault, or by a trace exporter),
 * and one hash over all of them in (time, pCPU) order. The hash is always computed; the rings are optional.
 *
 * Groups of pCPUs that have nothing to do with each other have a hash each, over their own stream in that order, and the machine's
 * is made of theirs: so it does not depend on how the streams lie to each other, and groups may run side by side.
 */
import { type Image, type Region, rawRegion } from './image.js';
import { type NoteKind, TRACE, type TraceKind, traceText } from './trace-kinds.js';

/** Records a pCPU's ring keeps; a power of two. */
export const TRACE_RECORDS = 1024;
/** time lo, time hi, kind, three words; even, to stay aligned. */
const RECORD_WORDS = 6;

export { NOTE, TRACE, type TraceKind } from './trace-kinds.js';

/**
 * @param runners how many take turns at the same time
 * @param groups how many have a hash of their own
 */
export const traceRegions = (pcpus: number, runners: number, groups: number): Region[] => [
  rawRegion('trace-rings', TRACE_RECORDS * RECORD_WORDS * 4, pcpus),
  rawRegion('trace-heads', LINE_BYTES, pcpus),
  rawRegion('trace-turns', LINE_BYTES, runners),
  rawRegion('trace-hash', LINE_BYTES, groups),
];

const LINE_BYTES = 64;
const LINE = LINE_BYTES / 4;
/** Words of a pCPU's head: records so far, and where the hash of its group lies. */
const HASH_AT = 1;

export interface Tracer {
  /** Opens the turn of `pcpu` at `ns`; later records belong to it. */
  turn(pcpu: number, ns: number): void;
  /** What is recorded from now on belongs to the group of `pcpu`, though it is no turn of it. */
  enter(pcpu: number): void;
  record(kind: TraceKind, a: number, b: number): void;
  /** Keeps a record that is no part of the machine's own history, a command from outside or the reason for something: not hashed. */
  note(kind: NoteKind | TraceKind, a: number, b: number, c?: number): void;
  /** Whether records are kept: for who would have to work out what to note. */
  readonly keeps: boolean;
}

export interface TraceBases {
  readonly rings: number;
  readonly heads: number;
  readonly turns: number;
  readonly hash: number;
}

export interface TracerOptions {
  /** Whether records go to the rings as well. */
  readonly keep: boolean;
  /** Ordered mode: there is one order to hash. */
  readonly ordered: boolean;
  /** Number of this runner: whose turn it is, and when, stands in a place of its own. */
  readonly me: number;
  /** How many groups there are. */
  readonly groups: number;
}

/** The stream of pCPU `pcpu` goes into the hash of group `group` from now on. */
export function setTraceGroup(i32: Int32Array, bases: TraceBases, pcpu: number, group: number): void {
  i32[(bases.heads >> 2) + pcpu * LINE + HASH_AT] = (bases.hash >> 2) + group * LINE;
}

/**
 * Two 32-bit lanes of multiply-and-rotate, independent of each other so that they overlap in the processor; only who
 * takes the turns of the group writes them. In free mode there is no one order, and so no hash.
 */
export function tracer(i32: Int32Array, bases: TraceBases, { keep, ordered, me, groups }: TracerOptions): Tracer {
  const hash = bases.hash >> 2;
  const rings = bases.rings >> 2;
  const heads = bases.heads >> 2;
  const PCPU = (bases.turns >> 2) + me * LINE;
  const TIME_LO = PCPU + 1;
  const TIME_HI = PCPU + 2;
  /** Where the hash of the group lies whose turn it is. */
  const LANES = PCPU + 3;
  // What comes before the first turn.
  if (i32[LANES] === 0) i32[LANES] = hash;

  function mixOne(a: number, b: number): void {
    const x = i32[hash]! ^ a;
    const y = i32[hash + 1]! ^ b;
    i32[hash] = Math.imul((x << 13) | (x >>> 19), 0x9e3779b1) + b;
    i32[hash + 1] = Math.imul((y << 15) | (y >>> 17), 0x85ebca77) + a;
  }

  function mixOfGroup(a: number, b: number): void {
    const lanes = i32[LANES]!;
    const x = i32[lanes]! ^ a;
    const y = i32[(lanes + 1) | 0]! ^ b;
    i32[lanes] = Math.imul((x << 13) | (x >>> 19), 0x9e3779b1) + b;
    i32[(lanes + 1) | 0] = Math.imul((y << 15) | (y >>> 17), 0x85ebca77) + a;
  }

  // Of one group its place is a constant.
  const mix = groups === 1 ? mixOne : mixOfGroup;

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
      if (groups > 1) i32[LANES] = i32[(heads + (pcpu << 4) + HASH_AT) | 0]!;
      if (ordered) mix(lo, (hi << 12) ^ pcpu);
      if (keep) keepRecord(TRACE.turn, 0, 0, 0);
    },
    enter(pcpu) {
      if (groups > 1) i32[LANES] = i32[(heads + (pcpu << 4) + HASH_AT) | 0]!;
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

/** The hash so far as 16 hexadecimal digits: of one group its own, of several that of their hashes in the order of the groups. */
export function traceHash(i32: Int32Array, base: number, groups: number): string {
  let [a, b] = [i32[base >> 2]!, i32[(base >> 2) + 1]!];
  for (let g = 1; g < groups; g++) {
    const [x, y] = [i32[(base >> 2) + g * LINE]!, i32[(base >> 2) + g * LINE + 1]!];
    [a, b] = [Math.imul((a << 13) | (a >>> 19), 0x9e3779b1) ^ x, Math.imul((b << 15) | (b >>> 17), 0x85ebca77) ^ y];
  }
  return [a, b].map((lane) => (lane >>> 0).toString(16).padStart(8, '0')).join('');
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
  turns: image.region('trace-turns').base,
  hash: image.region('trace-hash').base,
});
