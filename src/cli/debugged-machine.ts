/** A machine with a debugger's port, which is halted before the guest's first instruction, and ends with whoever ends it. */
import { type GdbServer, serveGdb } from '../gdb/server.js';
import type { DebugPort } from '../machine/debug-port.js';
import type { RunResult } from '../machine/result.js';
import type { RunnableMachine } from './run-command.js';

export interface DebuggableMachine extends RunnableMachine {
  debugPort(): DebugPort;
}

/**
 * @param port at which GDB is waited for; 0 = any
 * @param say told where that is
 * @throws ConfigError where nobody can listen there; the machine is closed then
 */
export async function debuggedMachine(
  machine: DebuggableMachine,
  port: number,
  say: (port: number) => void,
): Promise<RunnableMachine> {
  const target = machine.debugPort();
  const stop = async (): Promise<void> => {
    // A worker that waits for the debugger hears nothing.
    await target.detach();
    await machine.stop();
  };
  let server: GdbServer;
  try {
    target.haltAtStart();
    server = await serveGdb(target, port, () => void stop().catch(() => undefined));
  } catch (error) {
    await machine.close();
    throw error;
  }
  say(server.port);
  return {
    async run(): Promise<RunResult> {
      try {
        return await machine.run();
      } finally {
        server.end();
      }
    },
    progress: () => machine.progress(),
    stop,
    close: () => machine.close(),
    on: (event, listener) => machine.on(event, listener),
  };
}
