/**
 * Ordered mode on two pinned pools: two workers against one thread, in rounds that alternate within one process, so that a slow
 * moment of the host hits both. Beside it, what the host gives at that moment: two machines of one pool each, one thread each, that
 * know nothing of each other, at the same time against one after the other.
 *
 *   node dist/perf/groups.js [--pcpus 4] [--rounds 15] [--latency 50000] [--scheduler credit] [--json]   (pCPUs of one pool)
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { GuestConfig, MachineConfig } from '../src/machine/config.js';
import { Machine } from '../src/machine/machine.js';
import { benchConfig, shortPhases } from './workloads.js';

const { values } = parseArgs({
  options: {
    pcpus: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '15' },
    latency: { type: 'string', default: '50000' },
    scheduler: { type: 'string', default: 'credit' },
    json: { type: 'boolean', default: false },
  },
});
const perPool = Number(values.pcpus);
const rounds = Number(values.rounds);
const WARM_UP = 4;
/** About 200,000 events a round. */
const STEP_NS = 12.8e9 / (8 * perPool);

const guests = shortPhases(2 * perPool, 8 * perPool, 2);
const make = (pcpus: number, threads: number, of: readonly GuestConfig[]): Promise<Machine> => {
  const over: Partial<MachineConfig> = { latencyNs: Number(values.latency), scheduler: values.scheduler };
  return Machine.create(
    benchConfig({ ...over, pcpus, threads, guests: of, durationNs: (WARM_UP + rounds + 1) * STEP_NS }),
  );
};
/** Threads of this process, and how long each has run, ns; nothing where the host does not tell. */
function threads(): Map<string, number> {
  const folder = '/proc/self/task';
  if (!existsSync(folder)) return new Map();
  const timeOf = (id: string): number => Number(readFileSync(`${folder}/${id}/schedstat`, 'utf8').split(' ')[0]);
  return new Map(readdirSync(folder).map((id) => [id, timeOf(id)]));
}

interface Timed {
  readonly machine: Machine;
  /** Processor time of the busiest of its threads so far, ns. */
  busiest(): number;
}

async function timed(pcpus: number, workers: number, of: readonly GuestConfig[]): Promise<Timed> {
  const before = threads();
  const machine = await make(pcpus, workers, of);
  const own = [...threads().keys()].filter((id) => !before.has(id));
  return { machine, busiest: () => Math.max(...own.map((id) => threads().get(id) ?? 0)) };
}

// The first pool alone is the same machine whichever of the two it is.
const alone = guests.slice(0, 4 * perPool);
const oneTimed = await timed(2 * perPool, 1, guests);
const twoTimed = await timed(2 * perPool, 2, guests);
const [one, two] = [oneTimed.machine, twoTimed.machine];
const [left, right] = [await make(perPool, 1, alone), await make(perPool, 1, alone)];

async function msOf(act: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await act();
  return performance.now() - began;
}

const median = (xs: readonly number[]): number => xs.toSorted((a, b) => a - b)[xs.length >> 1] ?? Number.NaN;
const ratios: number[] = [];
const hostRatios: number[] = [];
const oneMs: number[] = [];
let [oneFrom, twoFrom] = [0, 0];
for (let n = 1; n <= WARM_UP + rounds; n++) {
  const until = n * STEP_NS;
  const a = await msOf(() => one.runUntil(until));
  const b = await msOf(() => two.runUntil(until));
  // The middle of a round for one after the other, its end for both at once.
  const mid = until - STEP_NS / 2;
  const inTurn = await msOf(async () => {
    await left.runUntil(mid);
    await right.runUntil(mid);
  });
  const atOnce = await msOf(() => Promise.all([left.runUntil(until), right.runUntil(until)]));
  if (n === WARM_UP) [oneFrom, twoFrom] = [oneTimed.busiest(), twoTimed.busiest()];
  if (n <= WARM_UP) continue;
  ratios.push(a / b);
  oneMs.push(a);
  hostRatios.push(inTurn / atOnce);
}

/** What it would be if no other process took the cores: a thread that waits has not run. */
const processorTime = (oneTimed.busiest() - oneFrom) / (twoTimed.busiest() - twoFrom);

async function end(machine: Machine): Promise<string> {
  const running = machine.run();
  await machine.resume();
  const { hash, events } = await running;
  await machine.close();
  return `${hash} after ${events} events`;
}
const [first, second] = [await end(one), await end(two)];
await Promise.all([left.stop(), right.stop()]);
await Promise.all([left.close(), right.close()]);

const result = {
  ratio: median(ratios),
  best: Math.max(...ratios),
  host: median(hostRatios),
  hostBest: Math.max(...hostRatios),
  processorTime,
  isSame: first === second,
};
if (values.json) process.stdout.write(`${JSON.stringify(result)}\n`);
else {
  const x = (ratio: number): string => `${ratio.toFixed(2)} x`;
  const machine = `two pools of ${perPool} pCPUs and ${4 * perPool} VCPUs, ${values.scheduler}, L = ${values.latency} ns`;
  console.log(`${machine}; medians of ${rounds} rounds`);
  console.log(`one thread                       ${first}, ${median(oneMs).toFixed(1)} ms a round`);
  console.log(`two workers                      ${second}`);
  console.log(`two workers to one thread        ${x(result.ratio)}   (best ${x(result.best)})`);
  console.log(`two machines at once to in turn  ${x(result.host)}   (best ${x(result.hostBest)})`);
  console.log(`the same in processor time        ${x(processorTime)}   (one thread to the busier worker)`);
  console.log(`of what the host gives           ${((100 * result.ratio) / result.host).toFixed(0)} %`);
}
if (!result.isSame) {
  console.error(`one thread: ${first}; two workers: ${second}`);
  process.exitCode = 1;
}
