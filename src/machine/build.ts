/**
 * Lays the image of a machine and boots its domains into it: the state at system time 0, before any worker runs. The
 * main thread does this with the hypervisor's own code, as the boot pCPU would.
 */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { flatTopology } from '../balancer/topology.js';
import { initialiseHv } from '../hv/context.js';
import { xenFramesFor } from '../hv/mm/m2p.js';
import { HELD_BACK } from '../hv/records.js';
import type { UserPolicy } from '../hv/sched/user-policy.js';
import { SCHEDULER_NAMES } from '../hv/scheduler-dump.js';
import { initialiseTimeCheck } from '../hv/time-check.js';
import { CONTROL } from '../pcpu/control-records.js';
import { type MachineShape, machineMap, type RunParams } from '../pcpu/machine-shape.js';
import { ARG_BYTES, RUNSTATE_BYTES, START_ENTRY } from '../pcpu/model/boot.js';
import { builderBytes } from '../pcpu/model/domain-builder.js';
import type { KernelPlan } from '../pcpu/model/kernel-plan.js';
import { type ModelMemory, modelMemory } from '../pcpu/model/memory.js';
import { type ProcessorCore, processorCore } from '../pcpu/processor.js';
import { debuggerRecords } from '../pcpu/x86/debugger-records.js';
import { Image, PAGE_SIZE, PAGES_PER_MIB } from '../shared/image.js';
import { MAX_VIRT_CPUS, MIN_IRQS } from '../shared/limits.js';
import { oscillators } from '../shared/oscillator.js';
import { vcpu_guest_context } from '../shared/public/arch-x86-layout.js';
import { sizeOf } from '../shared/public/layout.js';
import { vcpu_info } from '../shared/public/xen-layout.js';
import { allRest } from '../shared/stop-machine.js';
import { buildBackEnds, type ServedDomain } from './build-back-ends.js';
import { startDevices } from './build-devices.js';
import { buildLinks, requestNumbers } from './build-links.js';
import { boots, domainNumber, type GuestConfig, type MachineConfig, mostVcpus, POOL_0 } from './config.js';
import { dealGroups, interactionGroups, numberOfGroups, numberOfRunners } from './groups.js';
import { runsTogether } from './host-order.js';
import { loadKernel } from './load-kernel.js';
import { type LoadCursor, loadWorkload, type RequestNumbers, sizeOfWorkload } from './load-workload.js';
import { EXTRA_FRAMES, kernelPlan } from './plan-kernel.js';
import { setPoolName } from './pool-names.js';
import { bootPools, nrPools, policiesOf, poolOfGuest, poolParams } from './pools.js';
import { sedfOf } from './sedf-defaults.js';
import { linksOfGuest, type ServiceLinks, serviceLinks } from './service-links.js';
import { LIVE_BYTES, LIVE_CALLS, type ToolArea, toolRoom, writeJob } from './tool-jobs.js';

/** Domain 0 is the privileged one; workload guests count from 1. */
export const FIRST_DOMAIN = 1;

/** Event channels a VCPU of the guest kernel uses, and room for more. */
const PORTS_PER_VCPU = 4;
const SPARE_PORTS = 60;

/** Room for the workload of a domain made at run time that no scenario names: on the average of all of them. */
const SPARE_TASKS = 32;
const SPARE_PHASES = 64;
const SPARE_EVENTS = 256;
const SPARE_RESOURCES = 128;

export interface BuiltMachine {
  readonly image: Image;
  readonly shape: MachineShape;
  readonly params: RunParams;
  readonly core: ProcessorCore;
  /** Where the next workload goes. */
  readonly cursor: LoadCursor;
}

/** What is drawn of a cycle counter's start and rate, at most, and how long before time 0 the counters started, ns. */
const DRAWN_OFFSET_NS = 1e9;
const DRAWN_DRIFT_PPM = 50;
export const POWER_ON_NS = 2e9;

const pagesFor = (bytes: number): number => Math.ceil(bytes / PAGE_SIZE);

interface GuestAreas {
  readonly info: number;
  readonly runstate: number;
  readonly args: number;
  readonly boot: number;
  /** What its domain's tools want of it. */
  readonly store: number;
  readonly tools: number;
  /** A page for the ring of each link it is the client of. */
  readonly rings: number;
  /** What it needs to build domains. */
  readonly build: number;
  readonly pages: number;
}

