/**
 * What the settings of an xl.cfg file mean for a simulated PV guest.
 *
 * Settings that describe what this machine does not have (disks, kernels, network cards) are checked for
 * their type and then ignored, so that the files people have can be used as they are.
 */
import type { GuestConfig } from '../machine/config.js';
import { ConfigError, type Place } from '../workload/config-error.js';
import { parseCpuList } from './cpu-list.js';
import { parseXlNumber, type XlConfig, type XlSetting, type XlValue } from './xl-cfg.js';

export interface XlGuestDefaults {
  /** pCPUs of the machine, which CPU lists are resolved against. */
  readonly pcpus: number;
  /** The most VCPUs a domain can have. */
  readonly maxVirtCpus: number;
  /** MiB, for a file without `memory`. */
  readonly memoryMib: number;
}

export interface XlWarning {
  readonly message: string;
  readonly at: Place;
}

/** What a domain boots, with the places of the names. */
export interface XlKernel {
  readonly kernel: { readonly name: string; readonly at: Place };
  readonly ramdisk?: { readonly name: string; readonly at: Place };
  readonly commandLine: string;
}

export interface XlGuest {
  /** Undefined where it names no kernel. */
  readonly boots: XlKernel | undefined;
  readonly guest: Omit<GuestConfig, 'workload' | 'abi'>;
  /** Settings without effect here. */
  readonly warnings: readonly XlWarning[];
}

/** A setting after later lines have replaced or extended it. */
interface Merged {
  readonly value: XlValue;
  readonly at: Place;
}

/** xl keeps `memory` as KiB in 64 bits; more than this no host has. */
const MAX_MEMORY_MIB = 2 ** 31 - 1;
const ACTIONS = [
  ...['destroy', 'restart', 'rename-restart', 'preserve'],
  ...['coredump-destroy', 'coredump-restart', 'soft-reset'],
];
const TSC_MODES = ['default', 'always_emulate', 'native', 'native_paravirt', '0', '1', '2', '3'];

const IGNORED_STRINGS = ['uuid', 'kernel', 'ramdisk', 'cmdline', 'root', 'extra'];
const IGNORED_LISTS = ['disk', 'vif', 'channel'];
const ACTION_KEYS = ['on_poweroff', 'on_reboot', 'on_watchdog', 'on_crash', 'on_soft_reset'];
const READ_KEYS = new Set([
  ...['name', 'type', 'builder', 'vcpus', 'maxvcpus', 'memory', 'maxmem', 'pool', 'tsc_mode'],
  ...['cpus', 'cpus_soft', 'cpu_weight', 'cap'],
  ...IGNORED_STRINGS,
  ...IGNORED_LISTS,
  ...ACTION_KEYS,
]);

/** The last `=` wins; `+=` joins strings with strings and lists with lists. */
function merge(settings: readonly XlSetting[]): ReadonlyMap<string, Merged> {
  const merged = new Map<string, Merged>();
  for (const { name, op, value, at } of settings) {
    const before = op === '+=' ? merged.get(name)?.value : undefined;
    merged.set(name, { value: before ? joined(name, before, value) : value, at });
  }
  return merged;
}

function joined(name: string, before: XlValue, added: XlValue): XlValue {
  if (before.kind === 'list' && added.kind === 'list')
    return { kind: 'list', at: added.at, items: [...before.items, ...added.items] };
  if (before.kind === 'list' || added.kind === 'list')
    throw new ConfigError(`"${name} +=" cannot join a list with a single value`, added.at);
  return { kind: 'string', at: added.at, value: atomText(before) + atomText(added) };
}

function atomText(value: Exclude<XlValue, { kind: 'list' }>): string {
  return value.kind === 'number' ? value.text : value.value;
}

function textOf(name: string, { value }: Merged): string {
  if (value.kind === 'list') throw new ConfigError(`"${name}" must be a string, not a list`, value.at);
  return atomText(value);
}

/** A quoted number is a number too, as for xl. */
function integerOf(name: string, { value }: Merged, min: number, max: number): number {
  if (value.kind === 'list') throw new ConfigError(`"${name}" must be a number, not a list`, value.at);
  const number = value.kind === 'number' ? value.value : parseXlNumber(value.value);
  if (number === undefined) throw new ConfigError(`"${name}" must be a number`, value.at);
  if (number < min || number > max)
    throw new ConfigError(`"${name}" is ${number}; it must be from ${min} to ${max}`, value.at);
  return number;
}

/** One mask per VCPU; `undefined` = all pCPUs, whichever way the file says so, so that equal guests compare equal. */
function affinityOf(name: string, setting: Merged | undefined, vcpus: number, pcpus: number): GuestConfig['cpus'] {
  if (!setting) return [];
  const { value } = setting;
  const maskOf = (item: XlValue): readonly number[] | undefined => {
    if (item.kind === 'list') throw new ConfigError(`"${name}" may not hold a list in a list`, item.at);
    const mask = parseCpuList(atomText(item), pcpus, item.at);
    return mask.length === pcpus ? undefined : mask;
  };
  // xl: a single mask is for every VCPU; in a list, masks of VCPUs that do not exist are ignored.
  const masks =
    value.kind === 'list'
      ? value.items.map(maskOf).slice(0, vcpus)
      : Array.from({ length: vcpus }, () => maskOf(value));
  return masks.slice(0, masks.findLastIndex((mask) => mask !== undefined) + 1);
}

