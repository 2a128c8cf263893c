/** Quantities as people write them in scenarios and options: `30ms`, `33.3%`, `1GHz`, `256MiB`. */

const NS_PER: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  min: 60e9,
  h: 3600e9,
};

const HZ_PER: Readonly<Record<string, number>> = { Hz: 1, kHz: 1e3, MHz: 1e6, GHz: 1e9 };

const MIB_PER: Readonly<Record<string, number>> = { MiB: 1, GiB: 1024, TiB: 1024 * 1024 };

const NUMBER = String.raw`[+-]?(?:\d[\d_]*(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?`;

/** How a duration is written, for messages. */
export const DURATION_HELP = 'a duration with its unit, such as 10s, 30ms, 2us or 100ns';

function split(text: string): { value: number; unit: string } | undefined {
  const match = new RegExp(`^(${NUMBER})\\s*([A-Za-zµ%]*)$`).exec(text.trim());
  if (!match) return undefined;
  return { value: Number((match[1] ?? '').replaceAll('_', '')), unit: match[2] ?? '' };
}

/** A decimal fraction of a unit is rarely exact in binary: 1.1 ms is 1100000.0000000002 ns. */
function whole(value: number): number | undefined {
  const rounded = Math.round(value);
  if (!Number.isSafeInteger(rounded) || Math.abs(value - rounded) > 1e-6 * Math.max(1, Math.abs(value))) {
    return undefined;
  }
  return rounded + 0;
}

function inUnits(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const parts = split(text);
  const factor = parts && Object.hasOwn(units, parts.unit) ? units[parts.unit] : undefined;
  return parts && factor !== undefined ? whole(parts.value * factor) : undefined;
}

/** Nanoseconds of `10s`, `1.5ms`, `2us`, …; a bare `0` is a duration too, any other bare number is not. */
export function parseDuration(text: string): number | undefined {
  return text.trim() === '0' ? 0 : inUnits(text, NS_PER);
}

/** Hertz of `1GHz`, `999.5MHz` or a bare number. */
export function parseFrequency(text: string): number | undefined {
  return inUnits(text, { ...HZ_PER, '': 1 });
}

/** MiB of `4GiB` or a bare number of MiB. */
export function parseMemory(text: string): number | undefined {
  return inUnits(text, { ...MIB_PER, '': 1 });
}

/** A plain finite number. */
export function parseNumber(text: string): number | undefined {
  const parts = split(text);
  return parts && parts.unit === '' && Number.isFinite(parts.value) ? parts.value : undefined;
}

/** `33.3%` as 0.333. */
export function parsePercent(text: string): number | undefined {
  const parts = split(text);
  return parts && parts.unit === '%' && Number.isFinite(parts.value) ? parts.value / 100 : undefined;
}

/** Seconds since 1970 of an ISO 8601 instant in UTC, `2006-01-01T00:00:00Z`. */
export function parseInstant(text: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d)?Z)?$/.test(text.trim())) return undefined;
  const ms = Date.parse(text.trim());
  return Number.isNaN(ms) ? undefined : ms / 1000;
}
