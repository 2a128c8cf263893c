/**
 * `npm run fuzz -- [--minutes N] [--seed N] [--threads N] [--mode ordered|free]`: machines of kernels that make hypercalls at random
 * (guests/fuzz-kernel), one after the other, each with a seed of its own. Beside them are a kernel that does nothing but count, whose
 * memory nobody may change, and one that computes, which gets its share. At pauses every record is looked at (src/machine/invariants.ts).
 * Exit code 3: a machine broke down; 1: something else was found. What was found is said with its seed.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { noWorkload, readKernelFile } from '../src/config/kernel-file.js';
import { readKernel } from '../src/loader/kernel.js';
import { type GuestConfig, type MachineConfig, machineDefaults } from '../src/machine/config.js';
import { Machine } from '../src/machine/machine.js';
import { elfOf } from '../test/support/elf.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string' },
    threads: { type: 'string', default: '2' },
    mode: { type: 'string', default: 'free' },
  },
});
const [minutes, threads] = [Number(values.minutes), Number(values.threads)];
const first = Number(values.seed ?? Date.now() % 1_000_000);
const { mode } = values;
if (!(minutes > 0) || !(threads >= 1) || !Number.isSafeInteger(first) || (mode !== 'free' && mode !== 'ordered')) {
  console.error('usage: fuzz [--minutes N] [--seed N] [--threads N] [--mode ordered|free]');
  process.exit(2);
}

const FILE = join(fileURLToPath(new URL('../../guests/fuzz-kernel/', import.meta.url)), 'fuzz-kernel.elf');
/** The neighbours: inc rbx; jmp. Their registers change, and nothing else. */
const STILL = elfOf([0x48, 0xff, 0xc3, 0xeb, 0xfb]);
const PCPUS = 4;
const FUZZERS = 3;
/** Simulated time of a machine, and how long it runs between two looks at it, host ms. */
const DURATION_NS = 60e6;
const PAUSE_MS = 400;
const TSLICE_MS = 1;
/** Of a fair share, what a neighbour gets at least. */
const LEAST = 0.5;

const base = { memoryMib: 8, cap: 0, weight: 256, cpus: [], cpusSoft: [], abi: 64 as const };

function machineOf(seed: number): MachineConfig {
  const fuzzer = (n: number): GuestConfig => ({
    ...{ ...base, name: `fuzz${n}`, vcpus: 1 + (n % 3), workload: noWorkload('fuzz') },
    kernel: readKernelFile(FILE, `seed=${seed * FUZZERS + n} vcpus=${1 + (n % 3)}`),
  });
  const still = (name: string): GuestConfig => ({
    ...{ ...base, name, vcpus: 1, workload: noWorkload(name) },
    kernel: { file: name, image: readKernel(STILL), commandLine: '' },
  });
  return {
    ...machineDefaults('modern'),
    ...{ mode, threads, seed, pcpus: PCPUS, memoryMib: 65536, durationNs: DURATION_NS, debug: true },
    // Slices of 30 ms would leave it to chance who gets what of so little time.
    tsliceMs: TSLICE_MS,
    guests: [still('before'), ...Array.from({ length: FUZZERS }, (_, n) => fuzzer(n)), still('behind')],
  } as MachineConfig;
}
const NEIGHBOURS = [1, FUZZERS + 2];

interface Found {
  readonly what: readonly string[];
  readonly isBreakdown: boolean;
  readonly ended: readonly (string | undefined)[];
}

async function fuzz(seed: number): Promise<Found> {
  const machine = await Machine.create(machineOf(seed));
  const hash = (d: number): string => createHash('sha256').update(machine.memoryOf(d)).digest('hex');
  let what: string[] = [];
  try {
    await machine.runUntil(1e6);
    const before = NEIGHBOURS.map(hash);
    const look = (): void => {
      what.push(...machine.verify());
      for (const [n, d] of NEIGHBOURS.entries())
        if (hash(d) !== before[n]) what.push(`the memory of domain ${d} has changed`);
    };
    let isOver = false;
    const running = machine.run().finally(() => {
      isOver = true;
    });
    // A rejection is looked at below.
    running.catch(() => {});
    while (!isOver && what.length === 0) {
      await Promise.race([delay(PAUSE_MS), running]);
      if (isOver) break;
      await machine.pause();
      look();
      await machine.resume();
    }
    const { domains } = await running;
    look();
    for (const d of NEIGHBOURS) {
      const { share, ended } = domains[d - 1]!;
      if (ended !== undefined) what.push(`domain ${d} ended: ${ended}`);
      // There are seven VCPUs that always run, on four pCPUs.
      if (share < (LEAST * PCPUS) / 8) what.push(`domain ${d} had a share of ${share}`);
    }
    return { what, isBreakdown: false, ended: domains.map(({ ended }) => ended) };
  } catch (error) {
    what = [...what, String((error as Error).stack ?? error)];
    return { what, isBreakdown: true, ended: [] };
  } finally {
    await machine.close();
  }
}

const until = performance.now() + minutes * 60e3;
console.log(`first seed ${first}, ${mode} mode, ${threads} threads`);
for (let seed = first; ; seed++) {
  const began = performance.now();
  const { what, isBreakdown, ended } = await fuzz(seed);
  const alive = ended.filter((end) => end === undefined).length;
  console.log(
    `seed ${seed}: ${what.length === 0 ? 'ok' : 'FOUND'}, ${alive} of ${ended.length} domains at its end, ${((performance.now() - began) / 1000).toFixed(1)} s`,
  );
  if (what.length > 0) {
    for (const line of what.slice(0, 20)) console.log(`  ${line}`);
    process.exitCode = isBreakdown ? 3 : 1;
    break;
  }
  if (performance.now() > until) break;
}
