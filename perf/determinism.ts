/**
 * `npm run determinism`: every example with 1, 2, 4 threads and one worker per pCPU, many runs each, first on an idle
 * host and then beside busy loops; the test kernel; where there is gcc, a machine with guests of machine code; and where it is installed, Debian's
 * GRUB, at whose console something is typed. One hash must come out. Prints a table; exit code 1 on any mismatch.
 *
 *   node dist/perf/determinism.js [--runs 20] [--busy LOOPS] [--only NAME]
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { loadKernel } from '../src/config/boot-scenario.js';
import { loadScenario } from '../src/config/scenario.js';
import type { MachineConfig } from '../src/machine/config.js';
import { Machine } from '../src/machine/machine.js';

const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));
/** Keeps one core busy with changing bursts, so that workers are preempted at ever different places. */
const BUSY_LOOP = `
  const word = new Int32Array(new SharedArrayBuffer(4));
  for (let n = 0; ; n++) {
    for (let end = performance.now() + (n * 7) % 23; performance.now() < end; );
    Atomics.wait(word, 0, 0, n % 3);
  }`;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20' },
    busy: { type: 'string', default: String(2 * availableParallelism()) },
    only: { type: 'string', default: '' },
  },
});
const runs = Number(values.runs);
const busyLoops = Number(values.busy);
if (!Number.isSafeInteger(runs) || runs < 1 || !Number.isSafeInteger(busyLoops) || busyLoops < 0) {
  console.error('usage: determinism [--runs N] [--busy LOOPS] [--only NAME]');
  process.exit(2);
}

async function hashOf(config: MachineConfig, typed: string | undefined): Promise<string> {
  const machine = await Machine.create(config);
  try {
    if (typed !== undefined) await machine.type(0, new TextEncoder().encode(typed));
    const { hash, outcome, simulatedNs } = await machine.run();
    // A run that ends early would agree with itself, too.
    return `${hash} ${outcome} ${simulatedNs}`;
  } finally {
    await machine.close();
  }
}

interface Example {
  readonly name: string;
  readonly config: MachineConfig;
  /** 1, 2, 4 and one per pCPU, as far as there are pCPUs. */
  readonly threads: readonly number[];
  /** At the console of its first kernel, from the beginning. */
  readonly typed?: string;
}

function exampleOf(name: string, config: MachineConfig, typed?: string): Example {
  const threads = [...new Set([1, 2, 4, config.pcpus])].filter((n) => n <= config.pcpus).sort((a, b) => a - b);
  return { name, config, threads, ...(typed !== undefined && { typed }) };
}

/** Of Debian's package grub-xen-host. */
const GRUB = '/usr/lib/grub-xen/grub-x86_64-xen.bin';
const TYPED = 'echo hello\nhelp\nxen_ls\nhalt\n';

function booted(): Example[] {
  const testKernel = fileURLToPath(new URL('../../guests/test-kernel/test-kernel.elf', import.meta.url));
  const boot = (file: string, memoryMib: number, commandLine = ''): MachineConfig =>
    loadKernel(file, { memoryMib, commandLine }, { pcpus: 4 }).config;
  const all = [exampleOf('test-kernel', boot(testKernel, 16, 'vcpus=4'))];
  if (existsSync(GRUB)) all.push(exampleOf('grub', boot(GRUB, 64), TYPED));
  return all;
}

/** VCPUs of one domain that count under a lock, two domains that send each other events, two that compute, and a workload. */
const MACHINE_CODE = `
machine: { pcpus: 4, duration: 30ms, seed: 3 }
guests:
  - { name: smp, kernel: smp.elf, cmdline: "3", vcpus: 3, memory: 16 }
  - { name: ping, kernel: pong.elf, cmdline: "role=0 peer=3 rounds=300", memory: 16 }
  - { name: pong, kernel: pong.elf, cmdline: "role=1 peer=2 rounds=300", memory: 16 }
  - { name: fib, kernel: bench.elf, cmdline: "div=100 only=fib", memory: 16 }
  - { name: qsort, kernel: bench.elf, cmdline: "div=100 only=qsort", memory: 16 }
  - { name: web, workload: web.json, vcpus: 2, memory: 16 }
`;
const WEB = { tasks: { w: { instance: 3, loop: -1, run: 300, sleep: 500 } }, global: {} };

function machineCode(): Example[] {
  const folder = mkdtempSync(join(tmpdir(), 'determinism-'));
  try {
    execFileSync(fileURLToPath(new URL('../../perf/x86/build.sh', import.meta.url)), [folder]);
    writeFileSync(join(folder, 'web.json'), JSON.stringify(WEB));
    writeFileSync(join(folder, 'machine-code.yaml'), MACHINE_CODE);
    return [exampleOf('machine-code', loadScenario(join(folder, 'machine-code.yaml')).config)];
  } catch (error) {
    // Of build.sh: there is no compiler.
    if ((error as { status?: number }).status === 77) return [];
    throw error;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const examples: Example[] = readdirSync(EXAMPLES)
  .filter((name) => name.endsWith('.yaml'))
  .map((name) => exampleOf(name, loadScenario(join(EXAMPLES, name)).config))
  .concat(booted(), machineCode())
  .filter(({ name }) => name.includes(values.only));

const wanted = new Map<string, string>();
let mismatches = 0;

/** Runs one example on one number of threads; prints a row. */
async function row(host: string, { name, config, typed }: Example, threads: number): Promise<void> {
  const began = performance.now();
  let differing = 0;
  for (let run = 0; run < runs; run++) {
    const hash = await hashOf({ ...config, threads }, typed);
    const first = wanted.get(name) ?? hash;
    wanted.set(name, first);
    if (hash !== first) differing++;
  }
  mismatches += differing;
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const verdict = differing === 0 ? 'same' : `${differing} DIFFER`;
  const hash = wanted.get(name)?.slice(0, 16) ?? '';
  console.log(
    `${name.padEnd(28)} ${host.padEnd(5)} ${String(threads).padStart(7)} ${String(runs).padStart(5)}  ${hash}  ${verdict.padEnd(10)} ${seconds.padStart(6)} s`,
  );
}

console.log(`${'example'.padEnd(28)} host  threads  runs  ${'trace hash'.padEnd(16)}  result       time`);
for (const host of ['idle', 'busy']) {
  const loops = host === 'busy' ? Array.from({ length: busyLoops }, () => new Worker(BUSY_LOOP, { eval: true })) : [];
  try {
    for (const example of examples) for (const threads of example.threads) await row(host, example, threads);
  } finally {
    await Promise.all(loops.map((loop) => loop.terminate()));
  }
}
console.log(mismatches === 0 ? 'one hash for every example' : `${mismatches} runs gave another hash`);
process.exitCode = mismatches === 0 ? 0 : 1;
