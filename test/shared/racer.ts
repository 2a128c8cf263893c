/**
 * The thread that the races of this folder run against: one job, named in workerData, over the shared words it is given.
 * Jobs meet at a gate first, so that they really overlap.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { doorbells } from '../../src/shared/doorbell.js';
import { addSample } from '../../src/shared/histogram.js';
import { noJitter } from '../../src/shared/jitter.js';
import { releaseWord, type SharedWords, sharedWords } from '../../src/shared/shared-words.js';
import { spinlocks } from '../../src/shared/spinlock.js';
import { type StopMachine, stopMachine } from '../../src/shared/stop-machine.js';
import { beginUpdate, endUpdate } from '../../src/shared/version-counter.js';

export interface RacerData {
  readonly job: keyof typeof JOBS;
  readonly buffer: SharedArrayBuffer;
  /** Number of this racer, and how many there are. */
  readonly self: number;
  readonly racers: number;
  /** How often it does its job; of some jobs: for how many ms. */
  readonly rounds: number;
}

/** Word of the gate; the words below it are the jobs' own. */
export const GATE = 16;
export const STOP = 17;
/** Never set: the threads are together. */
const SEPARATE = 18;
/** First word of what the jobs work on, and byte addresses of the structures there. */
export const AREA = 1024;
export const COUNTER = 512;

/** Words of the payload that a versioned update fills with one number. */
export const PAYLOAD = 8;
const [LOCKS, HELD] = [4 * AREA, 4 * AREA + 1024];
const CLOCKS = 256;

/** Two doubles that differ in both halves. */
export const [ONE_DOUBLE, OTHER_DOUBLE] = [1.5 + Number.EPSILON, -2.25e300] as const;
/** Words of a message: a number that all of `MESSAGE` get, then the flag that says that they have it. */
export const MESSAGE = [AREA, AREA + 16, AREA + 17, AREA + 64] as const;
export const FLAG = AREA + 128;
/** Turn words of workers that doze, and how long at a time, ms. */
export const BELLS = 2 * AREA;
export const DOZE_MS = 20;

/** Where the machine of `stopped` is stopped. */
export const STOPS = 3 * AREA;
const OFTEN = 50;

const wordsOf = (i32: Int32Array, exclusive: boolean): SharedWords =>
  sharedWords(i32, new Uint8Array(i32.buffer), exclusive ? 'never' : 'always');

