/** Starts racers (racer.ts) over one fresh shared buffer. */
import { Worker } from 'node:worker_threads';
import { GATE, type RacerData } from './racer.js';

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
