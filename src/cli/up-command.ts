/** `ringzero up SCENARIO`: boots a machine and keeps it, for `ringzero xl` to work on, until it is interrupted. */
import { loadScenario, type MachineOverrides } from '../config/scenario.js';
import type { MachineConfig } from '../machine/config.js';
import { sparePoolsOf } from '../machine/pools.js';
import type { ToolstackMachine } from '../xl/parse.js';
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
  const scenario = loadScenario(file, { durationNs: Infinity, ...overrides });
  const config = { ...scenario.config, sparePools: sparePoolsOf(scenario.config) };
  const machine = await around.createMachine(config);
  // One verb after the other: each is several commands to the machine.
  let last: Promise<unknown> = Promise.resolve();
  const server = await listen(path, (args) => {
    const answer = last.then(() => xl(machine, args));
    last = answer.catch(() => undefined);
    return answer;
  }).catch(async (error: unknown) => {
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
