/**
 * The comparisons of an expectation: `< 1ms`, `>= 0.98`, `33.3%` (equal, within a tolerance), `30% .. 35%`.
 * What a value looks like depends on the quantity, so each quantity brings its own kind of value.
 */
import { formatCount, formatDuration, formatPercent } from './format.js';
import { DURATION_HELP, parseDuration, parseNumber, parsePercent } from './units.js';

/** How values of one kind are written, printed and understood. */
export interface ValueKind {
  readonly help: string;
  parse(text: string): number | undefined;
  format(value: number): string;
}

export const TIME: ValueKind = { help: DURATION_HELP, parse: parseDuration, format: formatDuration };
export const PERCENT: ValueKind = {
  help: 'a percentage, such as 33.3%',
  parse: parsePercent,
  format: (value) => formatPercent(value, 2),
};
export const COUNT: ValueKind = {
  help: 'a number',
  parse: parseNumber,
  format: (value) => (Number.isInteger(value) ? formatCount(value) : String(value)),
};
export const INDEX: ValueKind = { help: 'a number', parse: parseNumber, format: (value) => value.toFixed(4) };

export type Operator = '<' | '<=' | '>' | '>=' | '==' | '!=';

export type Comparison =
  | { readonly kind: 'order'; readonly operator: Operator; readonly value: number }
  | { readonly kind: 'near'; readonly value: number; readonly tolerance: number }
  /** The domain's own fair share instead of a number. */
  | { readonly kind: 'fair'; readonly tolerance: number }
  | { readonly kind: 'between'; readonly low: number; readonly high: number };

/** A comparison, or the complaint about it. */
export function parseComparison(text: string, within: string | undefined, kind: ValueKind): Comparison | string {
  const tolerance = within === undefined ? 0 : kind.parse(within);
  if (tolerance === undefined || tolerance < 0) return `'within' must be ${kind.help}, got '${within}'`;
  const range = text.split('..');
  const order = /^(<=|>=|==|!=|<|>)\s*(.+)$/.exec(text.trim());
  if ((range.length === 2 || order) && within !== undefined) {
    return `'within' goes with a plain value, not with '${text}'`;
  }
  if (text.trim() === 'fair') return { kind: 'fair', tolerance };
  if (range.length === 2) {
    const [low, high] = range.map((end) => kind.parse(end));
    if (low === undefined || high === undefined) return `expected two values of ${kind.help}, got '${text}'`;
    return low <= high ? { kind: 'between', low, high } : `'${text}' holds nothing: the lower end comes first`;
  }
  const value = kind.parse(order?.[2] ?? text);
  if (value === undefined) {
    return `expected ${kind.help}, or a comparison with one (<, <=, >, >=, ==, !=, low .. high), got '${text}'`;
  }
  return order ? { kind: 'order', operator: order[1] as Operator, value } : { kind: 'near', value, tolerance };
}

const ORDER: Readonly<Record<Operator, (a: number, b: number) => boolean>> = {
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
};

/** Decimal tolerances are inexact in binary: 33.3 % within 0.3 % must accept 33.6 %. */
const ROUNDING = 1e-12;

function near(measured: number, value: number, tolerance: number): boolean {
  return Math.abs(measured - value) <= tolerance + ROUNDING * Math.max(1, Math.abs(value));
}

/** `fair` is what the domain deserves. A value that was never measured satisfies nothing. */
export function holds(comparison: Comparison, measured: number, fair: number): boolean {
  if (Number.isNaN(measured)) return false;
  switch (comparison.kind) {
    case 'order':
      return ORDER[comparison.operator](measured, comparison.value);
    case 'near':
      return near(measured, comparison.value, comparison.tolerance);
    case 'fair':
      return near(measured, fair, comparison.tolerance);
    case 'between':
      return measured >= comparison.low && measured <= comparison.high;
  }
}

/** How the comparison reads in a report: `< 1.000 ms`. */
export function describeComparison(comparison: Comparison, kind: ValueKind, fair: number): string {
  const about = (value: string, tolerance: number): string =>
    tolerance === 0 ? `= ${value}` : `= ${value} +- ${kind.format(tolerance)}`;
  switch (comparison.kind) {
    case 'order':
      return `${comparison.operator} ${kind.format(comparison.value)}`;
    case 'near':
      return about(kind.format(comparison.value), comparison.tolerance);
    case 'fair':
      return about(`fair (${kind.format(fair)})`, comparison.tolerance);
    case 'between':
      return `${kind.format(comparison.low)} .. ${kind.format(comparison.high)}`;
  }
}
