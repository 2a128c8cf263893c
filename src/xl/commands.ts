/**
 * Those verbs of xl that change something: arguments in, hypercalls out. They ask nobody anything, so that a list of them can be
 * made ready before a machine runs, for a script of domain 0.
 */
import { sedfOf } from '../machine/sedf-defaults.js';
import { GUEST_ENTRY } from '../machine/tool-jobs.js';
import * as domctl from '../toolstack/domctl.js';
import { buildKernel } from '../toolstack/kernel.js';
import type { CreditName } from '../toolstack/schedulers.js';
import * as store from '../toolstack/store.js';
import * as sysctl from '../toolstack/sysctl.js';
import type { ToolCall } from '../toolstack/tool-job.js';
import { msOf, numberOf, optionsOf, parseCpus } from './arguments.js';
import { type Command, type Effect, effect } from './command.js';
import { CPUPOOL_COMMANDS } from './cpupool-commands.js';
import {
  findDomain,
  findPool,
  type KnownDomain,
  type KnownPool,
  type NewDomain,
  poolOf,
  poolOfGuest,
  type World,
} from './world.js';
import { XlError } from './xl-error.js';

/** What xl itself needs before its first call: to start, to read its files, ns of domain 0's time. */
export const XL_COST_NS = 1_000_000;

const KIB_PER_PAGE = 4;

const libxl = (d: KnownDomain, what: string): string => `libxl: error: Domain ${d.id}:${what} failed`;

/** A command on one domain and nothing else. */
const onDomain =
  (call: (d: number) => ToolCall, what: string) =>
  (world: World, [name]: readonly string[]): Effect => {
    const domain = findDomain(world.domains, name!);
    return effect([call(domain.id)], libxl(domain, what));
  };

function destroy(world: World, args: readonly string[]): Effect {
  const { rest } = optionsOf(args, { f: 'force' });
  const domain = findDomain(world.domains, rest[0] ?? '');
  if (domain.id === 0) {
    throw new XlError(
      'Not destroying domain 0; use -f to force.\nThis can only be done when using a disaggregated hardware domain and toolstack.\n',
    );
  }
  return effect([domctl.destroyDomain(domain.id)], 'destroy failed (rc=-3)');
}

function vcpuPin(world: World, args: readonly string[]): Effect {
  const { given, rest } = optionsOf(args, { f: 'force' });
  const [name, which, hard, soft = '-'] = rest as [string, string, string, string?];
  const domain = findDomain(world.domains, name);
  if (given.has('f') && which === 'all') throw new XlError("Error: --force and 'all' as VCPU not allowed.");
  if (which !== 'all' && !(/^\d+$/.test(which) && Number(which) < domain.vcpus)) {
    throw new XlError(`Error: Invalid argument ${which} as VCPU.`);
  }
  const affinity = { hard: parseCpus(hard, world.pcpus), soft: parseCpus(soft, world.pcpus) };
  const vcpus = which === 'all' ? Array.from({ length: domain.vcpus }, (_, v) => v) : [Number(which)];
  if (affinity.hard === undefined && affinity.soft === undefined) return effect([], '');
  return effect(
    vcpus.map((v) => domctl.setVcpuAffinity(domain.id, v, affinity, world.pcpus, given.has('f'))),
    (n) => (which === 'all' ? 'Could not set affinity.' : `Could not set affinity for vcpu \`${vcpus[n]}'.`),
  );
}

/** Kilobytes; a number by itself is megabytes. */
function kibOf(text: string): number {
  const [, digits, unit] = /^(\d+)([bkmgt]?)$/i.exec(text) ?? [];
  if (digits === undefined) throw new XlError(`invalid memory size: ${text}`);
  const power = { b: -1, k: 0, m: 1, g: 2, t: 3 }[(unit === '' ? 'm' : unit!).toLowerCase()] ?? 1;
  const kib = Math.ceil(Number(digits) * 1024 ** power);
  if (kib < 1 || kib > 2 ** 42) throw new XlError(`invalid memory size: ${text}`);
  return kib;
}

function memMax(world: World, [name, size]: readonly string[]): Effect {
  const domain = findDomain(world.domains, name!);
  return effect(
    [domctl.maxMem(domain.id, kibOf(size!))],
    `cannot set domid ${domain.id} static max memory to : ${size}`,
  );
}

