/**
 * Two domains of machine code with nothing in common, on two workers against one, in ordered mode (of two latencies) and in free mode, in
 * rounds that alternate within one process, so that a slow moment of the host hits all. Beside it, what the host gives at that moment:
 * two machines of one domain each, that know nothing of each other, at the same time against one after the other.
 *
 * Then, in free mode, what a LOCK INC costs whose word two VCPUs want, on two workers and on one, and one VCPU alone.
 *
 *   node dist/perf/x86-parallel.js [--rounds 9] [--kernel fib]
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
  options: { rounds: { type: 'string', default: '9' }, kernel: { type: 'string', default: 'fib' } },
});
const rounds = Number(values.rounds);
if (!Number.isSafeInteger(rounds) || rounds < 1) {
  console.error('usage: x86-parallel [--rounds N] [--kernel NAME]');
  process.exit(2);
}
/** Rounds before anything is measured: code is found, and compiled. */
const WARM_UP = 8;
/** Of simulated time: so many instructions of each domain. */
const STEP_NS = 50e6;
const LOCK_STEP_NS = 5e6;

const folder = mkdtempSync(join(tmpdir(), 'x86-parallel-'));
execFileSync(fileURLToPath(new URL('../../perf/x86/build.sh', import.meta.url)), [folder], { stdio: 'inherit' });
const file = join(folder, 'bench.elf');
const kernel = readKernelFile(file, `div=1 only=${values.kernel}`);
const contend = [1, 2].map((vcpus) => readKernelFile(join(folder, 'contend.elf'), String(vcpus)));
rmSync(folder, { recursive: true });

function make(domains: number, over: Partial<MachineConfig> = {}): Promise<Machine> {
  const guests = Array.from({ length: domains }, (_, n) => ({
    ...{ name: `d${n}`, vcpus: 1, memoryMib: 16, weight: 256, cap: 0, cpus: [[n]], cpusSoft: [], abi: 64 as const },
    workload: noWorkload(file),
    kernel,
  }));
  const durationNs = (WARM_UP + rounds + 1) * STEP_NS;
  return Machine.create({ ...machineDefaults('modern'), pcpus: domains, threads: 1, durationNs, guests, ...over });
}

/** A machine whose VCPUs all want one word. */
function makeContended(vcpus: 1 | 2, threads: number): Promise<Machine> {
  const guest = {
    name: 'contend',
    vcpus,
    memoryMib: 16,
    weight: 256,
    cap: 0,
    cpus: [[0], [1]].slice(0, vcpus),
    cpusSoft: [],
  };
  const guests = [{ ...guest, abi: 64 as const, workload: noWorkload(file), kernel: contend[vcpus - 1]! }];
  const durationNs = (WARM_UP + rounds + 1) * LOCK_STEP_NS;
  return Machine.create({ ...machineDefaults('modern'), mode: 'free', pcpus: vcpus, threads, durationNs, guests });
}

interface Pair {
  readonly name: string;
  readonly one: Machine;
  readonly two: Machine;
  readonly ratios: number[];
}

async function pair(name: string, over: Partial<MachineConfig>): Promise<Pair> {
  return { name, one: await make(2, over), two: await make(2, { ...over, threads: 2 }), ratios: [] };
}

async function msOf(act: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await act();
  return performance.now() - began;
}

const median = (xs: readonly number[]): number => xs.toSorted((a, b) => a - b)[xs.length >> 1] ?? Number.NaN;
const pairs = [
  await pair('ordered, L = 2 us', {}),
  await pair('ordered, L = 50 us', { latencyNs: 50_000 }),
  await pair('free', { mode: 'free' }),
];
const [left, right] = [await make(1), await make(1)];
const host: number[] = [];
const mips: number[] = [];
for (let n = 1; n <= WARM_UP + rounds; n++) {
  const until = n * STEP_NS;
  const mid = until - STEP_NS / 2;
  const apart = (await msOf(() => left.runUntil(mid))) + (await msOf(() => right.runUntil(mid)));
  const together = await msOf(() => Promise.all([left.runUntil(until), right.runUntil(until)]));
  for (const { one, two, ratios } of pairs) {
    const a = await msOf(() => one.runUntil(until));
    const b = await msOf(() => two.runUntil(until));
    if (n <= WARM_UP) continue;
    ratios.push(a / b);
    mips.push((2 * STEP_NS) / a / 1e3);
  }
  if (n > WARM_UP) host.push(apart / together);
}
console.log(
  `two domains of ${values.kernel}, ${rounds} rounds of ${STEP_NS / 1e6} million instructions each; medians (least, most)`,
);
const row = (name: string, xs: readonly number[]): void =>
  console.log(
    `${name.padEnd(44)} ${median(xs).toFixed(2)} x  (${Math.min(...xs).toFixed(2)}, ${Math.max(...xs).toFixed(2)})`,
  );
row('two machines, together against one by one', host);
for (const { name, ratios } of pairs) row(`two workers against one, ${name}`, ratios);
console.log(`one worker: ${median(mips).toFixed(0)} million instructions a second`);

const locks = [
  { name: 'one VCPU', machine: await makeContended(1, 1), ns: [] as number[] },
  { name: 'two VCPUs on one worker', machine: await makeContended(2, 1), ns: [] as number[] },
  { name: 'two VCPUs on two workers', machine: await makeContended(2, 2), ns: [] as number[] },
];
for (let n = 1; n <= WARM_UP + rounds; n++) {
  for (const { machine, ns } of locks) {
    const ms = await msOf(() => machine.runUntil(n * LOCK_STEP_NS));
    // An instruction takes a nanosecond of simulated time on each pCPU; nearly all of them are LOCK INC.
    if (n > WARM_UP) ns.push((ms * 1e6) / LOCK_STEP_NS);
  }
}
console.log('LOCK INC of one word, free mode: ns from one to the next of a VCPU');
for (const { name, ns } of locks)
  console.log(
    `${name.padEnd(44)} ${median(ns).toFixed(1)}  (${Math.min(...ns).toFixed(1)}, ${Math.max(...ns).toFixed(1)})`,
  );
await Promise.all(locks.map(({ machine }) => machine.close()));
await Promise.all([left, right, ...pairs.flatMap(({ one, two }) => [one, two])].map((machine) => machine.close()));
