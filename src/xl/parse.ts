/** What the verbs of xl are, and how they read their arguments. */
import type { MachineConfig } from '../machine/config.js';
import type { CpupoolView, DomainInfo, NewCpupool, SedfSpec } from '../machine/inspect.js';

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
  cpupools(): Promise<CpupoolView[]>;
  createCpupool(pool: NewCpupool): Promise<number>;
  adjustCpupool(id: number, params: Omit<NewCpupool, 'name'>): Promise<void>;
  destroyCpupool(id: number): Promise<void>;
  renameCpupool(id: number, name: string): Promise<void>;
  cpupoolAddCpu(id: number, p: number): Promise<void>;
  cpupoolRemoveCpu(id: number, p: number): Promise<void>;
  moveToCpupool(domain: number, id: number): Promise<void>;
}

/** A wrong use, or something that cannot be done. */
export class XlError extends Error {}

/** What the machine refuses is the user's mistake. */
export function refused(error: unknown): never {
  throw error instanceof RangeError ? new XlError(error.message) : error;
}

/** What a verb takes, for its usage line. */
export interface Verb {
  readonly usage: string;
  readonly title: string;
  readonly least: number;
  run(machine: ToolstackMachine, args: readonly string[]): Promise<string>;
}

/** libxl's ERROR_INVAL. */
const INVALID = -6;

export function find(domains: readonly DomainInfo[], name: string): DomainInfo {
  const found = domains.find((d) => d.name === name) ?? domains.find((d) => String(d.id) === name);
  if (found === undefined) throw new XlError(`${name} is an invalid domain identifier (rc=${INVALID})`);
  return found;
}

export async function domainOf(machine: ToolstackMachine, name: string): Promise<DomainInfo> {
  return find(await machine.domains(), name);
}

export async function poolOf(machine: ToolstackMachine, name: string): Promise<CpupoolView> {
  const found = (await machine.cpupools()).find((pool) => pool.name === name);
  if (found === undefined) throw new XlError(`unknown cpupool '${name}'`);
  return found;
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

export function numberOf(text: string | undefined, what: string, min: number, max: number): number {
  const value = text !== undefined && /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) throw new XlError(`${what} is out of range: ${text} (${min} to ${max})`);
  return value;
}

/** Options of one letter or its long name, each with a value. @param known long names, by their letters */
export function optionsOf(args: readonly string[], known: Readonly<Record<string, string>>): Map<string, string> {
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