/** The balloon's target; the maximum goes with it, as libxl has it. */
function memSet(world: World, [name, size]: readonly string[]): Effect {
  const domain = findDomain(world.domains, name!);
  const kib = kibOf(size!);
  return effect(
    [domctl.maxMem(domain.id, kib), store.askMemory(domain.id, Math.floor(kib / KIB_PER_PAGE))],
    `cannot set domid ${domain.id} dynamic max memory to : ${size}`,
  );
}

function vcpuSet(world: World, args: readonly string[]): Effect {
  const { given, rest } = optionsOf(args, { i: 'ignore-host' });
  const domain = findDomain(world.domains, rest[0] ?? '');
  const text = rest[1] ?? '';
  if (!/^\d+$/.test(text) || Number(text) === 0) throw new XlError('Error: Invalid argument.');
  const count = Number(text);
  if (!given.has('i') && count > world.pcpus) {
    throw new XlError(
      `You are overcommmitting! You have ${world.pcpus} physical CPUs and want ${count} vCPUs! Aborting, use --ignore-host to continue`,
    );
  }
  const failed = `libxl_set_vcpuonline failed domid=${domain.id} max_vcpus=${count}, rc: -6`;
  if (count > domain.vcpus) throw new XlError(failed);
  return effect([store.askVcpus(domain.id, count)], failed);
}

/** A guest's kernel ends itself when it is asked to. */
const ending =
  (call: (d: number) => ToolCall, what: string) =>
  (world: World, args: readonly string[]): Effect => {
    const { rest } = optionsOf(args, { w: 'wait', F: 'fallback' });
    const domain = findDomain(world.domains, rest[0] ?? '');
    return effect([call(domain.id)], `${what} failed (rc=-3)`);
  };

export const CREDIT_OPTIONS = {
  d: 'domain=',
  w: 'weight=',
  c: 'cap=',
  s: 'schedparam',
  t: 'tslice_ms=',
  r: 'ratelimit_us=',
  m: 'migration_delay_us=',
  p: 'cpupool=',
} as const;

/** The pools that options name: one, or all of that scheduler. */
export function poolsOf(world: World, scheduler: string, name: string | undefined): readonly KnownPool[] {
  const pools = world.pools.filter((p) => p.scheduler === scheduler);
  if (name === undefined) return pools;
  const pool = findPool(world, name);
  if (pool.scheduler !== scheduler)
    throw new XlError(`Cpupool ${pool.name}: its scheduler is ${pool.scheduler}, not ${scheduler}`);
  return [pool];
}

/** @throws XlError unless the domain is under that scheduler */
export function mustBeUnder(world: World, domain: KnownDomain, scheduler: string): void {
  const is = poolOf(world, domain)?.scheduler;
  if (is !== scheduler) throw new XlError(`libxl_domain_sched_params_get returned ${is} not ${scheduler}.`);
}

function schedCredit(scheduler: CreditName) {
  return (world: World, args: readonly string[]): Effect => {
    const { given } = optionsOf(args, CREDIT_OPTIONS);
    const name = given.get('d');
    if (given.has('s')) {
      if (name !== undefined)
        throw new XlError('Specifying a cpupool or schedparam is not allowed with domain options.');
      return setGlobals(world, scheduler, given);
    }
    if (name === undefined) throw new XlError('Must specify a domain.');
    if (given.has('p')) throw new XlError('Specifying a cpupool is not allowed with other options.');
    const domain = findDomain(world.domains, name);
    mustBeUnder(world, domain, scheduler);
    const { weight, cap } = domain.credit ?? {};
    const params = {
      weight: given.has('w') ? numberOf(given.get('w'), 'weight', 1, 65535) : weight,
      cap: given.has('c') ? numberOf(given.get('c'), 'cap', 0, 100 * domain.vcpus) : cap,
    };
    const known = Object.fromEntries(Object.entries(params).filter(([, value]) => value !== undefined));
    return effect([domctl.setCredit(domain.id, scheduler, known)], 'libxl_domain_sched_params_set failed.');
  };
}

