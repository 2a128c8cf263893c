/** The `guests` of a scenario: xl.cfg files with overrides, their workloads, and their instances. */
import { basename, dirname, extname, isAbsolute, join } from 'node:path';
import type { BuiltKernel, GuestConfig, SedfConfig } from '../machine/config.js';
import { DEFAULT_WEIGHT, MAX_DOMAINS, MAX_VIRT_CPUS } from '../shared/limits.js';
import { ConfigError, type Place } from '../workload/config-error.js';
import { parseRtApp } from '../workload/rt-app.js';
import type { Workload } from '../workload/workload.js';
import { parseInlineWorkload } from './inline-workload.js';
import { noWorkload, readKernelFile } from './kernel-file.js';
import { type GuestSection, type SedfSection, xlKeys } from './scenario-schema.js';
import { parseXlCfg, type XlConfig, type XlSetting, type XlValue } from './xl-cfg.js';
import { xlGuest } from './xl-guest.js';
import { readUserFile, type YamlFile, type YamlPath } from './yaml-file.js';

export interface ReadGuest {
  readonly config: GuestConfig;
  /** Where a field of it, or a part of the field, is written, or else the nearest thing that made it. */
  placeOf(field: keyof GuestConfig, part?: string | number): Place | undefined;
}

export interface ReadGuests {
  readonly guests: readonly ReadGuest[];
  /** Name in the scenario → names of the domains made of it. */
  readonly byEntry: ReadonlyMap<string, readonly string[]>;
  readonly warnings: readonly string[];
}

/** MiB of a guest that does not say; what xlexample.pvlinux gives. */
export const DEFAULT_MEMORY_MIB = 128;

export const XL_NAMES: Readonly<Record<keyof GuestConfig, string>> = {
  name: 'name',
  vcpus: 'vcpus',
  maxVcpus: 'maxvcpus',
  maxMemoryMib: 'maxmem',
  boot: 'boot',
  memoryMib: 'memory',
  weight: 'cpu_weight',
  cap: 'cap',
  cpus: 'cpus',
  cpusSoft: 'cpus_soft',
  abi: 'abi',
  workload: 'workload',
  privileged: 'dom0',
  sedf: 'sedf',
  pool: 'pool',
  kernel: 'kernel',
};

/** A file named in another file is relative to it. */
function beside(file: string, named: string): string {
  return isAbsolute(named) ? named : join(dirname(file), named);
}

function toXlValue(value: string | number | readonly (string | number)[], at: Place): XlValue {
  if (typeof value === 'string') return { kind: 'string', at, value };
  if (typeof value === 'number') return { kind: 'number', at, value, text: String(value) };
  return { kind: 'list', at, items: value.map((item) => toXlValue(item, at)) };
}

/** xl's settings that stand in a section of the scenario, by their places. */
export function inlineSettings(
  yaml: YamlFile,
  path: YamlPath,
  section: Partial<Pick<GuestSection, keyof typeof xlKeys>>,
): XlSetting[] {
  const settings: XlSetting[] = [];
  for (const name of Object.keys(xlKeys) as (keyof typeof xlKeys)[]) {
    const value = section[name];
    if (value === undefined) continue;
    const at = yaml.place([...path, name]);
    settings.push({ name, op: '=', value: toXlValue(value, at), at: yaml.keyPlace([...path, name]) });
  }
  return settings;
}

function readXl(yaml: YamlFile, entry: number, section: GuestSection): XlConfig {
  // Inline keys come after the file's and so replace them.
  const inline = inlineSettings(yaml, ['guests', entry], section);
  if (section.config === undefined) {
    if (section.name === undefined)
      throw new ConfigError("a guest needs a 'name' or a 'config'", yaml.place(['guests', entry]));
    return { file: yaml.file, settings: inline };
  }
  const file = beside(yaml.file, section.config);
  const { settings } = parseXlCfg(readUserFile(file, yaml.place(['guests', entry, 'config'])), file);
  return { file, settings: [...settings, ...inline] };
}

/** What the guest runs: a workload, or a kernel of its own. */
function readContents(yaml: YamlFile, entry: number, section: GuestSection): Pick<GuestConfig, 'workload' | 'kernel'> {
  const { kernel, workload, cmdline } = section;
  if ((kernel === undefined) === (workload === undefined)) {
    const message =
      kernel === undefined ? "a guest needs a 'workload' or a 'kernel'" : "a guest has a 'workload' or a 'kernel'";
    throw new ConfigError(message, yaml.place(['guests', entry, ...(kernel === undefined ? [] : ['kernel'])]));
  }
  if (kernel === undefined) {
    if (cmdline !== undefined)
      throw new ConfigError("'cmdline' is for a kernel", yaml.place(['guests', entry, 'cmdline']));
    return { workload: readWorkload(yaml, entry, section) };
  }
  const file = beside(yaml.file, kernel);
  return {
    workload: noWorkload(file),
    kernel: readKernelFile(file, cmdline ?? '', yaml.place(['guests', entry, 'kernel'])),
  };
}

