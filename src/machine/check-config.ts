/**
 * Which machines cannot be built. One list of rules for everybody who makes a MachineConfig: the scenario reader turns the
 * path of a problem into a place in the user's file, `Machine.create` prints it as it is.
 */

import { pcpusOf } from '../balancer/topology.js';
import { PAGES_PER_MIB } from '../shared/image.js';
import * as limits from '../shared/limits.js';
import { findDeviceProblem } from './check-devices.js';
import { type ConfigProblem, findPoolProblem, guestPoolProblem } from './check-pools.js';
import { admissionProblem, requestProblem } from './check-workloads.js';
import {
  boots,
  type GuestConfig,
  MACHINE_DEFAULTS,
  type MachineConfig,
  mostVcpus,
  PROFILES,
  RUNQUEUE_ARRANGEMENTS,
} from './config.js';
import { kernelProblem } from './plan-kernel.js';
import { isPolicyFile } from './policy-file.js';
import { sedfOf } from './sedf-defaults.js';

export type { ConfigProblem } from './check-pools.js';

type Numeric = { [K in keyof MachineConfig]-?: MachineConfig[K] extends number ? K : never }[keyof MachineConfig];

interface Range {
  readonly min: number;
  readonly max: number;
  /** What is counted, for the message. */
  readonly unit: string;
  readonly whole: boolean;
}

const range = (min: number, max: number, unit: string, whole = true): Range => ({ min, max, unit, whole });

/** Limits that hold for a field by itself. */
const RANGES: Readonly<Record<Numeric, Range>> = {
  pcpus: range(1, limits.MAX_PCPUS, 'pCPUs'),
  threads: range(1, limits.MAX_PCPUS, 'threads'),
  memoryMib: range(1, limits.MAX_MEMORY_MIB, 'MiB'),
  spareDomains: range(0, limits.MAX_DOMAINS, 'domains'),
  spareVcpus: range(0, limits.MAX_VCPUS, 'VCPUs'),
  durationNs: range(1, Number.POSITIVE_INFINITY, 'ns', false),
  seed: range(0, limits.MAX_SEED, ''),
  windowNs: range(limits.MIN_LATENCY_NS, limits.MAX_WINDOW_NS, 'ns'),
  jitterSeed: range(0, limits.MAX_SEED, ''),
  latencyNs: range(limits.MIN_LATENCY_NS, limits.MAX_LATENCY_NS, 'ns'),
  cycleHz: range(limits.MIN_CYCLE_HZ, limits.MAX_CYCLE_HZ, 'Hz'),
  pace: range(0, 1e9, 'simulated seconds per host second', false),
  bootTimeS: range(0, limits.MAX_BOOT_TIME_S, 'seconds since 1970'),
  tsliceMs: range(limits.MIN_TSLICE_MS, limits.MAX_TSLICE_MS, 'ms'),
  ratelimitUs: range(0, limits.MAX_RATELIMIT_US, 'us'),
  migrationDelayUs: range(0, limits.MAX_MIGRATION_DELAY_US, 'us'),
  credit2LoadWindowShift: range(limits.MIN_LOAD_WINDOW_SHIFT, limits.MAX_LOAD_WINDOW_SHIFT, ''),
  credit2BalanceUnder: range(-limits.MAX_BALANCE_TOLERANCE, limits.MAX_BALANCE_TOLERANCE, ''),
  credit2BalanceOver: range(-limits.MAX_BALANCE_TOLERANCE, limits.MAX_BALANCE_TOLERANCE, ''),
  runqLockNs: range(0, limits.MAX_LOCK_NS, 'ns'),
  privateLockNs: range(0, limits.MAX_LOCK_NS, 'ns'),
  guestOpNs: range(limits.MIN_GUEST_OP_NS, limits.MAX_GUEST_OP_NS, 'ns'),
  taskLogLines: range(0, 10_000_000, 'lines'),
  stallLimitMs: range(1, limits.MAX_STALL_LIMIT_MS, 'ms'),
};

const PERIOD = range(limits.MIN_SEDF_PERIOD_NS, limits.MAX_SEDF_PERIOD_NS, 'ns');
const LATENCY = range(0, limits.MAX_SEDF_PERIOD_NS, 'ns');

