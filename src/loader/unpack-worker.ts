/** A thread that unpacks one kernel: see unpackNow. */

import type { MessagePort } from 'node:worker_threads';
import { workerData } from 'node:worker_threads';
import { unpackKernel } from './unpack.js';

const { file, port, done } = workerData as { file: Uint8Array; port: MessagePort; done: Int32Array };
try {
  port.postMessage({ kernel: await unpackKernel(file) });
} catch (error) {
  port.postMessage({ problem: (error as Error).message });
}
Atomics.store(done, 0, 1);
Atomics.notify(done, 0);
