/** Free mode on real worker threads: what must hold although no two runs are alike. */
import { expect } from 'chai';
import { checkExpectations } from '../../src/config/expectations.js';
import { loadScenario } from '../../src/config/scenario.js';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { Machine } from '../../src/machine/machine.js';
import { MachineFault } from '../../src/machine/machine-fault.js';
import type { RunResult } from '../../src/machine/result.js';
import { guest, hog, machineConfig, workload } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

const free = (over: Partial<MachineConfig> & Pick<MachineConfig, 'guests'>): MachineConfig =>
  machineConfig({ mode: 'free', pcpus: 4, threads: 2, durationNs: 1e9, seed: 1, ...over });

/** Domains of several VCPUs that share locks, sleep, tick and compute on more VCPUs than there are pCPUs. */
const MIXED = [
  guest({
    name: 'racers',
    vcpus: 4,
    workload: workload({ r: { instance: 4, loop: -1, run0: 20, lock: 'm', run1: 5, unlock: 'm', sleep: 30 } }),
  }),
  guest({
    name: 'tickers',
    vcpus: 2,
    workload: workload({ t: { instance: 2, run: 10, timer: { ref: 'unique', period: 200 } } }),
  }),
  guest({ name: 'hogs', vcpus: 2, cap: 80, workload: workload({ h: { instance: 2, run: 1_000_000 } }) }),
];

const checkTime = (over: Partial<MachineConfig>): Promise<RunResult> => {
  const { config } = loadScenario('examples/check-time.yaml', { mode: 'free', checkTime: true, threads: 2 });
  return runMachine({ ...config, durationNs: 2.2e9, ...over });
};

const wrong = ({ time }: RunResult): string[] =>
  (time?.findings ?? []).filter(({ violations }) => violations > 0).map(({ check }) => check);

