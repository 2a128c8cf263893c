/**
 * Work that needs all other workers to stand still and so cannot be done in the middle of a turn, where a guest's lock may be held
 * that another worker waits for: it is put off to the end of the turn, where nothing is held (Xen's tasklets and
 * stop_machine_run). In ordered mode nobody else runs, and it is done at once.
 */
export interface Deferred {
  /** Does `act` while no other worker takes a turn: now, or before this turn is over. */
  alone(act: () => void): void;
  /** At the end of this turn, in either mode: what cannot be done before somebody is off his pCPU. */
  later(act: () => void): void;
  isWanted(): boolean;
  /** Does what was put off. With no lock held. */
  run(): void;
}

/** @param stopped does something while no other worker takes a turn */
export function deferred(isOrdered: boolean, stopped: <T>(act: () => T) => T): Deferred {
  const waiting: (() => void)[] = [];

  return {
    alone(act) {
      if (isOrdered) act();
      else waiting.push(act);
    },
    later(act) {
      waiting.push(act);
    },
    isWanted: () => waiting.length > 0,
    run() {
      const work = waiting.splice(0);
      stopped(() => {
        for (const act of work) act();
      });
    },
  };
}
