/** What must hold of a machine between any two turns, from its records alone. */
import { expect } from 'chai';
import { MASK } from '../../src/balancer/records.js';
import { VPF_down } from '../../src/hv/records.js';
import { CREDIT_GLOBAL } from '../../src/hv/sched/credit-records.js';
import { NONE } from '../../src/shared/list.js';
import type { Simulation } from '../support/in-process.js';

export interface Invariants {
  /** @throws AssertionError naming what is broken */
  check(): void;
}

/** A failing expect is slow to make ready a million times: compare first. */
function same(actual: unknown, wanted: unknown, what: () => string): void {
  if (actual !== wanted) expect(actual, what()).to.equal(wanted);
}

export function invariants({ built }: Pick<Simulation, 'built'>): Invariants {
  const { context } = built.core.hv;
  const { machine, vcpu, pcpu, domain, queues, shape, isIdle, idleOf } = context;
  const { runq, entry, list, masks, word } = queues;

  function queueOf(p: number): number[] {
    const out: number[] = [];
    for (let v = list.first(p); v !== NONE; v = list.next(v)) {
      out.push(v);
      if (out.length > shape.vcpus) throw new Error(`the queue of pCPU ${p} is a circle`);
    }
    return out;
  }

  function checkVcpu(v: number, runningOn: ReadonlyMap<number, number>, queuedOn: ReadonlyMap<number, number>): void {
    const name = (what: string) => () => `${what} of VCPU ${v} at ${machine.now(0)} ns`;
    let sum = 0;
    for (let k = 0; k < 4; k++) {
      if (vcpu.runstateTime(v, k) < 0) throw new Error(name('a negative runstate time')());
      sum += vcpu.runstateTime(v, k);
    }
    sum += machine.now(0) - vcpu.stateEntryTime(v);
    same(sum, machine.now(0), name('the sum of runstates'));
    const p = runningOn.get(v);
    const flags = vcpu.pauseFlags(v);
    same(vcpu.runstate(v) === 0, p !== undefined, name('being RUNSTATE_running and current'));
    same(entry.isRunning(v) !== 0, p !== undefined, name('isRunning'));
    if (p !== undefined) same(entry.processor(v), p, name('the processor'));
    else {
      same(queuedOn.has(v), flags === 0, name('being queued when nothing holds it'));
      const state = vcpu.runstate(v);
      if (flags === 0) same(state, 1, name('the runstate'));
      else if (state === 1) throw new Error(name('runnable in spite of a pause flag: the runstate')());
    }
    if (queuedOn.has(v)) same(queuedOn.get(v), entry.processor(v), name('the pCPU of the queue'));
    if ((flags & VPF_down) !== 0 && p === undefined) same(vcpu.runstate(v) > 1, true, name('being down and off'));
    let allowed = masks.has(queues.affinity(v, 1), entry.processor(v));
    if (p !== undefined) allowed &&= masks.has(queues.affinity(v, 1), p);
    same(allowed, true, name('hard affinity'));
  }

  return {
    check() {
      const runningOn = new Map<number, number>();
      const queuedOn = new Map<number, number>();
      for (let p = 0; p < shape.pcpus; p++) {
        const current = pcpu.current(p);
        if (isIdle(current)) same(current, idleOf(p), () => `the idle VCPU of pCPU ${p}`);
        else {
          same(runningOn.get(current), undefined, () => `a second pCPU of VCPU ${current}`);
          runningOn.set(current, p);
        }
        const queue = queueOf(p);
        for (const v of queue) {
          same(queuedOn.get(v), undefined, () => `a second queue of VCPU ${v}`);
          queuedOn.set(v, p);
        }
        const runnable = queue.length + (isIdle(current) ? 0 : 1);
        same(runq.nrRunnable(p), runnable, () => `nrRunnable of pCPU ${p} at ${machine.now(0)} ns`);
        const overloaded = masks.has(word(MASK.overloaded), p);
        same(overloaded, runnable > 1, () => `overloaded of pCPU ${p} at ${machine.now(0)} ns`);
        if (masks.has(word(MASK.idlers), p))
          same(isIdle(current), true, () => `idling of pCPU ${p}, which is in idlers`);
        checkOrder(p, queue);
      }
      for (let v = 0; v < shape.vcpus; v++) checkVcpu(v, runningOn, queuedOn);
      for (let d = 0; d < shape.domains; d++) {
        let pollers = 0;
        for (let k = 0; k < domain.maxVcpus(d); k++) if (vcpu.pollPort(domain.firstVcpu(d) + k) !== 0) pollers++;
        same(domain.pollers(d), pollers, () => `the pollers of domain ${d} at ${machine.now(0)} ns`);
      }
    },
  };

  function currentEpoch(): number {
    const { base } = built.image.column(CREDIT_GLOBAL, 'sortEpoch');
    return built.image.i32[base]!;
  }

  /** Sorted by priority, unless accounting changed priorities and the pCPU has not sorted since. */
  function checkOrder(p: number, queue: readonly number[]): void {
    if (runq.sortEpoch(p) !== currentEpoch()) return;
    for (let k = 1; k < queue.length; k++) {
      const [before, after] = [queue[k - 1]!, queue[k]!];
      // A yielder stands behind one VCPU of lower priority.
      if (entry.pri(before) < entry.pri(after)) throw new Error(`the queue of pCPU ${p} is not sorted: ${queue}`);
    }
  }
}
