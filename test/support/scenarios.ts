/** Small machines with all kinds of interactions in them, for tests that compare whole runs. */
import type { MachineConfig } from '../../src/machine/config.js';
import { guest, hog, machineConfig, workload } from './in-process.js';

const locking = {
  writer: { instance: 2, lock: 'm', run: 300, unlock: 'm', run1: 200 },
  marcher: { instance: 3, run: 500, barrier: 'b' },
  beat: { instance: 2, run: 100, timer: { ref: 'unique', period: 1700 } },
  producer: { run: 400, lock: 'q', signal: 'filled', unlock: 'q', sleep: 900 },
  consumer: { lock: 'q', wait: { ref: 'filled', mutex: 'q' }, unlock: 'q', run: 150 },
  sleeper: { suspend: '', run: 50 },
  waker: { sleep: 2100, resume: 'sleeper' },
};

/** Name → machine. Few milliseconds of host time each. */
export const SCENARIOS: Readonly<Record<string, MachineConfig>> = {
  'hogs and a cap on three pCPUs': machineConfig({
    pcpus: 3,
    durationNs: 2e9,
    guests: [
      guest({ name: 'hogs', vcpus: 4, workload: workload({ hog: { instance: 4, run: 1_000_000 } }) }),
      guest({
        name: 'capped',
        vcpus: 2,
        cap: 70,
        workload: workload({ hog: { instance: 2, run: 10_000, sleep: 50 } }),
      }),
      guest({ name: 'heavy', weight: 1024, workload: hog() }),
    ],
  }),
  'locks, barriers and timers on four pCPUs': machineConfig({
    pcpus: 4,
    durationNs: 300e6,
    guests: [
      guest({ name: 'wide', vcpus: 4, workload: workload(locking) }),
      guest({ name: 'narrow', vcpus: 3, abi: 32, workload: workload(locking) }),
      guest({ name: 'hog', vcpus: 2, workload: workload({ hog: { instance: 2, run: 1_000_000 } }) }),
    ],
  }),
  'affinities on six pCPUs with an odd clock': machineConfig({
    pcpus: 6,
    durationNs: 300e6,
    latencyNs: 333,
    cycleHz: 2_399_999_871,
    tsliceMs: 5,
    ratelimitUs: 500,
    migrationDelayUs: 300,
    guests: [
      guest({ name: 'pinned', vcpus: 2, cpus: [[0], [1]], workload: workload(locking) }),
      guest({
        name: 'half',
        vcpus: 4,
        cpus: [
          [0, 1, 2],
          [1, 2, 3],
          [2, 3],
          [3, 4, 5],
        ],
        workload: workload(locking),
      }),
      guest({ name: 'wish', vcpus: 3, cpusSoft: [[5], [4, 5], [0]], workload: workload(locking) }),
      guest({
        name: 'hog',
        vcpus: 4,
        weight: 128,
        workload: workload({ hog: { instance: 4, run: 7000, sleep: 300 } }),
      }),
    ],
  }),
  'until nothing is left to do': machineConfig({
    pcpus: 2,
    durationNs: Infinity,
    guests: [
      guest({ name: 'a', vcpus: 2, workload: workload({ t: { instance: 3, loop: 20, run: 900, sleep: 400 } }) }),
      guest({ name: 'b', workload: workload({ t: { loop: 30, run: 700, timer: { ref: 't', period: 2000 } } }) }),
    ],
  }),
  'requests, weights and deadlines on four pCPUs': machineConfig({
    pcpus: 4,
    durationNs: 25e6,
    seed: 1,
    guests: [
      guest({
        name: 'front',
        workload: workload({
          t: { instance: 6, run: 30, request: { to: 'web', ref: 'http', bytes: 700 }, sleep: 300 },
          heavy: { priority: -5, run: 400 },
          light: { priority: 5, run: 400, yield: '' },
        }),
      }),
      guest({
        name: 'web',
        vcpus: 3,
        workload: workload(
          {
            t: {
              ...{ instance: 5, serve: 'http', run: 80, request: { to: 'db', bytes: 90 } },
              ...{ lock: 'm', mem: 9000, unlock: 'm', respond: { ref: 'http', bytes: 5000 } },
            },
            d: { policy: 'SCHED_DEADLINE', 'dl-runtime': 500, 'dl-period': 3000, lock: 'm', run: 300, unlock: 'm' },
          },
          { pi_enabled: true },
        ),
      }),
      guest({
        name: 'db',
        vcpus: 2,
        workload: workload({ t: { instance: 2, serve: '', run: 40, respond: { bytes: 2000 } } }),
      }),
      guest({
        name: 'crowd',
        vcpus: 2,
        abi: 32,
        workload: workload({
          t: { instance: 40, request: { to: 'db' }, run: 20 },
          parent: { sleep: 5000, fork: 'child' },
          child: { instance: 0, loop: 1, run: 500, sem_post: 's', sem_wait: 's' },
        }),
      }),
    ],
  }),
};
