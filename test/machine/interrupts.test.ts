/** Devices, their domains' drivers and the tasks that wait for them: whole machines, with answers that can be worked out. */
import { expect } from 'chai';
import { findConfigProblem } from '../../src/machine/check-config.js';
import { DEVICE_DEFAULTS, type DeviceConfig, type GuestConfig, type MachineConfig } from '../../src/machine/config.js';
import { invariants } from '../../src/machine/invariants.js';
import { Machine } from '../../src/machine/machine.js';
import type { DeviceResult, InterruptResult, RunResult } from '../../src/machine/result.js';
import { guest, hog, machineConfig, simulate, workload } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

const US = 1e3;
const MS = 1e6;
/** What everything after the message takes on an idle pCPU, ns: switching costs nothing. */
const L = 2000;
/** A histogram's quantile is up to 6.25 % above the truth. */
const UP = 1.0625;

const device = (over: Partial<DeviceConfig> & Pick<DeviceConfig, 'kind'>): DeviceConfig => ({
  ...DEVICE_DEFAULTS,
  name: over.kind,
  irq: 16,
  domain: 'io',
  periodNs: MS,
  ...over,
});

/** A domain whose only task sleeps: all it does is to serve devices. */
const server = (over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({ name: 'io', workload: workload({ sleeper: { sleep: 1_000_000 } }), ...over });

function run(over: Partial<MachineConfig> & Pick<MachineConfig, 'guests'>): RunResult {
  const simulation = simulate(machineConfig({ ...over, checkTime: true }));
  const findBroken = invariants(simulation.built);
  let turns = 0;
  simulation.run(undefined, () => {
    // Not after each of very many turns: each look is at every record.
    if (turns++ % 31 === 0) expect(findBroken()).to.deep.equal([]);
  });
  const result = simulation.result();
  expect(result.time?.findings.filter(({ violations }) => violations > 0)).to.deep.equal([]);
  return result;
}

function of(result: RunResult, name: string): DeviceResult & { readonly line: InterruptResult } {
  const found = result.devices?.find((each) => each.name === name);
  const line = result.interrupts?.find(({ irq }) => irq === found?.irq);
  if (!found || !line) throw new Error(`no device ${name}`);
  return { ...found, line };
}

describe('a timer card', () => {
  it('interrupts an idle domain once a tick, L later', () => {
    const { line, ...card } = of(run({ guests: [server()], devices: [device({ kind: 'timer' })] }), 'timer');
    // 1 s, and the tick at its end is of the next.
    expect(card).to.include({ arrived: 999, taken: 999, spurious: 0 });
    expect(line).to.include({ trigger: 'edge', raised: 999, delivered: 999, handled: 999, unhandled: 0, merged: 0 });
    expect(line.latency.count).to.equal(999);
    expect(line.latency.p50Ns).to.be.within(L, L * UP);
    expect(line.latency.maxNs).to.be.within(L, L * UP);
  });

  it('costs its handler as many us as it was given', () => {
    const handlerNs = 50 * US;
    const busy = (n: number): number =>
      run({ guests: [server()], devices: [device({ kind: 'timer', handlerNs, stopNs: n * MS })] }).domains[0]!
        .virtualTimeNs;
    expect((busy(600) - busy(100)) / 500).to.be.closeTo(handlerNs, 500);
  });

  it('wakes tasks that wait for it, and leaves out none that a task missed', () => {
    const tasks = { wait: { irq: 'timer' }, slow: { irq: 'timer', run: 1500 } };
    const guests = [guest({ name: 'io', vcpus: 2, workload: workload(tasks) })];
    const { domains } = run({ pcpus: 2, guests, devices: [device({ kind: 'timer' })] });
    const loops = (name: string): number => domains[0]!.tasks.find((t) => t.name === name)!.loops;
    expect(loops('wait-0')).to.equal(999);
    // Always one that it has not seen: it never sleeps, as if it read a file of interrupts.
    expect(loops('slow-0')).to.be.closeTo(1000 / 1.5, 3);
  });

  it('may be served by any VCPU, and by domain 0', () => {
    for (const privileged of [false, true]) {
      for (const profile of ['modern', 'classic'] as const) {
        const guests = [server({ vcpus: 3, privileged })];
        const devices = [device({ kind: 'timer', vcpu: 2 })];
        const { line } = of(run({ profile, pcpus: 3, guests, devices }), 'timer');
        expect(line, `${profile} ${privileged}`).to.include({ handled: 999, unhandled: 0 });
        expect(line.domains).to.deep.equal([privileged ? 0 : 1]);
      }
    }
  });
});

describe('a NIC', () => {
  it('loses nothing while its domain keeps up', () => {
    for (const arrivals of ['periodic', 'poisson', 'burst'] as const) {
      const nic = device({ kind: 'nic', periodNs: 200 * US, arrivals, burst: 16, itemNs: 5 * US });
      const { line, ...result } = of(run({ guests: [server()], devices: [nic] }), 'nic');
      expect(result.arrived, arrivals).to.be.within(4500, 5500);
      expect(result.taken).to.be.within(result.arrived - 20, result.arrived);
      expect(result.dropped).to.equal(0);
      expect(line).to.include({ trigger: 'level', unhandled: 0, forced: 0 });
      // Those of a burst come together; others are sometimes overtaken by the next.
      expect(line.handled).to.be.within(arrivals === 'burst' ? 220 : 4300, arrivals === 'burst' ? 380 : 5500);
    }
  });

  it('under overload gives its domain as many as that can handle, and drops the rest', () => {
    const nic = device({ kind: 'nic', periodNs: 10 * US, itemNs: 20 * US, handlerNs: US, ring: 32 });
    const { line, ...result } = of(run({ guests: [server()], devices: [nic] }), 'nic');
    // Packets come in while others are handled, until the ring is full: some interrupts for each ring of them.
    expect(result.taken).to.be.within(49_000, 50_000);
    expect(result.arrived).to.equal(99_999);
    expect(result.dropped).to.be.closeTo(50_000, 1000);
    expect(line.handled).to.be.within(50_000 / 32, 5000);
    expect(line.forced).to.equal(0);
  });

  it('comes once more when its handler takes longer than 1 ms to acknowledge it', () => {
    const nic = device({ kind: 'nic', periodNs: 10 * MS, handlerNs: 1.5 * MS });
    const counts = (profile: 'modern' | 'classic') => of(run({ profile, guests: [server()], devices: [nic] }), 'nic');
    // The packet is still there when the line is taken for acknowledged; the second handler finds nothing.
    const modern = counts('modern');
    expect(modern.line).to.include({ raised: 99, delivered: 198, handled: 99, forced: 99 });
    expect(modern).to.include({ taken: 99, spurious: 99 });
    const classic = counts('classic');
    expect(classic.line).to.include({ raised: 99, delivered: 99, handled: 99, forced: 0 });
    expect(classic).to.include({ taken: 99, spurious: 0 });
  });

  it('is as random for any seed, and the same for one', () => {
    const arrived = (seed: number): number => {
      const nic = device({ kind: 'nic', periodNs: 500 * US, arrivals: 'poisson' });
      return of(run({ seed, guests: [server()], devices: [nic] }), 'nic').arrived;
    };
    const counts = [1, 2, 3, 4].map(arrived);
    for (const count of counts) expect(count).to.be.within(1800, 2200);
    expect(new Set(counts).size).to.be.above(1);
    expect(arrived(1)).to.equal(counts[0]);
  });

  it('that nobody serves is masked at its first interrupt', () => {
    const nic = device({ kind: 'nic', domain: undefined });
    const { line, ...result } = of(run({ guests: [server()], devices: [nic] }), 'nic');
    expect(line).to.include({ raised: 1, delivered: 0, handled: 0, unhandled: 1 });
    expect(line.domains).to.deep.equal([]);
    expect(result).to.include({ arrived: 999, taken: 0, dropped: 999 - 256 });
  });
});

describe('a disk', () => {
  it('does one request after the other', () => {
    const requests = (instance: number): number => {
      const guests = [guest({ name: 'io', workload: workload({ t: { instance, io: 'disk' } }) })];
      return of(run({ guests, devices: [device({ kind: 'disk' })] }), 'disk').taken;
    };
    // Each takes 1 ms and some us until the next is asked for; with three tasks there always is one.
    expect(requests(1)).to.be.within(985, 997);
    expect(requests(3)).to.be.within(997, 1000);
  });

  it('wakes each task for its own request', () => {
    const tasks = { a: { io: 'disk' }, b: { instance: 3, io: { device: 'disk' }, run: 10 } };
    const guests = [guest({ name: 'io', vcpus: 2, workload: workload(tasks) })];
    const { domains, ...rest } = run({ pcpus: 2, guests, devices: [device({ kind: 'disk', arrivals: 'poisson' })] });
    for (const { name, loops } of domains[0]!.tasks) expect(loops, name).to.be.closeTo(250, 20);
    expect(domains[0]!.tasks.reduce((sum, { loops }) => sum + loops, 0)).to.be.closeTo(
      of(rest as RunResult, 'disk').taken,
      4,
    );
  });
});

describe('a shared line', () => {
  it('of two domains tells both, and each finds its own', () => {
    const guests = [server(), server({ name: 'other' })];
    const devices = [
      device({ kind: 'nic', name: 'a', periodNs: 900 * US }),
      device({ kind: 'nic', name: 'b', domain: 'other', periodNs: 700 * US }),
    ];
    const result = run({ pcpus: 2, guests, devices });
    const [a, b] = [of(result, 'a'), of(result, 'b')];
    expect([a.taken, b.taken]).to.deep.equal([a.arrived, b.arrived]);
    expect(a.line.domains).to.deep.equal([1, 2]);
    // Every interrupt is looked at by both. It is both's each 6.3 ms, else one's alone.
    const together = Math.floor(1000 / 6.3);
    expect(a.spurious).to.be.closeTo(b.arrived - together, 3);
    expect(b.spurious).to.be.closeTo(a.arrived - together, 3);
    expect(a.line.forced).to.equal(0);
  });

  it('of one domain is bound once', () => {
    const devices = [device({ kind: 'nic', periodNs: 900 * US }), device({ kind: 'disk' })];
    const guests = [guest({ name: 'io', workload: workload({ t: { io: 'disk' } }) })];
    const result = run({ guests, devices });
    expect(of(result, 'nic').line.domains).to.deep.equal([1]);
    expect(of(result, 'nic').taken).to.equal(of(result, 'nic').arrived);
    expect(of(result, 'disk').taken).to.be.within(980, 998);
  });

  it('is as slow as its slowest domain: a paused one holds it for 1 ms, in the classic profile for ever', () => {
    for (const profile of ['modern', 'classic'] as const) {
      const devices = [
        device({ kind: 'nic', name: 'a', periodNs: 100 * US }),
        device({ kind: 'nic', name: 'b', domain: 'other', periodNs: 100 * US }),
      ];
      const guests = [server(), server({ name: 'other' })];
      const simulation = simulate(machineConfig({ profile, pcpus: 2, guests, devices }));
      const { hv, turns } = simulation.built.core;
      simulation.run(500 * MS);
      const before = of(simulation.result(), 'a');
      turns.interact(0, () => hv.sched.pause(hv.context.domain.firstVcpu(2)));
      simulation.run(600 * MS);
      const after = of(simulation.result(), 'a');
      expect(before.line.handled).to.be.above(4000);
      const during = after.line.latency.count - before.line.latency.count;
      if (profile === 'modern') expect(during).to.be.within(95, 105);
      else expect(during).to.be.within(0, 2);
    }
  });
});

describe('where a line goes', () => {
  it('is the pCPU of who serves it: pinned, or moved while it runs', () => {
    const guests = [server({ cpus: [[1]] }), guest({ name: 'hog', cpus: [[0]], workload: hog() })];
    const simulation = simulate(machineConfig({ pcpus: 3, guests, devices: [device({ kind: 'nic' })] }));
    const { hv, turns } = simulation.built.core;
    simulation.run(500 * MS);
    const pinned = of(simulation.result(), 'nic');
    expect(pinned.line.latency.maxNs).to.be.within(L, L * UP);
    turns.interact(0, () => hv.sched.setAffinity(hv.context.domain.firstVcpu(1), [2]));
    simulation.run();
    const moved = of(simulation.result(), 'nic');
    expect(moved.taken).to.equal(moved.arrived);
    // One interrupt still goes to where it ran last, and from there takes an IPI.
    expect(moved.line.latency.p99Ns).to.be.within(L, L * UP);
    expect(moved.line.latency.maxNs).to.be.within(L, 2 * L * UP);
  });
});

describe('known answers: an I/O VM and a hog pinned to one pCPU', () => {
  /** A stream with one message under way: 88 us of work for each, and 120 us until the next comes, in a cycle. */
  function throughput(boost: boolean, withHog: boolean): number {
    const io = guest({ name: 'io', workload: workload({ t: { run: 88, io: 'disk' } }) });
    const peer = device({ kind: 'disk', arrivals: 'poisson', periodNs: 120 * US, handlerNs: 6 * US });
    const guests = withHog ? [io, guest({ name: 'hog', workload: hog() })] : [io];
    const simulation = simulate(machineConfig({ profile: 'classic', durationNs: 4e9, boost, guests, devices: [peer] }));
    simulation.run();
    return of(simulation.result(), 'disk').taken;
  }

  it('keeps 91 % of its throughput with boost, and 20 % without (published: 731 and 166 of 807 Mbit/s)', () => {
    const solo = throughput(true, false);
    expect(throughput(true, true) / solo).to.be.within(0.86, 0.96);
    expect(throughput(false, true) / solo).to.be.within(0.1, 0.3);
  });
});

describe('devices on any number of threads', () => {
  /** Everything at once, more VCPUs than pCPUs. */
  const mixed = (over: Partial<MachineConfig> = {}): MachineConfig =>
    machineConfig({
      pcpus: 4,
      seed: 5,
      durationNs: 80 * MS,
      guests: [
        server({ vcpus: 2 }),
        guest({
          name: 'store',
          vcpus: 3,
          abi: 32,
          workload: workload({
            reader: { instance: 4, run: 50, io: 'disk' },
            net: { instance: 2, irq: 'shared', run: 20 },
            locks: { instance: 3, lock: 'm', run: 10, unlock: 'm', sleep: 100 },
          }),
        }),
        guest({ name: 'hogs', vcpus: 3, workload: workload({ hog: { instance: 3, run: 1000 } }) }),
      ],
      devices: [
        device({ kind: 'nic', periodNs: 50 * US, arrivals: 'poisson', itemNs: 3 * US }),
        device({ kind: 'nic', name: 'shared', domain: 'store', periodNs: 200 * US, arrivals: 'burst', burst: 4 }),
        device({ kind: 'disk', irq: 14, domain: 'store', vcpu: 2, periodNs: 300 * US }),
        device({ kind: 'timer', irq: 8, vcpu: 1, periodNs: 150 * US }),
        device({ kind: 'nic', name: 'stray', irq: 20, domain: undefined }),
      ],
      ...over,
    });

  for (const profile of ['modern', 'classic'] as const) {
    it(`have one hash in the ${profile} profile`, async () => {
      const config = mixed({ profile });
      const alone = run(config);
      expect(of(alone, 'disk').taken).to.be.above(80);
      for (const threads of [1, 2, 4]) {
        const result = await runMachine({ ...config, threads });
        expect(result.hash, `${threads} threads`).to.equal(alone.hash);
        expect(result.interrupts).to.deep.equal(alone.interrupts);
      }
    });
  }

  it('race in free mode without a lost interrupt', async () => {
    const short = { durationNs: 60 * MS };
    const ordered = await runMachine(mixed({ ...short, threads: 2 }));
    for (const jitterSeed of [0, 1]) {
      const free = { mode: 'free', windowNs: 500 * US, threads: 3, jitterSeed, checkTime: true } as const;
      const machine = await Machine.create(mixed({ ...short, ...free }));
      try {
        const result = await machine.run();
        expect(machine.verify()).to.deep.equal([]);
        expect(result.time?.findings.filter(({ violations }) => violations > 0)).to.deep.equal([]);
        for (const name of ['nic', 'shared', 'timer']) {
          const [here, there] = [of(result, name), of(ordered, name)];
          expect(here.arrived, name).to.be.closeTo(there.arrived, 10);
          expect(here.taken + here.dropped, name).to.be.within(here.arrived - 300, here.arrived);
        }
        // Each request waits for the one before, so how many there are hangs on how the host runs the workers.
        expect(of(result, 'disk').taken).to.be.above(0.25 * of(ordered, 'disk').taken);
        expect(of(result, 'stray').line.unhandled).to.equal(1);
      } finally {
        await machine.close();
      }
    }
  });

  it('keep pools of pCPUs separate in free mode, unless two share a line', async () => {
    const pools = (irqs: readonly [number, number]): MachineConfig =>
      machineConfig({
        pcpus: 4,
        threads: 2,
        mode: 'free',
        windowNs: MS,
        durationNs: 50 * MS,
        guests: [
          server({
            vcpus: 2,
            cpus: [
              [0, 1],
              [0, 1],
            ],
          }),
          server({ name: 'other', cpus: [[2, 3]] }),
        ],
        devices: irqs.map((irq, n) =>
          device({ kind: 'nic', name: `nic${n}`, irq, domain: n === 0 ? 'io' : 'other', periodNs: 100 * US }),
        ),
      });
    for (const irqs of [
      [16, 17],
      [16, 16],
    ] as const) {
      const machine = await Machine.create(pools(irqs));
      try {
        const result = await machine.run();
        expect(machine.verify()).to.deep.equal([]);
        for (const name of ['nic0', 'nic1']) {
          const { taken, arrived, dropped } = of(result, name);
          expect(dropped).to.equal(0);
          expect(taken).to.be.within(arrived - 25, arrived);
          expect(arrived).to.be.within(490, 515);
        }
      } finally {
        await machine.close();
      }
    }
  });
});

describe('devices that cannot be', () => {
  const problem = (over: Partial<DeviceConfig>, others: readonly DeviceConfig[] = []): string | undefined =>
    findConfigProblem(
      machineConfig({ guests: [server({ vcpus: 2 })], devices: [...others, device({ kind: 'nic', ...over })] }),
    )?.message;

  it('are refused with what is wrong', () => {
    expect(problem({})).to.equal(undefined);
    expect(problem({ irq: 0 })).to.match(/0 is out of range/);
    expect(problem({ irq: 256 })).to.match(/256 is out of range/);
    expect(problem({ periodNs: 99 })).to.match(/99 ns is out of range/);
    expect(problem({ domain: 'nobody' })).to.match(/no domain named 'nobody'; there are: io/);
    expect(problem({ vcpu: 2 })).to.match(/VCPU 2 is to serve nic/);
    expect(problem({ ring: 0 })).to.match(/0 is out of range/);
    expect(problem({ startNs: 5, stopNs: 5 })).to.match(/stop before it starts/);
    expect(problem({ kind: 'timer', arrivals: 'poisson' })).to.match(/ticks periodically/);
    expect(problem({ kind: 'disk', stopNs: 5 })).to.match(/leave requests undone/);
    expect(problem({}, [device({ kind: 'nic', irq: 9 })])).to.match(/second device named 'nic'/);
    expect(problem({}, [device({ kind: 'timer' })])).to.match(/one is edge triggered/);
    expect(problem({}, [device({ kind: 'disk', vcpu: 1 })])).to.match(/on one VCPU/);
  });

  it('are not waited for by tasks', () => {
    const wants = (tasks: object): string | undefined =>
      findConfigProblem(
        machineConfig({
          guests: [server(), guest({ name: 'b', workload: workload(tasks) })],
          devices: [device({ kind: 'nic', domain: 'b' }), device({ kind: 'disk', irq: 14 })],
        }),
      )?.message;
    expect(wants({ t: { irq: 'nic' } })).to.equal(undefined);
    expect(wants({ t: { irq: 'nic9' } })).to.match(/task t wants 'nic9', which is no device of b/);
    expect(wants({ t: { io: 'disk' } })).to.match(/'disk', which is no device of b/);
    expect(wants({ t: { io: 'nic' } })).to.match(/wants I\/O of nic, which is no disk/);
  });
});
