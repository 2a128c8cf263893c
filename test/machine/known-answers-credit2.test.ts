/** Known answers of the credit2 scheduler on whole machines with worker threads, and that their number changes nothing. */
import { expect } from 'chai';
import { buildMachine } from '../../src/machine/build.js';
import { findConfigProblem } from '../../src/machine/check-config.js';
import type { MachineConfig } from '../../src/machine/config.js';
import { Machine } from '../../src/machine/machine.js';
import { guest, hog, machineConfig, workload } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

/** Two sockets with something of everything: hogs, a cap, wake-ups, locks, affinities. */
const mixed = machineConfig({
  scheduler: 'credit2',
  pcpus: 8,
  topology: { sockets: 2, cores: 2, threads: 2 },
  durationNs: 400e6,
  guests: [
    guest({ name: 'hogs', vcpus: 6, workload: workload({ hog: { instance: 6, run: 1_000_000 } }) }),
    guest({ name: 'capped', vcpus: 2, cap: 70, workload: workload({ hog: { instance: 2, run: 10_000, sleep: 50 } }) }),
    guest({
      name: 'heavy',
      weight: 1024,
      vcpus: 2,
      cpusSoft: [[0], [5]],
      workload: workload({ hog: { instance: 2, run: 7_000 } }),
    }),
    guest({
      name: 'locking',
      vcpus: 3,
      cpus: [[0, 1, 2, 3, 4], undefined, [7]],
      workload: workload({
        writer: { instance: 3, loop: -1, lock: 'm', run: 300, unlock: 'm', run1: 200 },
        beat: { instance: 2, loop: -1, run: 100, timer: { ref: 'unique', period: 1700 } },
      }),
    }),
  ],
});

describe('known answers: credit2', () => {
  it('has one hash for 1, 2 and 4 threads', async () => {
    const hashes: string[] = [];
    for (const threads of [1, 2, 4]) hashes.push((await runMachine({ ...mixed, threads })).hash);
    expect(new Set(hashes).size).to.equal(1);
  });

  it('is fair to a rogue and to domains of several VCPUs, and prompt, on one machine', async () => {
    const rogue = workload({ rogue: { loop: -1, run: 9_400, timer: { ref: 'tick', period: 10_000 } } });
    const result = await runMachine(
      machineConfig({
        scheduler: 'credit2',
        durationNs: 4e9,
        guests: [
          guest({ name: 'rogue', workload: rogue }),
          guest({ name: 'two', vcpus: 2, workload: workload({ hog: { instance: 2, run: 1_000_000 } }) }),
          guest({ name: 'one', workload: hog() }),
        ],
      }),
    );
    const [rogues, two, one] = result.domains.map(({ share }) => share);
    expect(rogues).to.be.closeTo(0.25, 0.02);
    expect(two).to.be.closeTo(0.5, 0.02);
    expect(one).to.be.closeTo(0.25, 0.02);
  });

  it('is not to be had with the classic profile', () => {
    const problem = findConfigProblem({ ...mixed, profile: 'classic' });
    expect(problem?.path).to.deep.equal(['scheduler']);
    expect(problem?.message).to.equal('the classic profile (Xen 3.0.4) has no credit2 scheduler');
  });

  it('refuses an arrangement of run queues that there is not', () => {
    const wrong = { ...mixed, credit2Runqueue: 'host' } as unknown as MachineConfig;
    expect(findConfigProblem(wrong)?.message).to.match(/^unknown arrangement 'host'; known: cpu, core, socket/);
    expect(findConfigProblem({ ...mixed, credit2LoadWindowShift: 5 })?.path).to.deep.equal(['credit2LoadWindowShift']);
  });
});

/** Runs in free mode, stands still a few times and looks at every record. */
async function verified(over: Partial<MachineConfig>): Promise<void> {
  const machine = await Machine.create({ ...mixed, mode: 'free', ...over });
  try {
    for (let n = 1; n <= 8; n++) {
      await machine.runUntil((n * mixed.durationNs) / 10);
      expect(machine.verify()).to.deep.equal([]);
      await machine.pin(1, n % 6, [n % 8, (n * 3) % 8]);
      await machine.setCredit(2, 100 * n, n % 2 === 0 ? 0 : 30);
    }
    await machine.stop();
  } finally {
    await machine.close();
  }
}

describe('credit2 in free mode', () => {
  it('keeps its records right where workers share a run queue', () => verified({ threads: 4, jitterSeed: 3 }));
  it('keeps them right where each worker has a socket', () => verified({ threads: 2, jitterSeed: 5 }));

  it('lets workers be separate where no run queue and no domain lies on both sides', async () => {
    const pinned = (cpus: readonly number[]) =>
      guest({
        name: `on${cpus[0]}`,
        vcpus: 3,
        cap: 150,
        cpus: [cpus, cpus, cpus],
        workload: workload({ t: { instance: 3, loop: -1, run: 900, sleep: 200 } }),
      });
    const config: MachineConfig = {
      ...mixed,
      mode: 'free',
      threads: 2,
      guests: [pinned([0, 1, 2, 3]), pinned([4, 5, 6, 7])],
    };
    const isSeparate = (over: Partial<MachineConfig>): boolean =>
      buildMachine({ ...config, ...over }, 2).core.hv.context.isSeparate();
    expect(isSeparate({})).to.equal(true);
    expect(isSeparate({ credit2Runqueue: 'all' })).to.equal(false);
    const machine = await Machine.create(config);
    try {
      await machine.runUntil(200e6);
      expect(machine.verify()).to.deep.equal([]);
      for (const { vcpus } of await machine.domains()) {
        const ran = vcpus.reduce((sum, v) => sum + v.timeNs, 0);
        expect(ran / 200e6).to.be.within(1.4, 1.55);
      }
      await machine.stop();
    } finally {
      await machine.close();
    }
  });
});
