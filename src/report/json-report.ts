/** The result as `--json` writes it: the run's own record, what was run, and how its expectations fared. */
import type { Verdict } from '../config/expectations.js';
import type { RunResult } from '../machine/result.js';

export interface JsonReport extends RunResult {
  /** The file that was run, as the user named it. */
  readonly scenario: string;
  readonly expectations: readonly Verdict[];
}

/** JSON has no infinities; they and NaN appear as null. */
export function jsonReport(result: RunResult, verdicts: readonly Verdict[], scenario: string): string {
  const { schema, ...rest } = result;
  const report: JsonReport = { schema, scenario, ...rest, expectations: verdicts };
  return `${JSON.stringify(report, null, 2)}\n`;
}
