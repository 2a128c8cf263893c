/** A whole run of a machine with its worker threads. */
import type { MachineConfig } from '../../src/machine/config.js';
import { Machine } from '../../src/machine/machine.js';
import type { RunResult } from '../../src/machine/result.js';

export async function runMachine(config: MachineConfig): Promise<RunResult> {
  const machine = await Machine.create(config);
  try {
    return await machine.run();
  } finally {
    await machine.close();
  }
}
