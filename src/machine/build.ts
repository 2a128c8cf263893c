/**
 * Lays the image of a machine and boots its domains into it: the state at system time 0, before any worker runs. The
 * main thread does this with the hypervisor's own code, as the boot pCPU would.
 */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { flatTopology } from '../balancer/topology.js';
import { initialiseHv } from '../hv/context.js';
import type { UserPolicy } from '../hv/sched/user-policy.js';
import { initialiseTimeCheck } from '../hv/time-check.js';
import { CONTROL } from '../pcpu/control-records.js';
import { keyTree } from '../pcpu/key-tree.js';
import { type MachineShape, machineMap, type RunParams } from '../pcpu/machine-shape.js';
import { ARG_BYTES, RUNSTATE_BYTES, START_ENTRY } from '../pcpu/model/boot.js';
import { modelMemory } from '../pcpu/model/memory.js';
import { type ProcessorCore, processorCore } from '../pcpu/processor.js';
import { Image, PAGE_SIZE } from '../shared/image.js';
import { oscillators } from '../shared/oscillator.js';
import { vcpu_guest_context } from '../shared/public/arch-x86-layout.js';
import { sizeOf } from '../shared/public/layout.js';
import { vcpu_info } from '../shared/public/xen-layout.js';
import { allRest } from '../shared/stop-machine.js';
import { domainNumber, type GuestConfig, type MachineConfig, POOL_0 } from './config.js';
import { type LoadCursor, loadWorkload, sizeOfWorkload } from './load-workload.js';
import { setPoolName } from './pool-names.js';
import { bootPools, nrPools, policiesOf, poolParams } from './pools.js';
import { sedfOf } from './sedf-defaults.js';

/** Domain 0 is the privileged one; workload guests count from 1. */
export const FIRST_DOMAIN = 1;

/** Event channels a VCPU of the guest kernel uses, and room for more. */
const PORTS_PER_VCPU = 4;
const SPARE_PORTS = 60;

export interface BuiltMachine {
  readonly image: Image;
  readonly shape: MachineShape;
  readonly params: RunParams;
  readonly core: ProcessorCore;
}

/** What is drawn of a cycle counter's start and rate, at most, and how long before time 0 the counters started, ns. */
const DRAWN_OFFSET_NS = 1e9;
const DRAWN_DRIFT_PPM = 50;
export const POWER_ON_NS = 2e9;

const pagesFor = (bytes: number): number => Math.ceil(bytes / PAGE_SIZE);

/** Areas of a guest in its own frames, as guest addresses: frame 0 is the shared info page. */
function guestAreas(vcpus: number): { info: number; runstate: number; args: number; boot: number; pages: number } {
  const info = PAGE_SIZE;
  const runstate = info + pagesFor(vcpus * sizeOf(vcpu_info, 64)) * PAGE_SIZE;
  const args = runstate + pagesFor(vcpus * RUNSTATE_BYTES) * PAGE_SIZE;
  const boot = args + pagesFor(vcpus * ARG_BYTES) * PAGE_SIZE;
  return { info, runstate, args, boot, pages: boot / PAGE_SIZE + pagesFor(sizeOf(vcpu_guest_context, 64)) };
}

export function machineShape(config: MachineConfig): MachineShape {
  const { guests } = config;
  const vcpus = guests.reduce((n, g) => n + g.vcpus, 0);
  const sizes = guests.map((g) => sizeOfWorkload(g.workload));
  const sum = (f: (n: number) => number): number => guests.reduce((total, _, n) => total + f(n), 0);
  return {
    workers: config.threads,
    hv: {
      pcpus: config.pcpus,
      vcpus,
      domains: guests.length + FIRST_DOMAIN,
      evtchns: SPARE_PORTS + PORTS_PER_VCPU * Math.max(0, ...guests.map((g) => g.vcpus)),
      runners: config.mode === 'free' ? config.threads : 1,
      pools: nrPools(config),
    },
    model: {
      vcpus,
      domains: guests.length + FIRST_DOMAIN,
      tasks: sum((n) => sizes[n]!.tasks + 1),
      phases: sum((n) => sizes[n]!.phases),
      events: sum((n) => sizes[n]!.events),
      resources: sum((n) => sizes[n]!.resources),
      timerSlots: sum((n) => (sizes[n]!.tasks + 1) * guests[n]!.vcpus),
      logLines: config.taskLogLines,
    },
    frames: sum((n) => guestAreas(guests[n]!.vcpus).pages),
  };
}

