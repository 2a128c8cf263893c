/** The control channel: commands are served at safe points, answer, and leave the result as it is. */
import { expect } from 'chai';
import type { MachineConfig } from '../../src/machine/config.js';
import { Machine } from '../../src/machine/machine.js';
import { guest, hog, machineConfig, simulate } from '../support/in-process.js';
import { SCENARIOS } from '../support/scenarios.js';

/** Long enough not to be over before the commands have been given. */
const LOCKS: MachineConfig = { ...(Object.values(SCENARIOS)[1] as MachineConfig), durationNs: 1e9 };

function hashOf(config: MachineConfig): string {
  const simulation = simulate(config);
  simulation.run();
  return simulation.result().hash;
}

async function withMachine<T>(config: MachineConfig, use: (machine: Machine) => Promise<T>): Promise<T> {
  const machine = await Machine.create(config);
  try {
    return await use(machine);
  } finally {
    await machine.close();
  }
}

/** Commands that an awkward user might give. */
async function meddle(machine: Machine): Promise<void> {
  // Before its first turn: boot lies before time 0.
  expect(await machine.pause()).to.be.at.most(0);
  const at = await machine.runUntil(20e6);
  expect(at).to.be.within(15e6, 20e6);
  for (let n = 1; n <= 5; n++) expect(await machine.step(n)).to.be.at.least(at);
  for (let p = 0; p < 4; p++) {
    const view = await machine.inspect(p);
    expect(view.pcpu).to.equal(p);
    expect(view.nextTurnNs).to.be.at.least(view.nowNs);
  }
  await machine.resume();
  await machine.inspect(2);
  await machine.pause();
  await machine.pause();
  await machine.resume();
  await machine.resume();
}

