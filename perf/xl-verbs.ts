/**
 * How long the verbs of `ringzero xl` take on a loaded machine, from asking at the socket to the answer: 128 pCPUs and 1,024 VCPUs in 64
 * domains, in step with the host's clock. The command's own start, some 0.6 s of Node's, is not in it.
 *
 *   node dist/perf/xl-verbs.js [--rounds 15] [--threads 2] [--domains 64]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ask } from '../src/xl/socket.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    threads: { type: 'string', default: '2' },
    domains: { type: 'string', default: '64' },
  },
});
const VERBS = [
  'list',
  'vcpu-list',
  'vcpu-list g-1',
  'vcpu-pin g-1 0 3',
  'sched-credit',
  'sched-credit -d g-2 -w 512',
  'pause g-3',
  'unpause g-3',
  'vcpu-set -i g-4 8',
  'info',
  'cpupool-list -c',
];
/** Until the machine runs as compiled, ms. */
const SETTLE_MS = 6000;

const folder = mkdtempSync(join(tmpdir(), 'ringzero-'));
const socket = join(folder, 'socket');
const scenario = join(folder, 'loaded.yaml');
writeFileSync(
  scenario,
  `machine: { pcpus: 128, memory: 131072 }
guests:
  - name: g
    instances: ${values.domains}
    vcpus: 16
    memory: 64
    workload: { tasks: { m: { instance: 20, loop: -1, run: 700, sleep: 900 } } }
`,
);
const main = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const up = spawn(process.execPath, [main, 'up', scenario, '--threads', values.threads, '--socket', socket], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
try {
  await once(up.stdout, 'data');
  await delay(SETTLE_MS);
  console.log('verb                            median      p90   host ms');
  for (const verb of VERBS) {
    const took: number[] = [];
    for (let n = 0; n < Number(values.rounds); n++) {
      const from = performance.now();
      const { code, stderr } = await ask(socket, verb.split(' '));
      took.push(performance.now() - from);
      if (code !== 0) throw new Error(`${verb}: ${stderr}`);
    }
    took.sort((a, b) => a - b);
    const at = (q: number): string => took[Math.floor(q * (took.length - 1))]!.toFixed(1).padStart(8);
    console.log(`${verb.padEnd(30)}${at(0.5)} ${at(0.9)}`);
  }
} finally {
  up.kill('SIGINT');
  await once(up, 'exit');
  rmSync(folder, { recursive: true, force: true });
}
