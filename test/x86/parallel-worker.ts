/** One of several threads that run code on one image: its VCPU until an exception, all from the same moment on. */
import { parentPort, workerData } from 'node:worker_threads';
import { EXIT, ST, STATE_BYTES } from '../../src/pcpu/x86/state.js';
import { type AddressMap, Image } from '../../src/shared/image.js';
import { bareCore } from './bench-machine.js';

export interface ParallelData {
  readonly memory: WebAssembly.Memory;
  readonly map: AddressMap;
  readonly self: number;
  /** Image address of the word that counts who is there, and how many that must be. */
  readonly gate: number;
  readonly cores: number;
  /** Instructions of one run. */
  readonly budget: number;
}

const { memory, map, self, gate, cores, budget } = workerData as ParallelData;
const image = new Image(memory, map);
const st = image.region('state').base + self * STATE_BYTES;
const core = bareCore(image, self, true);
Atomics.add(image.i32, gate >> 2, 1);
while (Atomics.load(image.i32, gate >> 2) < cores);
while (core.run(st, budget, self, self) === EXIT.budget);
parentPort!.postMessage(image.i32[(st + ST.vector) >> 2]);
