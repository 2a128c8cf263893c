/** `ringzero boot KERNEL`: one domain with a kernel of its own, what it says on its console, and how it ended. */
import { writeFileSync } from 'node:fs';
import { type BootSettings, loadKernel } from '../config/boot-scenario.js';
import { formatDuration } from '../config/format.js';
import { readUserFile } from '../config/yaml-file.js';
import type { MachineConfig } from '../machine/config.js';
import { jsonReport } from '../report/json-report.js';
import { attachedConsole, type ConsoleMachine, type Keyboard } from './attached-console.js';
import { type DebuggableMachine, debuggedMachine } from './debugged-machine.js';
import { EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK } from './exit-codes.js';
import {
  checkTargets,
  type RunnableMachine,
  type RunOptions,
  type Surroundings,
  simulate,
  toStdout,
} from './run-command.js';

export interface BootOptions extends RunOptions {
  /** TCP port at which GDB is waited for; 0 = any. */
  readonly gdb?: number | undefined;
  /** File of what is typed at the console from the beginning. */
  readonly input?: string | undefined;
}

export interface BootSurroundings extends Surroundings {
  readonly stdin: Keyboard;
  createMachine(config: MachineConfig): Promise<DebuggableMachine & ConsoleMachine>;
}

/** Ends that a kernel asked for. */
const ENDED_WELL = ['poweroff', 'reboot'];

export async function bootCommand(
  file: string,
  boot: BootSettings,
  options: BootOptions,
  around: BootSurroundings,
): Promise<number> {
  const { gdb, json, overrides } = options;
  const { stdin, stdout, stderr } = around;
  // Who types keeps the time of the host, unless somebody said otherwise.
  const pace = stdin.isTTY === true && overrides.pace === undefined ? { pace: 1 } : {};
  const { config, warnings } = loadKernel(file, boot, { ...pace, ...overrides });
  const input = options.input === undefined ? new Uint8Array(0) : Buffer.from(readUserFile(options.input));
  checkTargets(options);
  for (const warning of warnings) stderr.write(`ringzero: warning: ${warning}\n`);

  let hasLeft = false;
  async function createMachine(of: MachineConfig): Promise<RunnableMachine> {
    const machine = await around.createMachine({ ...of, hasDebugger: gdb !== undefined });
    const left = (): void => {
      hasLeft = true;
    };
    const attached = toStdout(json) ? machine : await attachedConsole(machine, stdout, input, stdin, left);
    if (gdb === undefined) return attached;
    const debuggable = {
      run: () => attached.run(),
      progress: () => attached.progress(),
      stop: () => attached.stop(),
      close: () => attached.close(),
      on: (event: 'warning', listener: (text: string, stalledMs?: number) => void) => attached.on(event, listener),
      debugPort: () => machine.debugPort(),
    };
    return debuggedMachine(debuggable, gdb, (at) => stderr.write(`ringzero: halted; gdb -ex 'target remote :${at}'\n`));
  }
  if (stdin.isTTY === true) stderr.write('ringzero: Ctrl-] leaves\n');
  // The console has the terminal.
  const { result, interrupted } = await simulate(config, { ...options, quiet: true }, { ...around, createMachine });
  if (result === undefined) return EXIT_INTERRUPTED;
  const domain = result.domains.find(({ id }) => id !== 0)!;
  if (toStdout(json)) stdout.write(jsonReport(result, [], file));
  else if (typeof json === 'string') writeFileSync(json, jsonReport(result, [], file));
  if (!options.quiet) {
    const end = domain.ended ?? 'did not end';
    stderr.write(`${domain.name}: ${end} after ${formatDuration(result.simulatedNs)}, hash ${result.hash ?? 'none'}\n`);
    if (domain.ended?.startsWith('crash')) stderr.write(result.hypervisorConsole ?? '');
  }
  if (interrupted) return EXIT_INTERRUPTED;
  if (hasLeft) return EXIT_OK;
  return ENDED_WELL.includes(domain.ended ?? '') ? EXIT_OK : EXIT_FAILED;
}
