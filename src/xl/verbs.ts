/** xl's verbs on a machine: arguments in, what xl would print and its exit code out. */
import type { CpupoolView, DomainInfo, SedfSpec } from '../machine/inspect.js';
import { cpupoolVerbs } from './cpupool-verbs.js';
import { list, schedCredit, schedCreditParams, schedSedf, vcpuList } from './format.js';
import {
  domainOf,
  find,
  numberOf,
  optionsOf,
  parseCpus,
  poolOf,
  refused,
  type ToolstackMachine,
  type Verb,
  XlError,
} from './parse.js';

export interface Answer {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
}

/** Those named, or all. */
async function chosen(machine: ToolstackMachine, names: readonly string[]): Promise<DomainInfo[]> {
  const domains = await machine.domains();
  return names.length === 0 ? domains : names.map((name) => find(domains, name));
}

async function vcpuPin(machine: ToolstackMachine, args: readonly string[]): Promise<string> {
  const [name, which, ...masks] = args as [string, string, string, string?];
  const domain = await domainOf(machine, name);
  const [hard, soft] = masks.map((text) => parseCpus(text ?? '-', machine.config.pcpus));
  if (soft !== undefined && machine.config.profile === 'classic') throw new XlError('Xen 3.0.4 has no soft affinity');
  const vcpus = which === 'all' ? domain.vcpus.map((v) => v.id) : [numberOf(which, 'vcpu', 0, domain.vcpus.length - 1)];
  if (hard === undefined && soft === undefined) return '';
  for (const v of vcpus) await machine.pin(domain.id, v, hard, soft).catch(refused);
  return '';
}

/** Cpupools under a scheduler, or the one that is named. */
async function poolsUnder(
  machine: ToolstackMachine,
  scheduler: string,
  name: string | undefined,
): Promise<CpupoolView[]> {
  const pools = name === undefined ? await machine.cpupools() : [await poolOf(machine, name)];
  const under = pools.filter((pool) => pool.scheduler === scheduler);
  if (under.length === 0) throw new XlError(`the scheduler is ${pools[0]?.scheduler}, not ${scheduler}`);
  return under;
}

function mustBeIn(domain: DomainInfo, pools: readonly CpupoolView[], scheduler: string): void {
  if (!pools.some(({ id }) => id === domain.pool))
    throw new XlError(`domain ${domain.name} is not scheduled by ${scheduler}`);
}

/** The domain whose parameters are to be changed; undefined when they are only asked for. */
async function toChange(
  machine: ToolstackMachine,
  options: ReadonlyMap<string, string>,
): Promise<DomainInfo | undefined> {
  const name = options.get('d');
  if (options.size === (name === undefined ? 0 : 1)) return undefined;
  if (name === undefined) throw new XlError('Must specify a domain.');
  return domainOf(machine, name);
}

async function schedCreditVerb(machine: ToolstackMachine, args: readonly string[]): Promise<string> {
  const asksPool = args.some((arg) => arg === '-s' || arg === '--schedparam');
  const options = optionsOf(
    args.filter((arg) => arg !== '-s' && arg !== '--schedparam'),
    { d: 'domain', w: 'weight', c: 'cap', p: 'cpupool', t: 'tslice_ms', r: 'ratelimit_us', m: 'migration_delay_us' },
  );
  const pools = await poolsUnder(machine, 'credit', options.get('p'));
  options.delete('p');
  if (asksPool) return schedCreditPool(machine, pools, options);
  const domain = await toChange(machine, options);
  if (domain === undefined) {
    const names = [...options.values()];
    const domains = await chosen(machine, names);
    if (names.length > 0) {
      mustBeIn(domains[0]!, pools, 'credit');
      return schedCredit(domains, undefined);
    }
    return pools
      .map((pool) =>
        schedCredit(
          domains.filter((d) => d.pool === pool.id),
          pool,
        ),
      )
      .join('');
  }
  mustBeIn(domain, pools, 'credit');
  const { id, weight, cap, vcpus } = domain;
  await machine.setCredit(
    id,
    options.has('w') ? numberOf(options.get('w'), 'weight', 1, 65535) : weight,
    options.has('c') ? numberOf(options.get('c'), 'cap', 0, 100 * vcpus.length) : cap,
  );
  return '';
}

/** Parameters of a pool's scheduler; without a pool's name Pool-0's, as xl has it. */
async function schedCreditPool(
  machine: ToolstackMachine,
  [pool]: readonly CpupoolView[],
  options: ReadonlyMap<string, string>,
): Promise<string> {
  if (pool === undefined) return '';
  if (options.size === 0) return schedCreditParams(pool);
  for (const letter of options.keys()) {
    if (!'trm'.includes(letter))
      throw new XlError('Specifying scheduler parameters and domain parameters is not allowed.');
  }
  const given = (letter: string, what: string, most: number, otherwise: number): number =>
    options.has(letter) ? numberOf(options.get(letter), what, 0, most) : otherwise;
  await machine
    .adjustCpupool(pool.id, {
      tsliceMs: given('t', 'tslice', 1000, pool.tsliceMs),
      ratelimitUs: given('r', 'ratelimit', 500_000, pool.ratelimitUs),
      migrationDelayUs: given('m', 'migration delay', 100_000, pool.migrationDelayUs),
    })
    .catch(refused);
  return '';
}

