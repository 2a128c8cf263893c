/** unpackKernel for those who cannot wait for a promise: decompressors are streams, so another thread does it meanwhile. */
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { UnpackError } from './unpack-error.js';

const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46];

/** @throws UnpackError */
export function unpackNow(file: Uint8Array): Uint8Array {
  if (ELF_MAGIC.every((byte, n) => file[n] === byte)) return file;
  const { port1, port2 } = new MessageChannel();
  const done = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL('unpack-worker.js', import.meta.url), {
    workerData: { file, port: port2, done },
    transferList: [port2],
  });
  Atomics.wait(done, 0, 0);
  const { message } = receiveMessageOnPort(port1) as { message: { kernel?: Uint8Array; problem?: string } };
  port1.close();
  worker.unref();
  if (message.kernel === undefined) throw new UnpackError(message.problem);
  return message.kernel;
}
