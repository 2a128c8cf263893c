/**
 * `node dist/perf/control-storm.js [--seeds N] [--first SEED] [--ms T] [--pcpus P] [--vcpus V] [--workers W]`: random streams of domain
 * 0's commands (pinning, weights, caps, pauses, VCPUs on and off line, memory, pCPUs on and off line, cpupools, domains that come and
 * go) against a big host, 1,024 VCPUs on 128 pCPUs unless said otherwise. In both modes the machine stands still every few
 * milliseconds and every record is looked at (src/machine/invariants.ts). In ordered mode the hash must be the same with one thread and
 * with W. Exit code 1 when anything was found.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { stringify } from 'yaml';
import { loadScenario } from '../src/config/scenario.js';
import { Machine } from '../src/machine/machine.js';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '3' },
    first: { type: 'string', default: '1' },
    ms: { type: 'string', default: '200' },
    pcpus: { type: 'string', default: '128' },
    vcpus: { type: 'string', default: '1024' },
    workers: { type: 'string', default: '2' },
  },
});
const numbers = [values.seeds, values.first, values.ms, values.pcpus, values.vcpus, values.workers].map(Number);
const [seeds, first, ms, pcpus, vcpus, workers] = numbers as [number, number, number, number, number, number];
const VCPUS_PER_GUEST = 16;
const guests = Math.floor(vcpus / VCPUS_PER_GUEST);
if (!numbers.every((n) => Number.isSafeInteger(n) && n > 0) || guests % 8 !== 0 || pcpus < 4) {
  console.error(
    'usage: control-storm [--seeds N] [--first SEED] [--ms T] [--pcpus P] [--vcpus V] [--workers W]\nP is at least 4, V a multiple of 128',
  );
  process.exit(2);
}

const COMMANDS_PER_MS = 2;
const LOOK_EVERY_NS = 10e6;
const WORKLOADS = [
  { tasks: { mixed: { instance: 2 * VCPUS_PER_GUEST, loop: -1, run: 700, sleep: 900 } } },
  { tasks: { hog: { instance: VCPUS_PER_GUEST, loop: -1, run: 1_000_000 } } },
  { tasks: { meeter: { instance: VCPUS_PER_GUEST, loop: -1, run: 400, barrier: 'b' } } },
  { tasks: { tick: { instance: VCPUS_PER_GUEST, loop: -1, run: 50, timer: { ref: 'unique', period: 3000 } } } },
];

function scenarioOf(seed: number): string {
  const random = xoroshiro128plus(seed);
  const draw = (below: number): number => uniformInt(random, 0, below - 1);
  const [alive, dead] = [new Set<string>(), new Set<string>()];
  for (let n = 0; n < guests; n++) (n % 8 === 7 ? dead : alive).add(`g${n}`);
  const one = (names: ReadonlySet<string>): string => [...names][draw(names.size)]!;
  const guest = (): string => one(alive);
  const create = (): string => {
    const name = one(dead);
    dead.delete(name);
    alive.add(name);
    return `create ${name}`;
  };
  /** Only what is made at run time goes: it can come back. */
  const destroy = (): string => {
    const made = new Set([...alive].filter((name) => Number(name.slice(1)) % 8 === 7));
    if (made.size === 0) return create();
    const name = one(made);
    alive.delete(name);
    dead.add(name);
    return `destroy ${name}`;
  };
  const cpus = (): string => {
    const [a, b] = [draw(pcpus), draw(pcpus)].sort((x, y) => x - y) as [number, number];
    return draw(4) === 0 ? `${a}` : `${a}-${b}`;
  };
  const verbs: readonly (() => string)[] = [
    () => `vcpu-pin ${guest()} ${draw(VCPUS_PER_GUEST)} ${cpus()}`,
    () => `vcpu-pin ${guest()} all ${cpus()} ${cpus()}`,
    () => `vcpu-pin ${guest()} all all all`,
    () => `sched-credit -d ${guest()} -w ${1 + draw(1000)} -c ${draw(3) * 400}`,
    () => `sched-credit -s -t ${1 + draw(30)} -r ${draw(2) * 1000}`,
    () => `pause ${guest()}`,
    () => `unpause ${guest()}`,
    () => `vcpu-set -i ${guest()} ${1 + draw(VCPUS_PER_GUEST)}`,
    () => `mem-set ${guest()} ${32 + draw(32)}m`,
    () => `cpu-offline ${1 + draw(pcpus - 1)}`,
    () => `cpu-online ${1 + draw(pcpus - 1)}`,
    destroy,
    () => (dead.size > 0 ? create() : destroy()),
    () => `cpupool-cpu-remove Pool-0 ${1 + draw(pcpus - 1)}`,
    () => `cpupool-cpu-add other ${1 + draw(pcpus - 1)}`,
    () => `cpupool-cpu-remove other ${1 + draw(pcpus - 1)}`,
    () => `cpupool-cpu-add Pool-0 ${1 + draw(pcpus - 1)}`,
    () => `cpupool-migrate ${guest()} ${draw(2) === 0 ? 'other' : 'Pool-0'}`,
  ];
  return stringify({
    machine: { pcpus, duration: `${ms}ms`, memory: 65536 },
    cpupools: [{ name: 'other', cpus: `${pcpus - 2}-${pcpus - 1}` }],
    dom0: {
      vcpus: 1,
      cpu_weight: 65535,
      cpus: ['0'],
      commands: Array.from({ length: ms * COMMANDS_PER_MS }, (_, n) => ({
        at: `${(n + 1) * (1e6 / COMMANDS_PER_MS)}ns`,
        xl: verbs[draw(verbs.length)]!(),
      })),
    },
    guests: Array.from({ length: guests }, (_, n) => ({
      name: `g${n}`,
      vcpus: VCPUS_PER_GUEST,
      // Domain 0 has a pCPU of its own until a command says otherwise: else most of the stream would come too late.
      cpus: `1-${pcpus - 1}`,
      memory: 64,
      boot: n % 8 !== 7,
      workload: WORKLOADS[n % WORKLOADS.length],
    })),
  });
}