function outside(value: number, { min, max, unit, whole }: Range): string | undefined {
  const inside = value >= min && value <= max && (!whole || Number.isSafeInteger(value));
  const what = unit === '' ? '' : ` ${unit}`;
  const kind = whole ? 'a whole number from ' : '';
  if (inside) return undefined;
  return max === Number.POSITIVE_INFINITY
    ? `${value}${what} is too small: at least ${min}${what}`
    : `${value}${what} is out of range: must be ${kind}${min} to ${max}`;
}

/** Path within the guest, and what is wrong there. */
type GuestProblem = readonly [readonly (string | number)[], string];

function affinityProblem(config: MachineConfig, guest: GuestConfig, field: 'cpus' | 'cpusSoft'): string | undefined {
  for (const [vcpu, cpus] of guest[field].entries()) {
    if (cpus === undefined) continue;
    if (vcpu >= mostVcpus(guest)) return `a mask for VCPU ${vcpu}, but ${guest.name} has ${mostVcpus(guest)}`;
    if (!cpus.some((cpu) => cpu >= 0 && cpu < config.pcpus)) {
      const pcpus = config.pcpus === 1 ? 'only pCPU 0' : `pCPUs 0 to ${config.pcpus - 1}`;
      const wanted = cpus.length === 0 ? 'no pCPU at all' : `only pCPU ${cpus.join(', ')}`;
      return `impossible affinity: VCPU ${vcpu} of ${guest.name} may use ${wanted}, the machine has ${pcpus}`;
    }
  }
  return undefined;
}

function taskProblem(guest: GuestConfig): GuestProblem | undefined {
  for (const [index, task] of guest.workload.tasks.entries()) {
    const wanted = [...(task.cpus ?? []), ...task.phases.flatMap((phase) => phase.cpus ?? [])];
    const beyond = wanted.find((cpu) => cpu >= guest.vcpus);
    if (beyond !== undefined) {
      const has = guest.vcpus === 1 ? 'only VCPU 0' : `VCPUs 0 to ${guest.vcpus - 1}`;
      return [['workload', 'tasks', index], `task ${task.name} wants CPU ${beyond}, but ${guest.name} has ${has}`];
    }
  }
  return undefined;
}

const CLASSIC = 'the classic profile (Xen 3.0.4)';

/** What is wrong with a domain's parameters of SEDF. */
export function sedfProblem(guest: GuestConfig): GuestProblem | undefined {
  if (guest.sedf === undefined) return undefined;
  const { periodNs, sliceNs, latencyNs, extratime, weight } = sedfOf(guest);
  const bounds = { periodNs: PERIOD, sliceNs: range(0, limits.MAX_SEDF_PERIOD_NS, 'ns'), latencyNs: LATENCY };
  for (const [field, value] of Object.entries({ periodNs, sliceNs, latencyNs })) {
    const message = outside(value, bounds[field as keyof typeof bounds]);
    if (message !== undefined) return [['sedf', field], message];
  }
  if (sliceNs > 0 && sliceNs < limits.MIN_SEDF_SLICE_NS) {
    const least = `0 (none), or at least ${limits.MIN_SEDF_SLICE_NS} ns`;
    return [['sedf', 'sliceNs'], `a slice of ${sliceNs} ns is out of range: ${least}`];
  }
  if (sliceNs > periodNs) {
    return [['sedf', 'sliceNs'], `a slice of ${sliceNs} ns exceeds the period of ${periodNs} ns`];
  }
  if (guest.sedf.weight !== undefined) {
    const message = outside(weight, range(limits.MIN_WEIGHT, limits.MAX_WEIGHT, ''));
    if (message !== undefined) return [['sedf', 'weight'], `weight ${message}`];
    if (sliceNs > 0)
      return [['sedf', 'weight'], 'a weight together with a slice: a domain runs by the one or the other'];
  }
  if (sliceNs === 0 && weight === 0 && !extratime) {
    return [['sedf'], `${guest.name} would never run: it needs a slice, a weight or extra time`];
  }
  return undefined;
}

