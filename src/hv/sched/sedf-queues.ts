/**
 * The four queues of a pCPU under SEDF, and the order of each. A runnable VCPU, the running one included, is in the run queue
 * while it has a slice left in a period that has begun, or else in the wait queue until its next one begins; one without a slice
 * is in neither. Besides it may be in the two queues for extra time. Everything here runs under the pCPU's run-queue lock.
 */
import type { Image } from '../../shared/image.js';
import { type List, lists, NONE } from '../../shared/list.js';
import type { Table } from '../../shared/struct.js';
import { SEDF_PCPU, SEDF_VCPU } from './sedf-records.js';

export interface SedfQueues {
  readonly sv: Table<typeof SEDF_VCPU.fields>;
  readonly sp: Table<typeof SEDF_PCPU.fields>;
  /** By deadline. */
  readonly run: List;
  /** By beginning of the next period. */
  readonly wait: List;
  /** By penalty score. */
  readonly pen: List;
  /** By key. */
  readonly util: List;
  /** When the VCPU's current period begins, or began, ns. */
  periodStart(v: number): number;
  /** Puts a VCPU that is in none of them into the queues it belongs in at time t. */
  enter(p: number, v: number, t: number): void;
  /** Takes it out of all. */
  leave(p: number, v: number): void;
  /** Into the run or the wait queue, as its period tells; it is in neither. */
  enterPeriod(p: number, v: number, t: number): void;
  /** The penalty or its score changed. */
  requeuePenalty(p: number, v: number): void;
  /** Had a turn of extra time: goes behind by its score. */
  requeueUtil(p: number, v: number): void;
  /** Brings the queues to time t: periods begin, and those that were missed are over. */
  advance(p: number, t: number): void;
}

/** Fixed point of the scores. A whole pCPU is worth an extra weight of 128 (sched_sedf.c). */
const SCORE_ONE = 1 << 10;
const EXTRA_SCORE = 1 << 17;

export function sedfQueues(image: Image): SedfQueues {
  const sv = image.table(SEDF_VCPU);
  const sp = image.table(SEDF_PCPU);
  const ofVcpu = (field: keyof typeof SEDF_VCPU.fields) => image.column(SEDF_VCPU, field);
  const ofPcpu = (field: keyof typeof SEDF_PCPU.fields) => image.column(SEDF_PCPU, field);
  const period = { next: ofVcpu('next'), prev: ofVcpu('prev'), linked: ofVcpu('linked') };
  const run = lists(image.i32, period, { first: ofPcpu('runFirst'), last: ofPcpu('runLast') });
  const wait = lists(image.i32, period, { first: ofPcpu('waitFirst'), last: ofPcpu('waitLast') });
  const pen = lists(
    image.i32,
    { next: ofVcpu('penNext'), prev: ofVcpu('penPrev'), linked: ofVcpu('penLinked') },
    { first: ofPcpu('penFirst'), last: ofPcpu('penLast') },
  );
  const util = lists(
    image.i32,
    { next: ofVcpu('utilNext'), prev: ofVcpu('utilPrev'), linked: ofVcpu('utilLinked') },
    { first: ofPcpu('utilFirst'), last: ofPcpu('utilLast') },
  );

  const periodStart = (v: number): number => sv.deadline(v) - sv.period(v);

  /** Inserts behind all whose key is not greater. */
  function insertBy(list: List, key: (v: number) => number, p: number, v: number): void {
    const mine = key(v);
    let at = list.first(p);
    while (at !== NONE && key(at) <= mine) at = list.next(at);
    list.insertBefore(p, v, at);
  }

  function leavePeriod(p: number, v: number): void {
    if (!run.isLinked(v)) return;
    (sv.waits(v) !== 0 ? wait : run).remove(p, v);
  }

  function enterPeriod(p: number, v: number, t: number): void {
    const waits = periodStart(v) > t;
    sv.setWaits(v, waits ? 1 : 0);
    if (waits) insertBy(wait, periodStart, p, v);
    else insertBy(run, sv.deadline, p, v);
  }

  function requeuePenalty(p: number, v: number): void {
    if (pen.isLinked(v)) pen.remove(p, v);
    if (sv.penalty(v) <= 0) return;
    sv.setPenaltyScore(v, Math.floor((sv.period(v) * SCORE_ONE) / sv.penalty(v)));
    insertBy(pen, sv.penaltyScore, p, v);
  }

  /** What one turn of extra time costs: the inverse of what the VCPU is worth. */
  function utilScore(v: number): number {
    if (sv.extraWeight(v) > 0) return Math.floor(EXTRA_SCORE / sv.extraWeight(v));
    return Math.floor((sv.period(v) * SCORE_ONE) / sv.slice(v));
  }

  return {
    sv,
    sp,
    run,
    wait,
    pen,
    util,
    periodStart,
    enterPeriod,
    requeuePenalty,

    enter(p, v, t) {
      if (sv.slice(v) > 0) {
        enterPeriod(p, v, t);
        requeuePenalty(p, v);
      }
      if (sv.isExtra(v) === 0) return;
      // It takes no turns that it slept through.
      sv.setExtraKey(v, sp.extraClock(p) + utilScore(v));
      insertBy(util, sv.extraKey, p, v);
    },

    leave(p, v) {
      leavePeriod(p, v);
      if (pen.isLinked(v)) pen.remove(p, v);
      if (util.isLinked(v)) util.remove(p, v);
    },

    requeueUtil(p, v) {
      sp.setExtraClock(p, sv.extraKey(v));
      sv.setExtraKey(v, sv.extraKey(v) + utilScore(v));
      util.remove(p, v);
      insertBy(util, sv.extraKey, p, v);
    },

    advance(p, t) {
      for (let v = wait.first(p); v !== NONE && periodStart(v) <= t; v = wait.first(p)) {
        wait.remove(p, v);
        enterPeriod(p, v, t);
      }
      for (let v = run.first(p); v !== NONE && sv.deadline(v) <= t; v = run.first(p)) {
        // What it did not get of a period that is over is lost.
        const missed = Math.floor((t - sv.deadline(v)) / sv.period(v)) + 1;
        run.remove(p, v);
        sv.addDeadline(v, missed * sv.period(v));
        sv.setCputime(v, 0);
        enterPeriod(p, v, t);
      }
    },
  };
}
