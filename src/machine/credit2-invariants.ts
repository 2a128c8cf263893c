/** What must hold of the credit2 scheduler's records between any two turns, beside what holds under every scheduler (invariants.ts). */

import { VPF_migrating, VPF_parked } from '../hv/records.js';
import { credit2Queues } from '../hv/sched/credit2-queues.js';
import {
  ACTIVE,
  CARRYOVER_MAX,
  CREDIT_INIT,
  CREDIT_MIN,
  FREE,
  MIGRATE_COMPENSATION,
  SMT_FREE,
  TICKLED,
} from '../hv/sched/credit2-records.js';
import { isMailUnderWay } from '../pcpu/mail.js';
import { NONE } from '../shared/list.js';
import type { BuiltMachine } from './build.js';

type Must = (holds: boolean, what: () => string) => void;

export function credit2Invariants(
  { image, core, params }: Pick<BuiltMachine, 'image' | 'core' | 'params'>,
  must: Must,
): () => void {
  const { vcpu, pcpu, domain, queues, shape, isIdle } = core.hv.context;
  const { runq, entry, list, masks } = queues;
  const { cv, cq, cd, cg, members, mask } = credit2Queues(core.hv.context);
  const { threads } = params.hv.topology;

  function membersOf(q: number): number[] {
    const out: number[] = [];
    for (let v = members.first(q); v !== NONE && out.length <= shape.vcpus; v = members.next(v)) out.push(v);
    must(out.length <= shape.vcpus, () => `the members of run queue ${q} are a circle`);
    return out;
  }

  /** Most credit first. */
  function checkOrder(q: number): void {
    for (let v = list.first(q); v !== NONE; v = list.next(v)) {
      const next = list.next(v);
      const isOrdered = next === NONE || cv.credit(v) >= cv.credit(next);
      must(isOrdered, () => `run queue ${q}: VCPU ${v} with ${cv.credit(v)} is before ${next} with ${cv.credit(next)}`);
      must(cv.isScheduled(v) === 0, () => `VCPU ${v} is queued and scheduled`);
    }
  }

  function checkPcpu(q: number, p: number): void {
    const idle = isIdle(pcpu.current(p));
    const told = masks.has(mask(q, TICKLED), p);
    must(queues.queueOf(p) === q, () => `pCPU ${p} is of run queue ${queues.queueOf(p)}, not ${q}`);
    must(masks.has(mask(q, ACTIVE), p), () => `pCPU ${p} is not active in run queue ${q}`);
    const isFree = masks.has(mask(q, FREE), p);
    must(isFree === (idle && !told), () => `pCPU ${p}: free ${isFree}, idle ${idle}, told ${told}`);
    // Who was told has not looked yet; so it has been called, or is being.
    const isCalled = pcpu.softirq(p) !== 0 || pcpu.reschedIpiAt(p) < Infinity || isMailUnderWay(image, pcpu.worker(p));
    must(!told || isCalled, () => `pCPU ${p} is marked as told and nothing is under way to it`);
    if (!isFree) return;
    // Nobody waits whom it could run, unless another has been told of him.
    for (let v = list.first(q); v !== NONE; v = list.next(v)) {
      const other = cv.tickledOn(v) - 1;
      const isReserved = other >= 0 && other !== p && masks.has(mask(q, TICKLED), other);
      const isFor = masks.has(queues.affinity(v, 1), p) && !isReserved;
      must(!isFor, () => `pCPU ${p} is free and VCPU ${v} waits in its run queue`);
    }
  }

  /** A core is free when all its threads in the queue are. */
  function checkCores(q: number): void {
    if (threads === 1) return;
    for (let p = cq.start(q); p < cq.end(q); p++) {
      const first = Math.max(cq.start(q), p - (p % threads));
      const end = Math.min(cq.end(q), p - (p % threads) + threads);
      let all = true;
      for (let s = first; s < end; s++) all &&= masks.has(mask(q, FREE), s);
      must(masks.has(mask(q, SMT_FREE), p) === all, () => `pCPU ${p}: its core is free: ${all}, marked otherwise`);
    }
  }

  function checkQueue(q: number): void {
    const all = membersOf(q);
    const load = all.filter((v) => cv.isCounted(v) !== 0).length;
    let waiting = 0;
    for (let v = list.first(q); v !== NONE; v = list.next(v)) waiting++;
    let running = 0;
    for (let p = cq.start(q); p < cq.end(q); p++) if (!isIdle(pcpu.current(p))) running++;
    must(runq.nrRunnable(q) === load, () => `run queue ${q}: load ${runq.nrRunnable(q)}, found ${load}`);
    must(load === waiting + running, () => `run queue ${q}: load ${load}, ${waiting} wait and ${running} run`);
    must(cq.avgload(q) >= 0 && cq.bAvgload(q) >= 0, () => `run queue ${q}: an average load below 0`);
    const heaviest = Math.max(1, ...all.map((v) => cv.weight(v)));
    must(cq.maxWeight(q) === heaviest, () => `run queue ${q}: greatest weight ${cq.maxWeight(q)}, found ${heaviest}`);
    for (const v of all) must(cv.queue(v) === q + 1, () => `VCPU ${v} is a member of ${q} and says ${cv.queue(v) - 1}`);
    checkOrder(q);
    checkCores(q);
  }

  function checkVcpu(v: number): void {
    const p = entry.processor(v);
    const runs = pcpu.current(p) === v;
    const q = queues.queueOf(p);
    const isMember = cv.queue(v) === q + 1;
    must(
      members.isLinked(v) === cv.queue(v) > 0,
      () => `VCPU ${v}: linked ${members.isLinked(v)}, queue ${cv.queue(v)}`,
    );
    must(isMember || cv.queue(v) === 0, () => `VCPU ${v} of run queue ${q} is a member of ${cv.queue(v) - 1}`);
    must(isMember || !(runs || queues.isQueued(v)), () => `VCPU ${v} is in use and no member of ${q}`);
    must((cv.isScheduled(v) !== 0) === runs, () => `VCPU ${v}: scheduled ${cv.isScheduled(v)}, runs ${runs}`);
    must(cv.delayedAdd(v) === 0, () => `VCPU ${v} waits to be queued`);
    const isMoving = cv.moveTo(v) === 0 || (vcpu.pauseFlags(v) & VPF_migrating) !== 0;
    must(isMoving, () => `VCPU ${v} is to move to ${cv.moveTo(v) - 1} and does not`);
    const most = CREDIT_INIT + CARRYOVER_MAX + MIGRATE_COMPENSATION;
    must(cv.credit(v) >= CREDIT_MIN && cv.credit(v) <= most, () => `VCPU ${v}: credit ${cv.credit(v)}`);
    const isParked = (vcpu.pauseFlags(v) & VPF_parked) !== 0;
    const isCapped = cv.budget(v) !== Infinity;
    must(isCapped === cd.totBudget(vcpu.domain(v)) > 0, () => `VCPU ${v}: budget ${cv.budget(v)}, capped ${isCapped}`);
    must(!isParked || (isCapped && cv.budget(v) <= 0), () => `VCPU ${v} is parked with a budget of ${cv.budget(v)}`);
    must(runs || isMember === false || cv.budget(v) <= 0 || !isCapped, () => `VCPU ${v} keeps ${cv.budget(v)} ns`);
  }

  function checkDomain(d: number): void {
    const all = Array.from({ length: domain.maxVcpus(d) }, (_, k) => domain.firstVcpu(d) + k);
    const parked = all.filter((v) => (vcpu.pauseFlags(v) & VPF_parked) !== 0).length;
    must(cd.budget(d) <= cd.totBudget(d), () => `domain ${d}: budget ${cd.budget(d)} of ${cd.totBudget(d)}`);
    must(cd.parked(d) >= parked, () => `domain ${d}: ${cd.parked(d)} parked, found ${parked}`);
    // Who is parked is looked at again.
    must(parked === 0 || cg.isArmed(0) !== 0, () => `domain ${d}: ${parked} parked, and nobody looks`);
    const held = all.reduce((sum, v) => sum + (cv.budget(v) > 0 ? cv.budget(v) : 0), 0);
    // What was taken of one period may be left in the next.
    const most = cd.totBudget(d) + all.reduce((sum, v) => sum + cv.quota(v), 0);
    if (cd.totBudget(d) > 0) must(held + cd.budget(d) <= most, () => `domain ${d}: ${held} ns taken`);
  }

  return () => {
    for (let q = 0; q < shape.pcpus; q = cq.end(q)) {
      checkQueue(q);
      for (let p = cq.start(q); p < cq.end(q); p++) checkPcpu(q, p);
    }
    for (let v = 0; v < shape.vcpus; v++) checkVcpu(v);
    for (let d = 0; d < shape.domains; d++) if (domain.maxVcpus(d) > 0) checkDomain(d);
  };
}
