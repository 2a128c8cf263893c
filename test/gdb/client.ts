/** A client of the stub, and a machine with one: the protocol byte by byte, as GDB might never say it. */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { debuggedMachine } from '../../src/cli/debugged-machine.js';
import { noWorkload, readKernelFile } from '../../src/config/kernel-file.js';
import { type Arrival, PacketReader, packetOf } from '../../src/gdb/packets.js';
import { readElf } from '../../src/loader/elf.js';
import { readKernel } from '../../src/loader/kernel.js';
import type { MachineConfig } from '../../src/machine/config.js';
import { Machine } from '../../src/machine/machine.js';
import type { RunResult } from '../../src/machine/result.js';
import { elfOf } from '../support/elf.js';
import { guest, machineConfig } from '../support/in-process.js';

const TEST_KERNEL = fileURLToPath(new URL('../../../guests/test-kernel/test-kernel.elf', import.meta.url));

export class Client {
  readonly socket: Socket;
  readonly #reader = new PacketReader();
  readonly #arrived: Arrival[] = [];
  #wake = (): void => {};
  #isClosed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.#arrived.push(...this.#reader.read(bytes));
      this.#wake();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#isClosed = true;
      this.#wake();
    });
  }

  static async connect(port: number): Promise<Client> {
    const socket = createConnection(port, '127.0.0.1');
    await once(socket, 'connect');
    return new Client(socket);
  }

  /** The next packet; undefined: the stub hung up. */
  async next(): Promise<string | undefined> {
    for (;;) {
      const arrival = this.#arrived.shift();
      if (arrival?.kind === 'packet') return Buffer.from(arrival.data).toString('latin1');
      if (arrival !== undefined) continue;
      if (this.#isClosed) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  send(text: string | Uint8Array): void {
    this.socket.write(packetOf(text));
  }

  async ask(text: string | Uint8Array): Promise<string | undefined> {
    this.send(text);
    return this.next();
  }

  interrupt(): void {
    this.socket.write(Uint8Array.of(3));
  }

  close(): void {
    this.socket.destroy();
  }
}

export interface Debugged {
  readonly client: Client;
  readonly port: number;
  readonly result: Promise<RunResult>;
  /** As an interrupt of the command does. */
  stop(): Promise<void>;
}

/** A machine that is halted before its guest's first instruction, for as long as `use` takes. */
export async function debugged(config: MachineConfig, use: (machine: Debugged) => Promise<void>): Promise<void> {
  const machine = await Machine.create({ ...config, hasDebugger: true });
  let port = 0;
  const run = await debuggedMachine(machine, 0, (at) => {
    port = at;
  });
  const result = run.run();
  result.catch(() => {});
  const client = await Client.connect(port);
  try {
    await use({ client, port, result, stop: () => run.stop() });
  } finally {
    client.close();
    await machine.close();
  }
}

export const testKernel = (vcpus = 1, over: Partial<MachineConfig> = {}): MachineConfig =>
  machineConfig({
    pcpus: vcpus,
    debug: false,
    guests: [
      guest({
        vcpus,
        memoryMib: 16,
        workload: noWorkload('test-kernel.elf'),
        kernel: readKernelFile(TEST_KERNEL, `vcpus=${vcpus}`),
      }),
    ],
    ...over,
  });

/** Where the test kernel makes hypercalls, a SYSCALL and a RET, and what of it can be written. */
export function testKernelPlaces(): { readonly syscall: bigint; readonly data: bigint; readonly bytes: bigint } {
  const { segments } = readElf(readFileSync(TEST_KERNEL));
  const code = segments.find(({ isExecutable }) => isExecutable)!;
  const memory = segments.find(({ isWritable }) => isWritable)!;
  const at = Buffer.from(code.contents).indexOf(Buffer.from([0x0f, 0x05, 0xc3]));
  return { syscall: code.address + BigInt(at), data: memory.address, bytes: memory.bytes };
}

/** Code at 0x100000, and memory that can be written at `DATA`. */
export const codeKernel = (code: readonly number[], over: Partial<MachineConfig> = {}): MachineConfig =>
  machineConfig({
    guests: [
      guest({
        memoryMib: 16,
        workload: noWorkload('code'),
        kernel: { file: 'code', image: readKernel(elfOf(code, { bss: 0x3000 })), commandLine: '' },
      }),
    ],
    ...over,
  });
