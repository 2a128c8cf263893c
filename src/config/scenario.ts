/** Scenario files: everything that makes a run, in one place. The reference for users is docs/scenario.md. */
import { dirname, extname, resolve } from 'node:path';
import { type ConfigProblem, findConfigProblem } from '../machine/check-config.js';
import {
  type DeviceConfig,
  type GuestConfig,
  type MachineConfig,
  machineDefaults,
  type Topology,
  topologyPcpus,
} from '../machine/config.js';
import { hostWarnings } from '../machine/host-order.js';
import { isPolicyFile } from '../machine/policy-file.js';
import { ConfigError, type Place } from '../workload/config-error.js';
import { parseRtApp } from '../workload/rt-app.js';
import { withBuiltKernels } from './built-kernels.js';
import { dom0Guest } from './dom0.js';
import { readScript } from './dom0-script.js';
import { type Expectation, ExpectationReader } from './expectations.js';
import { DEVICE_KEYS, readDevices } from './scenario-devices.js';
import { type ReadGuest, readGuests, workloadGuest } from './scenario-guests.js';
import { placeOfPool, readPools } from './scenario-pools.js';
import { type MachineSection, scenarioSchema } from './scenario-schema.js';
import { readUserFile, YamlFile } from './yaml-file.js';
import { validate } from './yaml-schema.js';

/** What the command line may say instead of the file. */
export type MachineOverrides = Partial<
  Pick<
    MachineConfig,
    | 'profile'
    | 'pcpus'
    | 'threads'
    | 'durationNs'
    | 'seed'
    | 'latencyNs'
    | 'cycleHz'
    | 'pace'
    | 'scheduler'
    | 'trace'
    | 'debug'
    | 'taskLogLines'
    | 'stallLimitMs'
    | 'inject'
    | 'mode'
    | 'windowNs'
    | 'jitterSeed'
    | 'synchronise'
    | 'calibration'
    | 'checkTime'
  >
>;

export interface Scenario {
  readonly config: MachineConfig;
  readonly expectations: readonly Expectation[];
  readonly warnings: readonly string[];
}

/** For a file that says nothing. */
const DEFAULT_PCPUS = 4;
const DEFAULT_DURATION_NS = 10e9;

/** Fields of MachineConfig by their names in the `machine` section. */
const MACHINE_KEYS: Readonly<Record<keyof MachineSection, keyof MachineConfig>> = {
  profile: 'profile',
  pcpus: 'pcpus',
  threads: 'threads',
  memory: 'memoryMib',
  duration: 'durationNs',
  seed: 'seed',
  mode: 'mode',
  window: 'windowNs',
  jitter: 'jitterSeed',
  latency: 'latencyNs',
  'cycle-hz': 'cycleHz',
  pace: 'pace',
  topology: 'topology',
  cache: 'cache',
  scheduler: 'scheduler',
  tslice: 'tsliceMs',
  ratelimit: 'ratelimitUs',
  'migration-delay': 'migrationDelayUs',
  boost: 'boost',
  'credit2-runqueue': 'credit2Runqueue',
  'credit2-load-window-shift': 'credit2LoadWindowShift',
  'credit2-balance-under': 'credit2BalanceUnder',
  'credit2-balance-over': 'credit2BalanceOver',
  'smt-power-savings': 'smtPowerSavings',
  'runq-lock': 'runqLockNs',
  'private-lock': 'privateLockNs',
  'guest-op': 'guestOpNs',
  'boot-time': 'bootTimeS',
  trace: 'trace',
  debug: 'debug',
  synchronise: 'synchronise',
  calibration: 'calibration',
  'tsc-offset': 'tscOffsetsNs',
  'tsc-drift': 'tscDriftsPpm',
  'platform-drift': 'platformDriftPpm',
};

/** The options' spelling, for complaints about values that stand in no file. */
const OPTIONS: Readonly<Record<string, string>> = {
  durationNs: '--duration',
  latencyNs: '--latency',
  cycleHz: '--cycle-hz',
  stallLimitMs: '--stall-limit',
  taskLogLines: '--log-lines',
  windowNs: '--window',
  jitterSeed: '--jitter',
  scheduler: '--sched',
};

/** Files of a scenario are relative to it. */
function relativeTo(path: string, section: MachineSection): MachineSection {
  const { scheduler } = section;
  return scheduler !== undefined && isPolicyFile(scheduler)
    ? { ...section, scheduler: resolve(dirname(path), scheduler) }
    : section;
}

function machineSettings(section: MachineSection): Partial<MachineConfig> {
  const written = Object.entries(section).filter(([, value]) => value !== undefined);
  return Object.fromEntries(written.map(([key, value]) => [MACHINE_KEYS[key as keyof MachineSection], value]));
}

