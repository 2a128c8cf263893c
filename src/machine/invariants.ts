/**
 * What must hold of a machine between any two turns, and of one in free mode while all its workers rest, from its records
 * alone: no VCPU on two pCPUs, none in a queue that is not its own, no wake-up lost, no runstate sum off.
 */
import { OWNER_XEN } from '../hv/mm/records.js';
import {
  CPUPOOL,
  DOMAIN_STATE,
  NOBODY,
  TIMER,
  timersOf,
  VPF_blocked,
  VPF_down,
  VPF_dying,
  VPF_migrating,
  VPF_shutdown,
} from '../hv/records.js';
import { CREDIT_GLOBAL } from '../hv/sched/credit-records.js';
import { CREDIT_RULES } from '../hv/sched/credit-rules.js';
import { findScheduler } from '../hv/sched/registry.js';
import { lateBound } from '../hv/time-check.js';
import { isMailUnderWay } from '../pcpu/mail.js';
import { PAGE_SIZE } from '../shared/image.js';
import { NONE } from '../shared/list.js';
import { EVTCHNSTAT_interdomain } from '../shared/public/event-channel.js';
import { RUNSTATE_blocked, RUNSTATE_runnable, RUNSTATE_running } from '../shared/public/vcpu.js';
import type { BuiltMachine } from './build.js';
import { credit2Invariants } from './credit2-invariants.js';
import { lineInvariants } from './line-invariants.js';
import { pageInvariants } from './page-invariants.js';

