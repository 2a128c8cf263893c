/**
 * Two domains of machine code with nothing in common, on two workers against one, in ordered mode (of two latencies) and in free mode.
 * Beside it, what the host gives: two processes of one domain each, at the same time against one after the other. Every case runs in a
 * process of its own, and rounds of all cases alternate, so that a slow moment of the host hits all; a round's ratio is that of its cases.
 *
 *   node dist/perf/x86-parallel.js [--rounds 5] [--kernel fib]
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { noWorkload, readKernelFile } from '../src/config/kernel-file.js';
import { type MachineConfig, machineDefaults } from '../src/machine/config.js';
import { Machine } from '../src/machine/machine.js';

/** Of simulated time: before anything is measured, code is found and compiled; and what is measured. */
const WARM_UP_NS = 500e6;
const MEASURED_NS = 600e6;

/** One case: so many domains of a kernel, on so many workers. */
interface Case {
  readonly domains: number;
  readonly threads: number;
  readonly mode: MachineConfig['mode'];
  readonly latencyNs: number;
  readonly file: string;
  readonly cmdline: string;
}

interface Measured {
  readonly ms: number;
  /** Of what was done up to the end; equal for equal domains in ordered mode. */
  readonly hash: string;
}

async function measure(of: Case): Promise<Measured> {
  const kernel = readKernelFile(of.file, of.cmdline);
  const guests = Array.from({ length: of.domains }, (_, n) => ({
    ...{ name: `d${n}`, vcpus: 1, memoryMib: 16, weight: 256, cap: 0, cpusSoft: [], abi: 64 as const },
    cpus: [[n]],
    workload: noWorkload(of.file),
    kernel,
  }));
  const { threads, mode, latencyNs } = of;
  const durationNs = WARM_UP_NS + MEASURED_NS;
  const over = { pcpus: of.domains, threads, mode, latencyNs, durationNs, guests };
  const machine = await Machine.create({ ...machineDefaults('modern'), ...over });
  try {
    const ended = machine.run();
    await machine.runUntil(WARM_UP_NS);
    const began = performance.now();
    await machine.resume();
    const { hash } = await ended;
    return { ms: performance.now() - began, hash };
  } finally {
    await machine.close();
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '5' }, kernel: { type: 'string', default: 'fib' } },
});

async function inProcess(of: Case): Promise<Measured> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    fileURLToPath(import.meta.url),
    'case',
    JSON.stringify(of),
  ]);
  return JSON.parse(stdout) as Measured;
}

const median = (xs: readonly number[]): number => xs.toSorted((a, b) => a - b)[xs.length >> 1] ?? Number.NaN;
const row = (name: string, xs: readonly number[], unit: string, digits: number): void =>
  console.log(
    `${name.padEnd(44)} ${median(xs).toFixed(digits)} ${unit}  (${Math.min(...xs).toFixed(digits)}, ${Math.max(...xs).toFixed(digits)})`,
  );

async function table(rounds: number, kernel: string, folder: string): Promise<boolean> {
  const file = join(folder, 'bench.elf');
  const two = { domains: 2, file, cmdline: `div=1 only=${kernel}` };
  const alone: Case = { ...two, domains: 1, threads: 1, mode: 'ordered', latencyNs: 2000 };
  const cases = [
    { name: 'ordered, L = 2 us', mode: 'ordered', latencyNs: 2000 },
    { name: 'ordered, L = 50 us', mode: 'ordered', latencyNs: 50_000 },
    { name: 'free', mode: 'free', latencyNs: 2000 },
  ] as const;
  const ratios: number[][] = cases.map(() => []);
  const [host, mips]: [number[], number[]] = [[], []];
  let isSame = true;
  for (let n = 0; n < rounds; n++) {
    const apart = (await inProcess(alone)).ms + (await inProcess(alone)).ms;
    const together = await Promise.all([inProcess(alone), inProcess(alone)]);
    host.push(apart / Math.max(...together.map(({ ms }) => ms)));
    for (const [k, { mode, latencyNs }] of cases.entries()) {
      const [one, both] = [
        await inProcess({ ...two, mode, latencyNs, threads: 1 }),
        await inProcess({ ...two, mode, latencyNs, threads: 2 }),
      ];
      ratios[k]!.push(one.ms / both.ms);
      mips.push((2 * MEASURED_NS) / one.ms / 1e3);
      if (mode === 'ordered' && one.hash !== both.hash) isSame = false;
    }
  }
  console.log(`two domains of ${kernel}, ${rounds} rounds of ${MEASURED_NS / 1e6} million instructions of each`);
  console.log('medians (least, most)');
  row('two processes, together against one by one', host, 'x', 2);
  for (const [k, { name }] of cases.entries()) row(`two workers against one, ${name}`, ratios[k]!, 'x', 2);
  row('one worker, million instructions a second', mips, '', 0);
  console.log(isSame ? 'ordered mode: one hash for one worker and two' : 'ordered mode: HASHES DIFFER');
  return isSame;
}

if (positionals[0] === 'case') {
  console.log(JSON.stringify(await measure(JSON.parse(positionals[1]!) as Case)));
} else {
  const rounds = Number(values.rounds);
  if (!Number.isSafeInteger(rounds) || rounds < 1 || positionals.length > 0) {
    console.error('usage: x86-parallel [--rounds N] [--kernel NAME]');
    process.exit(2);
  }
  const folder = mkdtempSync(join(tmpdir(), 'x86-parallel-'));
  try {
    execFileSync(fileURLToPath(new URL('../../perf/x86/build.sh', import.meta.url)), [folder], { stdio: 'inherit' });
    process.exitCode = (await table(rounds, values.kernel, folder)) ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
