/** Entry of a pCPU worker (piscina): attaches to the image, exposes its control channel, runs its endless task. */
import type { MessagePort } from 'node:worker_threads';
import { expose } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { doorbells } from '../shared/doorbell.js';
import { Image } from '../shared/image.js';
import { workerControl } from './control.js';
import { type MachineShape, machineMap, type RunParams } from './machine-shape.js';
import { processorCore } from './processor.js';
import { runLoop } from './run-loop.js';

export interface WorkerTask {
  readonly memory: WebAssembly.Memory;
  readonly shape: MachineShape;
  readonly params: RunParams;
  readonly self: number;
  readonly port: MessagePort;
}

export default async function pcpuWorker({ memory, shape, params, self, port }: WorkerTask): Promise<void> {
  const image = new Image(memory, machineMap(shape, params.hv.scheduler));
  const core = processorCore(image, shape, params);
  const loop = runLoop(image, core, doorbells(image.i32, image.region('turn-words').base), self, params);
  expose(workerControl(image, core, loop), nodeEndpoint(port));
  try {
    await loop.run();
  } finally {
    port.close();
  }
}
