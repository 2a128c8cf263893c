/** Two hogs on one pCPU, one of which sleeps: a machine on which a test wakes a VCPU when it likes. */
import { CREDIT_VCPU, PRI_UNDER } from '../../src/hv/sched/credit-records.js';
import type { MachineConfig } from '../../src/machine/config.js';
import { SCHEDOP_block } from '../../src/shared/public/sched.js';
import { __HYPERVISOR_sched_op, VIRQ_TIMER } from '../../src/shared/public/xen.js';
import { guest, hog, machineConfig } from '../support/in-process.js';
import { type Probe, probe } from './probe.js';

/** Does `act` in a turn of pCPU `q`, now; the turn goes on 1 ns later. */
export function inTurn(p: Probe, q: number, act: () => void): void {
  p.hv.smp.enterTurn(q);
  act();
  p.sim.built.core.keys.set(q, p.now + 1);
}

/** One pCPU and two hogs, of which `sleeper` blocks and the other runs. */
export function setUp(machine: Partial<MachineConfig> = {}) {
  const p = probe(
    machineConfig({
      guests: [guest({ name: 'a', workload: hog() }), guest({ name: 'b', workload: hog() })],
      ...machine,
    }),
  );
  const { pcpu, queues, vcpu, image } = p.context;
  const sleeper = pcpu.current(0);
  const runner = 1 - sleeper;
  vcpu.setPeriodicPeriod(sleeper, 0);
  p.call(sleeper, __HYPERVISOR_sched_op, SCHEDOP_block);
  p.run(p.now + 2);
  if (pcpu.current(0) !== runner) throw new Error('the other VCPU should run');
  const cv = image.table(CREDIT_VCPU);
  const { entry } = queues;
  // Without the boost that came with their first wake-up.
  for (const v of [sleeper, runner]) entry.setPri(v, PRI_UNDER);
  const wake = (): void => inTurn(p, 0, () => p.hv.events.sendVirq(sleeper, VIRQ_TIMER));
  return { p, sleeper, runner, cv, entry, pcpu, queues, wake, switchedInAt: vcpu.stateEntryTime(runner) };
}

/** When v first runs, ns. */
export function runsAt(p: Probe, v: number, untilNs: number): number {
  let at = Infinity;
  p.sim.run(untilNs, (_, ns) => {
    if (at === Infinity && p.isRunning(v)) at = ns;
  });
  return at;
}
