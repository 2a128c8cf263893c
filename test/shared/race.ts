/** Starts racers (racer.ts) over one fresh shared buffer. */
import { Worker } from 'node:worker_threads';
import { GATE, type RacerData, STOP } from './racer.js';

/** How long to wait for what a race shows sooner or later, host ms: a busy host may run racers one after the other. */
export const PATIENCE_MS = 25_000;

export interface Race {
  readonly i32: Int32Array;
  /** Resolves when all racers are through; rejects when one fails. */
  readonly done: Promise<void>;
}

/** @param prepare called before any racer starts */
export function race(
  job: RacerData['job'],
  racers: number,
  rounds: number,
  prepare: (i32: Int32Array) => void = () => {},
): Race {
  const buffer = new SharedArrayBuffer(65536);
  const i32 = new Int32Array(buffer);
  prepare(i32);
  const finished = Array.from({ length: racers }, (_, self) => {
    const workerData: RacerData = { job, buffer, self, racers, rounds };
    const worker = new Worker(new URL('./racer.js', import.meta.url), { workerData });
    return new Promise<void>((resolve, reject) => {
      worker.once('message', () => resolve());
      worker.once('error', reject);
      worker.once('exit', (code) => {
        if (code !== 0) reject(new Error(`a racer exited with ${code}`));
      });
    });
  });
  return { i32, done: Promise.all(finished).then(() => undefined) };
}

/** Blocks this thread until all racers are at the gate: only then do they overlap with what comes next. */
export function waitForStart(i32: Int32Array, racers: number): void {
  while (Atomics.load(i32, GATE) < racers) Atomics.wait(i32, GATE + 1, 1, 1);
}

/** Runs a race again until it shows what it can show. */
export async function raceUntil(
  isShown: (i32: Int32Array) => boolean,
  job: RacerData['job'],
  racers: number,
  rounds: number,
): Promise<Int32Array> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const { i32, done } = race(job, racers, rounds);
    await done;
    if (isShown(i32) || performance.now() > until) return i32;
  }
}

/**
 * Looks again and again at what a racer writes, from this thread, and ends the race.
 * @param look returns whether enough was seen
 */
export async function watch(job: RacerData['job'], look: (i32: Int32Array) => boolean): Promise<Int32Array> {
  const { i32, done } = race(job, 1, 0);
  // Its thread starts from this one's event loop.
  await new Promise((resolve) => setTimeout(resolve, 1));
  waitForStart(i32, 1);
  const until = performance.now() + PATIENCE_MS;
  while (!look(i32) && performance.now() < until);
  Atomics.store(i32, STOP, 1);
  await done;
  return i32;
}
