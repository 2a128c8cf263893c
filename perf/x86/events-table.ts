/**
 * The second table: what a single event costs, ns. One that cannot be had without another is a difference of two loops.
 */
import { join } from 'node:path';
import { median } from './measured.js';
import { linesOf, script } from './process.js';
import { inQemu, type Rival } from './rivals.js';

/** The loops of events.c, in its order. */
const EVENTS = [
  ...['fault', 'drop', 'refill', 'flush', 'invalidate', 'lock', 'lock-lines', 'lock-pages'],
  ...['modified', 'crossing'],
];
const LIMIT_S = 180;

const ROWS: readonly { readonly title: string; readonly of: string; readonly less?: string }[] = [
  { title: 'page fault, its page put back, its walk', of: 'fault', less: 'drop' },
  { title: 'TLB refill', of: 'refill', less: 'flush' },
  { title: 'INVLPG and a load from the page', of: 'invalidate' },
  { title: 'LOCK, alone and aligned', of: 'lock' },
  { title: 'LOCK, its word wanted by another processor', of: 'lock-contended' },
  { title: 'LOCK across cache lines', of: 'lock-lines' },
  { title: 'LOCK across pages', of: 'lock-pages' },
  { title: 'call of code that was just written', of: 'modified' },
  { title: 'load across pages', of: 'crossing' },
];

/** ns of each loop's turn. */
type Found = ReadonlyMap<string, readonly number[]>;

async function native(folder: string): Promise<Found> {
  const found = new Map<string, number[]>();
  for (const { text } of await linesOf([join(folder, 'events-native')], LIMIT_S)) {
    const [name, ns] = text.split(' ') as [string, string];
    found.set(name, [...(found.get(name) ?? []), Number(ns)]);
  }
  return found;
}

async function ours(folder: string): Promise<Found> {
  const lines = await linesOf(script('events-ours.js', join(folder, 'events.elf'), ...EVENTS), LIMIT_S);
  const contended = await linesOf(script('contend-ours.js', join(folder, 'contend.elf')), LIMIT_S);
  return new Map([
    ...Object.entries(JSON.parse(lines.at(-1)?.text ?? '{}') as Record<string, number[]>),
    ['lock-contended', JSON.parse(contended.at(-1)?.text ?? '[]') as number[]],
  ]);
}

async function qemu(folder: string): Promise<Found> {
  const found = new Map<string, number[]>();
  const lines = await linesOf(inQemu(join(folder, 'events-multiboot64.elf'), ''), LIMIT_S);
  for (const [n, { text, at }] of lines.entries()) {
    const [, name, count] = /^S (\S+) (\d+)$/.exec(text) ?? [];
    const end = lines[n + 1];
    if (name === undefined || end === undefined) continue;
    found.set(name, [...(found.get(name) ?? []), ((end.at - at) * 1e9) / Number(count)]);
  }
  return found;
}

/** Measures and prints. @returns whether everything ran */
export async function eventsTable(folder: string, rivals: readonly Rival[]): Promise<boolean> {
  const columns: readonly (readonly [title: string, measure: (folder: string) => Promise<Found>])[] = [
    ['native', native],
    ['ringzero', ours],
    ...(rivals.includes('qemu') ? ([['QEMU', qemu]] as const) : []),
  ];
  const found: Found[] = [];
  let isRight = true;
  for (const [title, measure] of columns) {
    try {
      found.push(await measure(folder));
    } catch (error) {
      isRight = false;
      console.log(`${title}: ${(error as Error).message}`);
      found.push(new Map());
    }
  }
  console.log(`${''.padEnd(44)}${columns.map(([title]) => title.padStart(10)).join('')}`);
  for (const { title, of, less } of ROWS) {
    const cells = found.map((times) => {
      const others = less === undefined ? [] : (times.get(less) ?? []);
      const ns = median((times.get(of) ?? []).map((x, k) => x - (others[k] ?? 0)));
      // A process has no faults that it could serve itself, and the kernel for QEMU one processor.
      return Number.isNaN(ns) ? '-' : ns.toFixed(ns < 100 ? 1 : 0);
    });
    console.log(`${title.padEnd(44)}${cells.map((cell) => cell.padStart(10)).join('')}`);
  }
  return isRight;
}