/** Areas of a guest in its own frames, as guest addresses: frame 0 is the shared info page. */
export function guestAreas(vcpus: number, links = 0, toolBytes = 0, buildBytes = 0): GuestAreas {
  const info = PAGE_SIZE;
  const runstate = info + pagesFor(vcpus * sizeOf(vcpu_info, 64)) * PAGE_SIZE;
  const args = runstate + pagesFor(vcpus * RUNSTATE_BYTES) * PAGE_SIZE;
  const boot = args + pagesFor(vcpus * ARG_BYTES) * PAGE_SIZE;
  const store = boot + pagesFor(sizeOf(vcpu_guest_context, 64)) * PAGE_SIZE;
  const tools = store + PAGE_SIZE;
  const rings = tools + pagesFor(toolBytes) * PAGE_SIZE;
  const build = rings + links * PAGE_SIZE;
  return { info, runstate, args, boot, store, tools, rings, build, pages: build / PAGE_SIZE + pagesFor(buildBytes) };
}

const isBuiltLater = (guest: GuestConfig): boolean => guest.kernel !== undefined && !boots(guest);

/** What domain 0 needs to build a guest, if it is to. */
const builtBytes = (guest: GuestConfig): number =>
  isBuiltLater(guest) ? builderBytes(guest.memoryMib * PAGES_PER_MIB) : 0;

/** Areas of the nth guest. */
function areasOf({ guests, toolstack }: MachineConfig, links: ServiceLinks, n: number): GuestAreas {
  const guest = guests[n]!;
  // All of the memory of machine code is real.
  if (guest.kernel !== undefined) return { ...guestAreas(0), pages: guest.memoryMib * PAGES_PER_MIB + EXTRA_FRAMES };
  return guestAreas(
    mostVcpus(guest),
    linksOfGuest(links, n, 'client'),
    guest.privileged ? toolRoom(toolstack).bytes : 0,
    guest.privileged ? Math.max(0, ...guests.map(builtBytes)) : 0,
  );
}

/** Where domain 0's tools keep the structures of their calls. */
export function toolArea({ core }: Pick<BuiltMachine, 'core'>, config: MachineConfig): ToolArea {
  const guest = areasOf(config, serviceLinks(config.guests), 0).tools;
  return { guest, image: core.hv.context.domain.frames(0) + guest };
}

/** Lines of the host: those of one I/O APIC at least, if there is anything to tell. */
function numberOfIrqs({ devices }: MachineConfig): number {
  return devices.length === 0 ? 0 : Math.max(MIN_IRQS, ...devices.map(({ irq }) => irq + 1));
}

