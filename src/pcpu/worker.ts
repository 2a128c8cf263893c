/** Entry of a pCPU worker (piscina): attaches to the image, exposes its control channel, runs its endless task. */
import type { MessagePort } from 'node:worker_threads';
import { expose } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { loadPolicy } from '../hv/sched/user-policy.js';
import { doorbells } from '../shared/doorbell.js';
import { Image } from '../shared/image.js';
import { workerControl } from './control.js';
import { freeLoop } from './free-loop.js';
import { type MachineShape, machineMap, type RunParams } from './machine-shape.js';
import { orderedLoop } from './ordered-loop.js';
import { processorCore } from './processor.js';
import { safePoint } from './safe-point.js';

export interface WorkerTask {
  readonly memory: WebAssembly.Memory;
  readonly shape: MachineShape;
  readonly params: RunParams;
  readonly self: number;
  readonly port: MessagePort;
}

export default async function pcpuWorker({ memory, shape, params, self, port }: WorkerTask): Promise<void> {
  if (params.policy !== undefined) await loadPolicy(params.policy);
  const image = new Image(memory, machineMap(shape, params.hv.policies));
  const bells = doorbells(image.i32, image.region('turn-words').base);
  const machineCode = shape.x86.vcpus === 0 ? undefined : (await import('./x86/executor.js')).x86Executor;
  const core = processorCore(image, shape, params, self, bells.nudge, machineCode);
  const safe = safePoint(image, bells, self, params, (p) => core.hv.context.pcpu.worker(p) === self);
  const makeLoop = params.hv.free === undefined ? orderedLoop : freeLoop;
  const loop = makeLoop(image, core, bells, self, params, safe);
  expose(workerControl(image, core, safe), nodeEndpoint(port));
  try {
    await loop.run();
  } finally {
    port.close();
  }
}
