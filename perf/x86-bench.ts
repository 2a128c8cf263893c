/**
 * Speed of the x86 core: each kernel of the benchmark as a domain of its own on one pCPU, through the hypervisor, beside the same object
 * code run natively. Checksums are compared. Million guest instructions a second, as the core counts them.
 *
 *   node dist/perf/x86-bench.js [--div 5] [--only NAME]
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { noWorkload, readKernelFile } from '../src/config/kernel-file.js';
import { type MachineConfig, machineDefaults } from '../src/machine/config.js';
import { Machine } from '../src/machine/machine.js';

const { values } = parseArgs({
  options: { div: { type: 'string', default: '5' }, only: { type: 'string' } },
});
/** Not in the mean: a single instruction, string instructions, and what aliases in caches. */
const APART = ['memrep', 'lockadd', 'memalias'];

const folder = mkdtempSync(join(tmpdir(), 'x86-bench-'));
const sources = fileURLToPath(new URL('../../perf/x86/', import.meta.url));

/** Kernel, checksum, iterations, seconds. */
function natively(): readonly (readonly string[])[] {
  execFileSync(join(sources, 'build.sh'), [folder], { stdio: 'inherit' });
  const args = [values.div, ...(values.only === undefined ? [] : [values.only])];
  const text = execFileSync(join(folder, 'native'), args, { encoding: 'utf8' });
  return text
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
}

async function here(name: string): Promise<{ sum: string; seconds: number; instructions: number }> {
  const file = join(folder, 'bench.elf');
  const kernel = readKernelFile(file, `div=${values.div} only=${name}`);
  const config: MachineConfig = {
    ...machineDefaults('modern'),
    pcpus: 1,
    threads: 1,
    durationNs: Number.POSITIVE_INFINITY,
    guests: [
      {
        ...{ name, vcpus: 1, memoryMib: 16, weight: 256, cap: 0, cpus: [], cpusSoft: [], abi: 64 as const },
        workload: noWorkload(file),
        kernel,
      },
    ],
  };
  const machine = await Machine.create(config);
  try {
    const { domains, host } = await machine.run();
    // A cycle an instruction, at 1 GHz.
    const instructions = domains[0]!.virtualTimeNs;
    const sum = /^E (\w+)$/m.exec(domains[0]!.console)?.[1] ?? domains[0]!.ended ?? '';
    return { sum, seconds: host.runMs / 1000, instructions };
  } finally {
    await machine.close();
  }
}

try {
  console.log('kernel      checksum   native      here   million/s   native/here');
  const speeds: number[] = [];
  for (const [name, sum, , seconds] of natively()) {
    const ours = await here(name!);
    const speed = ours.instructions / ours.seconds / 1e6;
    if (!APART.includes(name!)) speeds.push(speed);
    const isRight = ours.sum === sum;
    console.log(
      name!.padEnd(11),
      sum,
      `${Number(seconds).toFixed(3)} s`.padStart(9),
      `${ours.seconds.toFixed(3)} s`.padStart(9),
      speed.toFixed(0).padStart(9),
      `${(ours.seconds / Number(seconds)).toFixed(1)} x`.padStart(11),
      isRight ? '' : `WRONG: ${ours.sum}`,
    );
    if (!isRight) process.exitCode = 1;
  }
  const mean = Math.exp(speeds.reduce((total, speed) => total + Math.log(speed), 0) / speeds.length);
  console.log(`geometric mean of ${speeds.length}: ${mean.toFixed(0)} million instructions a second`);
} finally {
  rmSync(folder, { recursive: true });
}
