/** A VCPU that left its timer in the queue of another worker's pCPU. */
import { expect } from 'chai';
import { watchTimers } from './free-machine.js';
import { busy, START, start } from './interleave.js';
import { invariants } from './invariants.js';

export const [OLD, NEW, NEWER] = [START + 500_000, START + 800_000, START + 300_000];

/** VCPU 0 sets its timer on pCPU 0, and then runs on pCPU 1. */
export function moved() {
  const m = start([busy(1, { cpus: [[0]] })]);
  m.act(0, START + 100, (_, calls) => calls.setTimer(0, OLD));
  m.act(1, START + 200, ({ hv }) => hv.sched.setAffinity(0, [1]));
  m.run(START + 20_000);
  expect([m.context.pcpu.current(0), m.context.pcpu.current(1)]).to.deep.equal([m.context.idleOf(0), 0]);
  expect(m.cores.map(({ mail }) => mail.hasMail())).to.deep.equal([false, false]);
  return { m, fires: watchTimers(m) };
}
export type Moved = ReturnType<typeof moved>;

/** VCPU 0, on pCPU 1, sets its timer; -1 stops it. */
export const set = ({ m }: Moved, deadline: number, ns = Math.max(m.clock(1), START + 20_000)): void =>
  m.act(1, ns, ({ hv }, calls) => {
    if (deadline < 0) hv.timers.stopSingleshot(0);
    else calls.setTimer(0, deadline);
  });

export const firesOf = ({ m, fires }: Moved, until = START + 3e6): readonly (readonly [number, number])[] => {
  m.run(until);
  invariants(m).check();
  return fires.map(({ at, worker }) => [at, worker] as const);
};
