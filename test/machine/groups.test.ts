/** Groups of pCPUs on real threads: one result for any number of them, whatever is asked meanwhile. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import fc from 'fast-check';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { dealGroups, interactionGroups, numberOfRunners } from '../../src/machine/groups.js';
import { Machine } from '../../src/machine/machine.js';
import { MachineFault } from '../../src/machine/machine-fault.js';
import { essence, groupedMachine, threeGroups } from '../support/grouped.js';
import { guest, hog, machineConfig, simulate, workload } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

const pinned = (cpus: (readonly number[] | undefined)[], over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({ vcpus: cpus.length, cpus, workload: hog(), ...over });

function plain(config: MachineConfig): unknown {
  const simulation = simulate({ ...config, threads: 1 });
  simulation.run();
  return essence(simulation.result());
}

async function withMachine<T>(config: MachineConfig, use: (machine: Machine) => Promise<T>): Promise<T> {
  const machine = await Machine.create(config);
  try {
    return await use(machine);
  } finally {
    await machine.close();
  }
}

describe('interaction groups', () => {
  const groups = (pcpus: number, guests: readonly GuestConfig[], over: Partial<MachineConfig> = {}) =>
    interactionGroups(machineConfig({ pcpus, guests, ...over }));

  it('are the pCPUs that VCPUs of one domain may use, numbered by their first', () => {
    expect(groups(4, [pinned([[2, 3]]), pinned([[0], [1]])])).to.deep.equal([0, 0, 1, 1]);
    expect(groups(5, [pinned([[4, 1]]), pinned([[0]]), pinned([[2, 3]])])).to.deep.equal([0, 1, 2, 2, 1]);
  });

  it('are one where a chain of domains leads from pCPU to pCPU, or a VCPU may use all', () => {
    expect(groups(4, [pinned([[0, 2]]), pinned([[3, 1]]), pinned([[2], [3]])])).to.deep.equal([0, 0, 0, 0]);
    expect(groups(4, [pinned([[0]]), pinned([[1], undefined])])).to.deep.equal([0, 0, 0, 0]);
  });

  it('are one for domain 0, which may deal with any domain, and for a policy that does not say that it keeps to them', () => {
    const two = [pinned([[0]]), pinned([[1]])];
    expect(groups(2, two)).to.deep.equal([0, 1]);
    expect(groups(2, [pinned([[0]], { privileged: true }), pinned([[1]])])).to.deep.equal([0, 0]);
    expect(groups(2, two, { scheduler: 'examples/policies/round-robin.ts' })).to.deep.equal([0, 0]);
  });

  it('have pCPUs that nobody may use with the first', () => {
    expect(groups(5, [pinned([[3]]), pinned([[1]])])).to.deep.equal([0, 0, 0, 1, 0]);
  });

  it('are dealt whole, the heaviest first', () => {
    const config = machineConfig({
      pcpus: 6,
      guests: [pinned(Array.from({ length: 9 }, () => [0, 1, 2])), pinned([[3]]), pinned([[4]]), pinned([[5]])],
    });
    expect(dealGroups(config, interactionGroups(config), 2)).to.deep.equal([0, 0, 0, 1, 1, 1]);
  });

  it('are taken by no more workers than there are, and by one where locks take time or clocks are checked', () => {
    const config = threeGroups({ threads: 4 });
    expect(numberOfRunners(config, 3)).to.equal(3);
    expect(numberOfRunners({ ...config, threads: 2 }, 3)).to.equal(2);
    for (const over of [{ runqLockNs: 1 }, { privateLockNs: 1 }, { checkTime: true }])
      expect(numberOfRunners({ ...config, ...over }, 3)).to.equal(1);
  });
});

describe('groups of pCPUs on threads', () => {
  it('give one result with any number of threads', async function () {
    this.timeout(120_000);
    await fc.assert(
      fc.asyncProperty(groupedMachine, async (config) => {
        const wanted = plain(config);
        for (let threads = 1; threads <= Math.min(4, config.pcpus); threads++)
          expect(essence(await runMachine({ ...config, threads })), `${threads} threads`).to.deep.equal(wanted);
      }),
      { numRuns: 10, interruptAfterTimeLimit: 30_000 },
    );
  });

  it('give it with locks that take time, under the observer of time, with traces, and until nothing is left to do', async () => {
    const loops = { t: { instance: 2, loop: 40, run: 300, sleep: 400 } };
    for (const over of [
      { runqLockNs: 2000, durationNs: 60e6 },
      { checkTime: true, durationNs: 60e6 },
      { trace: true, durationNs: 60e6 },
      {
        durationNs: Infinity,
        guests: [
          pinned([[0, 2]], { workload: workload(loops) }),
          pinned([[1], [3]], { name: 'b', workload: workload(loops) }),
        ],
      },
    ]) {
      const config = threeGroups(over);
      expect(essence(await runMachine({ ...config, threads: 3 }))).to.deep.equal(plain(config));
    }
  });

  it('give it over a million turns beside busy loops', async function () {
    this.timeout(120_000);
    const config = threeGroups({ durationNs: 20e9, debug: false });
    const busy = Array.from(
      { length: availableParallelism() },
      () =>
        new Worker(
          `const word = new Int32Array(new SharedArrayBuffer(4));
           for (let n = 0; ; n++) { for (let end = performance.now() + (n * 7) % 23; performance.now() < end; ); Atomics.wait(word, 0, 0, n % 3); }`,
          { eval: true },
        ),
    );
    try {
      const one = await runMachine({ ...config, threads: 1 });
      expect(one.turns).to.be.greaterThan(1e6);
      expect(essence(await runMachine({ ...config, threads: 2 }))).to.deep.equal(essence(one));
    } finally {
      await Promise.all(busy.map((loop) => loop.terminate()));
    }
  });

  it('stand at the same time for whoever commands, and end alike', async function () {
    this.timeout(60_000);
    async function story(threads: number): Promise<unknown> {
      return withMachine({ ...threeGroups(), threads }, async (machine) => {
        const seen: unknown[] = [];
        const look = async (): Promise<void> => {
          for (let p = 0; p < 6; p++) seen.push(await machine.inspect(p));
          seen.push(machine.progress(), machine.work(), machine.verify());
        };
        seen.push(await machine.runUntil(41e6));
        await look();
        await machine.pauseVcpu(2, 1);
        seen.push(await machine.runUntil(77e6));
        for (const n of [1, 30, 500]) seen.push(await machine.step(n));
        await look();
        await machine.setCredit(3, 64, 40);
        await machine.unpauseVcpu(2, 1);
        seen.push(await machine.runUntil(120e6));
        // Within its group, then so that two are one.
        await machine.pin(1, 0, [2]);
        seen.push(await machine.runUntil(150e6));
        await machine.pin(5, 0, [0, 5]);
        seen.push(await machine.runUntil(200e6));
        await look();
        await machine.shutdown(1);
        const running = machine.run();
        await machine.resume();
        seen.push(essence(await running));
        return seen;
      });
    }
    const wanted = await story(1);
    for (const threads of [2, 3, 6]) expect(await story(threads), `${threads} threads`).to.deep.equal(wanted);
  });

  it('step in the order of (time, pCPU), as the plain loop does', async () => {
    const config = threeGroups({ threads: 3 });
    const floors: number[] = [];
    const simulation = simulate({ ...config, threads: 1 });
    simulation.run(10e6, (_p, ns) => floors.push(ns));
    await withMachine(config, async (machine) => {
      for (const ns of floors.slice(0, 40)) expect(await machine.step()).to.equal(ns);
      // Boot, its first turns, and some more at once.
      expect(await machine.step(200)).to.equal(floors[239]);
    });
  });

  it('keep pace with the host when asked to', async () => {
    const config = threeGroups({ threads: 3, durationNs: 200e6, pace: 1 });
    const began = performance.now();
    const { hash } = await runMachine(config);
    expect(performance.now() - began).to.be.greaterThan(190);
    expect(hash).to.equal((plain({ ...config, pace: 0 }) as { hash: string }).hash);
  });

  it('keep all records in order between any two sections', async () => {
    await withMachine(threeGroups({ threads: 3 }), async (machine) => {
      for (let ns = 10e6; ns < 300e6; ns += 7_300_000) {
        await machine.runUntil(ns);
        expect(machine.verify()).to.deep.equal([]);
      }
    });
  });

  describe('whose worker fails', () => {
    for (const kind of ['throw', 'exit'] as const) {
      for (const pcpu of [0, 3, 5]) {
        it(`name it with its pCPU: ${kind} on pCPU ${pcpu}`, async () => {
          const machine = await Machine.create(threeGroups({ threads: 3, inject: { kind, pcpu, atNs: 45e6 } }));
          try {
            const fault: unknown = await machine.run().catch((error: unknown) => error);
            expect(fault).to.be.instanceOf(MachineFault);
            expect((fault as MachineFault).pcpu).to.equal(pcpu);
            expect((fault as MachineFault).trace.at(-1)).to.match(new RegExp(`^0\\.04\\d+ p${pcpu} `));
          } finally {
            await machine.close();
          }
        });
      }
    }

    it('accuse the one that stalls, not the one that waits for it', async () => {
      const machine = await Machine.create(
        threeGroups({ threads: 3, stallLimitMs: 1200, inject: { kind: 'stall', pcpu: 3, atNs: 45e6 } }),
      );
      try {
        const fault: unknown = await machine.run().catch((error: unknown) => error);
        expect(fault).to.be.instanceOf(MachineFault);
        expect((fault as MachineFault).message).to.match(/safe point.*pCPU 3/);
      } finally {
        await machine.close();
      }
    });
  });
});
