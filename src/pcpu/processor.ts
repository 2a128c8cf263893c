/** One worker's view of the machine: hypervisor, executors and turns, bound to the image once. */
import { createHypervisor, type Hypervisor } from '../hv/hypervisor.js';
import type { Image } from '../shared/image.js';
import { type KeyTree, keyTree } from './key-tree.js';
import type { MachineShape, RunParams } from './machine-shape.js';
import { guestKernel } from './model/kernel.js';
import { type Executor, type Turns, turns } from './turn.js';

export interface ProcessorCore {
  readonly hv: Hypervisor;
  readonly keys: KeyTree;
  readonly turns: Turns;
}

export function processorCore(image: Image, shape: MachineShape, params: RunParams): ProcessorCore {
  const keys = keyTree(image, shape.hv.pcpus);
  // The hypervisor switches guests, the executor makes hypercalls: the two are tied here.
  const hv: Hypervisor = createHypervisor(image, shape.hv, params.hv, {
    switchOut: (v, p) => executor.switchOut(v, p),
    switchIn: (v, p) => executor.switchIn(v, p),
    keyChanged: (q) => turn.refresh(q),
  });
  const executor: Executor = guestKernel(image, hv, params.guest);
  const turn: Turns = turns(hv, executor, keys);
  return { hv, keys, turns: turn };
}
