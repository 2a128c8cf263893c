/** `ringzero run FILE`: load, build, run, report. Says with which exit code the process should end. */
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { checkExpectations, type Verdict } from '../config/expectations.js';
import { loadScenario, type MachineOverrides, type Scenario } from '../config/scenario.js';
import type { MachineConfig } from '../machine/config.js';
import { MachineFault } from '../machine/machine-fault.js';
import type { RunResult } from '../machine/result.js';
import { jsonReport } from '../report/json-report.js';
import { writeTaskLogs } from '../report/rt-app-log.js';
import { paintFor } from '../report/table.js';
import { textReport, verdictLines } from '../report/text-report.js';
import { ConfigError } from '../workload/config-error.js';
import { EXIT_FAILED, EXIT_FAULT, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE } from './exit-codes.js';
import { Progress, type ProgressStream } from './progress.js';

/** The part of Machine that the command drives. */
export interface RunnableMachine {
  run(): Promise<RunResult>;
  progress(): { readonly simulatedNs: number; readonly events: number };
  stop(): Promise<void>;
  close(): Promise<void>;
  on(event: 'warning', listener: (text: string, stalledMs?: number) => void): unknown;
}

export interface RunOptions {
  readonly overrides: MachineOverrides;
  /** `true` and `-`: to stdout, instead of the text report. */
  readonly json?: string | true;
  readonly logdir?: string;
  /** Neither progress nor report; failed expectations are still named on stderr. */
  readonly quiet: boolean;
}

/** What the command touches of the process around it. */
export interface Surroundings {
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly stderr: ProgressStream;
  createMachine(config: MachineConfig): Promise<RunnableMachine>;
  /** Calls `listener` at SIGINT; gives back how to stop listening. */
  onInterrupt(listener: () => void): () => void;
}

/** Whether `--json` prints its report, in the place of the one in words. */
export const toStdout = (json: RunOptions['json']): json is true | '-' => json === true || json === '-';

/** Whether the user's target can be written is better known before a long run than after it. */
function checkWritable(what: string, attempt: () => void): void {
  try {
    attempt();
  } catch (error) {
    throw new ConfigError(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

export function checkTargets({ json, logdir }: RunOptions): void {
  if (logdir !== undefined) checkWritable('--logdir', () => mkdirSync(logdir, { recursive: true }));
  if (typeof json !== 'string' || json === '-') return;
  // `--json scenario.yaml`, with the file meant to be run, must not be overwritten by its own result.
  if (/\.(ya?ml|cfg)$/.test(json))
    throw new ConfigError(`--json: refusing to overwrite ${json}; write '--json=-' for stdout`);
  checkWritable('--json', () => closeSync(openSync(json, 'a')));
}

/** @param warned called with every warning, besides the line on stderr */
export async function simulate(
  config: MachineConfig,
  options: RunOptions,
  around: Surroundings,
  warned?: (text: string, stalledMs?: number) => void,
): Promise<{ result: RunResult | undefined; interrupted: boolean }> {
  let machine: RunnableMachine | undefined;
  let interrupted = false;
  const progress = new Progress(around.stderr);
  const forget = around.onInterrupt(() => {
    interrupted = true;
    // A stop that fails shows up in the run that it was to end.
    machine?.stop().catch(() => undefined);
  });
  try {
    machine = await around.createMachine(config);
    if (interrupted) return { result: undefined, interrupted };
    machine.on('warning', (text, stalledMs) => {
      progress.note(`ringzero: warning: ${text}`);
      warned?.(text, stalledMs);
    });
    if (!options.quiet) progress.start(machine, config.durationNs);
    return { result: await machine.run(), interrupted };
  } finally {
    progress.stop();
    forget();
    await machine?.close();
  }
}

function writeReports(
  file: string,
  scenario: Scenario,
  result: RunResult,
  verdicts: readonly Verdict[],
  options: RunOptions,
  around: Surroundings,
): void {
  const { json, logdir, quiet } = options;
  const jsonToStdout = toStdout(json);
  if (jsonToStdout) around.stdout.write(jsonReport(result, verdicts, file));
  else if (json !== undefined) writeFileSync(json, jsonReport(result, verdicts, file));
  if (!jsonToStdout && !quiet) {
    around.stdout.write(textReport(result, verdicts, { title: file, paint: paintFor(around.stdout) }));
  }
  const failed = verdicts.filter(({ ok }) => !ok);
  if ((jsonToStdout || quiet) && failed.length > 0) {
    around.stderr.write(`${verdictLines(failed, paintFor(around.stderr)).join('\n')}\n`);
  }
  if (logdir !== undefined) {
    const workloads = new Map(scenario.config.guests.map((guest) => [guest.name, guest.workload]));
    writeTaskLogs(
      logdir,
      result.domains.map((domain) => {
        const { logBasename = 'rt-app', gnuplot = false, keepsLogs = true } = workloads.get(domain.name) ?? {};
        return { domain, basename: logBasename, gnuplot, keepsLogs };
      }),
    );
  }
}

export async function runCommand(file: string, options: RunOptions, around: Surroundings): Promise<number> {
  const scenario = loadScenario(file, options.overrides);
  checkTargets(options);
  for (const warning of scenario.warnings) around.stderr.write(`ringzero: warning: ${warning}\n`);
  const { result, interrupted } = await simulate(scenario.config, options, around);
  if (result === undefined) return EXIT_INTERRUPTED;
  // Expectations are about the whole run; what was cut short neither keeps nor breaks them.
  const verdicts = interrupted ? [] : checkExpectations(scenario.expectations, result);
  writeReports(file, scenario, result, verdicts, options, around);
  if (interrupted) return EXIT_INTERRUPTED;
  return verdicts.every(({ ok }) => ok) ? EXIT_OK : EXIT_FAILED;
}

/** Says on stderr what went wrong, and gives the exit code for it. Only a fault of ours shows a stack. */
export function reportError(error: unknown, stderr: NodeJS.WritableStream): number {
  if (error instanceof ConfigError) {
    stderr.write(`ringzero: ${error.message}\n`);
    return EXIT_USAGE;
  }
  if (error instanceof MachineFault) {
    const where = error.pcpu === undefined ? `worker ${error.worker}` : `worker ${error.worker}, pCPU ${error.pcpu}`;
    const trace = error.trace.length === 0 ? ['(no trace)'] : error.trace;
    stderr.write(
      `ringzero: fault in ${where}: ${error.message}\nlast trace:\n${trace.map((line) => `  ${line}\n`).join('')}`,
    );
    return EXIT_FAULT;
  }
  stderr.write(
    `ringzero: internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return EXIT_FAULT;
}
