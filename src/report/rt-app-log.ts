/**
 * Per-task logs in rt-app's own format, so that tools written for it read ours.
 *
 * Source: rt-app's doc/tutorial.txt ("Log and gnuplot"), and logs and format strings of Debian's rt-app 1.0. The header's
 * first field is not padded, as there. A file is `<log_basename>-<task>-<index>.log`, the index counting all tasks.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DomainResult, TaskLogLine, TaskResult } from '../machine/result.js';
import { type PlottedTask, plots } from './rt-app-plot.js';

type Field = keyof TaskLogLine;

interface LogColumn {
  readonly field: Field;
  readonly width: number;
  /** C's conversion: %lu prints a negative number (a wake-up before its time) as its 64-bit complement. */
  readonly signed: boolean;
}

const column = (field: Field, width: number, signed = false): LogColumn => ({ field, width, signed });

const COLUMNS: readonly LogColumn[] = [
  column('idx', 4, true),
  column('perf', 8),
  column('run', 8),
  column('period', 8),
  column('start', 15),
  column('end', 15),
  column('rel_st', 15),
  column('slack', 10, true),
  column('c_duration', 10),
  column('c_period', 10),
  column('wu_lat', 10),
];

const HEADER = COLUMNS.map(({ field, width }) => (field === 'idx' ? '#idx' : field.padStart(width))).join(' ');

function cell(line: TaskLogLine, { field, width, signed }: LogColumn): string {
  const value = BigInt(Math.trunc(line[field]));
  return (signed ? value : BigInt.asUintN(64, value)).toString().padStart(width);
}

/** SCHED_DEADLINE has no priority to tell. */
const policyLine = ({ policy, priority }: TaskResult): string =>
  policy === 'SCHED_DEADLINE' ? `# Policy : ${policy}` : `# Policy : ${policy} priority : ${priority}`;

export function taskLog(task: TaskResult): string {
  const lines = task.log.map((line) => COLUMNS.map((each) => cell(line, each)).join(' '));
  return [policyLine(task), HEADER, ...lines, ''].join('\n');
}

/** The name in the workload file: without the instance number of `name-0`. */
const nameOf = (task: TaskResult): string => task.name.replace(/-\d+$/, '');

const safe = (name: string): string => name.replaceAll(/[/\0]/g, '_');

export interface DomainLogs {
  readonly domain: DomainResult;
  /** `global.log_basename` of its workload. */
  readonly basename: string;
  /** `global.gnuplot`. @default false */
  readonly gnuplot?: boolean;
  /** False where `global.log_size` is "disable". @default true */
  readonly keepsLogs?: boolean;
}

/** Name of a task's log without its ending: index among all tasks, and of a forked one its number among its like. */
function stemOf(task: TaskResult, position: number, basename: string): string {
  const { index, number } = task.forked ?? { index: position, number: undefined };
  const fork = number === undefined ? '' : `-${String(number).padStart(4, '0')}`;
  return `${safe(basename)}-${safe(nameOf(task))}-${index}${fork}`;
}

/** Writes one file a task; several domains get a folder each, a single one writes as rt-app would. Gives back the paths. */
export function writeTaskLogs(directory: string, domains: readonly DomainLogs[]): string[] {
  const written: string[] = [];
  for (const { domain, basename, gnuplot = false, keepsLogs = true } of domains) {
    if (!keepsLogs) continue;
    const folder = domains.length === 1 ? directory : join(directory, safe(domain.name));
    mkdirSync(folder, { recursive: true });
    const write = (name: string, text: string): void => {
      writeFileSync(join(folder, name), text);
      written.push(join(folder, name));
    };
    const plotted: PlottedTask[] = [];
    for (const [position, task] of domain.tasks.entries()) {
      const stem = stemOf(task, position, basename);
      write(`${stem}.log`, taskLog(task));
      plotted.push({ stem, name: nameOf(task), policy: task.policy });
    }
    if (gnuplot) for (const plot of plots(safe(basename), plotted)) write(plot.file, plot.text);
  }
  return written;
}
