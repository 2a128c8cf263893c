/**
 * `npm run soak -- [--seeds N] [--seconds S] [--workers W] [--pools] [--sched NAME] [--sockets N] [--profile classic]`: free mode with pauses
 * at every lock and in every marked window, while VCPUs are pinned to other pCPUs, paused and let go at random. Now and then the
 * machine is paused and every record looked at (src/machine/invariants.ts); the observer of time runs along. Exit code 1 when
 * anything was found.
 *
 * With `--pools`, without pauses at locks: every guest stays with one worker for the first half of the time, so that the workers
 * are separate (src/hv/separation.ts), and may go anywhere from then on.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { DEVICE_DEFAULTS, type DeviceConfig, type GuestConfig, machineDefaults } from '../src/machine/config.js';
import { Machine } from '../src/machine/machine.js';
import { parseRtApp } from '../src/workload/rt-app.js';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '20' },
    first: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '60' },
    workers: { type: 'string', default: '8' },
    pcpus: { type: 'string', default: '8' },
    pools: { type: 'boolean', default: false },
    sockets: { type: 'string', default: '1' },
    sched: { type: 'string', default: 'credit' },
    profile: { type: 'string', default: 'modern' },
  },
});
const [seeds, first, seconds, workers, pcpus] = [
  values.seeds,
  values.first,
  values.seconds,
  values.workers,
  values.pcpus,
].map(Number) as [number, number, number, number, number];
const sockets = Number(values.sockets);
const counts = [seeds, first, workers, pcpus, sockets, pcpus / sockets];
if (!counts.every((n) => Number.isSafeInteger(n) && n > 0) || !(seconds > 0)) {
  console.error(
    'usage: soak [--seeds N] [--first SEED] [--seconds S] [--workers W] [--pcpus P] [--pools] [--sched NAME] [--sockets N] [--profile P]',
  );
  process.exit(2);
}

const guest = (name: string, vcpus: number, tasks: object, over: Partial<GuestConfig> = {}): GuestConfig => ({
  name,
  vcpus,
  memoryMib: 64,
  weight: 256,
  cap: 0,
  cpus: [],
  cpusSoft: [],
  abi: 64,
  workload: parseRtApp(JSON.stringify({ tasks }), name),
  ...over,
});

/** VCPUs that share locks, meet at barriers, sleep, tick, compute, and are parked. */
const GUESTS: readonly GuestConfig[] = [
  guest('racers', 6, { racer: { instance: 6, loop: -1, run0: 20, lock: 'm', run1: 5, unlock: 'm', sleep: 30 } }),
  guest('meeters', 4, { meeter: { instance: 4, loop: -1, run: 40, barrier: 'b' } }),
  guest(
    'timers',
    3,
    { tick: { instance: 3, loop: -1, run: 10, timer: { ref: 'unique', period: 150 } } },
    {
      sedf: { periodNs: 2e6, sliceNs: 150e3 },
    },
  ),
  guest(
    'hogs',
    3,
    { hog: { instance: 3, loop: -1, run: 1_000_000 } },
    { cap: 120, sedf: { periodNs: 10e6, sliceNs: 1e6, extratime: true } },
  ),
  guest(
    'legacy',
    2,
    {
      web: { instance: 4, loop: -1, run: 200, sleep: 300 },
      reader: { instance: 2, loop: -1, run: 30, io: 'disk' },
      net: { loop: -1, irq: 'wire', run: 5 },
    },
    { abi: 32 },
  ),
];

const device = (over: Partial<DeviceConfig> & Pick<DeviceConfig, 'name' | 'kind' | 'irq'>): DeviceConfig => ({
  ...DEVICE_DEFAULTS,
  periodNs: 100e3,
  arrivals: over.kind === 'timer' ? 'periodic' : 'poisson',
  ...over,
});

/** Lines that are edges, levels, shared (but not by two workers' domains that are to stay separate), and nobody's. */
const DEVICES: readonly DeviceConfig[] = [
  device({ name: 'wire', kind: 'nic', irq: 16, domain: 'legacy', itemNs: 3000 }),
  device({ name: 'other', kind: 'nic', irq: values.pools ? 17 : 16, domain: 'racers', vcpu: 3 }),
  device({ name: 'disk', kind: 'disk', irq: 14, domain: 'legacy', vcpu: 1 }),
  device({ name: 'card', kind: 'timer', irq: 8, domain: 'meeters', periodNs: 130e3 }),
  device({ name: 'stray', kind: 'nic', irq: 20 }),
];

const ALL = Array.from({ length: pcpus }, (_, p) => p);
/** What guest n may use while the workers are separate: the pCPUs of one of them. */
const poolOf = (n: number): number[] => ALL.filter((p) => Math.floor((p * workers) / pcpus) === n % workers);
const guests = GUESTS.map((g, n) => ({
  ...g,
  cpus: values.pools ? Array.from({ length: g.vcpus }, () => poolOf(n)) : [],
}));

