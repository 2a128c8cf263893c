/**
 * What a LOCK INC costs a VCPU whose word another VCPU, run by another worker in free mode, wants as well: `contend-ours.js CONTEND.ELF`.
 * Prints ns of each repetition, as JSON.
 */
import { noWorkload, readKernelFile } from '../../src/config/kernel-file.js';
import { machineDefaults } from '../../src/machine/config.js';
import { Machine } from '../../src/machine/machine.js';

const REPETITIONS = 7;
/** Of simulated time: an instruction takes a nanosecond of it on each pCPU, and nearly all of them are LOCK INC. */
const STEP_NS = 10e6;
/** Until code is compiled. */
const WARM_UP = 5;

const file = process.argv[2]!;
const guest = { name: 'contend', vcpus: 2, memoryMib: 16, weight: 256, cap: 0, cpusSoft: [], abi: 64 as const };
const machine = await Machine.create({
  ...machineDefaults('modern'),
  ...{ mode: 'free', pcpus: 2, threads: 2, durationNs: Number.POSITIVE_INFINITY },
  guests: [{ ...guest, cpus: [[0], [1]], workload: noWorkload(file), kernel: readKernelFile(file, '2') }],
});
try {
  const found: number[] = [];
  for (let n = 1; n <= WARM_UP + REPETITIONS; n++) {
    const began = performance.now();
    await machine.runUntil(n * STEP_NS);
    if (n > WARM_UP) found.push(((performance.now() - began) * 1e6) / STEP_NS);
  }
  console.log(JSON.stringify(found));
} finally {
  await machine.close();
}
