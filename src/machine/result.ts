/** What a run gives back: plain data, the same object that `ringzero run --json` prints. */
import type { TimeFinding } from '../hv/time-check.js';

/** Version of the JSON schema; changes when a field changes its meaning or goes. */
export const RESULT_SCHEMA = 'ringzero.run/1';

export interface LatencyResult {
  readonly count: number;
  readonly p50Ns: number;
  readonly p99Ns: number;
  readonly p999Ns: number;
  readonly maxNs: number;
}

/** Time in each Xen runstate, ns. The four sum to the system time since the VCPU was created. */
export interface RunstateResult {
  readonly running: number;
  readonly runnable: number;
  readonly blocked: number;
  readonly offline: number;
}

export interface VcpuResult {
  readonly id: number;
  readonly state: 'running' | 'runnable' | 'blocked' | 'offline';
  readonly runstate: RunstateResult;
  readonly switches: number;
  readonly migrations: number;
}

/** One phase iteration of one task, in rt-app's log columns; µs, except `perf` (loops, 1 loop = 1 µs of work). */
export interface TaskLogLine {
  readonly idx: number;
  readonly perf: number;
  readonly run: number;
  readonly period: number;
  readonly start: number;
  readonly end: number;
  readonly rel_st: number;
  readonly slack: number;
  readonly c_duration: number;
  readonly c_period: number;
  readonly wu_lat: number;
}

export interface TaskResult {
  /** `name-instance`; forked tasks count on behind the instances. */
  readonly name: string;
  /** Of a forked task: its index among all of the domain, and how many of its kind were forked before. */
  readonly forked?: { readonly index: number; readonly number: number };
  readonly policy: string;
  readonly priority: number;
  readonly state: 'runnable' | 'sleeping' | 'waiting' | 'exited';
  /** Work done, ns of execution. */
  readonly workNs: number;
  /** Phase iterations finished. */
  readonly loops: number;
  readonly log: readonly TaskLogLine[];
}

/** Requests of one domain to one service of another, from asking to having the answer. */
export interface RequestResult {
  /** Name of the domain that serves, and of the service. */
  readonly to: string;
  readonly service: string;
  readonly latency: RequestLatency;
}

/** What a domain does for others: the requests of all clients. */
export interface ServiceResult {
  readonly name: string;
  readonly latency: RequestLatency;
}

/** Percentiles are of a histogram: at most 6.25 % above the truth. `maxNs` and the mean are exact. */
export interface RequestLatency {
  readonly count: number;
  readonly meanNs: number;
  readonly p50Ns: number;
  readonly p95Ns: number;
  readonly p99Ns: number;
  readonly p999Ns: number;
  readonly maxNs: number;
}

export interface DomainResult {
  readonly id: number;
  readonly name: string;
  readonly weight: number;
  readonly cap: number;
  /** Fair share given weights, caps and demand, in pCPUs (1 = one whole pCPU). */
  readonly expectedShare: number;
  /** Share received, in pCPUs: virtual time over elapsed time. */
  readonly share: number;
  /** Domain virtual time, summed over its VCPUs, ns. */
  readonly virtualTimeNs: number;
  readonly workNs: number;
  /** From wake-up to running. */
  readonly wake: LatencyResult;
  /** Where caches cost something: time spent filling them, ns. */
  readonly refillNs?: number;
  /** Runnable but not running, ns, summed over VCPUs. */
  readonly stealNs: number;
  readonly switches: number;
  readonly migrations: number;
  /** Why the domain ended, when it did: `poweroff`, `crash: …`. */
  readonly ended?: string;
  /** What it wrote to the hypervisor's console. */
  readonly console: string;
  readonly vcpus: readonly VcpuResult[];
  readonly tasks: readonly TaskResult[];
  /** What it asked of others, if it did. */
  readonly requests?: readonly RequestResult[];
  /** What others asked of it. */
  readonly services?: readonly ServiceResult[];
}

export interface PcpuResult {
  readonly id: number;
  /** Worker thread that owns it. */
  readonly worker: number;
  /** Fraction of the elapsed time a VCPU ran. */
  readonly use: number;
  readonly switches: number;
  /** VCPUs this pCPU stole from others. */
  readonly steals: number;
  /** Where caches cost something: time that VCPUs spent filling them here, ns. */
  readonly refillNs?: number;
}

export interface CpupoolResult {
  readonly id: number;
  readonly name: string;
  readonly scheduler: string;
  readonly cpus: readonly number[];
  /** Names of its domains. */
  readonly domains: readonly string[];
  /** Mean use of its pCPUs. */
  readonly use: number;
  /** Sums over its pCPUs. */
  readonly switches: number;
  readonly steals: number;
  /** Jain's index over its domains. */
  readonly jain: number;
}

/** What the observer of time found (docs/check-time.md); sizes in ns, `frequency` in ppm, pages in 1. */
export type TimeFindingResult = TimeFinding;

