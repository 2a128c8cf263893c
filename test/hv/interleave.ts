/** Two workers of free mode that do things at the same time, one interleaving after the other (free-machine.ts). */
import { expect } from 'chai';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { MachineEnded } from '../../src/shared/spinlock.js';
import { guest, hog, machineConfig } from '../support/in-process.js';
import { type FreeMachine, freeMachine, interrupt } from './free-machine.js';

export const [LATENCY, WINDOW] = [2000, 100_000];
/** When the tests begin; guests have booted by then. */
export const START = 1_000_000;

/** A guest whose VCPUs compute for ever. */
export const busy = (vcpus: number, over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({ vcpus, workload: { ...hog(), tasks: hog().tasks.map((t) => ({ ...t, instance: vcpus })) }, ...over });

export function start(guests: readonly GuestConfig[], machine: Partial<MachineConfig> = {}): FreeMachine {
  const m = freeMachine(
    machineConfig({ pcpus: 2, threads: 2, latencyNs: LATENCY, windowNs: WINDOW, guests, ...machine }),
  );
  m.run(START);
  // No ticker: nothing comes that a test does not send.
  const { vcpu, pcpu, shape } = m.context;
  for (let v = 0; v < shape.vcpus; v++) vcpu.setPeriodicPeriod(v, 0);
  for (let p = 0; p < shape.pcpus; p++) pcpu.setPeriodicAt(p, Infinity);
  return m;
}

/** A guest of two VCPUs, each on a pCPU of its own, each pCPU with a worker of its own. VCPU v runs on pCPU v. */
export function pair(machine: Partial<MachineConfig> = {}): FreeMachine {
  const m = start([busy(2, { cpus: [[0], [1]] })], machine);
  expect([m.context.pcpu.current(0), m.context.pcpu.current(1)]).to.deep.equal([0, 1]);
  return m;
}

export interface Interleaving {
  /** Worker whose doing is interrupted by the other's, and the place at which it is; the last is behind its end. */
  readonly worker: number;
  readonly place: number;
}

/**
 * Does what worker 0 and worker 1 do, the one's in the middle of the other's, in every way that the locks allow.
 * @returns how many ways there were
 */
export function interleave<S extends { readonly m: FreeMachine }>(
  setUp: () => S,
  acts: readonly [(s: S) => void, (s: S) => void],
  verify: (s: S, how: Interleaving) => void,
): number {
  let ways = 0;
  for (const worker of [0, 1] as const) {
    for (let place = 0, isThere = true; isThere; place++) {
      const s = setUp();
      const other = (): void => acts[1 - worker]!(s);
      try {
        isThere = interrupt(s.m.cores[worker]!, place, () => acts[worker](s), other);
      } catch (error) {
        // The other's thread would have waited here for a lock, until a later place.
        if (error instanceof MachineEnded) continue;
        throw error;
      }
      if (!isThere) other();
      verify(s, { worker, place });
      ways++;
    }
  }
  return ways;
}
