/**
 * Small workloads with times that can be worked out by hand: kernel operations cost 1 ns, so what a test sees in a log is
 * work, sleep and the inter-CPU latency, and nothing else worth a microsecond.
 */
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import type { RunResult, TaskLogLine, TaskResult } from '../../src/machine/result.js';
import { guest, machineConfig, simulate, workload } from './in-process.js';

/** How far a logged time may be from the one computed by hand, µs: some IPIs of 2 µs each, and rounding. */
export const SLACK_US = 10;

export interface TaskRun {
  readonly vcpus?: number;
  /** @default as many as VCPUs */
  readonly pcpus?: number;
  /** Simulated time, ms. @default 1000 */
  readonly ms?: number;
  readonly global?: object;
  readonly guest?: Partial<GuestConfig>;
  readonly machine?: Partial<MachineConfig>;
  /** Domains beside the one that runs the tasks. */
  readonly others?: readonly GuestConfig[];
}

/** Runs the `tasks` object of an rt-app file in one domain. */
export function runTasks(tasks: object, run: TaskRun = {}): RunResult {
  const { vcpus = 1, pcpus = vcpus, ms = 1000, global, others = [] } = run;
  const simulation = simulate(
    machineConfig({
      pcpus,
      durationNs: ms * 1e6,
      guestOpNs: 1,
      taskLogLines: 1000,
      guests: [guest({ vcpus, ...run.guest, workload: workload(tasks, global) }), ...others],
      ...run.machine,
    }),
  );
  simulation.run();
  return simulation.result();
}

/** The task `name-instance` of the first domain. */
export function taskOf(result: RunResult, name: string): TaskResult {
  const task = result.domains[0]?.tasks.find((candidate) => candidate.name === name);
  if (!task) throw new Error(`no task ${name}`);
  return task;
}

export function logOf(result: RunResult, name: string): readonly TaskLogLine[] {
  return taskOf(result, name).log;
}

/** Line `n` of the log of `name`; negative counts from the end. */
export function lineOf(result: RunResult, name: string, n: number): TaskLogLine {
  const line = logOf(result, name).at(n);
  if (!line) throw new Error(`${name} has no log line ${n}`);
  return line;
}

/** When each phase iteration of a task ended, µs. */
export const endsOf = (result: RunResult, name: string): number[] => logOf(result, name).map(({ end }) => end);

/** Whether all times are those worked out by hand, up to SLACK_US. */
export function near(actual: readonly number[], wanted: readonly number[], slack = SLACK_US): boolean {
  return actual.length === wanted.length && actual.every((time, k) => Math.abs(time - (wanted[k] ?? NaN)) <= slack);
}