function runParams(config: MachineConfig, cores: number, policy: UserPolicy | undefined): RunParams {
  return {
    hv: {
      profile: config.profile,
      scheduler: policiesOf(config)[0]!,
      policies: policiesOf(config),
      ...poolParams(config, config.cpupools?.find(({ name }) => name === POOL_0) ?? {}),
      boost: config.boost,
      latencyNs: config.latencyNs,
      topology: config.topology ?? flatTopology(config.pcpus),
      smtPowerSavings: config.smtPowerSavings,
      cache: config.cache,
      cycleHz: config.cycleHz,
      runqLockNs: config.runqLockNs,
      privateLockNs: config.privateLockNs,
      checkTime: config.checkTime,
      bootTimeS: config.bootTimeS,
      timing: { synchronise: config.synchronise, calibration: config.calibration, inject: config.inject },
      free:
        config.mode === 'free'
          ? { windowNs: config.windowNs, jitterSeed: config.jitterSeed, spins: config.threads <= cores ? 2000 : 100 }
          : undefined,
      trace: config.trace || config.inject !== undefined,
      debug: config.debug,
    },
    guest: { operationNs: config.guestOpNs, logLines: config.taskLogLines },
    policy,
    horizonNs: config.durationNs,
    pace: config.pace,
    spins: config.threads <= cores ? 4000 : 0,
    inject: config.inject,
  };
}

/**
 * @param policy the scheduler, where it is a file that has been read
 * @throws RangeError when the image would be larger than an address space of 32 bits
 */
export function buildMachine(config: MachineConfig, cores: number, policy?: UserPolicy): BuiltMachine {
  const shape = machineShape(config);
  const params = runParams(config, cores, policy);
  const image = Image.create(machineMap(shape, params.hv.policies));
  // The main thread boots alone, in order: what goes on at the same time begins with the domains.
  const core = processorCore(image, shape, { ...params, hv: { ...params.hv, free: undefined } });
  const { hv, keys, turns } = core;
  keys.init();
  image.table(CONTROL).setPauseAt(0, Infinity);
  image.table(CONTROL).setStepsLeft(0, -1);
  initialiseHv(hv.context);
  const pools = bootPools(config);
  hv.cpupools.boot(pools);
  initialiseTimeCheck(image, shape.hv);
  const drawPcpu = drawing(
    config.seed,
    Array.from({ length: config.pcpus }, (_, p) => p),
  );
  // A pool's draws are its own: what is in another one changes nothing.
  const drawIn = pools.length === 1 ? [drawPcpu] : pools.map(({ cpus }, k) => drawing(config.seed, cpus, k + 1));
  const poolOf = (guest: GuestConfig): number => pools.findIndex(({ name }) => name === (guest.pool ?? POOL_0));
  const vcpusIn = pools.map(() => 0);
  for (let p = 0; p < config.pcpus; p++) {
    // Neighbours together: pools of pCPUs are ranges, and what stays within a worker costs the host less.
    hv.context.pcpu.setWorker(p, Math.floor((p * config.threads) / config.pcpus));
    // Where the round of idlers starts: what a host's boot leaves behind, drawn so that runs can differ.
    hv.context.pcpu.setLastTickled(p, drawPcpu(p));
  }

  const mem = modelMemory(image, hv);
  const cursor: LoadCursor = { task: 0, phase: 0, event: 0, resource: 0, timerSlot: 0 };
  let frames = image.region('frames').base;
  let firstVcpu = 0;
  for (const [n, guest] of config.guests.entries()) {
    const d = domainNumber(config.guests, n);
    const areas = guestAreas(guest.vcpus);
    const pool = poolOf(guest);
    const firstOfGuest = vcpusIn[pool]!;
    vcpusIn[pool] = firstOfGuest + guest.vcpus;
    hv.domains.create(d, {
      width: guest.abi,
      firstVcpu,
      vcpus: guest.vcpus,
      weight: guest.weight,
      cap: guest.cap,
      sedf: sedfOf(guest),
      pool,
      frames,
      nrFrames: areas.pages,
      hardAffinity: (v) => guest.cpus[v],
      softAffinity: (v) => guest.cpusSoft[v],
      firstPcpu: (v) => drawIn[pool]!(firstOfGuest + v),
    });
    mem.kd.setInfoArea(d, areas.info);
    mem.kd.setRunstateArea(d, areas.runstate);
    mem.kd.setArgArea(d, areas.args);
    mem.kd.setBootArea(d, areas.boot);
    loadWorkload(mem, cursor, d, firstVcpu, guest.vcpus, guest.workload);
    frames += areas.pages * PAGE_SIZE;
    firstVcpu += guest.vcpus;
  }
  startClocks(image, config, hv);
  for (const [n] of config.guests.entries()) {
    const v = hv.context.domain.firstVcpu(domainNumber(config.guests, n));
    hv.context.vcpu.setEntryPoint(v, START_ENTRY);
    hv.context.vcpu.setIsInitialised(v, 1);
  }
  for (let p = 0; p < config.pcpus; p++) keys.set(p, turns.keyOf(p));
  // Boot lies before time 0: there the machine stands, and there a command takes effect that comes before the first turn.
  hv.context.floors.setFloor(0, keys.key(keys.root()));
  const built = { image, shape, params, core };
  for (const [id, { name }] of pools.entries()) setPoolName(image, id, name);
  if (params.hv.free !== undefined) bootForFreeMode(built);
  return built;
}