function guestProblem(config: MachineConfig, guest: GuestConfig): GuestProblem | undefined {
  const { vcpus, weight, cap, memoryMib, name } = guest;
  if (name === '' || Buffer.byteLength(name) > limits.MAX_NAME_LENGTH) {
    return [['name'], `a domain's name has 1 to ${limits.MAX_NAME_LENGTH} bytes`];
  }
  if (!Number.isSafeInteger(vcpus) || vcpus < 1 || vcpus > limits.MAX_VIRT_CPUS) {
    return [['vcpus'], `${vcpus} VCPUs are out of range: a domain has 1 to ${limits.MAX_VIRT_CPUS}`];
  }
  if (!Number.isSafeInteger(memoryMib) || memoryMib < 1)
    return [['memoryMib'], 'a domain needs at least 1 MiB of memory'];
  if (!Number.isSafeInteger(weight) || weight < limits.MIN_WEIGHT || weight > limits.MAX_WEIGHT) {
    return [['weight'], `weight ${weight} is out of range: ${limits.MIN_WEIGHT} to ${limits.MAX_WEIGHT}`];
  }
  if (!Number.isSafeInteger(cap) || cap < 0 || cap > 100 * vcpus) {
    return [['cap'], `cap ${cap} is out of range: 0 (none) to ${100 * vcpus}, percent of one pCPU for ${vcpus} VCPUs`];
  }
  if (config.profile === 'classic' && guest.cpusSoft.some((cpus) => cpus !== undefined)) {
    return [['cpusSoft'], `${CLASSIC} has no soft affinity`];
  }
  for (const field of ['cpus', 'cpusSoft'] as const) {
    const problem = affinityProblem(config, guest, field);
    if (problem !== undefined) return [[field], problem];
  }
  // Its pool may be made before it is.
  const pool = boots(guest) ? guestPoolProblem(config, guest) : undefined;
  if (pool !== undefined) return [[pool[0]], pool[1]];
  return sedfProblem(guest) ?? taskProblem(guest) ?? admissionProblem(guest);
}

/** Rules that compare fields of the machine with each other. */
function machineProblem(config: MachineConfig): ConfigProblem | undefined {
  const { durationNs, windowNs, latencyNs, jitterSeed, mode } = config;
  if (mode === 'free' && windowNs < latencyNs) {
    return { path: ['windowNs'], message: `a window of ${windowNs} ns is shorter than the latency of ${latencyNs} ns` };
  }
  if (mode !== 'free' && jitterSeed !== 0) {
    return { path: ['jitterSeed'], message: 'jitter is for free mode: in ordered mode there are no races to widen' };
  }
  if (
    durationNs !== Number.POSITIVE_INFINITY &&
    (!Number.isInteger(durationNs) || durationNs > limits.MAX_DURATION_NS)
  ) {
    return { path: ['durationNs'], message: `a duration is a whole number of ns up to ${limits.MAX_DURATION_NS}` };
  }
  for (const [field, limit, unit] of [
    ['tscOffsetsNs', limits.MAX_TSC_OFFSET_NS, 'ns'],
    ['tscDriftsPpm', limits.MAX_DRIFT_PPM, 'ppm'],
  ] as const) {
    if (config[field].length > config.pcpus) {
      return { path: [field], message: `${config[field].length} entries for ${config.pcpus} pCPUs` };
    }
    const beyond = config[field].find((x) => x !== undefined && !(Math.abs(x) <= limit));
    if (beyond !== undefined) {
      return { path: [field], message: `${beyond} ${unit} is out of range: ${-limit} to ${limit}` };
    }
  }
  const drift = config.platformDriftPpm ?? 0;
  if (!(Math.abs(drift) <= limits.MAX_DRIFT_PPM)) {
    return {
      path: ['platformDriftPpm'],
      message: `${drift} ppm is out of range: ${-limits.MAX_DRIFT_PPM} to ${limits.MAX_DRIFT_PPM}`,
    };
  }
  const { inject } = config;
  if (inject !== undefined) {
    if (!(Number.isSafeInteger(inject.pcpu) && inject.pcpu >= 0 && inject.pcpu < config.pcpus)) {
      return { path: ['inject'], message: `no pCPU ${inject.pcpu}: the machine has ${config.pcpus}` };
    }
    if (!(inject.atNs >= 0)) return { path: ['inject'], message: `${inject.atNs} ns is no time to begin at` };
  }
  if (config.threads > config.pcpus) {
    return {
      path: ['threads'],
      message: `${config.threads} threads for ${config.pcpus} pCPUs: at most one thread a pCPU`,
    };
  }
  if (config.topology !== undefined) {
    const { sockets, cores, threads } = config.topology;
    if (
      [sockets, cores, threads].some((n) => !Number.isSafeInteger(n) || n < 1) ||
      pcpusOf(config.topology) !== config.pcpus
    ) {
      const shape = `${sockets} sockets of ${cores} cores of ${threads} threads`;
      return { path: ['topology'], message: `${shape} do not make ${config.pcpus} pCPUs` };
    }
  }
  for (const [field, ns] of Object.entries(config.cache ?? {})) {
    const message = outside(ns, range(field === 'displacedNs' ? 1 : 0, limits.MAX_CACHE_NS, 'ns'));
    if (message !== undefined) return { path: ['cache', field], message };
  }
  return ratelimitProblem(config);
}

