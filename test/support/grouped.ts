/** Random machines whose pCPUs fall into groups that have nothing to do with each other, and one of them by name. */
import fc from 'fast-check';
import type { GuestConfig, MachineConfig, SedfConfig } from '../../src/machine/config.js';
import type { RunResult } from '../../src/machine/result.js';
import { guest, machineConfig, workload } from './in-process.js';

/** All of a result that must not depend on threads and host. */
export function essence({ host: _host, ...result }: RunResult): unknown {
  // Which worker owns a pCPU is a matter of folding.
  return { ...result, pcpus: result.pcpus.map(({ worker: _worker, ...pcpu }) => pcpu) };
}

const us = (max: number) => fc.integer({ min: 1, max });

const task = fc.oneof(
  us(50_000).map((run) => ({ run })),
  fc.tuple(us(500), us(3_000)).map(([run, sleep]) => ({ loop: -1, run, sleep })),
  // Seldom: to credit it stops being active, and a tick finds it again.
  fc.tuple(us(15_000), us(60_000)).map(([run, sleep]) => ({ loop: -1, run, sleep })),
  fc.tuple(us(2_000), us(4_000)).map(([run, period]) => ({ loop: -1, run, timer: { ref: 'unique', period } })),
  fc.tuple(us(900), us(900)).map(([run, run1]) => ({ loop: -1, lock: 'm', run, unlock: 'm', run1, instance: 2 })),
  us(4_000).map((run) => ({ loop: -1, run, barrier: 'b', instance: 2 })),
  us(500).map((run) => ({ loop: -1, run, yield: '', run1: run })),
  us(3_000).map((run) => ({ loop: 9, run, sleep: 500 })),
);

const oneGuest = fc.record({
  vcpus: fc.integer({ min: 1, max: 3 }),
  weight: fc.constantFrom(64, 256, 1000),
  cap: fc.constantFrom(0, 0, 20, 70),
  abi: fc.constantFrom(32 as const, 64 as const),
  sedf: fc.constantFrom<SedfConfig | undefined>(
    undefined,
    { weight: 3 },
    { periodNs: 2e6, sliceNs: 300e3 },
    { periodNs: 10e6, sliceNs: 4e6, extratime: true },
  ),
  tasks: fc.array(task, { minLength: 1, maxLength: 3 }),
  /** Whether all its VCPUs may use the whole group, or each only one pCPU of it. */
  isPinned: fc.boolean(),
});

const oneGroup = fc.record({
  size: fc.integer({ min: 1, max: 3 }),
  guests: fc.array(oneGuest, { minLength: 1, maxLength: 3 }),
});

/** 1 to 6 groups, whose pCPUs may lie anywhere among each other. */
export const groupedMachine: fc.Arbitrary<MachineConfig> = fc
  .record({
    scheduler: fc.constantFrom('credit', 'credit', 'credit', 'sedf', 'null'),
    profile: fc.constantFrom('modern' as const, 'classic' as const),
    latencyNs: fc.constantFrom(1, 2_000, 50_000),
    tsliceMs: fc.constantFrom(5, 30),
    ratelimitUs: fc.constantFrom(0, 1000),
    boost: fc.boolean(),
    calibration: fc.constantFrom('rendezvous' as const, 'local' as const, 'off' as const),
    seed: fc.constantFrom(0, 1, 7),
    spread: fc.integer({ min: 1, max: 7 }),
    groups: fc.array(oneGroup, { minLength: 1, maxLength: 6 }),
  })
  .map(({ groups, spread, profile, ...rest }) => {
    const isClassic = profile === 'classic';
    const pcpus = groups.reduce((n, { size }) => n + size, 0);
    // Every `spread`-th pCPU in turn: groups need not be ranges.
    const order = Array.from({ length: pcpus }, (_, p) => p).sort((a, b) => (a % spread) - (b % spread) || a - b);
    const guests: GuestConfig[] = [];
    for (const { size, guests: inGroup } of groups) {
      const cpus = order.splice(0, size);
      for (const { isPinned, tasks, ...g } of inGroup) {
        guests.push(
          guest({
            ...g,
            name: `g${guests.length}`,
            cpus: Array.from({ length: g.vcpus }, (_, v) => (isPinned ? [cpus[v % size]!] : cpus)),
            workload: workload(Object.fromEntries(tasks.map((t, k) => [`t${k}`, t]))),
          }),
        );
      }
    }
    return machineConfig({
      ...rest,
      profile,
      ...(isClassic ? { tsliceMs: 30, ratelimitUs: 0 } : {}),
      pcpus,
      durationNs: 180e6,
      guests,
    });
  });

const sleepers = (name: string, vcpus: number, cpus: readonly number[], over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({
    name,
    vcpus,
    cpus: Array.from({ length: vcpus }, () => cpus),
    workload: workload({ t: { instance: 2 * vcpus, run: 70 + 10 * vcpus, sleep: 230 } }),
    ...over,
  });

/** Three groups, of three, two and one pCPU, that credit gives more work than they can do. */
export const threeGroups = (over: Partial<MachineConfig> = {}): MachineConfig =>
  machineConfig({
    pcpus: 6,
    durationNs: 300e6,
    latencyNs: 50_000,
    guests: [
      sleepers('a', 3, [0, 2, 4]),
      sleepers('b', 3, [0, 2, 4], { cap: 80 }),
      sleepers('c', 2, [1, 3], { weight: 512 }),
      guest({
        name: 'd',
        vcpus: 2,
        cpus: [[1], [1, 3]],
        workload: workload({ hog: { instance: 2, run: 20_000, sleep: 900 } }),
      }),
      sleepers('e', 1, [5]),
      guest({ name: 'f', cpus: [[5]], workload: workload({ hog: { run: 1_000_000 } }) }),
    ],
    ...over,
  });