function refuseOtherTypes(merged: ReadonlyMap<string, Merged>): void {
  const type = merged.get('type');
  if (type && textOf('type', type) !== 'pv')
    throw new ConfigError(
      `type "${textOf('type', type)}" is not supported: guests are paravirtual ("pv")`,
      type.value.at,
    );
  // The older spelling of the same choice.
  const builder = merged.get('builder');
  if (builder && textOf('builder', builder) !== 'generic')
    throw new ConfigError(
      `builder "${textOf('builder', builder)}" is not supported: guests are paravirtual`,
      builder.value.at,
    );
}

function checkIgnored(merged: ReadonlyMap<string, Merged>): void {
  for (const [name, setting] of merged) {
    if (IGNORED_STRINGS.includes(name)) textOf(name, setting);
    if (IGNORED_LISTS.includes(name) && setting.value.kind !== 'list')
      throw new ConfigError(`"${name}" must be a list`, setting.value.at);
    if (ACTION_KEYS.includes(name) && !ACTIONS.includes(textOf(name, setting)))
      throw new ConfigError(`unknown action "${textOf(name, setting)}" for "${name}"`, setting.value.at);
  }
}

function warningsFor(merged: ReadonlyMap<string, Merged>): readonly XlWarning[] {
  const warnings: XlWarning[] = [];
  for (const [name, setting] of merged) {
    if (!READ_KEYS.has(name)) warnings.push({ message: `unknown setting "${name}" is ignored`, at: setting.at });
  }
  const tscMode = merged.get('tsc_mode');
  if (tscMode) {
    const mode = textOf('tsc_mode', tscMode);
    if (!TSC_MODES.includes(mode)) throw new ConfigError(`unknown tsc_mode "${mode}"`, tscMode.value.at);
    if (mode !== 'default' && mode !== '0')
      warnings.push({ message: `tsc_mode "${mode}" is not supported yet and is ignored`, at: tscMode.at });
  }
  return warnings;
}

/** @throws ConfigError where a setting is impossible; the place is the setting's value */
export function xlGuest(config: XlConfig, defaults: XlGuestDefaults): XlGuest {
  const merged = merge(config.settings);
  refuseOtherTypes(merged);
  checkIgnored(merged);
  const integer = (name: string, fallback: number, min: number, max: number): number => {
    const setting = merged.get(name);
    return setting ? integerOf(name, setting, min, max) : fallback;
  };

  const nameSetting = merged.get('name');
  const name = nameSetting ? textOf('name', nameSetting) : '';
  if (name === '')
    throw new ConfigError(
      'the domain needs a "name"',
      nameSetting?.value.at ?? { file: config.file, line: 1, column: 1 },
    );

  const vcpus = integer('vcpus', 1, 1, defaults.maxVirtCpus);
  const maxvcpus = integer('maxvcpus', vcpus, 1, defaults.maxVirtCpus);
  if (maxvcpus < vcpus)
    throw new ConfigError(`"maxvcpus" is ${maxvcpus}, less than "vcpus" (${vcpus})`, merged.get('maxvcpus')?.value.at);

  const memoryMib = integer('memory', defaults.memoryMib, 1, MAX_MEMORY_MIB);
  const maxmem = integer('maxmem', memoryMib, 1, MAX_MEMORY_MIB);
  if (maxmem < memoryMib)
    throw new ConfigError(`"maxmem" is ${maxmem}, less than "memory" (${memoryMib})`, merged.get('maxmem')?.value.at);

  const pool = merged.get('pool');
  const guest = {
    name,
    ...(pool === undefined ? {} : { pool: textOf('pool', pool) }),
    vcpus,
    ...(maxvcpus > vcpus ? { maxVcpus: maxvcpus } : {}),
    memoryMib,
    ...(maxmem > memoryMib ? { maxMemoryMib: maxmem } : {}),
    weight: integer('cpu_weight', 256, 1, 65535),
    // libxl: a domain can use no more than all of its VCPUs.
    cap: integer('cap', 0, 0, 100 * maxvcpus),
    cpus: affinityOf('cpus', merged.get('cpus'), maxvcpus, defaults.pcpus),
    cpusSoft: affinityOf('cpus_soft', merged.get('cpus_soft'), maxvcpus, defaults.pcpus),
  };
  return { guest, boots: kernelOf(merged), warnings: warningsFor(merged) };
}

/** As libxl puts it together: `cmdline`, or else `root=` and `extra`. */
function kernelOf(merged: ReadonlyMap<string, Merged>): XlKernel | undefined {
  const named = (key: string): { name: string; at: Place } | undefined => {
    const setting = merged.get(key);
    return setting && { name: textOf(key, setting), at: setting.value.at };
  };
  const [kernel, ramdisk, cmdline, root, extra] = ['kernel', 'ramdisk', 'cmdline', 'root', 'extra'].map(named);
  if (kernel === undefined) return undefined;
  const words = [root && `root=${root.name}`, extra?.name].filter((word) => word !== undefined);
  return { kernel, ...(ramdisk && { ramdisk }), commandLine: cmdline?.name ?? words.join(' ') };
}