export function machineShape(config: MachineConfig): MachineShape {
  const { guests, spareDomains, spareVcpus } = config;
  const links = serviceLinks(guests);
  const ports = guests.map((g, n) => PORTS_PER_VCPU * mostVcpus(g) + linksOfGuest(links, n));
  const sum = (f: (n: number) => number): number => guests.reduce((total, _, n) => total + f(n), 0);
  const vcpus = guests.reduce((n, g) => n + mostVcpus(g), spareVcpus);
  /** VCPUs that a domain made at run time may have at most. */
  const mostSpare = spareDomains > 0 ? Math.min(spareVcpus, MAX_VIRT_CPUS) : 0;
  const pages = guests.map((_, n) => areasOf(config, links, n).pages);
  const later = pages.filter((_, n) => !boots(guests[n]!) && guests[n]!.kernel === undefined);
  /** What a domain made at run time is given, whichever it is. */
  const framesPerDomain = Math.max(guestAreas(mostSpare).pages, ...later);
  const hasOwn = (guest: GuestConfig): boolean => boots(guest) || guest.kernel !== undefined;
  const ofDomains = sum((n) => (hasOwn(guests[n]!) ? pages[n]! : framesPerDomain)) + spareDomains * framesPerDomain;
  const kernelFrames: number[] = [];
  for (const [n, guest] of guests.entries())
    kernelFrames[domainNumber(guests, n)] = isBuiltLater(guest) ? pages[n]! : 0;
  const xenFrames = guests.some(({ kernel }) => kernel !== undefined) ? xenFramesFor(ofDomains) : 0;
  const frames = xenFrames + ofDomains;
  const domains = guests.length + FIRST_DOMAIN + spareDomains;
  const sizes = guests.map((g) => sizeOfWorkload(g.workload));
  const spare = (each: number): number => spareDomains * each;
  const tasks = sizes.reduce((n, size) => n + size.tasks + 1, spare(SPARE_TASKS + 1));
  const groups = config.mode === 'free' ? config.threads : numberOfGroups(interactionGroups(config));
  return {
    workers: config.threads,
    hv: {
      pcpus: config.pcpus,
      vcpus,
      domains,
      evtchns: SPARE_PORTS + Math.max(PORTS_PER_VCPU * mostSpare, ...ports) + config.devices.length,
      runners: numberOfRunners(config, groups),
      groups,
      frames,
      xenFrames,
      framesPerDomain,
      kernelFrames,
      irqs: numberOfIrqs(config),
      devices: config.devices.length,
      pools: nrPools(config),
    },
    model: {
      vcpus,
      domains,
      tasks,
      phases: sum((n) => sizes[n]!.phases) + spare(SPARE_PHASES),
      events: sum((n) => sizes[n]!.events) + spare(SPARE_EVENTS),
      resources: sum((n) => sizes[n]!.resources) + spare(SPARE_RESOURCES),
      requests: { tasks, links: links.links.length, services: links.services.length },
      timerSlots:
        sum((n) => (sizes[n]!.tasks + 1) * mostVcpus(guests[n]!)) +
        spare((SPARE_TASKS + 1) * Math.min(mostSpare, SPARE_TASKS)),
      logLines: config.taskLogLines,
      tools: toolRoom(config.toolstack),
      backEnds: guests.filter(({ kernel }) => kernel !== undefined).length,
    },
    x86: {
      vcpus: guests.some(({ kernel }) => kernel !== undefined) ? vcpus : 0,
      pcpus: config.pcpus,
      workers: config.threads,
      frames,
    },
    frames,
  };
}

/** What is to be built of guests with kernels, by their domains' records. */
function kernelPlans({ guests }: MachineConfig): readonly (KernelPlan | undefined)[] {
  const plans: (KernelPlan | undefined)[] = [];
  for (const [n, guest] of guests.entries())
    plans[domainNumber(guests, n)] = kernelPlan(guest, domainNumber(guests, n));
  return plans;
}