export interface PcpuClockResult {
  readonly pcpu: number;
  /** The oscillator as it was made, before the hypervisor set it: start against the nominal one, ns; rate, ppm. */
  readonly offsetNs: number;
  readonly driftPpm: number;
  readonly calibrations: number;
  /** How far its clock was off at its calibrations, ns. */
  readonly lastErrorNs: number;
  readonly maxErrorNs: number;
  /** What it shows at the end, less what the platform clock shows, ns. */
  readonly errorNs: number;
}

export interface TimeResult {
  readonly ok: boolean;
  readonly latencyNs: number;
  readonly reads: number;
  readonly tscStable: boolean;
  /** The boot's warp check: largest step back, cycles. */
  readonly warpCycles: number;
  readonly findings: readonly TimeFindingResult[];
  /**
   * Clock reads of all guests by |error|: upper bound of each bucket in use, ns, and how many: of those that were right a sample
   * of one in 32, of those that were wrong all.
   */
  readonly errorHistogram: readonly { readonly upToNs: number; readonly reads: number }[];
  readonly clocks: readonly PcpuClockResult[];
}

/** A kind of lock of the hypervisor. Ordered mode: in the simulated time that locks take, all 0 where they take none. */
export interface LockResult {
  readonly lock: 'run-queue' | 'private';
  readonly acquired: number;
  /** Times somebody had to wait, and how long in all. */
  readonly contended: number;
  readonly waitedNs: number;
  readonly tryFailed: number;
}

/** A command of domain 0's script. Times since its start by its own clock, ns. */
export interface ScriptResult {
  readonly text: string;
  readonly atNs: number;
  /** Absent: it did not come to that. */
  readonly beganNs?: number;
  readonly doneNs?: number;
  /** 0, or the negated errno of the call that failed. */
  readonly rc: number;
}

/** An interrupt line that devices use. */
export interface InterruptResult {
  readonly irq: number;
  readonly trigger: 'edge' | 'level';
  readonly devices: readonly string[];
  /** Domains that had it at the end. */
  readonly domains: readonly number[];
  /** Edges, or times that a device began to assert it. */
  readonly raised: number;
  /** Interrupts of which the domains were sent events. */
  readonly delivered: number;
  /** Interrupts for which a handler found a device that wanted something. */
  readonly handled: number;
  /** Raised while no domain had the line. */
  readonly unhandled: number;
  /** Interrupts that the rate limit held up or, of an edge line, took away. */
  readonly throttled: number;
  /** Edges that met one under way, and events that met one pending. */
  readonly merged: number;
  /** Acknowledgements that did not come in time and were taken for given. */
  readonly forced: number;
  /** From when a device wanted to be served to its handler. */
  readonly latency: LatencyResult;
}

export interface DeviceResult {
  readonly name: string;
  readonly kind: 'timer' | 'nic' | 'disk';
  readonly irq: number;
  readonly domain?: string;
  /** Ticks, packets, or finished requests; those that found the ring full; those that the driver took. */
  readonly arrived: number;
  readonly dropped: number;
  readonly taken: number;
  /** Interrupts of its line on which the driver found it wanting nothing. */
  readonly spurious: number;
}

export interface RunResult {
  readonly schema: typeof RESULT_SCHEMA;
  /** `horizon`: the duration is over; `idle`: nothing left to do; `stopped`: by command. */
  readonly outcome: 'horizon' | 'idle' | 'stopped';
  /** Where there are kernels: what the hypervisor had to say last, of their crashes among other things. */
  readonly hypervisorConsole?: string;
  readonly simulatedNs: number;
  readonly mode: 'ordered' | 'free';
  /** Free mode: the window asked for, and how far apart simulation clocks were found at most, ns. */
  readonly free?: { readonly windowNs: number; readonly jitterSeed: number; readonly apartNs: number };
  /** 16 hexadecimal digits over the interaction stream in (time, pCPU) order; `none` in free mode, which has no such order. */
  readonly hash: string;
  /** Scheduler events: runstate changes plus timer pops. */
  readonly events: number;
  readonly turns: number;
  readonly jain: number;
  readonly domains: readonly DomainResult[];
  readonly pcpus: readonly PcpuResult[];
  /** Where there can be more than one: as they are in the end. */
  readonly pools?: readonly CpupoolResult[];
  readonly locks: readonly LockResult[];
  /** What became of domain 0's script, if it has one. */
  readonly toolstack?: readonly ScriptResult[];
  /** Of a machine with devices. */
  readonly interrupts?: readonly InterruptResult[];
  readonly devices?: readonly DeviceResult[];
  /** With `checkTime`: what was found. */
  readonly time?: TimeResult;
  /** Performance counters under Xen's names. */
  readonly perfc: Readonly<Record<string, number>>;
  /** The only part that is not a function of the configuration. */
  readonly host: {
    readonly threads: number;
    readonly startMs: number;
    readonly runMs: number;
    readonly eventsPerSecond: number;
    /** Simulated seconds per host second. */
    readonly speed: number;
  };
}
