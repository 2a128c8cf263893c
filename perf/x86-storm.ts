/**
 * `node dist/perf/x86-storm.js [--seeds A-B] [--threads 1,2,4]`: random machines of kernels (the benchmark's, pairs that send each other
 * events, several VCPUs that count) beside workloads, of random latency, cycle rate, profile and number of pCPUs. Hash, consoles and
 * virtual times must be the same for any number of threads. Prints a line for each seed; exit code 1 when anything differed.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { noWorkload, readKernelFile } from '../src/config/kernel-file.js';
import { type GuestConfig, type MachineConfig, machineDefaults } from '../src/machine/config.js';
import { Machine } from '../src/machine/machine.js';
import { parseRtApp } from '../src/workload/rt-app.js';
import { KERNELS } from './x86/kernels-table.js';

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '1-10' }, threads: { type: 'string', default: '1,2,4' } },
});
const [first, last] = values.seeds.split('-').map(Number) as [number, number?];
const threads = values.threads.split(',').map(Number);
if (![first, last ?? first, ...threads].every((n) => Number.isSafeInteger(n) && n > 0)) {
  console.error('usage: x86-storm [--seeds A-B] [--threads N,N]');
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'x86-storm-'));

function machineOf(seed: number): MachineConfig {
  const random = xoroshiro128plus(seed);
  const draw = (below: number): number => uniformInt(random, 0, below - 1);
  const pick = <T>(all: readonly T[]): T => all[draw(all.length)]!;
  const pcpus = 1 + draw(5);
  const guests: GuestConfig[] = [];
  const base = { vcpus: 1, memoryMib: 16, cap: 0, cpus: [], cpusSoft: [], abi: 64 as const };
  const kernel = (file: string, commandLine: string, vcpus = 1): void => {
    const name = `${file}${guests.length + 1}`;
    guests.push({
      ...{ ...base, name, vcpus, weight: 1 + draw(500), workload: noWorkload(name) },
      kernel: readKernelFile(join(folder, `${file}.elf`), commandLine),
    });
  };
  for (let n = 1 + draw(4); n > 0; n--) {
    const kind = draw(4);
    // Domain numbers begin with 1.
    const next = guests.length + 1;
    if (kind === 0) kernel('smp', `${1 + draw(3)}`, 4);
    else if (kind === 1) {
      const rounds = 20 + draw(500);
      kernel('pong', `role=0 peer=${next + 1} rounds=${rounds}`);
      kernel('pong', `role=1 peer=${next} rounds=${rounds}`);
    } else kernel('bench', `div=${10 ** (3 + draw(3))} only=${pick(KERNELS)}`);
  }
  for (let n = draw(3); n > 0; n--) {
    const task = { instance: 1 + draw(4), loop: -1, run: 1 + draw(300), sleep: 1 + draw(300) };
    const workload = parseRtApp(JSON.stringify({ tasks: { task }, global: {} }), 'task.json');
    guests.push({ ...base, name: `work${n}`, vcpus: 1 + draw(3), memoryMib: 64, weight: 256, workload });
  }
  const profile = pick(['modern', 'classic'] as const);
  const cycleHz = pick([3e6, 1e8, 1e9, 2.4e9]);
  return {
    ...{ ...machineDefaults(profile), profile, pcpus, threads: 1, guests, seed, cycleHz },
    ...{ memoryMib: 65536, latencyNs: pick([50, 300, 2000, 20_000]) },
    durationNs: Math.round((1 + draw(20)) * 2e5 * Math.max(1, 1e8 / cycleHz)),
  };
}

async function found(config: MachineConfig): Promise<string> {
  const machine = await Machine.create(config);
  try {
    const { hash, outcome, simulatedNs, domains } = await machine.run();
    const of = domains.map(({ name, console: said, ended, virtualTimeNs }) => [name, said, ended, virtualTimeNs]);
    return JSON.stringify({ hash, outcome, simulatedNs, of });
  } finally {
    await machine.close();
  }
}

try {
  execFileSync(join(fileURLToPath(new URL('../../perf/x86/', import.meta.url)), 'build.sh'), [folder]);
  readFileSync(join(folder, 'bench.elf'));
  let differing = 0;
  for (let seed = first; seed <= (last ?? first); seed++) {
    const config = machineOf(seed);
    const began = performance.now();
    const results: string[] = [];
    for (const n of threads.filter((k) => k <= config.pcpus)) results.push(await found({ ...config, threads: n }));
    const isSame = results.every((result) => result === results[0]);
    if (!isSame) differing++;
    const { pcpus, profile, latencyNs, cycleHz, guests } = config;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    console.log(
      `${seed} ${isSame ? 'same' : 'DIFFERS'} ${results.length} runs, ${pcpus} pCPUs, ${profile}, ${latencyNs} ns, ${cycleHz} Hz, ` +
        `${guests.map(({ name }) => name).join(' ')}, ${seconds} s`,
    );
    if (!isSame) for (const result of results) console.log(`  ${result}`);
  }
  process.exitCode = differing === 0 ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true });
}
