/**
 * Run queues: per-pCPU lists of runnable VCPUs in descending priority, equal ones in order of arrival. The current VCPU
 * is not in the list. `overloaded` holds the pCPUs with more than one runnable VCPU, so that thieves need not look at
 * every queue: the cost of an event stays flat up to hundreds of pCPUs.
 */
import { type Bitmaps, bitmaps } from '../shared/bitmap.js';
import type { Image } from '../shared/image.js';
import { type List, lists, NONE } from '../shared/list.js';
import type { SharedWords } from '../shared/shared-words.js';
import type { Table } from '../shared/struct.js';
import {
  type BalancerShape,
  hardMask,
  idlersMask,
  machineMaskWords,
  noPool,
  ONLINE_MASK,
  poolMask,
  RUNQ,
  RUNQ_ENTRY,
  scratchMask,
  softMask,
  VCPU_MASKS,
  VICTIMS,
  WHOLE,
} from './records.js';

export interface RunQueues {
  readonly pcpus: number;
  readonly runq: Table<typeof RUNQ.fields>;
  readonly entry: Table<typeof RUNQ_ENTRY.fields>;
  readonly list: List;
  readonly masks: Bitmaps;
  /** The words that masks are in. */
  readonly i32: Int32Array;
  /** Word index of a machine mask or, with hardMask/softMask, of a VCPU's. */
  word(mask: number): number;
  /** Word index of the mask of idle pCPUs, and of that of pCPUs with more than one runnable VCPU, which pCPU p is in. */
  idlers(p: number): number;
  overloaded(p: number): number;
  /** Whom a thief of p's group robbed last in a socket: after it begins the next one's round there. A hint that nobody guards. */
  lastVictim(p: number, socket: number): number;
  setLastVictim(p: number, socket: number, victim: number): void;
  /** The pool, and the part of it, whose masks pCPU p is in from now on; its bits go with it. While all pCPUs stand still. */
  setGroup(p: number, pool: number, part: number): void;
  /** The pCPU that stands for the run queue which pCPU p takes its VCPUs from: `list` has its queue under this number. */
  queueOf(p: number): number;
  /** The part of its pool that pCPU p is in. */
  groupOf(p: number): number;
  /** Word index of the mask of a cpupool's pCPUs. */
  pool(pool: number): number;
  /** Word index of a mask for pCPU p's own sums. */
  scratch(p: number): number;
  /** Inserts behind all entries of equal or higher priority; a yielder goes behind one more. */
  insert(v: number): void;
  remove(v: number): void;
  isQueued(v: number): boolean;
  addRunnable(p: number, delta: number): void;
  /** Stable re-sort by priority. */
  sort(p: number): void;
  /** The mask of pCPUs a VCPU may use at a balance step: soft first, then hard. */
  affinity(v: number, step: BalanceStep): number;
  /** The mask that was asked for, whatever of it can be had now. */
  givenAffinity(v: number, step: BalanceStep): number;
  isOnline(p: number): boolean;
}

export const SOFT = 0;
export const HARD = 1;
/** SOFT or HARD; a number, so that loops can count it up. */
export type BalanceStep = number;

/** @param words see bitmaps */
export function runQueues(image: Image, shape: BalancerShape, words: SharedWords): RunQueues {
  const { pcpus } = shape;
  const runq = image.table(RUNQ);
  const entry = image.table(RUNQ_ENTRY);
  const list = lists(
    image.i32,
    image.columns(RUNQ_ENTRY, 'next', 'prev', 'linked'),
    image.columns(RUNQ, 'first', 'last'),
  );
  const masks = bitmaps(image.i32, pcpus, words);
  const maskBase = image.region('cpu-masks').base >> 2;
  const machineBase = image.region('machine-masks').base >> 2;
  const maskWords = masks.words;
  const machineWords = machineMaskWords(pcpus);
  const word = (mask: number): number =>
    mask < VCPU_MASKS
      ? (machineBase + Math.imul(mask, machineWords)) | 0
      : (maskBase + Math.imul(mask - VCPU_MASKS, maskWords)) | 0;
  const ONLINE = word(ONLINE_MASK);
  const givenBase = image.region('affinities').base >> 2;
  const scratchBase = word(scratchMask(shape, 0));
  const lastVictimWord = (p: number, socket: number): number =>
    (runq.idlers(p) + 2 * machineWords + (socket & (VICTIMS - 1))) | 0;
  const overloaded = (p: number): number => (runq.idlers(p) + machineWords) | 0;

  function insert(v: number): void {
    const p = entry.processor(v);
    const pri = entry.pri(v);
    let at = list.first(p);
    while (at !== NONE && entry.pri(at) >= pri) at = list.next(at);
    // A yielder lets one VCPU of lower priority go first, or yielding among equals' betters would be for nothing.
    if (at !== NONE && entry.yielded(v) !== 0) at = list.next(at);
    list.insertBefore(p, v, at);
  }

  return {
    pcpus,
    runq,
    entry,
    list,
    masks,
    i32: image.i32,
    word,
    idlers: runq.idlers,
    queueOf: runq.queue,
    overloaded,
    lastVictim: (p, socket) => image.i32[lastVictimWord(p, socket)]!,
    setLastVictim(p, socket, victim) {
      image.i32[lastVictimWord(p, socket)] = victim;
    },
    setGroup(p, pool, part) {
      // At boot it is in none.
      const isInOne = runq.idlers(p) !== 0;
      const wasIdler = isInOne && masks.has(runq.idlers(p), p);
      const wasOverloaded = isInOne && masks.has(overloaded(p), p);
      if (wasIdler) masks.clear(runq.idlers(p), p);
      if (wasOverloaded) masks.clear(overloaded(p), p);
      runq.setIdlers(p, word(idlersMask(shape, pool, pool === noPool(shape) ? WHOLE : part)));
      runq.setGroup(p, part);
      if (wasIdler) masks.set(runq.idlers(p), p);
      if (wasOverloaded) masks.set(overloaded(p), p);
    },
    groupOf: runq.group,
    pool: (pool) => word(poolMask(shape, pool)),
    scratch: (p) => (scratchBase + Math.imul(p, machineWords)) | 0,
    insert,
    remove: (v) => list.remove(entry.processor(v), v),
    isQueued: (v) => list.isLinked(v),
    addRunnable(p, delta) {
      const before = runq.nrRunnable(p);
      const n = before + delta;
      runq.setNrRunnable(p, n);
      // The mask's words are other pCPUs' as well, whose locks are not held: touched by atomic operations, and only when needed.
      if (n > 1 && before <= 1) masks.setAtomic(overloaded(p), p);
      else if (n <= 1 && before > 1) masks.clearAtomic(overloaded(p), p);
    },
    sort(p) {
      let at = list.first(p);
      while (at !== NONE) {
        const next = list.next(at);
        let before = list.prev(at);
        if (before !== NONE && entry.pri(before) < entry.pri(at)) {
          list.remove(p, at);
          while (before !== NONE && entry.pri(before) < entry.pri(at)) before = list.prev(before);
          list.insertBefore(p, at, before === NONE ? list.first(p) : list.next(before));
        }
        at = next;
      }
    },
    affinity: (v, step) => word(step === SOFT ? softMask(v) : hardMask(v)),
    givenAffinity: (v, step) => (givenBase + Math.imul(2 * v + (step === SOFT ? 1 : 0), maskWords)) | 0,
    isOnline: (p) => masks.has(ONLINE, p),
  };
}