/** pCPUs come first: CPU lists are read against them. A topology by itself says how many there are. */
export function pcpusOf({ pcpus, topology }: MachineSection, overrides: MachineOverrides): number {
  const told = overrides.pcpus ?? pcpus;
  if (told !== undefined || topology === undefined) return told ?? DEFAULT_PCPUS;
  return topologyPcpus(wholeTopology(topology, undefined));
}

/** The topology as written, its cores, where they are left out, from the number of pCPUs. */
function wholeTopology(
  { sockets = 1, cores, threads = 1 }: NonNullable<MachineSection['topology']>,
  pcpus: number | undefined,
): Topology {
  return { sockets, cores: cores ?? (pcpus === undefined ? 1 : pcpus / (sockets * threads)), threads };
}

/** `--pcpus` makes a host of another shape: what the file says of sockets is kept where it still fits. */
function topologyOf({ topology }: MachineSection, overrides: MachineOverrides, pcpus: number): Topology | undefined {
  if (topology === undefined) return undefined;
  const written = wholeTopology(topology, pcpus);
  return overrides.pcpus !== undefined && topologyPcpus(written) !== pcpus ? undefined : written;
}

/** For which others must run to displace what is in a core's caches, unless told, ns. */
const DISPLACED_NS = 1e6;

function cacheOf({ cache }: MachineSection): Pick<MachineConfig, 'cache'> {
  if (cache === undefined) return {};
  const { core = 0, socket = 0, displaced = DISPLACED_NS } = cache;
  return { cache: { coreNs: core, socketNs: socket, displacedNs: displaced } };
}

/** The longest of the workloads' own durations: nobody is cut short. */
function workloadDuration(guests: readonly GuestConfig[]): number {
  const given = guests.flatMap(({ workload }) => workload.durationNs ?? []);
  return given.length === 0 ? DEFAULT_DURATION_NS : Math.max(...given);
}

export function buildConfig(
  section: MachineSection,
  overrides: MachineOverrides,
  guests: readonly GuestConfig[],
  devices: readonly DeviceConfig[] = [],
): MachineConfig {
  const pcpus = pcpusOf(section, overrides);
  // A file made for more pCPUs than `--pcpus` leaves must still run, and so must `--threads 4` on any scenario.
  const clipped = overrides.pcpus !== undefined || overrides.threads !== undefined;
  const wanted = overrides.threads ?? section.threads ?? pcpus;
  const threads = clipped ? Math.min(wanted, pcpus) : wanted;
  return {
    ...machineDefaults(overrides.profile ?? section.profile ?? 'modern'),
    durationNs: workloadDuration(guests),
    ...machineSettings({ ...section, topology: undefined, cache: undefined }),
    ...cacheOf(section),
    ...overrides,
    threads,
    pcpus,
    topology: topologyOf(section, overrides, pcpus),
    devices,
    guests,
  };
}

/** A rate may stand for a period. */
function devicePlace(
  yaml: YamlFile | undefined,
  index: string | number | undefined,
  field: string | number | undefined,
): Place | undefined {
  if (index === undefined) return yaml?.place(['devices']);
  const key = DEVICE_KEYS[field as keyof DeviceConfig];
  return yaml?.place(['devices', index, key]) ?? yaml?.place(['devices', index]);
}

/** Where the user wrote the value that `problem` is about. */
function placeOfProblem(
  problem: ConfigProblem,
  yaml: YamlFile | undefined,
  guests: readonly ReadGuest[],
): Place | undefined {
  const [head, index, field, part, task, phase, event] = problem.path;
  if (head === 'cpupools' && yaml !== undefined) return placeOfPool(yaml, problem.path.slice(1));
  if (head === 'guests') {
    const guest = typeof index === 'number' ? guests[index] : undefined;
    if (guest === undefined) return yaml?.place(['guests']);
    if (field === 'workload' && typeof task === 'number') {
      const written = guest.config.workload.tasks[task];
      return (typeof event === 'number' ? written?.phases[Number(phase)]?.events[event]?.at : undefined) ?? written?.at;
    }
    return guest.placeOf(field as keyof GuestConfig, part);
  }
  if (head === 'devices') return devicePlace(yaml, index, field);
  const key = Object.entries(MACHINE_KEYS).find(([, name]) => name === head)?.[0];
  return yaml?.place(key === undefined ? ['machine'] : ['machine', key]);
}

export function checkConfig(
  config: MachineConfig,
  overrides: MachineOverrides,
  yaml: YamlFile | undefined,
  guests: readonly ReadGuest[],
): void {
  const problem = findConfigProblem(config);
  if (!problem) return;
  const field = String(problem.path[0]);
  if (Object.hasOwn(overrides, field)) throw new ConfigError(`${OPTIONS[field] ?? `--${field}`}: ${problem.message}`);
  throw new ConfigError(problem.message, placeOfProblem(problem, yaml, guests));
}

