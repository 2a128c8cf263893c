/**
 * One kernel of the benchmark as a domain on one pCPU, through the hypervisor, in a process of its own: `ours.js BENCH.ELF COMMAND-LINE`.
 * Prints JSON, see Measured in measured.ts.
 */
import { noWorkload, readKernelFile } from '../../src/config/kernel-file.js';
import { type MachineConfig, machineDefaults } from '../../src/machine/config.js';
import { Machine } from '../../src/machine/machine.js';
import type { Measured } from './measured.js';

const [file, commandLine] = process.argv.slice(2) as [string, string];
const config: MachineConfig = {
  ...machineDefaults('modern'),
  pcpus: 1,
  threads: 1,
  durationNs: Number.POSITIVE_INFINITY,
  guests: [
    {
      ...{ name: 'bench', vcpus: 1, memoryMib: 16, weight: 256, cap: 0, cpus: [], cpusSoft: [], abi: 64 as const },
      workload: noWorkload(file),
      kernel: readKernelFile(file, commandLine),
    },
  ],
};

const machine = await Machine.create(config);
/** Where simulation time is, and when: each time once. */
const seen: { simulatedNs: number; ms: number }[] = [];
const looking = setInterval(() => {
  const { simulatedNs } = machine.progress();
  if (seen.at(-1)?.simulatedNs !== simulatedNs) seen.push({ simulatedNs, ms: performance.now() });
}, 1);
try {
  const { domains } = await machine.run();
  const endMs = performance.now();
  clearInterval(looking);
  const { console: said, ended, virtualTimeNs } = domains[0]!;
  const sum = /^E (\w+)$/m.exec(said)?.[1] ?? ended ?? 'none';
  // An instruction takes a cycle, and a cycle a nanosecond: the kernel's are the last so many before the end.
  const instructions = Number(`0x${/^T (\w+)$/m.exec(said)?.[1] ?? '0'}`);
  const begin = virtualTimeNs - instructions;
  const from = seen.findLast(({ simulatedNs }) => simulatedNs <= begin) ?? { simulatedNs: 0, ms: endMs };
  const to = seen.find(({ simulatedNs }) => simulatedNs > begin) ?? { simulatedNs: virtualTimeNs, ms: endMs };
  const part = (begin - from.simulatedNs) / (to.simulatedNs - from.simulatedNs);
  const seconds = (endMs - from.ms - part * (to.ms - from.ms)) / 1000;
  console.log(JSON.stringify({ sum, seconds, instructions } satisfies Measured));
} finally {
  await machine.close();
}