function ratelimitProblem({ ratelimitUs, tsliceMs }: MachineConfig): ConfigProblem | undefined {
  if (ratelimitUs !== 0 && ratelimitUs < limits.MIN_RATELIMIT_US) {
    const bounds = `0 (off), or ${limits.MIN_RATELIMIT_US} to ${limits.MAX_RATELIMIT_US}`;
    return { path: ['ratelimitUs'], message: `ratelimit of ${ratelimitUs} us is out of range: ${bounds} us` };
  }
  if (ratelimitUs > tsliceMs * 1000) {
    return { path: ['ratelimitUs'], message: `ratelimit of ${ratelimitUs} us exceeds the timeslice of ${tsliceMs} ms` };
  }
  return undefined;
}

/** What the classic profile has not: nothing but its defaults will do. A ratelimit of 0 says how it is. */
function classicProblem(config: MachineConfig): ConfigProblem | undefined {
  const { scheduler, tsliceMs, ratelimitUs, migrationDelayUs, smtPowerSavings } = config;
  if (scheduler === 'credit2') return { path: ['scheduler'], message: `${CLASSIC} has no credit2 scheduler` };
  if (tsliceMs !== MACHINE_DEFAULTS.tsliceMs) {
    return { path: ['tsliceMs'], message: `${CLASSIC} has a fixed timeslice of ${MACHINE_DEFAULTS.tsliceMs} ms` };
  }
  if (ratelimitUs !== 0 && ratelimitUs !== MACHINE_DEFAULTS.ratelimitUs) {
    return { path: ['ratelimitUs'], message: `${CLASSIC} has no ratelimit` };
  }
  if (migrationDelayUs !== MACHINE_DEFAULTS.migrationDelayUs) {
    return { path: ['migrationDelayUs'], message: `${CLASSIC} has no migration delay` };
  }
  if (smtPowerSavings) return { path: ['smtPowerSavings'], message: `${CLASSIC} has no power savings` };
  return undefined;
}

/** Names under which the hypervisor registers its policies. */
export const KNOWN_SCHEDULERS: readonly string[] = ['credit', 'credit2', 'sedf', 'null'];

function rangeProblem(config: MachineConfig, fields: readonly Numeric[]): ConfigProblem | undefined {
  for (const field of fields) {
    const message = outside(config[field], RANGES[field]);
    if (message !== undefined) return { path: [field], message };
  }
  return undefined;
}

/** What a scheduler's parameters must keep to, the machine's or a cpupool's. */
export function paramsProblem(config: MachineConfig): ConfigProblem | undefined {
  const range = rangeProblem(config, ['tsliceMs', 'ratelimitUs', 'migrationDelayUs']);
  return range ?? ratelimitProblem(config) ?? (config.profile === 'classic' ? classicProblem(config) : undefined);
}