describe('free mode', () => {
  it('shares CPUs by weights, whatever the workers are', async () => {
    for (const threads of [1, 2, 4]) {
      const guests = [256, 512].map((weight) =>
        guest({ name: `w${weight}`, vcpus: 4, weight, workload: workload({ h: { instance: 4, run: 1e6 } }) }),
      );
      const {
        domains,
        outcome,
        mode,
        hash,
        free: measured,
      } = await runMachine(free({ guests, threads, durationNs: 3e9 }));
      expect([outcome, mode, hash]).to.deep.equal(['horizon', 'free', 'none']);
      expect(domains[0]!.share).to.be.closeTo(4 / 3, 0.1);
      expect(domains[1]!.share).to.be.closeTo(8 / 3, 0.1);
      expect(measured?.windowNs).to.equal(100_000);
    }
  });

  it('parks a capped domain and lets it go again, though nothing else happens meanwhile', async () => {
    for (const durationNs of [2e9, Infinity]) {
      const tasks = { h: durationNs === Infinity ? { loop: 1, run: 500_000 } : { run: 1_000_000 } };
      const guests = [guest({ cap: 50, workload: workload(tasks) })];
      const { outcome, domains, perfc } = await runMachine(free({ guests, durationNs }));
      expect(outcome).to.equal(durationNs === Infinity ? 'idle' : 'horizon');
      expect(perfc.vcpu_park).to.be.above(5);
      if (durationNs < Infinity) expect(domains[0]!.share).to.be.closeTo(0.5, 0.03);
      else expect(domains[0]!.tasks[0]!.workNs).to.equal(500e6);
    }
  });

  for (const name of [
    'weights',
    'cap',
    'settle',
    'smp-fairness',
    'smp-fairness-classic',
    'wake-latency',
    'wake-latency-no-boost',
  ]) {
    it(`gives the known answer of examples/${name}.yaml as ordered mode does`, async () => {
      const { config, expectations } = loadScenario(`examples/${name}.yaml`, { mode: 'free' });
      const verdicts = checkExpectations(expectations, await runMachine(config));
      expect(verdicts.filter(({ ok }) => !ok)).to.deep.equal([]);
    });
  }

  it('has the runstates of every VCPU sum to the time the run took', async () => {
    const { domains, simulatedNs } = await runMachine(
      free({ guests: MIXED, threads: 4, jitterSeed: 5, durationNs: 300e6 }),
    );
    // Clocks that are ahead in their last turn are ahead of the horizon.
    expect(simulatedNs).to.be.within(300e6, 300e6 + 200_000);
    for (const { runstate } of domains.flatMap(({ vcpus }) => vcpus)) {
      expect(Object.values(runstate).reduce((a, b) => a + b, 0)).to.equal(simulatedNs);
    }
  });

  it('keeps simulation clocks within the window, but for what locks of guests take to be handed on', async () => {
    for (const windowNs of [20_000, 1_000_000]) {
      const { free: measured } = await runMachine(free({ guests: MIXED, windowNs, durationNs: 300e6 }));
      expect(measured!.apartNs).to.be.above(windowNs / 10);
      expect(measured!.apartNs).to.be.at.most(windowNs + 16 * 2000);
    }
  });

  it('moves VCPUs between workers, by stealing and by waking', async () => {
    const { domains, pcpus, locks } = await runMachine(free({ guests: MIXED }));
    expect(new Set(pcpus.map(({ worker }) => worker))).to.deep.equal(new Set([0, 1]));
    expect(domains.reduce((n, d) => n + d.migrations, 0)).to.be.above(20);
    expect(locks.find(({ lock }) => lock === 'run-queue')!.acquired).to.be.above(1000);
  });

  it('ends when nothing is left to do, and says so', async () => {
    const guests = [guest({ vcpus: 2, workload: workload({ t: { instance: 3, loop: 5, run: 1000, sleep: 500 } }) })];
    for (const durationNs of [Infinity, 100e9]) {
      const { outcome, simulatedNs, domains } = await runMachine(free({ guests, durationNs }));
      expect(outcome).to.equal('idle');
      expect(domains[0]!.tasks.map(({ loops }) => loops)).to.deep.equal([5, 5, 5]);
      expect(simulatedNs).to.be.below(1e9);
    }
  });

  it('is paused with all workers at rest, and every record in order', async () => {
    const machine = await Machine.create(free({ guests: MIXED, threads: 4, jitterSeed: 3, durationNs: Infinity }));
    try {
      const run = machine.run();
      let last = -1;
      for (let n = 0; n < 8; n++) {
        const at = await machine.pause();
        expect(machine.verify()).to.deep.equal([]);
        const { events } = machine.progress();
        expect(await machine.pause(), 'a second pause').to.equal(at);
        expect(machine.progress().events).to.equal(events);
        expect(at).to.be.above(last);
        last = at;
        await machine.runUntil(at + 5e6);
        expect(machine.verify()).to.deep.equal([]);
        await machine.resume();
      }
      expect(() => machine.verify()).to.throw(RangeError, 'paused');
      await machine.stop();
      expect((await run).outcome).to.equal('stopped');
    } finally {
      await machine.close();
    }
  });

  it('pins running VCPUs anew, also to pCPUs of another worker', async () => {
    const guests = [
      guest({ name: 'a', vcpus: 2, workload: workload({ h: { instance: 2, run: 1e6 } }) }),
      guest({ name: 'b', workload: hog() }),
    ];
    const machine = await Machine.create(free({ guests, durationNs: Infinity }));
    try {
      const run = machine.run();
      for (const p of [3, 0, 2, 1]) {
        for (const v of [0, 1]) await machine.pin(1, v, [p]);
        const at = await machine.pause();
        await machine.runUntil(at + 30e6);
        const views = await Promise.all([0, 1, 2, 3].map((q) => machine.inspect(q)));
        const on = views.filter(({ current }) => current?.domain === 1).map(({ pcpu }) => pcpu);
        expect(on).to.deep.equal([p]);
        expect(views[p]!.runnable).to.be.at.least(2);
        expect(machine.verify()).to.deep.equal([]);
        await machine.resume();
      }
      await machine.stop();
      await run;
    } finally {
      await machine.close();
    }
  });

  it('keeps every record in order with pools that are separate, and when they are joined', async () => {
    const pool = (n: number): GuestConfig[] =>
      MIXED.map((g) => ({
        ...g,
        name: `${g.name}${n}`,
        cpus: Array.from({ length: g.vcpus }, () => [2 * n, 2 * n + 1]),
      }));
    const machine = await Machine.create(free({ guests: [...pool(0), ...pool(1)], durationNs: Infinity }));
    try {
      const run = machine.run();
      // Accounting parks the hogs of both pools; commands stop both workers.
      const goOn = async (): Promise<void> => {
        for (let n = 0; n < 6; n++) {
          for (const d of [3, 6]) await (n % 2 === 0 ? machine.pauseVcpu(d, 1) : machine.unpauseVcpu(d, 1));
          const at = await machine.pause();
          await machine.runUntil(at + 40e6);
          expect(machine.verify()).to.deep.equal([]);
          await machine.resume();
        }
      };
      await goOn();
      await machine.pin(1, 0, [1]);
      await goOn();
      await machine.pin(4, 2, [0, 3]);
      await machine.pin(1, 1, [2]);
      await goOn();
      await machine.stop();
      const { domains, perfc } = await run;
      expect(perfc.vcpu_park).to.be.above(10);
      for (const { name, tasks } of domains) {
        for (const { loops, workNs } of tasks) expect(loops + workNs, name).to.be.above(0);
      }
    } finally {
      await machine.close();
    }
  });

  it('holds a paused VCPU until it is let go', async () => {
    const machine = await Machine.create(free({ guests: [guest({ workload: hog() })], durationNs: Infinity }));
    try {
      const run = machine.run();
      await machine.pauseVcpu(1, 0);
      const at = await machine.pause();
      const before = machine.work();
      await machine.runUntil(at + 20e6);
      // What was computed before the IPI arrived is charged at the switch.
      expect(machine.work()[0]! - before[0]!).to.be.below(1e6);
      await machine.unpauseVcpu(1, 0);
      await machine.runUntil(at + 40e6);
      // It is charged at ticks and switches.
      expect(machine.work()[0]! - before[0]!).to.be.at.least(10e6);
      await machine.stop();
      await run;
    } finally {
      await machine.close();
    }
  });

  it('refuses to step, and VCPUs and pCPUs that there are not', async () => {
    const machine = await Machine.create(free({ guests: MIXED }));
    const refused = async (call: Promise<unknown>, what: string): Promise<void> => {
      let message = 'nothing';
      await call.catch((error: unknown) => {
        message = String(error);
      });
      expect(message).to.contain(what);
    };
    try {
      await refused(machine.step(), 'no one order of turns');
      await refused(machine.pin(1, 4, [0]), 'no VCPU 4 of domain 1');
      await refused(machine.pin(9, 0, [0]), 'no VCPU 0 of domain 9');
      await refused(machine.pin(1, 0, [4, -1]), 'none of the pCPUs [4, -1] exists');
      await refused(machine.pauseVcpu(1, 0.5), 'no VCPU 0.5');
    } finally {
      await machine.close();
    }
  });

  it('ends with the fault of a worker that dies, though others wait for its locks', async () => {
    const inject = { kind: 'throw', pcpu: 3, atNs: 50e6 } as const;
    const began = performance.now();
    let fault: unknown;
    await runMachine(free({ guests: MIXED, threads: 4, jitterSeed: 2, durationNs: Infinity, inject })).catch(
      (error: unknown) => {
        fault = error;
      },
    );
    expect(fault).to.be.instanceOf(MachineFault);
    expect((fault as MachineFault).pcpu).to.equal(3);
    expect((fault as MachineFault).worker).to.equal(3);
    expect(performance.now() - began).to.be.below(20_000);
  });

  it('names the worker that stalls, not those who wait for it', async () => {
    const inject = { kind: 'stall', pcpu: 2, atNs: 50e6 } as const;
    let fault: unknown;
    await runMachine(free({ guests: MIXED, threads: 4, stallLimitMs: 1500, durationNs: Infinity, inject })).catch(
      (error: unknown) => {
        fault = error;
      },
    );
    expect(fault).to.be.instanceOf(MachineFault);
    expect((fault as MachineFault).message).to.contain('worker 2 has not passed a safe point');
  });
});

