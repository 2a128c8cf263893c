/** xl's verbs on a machine: arguments in, what xl would print and its exit code out. */
import type { MachineConfig } from '../machine/config.js';
import type { DomainInfo } from '../machine/inspect.js';
import { list, schedCredit, vcpuList } from './format.js';

/** The part of Machine that the verbs use. */
export interface ToolstackMachine {
  readonly config: MachineConfig;
  domains(): Promise<DomainInfo[]>;
  pin(domain: number, vcpu: number, cpus: readonly number[]): Promise<void>;
  pauseVcpu(domain: number, vcpu: number): Promise<void>;
  unpauseVcpu(domain: number, vcpu: number): Promise<void>;
  setCredit(domain: number, weight: number, cap: number): Promise<void>;
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
  const [name, which, hard, soft] = args as [string, string, string, string?];
  const domain = await domainOf(machine, name);
  if (soft !== undefined && soft !== '-') throw new XlError('soft affinity cannot be changed while a machine runs');
  const cpus = parseCpus(hard, machine.config.pcpus);
  const vcpus = which === 'all' ? domain.vcpus.map((v) => v.id) : [numberOf(which, 'vcpu', 0, domain.vcpus.length - 1)];
  if (cpus !== undefined) for (const v of vcpus) await machine.pin(domain.id, v, cpus);
  return '';
}

async function schedCreditVerb(machine: ToolstackMachine, args: readonly string[]): Promise<string> {
  const { config } = machine;
  if (config.scheduler !== 'credit') throw new XlError(`the scheduler is ${config.scheduler}, not credit`);
  const options = new Map<string, string>();
  for (let n = 0; n < args.length; n += 2) {
    const option = /^(?:-d|--domain|-w|--weight|-c|--cap)$/.test(args[n]!)
      ? args[n]!.replace(/^-+/, '')[0]!
      : undefined;
    const value = args[n + 1];
    if (option === undefined) throw new XlError(`unknown option '${args[n]}'`);
    if (value === undefined) throw new XlError(`option '${args[n]}' requires an argument`);
    options.set(option, value);
  }
  const name = options.get('d');
  const isChange = options.has('w') || options.has('c');
  if (name === undefined && isChange) throw new XlError('Must specify a domain.');
  if (name !== undefined && isChange) {
    const { id, weight, cap, vcpus } = await domainOf(machine, name);
    await machine.setCredit(
      id,
      options.has('w') ? numberOf(options.get('w'), 'weight', 1, 65535) : weight,
      options.has('c') ? numberOf(options.get('c'), 'cap', 0, 100 * vcpus.length) : cap,
    );
    return '';
  }
  return schedCredit(await chosen(machine, name === undefined ? [] : [name]), name === undefined ? config : undefined);
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
