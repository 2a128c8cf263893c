/** `npm run bench`: throughput and single operations, every case in a fresh process and beside a baseline of its own run. */
import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';

interface Throughput {
  readonly pcpus: number;
  readonly vcpus: number;
  readonly threads: number;
  readonly eventsPerSecond: number;
  readonly best: number;
  readonly lean: number;
  readonly startMs: number;
  readonly rssMib: number;
}

function child<T>(script: string, ...args: (number | string)[]): T {
  const path = fileURLToPath(new URL(script, import.meta.url));
  return JSON.parse(execFileSync(process.execPath, [path, ...args.map(String)], { encoding: 'utf8' })) as T;
}

const M = (x: number): string => `${(x / 1e6).toFixed(2)} M/s`;
const line = (...cells: string[]): void => {
  console.log(cells.map((c, n) => (n === 0 ? c.padEnd(48) : c.padStart(13))).join(''));
};

console.log(`${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} cores, Node ${process.version}\n`);
line('scheduler events', 'median', 'best', 'lean loop', 'share of lean');
function throughput(pcpus: number, vcpus: number, threads: number, mode = 'ordered', pools = 1): Throughput {
  const r = child<Throughput>('throughput.js', pcpus, vcpus, threads, mode, pools);
  const how = `${mode === 'free' ? ', free' : ''}${pools > 1 ? `, ${pools} pools` : ''}`;
  const name = `${pcpus} pCPUs, ${vcpus} VCPUs, ${threads} thread${threads === 1 ? '' : 's'}${how}`;
  line(name, M(r.eventsPerSecond), M(r.best), M(r.lean), `${((100 * r.eventsPerSecond) / r.lean).toFixed(1)} %`);
  return r;
}
const small = throughput(4, 16, 1);
const large = throughput(128, 1024, 1);
const perPcpu4 = throughput(4, 16, 4);
const medium = throughput(16, 64, 1);
const perPcpu16 = throughput(16, 64, 16);
const folded = throughput(128, 1024, 2);

/** Free mode on two workers to ordered mode on one thread, in rounds that alternate: the median of the ratios. */
function freeToOrdered(pools: number): number {
  const ratios = [1, 2, 3].map(() => {
    const ordered = throughput(8, 32, 1, 'ordered', pools);
    return throughput(8, 32, 2, 'free', pools).eventsPerSecond / ordered.eventsPerSecond;
  });
  return ratios.toSorted((a, b) => a - b)[1] ?? Number.NaN;
}
const pinned = freeToOrdered(2);
const stealing = freeToOrdered(1);
const groups = child<{ ratio: number; host: number; isSame: boolean }>('groups.js', '--json');
const observer = child<{ cost: number }>('check-cost.js');

console.log();
line('figure', 'measured', 'asked');
line('one thread, 4/16', M(small.eventsPerSecond), '>= 5.00 M/s');
line('one thread, 128/1,024', M(large.eventsPerSecond), '>= 2.50 M/s');
line('cost per event, 128/1,024 to 4/16', `${(small.eventsPerSecond / large.eventsPerSecond).toFixed(2)} x`, '<= 3 x');
line(
  'worker per pCPU to one thread, 4',
  `${((100 * perPcpu4.eventsPerSecond) / small.eventsPerSecond).toFixed(0)} %`,
  '>= 50 %',
);
line(
  'worker per pCPU to one thread, 16',
  `${((100 * perPcpu16.eventsPerSecond) / medium.eventsPerSecond).toFixed(0)} %`,
  '>= 30 %',
);
line(
  'ordered, 2 workers, pinned pools to one thread',
  `${groups.ratio.toFixed(2)} x${groups.isSame ? '' : ', ANOTHER HASH'}`,
  '>= 1.5 x',
);
line('two machines at once to one after the other', `${groups.host.toFixed(2)} x`);
line('free, 2 workers, pinned pools to one thread', `${pinned.toFixed(2)} x`, '>= 1.6 x');
line('free, 2 workers, stealing, to one thread', `${stealing.toFixed(2)} x`, '>= 0.9 x');
line('cost of check-time', `${(100 * observer.cost).toFixed(0)} %`, '<= 10 %');
line('start of 128 pCPUs on 2 workers', `${folded.startMs.toFixed(0)} ms`, '<= 500 ms');
line('memory of 128 pCPUs on 2 workers', `${folded.rssMib.toFixed(0)} MiB`, '<= 256 MiB');

console.log();
line('operation', 'ns (median)');
const micro = child<{ name: string; ns: number }[]>('micro.js');
for (const { name, ns } of micro) console.log(name.padEnd(60) + ns.toFixed(1).padStart(10));
const of = (name: string): number => micro.find((m) => m.name.startsWith(name))?.ns ?? Number.NaN;
console.log(`\ntime read to its raw operations: ${(of('time read') / of('raw: two')).toFixed(2)} x (asked: <= 1.3 x)`);
