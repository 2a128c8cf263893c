import { expect } from 'chai';
import fc from 'fast-check';
import { SCHEDULERS } from '../../src/hv/sched/registry.js';
import { findConfigProblem } from '../../src/machine/check-config.js';
import type { GuestConfig, MachineConfig, SedfConfig } from '../../src/machine/config.js';
import { __HYPERVISOR_set_timer_op } from '../../src/shared/public/xen.js';
import { guest, machineConfig, simulate, workload } from '../support/in-process.js';
import { eventOps } from './event-ops.js';
import { invariants } from './invariants.js';
import { busyProbe } from './probe.js';

const us = (max: number) => fc.integer({ min: 1, max });

/** Tasks of every kind: hogs, sleepers, tickers, those that share locks, meet at barriers, wake each other, yield. */
const task = fc.oneof(
  us(50_000).map((run) => ({ run })),
  fc.tuple(us(2_000), us(20_000)).map(([run, sleep]) => ({ loop: -1, run, sleep })),
  fc.tuple(us(5_000), us(10_000)).map(([run, period]) => ({ loop: -1, run, timer: { ref: 'unique', period } })),
  fc.tuple(us(3_000), us(3_000)).map(([run, run1]) => ({ loop: -1, lock: 'm', run, unlock: 'm', run1, instance: 2 })),
  us(4_000).map((run) => ({ loop: -1, run, barrier: 'b', instance: 2 })),
  us(500).map((run) => ({ loop: -1, run, yield: '', run1: run })),
  us(3_000).map((run) => ({ loop: 3, run, sleep: 500 })),
  us(3_000).map((run) => ({ loop: -1, policy: 'SCHED_FIFO', priority: 10, run, sleep: 4_000 })),
);

const machine = fc.integer({ min: 1, max: 4 }).chain((pcpus) => {
  const cpus = fc.uniqueArray(fc.nat(pcpus - 1), { minLength: 1 });
  const oneGuest = fc.record({
    vcpus: fc.integer({ min: 1, max: 3 }),
    weight: fc.constantFrom(64, 256, 512, 1000),
    cap: fc.constantFrom(0, 0, 20, 50),
    abi: fc.constantFrom(32 as const, 64 as const),
    sedf: fc.constantFrom<SedfConfig | undefined>(
      undefined,
      { weight: 3 },
      { weight: 2, extratime: true },
      { periodNs: 2e6, sliceNs: 300e3 },
      { periodNs: 10e6, sliceNs: 4e6, extratime: true },
    ),
    tasks: fc.array(task, { minLength: 1, maxLength: 4 }),
    hard: fc.array(fc.option(cpus, { nil: undefined }), { maxLength: 3 }),
    soft: fc.array(fc.option(cpus, { nil: undefined }), { maxLength: 3 }),
  });
  return fc.record({
    scheduler: fc.constantFrom('credit', 'credit', 'sedf'),
    profile: fc.constantFrom('modern' as const, 'classic' as const),
    pcpus: fc.constant(pcpus),
    guests: fc.array(oneGuest, { minLength: 1, maxLength: 4 }),
    latencyNs: fc.constantFrom(1, 2_000, 50_000),
    cycleHz: fc.constantFrom(1e6, 1e9, 2.4e9),
    tsliceMs: fc.constantFrom(1, 5, 30),
    ratelimitUs: fc.constantFrom(0, 1000),
    migrationDelayUs: fc.constantFrom(0, 0, 500),
    boost: fc.boolean(),
    guestOpNs: fc.constantFrom(1, 100),
  });
});

function configOf(spec: typeof machine extends fc.Arbitrary<infer T> ? T : never): MachineConfig {
  const { guests, ...rest } = spec;
  const isClassic = rest.profile === 'classic';
  return machineConfig({
    ...rest,
    // What Xen 3.0.4 has not.
    ...(isClassic ? { tsliceMs: 30, ratelimitUs: 0, migrationDelayUs: 0 } : {}),
    durationNs: 150e6,
    guests: guests.map(
      ({ tasks, hard, soft, ...g }, n): GuestConfig =>
        guest({
          ...g,
          name: `g${n}`,
          cpus: hard.slice(0, g.vcpus),
          cpusSoft: isClassic ? [] : soft.slice(0, g.vcpus),
          workload: workload(Object.fromEntries(tasks.map((t, k) => [`t${k}`, t]))),
        }),
    ),
  });
}

describe('a machine of either profile', () => {
  it('can be built', () => {
    fc.assert(
      fc.property(machine, (spec) => {
        expect(findConfigProblem(configOf(spec))).to.equal(undefined);
      }),
    );
  });
});

describe('a machine, after every turn', () => {
  for (const { name } of SCHEDULERS) {
    it(`keeps its runstates, queues, masks and counters right under any mixed load with ${name}`, () => {
      fc.assert(
        fc.property(machine, (spec) => {
          const sim = simulate({ ...configOf(spec), scheduler: name });
          const { check } = invariants(sim);
          let turns = 0;
          sim.run(undefined, () => {
            // A million turns of one machine would show no more than the first.
            if (++turns < 20_000) check();
          });
          check();
        }),
        { numRuns: 60, interruptAfterTimeLimit: 15_000 },
      );
    });
  }

  it('takes its turns in growing order of (time, pCPU)', () => {
    fc.assert(
      fc.property(machine, (spec) => {
        // Boot takes place before time 0.
        let [lastNs, lastPcpu] = [-Infinity, -1];
        simulate(configOf(spec)).run(undefined, (p, ns) => {
          if (ns < lastNs || (ns === lastNs && p <= lastPcpu)) {
            expect.fail(`turn of pCPU ${p} at ${ns} ns after that of pCPU ${lastPcpu} at ${lastNs} ns`);
          }
          [lastNs, lastPcpu] = [ns, p];
        });
      }),
      { numRuns: 40, interruptAfterTimeLimit: 25_000 },
    );
  });

  it('takes no second turn of a pCPU at one instant, though others send to it and work is due there', () => {
    const p = busyProbe({ vcpus: 2 });
    const v = p.vcpuOf(0);
    const ops = eventOps(p);
    const port = ops.bindIpi(v, 0);
    const { keys } = p.sim.built.core;
    // pCPU 0 ends its turn with a timer that is due at once; pCPU 1 has its turn at the same time, and sends.
    p.call(v, __HYPERVISOR_set_timer_op, 1);
    ops.send(v + 1, port);
    expect(keys.key(0)).to.be.above(p.now);
  });
});
