/**
 * `npm run determinism`: every example with 1, 2, 4 threads and one worker per pCPU, many runs each, first on an idle
 * host and then beside busy loops. One hash must come out. Prints a table; exit code 1 on any mismatch.
 *
 *   node dist/perf/determinism.js [--runs 20] [--busy LOOPS] [--only NAME]
 */
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
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

async function hashOf(config: MachineConfig): Promise<string> {
  const machine = await Machine.create(config);
  try {
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
}

const examples: Example[] = readdirSync(EXAMPLES)
  .filter((name) => name.endsWith('.yaml') && name.includes(values.only))
  .map((name) => {
    const { config } = loadScenario(join(EXAMPLES, name));
    const threads = [...new Set([1, 2, 4, config.pcpus])].filter((n) => n <= config.pcpus).sort((a, b) => a - b);
    return { name, config, threads };
  });

const wanted = new Map<string, string>();
let mismatches = 0;

/** Runs one example on one number of threads; prints a row. */
async function row(host: string, { name, config }: Example, threads: number): Promise<void> {
  const began = performance.now();
  let differing = 0;
  for (let run = 0; run < runs; run++) {
    const hash = await hashOf({ ...config, threads });
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
