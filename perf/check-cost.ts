/**
 * What the observer of `check-time` costs: `examples/check-time.yaml` on one thread in ordered mode, with and without it, in
 * rounds that alternate. Prints JSON: the median of the rounds' ratios, and the median events a second of both.
 */
import { fileURLToPath } from 'node:url';
import { loadScenario } from '../src/config/scenario.js';
import { Machine } from '../src/machine/machine.js';

const ROUNDS = 9;
const DURATION_NS = 20e9;
const { config } = loadScenario(fileURLToPath(new URL('../../examples/check-time.yaml', import.meta.url)));

async function rate(checkTime: boolean): Promise<number> {
  const machine = await Machine.create({ ...config, threads: 1, durationNs: DURATION_NS, checkTime });
  // The first fifth warms up every tier of the compiler.
  await machine.runUntil(DURATION_NS / 5);
  const before = machine.progress().events;
  const began = performance.now();
  await machine.runUntil(DURATION_NS * 0.95);
  const events = machine.progress().events - before;
  const seconds = (performance.now() - began) / 1000;
  await machine.stop();
  await machine.close();
  return events / seconds;
}

const median = (xs: readonly number[]): number => xs.toSorted((a, b) => a - b)[xs.length >> 1] ?? 0;
const rounds: { without: number; with: number }[] = [];
for (let n = 0; n < ROUNDS; n++) rounds.push({ without: await rate(false), with: await rate(true) });
process.stdout.write(
  `${JSON.stringify({
    cost: median(rounds.map((r) => 1 - r.with / r.without)),
    without: median(rounds.map((r) => r.without)),
    with: median(rounds.map((r) => r.with)),
  })}\n`,
);
