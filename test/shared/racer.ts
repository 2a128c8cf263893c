/**
 * The thread that the races of this folder run against: one job, named in workerData, over the shared words it is given.
 * Jobs meet at a gate first, so that they really overlap.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { doorbells } from '../../src/shared/doorbell.js';
import { noJitter } from '../../src/shared/jitter.js';
import { spinlocks } from '../../src/shared/spinlock.js';
import { beginUpdate, endUpdate } from '../../src/shared/version-counter.js';

export interface RacerData {
  readonly job: keyof typeof JOBS;
  readonly buffer: SharedArrayBuffer;
  /** Number of this racer, and how many there are. */
  readonly self: number;
  readonly racers: number;
  readonly rounds: number;
}

/** Word of the gate; the words below it are the jobs' own. */
export const GATE = 16;
export const STOP = 17;
/** First word of what the jobs work on, and byte addresses of the structures there. */
export const AREA = 1024;
export const COUNTER = 512;

/** Words of the payload that a versioned update fills with one number. */
export const PAYLOAD = 8;
const [LOCKS, HELD] = [4 * AREA, 4 * AREA + 1024];
const CLOCKS = 256;

export const lockOf = (i32: Int32Array, self: number) =>
  spinlocks(i32, new Float64Array(i32.buffer), LOCKS, HELD, {
    debug: true,
    // A clock of each racer's own, in words that nothing else uses.
    free: {
      now: CLOCKS / 2 + self,
      firstHandedOver: Infinity,
      handOverNs: 0,
      spins: 100,
      jitter: noJitter,
      isEnded: () => false,
    },
  });

function meet(i32: Int32Array, racers: number): void {
  Atomics.add(i32, GATE, 1);
  while (Atomics.load(i32, GATE) < racers);
}

/** Adds one in two halves, with a little time for others between them. */
function increment(i32: Int32Array): void {
  const seen = i32[COUNTER]!;
  Atomics.load(i32, COUNTER + 64);
  i32[COUNTER] = seen + 1;
}

const JOBS = {
  /** Fills the payload with growing numbers under the version-counter protocol, until told to stop. */
  versioned(i32: Int32Array): void {
    for (let n = 1; Atomics.load(i32, STOP) === 0; n = (n + 1) | 0) {
      beginUpdate(i32, AREA);
      for (let k = 1; k <= PAYLOAD; k++) i32[AREA + k] = n;
      endUpdate(i32, AREA);
    }
  },
  /** The same without the first half of the protocol: the version moves once, after the write. */
  bumpedOnce(i32: Int32Array): void {
    for (let n = 1; Atomics.load(i32, STOP) === 0; n = (n + 1) | 0) {
      for (let k = 1; k <= PAYLOAD; k++) i32[AREA + k] = n;
      Atomics.store(i32, AREA, (i32[AREA]! + 2) | 0);
    }
  },
  locked(i32: Int32Array, { self, rounds }: RacerData): void {
    const locks = lockOf(i32, self);
    for (let n = 0; n < rounds; n++) {
      locks.acquire(0, self);
      increment(i32);
      locks.release(0, self);
    }
  },
  tryLocked(i32: Int32Array, { self, rounds }: RacerData): void {
    const locks = lockOf(i32, self);
    for (let n = 0; n < rounds; n++) {
      while (!locks.tryAcquire(0, self));
      increment(i32);
      locks.release(0, self);
    }
  },
  unlocked(i32: Int32Array, { rounds }: RacerData): void {
    for (let n = 0; n < rounds; n++) increment(i32);
  },
  /** Takes the token in turn with the next racer; only its holder touches the plain counter. */
  handOver(i32: Int32Array, { self, racers, rounds }: RacerData): void {
    const bells = doorbells(i32, 4 * AREA);
    for (let n = 0; n < rounds; n++) {
      while (!bells.hasToken(self)) bells.await(self, n % 3 === 0 ? 0 : 200, 30_000);
      i32[COUNTER]!++;
      bells.handOver(self, (self + 1) % racers);
    }
  },
  /** Sleeps at once, and says how many times it was rung. */
  answer(i32: Int32Array, { self, rounds }: RacerData): void {
    const bells = doorbells(i32, 4 * AREA);
    for (let n = 0; n < rounds; n++) {
      while (!bells.isRung(self)) bells.await(self, 0, 30_000);
      bells.answer(self);
      Atomics.add(i32, COUNTER, 1);
      Atomics.notify(i32, COUNTER);
    }
  },
};

if (!isMainThread) {
  const data = workerData as RacerData;
  const i32 = new Int32Array(data.buffer);
  meet(i32, data.racers);
  JOBS[data.job](i32, data);
  parentPort?.postMessage('done');
}