interface Outcome {
  readonly problems: readonly string[];
  readonly outcome: string;
  readonly pins: number;
  readonly pauses: number;
  readonly looks: number;
  readonly events: number;
  readonly simulatedS: number;
}

async function soak(seed: number): Promise<Outcome> {
  const random = xoroshiro128plus(seed);
  const draw = (below: number): number => uniformInt(random, 0, below - 1);
  const machine = await Machine.create({
    ...machineDefaults(values.profile === 'classic' ? 'classic' : 'modern'),
    mode: 'free',
    scheduler: values.sched,
    jitterSeed: values.pools ? 0 : seed,
    pcpus,
    threads: workers,
    topology: { sockets, cores: pcpus / sockets, threads: 1 },
    memoryMib: 65536,
    durationNs: Infinity,
    checkTime: true,
    debug: true,
    seed,
    guests,
    devices: DEVICES,
  });
  const problems: string[] = [];
  let [pins, pauses, looks] = [0, 0, 0];
  const held = new Set<string>();
  const running = machine.run();
  const ended = running.then(
    () => undefined,
    (error: unknown) => {
      problems.push(String(error));
    },
  );
  const until = performance.now() + seconds * 1000;
  const anyVcpu = (): readonly [number, number] => {
    const n = draw(GUESTS.length);
    return [n + 1, draw(GUESTS[n]!.vcpus)];
  };

  async function look(): Promise<void> {
    await machine.pause();
    looks++;
    problems.push(...machine.verify());
    await machine.resume();
  }

  async function act(): Promise<void> {
    const [d, v] = anyVcpu();
    const key = `${d}.${v}`;
    switch (draw(4)) {
      case 0:
      case 1: {
        pins++;
        const allowed = values.pools && performance.now() < until - seconds * 500 ? poolOf(d - 1) : ALL;
        const some = allowed.filter(() => draw(3) === 0);
        await machine.pin(d, v, some.length > 0 ? some : [allowed[draw(allowed.length)]!]);
        break;
      }
      case 2:
        if (held.has(key)) await machine.unpauseVcpu(d, v);
        else await machine.pauseVcpu(d, v);
        if (!held.delete(key)) held.add(key);
        pauses++;
        break;
      default:
        await look();
    }
  }

  try {
    while (performance.now() < until && problems.length === 0) {
      await act();
      await delay(draw(20));
    }
    // Everybody is let go and may run anywhere: then everybody must get on.
    for (const key of held) {
      const [d, v] = key.split('.').map(Number) as [number, number];
      await machine.unpauseVcpu(d, v);
    }
    for (const [n, g] of GUESTS.entries()) {
      for (let v = 0; v < g.vcpus; v++) await machine.pin(n + 1, v, ALL);
    }
    const from = await machine.pause();
    const before = machine.work();
    await machine.runUntil(from + 400e6);
    problems.push(...machine.verify());
    // Null has a pCPU for every VCPU, or some wait for ever.
    const mustGetOn = values.sched !== 'null' || pcpus >= GUESTS.reduce((sum, g) => sum + g.vcpus, 0);
    for (const [n, work] of mustGetOn ? machine.work().entries() : []) {
      if (work === before[n]) problems.push(`task ${n} does not get on any more: a wake-up was lost`);
    }
  } catch (error) {
    problems.push(String(error));
  }
  await machine.stop();
  await ended;
  const result = await running.catch(() => undefined);
  await machine.close();
  for (const { check, violations, worst, first: at } of result?.time?.findings ?? []) {
    if (violations === 0) continue;
    problems.push(`${check}: ${violations} times, at worst ${worst}, first at ${at?.atNs} ns on pCPU ${at?.pcpu}`);
  }
  return {
    problems,
    outcome: result?.outcome ?? 'fault',
    pins,
    pauses,
    looks,
    events: result?.events ?? 0,
    simulatedS: (result?.simulatedNs ?? 0) / 1e9,
  };
}

let failed = 0;
console.log(`${workers} workers, ${pcpus} pCPUs, ${seconds} s a seed${values.pools ? ', in pools' : ''}`);
for (let seed = first; seed < first + seeds; seed++) {
  const { problems, outcome, pins, pauses, looks, events, simulatedS } = await soak(seed);
  const did = `${outcome}, ${events} events in ${simulatedS.toFixed(2)} simulated s, ${pins} pinned, ${pauses} paused or let go, ${looks} looks`;
  console.log(`seed ${String(seed).padStart(3)}: ${problems.length === 0 ? 'nothing wrong' : 'WRONG'} (${did})`);
  for (const problem of problems.slice(0, 10)) console.log(`    ${problem}`);
  if (problems.length > 0) failed++;
}
console.log(failed === 0 ? 'nothing wrong in any' : `${failed} of ${seeds} went wrong`);
process.exitCode = failed === 0 ? 0 : 1;
