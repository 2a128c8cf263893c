/** `ringzero check-time [FILE]`: run a scenario under the observer of time and say what it found. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadScenario } from '../config/scenario.js';
import { type FaultInjection, TIME_INJECTIONS } from '../machine/config.js';
import type { RunResult } from '../machine/result.js';
import { paintFor } from '../report/table.js';
import { timeReport, verdictOf } from '../report/time-report.js';
import { ConfigError } from '../workload/config-error.js';
import { EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK } from './exit-codes.js';
import { checkTargets, type RunOptions, type Surroundings, simulate } from './run-command.js';

/** What is run when no file is named. */
const DEFAULT_SCENARIO = fileURLToPath(new URL('../../../examples/check-time.yaml', import.meta.url));
/** Where and when a fault begins that is given by its name alone. */
const DEFAULT_PCPU = 1;
const DEFAULT_AT_NS = 1.5e9;
/** A worker that holds the turn for this long is stalled, host ms; less may be the host. */
const STALLED_MS = 2000;

/** Reads `NAME`, `NAME@PCPU` or `NAME@PCPU:TIME`; undefined = not so written. */
export function parseInjection(
  text: string,
  parseDuration: (text: string) => number | undefined,
): FaultInjection | undefined {
  const match = /^([a-z-]+)(?:@(\d+)(?::(.+))?)?$/.exec(text);
  const kind = TIME_INJECTIONS.find((name) => name === match?.[1]);
  const atNs = match?.[3] === undefined ? DEFAULT_AT_NS : parseDuration(match[3]);
  if (kind === undefined || atNs === undefined || atNs < 0) return undefined;
  return { kind, pcpu: match?.[2] === undefined ? DEFAULT_PCPU : Number(match[2]), atNs };
}

export async function checkTimeCommand(
  file: string | undefined,
  options: RunOptions,
  around: Surroundings,
): Promise<number> {
  const path = file ?? DEFAULT_SCENARIO;
  const title = file ?? 'check-time (eight pCPUs, 20 VCPUs)';
  const scenario = loadScenario(path, { ...options.overrides, checkTime: true });
  checkTargets(options);
  for (const warning of scenario.warnings) around.stderr.write(`ringzero: warning: ${warning}\n`);
  const stalls: string[] = [];
  const { result, interrupted } = await simulate(scenario.config, options, around, (text, stalledMs = 0) => {
    if (stalledMs >= STALLED_MS) stalls.push(text);
  });
  if (result?.time === undefined) return EXIT_INTERRUPTED;
  const ok = result.time.ok && stalls.length === 0;
  write(title, result, stalls, scenario.config.inject, options, around);
  if (interrupted) return EXIT_INTERRUPTED;
  return ok ? EXIT_OK : EXIT_FAILED;
}

/** Version of the JSON that `check-time --json` writes. */
const TIME_SCHEMA = 'ringzero.check-time/1';

function write(
  scenario: string,
  result: RunResult,
  stalls: readonly string[],
  inject: FaultInjection | undefined,
  { json, quiet }: RunOptions,
  around: Surroundings,
): void {
  const { time, simulatedNs, hash, events, host } = result;
  if (time === undefined) throw new ConfigError('the run was made without the observer of time');
  const data = {
    schema: TIME_SCHEMA,
    scenario,
    ...time,
    ok: time.ok && stalls.length === 0,
    stalls,
    ...(inject ? { inject } : {}),
    simulatedNs,
    hash,
    events,
    host,
  };
  const text = `${JSON.stringify(data, null, 2)}\n`;
  const isReported = !quiet && json !== true && json !== '-';
  if (!data.ok && !isReported) around.stderr.write(`${verdictOf(time, stalls)}\n`);
  if (json === true || json === '-') around.stdout.write(text);
  else {
    if (json !== undefined) writeFileSync(json, text);
    if (!quiet)
      around.stdout.write(
        timeReport(result, time, stalls, { title: scenario, inject, paint: paintFor(around.stdout) }),
      );
  }
}