function readWorkload(yaml: YamlFile, entry: number, section: GuestSection): Workload {
  const path = ['guests', entry, 'workload'];
  if (typeof section.workload !== 'string') return parseInlineWorkload(yaml, path);
  const file = beside(yaml.file, section.workload);
  return parseRtApp(readUserFile(file, yaml.place(path)), file);
}

const laterSettings = ({ boot }: GuestSection): Pick<GuestConfig, 'boot'> => (boot === undefined ? {} : { boot });

/** Keys of a `sedf` mapping by the fields they give. */
const SEDF_KEYS: Readonly<Record<keyof SedfConfig, keyof SedfSection>> = {
  periodNs: 'period',
  sliceNs: 'slice',
  latencyNs: 'latency',
  extratime: 'extratime',
  weight: 'weight',
};

export function sedfSettings(section: SedfSection | undefined): Pick<GuestConfig, 'sedf'> {
  if (section === undefined) return {};
  const { period, slice, latency, extratime, weight } = section;
  return { sedf: { periodNs: period, sliceNs: slice, latencyNs: latency, extratime, weight } };
}

/** Of a part of the mapping, if that is written. */
export function sedfPlace(yaml: YamlFile, path: YamlPath, part: string | number | undefined): Place {
  return yaml.place(part === undefined ? path : [...path, SEDF_KEYS[part as keyof SedfConfig]]);
}

function instanceNames(name: string, instances: number): string[] {
  return instances === 1 ? [name] : Array.from({ length: instances }, (_, index) => `${name}-${index}`);
}

/** @throws ConfigError with the place of the first fault */
export function readGuests(yaml: YamlFile, sections: readonly GuestSection[], pcpus: number): ReadGuests {
  const guests: ReadGuest[] = [];
  const byEntry = new Map<string, readonly string[]>();
  const warnings: string[] = [];
  for (const [entry, section] of sections.entries()) {
    const instances = section.instances ?? 1;
    if (instances < 1 || instances > MAX_DOMAINS) {
      const message = `${instances} instances are out of range: must be 1 to ${MAX_DOMAINS}`;
      throw new ConfigError(message, yaml.place(['guests', entry, 'instances']));
    }
    const xl = readXl(yaml, entry, section);
    const read = xlGuest(xl, { pcpus, maxVirtCpus: MAX_VIRT_CPUS, memoryMib: DEFAULT_MEMORY_MIB });
    warnings.push(...read.warnings.map(({ message, at }) => `${at.file}:${at.line}:${at.column}: ${message}`));
    const contents = readContents(yaml, entry, section);
    const placeOf = (field: keyof GuestConfig, part?: string | number): Place => {
      if (field === 'sedf') return sedfPlace(yaml, ['guests', entry, 'sedf'], part);
      const setting = xl.settings.findLast(({ name }) => name === XL_NAMES[field]);
      return setting?.value.at ?? yaml.place(['guests', entry, XL_NAMES[field]]);
    };
    const names = instanceNames(read.guest.name, instances);
    // A name that comes twice is found by check-config; until then the first one keeps its instances.
    if (!byEntry.has(read.guest.name)) byEntry.set(read.guest.name, names);
    for (const name of names) {
      const config = {
        ...read.guest,
        name,
        abi: section.abi ?? 64,
        ...contents,
        ...laterSettings(section),
        ...sedfSettings(section.sedf),
      };
      guests.push({ config, placeOf });
    }
  }
  return { guests, byEntry, warnings };
}

/** The domain that runs a kernel by itself, named after its file. */
export function kernelGuest(kernel: BuiltKernel, vcpus: number, memoryMib: number): ReadGuest {
  const { config, placeOf } = workloadGuest(noWorkload(kernel.file), vcpus);
  return { config: { ...config, memoryMib, kernel }, placeOf };
}

/** Domain 0 of a kernel by itself: it has nothing to do but to serve that. */
export function domain0(): ReadGuest {
  const { config, placeOf } = workloadGuest(noWorkload('Domain-0'), 1);
  return { config: { ...config, privileged: true }, placeOf };
}

/** The domain that runs a bare workload file, named after it. */
export function workloadGuest(workload: Workload, vcpus: number): ReadGuest {
  const config: GuestConfig = {
    name: basename(workload.file, extname(workload.file)),
    vcpus,
    memoryMib: DEFAULT_MEMORY_MIB,
    weight: DEFAULT_WEIGHT,
    cap: 0,
    cpus: [],
    cpusSoft: [],
    abi: 64,
    workload,
  };
  return { config, placeOf: () => undefined };
}