/** Draws one of these pCPUs each time; with seed 0 the n-th. */
function drawing(seed: number, cpus: readonly number[], stream = 0): (n: number) => number {
  const random = xoroshiro128plus(seed ^ (stream << 16));
  return (n) => (seed === 0 ? cpus[n % cpus.length]! : cpus[uniformInt(random, 0, cpus.length - 1)]!);
}

/** Takes the turns of boot, which all lie before time 0, and gives every worker the keys of its pCPUs. */
function bootForFreeMode({ image, shape, params, core }: BuiltMachine): void {
  const { keys, turns, hv } = core;
  const { floors, machine, pcpu } = hv.context;
  while (keys.key(keys.root()) < 0) {
    floors.setFloor(0, keys.key(keys.root()));
    turns.take(keys.root());
  }
  const { pcpus } = shape.hv;
  const first = Array.from({ length: pcpus }, (_, p) => keys.key(p));
  for (let w = 0; w < shape.workers; w++) {
    const own = keyTree(image, pcpus, w);
    own.init();
    for (let p = 0; p < pcpus; p++) if (pcpu.worker(p) === w) own.set(p, first[p]!);
    floors.setFloor(w, 0);
    floors.setWorkFloor(w, -Infinity);
    machine.setNow(w, 0);
  }
  for (let p = 0; p < pcpus; p++) pcpu.setTurnedAt(p, -1);
  allRest(image.i32, image.region('stop-machine').base, shape.workers);
  // Jitter is for races: it is to find them where there could be some. And a user's policy may look at any queue.
  if (params.hv.free?.jitterSeed === 0 && params.policy === undefined) hv.separation.begin();
}

/** A real in [-1, 1]. */
function drawSigned(random: ReturnType<typeof xoroshiro128plus>): number {
  return uniformInt(random, -1_000_000, 1_000_000) / 1e6;
}

/** Gives every cycle counter and the platform clock its start and its rate, and the machine its wall clock. */
function startClocks(image: Image, config: MachineConfig, hv: ProcessorCore['hv']): void {
  const counters = oscillators(image);
  // A generator of its own: the clocks of a machine do not depend on what else was drawn.
  const random = xoroshiro128plus(config.seed ^ 0x5eed);
  const draw = (): number => (config.seed === 0 ? 0 : drawSigned(random));
  const { inject } = config;
  for (let p = 0; p < config.pcpus; p++) {
    const offset = config.tscOffsetsNs[p] ?? Math.round(draw() * DRAWN_OFFSET_NS);
    const ppm = config.tscDriftsPpm[p] ?? draw() * DRAWN_DRIFT_PPM;
    const rate = (config.cycleHz / 1e9) * (1 + ppm / 1e6);
    counters.init(p, (POWER_ON_NS + offset) * rate, rate);
    if (inject?.pcpu !== p) continue;
    if (inject.kind === 'offset') counters.step(p, inject.atNs, 1e6 * rate, rate);
    else if (inject.kind === 'drift') counters.step(p, inject.atNs, 0, rate * (1 + 100e-6));
    else if (inject.kind === 'frequency-step') counters.step(p, inject.atNs, 0, rate * 0.9);
    else if (inject.kind === 'unsigned-delta') counters.step(p, inject.atNs, -1.5e9 * rate, rate);
  }
  counters.init(config.pcpus, 0, 1 + (config.platformDriftPpm ?? draw() * DRAWN_DRIFT_PPM) / 1e6);
  const seconds = Math.floor(config.bootTimeS);
  hv.time.setWallClock(seconds, Math.floor((config.bootTimeS - seconds) * 1e9));
  hv.time.powerOn();
}
