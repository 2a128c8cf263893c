/** State of the run itself: who asked for what. Words that several threads write are changed by Atomics only. */
import { type Region, tableRegion } from '../shared/image.js';
import { struct } from '../shared/struct.js';

/** From `finished` on it is over; `aborted`: by a fault, and who waits for a lock waits in vain. */
export const RUN = { running: 0, paused: 1, finished: 2, aborted: 3 } as const;
export const OUTCOME = { none: 0, horizon: 1, idle: 2, stopped: 3, aborted: 4 } as const;

export const CONTROL = struct(
  'control',
  {
    /** Pause when simulation time reaches this; Infinity = do not. Holder of the token. */
    pauseAt: 'f64',
    /** Turns left to step; -1 = no limit. Holder of the token. */
    stepsLeft: 'f64',
    /** Groups side by side: every worker takes its turns before this. Holder of the token, before it calls the others. */
    sectionEnd: 'f64',
    /** One of RUN. Written by the holder of the token, and by the main thread to abort. */
    state: 'i32',
    outcome: 'i32',
    /** Workers that wait for the token to serve a command. Atomics. */
    wanted: 'i32',
    /** Worker that holds the token. Holder. */
    holder: 'i32',
    /** Free mode: times a worker's floor was lowered; who looks at all floors looks again if it changed. Atomics. */
    lowered: 'i32',
    /** Groups side by side: workers that were called and are not through. Atomics. */
    sectionLeft: 'i32',
  },
  64,
);

/** One per worker. */
export const WORKER = struct(
  'worker',
  {
    /** Safe points passed; grows while the worker is well. Its own. */
    safePoints: 'i32',
    /** 1 while it wants the token to serve a command. Its own. */
    wants: 'i32',
    /** 1 while it rests because the machine is paused. Atomics. */
    parked: 'i32',
    /** Groups side by side: 1 from when it is called until it is through. The caller's, then its own. */
    isCalled: 'i32',
  },
  64,
);

export const controlRegions = (workers: number): Region[] => [tableRegion(CONTROL, 1), tableRegion(WORKER, workers)];
