/** Where GDB connects: one client at a time, on this host only. Who goes away without a word has detached. */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { DebugPort } from '../machine/debug-port.js';
import { ConfigError } from '../workload/config-error.js';
import { PacketReader } from './packets.js';
import { Session } from './session.js';

const HOST = '127.0.0.1';
/** How long a client may take to hang up, host ms. */
const HANG_UP_MS = 1000;

export interface GdbServer {
  readonly port: number;
  /** Tells the client, if any, that the machine has ended, and listens no more. */
  end(): void;
}

/**
 * @param port 0 = any
 * @param kill ends the machine
 * @throws ConfigError where nobody can listen there
 */
export async function serveGdb(target: DebugPort, port: number, kill: () => void): Promise<GdbServer> {
  let client: { readonly socket: Socket; readonly session: Session } | undefined;
  let hasEnded = false;
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    if (client !== undefined || hasEnded) {
      socket.destroy();
      return;
    }
    const session = new Session(target, {
      send: (bytes) => void (socket.writable && socket.write(bytes)),
      kill,
      hangUp: () => hangUp(socket),
    });
    client = { socket, session };
    void talk(target, socket, session).finally(() => {
      client = undefined;
    });
  });
  await listening(server, port);
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    end() {
      hasEnded = true;
      client?.session.ended();
      if (client !== undefined) hangUp(client.socket);
      server.close();
    },
  };
}

/** What was sent is to arrive; but who does not hang up, too, is not waited for. */
function hangUp(socket: Socket): void {
  socket.end();
  const late = setTimeout(() => socket.destroy(), HANG_UP_MS);
  socket.once('close', () => clearTimeout(late));
}

async function talk(target: DebugPort, socket: Socket, session: Session): Promise<void> {
  const gone = once(socket, 'close');
  target.attach();
  try {
    await Promise.race([isHalted(target), gone]);
    target.onHalt = (halt) => session.halted(halt);
    const reader = new PacketReader();
    for await (const chunk of socket) {
      for (const arrival of reader.read(chunk as Uint8Array)) {
        await session.take(arrival);
        if (socket.writableNeedDrain) await Promise.race([once(socket, 'drain'), gone]);
      }
    }
  } catch {
    // It is gone, or the machine is: both say so elsewhere.
  } finally {
    target.onHalt = () => {};
    socket.destroy();
    // A machine that has failed cannot go on.
    await target.detach().catch(() => undefined);
  }
}

/** Until VCPUs are halted, who comes to look at them finds nothing. */
async function isHalted(target: DebugPort): Promise<void> {
  if (!target.isRunning) return;
  const halted = new Promise<void>((resolve) => {
    target.onHalt = () => resolve();
  });
  if (!target.isStarting) target.interrupt();
  await halted;
}

function listening(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'somebody else listens there already' : (error.code ?? error.message);
      reject(new ConfigError(`--gdb: port ${port}: ${why}`));
    });
    server.listen(port, HOST, resolve);
  });
}
