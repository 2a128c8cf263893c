/**
 * The schedulers side by side: events a second of the same load at 1, 16 and 128 pCPUs on one thread, in rounds that alternate, and
 * what each makes of credit's in the same round; then what one decision costs. `node dist/perf/schedulers.js [FILE]` adds a policy
 * from a file to the first table, and `--decisions` leaves that out.
 */
import { basename } from 'node:path';
import { Machine } from '../src/machine/machine.js';
import { type DecisionCost, decisionCost } from './decisions.js';
import { benchConfig, shortPhases } from './workloads.js';

const BUILT_IN = ['credit', 'credit2', 'sedf', 'null'];
const files = process.argv.slice(2).filter((argument) => argument !== '--decisions');
const POLICIES = [...BUILT_IN, ...files];
/** pCPUs and VCPUs: four VCPUs a pCPU, and one. */
const SHAPES: readonly (readonly [number, number])[] = [
  [1, 4],
  [16, 64],
  [128, 512],
  [16, 16],
  [128, 128],
];
const ROUNDS = 3;
const WARM_UP_STEPS = 5;
const STEPS = 5;
const median = (xs: readonly number[]): number => xs.toSorted((a, b) => a - b)[xs.length >> 1] ?? 0;

async function rate(scheduler: string, pcpus: number, vcpus: number): Promise<number> {
  const guests = shortPhases(pcpus, vcpus);
  const machine = await Machine.create(benchConfig({ pcpus, threads: 1, durationNs: Infinity, scheduler, guests }));
  const rates: number[] = [];
  for (let n = 1; n <= WARM_UP_STEPS + STEPS; n++) {
    const before = machine.progress().events;
    const began = performance.now();
    await machine.runUntil((n * 25.6e9) / vcpus);
    if (n > WARM_UP_STEPS) rates.push(((machine.progress().events - before) / (performance.now() - began)) * 1000);
  }
  await machine.stop();
  await machine.close();
  return median(rates);
}

/** Events a second of the whole machine. */
async function printRates(): Promise<void> {
  console.log(
    `${'events a second (to credit)'.padEnd(30)}${POLICIES.map((name) => basename(name).padStart(22)).join('')}`,
  );
  for (const [pcpus, vcpus] of SHAPES) {
    const rounds: number[][] = [];
    for (let n = 0; n < ROUNDS; n++) {
      const round: number[] = [];
      for (const name of POLICIES) round.push(await rate(name, pcpus, vcpus));
      rounds.push(round);
    }
    const cells = POLICIES.map((_, k) => {
      const events = median(rounds.map((round) => round[k]!)) / 1e6;
      const ratio = median(rounds.map((round) => round[k]! / round[0]!));
      return `${events.toFixed(2)} M/s (${ratio.toFixed(2)} x)`.padStart(22);
    });
    console.log(`${`${pcpus} pCPUs, ${vcpus} VCPUs`.padEnd(30)}${cells.join('')}`);
  }
}

/** Medians of rounds in which the schedulers take turns. */
function printDecisions(): void {
  console.log(`\n${'ns a switch, a wake-up'.padEnd(30)}${BUILT_IN.map((name) => name.padStart(22)).join('')}`);
  for (const pcpus of [1, 16, 128]) {
    const rounds = Array.from({ length: ROUNDS }, () => BUILT_IN.map((name) => decisionCost(name, pcpus)));
    const cells = BUILT_IN.map((_, k) => {
      const cost = (of: (c: DecisionCost) => number): string => median(rounds.map((round) => of(round[k]!))).toFixed(0);
      return `${cost((c) => c.switchNs)}, ${cost((c) => c.wakeNs)}`.padStart(22);
    });
    console.log(`${`${pcpus} pCPU${pcpus === 1 ? '' : 's'}, ${4 * pcpus} VCPUs`.padEnd(30)}${cells.join('')}`);
  }
}

if (!process.argv.includes('--decisions')) await printRates();
printDecisions();
