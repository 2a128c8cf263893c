/**
 * The wire between `ringzero xl` and the machine that `ringzero up` keeps: a Unix socket that only its owner may open. A client sends
 * where it is and its arguments as one line of JSON and reads one line back: what to print, and its exit code.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ConfigError } from '../workload/config-error.js';
import type { Answer } from './verbs.js';

/** Where the socket is unless told otherwise: one for each user. */
export function defaultSocket(): string {
  const { RINGZERO_SOCKET, XDG_RUNTIME_DIR } = process.env;
  return RINGZERO_SOCKET ?? join(XDG_RUNTIME_DIR ?? tmpdir(), `ringzero-${process.getuid?.() ?? 0}.sock`);
}

/** Longest request, bytes. */
const MAX_REQUEST = 65_536;

/** What a client asks. Files that it names are relative to where it is. */
export interface Request {
  readonly cwd: string;
  readonly args: readonly string[];
}

type Serve = (request: Request) => Promise<Answer>;

function isRequest(value: unknown): value is Request {
  if (typeof value !== 'object' || value === null) return false;
  const { cwd, args } = value as Partial<Request>;
  return typeof cwd === 'string' && Array.isArray(args) && args.every((x) => typeof x === 'string');
}

async function reply(line: string, serve: Serve): Promise<Answer> {
  try {
    const request: unknown = JSON.parse(line);
    if (isRequest(request)) return await serve(request);
    return { stdout: '', stderr: 'ringzero: a request is a directory and a list of arguments\n', code: 2 };
  } catch (error) {
    return { stdout: '', stderr: `ringzero: ${error instanceof Error ? error.message : error}\n`, code: 3 };
  }
}

function talk(socket: Socket, serve: Serve): void {
  // A client that went away is nobody's trouble but its own.
  socket.on('error', () => socket.destroy());
  let got = 0;
  socket.on('data', (chunk) => {
    got += chunk.length;
    if (got > MAX_REQUEST) socket.destroy();
  });
  createInterface({ input: socket }).once('line', (line) => {
    void reply(line, serve).then((answer) => socket.end(`${JSON.stringify(answer)}\n`));
  });
}

/** Whether somebody answers at a socket. */
function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/**
 * Listens at `path`, with mode 0600: another user's connection is refused by the file system.
 * @throws ConfigError when a machine listens there already, or nobody can
 */
export async function listen(path: string, serve: Serve): Promise<Server> {
  if (await isAlive(path)) throw new ConfigError(`${path}: a machine is up there already`);
  // What a machine that died has left; anything else is somebody's.
  const left = lstatSync(path, { throwIfNoEntry: false });
  if (left?.isSocket()) unlinkSync(path);
  else if (left !== undefined) throw new ConfigError(`${path}: is there already, and no socket`);
  const server = createServer((socket) => talk(socket, serve));
  const umask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(new ConfigError(`${path}: ${error.code}`)));
      server.listen(path, resolve);
    });
  } finally {
    process.umask(umask);
  }
  chmodSync(path, 0o600);
  return server;
}

/** Sends a request. @throws ConfigError when nobody answers */
export function ask(path: string, args: readonly string[]): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path, () =>
      socket.write(`${JSON.stringify({ cwd: process.cwd(), args } satisfies Request)}\n`),
    );
    let text = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      const isAbsent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
      reject(
        new ConfigError(isAbsent ? `${path}: no machine is up there (ringzero up SCENARIO)` : `${path}: ${error.code}`),
      );
    });
    socket.once('end', () => {
      if (text === '') reject(new Error(`${path}: the machine did not answer`));
      else resolve(JSON.parse(text) as Answer);
    });
  });
}
