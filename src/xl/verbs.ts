/** xl's verbs on a machine: arguments in, what xl would print and its exit code out. */
import type { MachineConfig } from '../machine/config.js';
import type { DomainInfo, SedfSpec } from '../machine/inspect.js';
import { list, schedCredit, schedSedf, vcpuList } from './format.js';

/** The part of Machine that the verbs use. */
export interface ToolstackMachine {
  readonly config: MachineConfig;
  domains(): Promise<DomainInfo[]>;
  pin(
    domain: number,
    vcpu: number,
    hard: readonly number[] | undefined,
    soft: readonly number[] | undefined,
  ): Promise<void>;
  pauseVcpu(domain: number, vcpu: number): Promise<void>;
  unpauseVcpu(domain: number, vcpu: number): Promise<void>;
  setCredit(domain: number, weight: number, cap: number): Promise<void>;
  setSedf(domain: number, spec: SedfSpec): Promise<void>;
  shutdown(domain: number): Promise<void>;
}

export interface Answer {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
}

/** A wrong use, or something that cannot be done. */
class XlError extends Error {}

/** What a verb takes, for its usage line. */
interface Verb {
  readonly usage: string;
  readonly title: string;
  readonly least: number;
  run(machine: ToolstackMachine, args: readonly string[]): Promise<string>;
}

/** libxl's ERROR_INVAL. */
const INVALID = -6;

function find(domains: readonly DomainInfo[], name: string): DomainInfo {
  const found = domains.find((d) => d.name === name) ?? domains.find((d) => String(d.id) === name);
  if (found === undefined) throw new XlError(`${name} is an invalid domain identifier (rc=${INVALID})`);
  return found;
}

async function domainOf(machine: ToolstackMachine, name: string): Promise<DomainInfo> {
  return find(await machine.domains(), name);
}

/** Those named, or all. */
async function chosen(machine: ToolstackMachine, names: readonly string[]): Promise<DomainInfo[]> {
  const domains = await machine.domains();
  return names.length === 0 ? domains : names.map((name) => find(domains, name));
}

/** A list of pCPUs as xl reads it: `all`, `0-3,5,^1`; undefined for `-`, which leaves a mask as it is. */
export function parseCpus(text: string, pcpus: number): number[] | undefined {
  if (text === '-') return undefined;
  const mask = new Set<number>();
  for (const part of text.split(',')) {
    const [, not, from, to] = /^(\^?)(?:(\d+)(?:-(\d+))?|all)$/.exec(part.trim()) ?? [];
    if (not === undefined) throw new XlError(`Error: Invalid parameter for CPU list: ${text}`);
    const first = from === undefined ? 0 : Number(from);
    const last = from === undefined ? pcpus - 1 : Number(to ?? from);
    for (let p = first; p <= last && p < pcpus; p++) not === '^' ? mask.delete(p) : mask.add(p);
  }
  if (mask.size === 0) throw new XlError(`Error: no pCPU of this machine in CPU list: ${text}`);
  return [...mask].sort((a, b) => a - b);
}

function numberOf(text: string | undefined, what: string, min: number, max: number): number {
  const value = text !== undefined && /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) throw new XlError(`${what} is out of range: ${text} (${min} to ${max})`);
  return value;
}

async function vcpuPin(machine: ToolstackMachine, args: readonly string[]): Promise<string> {
  const [name, which, ...masks] = args as [string, string, string, string?];
  const domain = await domainOf(machine, name);
  const [hard, soft] = masks.map((text) => parseCpus(text ?? '-', machine.config.pcpus));
  if (soft !== undefined && machine.config.profile === 'classic') throw new XlError('Xen 3.0.4 has no soft affinity');
  const vcpus = which === 'all' ? domain.vcpus.map((v) => v.id) : [numberOf(which, 'vcpu', 0, domain.vcpus.length - 1)];
  if (hard === undefined && soft === undefined) return '';
  for (const v of vcpus) await machine.pin(domain.id, v, hard, soft);
  return '';
}

/** Options of one letter or its long name, each with a value. @param known long names, by their letters */
function optionsOf(args: readonly string[], known: Readonly<Record<string, string>>): Map<string, string> {
  const options = new Map<string, string>();
  for (let n = 0; n < args.length; n += 2) {
    const [written, value] = [args[n]!, args[n + 1]];
    const letter = Object.keys(known).find((k) => written === `-${k}` || written === `--${known[k]}`);
    if (letter === undefined) throw new XlError(`unknown option '${written}'`);
    if (value === undefined) throw new XlError(`option '${written}' requires an argument`);
    options.set(letter, value);
  }
  return options;
}

function mustBe(machine: ToolstackMachine, scheduler: string): void {
  if (machine.config.scheduler !== scheduler) {
    throw new XlError(`the scheduler is ${machine.config.scheduler}, not ${scheduler}`);
  }
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
  mustBe(machine, 'credit');
  const options = optionsOf(args, { d: 'domain', w: 'weight', c: 'cap' });
  const domain = await toChange(machine, options);
  if (domain === undefined) {
    const names = [...options.values()];
    return schedCredit(await chosen(machine, names), names.length === 0 ? machine.config : undefined);
  }
  const { id, weight, cap, vcpus } = domain;
  await machine.setCredit(
    id,
    options.has('w') ? numberOf(options.get('w'), 'weight', 1, 65535) : weight,
    options.has('c') ? numberOf(options.get('c'), 'cap', 0, 100 * vcpus.length) : cap,
  );
  return '';
}

async function schedSedfVerb(machine: ToolstackMachine, args: readonly string[]): Promise<string> {
  mustBe(machine, 'sedf');
  const options = optionsOf(args, { d: 'domain', p: 'period', s: 'slice', l: 'latency', e: 'extra', w: 'weight' });
  const domain = await toChange(machine, options);
  if (domain === undefined) return schedSedf(await chosen(machine, [...options.values()]));
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
  await machine.setSedf(id, spec).catch((error: unknown) => {
    throw error instanceof RangeError ? new XlError(error.message) : error;
  });
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
    usage: '[Domain ...]',
    title: 'List information about all/some domains',
    least: 0,
    run: async (machine, args) => list(await chosen(machine, args)),
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
    usage: '[-d <Domain> [-w <weight>] [-c <cap>]]',
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