export const lockOf = (i32: Int32Array, self: number) =>
  spinlocks(i32, new Float64Array(i32.buffer), LOCKS, HELD, {
    debug: true,
    // A clock of each racer's own, in words that nothing else uses.
    free: {
      now: CLOCKS / 2 + self,
      firstHandedOver: Infinity,
      handOverNs: 0,
      separate: SEPARATE,
      firstOwn: 0,
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

/** Does `act` in rounds, numbered from 1, for so many ms: on a busy host racers overlap only now and then. @returns rounds */
function during(ms: number, act: (n: number) => void): number {
  let n = 0;
  for (const until = performance.now() + ms; performance.now() < until; ) for (let k = 0; k < 1000; k++) act(++n);
  return n;
}

/** Adds one to the counter; in `AREA + self` is how often. */
const added =
  (exclusive: boolean) =>
  (i32: Int32Array, { self, rounds: ms }: RacerData): void => {
    const words = wordsOf(i32, exclusive);
    i32[AREA + self] = during(ms, () => words.add(COUNTER, 1));
  };

/** Sets and clears a bit of its own in a word that all share, and counts in `AREA + self` how often it was not as left. */
const toggled =
  (exclusive: boolean) =>
  (i32: Int32Array, { self, rounds: ms }: RacerData): void => {
    const words = wordsOf(i32, exclusive);
    const bit = 1 << (31 - self);
    during(ms, () => {
      if ((words.or(COUNTER, bit) & bit) !== 0) i32[AREA + self]!++;
      if ((words.and(COUNTER, ~bit) & bit) === 0) i32[AREA + self]!++;
    });
  };

/** Swaps numbers with the counter; in `AREA + self` is the sum of what it put there, less what it found. */
const exchanged =
  (exclusive: boolean) =>
  (i32: Int32Array, { self, rounds: ms }: RacerData): void => {
    const words = wordsOf(i32, exclusive);
    during(ms, (n) => {
      i32[AREA + self]! += n - words.exchange(COUNTER, n);
    });
  };

/**
 * Takes turns: each adds one to the two words of its own at `AREA + 16 self`, one after the other. Now and then it stops the others,
 * counts in `COUNTER + 16 self` those whose two words differ, and adds one to both words of each. In `COUNTER + 16 self + 1` it
 * counts its turns, in + 2 its stops.
 */
const stopping =
  (stopped: (stop: StopMachine, act: () => void) => void) =>
  (i32: Int32Array, { self, racers, rounds: ms }: RacerData): void => {
    const stop = stopMachine(i32, 4 * STOPS, self, racers, 100, () => false);
    const own = AREA + 16 * self;
    const counts = COUNTER + 16 * self;
    stop.begin();
    during(ms, (n) => {
      if (stop.isAsked()) stop.giveWay();
      i32[own]!++;
      Atomics.load(i32, own);
      i32[own + 1]!++;
      i32[counts + 1]!++;
      if (n % 1000 === 0) {
        stop.rest();
        stop.begin();
      }
      if (n % OFTEN !== self) return;
      stopped(stop, () => {
        i32[counts + 2]!++;
        for (let w = 0; w < racers; w++) {
          const words = AREA + 16 * w;
          if (i32[words] !== i32[words + 1]) i32[counts]!++;
          i32[words]!++;
          i32[words + 1]!++;
        }
      });
    });
    stop.rest();
  };

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
  /** Takes a lock that brings time, and counts in `AREA + self` how often it was back before what its last holder did. */
  timed(i32: Int32Array, { self, rounds }: RacerData): void {
    const f64 = new Float64Array(i32.buffer);
    const locks = lockOf(i32, self);
    const [now, done] = [CLOCKS / 2 + self, COUNTER / 2];
    for (let n = 0; n < rounds; n++) {
      locks.acquire(0, self);
      if (f64[now]! < f64[done]!) i32[AREA + self]!++;
      f64[now]! += 1 + self;
      f64[done] = f64[now]!;
      locks.release(0, self);
    }
  },
  /** Adds eight samples in turn to the histogram of all. */
  sampled(i32: Int32Array, { rounds }: RacerData): void {
    for (let n = 0; n < rounds; n++) addSample(i32, AREA, n & 7);
  },
  stopped: stopping((stop, act) => stop.stopped(act)),
  stoppedCarelessly: stopping((_, act) => act()),
  added: added(false),
  addedPlainly: added(true),
  toggled: toggled(false),
  toggledPlainly: toggled(true),
  exchanged: exchanged(false),
  exchangedPlainly: exchanged(true),
  /** Writes a message, then the flag that says so; growing numbers, until told to stop. */
  published(i32: Int32Array): void {
    for (let n = 1; Atomics.load(i32, STOP) === 0; n = (n + 1) | 0) {
      for (const w of MESSAGE) i32[w] = n;
      releaseWord(i32, FLAG, n);
    }
  },
  /** The same in the wrong order. */
  publishedTooSoon(i32: Int32Array): void {
    for (let n = 1; Atomics.load(i32, STOP) === 0; n = (n + 1) | 0) {
      releaseWord(i32, FLAG, n);
      for (const w of MESSAGE) i32[w] = n;
    }
  },
  /** Stores one double and the other in turn, until told to stop. */
  doubles(i32: Int32Array): void {
    const f64 = new Float64Array(i32.buffer);
    while (Atomics.load(i32, STOP) === 0) {
      f64[AREA / 2] = ONE_DOUBLE;
      f64[AREA / 2] = OTHER_DOUBLE;
    }
  },
  /** The same in two halves. */
  halves(i32: Int32Array): void {
    const [one, other] = [ONE_DOUBLE, OTHER_DOUBLE].map((x) => new Int32Array(Float64Array.of(x).buffer));
    while (Atomics.load(i32, STOP) === 0) {
      for (const halves of [one!, other!]) {
        i32[AREA] = halves[0]!;
        i32[AREA + 1] = halves[1]!;
      }
    }
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
  /**
   * Dozes until the counter is past what it last saw, and says what it saw in `AREA`. In `AREA + 16` it counts the dozes that
   * lasted as long as they may although the counter had changed.
   */
  dozer(i32: Int32Array, { self, rounds }: RacerData): void {
    const bells = doorbells(i32, 4 * BELLS);
    bells.grant(self);
    for (let seen = 0; seen < rounds; seen = Atomics.load(i32, COUNTER)) {
      Atomics.store(i32, AREA, seen);
      Atomics.notify(i32, AREA);
      const isStuck = (): boolean => Atomics.load(i32, COUNTER) === seen;
      while (isStuck()) {
        const began = performance.now();
        bells.doze(self, DOZE_MS, isStuck);
        if (performance.now() - began >= DOZE_MS && !isStuck()) Atomics.add(i32, AREA + 16, 1);
      }
    }
    Atomics.store(i32, AREA, rounds);
    Atomics.notify(i32, AREA);
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
