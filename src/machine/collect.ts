/** Reads a finished (or stopped) machine's numbers out of the image. */

import { privateLock, runqLock } from '../hv/context.js';
import { CRASH_TEXT } from '../hv/domain.js';
import { consoleText } from '../hv/guest-console.js';
import { LOCK_TIME } from '../hv/lock-time.js';
import { PERFC, PERFC_NAMES } from '../hv/perfc.js';
import { DOMAIN_STATE, XEN_CONSOLE_BYTES } from '../hv/records.js';
import { WARMTH_PCPU, WARMTH_VCPU } from '../hv/warmth.js';
import { CONTROL, OUTCOME } from '../pcpu/control-records.js';
import { modelMemory } from '../pcpu/model/memory.js';
import { LOG_FIELDS, TASK_STATE } from '../pcpu/model/records.js';
import type { LockCounts } from '../shared/spinlock.js';
import { traceHash } from '../shared/trace-ring.js';
import type { WorkloadTask } from '../workload/workload.js';
import type { BuiltMachine } from './build.js';
import { collectDevices } from './collect-devices.js';
import { latencyOf } from './collect-latency.js';
import { requestResults } from './collect-requests.js';
import { collectTime } from './collect-time.js';
import { collectTools } from './collect-tools.js';
import { domainNumber, type GuestConfig, type MachineConfig } from './config.js';
import { type CpupoolView, poolViews } from './cpupools.js';
import { endOf } from './end-of-run.js';
import { fairShares, jainIndex } from './fair-share.js';
import { forkLimits } from './fork-limits.js';
import {
  type CpupoolResult,
  type DomainResult,
  type LockResult,
  type PcpuResult,
  RESULT_SCHEMA,
  type RunResult,
  type RunstateResult,
  type TaskLogLine,
  type TaskResult,
  type VcpuResult,
} from './result.js';

const RUNSTATE_NAMES = ['running', 'runnable', 'blocked', 'offline'] as const;
const SHUTDOWN_TEXT = ['poweroff', 'reboot', 'suspend', 'crash', 'watchdog', 'soft reset'] as const;

/**
 * The fraction of the time a VCPU would run if it had a pCPU to itself: of the time it was free to choose, what it did not
 * sleep. Time it waited or was parked says nothing about what it wanted.
 */
function demandOf({ running, runnable, blocked }: RunstateResult): number {
  if (running + blocked > 0) return running / (running + blocked);
  return runnable > 0 ? 1 : 0;
}

export interface HostTimes {
  readonly startMs: number;
  readonly runMs: number;
}

function lastWords({ console }: BuiltMachine['core']['hv']): string {
  const out = new Uint8Array(XEN_CONSOLE_BYTES);
  const { count } = console.read(out, undefined, false);
  return new TextDecoder().decode(out.subarray(0, count));
}

