/** What one run of a kernel gave. */
export interface Measured {
  readonly sum: string;
  readonly seconds: number;
  /** Guest instructions, where they were counted. */
  readonly instructions?: number;
}

/** Of what there is: NaN stands for what is not. */
export function median(all: readonly number[]): number {
  const xs = all.filter((x) => !Number.isNaN(x)).sort((a, b) => a - b);
  return xs[xs.length >> 1] ?? Number.NaN;
}

export const geometricMean = (xs: readonly number[]): number =>
  Math.exp(xs.reduce((total, x) => total + Math.log(x), 0) / xs.length);