describe('control channel', () => {
  for (const threads of [1, 2, 4]) {
    it(`leaves the hash alone, whatever is asked: ${threads} threads`, async () => {
      const result = await withMachine({ ...LOCKS, threads }, async (machine) => {
        const meddling = meddle(machine);
        const running = machine.run();
        await meddling;
        return running;
      });
      expect(result.outcome).to.equal('horizon');
      expect(result.hash).to.equal(hashOf(LOCKS));
    });
  }

  it('works before run, which then goes on from there', async () => {
    const result = await withMachine({ ...LOCKS, threads: 2 }, async (machine) => {
      await machine.runUntil(50e6);
      const running = machine.run();
      await machine.resume();
      return running;
    });
    expect(result.hash).to.equal(hashOf(LOCKS));
  });

  it('steps turn by turn as the plain loop does', async () => {
    const simulation = simulate(LOCKS);
    const floors: number[] = [];
    simulation.run(50e3, (_p, ns) => floors.push(ns));
    await withMachine({ ...LOCKS, threads: 2 }, async (machine) => {
      for (const ns of floors.slice(0, 12)) expect(await machine.step()).to.equal(ns);
    });
  });

  it('stands still while paused', async () => {
    await withMachine({ ...LOCKS, threads: 2 }, async (machine) => {
      const at = await machine.runUntil(10e6);
      const { events } = machine.progress();
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(machine.progress()).to.deep.equal({ simulatedNs: at, events });
    });
  });

  it('runs until the first turn at or after the time asked for, and no turn before it is left', async () => {
    await withMachine({ ...LOCKS, threads: 4 }, async (machine) => {
      await machine.runUntil(30e6);
      for (let p = 0; p < 4; p++) expect((await machine.inspect(p)).nextTurnNs).to.be.at.least(30e6);
    });
  });

  it('answers promptly wherever the token rests', async function () {
    this.timeout(20_000);
    await withMachine({ ...LOCKS, threads: 4 }, async (machine) => {
      let spent = 0;
      for (let n = 1; n <= 6; n++) {
        // Far enough for several handovers, so that the token rests with a different worker each time.
        await machine.runUntil(n * 150e6);
        const began = performance.now();
        await machine.step();
        spent += performance.now() - began;
      }
      // Generous for a busy host, but below what waiting for somebody's next look around would cost.
      expect(spent).to.be.lessThan(1500);
    });
  });

  it('says which VCPU a pCPU runs', async () => {
    const config = machineConfig({ pcpus: 2, durationNs: 1e9, guests: [guest({ workload: hog() })] });
    await withMachine(config, async (machine) => {
      await machine.runUntil(100e6);
      const views = [await machine.inspect(0), await machine.inspect(1)];
      expect(views.map(({ current }) => current)).to.deep.equal([{ domain: 1, vcpu: 0 }, undefined]);
    });
  });

  it('refuses to inspect a pCPU that the machine does not have', async () => {
    await withMachine({ ...LOCKS, threads: 1 }, async (machine) => {
      for (const p of [-1, 4, 1.5, Number.NaN]) {
        const error: unknown = await machine.inspect(p).catch((reason: unknown) => reason);
        expect(error, String(p)).to.be.instanceOf(RangeError);
      }
    });
  });

  it('refuses numbers of turns and times that are none', async () => {
    await withMachine({ ...LOCKS, threads: 1 }, async (machine) => {
      for (const attempt of [
        () => machine.step(-1),
        () => machine.step(Number.NaN),
        () => machine.runUntil(Number.NaN),
        () => machine.runUntil(10e6 + 0.5),
      ]) {
        const error: unknown = await Promise.race([
          attempt().catch((reason: unknown) => reason),
          new Promise((resolve) => setTimeout(resolve, 1000, 'no answer')),
        ]);
        expect(error).to.be.instanceOf(RangeError);
      }
    });
  });

  for (const threads of [1, 4]) {
    it(`stops a machine that would run for ever: ${threads} threads`, async () => {
      const endless = machineConfig({
        pcpus: 4,
        threads,
        durationNs: Infinity,
        guests: [guest({ vcpus: 4, workload: LOCKS.guests[0]!.workload })],
      });
      const result = await withMachine(endless, async (machine) => {
        const running = machine.run();
        await new Promise((resolve) => setTimeout(resolve, 50));
        await machine.stop();
        return running;
      });
      expect(result.outcome).to.equal('stopped');
      expect(result.simulatedNs).to.be.greaterThan(0);
    });

    it(`stops a paused machine: ${threads} threads`, async () => {
      const result = await withMachine({ ...LOCKS, threads }, async (machine) => {
        await machine.runUntil(10e6);
        const running = machine.run();
        await machine.stop();
        return running;
      });
      expect(result.outcome).to.equal('stopped');
      expect(result.simulatedNs).to.be.within(9e6, 10e6);
    });
  }

  it('answers commands to a machine that has finished', async () => {
    await withMachine({ ...LOCKS, threads: 2 }, async (machine) => {
      await machine.run();
      expect(await machine.pause()).to.equal(LOCKS.durationNs);
      expect(await machine.resume()).to.equal(LOCKS.durationNs);
      expect(await machine.step()).to.equal(LOCKS.durationNs);
      await machine.stop();
      expect((await machine.inspect(3)).nowNs).to.equal(LOCKS.durationNs);
    });
  });

  it('paces the run to the host clock without changing the hash', async () => {
    const config = { ...LOCKS, durationNs: 300e6, threads: 2, pace: 1 };
    const began = performance.now();
    const result = await withMachine(config, (machine) => machine.run());
    expect(performance.now() - began).to.be.at.least(280);
    expect(result.hash).to.equal(hashOf({ ...LOCKS, durationNs: 300e6 }));
  });
});

describe('the main thread', () => {
  it('takes no part in the run: frozen for 5 s, it finds the machine finished', async function () {
    this.timeout(30_000);
    const config = { ...LOCKS, threads: 4 };
    const wanted = simulate(config);
    wanted.run();
    await withMachine(config, async (machine) => {
      const warnings: string[] = [];
      machine.on('warning', (text) => warnings.push(text));
      const running = machine.run();
      expect(machine.progress().simulatedNs).to.be.lessThan(config.durationNs);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5000);
      // No turn of this thread's event loop since the start.
      expect(machine.progress().simulatedNs).to.equal(config.durationNs);
      const result = await running;
      expect(result.outcome).to.equal('horizon');
      expect(result.hash).to.equal(wanted.result().hash);
      expect(warnings).to.deep.equal([]);
    });
  });
});
