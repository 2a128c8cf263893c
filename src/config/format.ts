/** Numbers for people: three to five digits and a unit. */

const TIME_UNITS: readonly (readonly [number, string])[] = [
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'us'],
];

/** `9.870 s`, `12.30 ms`, `999 ns`; `-` for what was never measured. */
export function formatDuration(ns: number): string {
  if (!Number.isFinite(ns)) return ns > 0 ? 'for ever' : '-';
  for (const [size, unit] of TIME_UNITS) {
    if (Math.abs(ns) >= size) return `${significant(ns / size)} ${unit}`;
  }
  return `${Math.round(ns)} ns`;
}

/** Four digits: 1.234, 12.34, 123.4, 1234. */
function significant(value: number): string {
  const digits = Math.floor(Math.log10(Math.abs(value)));
  return value.toFixed(Math.min(3, Math.max(0, 3 - digits)));
}

/** Host time. */
export function formatMs(ms: number): string {
  return formatDuration(ms * 1e6);
}

/** 0.3333 as `33.3 %`. */
export function formatPercent(fraction: number, digits = 1): string {
  return Number.isFinite(fraction) ? `${(fraction * 100).toFixed(digits)} %` : '-';
}

/** 1234567 as `1,234,567`. */
export function formatCount(count: number): string {
  return Number.isFinite(count) ? Math.round(count).toLocaleString('en-US') : '-';
}

/** 5234567 as `5.23 M`. */
export function formatRate(perSecond: number): string {
  if (!Number.isFinite(perSecond)) return '-';
  if (perSecond >= 1e6) return `${(perSecond / 1e6).toFixed(2)} M`;
  if (perSecond >= 1e3) return `${(perSecond / 1e3).toFixed(1)} k`;
  return perSecond.toFixed(perSecond < 10 ? 2 : 0);
}
