/**
 * What one decision costs under each scheduler, ns: a switch (the running VCPU blocks, another is chosen and switched in) and a
 * wake-up (the VCPU is queued, and a pCPU found for it). Direct calls on one thread, four VCPUs a pCPU that all want to run; each
 * call is timed by itself, the cost of timing taken off, and the median told, which a busy host moves little.
 */
import { buildMachine } from '../src/machine/build.js';
import { parseRtApp } from '../src/workload/rt-app.js';
import { benchConfig, shortPhases } from './workloads.js';

export interface DecisionCost {
  readonly switchNs: number;
  readonly wakeNs: number;
}

const VCPUS_PER_PCPU = 4;
const WARM_UP = 10_000;
const SAMPLES = 20_000;
/** Between two decisions, ns: timeslices end, credit is used up. */
const STEP_NS = 50_000;
const VPF_blocked = 1;
const median = (xs: readonly number[]): number => xs.toSorted((a, b) => a - b)[xs.length >> 1] ?? 0;
const NS_PER_MS = 1e6;

function timed(act: () => void): number {
  const began = performance.now();
  act();
  return (performance.now() - began) * NS_PER_MS;
}

/** @param scheduler one of the built-in ones */
export function decisionCost(scheduler: string, pcpus: number): DecisionCost {
  const guests = shortPhases(pcpus, VCPUS_PER_PCPU * pcpus).map((g) => ({
    ...g,
    workload: parseRtApp(`{"tasks":{"t":{"instance":${g.vcpus},"run":1000000000}}}`, 'decisions'),
  }));
  const { core } = buildMachine(benchConfig({ pcpus, guests, scheduler }), 1);
  const { hv, keys, turns } = core;
  const { machine, floors, pcpu, isIdle } = hv.context;
  for (let t = keys.key(keys.root()); t < 20e6; t = keys.key(keys.root())) {
    floors.setFloor(0, t);
    turns.take(keys.root());
  }

  /** Every pCPU that was called goes through the scheduler, so that none is left marked as called. */
  function serve(): void {
    for (let q = 0; q < pcpus; q++) {
      for (let n = 0; n < 8 && (pcpu.reschedIpiAt(q) < Infinity || pcpu.softirq(q) !== 0); n++) {
        pcpu.setReschedIpiAt(q, Infinity);
        hv.smp.enterTurn(q);
        hv.sched.schedule(q);
      }
    }
  }

  const switches: number[] = [];
  const wakes: number[] = [];
  const clock: number[] = [];
  for (let k = 0, p = 0; switches.length < WARM_UP + SAMPLES; k++) {
    p = p + 1 === pcpus ? 0 : p + 1;
    machine.setNow(0, machine.now(0) + STEP_NS);
    hv.smp.enterTurn(p);
    const v = pcpu.current(p);
    if (isIdle(v)) {
      if (k > 100 * (WARM_UP + SAMPLES)) throw new Error(`${scheduler}: pCPU ${p} has nothing to do`);
      hv.sched.schedule(p);
    } else {
      hv.sched.sleep(v, VPF_blocked);
      switches.push(timed(() => hv.sched.schedule(p)));
      wakes.push(timed(() => hv.sched.unblock(v)));
      clock.push(timed(() => {}));
    }
    serve();
  }
  const cost = (samples: readonly number[]): number =>
    Math.max(0, median(samples.slice(WARM_UP)) - median(clock.slice(WARM_UP)));
  return { switchNs: cost(switches), wakeNs: cost(wakes) };
}
