/**
 * One throughput case in a process of its own: `throughput.js PCPUS VCPUS THREADS [ordered|free [POOLS]]`; with POOLS the pCPUs
 * and VCPUs are split into so many, each pinned to its own. Prints JSON: scheduler events a second
 * of the machine and of the lean loop beside it, in rounds that alternate, so that a slow moment of the host hits both.
 */
import { Bench } from 'tinybench';
import { Machine } from '../src/machine/machine.js';
import { leanLoop } from './lean.js';
import { benchConfig, shortPhases } from './workloads.js';

const [pcpus, vcpus, threads] = process.argv.slice(2, 5).map(Number) as [number, number, number];
const mode = process.argv[5] === 'free' ? 'free' : 'ordered';
const pools = Number(process.argv[6] ?? 1);
const windowNs = Number(process.argv[7] ?? 100_000);
const rssBefore = process.memoryUsage().rss;
const began = performance.now();
const machine = await Machine.create(
  benchConfig({ pcpus, threads, mode, windowNs, durationNs: Infinity, guests: shortPhases(pcpus, vcpus, pools) }),
);
const startMs = performance.now() - began;
const rssMib = (process.memoryUsage().rss - rssBefore) / 2 ** 20;

// About 400,000 events a step, whatever the shape, and enough steps to warm up every tier of the compiler. Of free mode four times as
// many: at the end of a step workers wait for the last one, and both begin the next from sleep.
const WARM_UP_STEPS = 10;
const STEPS = 10;
const STEP_NS = ((mode === 'free' ? 4 : 1) * 25.6e9) / vcpus;
let until = 0;
const rates: number[] = [];
const leanRates: number[] = [];
const lean = leanLoop();
const LEAN_TURNS = 4_000_000;
lean.run(LEAN_TURNS);

async function machineStep(): Promise<number> {
  until += STEP_NS;
  const before = machine.progress().events;
  const began = performance.now();
  await machine.runUntil(until);
  return ((machine.progress().events - before) / (performance.now() - began)) * 1000;
}

for (let n = 0; n < WARM_UP_STEPS; n++) await machineStep();
// One iteration of each at a time, in turn.
for (let n = 0; n < STEPS; n++) {
  const bench = new Bench({ iterations: 1, time: 0, warmup: false });
  bench.add('lean loop', () => {
    const started = performance.now();
    lean.run(LEAN_TURNS);
    leanRates.push((LEAN_TURNS / (performance.now() - started)) * 1000);
  });
  bench.add('machine', async () => {
    rates.push(await machineStep());
  });
  await bench.run();
}
await machine.stop();
await machine.close();

const median = (xs: number[]): number => xs.toSorted((a, b) => a - b)[xs.length >> 1] ?? 0;
process.stdout.write(
  `${JSON.stringify({ pcpus, vcpus, threads, mode, pools, eventsPerSecond: median(rates), best: Math.max(...rates), lean: median(leanRates), startMs, rssMib })}\n`,
);
