/** Where a kernel of the benchmark is run, and what comes out there. */
import { join } from 'node:path';
import type { Measured } from './measured.js';
import { type Line, linesOf, script } from './process.js';
import { type Command, inQemu, inV86, type Rival } from './rivals.js';

/** A run takes seconds; of a slow host some more. */
const LIMIT_S = 180;

export interface Place {
  readonly title: string;
  /** What has to be there. */
  readonly rival?: Rival;
  /** Of the build that it runs. */
  readonly bits: 32 | 64;
  measure(folder: string, kernel: string, div: number): Promise<Measured>;
}

/** Of a kernel that says "S name iterations" and "E checksum": the time between, and v86's count of instructions, "I n". */
async function marked(command: Command): Promise<Measured> {
  const lines = await linesOf(command, LIMIT_S);
  const [start, end] = ['S ', 'E '].map((mark) => lines.findIndex(({ text }) => text.startsWith(mark))) as [
    number,
    number,
  ];
  if (start < 0 || end < 0) throw new Error(`${command[0]} did not say what it found`);
  const counts = [start, end].map((n) => /^I (\d+)$/.exec(lines[n - 1]?.text ?? '')?.[1]);
  const [before, after] = counts.map(Number) as [number, number];
  const sum = lines[end]!.text.slice(2);
  const seconds = lines[end]!.at - lines[start]!.at;
  return counts.includes(undefined) ? { sum, seconds } : { sum, seconds, instructions: (after - before) >>> 0 };
}

const last = (lines: readonly Line[]): string => lines.at(-1)?.text ?? '';
const commandLine = (kernel: string, div: number): string => `div=${div} only=${kernel} warm`;

const native: Place = {
  title: 'native',
  bits: 64,
  async measure(folder, kernel, div) {
    const [, sum, , seconds] = last(await linesOf([join(folder, 'native'), `${div}`, kernel], LIMIT_S)).split(' ');
    return { sum: sum!, seconds: Number(seconds) };
  },
};

const ours: Place = {
  title: 'ringzero',
  bits: 64,
  measure: async (folder, kernel, div) =>
    JSON.parse(
      last(await linesOf(script('ours.js', join(folder, 'bench.elf'), commandLine(kernel, div)), LIMIT_S)),
    ) as Measured,
};

const v86 = (title: string, how: 'jit' | 'interpreter'): Place => ({
  title,
  rival: 'v86',
  bits: 32,
  measure: (folder, kernel, div) => marked(inV86(join(folder, 'multiboot32.elf'), commandLine(kernel, div), how)),
});

const qemu: Place = {
  title: 'QEMU',
  rival: 'qemu',
  bits: 64,
  measure: (folder, kernel, div) => marked(inQemu(join(folder, 'multiboot64.elf'), commandLine(kernel, div))),
};

/** The checksum of the 32-bit build: what REP STOS fills memory with has other bytes there. */
export const sum32 = async (folder: string, kernel: string, div: number): Promise<string> =>
  (await marked([join(folder, 'native32'), commandLine(kernel, div)])).sum;

export const PLACES = { native, ours, interpreter: v86('v86 no JIT', 'interpreter'), jit: v86('v86 JIT', 'jit'), qemu };
export type PlaceName = keyof typeof PLACES;
