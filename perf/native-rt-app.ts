/**
 * The same workload under Debian's rt-app on this host and in the machine, and a comparison of the logs that both write. What
 * must agree: names of files, heads, widths, numbers of lines, and the columns that the workload itself determines.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadScenario } from '../src/config/scenario.js';
import { Machine } from '../src/machine/machine.js';
import { writeTaskLogs } from '../src/report/rt-app-log.js';

const RT_APP = 'rt-app';
const TIMEOUT_MS = 60_000;

export const hasRtApp = (): boolean => spawnSync(RT_APP, ['--help'], { timeout: TIMEOUT_MS }).error === undefined;

/** Name of a file → its text. */
export type Files = ReadonlyMap<string, string>;

export interface NativeWorkload {
  readonly tasks: object;
  readonly global: { readonly log_basename: string; readonly calibration: number | string; readonly gnuplot?: boolean };
}

function filesOf(folder: string): Files {
  return new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
}

function inFolder<T>(act: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'ringzero-rt-app-'));
  try {
    return act(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export interface NativeRun {
  readonly files: Files;
  /** What it says of itself. */
  readonly output: string;
}

/** @throws Error with rt-app's own words when it fails, as it does without root for real-time policies */
export function runNative(workload: NativeWorkload): NativeRun {
  return inFolder((folder) => {
    const logs = join(folder, 'logs');
    mkdirSync(logs);
    const file = join(folder, 'workload.json');
    writeFileSync(file, JSON.stringify({ ...workload, global: { ...workload.global, logdir: logs } }));
    const { status, stdout, stderr } = spawnSync(RT_APP, [file], { encoding: 'utf8', timeout: TIMEOUT_MS });
    const output = `${stdout}${stderr}`;
    if (status !== 0) throw new Error(`rt-app ended with ${status}: ${output.trim().split('\n').at(-1)}`);
    return { files: filesOf(logs), output };
  });
}

/** What a loop of rt-app's work takes on this host, ns, by its own calibration. */
export function nativeCalibration(): number {
  const { output } = runNative({
    tasks: { a: { loop: 1, phases: { p: { run: 1 } } } },
    global: { log_basename: 'calibration', calibration: 'CPU0' },
  });
  const ns = /pLoad = (\d+)ns/.exec(output)?.[1];
  if (ns === undefined) throw new Error('rt-app does not say how it is calibrated');
  return Number(ns);
}

export async function runInMachine(workload: NativeWorkload): Promise<Files> {
  const folder = mkdtempSync(join(tmpdir(), 'ringzero-rt-app-'));
  try {
    const file = join(folder, 'workload.json');
    writeFileSync(file, JSON.stringify(workload));
    const { config } = loadScenario(file, { pcpus: 2, taskLogLines: 10_000 });
    const machine = await Machine.create(config);
    try {
      const { domains } = await machine.run();
      const { logBasename: basename, gnuplot = false } = config.guests[0]!.workload;
      writeTaskLogs(
        join(folder, 'logs'),
        domains.map((domain) => ({ domain, basename, gnuplot })),
      );
    } finally {
      await machine.close();
    }
    return filesOf(join(folder, 'logs'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export interface LogTable {
  readonly head: readonly string[];
  readonly columns: readonly string[];
  /** As written. */
  readonly lines: readonly string[];
  readonly rows: readonly (readonly number[])[];
}

export function parseLog(text: string): LogTable {
  const all = text.trimEnd().split('\n');
  const head = all.filter((line) => line.startsWith('#'));
  const lines = all.filter((line) => !line.startsWith('#'));
  const columns = (head.at(-1) ?? '').replace('#', '').trim().split(/\s+/);
  return { head, columns, lines, rows: lines.map((line) => line.trim().split(/\s+/).map(Number)) };
}

/** Columns that follow from the workload alone. */
const DETERMINED = ['idx', 'c_duration', 'c_period'];

/** Where the logs differ in what must agree; nothing when they do not. */
export function differences(native: Files, ours: Files): string[] {
  const found: string[] = [];
  const names = [...new Set([...native.keys(), ...ours.keys()])].sort();
  for (const name of names) {
    const [theirs, own] = [native.get(name), ours.get(name)];
    if (theirs === undefined || own === undefined)
      found.push(`${name}: only ${own === undefined ? 'rt-app' : 'the machine'} writes it`);
    else if (!name.endsWith('.log')) {
      if (theirs !== own) found.push(`${name}: the texts differ`);
    } else found.push(...logDifferences(name, parseLog(theirs), parseLog(own)));
  }
  return found;
}

function logDifferences(name: string, native: LogTable, ours: LogTable): string[] {
  if (native.head.join('\n') !== ours.head.join('\n'))
    return [`${name}: heads differ:\n${native.head.join('\n')}\n${ours.head.join('\n')}`];
  if (native.rows.length !== ours.rows.length)
    return [`${name}: ${native.rows.length} lines by rt-app, ${ours.rows.length} by the machine`];
  const found: string[] = [];
  // Where a column's number ends: the same in every line, whoever wrote it.
  const ends = (line: string): string =>
    [...line.matchAll(/\S+/g)].map((cell) => cell.index + cell[0].length).join(' ');
  const wanted = ends(native.lines[0] ?? '');
  for (const [n, line] of [...native.lines, ...ours.lines].entries())
    if (ends(line) !== wanted)
      found.push(`${name}: line ${n % native.lines.length} ends its columns at ${ends(line)}, not ${wanted}`);
  for (const column of DETERMINED) {
    const k = native.columns.indexOf(column);
    const values = ({ rows }: LogTable): string => rows.map((row) => row[k]).join(' ');
    if (values(native) !== values(ours))
      found.push(`${name}: ${column} is ${values(native)} by rt-app, ${values(ours)} by the machine`);
  }
  return found;
}

/** Median of a column. */
export function median({ columns, rows }: LogTable, column: string): number {
  const k = columns.indexOf(column);
  const sorted = rows.map((row) => row[k] ?? Number.NaN).sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

/**
 * A workload that ends by itself whatever the host does meanwhile (a resume that comes too early is lost, so there is none). Phases are written out: without them 1.0 takes a task's `loop` for the phase's.
 */
export const sampleWorkload = (calibration: number): NativeWorkload => ({
  tasks: {
    light: {
      loop: 1,
      phases: {
        p: { loop: 10, run: 1000, timer: { ref: 'unique', period: 5000 } },
        q: { loop: 5, run: 500, sleep: 1000, run1: 300 },
      },
    },
    runtime: { loop: 1, phases: { p: { loop: 5, runtime: 2000, sleep: 500 } } },
    // Once: a barrier of 1.0 that is met again at once may let one task through twice, and the other hangs.
    pair: { instance: 2, loop: 1, phases: { p: { loop: 4, lock: 'm', run: 400, unlock: 'm' }, q: { barrier: 'b' } } },
    memory: { loop: 2, phases: { p: { loop: 3, mem: 100_000, iorun: 1000, run: 100 } } },
    late: { loop: 1, phases: { p: { loop: 3, run: 3000, timer: { ref: 't', period: 2000 } } } },
  },
  global: { log_basename: 'sample', calibration, gnuplot: true },
});
