/**
 * Stopping the other workers for a moment (Linux' and Xen's stop_machine): what is done then needs no locks and no atomic
 * operations against them. A worker says when it begins to take turns and when it rests; it looks whether it is to stop between
 * any two turns, where it has no lock and nothing half done.
 */
import { type Region, rawRegion } from './image.js';
import { MachineEnded } from './spinlock.js';

/** Words, on cache lines of their own: who stops the others + 1, then for each worker 1 while it rests. */
const LINE_BYTES = 64;
const LINE = LINE_BYTES / 4;

export const stopMachineRegion = (workers: number): Region => rawRegion('stop-machine', LINE_BYTES, 1 + workers);

const restWordOf = (base: number, w: number): number => (base >> 2) + LINE * (1 + w);

/** Before the workers begin: all of them rest. */
export function allRest(i32: Int32Array, base: number, workers: number): void {
  for (let w = 0; w < workers; w++) i32[restWordOf(base, w)] = 1;
}

/** How long one that waits sleeps at a time once it has spun enough, host ms. */
const NAP_MS = 0.05;

export interface StopMachine {
  /** Before the first of several turns: waits while somebody else has the machine stopped. */
  begin(): void;
  /** After the last of them. */
  rest(): void;
  /** Whether this worker is to stop: it must come to `giveWay` soon. */
  isAsked(): boolean;
  /** Between two turns: waits until it may go on. */
  giveWay(): void;
  /**
   * Does something while no other worker takes a turn. May be called in a turn, holding no lock that others wait for: who else
   * wants to stop the machine at the same time goes first or afterwards. Within it, it is called at once.
   */
  stopped<T>(act: () => T): T;
}

/**
 * @param spins looks before one that waits sleeps for a moment
 * @param isEnded whether the machine is over: then somebody may never rest
 */
export function stopMachine(
  i32: Int32Array,
  base: number,
  self: number,
  workers: number,
  spins: number,
  isEnded: () => boolean,
): StopMachine {
  const WHO = base >> 2;
  const REST = restWordOf(base, self);
  let isStopper = false;

  function waitWhile(w: number, value: number): void {
    for (let n = 0; Atomics.load(i32, w) === value; n++) {
      if (n < spins) continue;
      Atomics.wait(i32, w, value, NAP_MS);
      if (isEnded()) throw new MachineEnded(`worker ${self} waited for a machine that has ended`);
    }
  }

  function begin(): void {
    for (;;) {
      // First "I run", then the look: of this worker and one that stops the machine at least one sees the other.
      Atomics.store(i32, REST, 0);
      const who = Atomics.load(i32, WHO);
      if (who === 0) return;
      Atomics.store(i32, REST, 1);
      waitWhile(WHO, who);
    }
  }

  return {
    begin,
    rest: () => {
      Atomics.store(i32, REST, 1);
    },
    isAsked: () => i32[WHO] !== 0,
    giveWay: begin,
    stopped(act) {
      if (isStopper) return act();
      // Two who stop each other: whoever comes second counts as resting until the first is through.
      const was = Atomics.exchange(i32, REST, 1);
      for (let who = 0; ; ) {
        who = Atomics.compareExchange(i32, WHO, 0, self + 1);
        if (who === 0) break;
        waitWhile(WHO, who);
      }
      Atomics.store(i32, REST, was);
      for (let w = 0; w < workers; w++) if (w !== self) waitWhile(restWordOf(base, w), 0);
      isStopper = true;
      try {
        return act();
      } finally {
        isStopper = false;
        Atomics.store(i32, WHO, 0);
      }
    },
  };
}
