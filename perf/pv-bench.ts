/**
 * What it costs a paravirtual kernel to be one: ns of an exception, a page fault, hypercalls, page tables and events, here and on Xen 4.17
 * in QEMU's TCG. Of the same kernel (guests/bench-kernel), by the host's clock, by turns.
 *
 *   node dist/perf/pv-bench.js [--runs N] [--div N] [--only ROW] [--mode ordered|free]
 *
 * Each run is a process of its own that does every row several times, the first of them to warm up. Medians of all, and ratios of medians
 * run by run. --div N: an Nth of all rounds.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median } from './x86/measured.js';
import { type Line, linesOf, script } from './x86/process.js';
import { linesInXen, missingXen } from './x86/xen-in-qemu.js';

const NO_COMPILER = 77;
const LIMIT_S = 300;
/** Of which the first warms up. */
const TIMES = 4;

interface Row {
  readonly title: string;
  /** bench.c's. */
  readonly name: string;
  /** So many last some tenths of a second. */
  readonly rounds: number;
  readonly vcpus: number;
}

const ROWS: readonly Row[] = [
  { title: 'exception and iret', name: 'exception', rounds: 150_000, vcpus: 1 },
  { title: 'page fault and iret', name: 'page-fault', rounds: 150_000, vcpus: 1 },
  { title: 'system call of an application, and back', name: 'system-call', rounds: 150_000, vcpus: 1 },
  { title: 'hypercall: xen_version', name: 'hypercall', rounds: 400_000, vcpus: 1 },
  { title: 'other page tables: MMUEXT_NEW_BASEPTR', name: 'base', rounds: 20_000, vcpus: 1 },
  { title: 'page-table entry: mmu_update', name: 'mmu-update', rounds: 150_000, vcpus: 1 },
  { title: 'page-table entry: update_va_mapping', name: 'va-mapping', rounds: 150_000, vcpus: 1 },
  { title: 'event, to its upcall on a VCPU that runs', name: 'running', rounds: 10_000, vcpus: 2 },
  { title: 'event, to its upcall on a VCPU that blocks', name: 'blocked', rounds: 10_000, vcpus: 2 },
];

/** ns of a round of each row, each time but the first. */
type Found = ReadonlyMap<string, readonly number[]>;

function read(lines: readonly Line[]): Found {
  const found = new Map<string, number[]>();
  for (const [n, { text, at }] of lines.entries()) {
    const [, name, rounds] = /^S (\S+) (\d+)$/.exec(text) ?? [];
    const end = lines[n + 1];
    if (name === undefined) continue;
    if (end?.text !== `E ${name}`) throw new Error(`${name} did not end, but: ${end?.text ?? 'nothing'}`);
    const all = found.get(name) ?? [];
    found.set(name, [...all, ((end.at - at) * 1e9) / Number(rounds)]);
  }
  return new Map([...found].map(([name, all]) => [name, all.slice(1)]));
}

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '3' },
    div: { type: 'string', default: '1' },
    only: { type: 'string' },
    mode: { type: 'string', default: 'ordered' },
  },
});
const rows = ROWS.filter(({ name }) => values.only === undefined || name === values.only);
if (rows.length === 0)
  throw new Error(`--only: there is no ${values.only}, but ${ROWS.map(({ name }) => name).join(', ')}`);
const folder = mkdtempSync(join(tmpdir(), 'pv-bench-'));
const kernel = join(folder, 'bench-kernel.elf');

/** Runs rows of so many VCPUs. */
function commandLine(vcpus: number): string {
  const words = rows
    .filter((row) => row.vcpus === vcpus)
    .map(({ name, rounds }) => `${name}=${Math.max(1, Math.floor(rounds / Number(values.div)))}`);
  return words.length === 0 ? '' : `vcpus=${vcpus} times=${TIMES} ${words.join(' ')}`;
}

async function ours(vcpus: number, line: string): Promise<Found> {
  return read(await linesOf(script('pv-ours.js', kernel, values.mode, `${vcpus}`, line), LIMIT_S));
}
/** With several VCPUs on one thread: it is as fast as on several where there are cores enough, and no slower where there are not. */
async function xens(vcpus: number, line: string): Promise<Found> {
  return read(await linesInXen({ folder, kernel, commandLine: line, vcpus, isThreaded: false }, LIMIT_S));
}

try {
  execFileSync(join(fileURLToPath(new URL('../../guests/bench-kernel/', import.meta.url)), 'build.sh'), [folder], {
    stdio: 'inherit',
  });
  console.log(
    `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} cores, Node ${process.version}, ${values.mode} mode`,
  );
  const lacks = missingXen();
  if (lacks !== undefined) console.log(`Xen is left out: it needs ${lacks}`);
  const columns = [
    { title: 'ringzero', measure: ours },
    ...(lacks === undefined ? [{ title: 'Xen, TCG', measure: xens }] : []),
  ];
  /** Medians of each run, by row and column. */
  const all = new Map(rows.map(({ name }) => [name, columns.map((): number[] => [])]));
  for (let run = 0; run < Number(values.runs); run++) {
    for (const vcpus of new Set(rows.map((row) => row.vcpus))) {
      for (const [n, { measure }] of columns.entries())
        for (const [name, times] of await measure(vcpus, commandLine(vcpus))) all.get(name)![n]!.push(median(times));
    }
  }
  const titles = [...columns.map(({ title }) => title), ...(columns.length > 1 ? ['ours to Xen'] : [])];
  console.log(`\n${'ns'.padEnd(50)}${titles.map((title) => title.padStart(12)).join('')}`);
  for (const { title, name } of rows) {
    const [mine, xen] = all.get(name)! as [number[], number[] | undefined];
    const cells = [mine, ...(xen === undefined ? [] : [xen])].map((xs) => median(xs).toFixed(0).padStart(12));
    const ratio = xen === undefined ? '' : `${median(mine.map((x, n) => x / xen[n]!)).toFixed(2)} x`.padStart(12);
    console.log(`${title.padEnd(50)}${cells.join('')}${ratio}`);
  }
} catch (error) {
  if ((error as { status?: number }).status !== NO_COMPILER) throw error;
  console.error('the kernel cannot be built: there is no gcc');
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