interface Outcome {
  readonly hash: string;
  readonly problems: readonly string[];
  readonly done: number;
  readonly refused: number;
}

async function storm(
  file: string,
  over: { mode: 'ordered' | 'free'; threads: number; seed: number },
): Promise<Outcome> {
  const { config } = loadScenario(file, { ...over, debug: true });
  const machine = await Machine.create(config);
  try {
    const problems: string[] = [];
    for (let at = LOOK_EVERY_NS; at < config.durationNs && problems.length === 0; at += LOOK_EVERY_NS) {
      await machine.runUntil(at);
      problems.push(...machine.verify().map((problem) => `at ${at / 1e6} ms: ${problem}`));
    }
    const running = machine.run();
    await machine.resume();
    const { hash, toolstack = [] } = await running;
    const done = toolstack.filter(({ doneNs }) => doneNs !== undefined);
    const refused = done.filter(({ rc }) => rc !== 0).length;
    return { hash, problems, done: done.length - refused, refused };
  } finally {
    await machine.close();
  }
}

const folder = mkdtempSync(join(tmpdir(), 'ringzero-storm-'));
let failures = 0;
try {
  for (let seed = first; seed < first + seeds; seed++) {
    const file = join(folder, `storm-${seed}.yaml`);
    writeFileSync(file, scenarioOf(seed));
    const alone = await storm(file, { mode: 'ordered', threads: 1, seed });
    const folded = await storm(file, { mode: 'ordered', threads: workers, seed });
    const free = await storm(file, { mode: 'free', threads: workers, seed });
    const problems = [alone, folded, free].flatMap((outcome) => outcome.problems);
    if (alone.hash !== folded.hash) problems.push(`hash ${alone.hash} with 1 thread, ${folded.hash} with ${workers}`);
    const counts = [alone, free].map(({ done, refused }) => `${done} done, ${refused} refused`);
    console.log(`seed ${seed}: ordered ${alone.hash}: ${counts[0]}; free: ${counts[1]}; ${problems.length} wrong`);
    for (const problem of problems.slice(0, 10)) console.log(`  ${problem}`);
    failures += problems.length;
  }
} finally {
  rmSync(folder, { recursive: true });
}
process.exitCode = failures > 0 ? 1 : 0;