function setGlobals(world: World, scheduler: CreditName, given: ReadonlyMap<string, string>): Effect {
  const name = given.get('p') ?? world.pools.find(({ id }) => id === 0)?.name;
  const [pool] = poolsOf(world, scheduler, name);
  if (pool === undefined) throw new XlError(`no cpupool is under ${scheduler}`);
  if (!['t', 'r', 'm'].some((letter) => given.has(letter))) {
    throw new XlError('Must specify schedparam to set schedule parameter values.');
  }
  const value = (letter: string, what: string, known: number | undefined): number =>
    given.has(letter) ? numberOf(given.get(letter), what, 0, 2 ** 31 - 1) : (known ?? 0);
  const ratelimitUs = value('r', 'ratelimit', pool.globals?.ratelimitUs);
  const failed = `libxl_sched_${scheduler}_params_set failed.`;
  if (scheduler === 'credit2') return effect([sysctl.setCredit2Globals(pool.id, ratelimitUs)], failed);
  const tsliceMs = value('t', 'tslice', pool.globals?.tsliceMs);
  const migrationDelayUs = value('m', 'migration delay', pool.globals?.migrationDelayUs);
  return effect([sysctl.setCreditGlobals(pool.id, { tsliceMs, ratelimitUs, migrationDelayUs })], failed);
}

export const SEDF_OPTIONS = {
  d: 'domain=',
  p: 'period=',
  s: 'slice=',
  l: 'latency=',
  e: 'extra=',
  w: 'weight=',
} as const;

function schedSedf(world: World, args: readonly string[]): Effect {
  const { given } = optionsOf(args, SEDF_OPTIONS);
  const name = given.get('d');
  if (name === undefined) throw new XlError('Must specify a domain.');
  const domain = findDomain(world.domains, name);
  mustBeUnder(world, domain, 'sedf');
  const is = domain.sedf;
  const ns = (letter: string, what: string, otherwise = 0): number =>
    given.has(letter) ? msOf(given.get(letter)!, what) : otherwise;
  // A slice takes the place of a weight, and a weight that of a slice, unless both are said.
  const isWeight = given.has('w') && !given.has('s');
  const isSlice = given.has('s') && !given.has('w');
  return effect(
    [
      domctl.setSedf(domain.id, {
        periodNs: ns('p', 'period', is?.periodNs ?? 100e6),
        sliceNs: isWeight ? 0 : ns('s', 'slice', is?.sliceNs),
        latencyNs: ns('l', 'latency', is?.latencyNs),
        extratime: given.has('e') ? numberOf(given.get('e'), 'extra', 0, 1) === 1 : (is?.extratime ?? false),
        weight: given.has('w') ? numberOf(given.get('w'), 'weight', 1, 65535) : isSlice ? 0 : (is?.weight ?? 0),
      }),
    ],
    'libxl_domain_sched_params_set failed.',
  );
}

function debugKeys(_world: World, [keys]: readonly string[]): Effect {
  return effect([sysctl.debugKeys(keys!)], `cannot send debug keys: ${keys}`);
}

/** xen-hptool's verbs for pCPUs, which xl has not. */
const hotplug =
  (online: boolean) =>
  (world: World, [cpu]: readonly string[]): Effect => {
    const p = numberOf(cpu, 'cpu', 0, world.pcpus - 1);
    return effect(
      [sysctl.cpuHotplug(p, online)],
      `cpu ${p} could not be ${online ? 'brought on line' : 'taken off line'}`,
    );
  };

const PAGES_PER_MIB = 256;

/** All that the builder of a domain does. */
export function creation({ id, guest }: NewDomain, world: World): Effect {
  const { vcpus, maxVcpus = vcpus, memoryMib, maxMemoryMib = memoryMib, weight, cap, cpus, cpusSoft, abi } = guest;
  const affinities = Array.from({ length: maxVcpus }, (_, v) => ({ hard: cpus[v], soft: cpusSoft[v] }));
  const pool = poolOfGuest(world, guest);
  const scheduling = (): ToolCall[] => {
    if (pool.scheduler === 'credit' || pool.scheduler === 'credit2')
      return [domctl.setCredit(id, pool.scheduler, { weight, cap })];
    return pool.scheduler === 'sedf' ? [domctl.setSedf(id, sedfOf(guest))] : [];
  };
  const pages = memoryMib * PAGES_PER_MIB;
  // A workload has no contents but where it begins.
  const contents =
    guest.kernel === undefined
      ? [...domctl.populatePhysmap(id, pages), domctl.setVcpuContext(id, 0, GUEST_ENTRY, abi)]
      : [buildKernel(id, pages)];
  return effect(
    [
      domctl.createDomain(id, maxVcpus, pool.id),
      ...(abi === 32 ? [domctl.setAddressSize(id, 32)] : []),
      domctl.maxVcpus(id, maxVcpus),
      ...affinities.flatMap(({ hard, soft }, v) =>
        hard === undefined && soft === undefined ? [] : [domctl.setVcpuAffinity(id, v, { hard, soft }, world.pcpus)],
      ),
      domctl.maxMem(id, maxMemoryMib * 1024),
      ...contents,
      ...scheduling(),
      domctl.unpauseDomain(id),
    ],
    `libxl: error: Domain ${id}:cannot (re-)build domain: -3`,
    { undo: (n) => (n > 0 ? [domctl.destroyDomain(id)] : []) },
  );
}