describe('check-time in free mode', () => {
  const HOW: Readonly<Record<string, Partial<MachineConfig>>> = {
    'on two workers': {},
    'with pauses where races live': { jitterSeed: 11, durationNs: 1.1e9 },
    'with pauses, on more workers than cores': { threads: 8, jitterSeed: 12, durationNs: 300e6 },
    'with calibration each by itself': { calibration: 'local' },
  };
  for (const [how, over] of Object.entries(HOW)) {
    it(`finds nothing wrong ${how}`, async () => {
      const result = await checkTime(over);
      expect(wrong(result)).to.deep.equal([]);
      expect(result.time!.reads).to.be.above(10_000);
      // A rendezvous brings clocks together as well as messages do in ordered mode.
      for (const { errorNs } of result.time!.clocks) expect(Math.abs(errorNs)).to.be.below(100);
    });
  }

  it('fails without synchronisation and without calibration', async () => {
    expect(wrong(await checkTime({ synchronise: false }))).to.deep.equal(['boot-skew']);
    expect(wrong(await checkTime({ calibration: 'off' }))).to.include.members(['frequency', 'clock-error']);
  });

  const CAUGHT = {
    offset: 'clock-error',
    drift: 'frequency',
    'lost-update': 'stale-page',
    'early-stamp': 'runstate-sum',
    'khz-rounding': 'frequency',
    'torn-writer': 'torn-read',
    'lost-single-shot': 'timer-lost',
    'past-periodic': 'ticker-doubled',
    'late-ipi': 'ipi-late',
  } as const;
  for (const [kind, check] of Object.entries(CAUGHT)) {
    it(`finds ${kind}`, async () => {
      // No two runs are alike, and some mistakes need an occasion to show: a VCPU that missed two ticks comes to this pCPU, say.
      let found: string[] = [];
      for (let run = 0; run < 5 && !found.includes(check); run++) {
        const inject = { kind: kind as keyof typeof CAUGHT, pcpu: run, atNs: 300e6 };
        found = wrong(await checkTime({ inject }));
      }
      expect(found).to.include(check);
    });
  }

  it('finds calibrations that are skipped or late', async () => {
    for (const kind of ['skipped-calibration', 'late-calibration'] as const) {
      const inject = { kind, pcpu: 6, atNs: 1.2e9 };
      expect(wrong(await checkTime({ inject, durationNs: 3.2e9 }))).to.include('calibration-late');
    }
  });
});
