/** The first table: speed of each kernel, and ratios. */
import { geometricMean, type Measured, median } from './measured.js';
import { PLACES, type PlaceName, sum32 } from './places.js';

/** In the order of kernels.c. */
export const KERNELS = [
  ...['sieve', 'crc32', 'matmul', 'qsort', 'chase', 'memrep', 'memloop', 'sha256', 'fib', 'strsearch'],
  ...['vm', 'lockadd', 'memalias'],
] as const;
/** Not in the means: a single instruction, string instructions, and what aliases in caches. */
const APART: readonly string[] = ['memrep', 'lockadd', 'memalias'];
/** v86 counts a REP once a page: here both builds do the same by as many instructions, and ours are taken. */
const STRINGS = 'memrep';

/** Another place's speed to ours, or the other way round where we are expected to be faster. */
const RATIOS: readonly { readonly title: string; readonly of: PlaceName; readonly to: PlaceName }[] = [
  { title: 'native/ours', of: 'native', to: 'ours' },
  { title: 'QEMU/ours', of: 'qemu', to: 'ours' },
  { title: 'ours/no JIT', of: 'ours', to: 'interpreter' },
];

export interface Options {
  readonly folder: string;
  readonly div: number;
  readonly runs: number;
  readonly kernels: readonly string[];
  readonly places: readonly PlaceName[];
}

/** Million guest instructions a second of a kernel by place, and what was wrong. */
interface Row {
  readonly sum: string;
  readonly speeds: ReadonlyMap<PlaceName, readonly number[]>;
  readonly wrong: readonly string[];
}

/** Places by turns, so that a slow moment of the host hits all. */
async function rowOf(kernel: string, { folder, div, runs, places }: Options): Promise<Row> {
  const speeds = new Map<PlaceName, number[]>(places.map((name) => [name, []]));
  const wrong = new Set<string>();
  const sums = { 32: '', 64: '' };
  /** What `act` gives; undefined, and noted, where it fails. */
  async function tried<T>(act: Promise<T>): Promise<T | undefined> {
    try {
      return await act;
    } catch (error) {
      wrong.add((error as Error).message);
      return undefined;
    }
  }
  if (places.some((name) => PLACES[name].bits === 32)) sums[32] = (await tried(sum32(folder, kernel, div))) ?? '';
  /** Of the 64-bit object code: the core counts them. */
  let instructions = Number.NaN;
  for (let run = 0; run < runs; run++) {
    const found = new Map<PlaceName, Measured | undefined>();
    for (const name of places) found.set(name, await tried(PLACES[name].measure(folder, kernel, div)));
    sums[64] = found.get('native')?.sum ?? sums[64];
    instructions = found.get('ours')?.instructions ?? instructions;
    for (const [name, measured] of found) {
      const done = kernel === STRINGS ? instructions : (measured?.instructions ?? instructions);
      speeds.get(name)!.push(measured === undefined ? Number.NaN : done / measured.seconds / 1e6);
      if (measured !== undefined && measured.sum !== sums[PLACES[name].bits])
        wrong.add(`WRONG: ${PLACES[name].title} ${measured.sum}`);
    }
  }
  return { sum: sums[64], speeds, wrong: [...wrong] };
}

/** Of runs side by side. */
const ratio = ({ speeds }: Row, of: PlaceName, to: PlaceName): number =>
  median((speeds.get(of) ?? []).map((speed, n) => speed / (speeds.get(to)?.[n] ?? Number.NaN)));

/** Measures and prints. @returns whether all checksums were right */
export async function kernelsTable(options: Options): Promise<boolean> {
  const { kernels, places } = options;
  const ratios = RATIOS.filter(({ of, to }) => places.includes(of) && places.includes(to));
  const print = (name: string, sum: string, speeds: readonly number[], xs: readonly number[], more = ''): void => {
    const cells = [...speeds.map((x) => x.toFixed(0).padStart(11)), ...xs.map((x) => `${x.toFixed(2)} x`.padStart(13))];
    console.log(`${name.padEnd(10)}${sum.padEnd(8)}${cells.join('')}  ${more}`.trimEnd());
  };
  const titles = [
    ...places.map((name) => PLACES[name].title.padStart(11)),
    ...ratios.map(({ title }) => title.padStart(13)),
  ];
  console.log(`${'kernel'.padEnd(10)}checksum${titles.join('')}`);
  const inMean: { speeds: number[]; ratios: number[] }[] = [];
  let isRight = true;
  for (const kernel of kernels) {
    const row = await rowOf(kernel, options);
    const speeds = places.map((name) => median(row.speeds.get(name)!));
    const xs = ratios.map(({ of, to }) => ratio(row, of, to));
    print(kernel, row.sum, speeds, xs, row.wrong.join(', '));
    if (row.wrong.length > 0) isRight = false;
    else if (!APART.includes(kernel)) inMean.push({ speeds, ratios: xs });
  }
  if (inMean.length > 1) {
    const mean = (of: 'speeds' | 'ratios', n: number): number => geometricMean(inMean.map((row) => row[of][n]!));
    print(
      `geometric mean of ${inMean.length}`,
      '',
      places.map((_, n) => mean('speeds', n)),
      ratios.map((_, n) => mean('ratios', n)),
    );
  }
  return isRight;
}
