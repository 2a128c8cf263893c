/** What one run of a kernel gave. */
export interface Measured {
  readonly sum: string;
  readonly seconds: number;
  /** Guest instructions, where they were counted. */
  readonly instructions?: number;
}

export const median = (xs: readonly number[]): number => xs.toSorted((a, b) => a - b)[xs.length >> 1] ?? Number.NaN;

export const geometricMean = (xs: readonly number[]): number =>
  Math.exp(xs.reduce((total, x) => total + Math.log(x), 0) / xs.length);