/** CPU lists are read against the pCPUs and name them in complaints, so their number must be sound before that. */
export function checkPcpus(section: MachineSection, overrides: MachineOverrides, yaml: YamlFile | undefined): void {
  const probe = buildConfig({ pcpus: section.pcpus }, { pcpus: pcpusOf(section, overrides) }, []);
  const problem = findConfigProblem(probe);
  if (problem?.path[0] !== 'pcpus') return;
  if (overrides.pcpus !== undefined) throw new ConfigError(`--pcpus: ${problem.message}`);
  throw new ConfigError(problem.message, yaml?.place(['machine', 'pcpus']));
}

export function threadWarnings(config: MachineConfig, overrides: MachineOverrides): string[] {
  const asked = overrides.threads ?? 0;
  const needless =
    asked > config.pcpus ? [`--threads ${asked}: ${config.pcpus} pCPUs need no more than ${config.threads}`] : [];
  return [...needless, ...hostWarnings(config, process.arch)];
}

function topologyWarnings({ pcpus, topology }: MachineConfig, section: MachineSection): string[] {
  const isDropped = section.topology !== undefined && topology === undefined;
  return isDropped ? [`--pcpus ${pcpus}: does not fit the file's topology; one socket of single-threaded cores`] : [];
}

/** What workloads ask for and does not exist here. Instances share a workload: each is told once. */
function workloadWarnings(guests: readonly GuestConfig[]): string[] {
  const workloads = new Set(guests.map(({ workload }) => workload));
  const all = [...workloads].flatMap(({ warnings }) => warnings ?? []);
  return all.map(({ message, at }) => `${at.file}:${at.line}:${at.column}: ${message}`);
}

function loadYaml(path: string, overrides: MachineOverrides): Scenario {
  const yaml = YamlFile.read(path);
  const scenario = validate(scenarioSchema, yaml, [], yaml.data);
  const section = relativeTo(path, scenario.machine ?? {});
  checkPcpus(section, overrides, yaml);
  const pcpus = pcpusOf(section, overrides);
  const { guests: unprivileged, byEntry, warnings } = readGuests(yaml, scenario.guests, pcpus);
  const dom0 = scenario.dom0 === undefined ? [] : [dom0Guest(scenario.dom0, yaml, pcpus)];
  const guests = [...dom0, ...unprivileged];
  const configs = guests.map((guest) => guest.config);
  const devices = readDevices(yaml, scenario.devices ?? []);
  const cpupools = scenario.cpupools === undefined ? {} : { cpupools: readPools(yaml, scenario.cpupools, pcpus) };
  const bare = { ...buildConfig(section, overrides, configs, devices), ...cpupools };
  checkConfig(bare, overrides, yaml, guests);
  const { jobs, guests: all, sparePools, poolNames } = readScript(scenario.dom0?.commands, yaml, bare);
  const toolstack = { live: false, jobs, poolNames };
  const spare = sparePools === 0 ? {} : { sparePools };
  const scripted = jobs.length === 0 ? bare : { ...bare, ...spare, guests: all, toolstack };
  const config = withBuiltKernels(scripted);
  const reader = new ExpectationReader(yaml, { domains: byEntry, pcpus });
  const expectations = reader.read(scenario.expect ?? []);
  return {
    config,
    expectations,
    warnings: [
      ...warnings,
      ...workloadWarnings(configs),
      ...threadWarnings(config, overrides),
      ...topologyWarnings(config, section),
    ],
  };
}

/** An rt-app workload by itself is one domain with a VCPU for every pCPU. */
function loadWorkload(path: string, overrides: MachineOverrides): Scenario {
  checkPcpus({}, overrides, undefined);
  const workload = parseRtApp(readUserFile(path), path);
  const guest = workloadGuest(workload, pcpusOf({}, overrides));
  const config = buildConfig({}, overrides, [guest.config]);
  checkConfig(config, overrides, undefined, [guest]);
  return {
    config,
    expectations: [],
    warnings: [...workloadWarnings([guest.config]), ...threadWarnings(config, overrides)],
  };
}

/**
 * Reads a scenario, or a bare rt-app workload when the name ends in `.json`. Files it names are relative to it.
 * @throws ConfigError with the place of the first fault
 */
export function loadScenario(path: string, overrides: MachineOverrides = {}): Scenario {
  switch (extname(path)) {
    case '.json':
      return loadWorkload(path, overrides);
    case '.cfg':
      throw new ConfigError(
        `${path}: this is a guest's configuration; run a scenario (.yaml) that names it, or a workload (.json)`,
      );
    default:
      return loadYaml(path, overrides);
  }
}
