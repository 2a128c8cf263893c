/** `ringzero up SCENARIO`: boots a machine and keeps it, for `ringzero xl` to work on, until it is interrupted. */
import { withLiveTools } from '../config/dom0.js';
import { readGuestFile } from '../config/guest-file.js';
import { loadScenario, type MachineOverrides } from '../config/scenario.js';
import type { MachineConfig } from '../machine/config.js';
import { Session, type ToolstackMachine } from '../xl/session.js';
import { listen } from '../xl/socket.js';
import { xl } from '../xl/verbs.js';
import { EXIT_OK } from './exit-codes.js';

export interface KeptMachine extends ToolstackMachine {
  run(): Promise<unknown>;
  stop(): Promise<void>;
  close(): Promise<void>;
}

export interface UpSurroundings {
  readonly stdout: NodeJS.WritableStream;
  createMachine(config: MachineConfig): Promise<KeptMachine>;
  onInterrupt(listener: () => void): () => void;
}

/** @throws MachineFault when the machine fails while it is up */
export async function upCommand(
  file: string,
  overrides: MachineOverrides,
  path: string,
  around: UpSurroundings,
): Promise<number> {
  const loaded = withLiveTools(loadScenario(file, { durationNs: Infinity, ...overrides }).config);
  // A machine that people use keeps their time, unless somebody said otherwise.
  const config = loaded.pace === 0 && overrides.pace === undefined ? { ...loaded, pace: 1 } : loaded;
  const machine = await around.createMachine(config);
  const session = new Session(machine, (path) => readGuestFile(path, config.pcpus));
  const server = await listen(path, ({ cwd, args }) => xl(session, args, cwd)).catch(async (error: unknown) => {
    await machine.close();
    throw error;
  });
  around.stdout.write(
    `${file}: up, ${config.pcpus} pCPUs, ${config.guests.length} domains; ringzero xl --socket ${path} list\n`,
  );
  let forget = (): void => {};
  const interrupted = new Promise<void>((resolve) => {
    forget = around.onInterrupt(resolve);
  });
  // A machine whose domains have all ended is up until it is interrupted: it can still be looked at.
  const failed = machine.run().then(
    () => new Promise<never>(() => {}),
    (error: unknown) => {
      throw error;
    },
  );
  try {
    await Promise.race([interrupted, failed]);
    await machine.stop();
  } finally {
    forget();
    server.close();
    await machine.close();
  }
  return EXIT_OK;
}