function create(world: World, [name]: readonly string[]): Effect {
  const found = world.creatable.get(name!);
  if (found === undefined) throw new XlError(`Failed to read config file: ${name}: No such file or directory`);
  if (world.domains.some((d) => d.name === found.guest.name)) {
    throw new XlError(`Domain with name "${found.guest.name}" already exists.`);
  }
  return creation(found, world);
}

/** Verbs that a script of domain 0 may hold, too. */
export const COMMANDS: Readonly<Record<string, Command>> = {
  pause: {
    usage: '<Domain>',
    title: 'Pause execution of a domain',
    least: 1,
    compile: onDomain(domctl.pauseDomain, 'pausing'),
  },
  unpause: {
    usage: '<Domain>',
    title: 'Unpause a paused domain',
    least: 1,
    compile: onDomain(domctl.unpauseDomain, 'unpausing'),
  },
  create: { usage: '<ConfigFile>', title: 'Create a domain from config file <filename>', least: 1, compile: create },
  destroy: { usage: '[options] <Domain>', title: 'Terminate a domain immediately', least: 1, compile: destroy },
  'vcpu-pin': {
    usage: '[option] <Domain> <VCPU|all> <Hard affinity|-|all> <Soft affinity|-|all>',
    title: 'Set which CPUs a VCPU can use',
    least: 3,
    compile: vcpuPin,
  },
  'vcpu-set': {
    usage: '[option] <Domain> <vCPUs>',
    title: 'Set the number of active VCPUs allowed for the domain',
    least: 2,
    compile: vcpuSet,
  },
  shutdown: {
    usage: '[options] <Domain>',
    title: 'Issue a shutdown signal to a domain',
    least: 1,
    compile: ending(store.askPowerOff, 'shutdown'),
  },
  reboot: {
    usage: '[options] <Domain>',
    title: 'Issue a reboot signal to a domain',
    least: 1,
    compile: ending(store.askReboot, 'reboot'),
  },
  'mem-set': {
    usage: "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>",
    title: 'Set the current memory usage for a domain',
    least: 2,
    compile: memSet,
  },
  'mem-max': {
    usage: "<Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>",
    title: 'Set the maximum amount reservation for a domain',
    least: 2,
    compile: memMax,
  },
  'sched-credit': {
    usage: '[-d <Domain> [-w[=WEIGHT]|-c[=CAP]]] [-s [-t TSLICE] [-r RATELIMIT]] [-p CPUPOOL]',
    title: 'Get/set credit scheduler parameters',
    least: 0,
    compile: schedCredit('credit'),
  },
  'sched-credit2': {
    usage: '[-d <Domain> [-w[=WEIGHT]]] [-p CPUPOOL]',
    title: 'Get/set credit2 scheduler parameters',
    least: 0,
    compile: schedCredit('credit2'),
  },
  'sched-sedf': {
    usage: '[-d <Domain> [-p <period>] [-s <slice>] [-l <latency>] [-e <0|1>] [-w <weight>]]',
    title: 'Get/set SEDF scheduler parameters (ms)',
    least: 0,
    compile: schedSedf,
  },
  ...CPUPOOL_COMMANDS,
  'debug-keys': { usage: '<Keys>', title: 'Send debug keys to Xen', least: 1, compile: debugKeys },
  'cpu-online': { usage: '<CPU>', title: 'Bring a pCPU on line', least: 1, compile: hotplug(true) },
  'cpu-offline': { usage: '<CPU>', title: 'Take a pCPU off line', least: 1, compile: hotplug(false) },
};
