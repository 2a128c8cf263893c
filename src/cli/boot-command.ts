/** `ringzero boot KERNEL`: one domain with a kernel of its own, what it says on its console, and how it ended. */
import { writeFileSync } from 'node:fs';
import { formatDuration } from '../config/format.js';
import { type BootSettings, loadKernel } from '../config/scenario.js';
import type { MachineConfig } from '../machine/config.js';
import { jsonReport } from '../report/json-report.js';
import { type DebuggableMachine, debuggedMachine } from './debugged-machine.js';
import { EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK } from './exit-codes.js';
import { checkTargets, type RunOptions, type Surroundings, simulate } from './run-command.js';

export interface BootOptions extends RunOptions {
  /** TCP port at which GDB is waited for; 0 = any. */
  readonly gdb?: number | undefined;
}

export interface BootSurroundings extends Surroundings {
  createMachine(config: MachineConfig): Promise<DebuggableMachine>;
}

/** The same, of a machine that a debugger can halt. */
const withDebugger = (port: number, around: BootSurroundings): Surroundings => ({
  ...around,
  createMachine: async (config) =>
    debuggedMachine(await around.createMachine({ ...config, hasDebugger: true }), port, (at) =>
      around.stderr.write(`ringzero: halted; gdb -ex 'target remote :${at}'\n`),
    ),
});

export async function bootCommand(
  file: string,
  boot: BootSettings,
  options: BootOptions,
  around: BootSurroundings,
): Promise<number> {
  const { config, warnings } = loadKernel(file, boot, options.overrides);
  checkTargets(options);
  for (const warning of warnings) around.stderr.write(`ringzero: warning: ${warning}\n`);
  const { gdb } = options;
  const surroundings = gdb === undefined ? around : withDebugger(gdb, around);
  const { result, interrupted } = await simulate(config, options, surroundings);
  if (result === undefined) return EXIT_INTERRUPTED;
  const domain = result.domains.find(({ id }) => id !== 0)!;
  const { json } = options;
  if (json === true || json === '-') around.stdout.write(jsonReport(result, [], file));
  else {
    if (json !== undefined) writeFileSync(json, jsonReport(result, [], file));
    around.stdout.write(domain.console);
    if (domain.console !== '' && !domain.console.endsWith('\n')) around.stdout.write('\n');
  }
  if (!options.quiet) {
    const end = domain.ended ?? 'did not end';
    around.stderr.write(
      `${domain.name}: ${end} after ${formatDuration(result.simulatedNs)}, hash ${result.hash ?? 'none'}\n`,
    );
    if (domain.ended?.startsWith('crash')) around.stderr.write(result.hypervisorConsole ?? '');
  }
  if (interrupted) return EXIT_INTERRUPTED;
  return domain.ended === 'poweroff' ? EXIT_OK : EXIT_FAILED;
}