async function schedSedfVerb(machine: ToolstackMachine, args: readonly string[]): Promise<string> {
  const pools = await poolsUnder(machine, 'sedf', undefined);
  const options = optionsOf(args, { d: 'domain', p: 'period', s: 'slice', l: 'latency', e: 'extra', w: 'weight' });
  const domain = await toChange(machine, options);
  if (domain === undefined) {
    const domains = await chosen(machine, [...options.values()]);
    return schedSedf(domains.filter((d) => pools.some(({ id }) => id === d.pool)));
  }
  mustBeIn(domain, pools, 'sedf');
  const { id, sedf } = domain;
  /** Milliseconds, as xm takes them. */
  const ns = (letter: string, what: string, otherwise: number): number => {
    const text = options.get(letter);
    if (text === undefined) return otherwise;
    if (!/^\d+(\.\d+)?$/.test(text)) throw new XlError(`${what} is no number of milliseconds: ${text}`);
    return Math.round(Number(text) * 1e6);
  };
  // A slice takes the place of a weight, and a weight that of a slice, unless both are said.
  const isWeight = options.has('w') && !options.has('s');
  const isSlice = options.has('s') && !options.has('w');
  const spec: SedfSpec = {
    periodNs: ns('p', 'period', sedf.periodNs),
    sliceNs: isWeight ? 0 : ns('s', 'slice', sedf.sliceNs),
    latencyNs: ns('l', 'latency', sedf.latencyNs),
    extratime: options.has('e') ? numberOf(options.get('e'), 'extra', 0, 1) === 1 : sedf.extratime,
    weight: options.has('w') ? numberOf(options.get('w'), 'weight', 1, 65535) : isSlice ? 0 : sedf.weight,
  };
  await machine.setSedf(id, spec).catch(refused);
  return '';
}

/** Does something to all VCPUs of the named domain. */
const everyVcpu =
  (act: (machine: ToolstackMachine, d: number, v: number) => Promise<void>) =>
  async (machine: ToolstackMachine, [name]: readonly string[]): Promise<string> => {
    const { id, vcpus } = await domainOf(machine, name!);
    for (const v of vcpus) await act(machine, id, v.id);
    return '';
  };

export const VERBS: Readonly<Record<string, Verb>> = {
  list: {
    usage: '[-c] [Domain ...]',
    title: 'List information about all/some domains',
    least: 0,
    run: async (machine, args) => {
      const names = args.filter((arg) => arg !== '-c' && arg !== '--cpupool');
      const withPools = names.length < args.length;
      return list(await chosen(machine, names), withPools ? await machine.cpupools() : undefined);
    },
  },
  'vcpu-list': {
    usage: '[Domain ...]',
    title: 'List the VCPUs for all/some domains',
    least: 0,
    run: async (machine, args) => vcpuList(await chosen(machine, args), machine.config.pcpus),
  },
  'vcpu-pin': {
    usage: '<Domain> <VCPU|all> <Hard affinity|-|all> [Soft affinity|-|all]',
    title: 'Set which CPUs a VCPU can use',
    least: 3,
    run: vcpuPin,
  },
  'sched-credit': {
    usage: '[-d <Domain> [-w <weight>] [-c <cap>]] [-p <CPU Pool>] [-s [-t <ms>] [-r <us>] [-m <us>]]',
    title: 'Get/set credit scheduler parameters',
    least: 0,
    run: schedCreditVerb,
  },
  'sched-sedf': {
    usage: '[-d <Domain> [-p <period>] [-s <slice>] [-l <latency>] [-e <0|1>] [-w <weight>]]',
    title: 'Get/set SEDF scheduler parameters (ms)',
    least: 0,
    run: schedSedfVerb,
  },
  ...cpupoolVerbs,
  pause: {
    usage: '<Domain>',
    title: 'Pause execution of a domain',
    least: 1,
    run: everyVcpu((machine, d, v) => machine.pauseVcpu(d, v)),
  },
  unpause: {
    usage: '<Domain>',
    title: 'Unpause a paused domain',
    least: 1,
    run: everyVcpu((machine, d, v) => machine.unpauseVcpu(d, v)),
  },
  shutdown: {
    usage: '<Domain>',
    title: 'Issue a shutdown signal to a domain',
    least: 1,
    run: async (machine, [name]) => {
      await machine.shutdown((await domainOf(machine, name!)).id);
      return '';
    },
  },
  domid: {
    usage: '<Domain name>',
    title: 'Convert a domain name to domain id',
    least: 1,
    run: async (machine, [name]) => `${(await domainOf(machine, name!)).id}\n`,
  },
  domname: {
    usage: '<Domain id>',
    title: 'Convert a domain id to domain name',
    least: 1,
    run: async (machine, [id]) => `${(await domainOf(machine, id!)).name}\n`,
  },
};

function help(): string {
  const rows = Object.entries(VERBS).map(([name, { title }]) => ` ${name.padEnd(19)} ${title}\n`);
  return `Usage: ringzero xl [--socket PATH] <subcommand> [args]\n\nxl full list of subcommands:\n\n${rows.join('')}`;
}

/** @returns what xl would print; never throws for what the user wrote */
export async function xl(machine: ToolstackMachine, args: readonly string[]): Promise<Answer> {
  const [name, ...rest] = args;
  if (name === undefined || name === 'help') return { stdout: help(), stderr: '', code: name === undefined ? 1 : 0 };
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name]! : undefined;
  if (verb === undefined) return { stdout: '', stderr: `command '${name}' not implemented\n`, code: 1 };
  if (rest.length < verb.least) {
    const count = `at least ${verb.least} argument${verb.least === 1 ? '' : 's'}`;
    const usage = `Usage: xl ${name} ${verb.usage}\n\n${verb.title}.\n`;
    return { stdout: '', stderr: `'xl ${name}' requires ${count}.\n\n${usage}`, code: 1 };
  }
  try {
    return { stdout: await verb.run(machine, rest), stderr: '', code: 0 };
  } catch (error) {
    if (!(error instanceof XlError)) throw error;
    return { stdout: '', stderr: `${error.message}\n`, code: 1 };
  }
}