function runParams(config: MachineConfig, runners: number, cores: number, policy: UserPolicy | undefined): RunParams {
  // Who has no groups of its own sleeps while those who have take turns.
  const awake = config.mode === 'ordered' && runners > 1 ? runners : config.threads;
  return {
    hv: {
      profile: config.profile,
      scheduler: policiesOf(config)[0]!,
      policies: policiesOf(config),
      ...poolParams(config, config.cpupools?.find(({ name }) => name === POOL_0) ?? {}),
      boost: config.boost,
      credit2: {
        runqueue: config.credit2Runqueue,
        loadWindowShift: config.credit2LoadWindowShift,
        balanceUnder: config.credit2BalanceUnder,
        balanceOver: config.credit2BalanceOver,
      },
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
    guest: { operationNs: config.guestOpNs, logLines: config.taskLogLines, kernels: kernelPlans(config) },
    policy,
    horizonNs: config.durationNs,
    pace: config.pace,
    spins: awake <= cores ? 4000 : 0,
    helpers: runsTogether(config, process.arch) ? Math.min(config.threads, cores) : 1,
    inject: config.inject,
  };
}

/**
 * Writes what the kernel of domain d will find when it boots: where its areas lie, and what its tasks do.
 * @param isWatched whether domain 0's tools may want something of it
 */
export function loadGuest(
  mem: ModelMemory,
  cursor: LoadCursor,
  d: number,
  guest: GuestConfig,
  areas: GuestAreas,
  numbers: RequestNumbers,
  isWatched: boolean,
): void {
  mem.kd.setInfoArea(d, areas.info);
  mem.kd.setRunstateArea(d, areas.runstate);
  mem.kd.setArgArea(d, areas.args);
  mem.kd.setBootArea(d, areas.boot);
  mem.kd.setBootVcpus(d, guest.vcpus);
  mem.kd.setBuildArea(d, areas.build);
  if (isWatched) mem.kd.setStoreArea(d, areas.store);
  loadWorkload(mem, cursor, d, guest.vcpus, mostVcpus(guest), guest.workload, numbers);
}

/**
 * @param policy the scheduler, where it is a file that has been read
 * @param machineCode what runs x86 guests, where this thread is to take turns
 * @throws RangeError when the image would be larger than an address space of 32 bits
 */
export function buildMachine(
  config: MachineConfig,
  cores: number,
  policy?: UserPolicy,
  machineCode?: Parameters<typeof processorCore>[5],
): BuiltMachine {
  const shape = machineShape(config);
  const params = runParams(config, shape.hv.runners, cores, policy);
  const image = Image.create(machineMap(shape, params.hv.policies));
  if (config.hasDebugger === true && shape.x86.vcpus > 0) debuggerRecords(image).isOn = true;
  // The main thread boots alone, in order: what goes on at the same time begins with the domains.
  const core = processorCore(
    image,
    shape,
    { ...params, hv: { ...params.hv, free: undefined } },
    0,
    undefined,
    machineCode,
  );
  const { hv, keys, turns } = core;
  keys.init();
  image.table(CONTROL).setPauseAt(0, Infinity);
  image.table(CONTROL).setStepsLeft(0, -1);
  initialiseHv(hv.context);
  const pools = bootPools(config);
  hv.cpupools.boot(pools);
  initialiseTimeCheck(image, shape.hv);
  const groups = interactionGroups(config);
  const isSideBySide = config.mode === 'ordered' && shape.hv.runners > 1;
  const workers = isSideBySide ? dealGroups(config, groups, shape.hv.runners) : [];
  const drawPcpu = drawing(
    config.seed,
    Array.from({ length: config.pcpus }, (_, p) => p),
  );
  // A pool's draws are its own: what is in another one changes nothing.
  const drawIn = pools.length === 1 ? [drawPcpu] : pools.map(({ cpus }, k) => drawing(config.seed, cpus, k + 1));
  const vcpusIn = pools.map(() => 0);
  for (let p = 0; p < config.pcpus; p++) {
    // Neighbours together: pools of pCPUs are ranges, and what stays within a worker costs the host less.
    hv.context.pcpu.setWorker(p, workers[p] ?? Math.floor((p * config.threads) / config.pcpus));
    // Where the round of idlers starts: what a host's boot leaves behind, drawn so that runs can differ.
    hv.context.pcpu.setLastTickled(p, drawPcpu(p));
  }

  const mem = modelMemory(image, hv);
  const links = serviceLinks(config.guests);
  const rings: number[] = [];
  const served: ServedDomain[] = [];
  const cursor: LoadCursor = {
    domain: domainNumber(config.guests, config.guests.length),
    task: 0,
    phase: 0,
    event: 0,
    resource: 0,
    timerSlot: 0,
  };
  const deviceNames = config.devices.map(({ name }) => name);
  hv.mm.initialise();
  hv.frames.initialise(config.memoryMib * PAGES_PER_MIB);
  hv.console.print(`System RAM: ${config.memoryMib}MB (${config.memoryMib * 1024}kB)`);
  hv.console.print(`Using scheduler: ${SCHEDULER_NAMES[config.scheduler] ?? config.scheduler}`);
  for (const [n, guest] of config.guests.entries()) {
    const d = domainNumber(config.guests, n);
    const areas = areasOf(config, links, n);
    const numbers = requestNumbers(config.guests, links, n);
    loadGuest(mem, cursor, d, guest, areas, { ...numbers, deviceNames }, config.toolstack !== undefined && d !== 0);
    const plan = params.guest.kernels[d];
    if (!boots(guest)) {
      if (plan !== undefined) served.push({ d, plan, rings: undefined });
      rings.push(0);
      continue;
    }
    const pool = poolOfGuest(pools, guest);
    const firstOfGuest = vcpusIn[pool]!;
    const pages = guest.memoryMib * PAGES_PER_MIB;
    must(
      hv.domains.create(d, {
        id: d,
        width: guest.abi,
        vcpus: mostVcpus(guest),
        weight: guest.weight,
        cap: guest.cap,
        sedf: sedfOf(guest),
        pool,
        backedFrames: areas.pages,
        isPaused: false,
        isPaged: guest.kernel !== undefined,
      }),
    );
    hv.frames.limit(d, (guest.maxMemoryMib ?? guest.memoryMib) * PAGES_PER_MIB);
    must(hv.frames.give(d, pages));
    must(
      hv.domains.addVcpus(d, mostVcpus(guest), {
        hardAffinity: (v) => guest.cpus[v],
        softAffinity: (v) => guest.cpusSoft[v],
        firstPcpu: (v) => drawIn[pool]!(firstOfGuest + v),
      }),
    );
    if (plan !== undefined) served.push({ d, plan, rings: loadKernel(core, d, plan) });
    rings.push(hv.context.domain.frames(d) + areas.rings);
    vcpusIn[pool] = firstOfGuest + mostVcpus(guest);
  }
  buildLinks(mem, config.guests, links, rings);
  if (served.length > 0) buildBackEnds(core, served, config.guests[0]!);
  hv.context.host.setLastDomid(0, Math.max(0, config.guests.length - 1 + domainNumber(config.guests, 0)));
  if (config.toolstack !== undefined) {
    // There may be something to do at any time.
    if (config.toolstack.live) image.table(HELD_BACK).setVcpus(0, 1);
    const area = toolArea({ core }, config);
    const at = config.toolstack.live ? { call: LIVE_CALLS, data: LIVE_BYTES } : { call: 0, data: 0 };
    for (const [n, job] of config.toolstack.jobs.entries()) writeJob(image, area, 1 + n, job, at);
  }
  startDevices(core, mem, config);
  if (config.mode === 'ordered') hv.separation.divide(groups);
  startClocks(image, config, hv);
  for (const [n, guest] of config.guests.entries()) {
    if (!boots(guest)) continue;
    const v = hv.context.domain.firstVcpu(domainNumber(config.guests, n));
    hv.context.vcpu.setEntryPoint(v, START_ENTRY);
    hv.context.vcpu.setIsInitialised(v, 1);
  }
  for (let p = 0; p < config.pcpus; p++) keys.set(p, turns.keyOf(p));
  // Boot lies before time 0: there the machine stands, and there a command takes effect that comes before the first turn.
  for (let w = 0; w < shape.hv.runners; w++) hv.context.floors.setFloor(w, keys.key(keys.least()));
  const built = { image, shape, params, core, cursor };
  for (const [id, { name }] of pools.entries()) setPoolName(image, id, name);
  if (params.hv.free !== undefined) bootForFreeMode(built);
  return built;
}

/** Draws one of these pCPUs each time; with seed 0 the n-th. */
function drawing(seed: number, cpus: readonly number[], stream = 0): (n: number) => number {
  const random = xoroshiro128plus(seed ^ (stream << 16));
  return (n) => (seed === 0 ? cpus[n % cpus.length]! : cpus[uniformInt(random, 0, cpus.length - 1)]!);
}

/** Takes the turns of boot, which all lie before time 0. */
function bootForFreeMode({ image, shape, params, core }: BuiltMachine): void {
  const { keys, turns, hv } = core;
  const { floors, machine, pcpu } = hv.context;
  while (keys.key(keys.least()) < 0) {
    floors.setFloor(0, keys.key(keys.least()));
    turns.take(keys.least());
  }
  const { pcpus } = shape.hv;
  for (let w = 0; w < shape.workers; w++) {
    floors.setFloor(w, 0);
    floors.setWorkFloor(w, -Infinity);
    machine.setNow(w, 0);
  }
  for (let p = 0; p < pcpus; p++) pcpu.setTurnedAt(p, -1);
  allRest(image.i32, image.region('stop-machine').base, shape.workers);
  // Jitter is for races: it is to find them where there could be some. And a user's policy may look at any queue.
  if (params.hv.free?.jitterSeed === 0 && params.policy === undefined) hv.separation.begin();
}

/** What was checked before does not fail. */
function must(isDone: boolean): void {
  if (!isDone) throw new Error('the image has no room for a domain that it was laid out for');
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