/** The first reason why `config` cannot be built. */
export function findConfigProblem(config: MachineConfig, schedulers = KNOWN_SCHEDULERS): ConfigProblem | undefined {
  const range = rangeProblem(config, Object.keys(RANGES) as Numeric[]);
  if (range) return range;
  if (!schedulers.includes(config.scheduler) && !isPolicyFile(config.scheduler)) {
    const known = `${schedulers.join(', ')}, or a file (.ts, .js) with a policy`;
    return { path: ['scheduler'], message: `unknown scheduler '${config.scheduler}'; known: ${known}` };
  }
  if (!PROFILES.includes(config.profile)) {
    return { path: ['profile'], message: `unknown profile '${config.profile}'; known: ${PROFILES.join(', ')}` };
  }
  if (!RUNQUEUE_ARRANGEMENTS.includes(config.credit2Runqueue)) {
    const known = RUNQUEUE_ARRANGEMENTS.join(', ');
    return { path: ['credit2Runqueue'], message: `unknown arrangement '${config.credit2Runqueue}'; known: ${known}` };
  }
  const machine = machineProblem(config) ?? (config.profile === 'classic' ? classicProblem(config) : undefined);
  if (machine) return machine;
  const pool = findPoolProblem(config, schedulers, paramsProblem);
  if (pool) return pool;
  if (config.guests.length === 0) return { path: ['guests'], message: 'no guests: a machine needs at least one' };
  const { spareDomains } = config;
  if (config.guests.length + spareDomains > limits.MAX_DOMAINS) {
    const spare = spareDomains > 0 ? ` and room for ${spareDomains} more` : '';
    const message = `${config.guests.length} domains${spare}; at most ${limits.MAX_DOMAINS}`;
    return { path: [spareDomains > 0 ? 'spareDomains' : 'guests'], message };
  }
  return findGuestProblem(config) ?? findDeviceProblem(config);
}

/** Why a guest cannot be made by domain 0 while the machine runs. */
function laterProblem({ guests }: MachineConfig, guest: GuestConfig): string | undefined {
  if (guests[0]?.privileged !== true) return `nobody could make ${guest.name} later: there is no domain 0`;
  const events = guest.workload.tasks.flatMap((task) => task.phases.flatMap((phase) => phase.events));
  const links = events.some(({ kind }) => kind === 'request' || kind === 'serve');
  return links ? `${guest.name} asks or serves other domains, so it has to be there from the beginning` : undefined;
}

/** Machine memory of kernels is in the image, which has 4 GiB at most. */
const MOST_KERNEL_MIB = 2048;

function unfitKernel(config: MachineConfig, guest: GuestConfig): [path: string[], message: string] | undefined {
  if (guest.abi !== 64) return [['abi'], 'kernels are 64-bit ones'];
  if (guest.privileged) return [['kernel'], 'domain 0 has no kernel of its own'];
  const all = config.guests.reduce((mib, g) => mib + (g.kernel === undefined ? 0 : g.memoryMib), 0);
  if (all > MOST_KERNEL_MIB)
    return [['memoryMib'], `kernels have ${all} MiB of memory together; there is room for ${MOST_KERNEL_MIB}`];
  const problem = kernelProblem(guest.kernel!, guest.memoryMib * PAGES_PER_MIB);
  return problem === undefined ? undefined : [['kernel'], `${guest.kernel!.file}: ${problem}`];
}

function findGuestProblem(config: MachineConfig): ConfigProblem | undefined {
  const names = new Set<string>();
  let memory = 0;
  let vcpus = config.spareVcpus;
  for (const [index, guest] of config.guests.entries()) {
    const problem = guestProblem(config, guest);
    if (problem) return { path: ['guests', index, ...problem[0]], message: problem[1] };
    if (guest.privileged === true && index > 0) {
      return { path: ['guests', index], message: 'only the first guest can be domain 0' };
    }
    // One that is created again is the same guest.
    if (names.has(guest.name) && config.guests.indexOf(guest) === index) {
      return { path: ['guests', index, 'name'], message: `a second domain named '${guest.name}'` };
    }
    names.add(guest.name);
    if (guest.kernel !== undefined) {
      const unfit = unfitKernel(config, guest);
      if (unfit !== undefined) return { path: ['guests', index, ...unfit[0]], message: unfit[1] };
    }
    if (boots(guest)) memory += guest.memoryMib;
    else {
      const later = laterProblem(config, guest);
      if (later !== undefined) return { path: ['guests', index, 'boot'], message: later };
    }
    if (memory > config.memoryMib) {
      const message = `memory is exhausted: up to ${guest.name} the domains need ${memory} MiB, the host has ${config.memoryMib}`;
      return { path: ['guests', index, 'memoryMib'], message };
    }
    vcpus += mostVcpus(guest);
    if (vcpus > limits.MAX_VCPUS) {
      const message = `up to ${guest.name} there are ${vcpus} VCPUs; a machine has at most ${limits.MAX_VCPUS}`;
      return { path: ['guests', index, 'vcpus'], message };
    }
  }
  const unanswered = requestProblem(config.guests);
  return unanswered && { path: ['guests', ...unanswered[0]], message: unanswered[1] };
}
