/** Arguments of xl's verbs: options, numbers, lists of pCPUs. */
import { XlError } from './xl-error.js';

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

/** Milliseconds, as xm takes them, in ns. */
export function msOf(text: string, what: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new XlError(`${what} is no number of milliseconds: ${text}`);
  return Math.round(Number(text) * 1e6);
}

export interface Options {
  /** Options by their letters: the value, or '' of one that takes none. */
  readonly given: ReadonlyMap<string, string>;
  /** What is no option. */
  readonly rest: readonly string[];
}

/**
 * Options of one letter or by their long names, as getopt_long takes them.
 * @param known long names by letters; one that takes a value ends in `=`
 */
export function optionsOf(args: readonly string[], known: Readonly<Record<string, string>>): Options {
  const given = new Map<string, string>();
  const rest: string[] = [];
  for (let n = 0; n < args.length; n++) {
    const written = args[n]!;
    if (!/^-./.test(written) || rest.length > 0) {
      rest.push(written);
      continue;
    }
    const [head, attached] = /^(--[^=]+)=(.*)$/.exec(written)?.slice(1) ?? [written, undefined];
    const found = Object.entries(known).find(([k, long]) => head === `-${k}` || head === `--${long.replace('=', '')}`);
    if (found === undefined) throw new XlError(`unknown option '${written}'`);
    const [letter, long] = found;
    const takes = long.endsWith('=');
    const value = takes ? (attached ?? args[++n]) : '';
    if (value === undefined) throw new XlError(`option '${written}' requires an argument`);
    given.set(letter, value);
  }
  return { given, rest };
}