/** Says what is broken; nothing when all is well. Bind it once, call it often. */
export function invariants({ image, core, params }: Pick<BuiltMachine, 'image' | 'core' | 'params'>): () => string[] {
  const { hv } = core;
  const { vcpu, pcpu, domain, evtchn, queues, shape, isIdle, idleOf } = hv.context;
  const { runq, entry, list, masks } = queues;
  const timer = image.table(TIMER);
  /** Whether a pCPU may be idle though somebody waits. */
  const mayIdle = params.hv.policies.map((name) => findScheduler(name)?.isWorkConserving === false);
  const pools = image.table(CPUPOOL);
  const credit = params.hv.policies.indexOf('credit');
  const credit2 = params.hv.policies.indexOf('credit2');
  const checkCredit2 = credit2 < 0 ? () => {} : credit2Invariants({ image, core, params }, must);
  const global = credit < 0 ? undefined : image.table(CREDIT_GLOBAL);
  const { hasYield } = CREDIT_RULES[params.hv.profile];
  const NO_POLICY = -1;
  const policyOf = (p: number): number => (runq.pool(p) === NONE ? NO_POLICY : pools.policy(runq.pool(p)));
  /** What a timer may be late in free mode, ns; not looked at in ordered mode. */
  const lateNs = lateBound(params.hv.free?.windowNs, params.hv.latencyNs);
  const findBrokenLines = lineInvariants(hv);
  // They take some time, and a domain that has page tables has them from the beginning.
  const hasPages = hv.context.shape.xenFrames > 0;
  const findBrokenPages = pageInvariants(hv);
  let broken: string[] = [];

  function must(holds: boolean, what: () => string): void {
    if (!holds) broken.push(what());
  }

  function queueOf(p: number): number[] {
    const out: number[] = [];
    for (let v = list.first(p); v !== NONE; v = list.next(v)) {
      out.push(v);
      if (out.length > shape.vcpus) {
        broken.push(`the queue of pCPU ${p} is a circle`);
        return out;
      }
    }
    return out;
  }

  function checkRunstates(v: number): void {
    let sum = 0;
    for (let k = 0; k < 4; k++) {
      must(vcpu.runstateTime(v, k) >= 0, () => `VCPU ${v}: time in runstate ${k} is negative`);
      sum += vcpu.runstateTime(v, k);
    }
    // What has passed since the last change belongs to the state it is in.
    const since = vcpu.stateEntryTime(v) - vcpu.createdAt(v);
    must(sum === since, () => `VCPU ${v}: runstates sum to ${sum}, not to ${since}`);
  }

  function checkVcpu(v: number, runningOn: ReadonlyMap<number, number>, queuedOn: ReadonlyMap<number, number>): void {
    const p = runningOn.get(v);
    const flags = vcpu.pauseFlags(v);
    const state = vcpu.runstate(v);
    must(
      (state === RUNSTATE_running) === (p !== undefined),
      () => `VCPU ${v}: runstate ${state}, current on pCPU ${p}`,
    );
    must((entry.isRunning(v) !== 0) === (p !== undefined), () => `VCPU ${v}: isRunning, current on pCPU ${p}`);
    if (p !== undefined)
      must(runq.pool(p) === entry.pool(v), () => `VCPU ${v} of pool ${entry.pool(v)} runs on pCPU ${p}`);
    if (p !== undefined) must(entry.processor(v) === p, () => `VCPU ${v} runs on ${p} and is of ${entry.processor(v)}`);
    else {
      must(queuedOn.has(v) === (flags === 0), () => `VCPU ${v}: queued on ${queuedOn.get(v)}, pause flags ${flags}`);
      must((state === RUNSTATE_runnable) === (flags === 0), () => `VCPU ${v}: runstate ${state}, pause flags ${flags}`);
    }
    const queue = queuedOn.get(v);
    must(
      queue === undefined || queue === queues.queueOf(entry.processor(v)),
      () => `VCPU ${v} of ${entry.processor(v)} queued on ${queue}`,
    );
    if ((flags & VPF_down) !== 0 && p === undefined)
      must(state >= RUNSTATE_blocked, () => `VCPU ${v} is down, state ${state}`);
    // One that is about to move may still be where it must not be any more.
    const isAllowed =
      masks.has(queues.affinity(v, 1), entry.processor(v)) || (flags & (VPF_migrating | VPF_shutdown)) !== 0;
    must(isAllowed, () => `VCPU ${v} is of pCPU ${entry.processor(v)}, which it may not use`);
  }

  /** A VCPU that sleeps although it was called. */
  function checkWakeUp(v: number): void {
    if (vcpu.pauseFlags(v) !== VPF_blocked || vcpu.runstate(v) !== RUNSTATE_blocked) return;
    must(!hv.events.needsDelivery(v), () => `VCPU ${v} is blocked and has an event`);
    const port = vcpu.pollPort(v);
    if (port > 0)
      must(!hv.events.isPending(vcpu.domain(v), port), () => `VCPU ${v} polls port ${port}, which is pending`);
  }

  function checkPcpu(p: number, queue: readonly number[]): void {
    const current = pcpu.current(p);
    must(!masks.has(queues.idlers(p), p) || isIdle(current), () => `pCPU ${p} is in idlers and runs VCPU ${current}`);
    const late = pcpu.turnedAt(p) - pcpu.timerAt(p);
    if (lateNs > 0) must(late <= lateNs, () => `pCPU ${p}: a timer is ${late} ns late`);
    // Its queue is shared.
    if (credit2 >= 0 && policyOf(p) === credit2) return;
    const runnable = queue.length + (isIdle(current) ? 0 : 1);
    must(runq.nrRunnable(p) === runnable, () => `pCPU ${p}: nrRunnable ${runq.nrRunnable(p)}, found ${runnable}`);
    must(masks.has(queues.overloaded(p), p) === runnable > 1, () => `pCPU ${p}: overloaded with ${runnable} runnable`);
    // Whoever put something in the queue of an idle pCPU told it so, or the pCPU knows when to look at it again.
    const isTold =
      pcpu.softirq(p) !== 0 ||
      pcpu.reschedIpiAt(p) < Infinity ||
      pcpu.sliceEnd(p) < Infinity ||
      isMailUnderWay(image, pcpu.worker(p));
    must(
      mayIdle[policyOf(p)] === true || !isIdle(current) || queue.length === 0 || isTold,
      () => `pCPU ${p} idles with VCPU ${queue[0]} in its queue`,
    );
    if (policyOf(p) === credit) checkOrder(p, queue);
    must(policyOf(p) !== NO_POLICY || runnable === 0, () => `pCPU ${p} is in no cpupool and has ${runnable} VCPUs`);
  }

  /** Every armed timer is in one queue, its own, where its position says, and none is due before the one above it. */
  function checkTimers(): void {
    const slots = image.region('timer-queues');
    const seen = new Set<number>();
    for (let p = 0; p < shape.pcpus; p++) {
      const base = (slots.base + p * slots.size) >> 2;
      for (let k = 0; k < pcpu.timers(p); k++) {
        const t = image.i32[base + k]!;
        must(!seen.has(t), () => `timer ${t} is in two queues`);
        seen.add(t);
        must(timer.queue(t) === p, () => `timer ${t} of queue ${timer.queue(t)} is in that of pCPU ${p}`);
        must(timer.position(t) === k + 1, () => `timer ${t} at ${k} says it is at ${timer.position(t) - 1}`);
        const above = image.i32[base + ((k - 1) >> 1)]!;
        must(k === 0 || timer.deadline(above) <= timer.deadline(t), () => `timer ${above} is above ${t} and later`);
      }
    }
    for (let t = 0; t < timersOf(shape); t++) {
      must((timer.position(t) !== 0) === seen.has(t), () => `timer ${t}: position ${timer.position(t)}`);
    }
  }

  /** Sorted by priority, unless accounting changed priorities and the pCPU has not sorted since. */
  function checkOrder(p: number, queue: readonly number[]): void {
    if (runq.sortEpoch(p) !== global?.sortEpoch(runq.pool(p))) return;
    for (let k = 1; k < queue.length; k++) {
      // A yielder stands behind one VCPU of each lower priority at most; a third may be stolen and run first.
      const lower = queue
        .slice(0, k)
        .map(entry.pri)
        .filter((pri) => pri < entry.pri(queue[k]!));
      const isSorted = hasYield ? new Set(lower).size === lower.length : lower.length === 0;
      must(isSorted, () => `the queue of pCPU ${p} is not sorted: ${queue}`);
    }
  }

  /** One that is off line serves nobody; whoever is still there is about to leave. */
  function checkOffline(p: number, queue: readonly number[]): void {
    const current = pcpu.current(p);
    must(!masks.has(queues.idlers(p), p), () => `pCPU ${p} is off line and among the idlers`);
    must(queue.length === 0, () => `pCPU ${p} is off line and has VCPU ${queue[0]} in its queue`);
    const leaves = isIdle(current) || (vcpu.pauseFlags(current) & (VPF_migrating | VPF_dying)) !== 0;
    must(leaves, () => `pCPU ${p} is off line and VCPU ${current} stays there`);
    must(!isIdle(current) || pcpu.timers(p) === 0, () => `pCPU ${p} is off line and has ${pcpu.timers(p)} timers`);
    must(!isIdle(current) || pcpu.tickAt(p) === Infinity, () => `pCPU ${p} is off line and ticks`);
  }

  /** Every VCPU and every backed frame is of one domain that exists, and memory is somebody's or free. */
  function checkDomains(): void {
    const owners = image.region('frame-owners').base >> 2;
    const frames = image.region('frames').base;
    const owned = new Map<number, number>();
    const ids = new Set<number>();
    for (let n = 0; n < shape.frames; n++) {
      const d = image.i32[owners + n] === OWNER_XEN ? -1 : Math.abs(image.i32[owners + n]!) - 1;
      if (d >= 0) owned.set(d, (owned.get(d) ?? 0) + 1);
    }
    const vcpus = new Map<number, number>();
    for (let v = 0; v < shape.vcpus; v++) vcpus.set(vcpu.domain(v), (vcpus.get(vcpu.domain(v)) ?? 0) + 1);
    let pages = hv.context.host.freePages(0);
    must(pages >= 0, () => `${pages} free frames`);
    for (let d = 0; d < shape.domains; d++) {
      const isFree = domain.state(d) === DOMAIN_STATE.free;
      pages += domain.totPages(d);
      must(
        !isFree || domain.totPages(d) === 0,
        () => `domain ${d} does not exist and has ${domain.totPages(d)} frames`,
      );
      const backed = owned.get(d) ?? 0;
      must(backed === domain.backedFrames(d), () => `domain ${d} owns ${backed} frames, not ${domain.backedFrames(d)}`);
      for (let n = 0; n < backed; n++) {
        const owner = Math.abs(image.i32[owners + (domain.frames(d) - frames) / PAGE_SIZE + n]!) - 1;
        must(owner === d, () => `frame ${n} of domain ${d} is domain ${owner}'s`);
      }
      const nr = Math.min(backed, domain.totPages(d));
      must(domain.nrFrames(d) === nr, () => `domain ${d} may touch ${domain.nrFrames(d)} frames, not ${nr}`);
      must(
        (vcpus.get(d) ?? 0) === domain.maxVcpus(d),
        () => `domain ${d} has ${vcpus.get(d)} VCPUs, not ${domain.maxVcpus(d)}`,
      );
      if (isFree) continue;
      must(!ids.has(domain.id(d)), () => `two domains are number ${domain.id(d)}`);
      ids.add(domain.id(d));
    }
    const total = hv.context.host.totalPages(0);
    must(pages === total, () => `${pages} frames are somebody's or free, of ${total}`);
    for (let r = 0; r < shape.domains * shape.evtchns; r++) {
      if (evtchn.state(r) !== EVTCHNSTAT_interdomain) continue;
      const [d, port] = [Math.floor(r / shape.evtchns), r % shape.evtchns];
      const other = evtchn.remote(r) * shape.evtchns + evtchn.remotePort(r);
      const isMutual =
        evtchn.state(other) === EVTCHNSTAT_interdomain &&
        evtchn.remote(other) === d &&
        evtchn.remotePort(other) === port;
      must(isMutual, () => `port ${port} of domain ${d} leads to one that does not lead back`);
    }
  }

  return () => {
    broken = [];
    const runningOn = new Map<number, number>();
    const queuedOn = new Map<number, number>();
    for (let p = 0; p < shape.pcpus; p++) {
      const current = pcpu.current(p);
      if (isIdle(current)) must(current === idleOf(p), () => `pCPU ${p} runs the idle VCPU ${current}`);
      else {
        must(!runningOn.has(current), () => `VCPU ${current} runs on pCPU ${runningOn.get(current)} and on ${p}`);
        runningOn.set(current, p);
      }
      const queue = queueOf(p);
      for (const v of queue) {
        must(!queuedOn.has(v), () => `VCPU ${v} is queued on pCPU ${queuedOn.get(v)} and on ${p}`);
        queuedOn.set(v, p);
      }
      checkPcpu(p, queue);
      if (!queues.isOnline(p)) checkOffline(p, queue);
    }
    for (let v = 0; v < shape.vcpus; v++) {
      if (vcpu.domain(v) === NOBODY) {
        must(!runningOn.has(v) && !queuedOn.has(v), () => `VCPU ${v} is nobody's, and on a pCPU or in a queue`);
        must(timer.position(2 * v) === 0 && timer.position(2 * v + 1) === 0, () => `nobody's VCPU ${v} has a timer`);
        continue;
      }
      checkVcpu(v, runningOn, queuedOn);
      checkRunstates(v);
      checkWakeUp(v);
    }
    checkTimers();
    checkDomains();
    broken.push(...findBrokenLines());
    if (hasPages) broken.push(...findBrokenPages());
    checkCredit2();
    for (let d = 0; d < shape.domains; d++) {
      let pollers = 0;
      for (let k = 0; k < domain.maxVcpus(d); k++) if (vcpu.pollPort(domain.firstVcpu(d) + k) !== 0) pollers++;
      must(domain.pollers(d) === pollers, () => `domain ${d}: ${domain.pollers(d)} pollers, found ${pollers}`);
    }
    return broken;
  };
}