export function collect(built: BuiltMachine, config: MachineConfig, host: HostTimes): RunResult {
  const { image, core, shape } = built;
  const { hv } = core;
  const isFree = built.params.hv.free !== undefined;
  const { machine, pcpu, vcpu, domain, perfc, isIdle } = hv.context;
  const mem = modelMemory(image, hv);
  const elapsed = endOf(built);
  const warm = config.cache && { vcpu: image.table(WARMTH_VCPU), pcpu: image.table(WARMTH_PCPU) };

  function vcpuResult(v: number): VcpuResult {
    const [running, runnable, blocked, offline] = [0, 1, 2, 3].map((k) => hv.runstates.timeIn(v, k, elapsed));
    return {
      id: vcpu.id(v),
      state: RUNSTATE_NAMES[vcpu.runstate(v)] ?? 'offline',
      runstate: { running: running!, runnable: runnable!, blocked: blocked!, offline: offline! },
      switches: vcpu.switches(v),
      migrations: vcpu.migrations(v),
    };
  }

  const privateLocks = Array.from({ length: shape.hv.pools }, (_, k) => privateLock(k));
  const runqLocks = Array.from({ length: config.pcpus }, (_, p) => runqLock(p));
  function lockResult(lock: LockResult['lock'], numbers: readonly number[]): LockResult {
    const time = image.table(LOCK_TIME);
    const sum = (of: (n: number) => number): number => numbers.map(of).reduce((a, b) => a + b, 0);
    // In free mode what really happened, in ordered mode what would in the simulated time that locks are held.
    const real = (of: (counts: LockCounts) => number): number => sum((n) => of(hv.context.locks.counts(n)));
    return {
      lock,
      acquired: isFree ? real(({ taken }) => taken) : sum(time.acquired),
      contended: isFree ? real(({ waited }) => waited) : sum(time.contended),
      waitedNs: sum(time.waitedNs),
      tryFailed: isFree ? real(({ failed }) => failed) : sum(time.tryFailed),
    };
  }

  function taskLog(t: number): TaskLogLine[] {
    const lines = config.taskLogLines;
    const logged = mem.task.logged(t);
    const base = image.region('task-log').base >> 3;
    const result: TaskLogLine[] = [];
    for (let n = Math.max(0, logged - lines); n < logged; n++) {
      const w = base + (t * lines + (n % lines)) * LOG_FIELDS;
      // rt-app prints microseconds, rounded. No negative zeros.
      const [idx, perf, run, period, start, end, rel_st, slack, c_duration, c_period, wu_lat] = Array.from(
        image.f64.subarray(w, w + LOG_FIELDS),
        (us) => Math.round(us) + 0,
      ) as [number, number, number, number, number, number, number, number, number, number, number];
      result.push({ idx, perf, run, period, start, end, rel_st, slack, c_duration, c_period, wu_lat });
    }
    return result;
  }

  function taskState(t: number): TaskResult['state'] {
    switch (mem.task.state(t)) {
      case TASK_STATE.waiting:
        return 'waiting';
      case TASK_STATE.exited:
        return 'exited';
      case TASK_STATE.runnable:
        return 'runnable';
      default:
        return 'sleeping';
    }
  }

  function taskResults(d: number, guest: GuestConfig): TaskResult[] {
    const results: TaskResult[] = [];
    let t = mem.kd.firstTask(d);
    const add = (spec: WorkloadTask, n: number, forked?: TaskResult['forked']): void => {
      results.push({
        name: `${spec.name}-${n}`,
        ...(forked && { forked }),
        policy: spec.policy,
        priority: spec.priority,
        state: taskState(t),
        workNs: mem.task.work(t),
        loops: mem.task.loops(t),
        log: taskLog(t),
      });
    };
    const { tasks } = guest.workload;
    for (const spec of tasks) for (let n = 0; n < spec.instance; n++, t++) add(spec, n);
    const limits = forkLimits(guest.workload);
    for (const spec of tasks) {
      for (let n = 0; n < (limits.get(spec.name) ?? 0); n++, t++) {
        if (mem.task.state(t) === TASK_STATE.unborn) continue;
        add(spec, spec.instance + n, { index: mem.taskSched.index(t), number: n });
      }
    }
    return results;
  }

  /** Domain 0 may have destroyed it; the record may be another's by now. */
  const exists = (d: number): boolean => domain.state(d) !== DOMAIN_STATE.free && domain.id(d) === d;

  function ended(d: number): string | undefined {
    if (!exists(d)) return 'it is not there';
    if (domain.isShutDown(d) === 0) return undefined;
    const reason = CRASH_TEXT[domain.crashReason(d)];
    return reason ? `crash: ${reason}` : SHUTDOWN_TEXT[domain.shutdownCode(d)];
  }

  const requests = requestResults(built, config.guests);
  const vcpusOf = config.guests.map((_guest, n) => {
    const d = domainNumber(config.guests, n);
    const count = exists(d) ? domain.maxVcpus(d) : 0;
    return Array.from({ length: count }, (_, k) => vcpuResult(domain.firstVcpu(d) + k));
  });
  // Domain 0's script may have named pools, too.
  const scriptNames = new Map(config.toolstack?.poolNames);
  const views = poolViews(built).map((pool) => ({ ...pool, name: scriptNames.get(pool.id) ?? pool.name }));
  /** Guests whose domains are in a pool; those that are not there are in none. */
  const guestsOf = (pool: CpupoolView): number[] =>
    config.guests
      .map((_, n) => n)
      .filter((n) => {
        const d = domainNumber(config.guests, n);
        return exists(d) && domain.pool(d) === pool.id;
      });
  /** Each pool is shared by its own domains. */
  const fair: number[] = [];
  for (const pool of views) {
    const members = guestsOf(pool);
    const shares = fairShares(
      pool.cpus.length,
      members.map((n) => ({
        weight: config.guests[n]!.weight,
        cap: config.guests[n]!.cap,
        vcpuDemands: vcpusOf[n]!.map((v) => demandOf(v.runstate)),
      })),
      config.profile === 'classic' ? 'domain' : 'vcpu',
    );
    for (const [k, n] of members.entries()) fair[n] = shares[k]!;
  }

  const domains = config.guests.map((guest, n): DomainResult => {
    const d = domainNumber(config.guests, n);
    const vcpus = vcpusOf[n]!;
    const sum = (f: (v: VcpuResult) => number): number => vcpus.reduce((total, v) => total + f(v), 0);
    const virtualTimeNs = sum((v) => v.runstate.running);
    const tasks = taskResults(d, guest);
    const end = ended(d);
    return {
      id: d,
      name: guest.name,
      weight: guest.weight,
      cap: guest.cap,
      expectedShare: fair[n] ?? 0,
      share: elapsed > 0 ? virtualTimeNs / elapsed : 0,
      virtualTimeNs,
      workNs: tasks.reduce((total, t) => total + t.workNs, 0),
      wake: latencyOf(image, 'wake-latency', d),
      ...(warm === undefined ? {} : { refillNs: sum((v) => warm.vcpu.refillNs(domain.firstVcpu(d) + v.id)) }),
      stealNs: sum((v) => v.runstate.runnable),
      switches: sum((v) => v.switches),
      migrations: sum((v) => v.migrations),
      ...(end === undefined ? {} : { ended: end }),
      console: consoleText(image, domain, d),
      vcpus,
      tasks,
      ...requests(n),
    };
  });

  const pcpus = Array.from({ length: config.pcpus }, (_, p): PcpuResult => {
    const v = pcpu.current(p);
    const busy = pcpu.busy(p) + (isIdle(v) ? 0 : elapsed - vcpu.stateEntryTime(v));
    return {
      id: p,
      worker: pcpu.worker(p),
      use: elapsed > 0 ? busy / elapsed : 0,
      switches: pcpu.switches(p),
      steals: pcpu.steals(p),
      ...(warm === undefined ? {} : { refillNs: warm.pcpu.refillNs(p) }),
    };
  });

  const jainOf = (of: readonly DomainResult[]): number =>
    jainIndex(of.map((d) => (d.expectedShare > 0 ? d.share / d.expectedShare : 1)));
  function poolResult(pool: CpupoolView): CpupoolResult {
    const { id, name, scheduler, cpus } = pool;
    const members = guestsOf(pool).map((n) => domains[n]!);
    const sum = (f: (pcpu: PcpuResult) => number): number => cpus.reduce((total, p) => total + f(pcpus[p]!), 0);
    return {
      id,
      name,
      scheduler,
      cpus,
      domains: members.map((d) => d.name),
      use: cpus.length > 0 ? sum((p) => p.use) / cpus.length : 0,
      switches: sum((p) => p.switches),
      steals: sum((p) => p.steals),
      jain: jainOf(members),
    };
  }

  const apart = (): number =>
    Math.max(...Array.from({ length: shape.hv.runners }, (_, w) => hv.context.floors.apart(w)));
  const outcome = image.table(CONTROL).outcome(0);
  const sumOf = (field: (runner: number) => number): number =>
    Array.from({ length: shape.hv.runners }, (_, w) => field(w)).reduce((a, b) => a + b, 0);
  const events = sumOf(machine.events);
  return {
    schema: RESULT_SCHEMA,
    ...(config.guests.some(({ kernel }) => kernel !== undefined) ? { hypervisorConsole: lastWords(hv) } : {}),
    outcome: outcome === OUTCOME.horizon ? 'horizon' : outcome === OUTCOME.idle ? 'idle' : 'stopped',
    simulatedNs: elapsed,
    mode: config.mode,
    ...(isFree ? { free: { windowNs: config.windowNs, jitterSeed: config.jitterSeed, apartNs: apart() } } : {}),
    hash: isFree ? 'none' : traceHash(image.i32, image.region('trace-hash').base, shape.hv.groups),
    events,
    turns: sumOf(machine.turns),
    jain: jainOf(domains),
    domains,
    pcpus,
    ...(shape.hv.pools > 1 ? { pools: views.map(poolResult) } : {}),
    locks: [lockResult('private', privateLocks), lockResult('run-queue', runqLocks)],
    ...((config.toolstack?.jobs.length ?? 0) > 0 ? { toolstack: collectTools(built, config) } : {}),
    ...(config.devices.length > 0 ? collectDevices(built, config) : {}),
    ...(config.checkTime ? { time: collectTime(built, config) } : {}),
    perfc: Object.fromEntries(PERFC_NAMES.map((name) => [name, perfc.total(PERFC[name])])),
    host: {
      threads: shape.workers,
      startMs: host.startMs,
      runMs: host.runMs,
      eventsPerSecond: host.runMs > 0 ? (events / host.runMs) * 1000 : 0,
      speed: host.runMs > 0 ? elapsed / 1e6 / host.runMs : 0,
    },
  };
}
