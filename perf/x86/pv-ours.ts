/**
 * The bench kernel on one pCPU for each of its VCPUs, in a process of its own: `pv-ours.js BENCH-KERNEL.ELF MODE VCPUS COMMAND-LINE`. Prints
 * what it says, a line at a time, as it says it.
 */
import { noWorkload, readKernelFile } from '../../src/config/kernel-file.js';
import { type MachineConfig, machineDefaults } from '../../src/machine/config.js';
import { Machine } from '../../src/machine/machine.js';

const LOOK_MS = 1;

const [file, mode, vcpus, commandLine] = process.argv.slice(2) as [string, 'ordered' | 'free', string, string];
const config: MachineConfig = {
  ...machineDefaults('modern'),
  ...{ mode, pcpus: Number(vcpus), threads: Number(vcpus), durationNs: Number.POSITIVE_INFINITY },
  guests: [
    {
      ...{ name: 'bench', memoryMib: 16, weight: 256, cap: 0, cpus: [], cpusSoft: [], abi: 64 as const },
      ...{ vcpus: Number(vcpus), workload: noWorkload(file), kernel: readKernelFile(file, commandLine) },
    },
  ],
};

const machine = await Machine.create(config);
let seen = 0;
function show(): void {
  const { bytes, end } = machine.consoleSince(0, seen);
  seen = end;
  if (bytes.length > 0) process.stdout.write(bytes);
}
const looking = setInterval(show, LOOK_MS);
try {
  await machine.run();
} finally {
  clearInterval(looking);
  show();
  await machine.close();
}
