/** The invariants of a machine on the test's own thread. */
import { expect } from 'chai';
import { invariants as findBroken } from '../../src/machine/invariants.js';
import type { Simulation } from '../support/in-process.js';

export interface Invariants {
  /** @throws AssertionError naming what is broken */
  check(): void;
}

export function invariants({ built }: Pick<Simulation, 'built'>): Invariants {
  const broken = findBroken(built);
  const { machine } = built.core.hv.context;
  return {
    check() {
      const found = broken();
      // A failing expect is slow to make ready a million times: look first.
      if (found.length > 0) expect(found, `at ${machine.now(0)} ns`).to.deep.equal([]);
    },
  };
}
