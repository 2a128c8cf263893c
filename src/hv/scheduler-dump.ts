/** The debug key `r`: the run queues of the scheduler on the console ring, in the form of Xen's dump_runq. */
import { NONE } from '../shared/list.js';
import type { ConsoleRing } from './console-ring.js';
import type { HvContext } from './context.js';
import type { Cpupools } from './cpupool.js';
import type { SchedulerOps } from './sched/interface.js';
import type { Scheduler } from './schedule.js';
import type { TimeKeeping } from './time.js';

/** What Xen calls its policies, with the name that `sched=` knows them by. */
export const SCHEDULER_NAMES: Readonly<Record<string, string>> = {
  credit: 'SMP Credit Scheduler (credit)',
  credit2: 'SMP Credit Scheduler rev2 (credit2)',
  sedf: 'Simple EDF Scheduler (sedf)',
  rtds: 'SMP RTDS Scheduler (rtds)',
  null: 'null Scheduler (null)',
};

/** pCPU numbers as `%*pbl` prints them: `0-3,5`. */
export function cpuRanges(cpus: readonly number[]): string {
  const ranges: string[] = [];
  for (let k = 0; k < cpus.length; k++) {
    const first = cpus[k]!;
    while (cpus[k + 1] === cpus[k]! + 1) k++;
    ranges.push(cpus[k] === first ? `${first}` : `${first}-${cpus[k]}`);
  }
  return ranges.join(',');
}

export interface DumpParts {
  readonly sched: Scheduler;
  readonly time: TimeKeeping;
  readonly console: ConsoleRing;
  readonly cpupools: Cpupools;
}

/** Queues are looked at one by one, each under its lock: the whole is of no one moment, as in Xen. */
export function dumpRunQueues(hv: HvContext, { sched, time, console, cpupools }: DumpParts): void {
  const { domain, vcpu, pcpu, queues, locks, machine, params, shape, me, isIdle } = hv;
  const { list, runq } = queues;
  const self = machine.turnOf(me);
  const online = Array.from({ length: shape.pcpus }, (_, p) => p).filter(queues.isOnline);
  const nameOf = (v: number): string =>
    isIdle(v) ? `d[IDLE]v${vcpu.id(v)}` : `d${domain.id(vcpu.domain(v))}v${vcpu.id(v)}`;

  /** For policies that have no lines of their own. */
  function plainLines(p: number): string[] {
    const lines = [`CPU[${`${p}`.padStart(2, '0')}] nr_run=${runq.nrRunnable(p)}`];
    for (let v = list.first(p), n = 1; v !== NONE; v = list.next(v), n++) {
      lines.push(`\t${`${n}`.padStart(3)}: ${nameOf(v)}`);
    }
    return lines;
  }

  const say = (lines: readonly string[]): void => lines.forEach(console.print);
  const cpuLines = (ops: SchedulerOps, p: number): void => {
    locks.acquire(hv.lockOf(p), self);
    const current = nameOf(pcpu.current(p));
    say([
      `CPU[${`${p}`.padStart(2, '0')}] current=${current}, curr=${current}, prev=NULL`,
      ...(ops.dumpPcpu?.(p) ?? plainLines(p)),
    ]);
    locks.release(hv.lockOf(p), self);
  };

  say([
    `sched_smt_power_savings: ${params.smtPowerSavings ? 'enabled' : 'disabled'}`,
    `NOW=${Math.floor(time.systemTime(self))}`,
    `Online Cpus: ${cpuRanges(online)}`,
  ]);
  for (let pool = cpupools.info(0); pool !== undefined; pool = cpupools.info(pool.id + 1)) {
    const ops = sched.poolOps(pool.id);
    const cpus = pool.cpus.filter(queues.isOnline);
    say([
      `Cpupool ${pool.id}:`,
      `Cpus: ${cpuRanges(cpus)}`,
      'Scheduling granularity: cpu, 1 CPU per sched-resource',
      `Scheduler: ${SCHEDULER_NAMES[ops.name] ?? ops.name}`,
      ...(ops.dumpGlobal?.() ?? [ops.dumpSettings()]),
      'CPUs info:',
    ]);
    for (const p of cpus) cpuLines(ops, p);
  }
}
