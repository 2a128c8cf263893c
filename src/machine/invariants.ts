/**
 * What must hold of a machine between any two turns, and of one in free mode while all its workers rest, from its records
 * alone: no VCPU on two pCPUs, none in a queue that is not its own, no wake-up lost, no runstate sum off.
 */
import { CPUPOOL, TIMER, VPF_blocked, VPF_down, VPF_migrating, VPF_shutdown } from '../hv/records.js';
import { CREDIT_GLOBAL } from '../hv/sched/credit-records.js';
import { findScheduler } from '../hv/sched/registry.js';
import { lateBound } from '../hv/time-check.js';
import { isMailUnderWay } from '../pcpu/mail.js';
import { NONE } from '../shared/list.js';
import { RUNSTATE_blocked, RUNSTATE_runnable, RUNSTATE_running } from '../shared/public/vcpu.js';
import type { BuiltMachine } from './build.js';

/** Says what is broken; nothing when all is well. Bind it once, call it often. */
export function invariants({ image, core, params }: BuiltMachine): () => string[] {
  const { hv } = core;
  const { vcpu, pcpu, domain, queues, shape, isIdle, idleOf } = hv.context;
  const { runq, entry, list, masks } = queues;
  const timer = image.table(TIMER);
  /** Whether a pCPU may be idle though somebody waits. */
  const mayIdle = params.hv.policies.map((name) => findScheduler(name)?.isWorkConserving === false);
  const pools = image.table(CPUPOOL);
  const credit = params.hv.policies.indexOf('credit');
  const global = credit < 0 ? undefined : image.table(CREDIT_GLOBAL);
  const NO_POLICY = -1;
  const policyOf = (p: number): number => (runq.pool(p) === NONE ? NO_POLICY : pools.policy(runq.pool(p)));
  /** What a timer may be late in free mode, ns; not looked at in ordered mode. */
  const lateNs = lateBound(params.hv.free?.windowNs, params.hv.latencyNs);
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
    // VCPUs were made at time 0; what has passed since the last change belongs to the state they are in.
    must(sum === vcpu.stateEntryTime(v), () => `VCPU ${v}: runstates sum to ${sum}, not to ${vcpu.stateEntryTime(v)}`);
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
      queue === undefined || queue === entry.processor(v),
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
    const runnable = queue.length + (isIdle(current) ? 0 : 1);
    must(runq.nrRunnable(p) === runnable, () => `pCPU ${p}: nrRunnable ${runq.nrRunnable(p)}, found ${runnable}`);
    must(masks.has(queues.overloaded(p), p) === runnable > 1, () => `pCPU ${p}: overloaded with ${runnable} runnable`);
    must(!masks.has(queues.idlers(p), p) || isIdle(current), () => `pCPU ${p} is in idlers and runs VCPU ${current}`);
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
    const late = pcpu.turnedAt(p) - pcpu.timerAt(p);
    if (lateNs > 0) must(late <= lateNs, () => `pCPU ${p}: a timer is ${late} ns late`);
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
    for (let t = 0; t < 2 * shape.vcpus; t++) {
      must((timer.position(t) !== 0) === seen.has(t), () => `timer ${t}: position ${timer.position(t)}`);
    }
  }

  /** Sorted by priority, unless accounting changed priorities and the pCPU has not sorted since. */
  function checkOrder(p: number, queue: readonly number[]): void {
    if (runq.sortEpoch(p) !== global?.sortEpoch(runq.pool(p))) return;
    for (let k = 1; k < queue.length; k++) {
      // A yielder stands behind one VCPU of lower priority.
      must(entry.pri(queue[k - 1]!) >= entry.pri(queue[k]!), () => `the queue of pCPU ${p} is not sorted: ${queue}`);
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
    }
    for (let v = 0; v < shape.vcpus; v++) {
      checkVcpu(v, runningOn, queuedOn);
      checkRunstates(v);
      checkWakeUp(v);
    }
    checkTimers();
    for (let d = 0; d < shape.domains; d++) {
      let pollers = 0;
      for (let k = 0; k < domain.maxVcpus(d); k++) if (vcpu.pollPort(domain.firstVcpu(d) + k) !== 0) pollers++;
      must(domain.pollers(d) === pollers, () => `domain ${d}: ${domain.pollers(d)} pollers, found ${pollers}`);
    }
    return broken;
  };
}
