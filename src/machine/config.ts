/** What a machine is made of. Everything that can change a result is in here, so equal configs give equal hashes. */
import type { CacheCosts, Topology } from '../balancer/topology.js';
import { type Profile, type RunqueueArrangement, TIME_FAULTS, type TimeFault } from '../hv/context.js';
import type { PvKernel } from '../loader/kernel.js';
import type { ToolstackConfig } from '../toolstack/tool-job.js';
import type { Workload } from '../workload/workload.js';

/** For those who may not know the hypervisor: the command line. */
export { type CacheCosts, pcpusOf as topologyPcpus, type Topology } from '../balancer/topology.js';
export { PROFILES, type Profile, RUNQUEUE_ARRANGEMENTS, type RunqueueArrangement, TIME_FAULTS } from '../hv/context.js';

/** Parameters of a domain under the SEDF scheduler; what is left out is sedf-defaults.ts's. */
export interface SedfConfig {
  /** 10 us..10 s, ns. @default 100 ms; domain 0: 20 ms */
  readonly periodNs?: number | undefined;
  /** What each VCPU is promised of a period, 0 (nothing) or 5 us..period, ns. @default 0; domain 0: 15 ms */
  readonly sliceNs?: number | undefined;
  /** 0..10 s, ns. Kept, as Xen does; decides nothing. @default 0 */
  readonly latencyNs?: number | undefined;
  /** Whether it gets time that is left. @default true for a domain without slice and weight, and for domain 0's defaults */
  readonly extratime?: boolean | undefined;
  /** 1..65535. With extra time its weight in that; without, the weight by which its slice is computed. */
  readonly weight?: number | undefined;
}

/** A set of pCPUs with a scheduler of its own; what is left out is the machine's. */
export interface CpupoolConfig {
  /** 1..MAX_NAME_LENGTH bytes; `Pool-0` is that of all pCPUs which are in no other. */
  readonly name: string;
  /** pCPU numbers; left out for Pool-0: those that are in no other pool. */
  readonly cpus?: readonly number[] | undefined;
  /** One of the built-in ones. */
  readonly scheduler?: string | undefined;
  readonly tsliceMs?: number | undefined;
  readonly ratelimitUs?: number | undefined;
  readonly migrationDelayUs?: number | undefined;
}

/** The pool that a host boots with. */
export const POOL_0 = 'Pool-0';

export interface GuestConfig {
  readonly name: string;
  /** VCPUs up at boot, 1..MAX_VIRT_CPUS. */
  readonly vcpus: number;
  /** VCPUs it may have on line later. @default vcpus */
  readonly maxVcpus?: number;
  /** Memory accounted to the domain, MiB. Only the frames a workload guest really touches are backed. */
  readonly memoryMib: number;
  /** What it may have later, MiB. @default memoryMib */
  readonly maxMemoryMib?: number;
  /** Credit weight, 1..65535: of each VCPU, or of the domain in the classic profile. @default 256 */
  readonly weight: number;
  /** Credit cap, percent of one pCPU; 0 = none. @default 0 */
  readonly cap: number;
  /** Hard affinity: pCPU numbers per VCPU; a missing or `undefined` entry = all pCPUs. */
  readonly cpus: readonly (readonly number[] | undefined)[];
  /** Soft affinity, same shape; the classic profile has none. */
  readonly cpusSoft: readonly (readonly number[] | undefined)[];
  /** Width of the guest ABI: layout of shared info and of hypercall arguments. @default 64 */
  readonly abi: 32 | 64;
  readonly workload: Workload;
  /** Machine code in the place of a workload, which is then empty. */
  readonly kernel?: BuiltKernel | undefined;
  /** Read by the SEDF scheduler only. */
  readonly sedf?: SedfConfig | undefined;
  /** Whether it is there from the beginning; else domain 0 makes it when its script says so. @default true */
  readonly boot?: boolean;
  /** Name of its cpupool. @default Pool-0 */
  readonly pool?: string | undefined;
  /** Domain 0, which may set the time. Only the first guest can be. @default false */
  readonly privileged?: boolean;
}

/** A kernel that has been read. */
export interface BuiltKernel {
  readonly file: string;
  readonly image: PvKernel;
  readonly commandLine: string;
  readonly ramdisk?: Uint8Array | undefined;
}

/** VCPUs of a guest, on line or not. */
export const mostVcpus = ({ vcpus, maxVcpus = vcpus }: GuestConfig): number => maxVcpus;

/** Whether a guest is there from the beginning. */
export const boots = ({ boot = true }: GuestConfig): boolean => boot;

/** What a stand-in device is: see docs/interrupts.md. */
export const DEVICE_KINDS = ['timer', 'nic', 'disk'] as const;
export const DEVICE_ARRIVALS = ['periodic', 'poisson', 'burst'] as const;

export interface DeviceConfig {
  readonly name: string;
  readonly kind: (typeof DEVICE_KINDS)[number];
  /** Its interrupt line, 1..MAX_IRQ. A timer card's is edge triggered, the others' are level triggered. */
  readonly irq: number;
  /** The guest whose kernel has a driver for it; undefined = nobody. */
  readonly domain?: string | undefined;
  /** VCPU of that guest that serves it. @default 0 */
  readonly vcpu: number;
  /** Time its handler takes for an interrupt, and for each tick, packet or finished request it finds, ns. */
  readonly handlerNs: number;
  readonly itemNs: number;
  /** Timer: from tick to tick. NIC: from packet to packet, on average. Disk: what a request takes, on average. ns */
  readonly periodNs: number;
  /** `periodic`: always that long. `poisson`: exponential. `burst`: `burst` packets at once, after exponential times. */
  readonly arrivals: (typeof DEVICE_ARRIVALS)[number];
  /** NIC: packets that come at once. */
  readonly burst: number;
  /** NIC: packets it keeps for the driver; those beyond are lost. */
  readonly ring: number;
  /** Simulation times between which it is alive, ns; a disk always is. */
  readonly startNs: number;
  readonly stopNs: number;
}

export const DEVICE_DEFAULTS: Omit<DeviceConfig, 'name' | 'kind' | 'irq' | 'periodNs'> = {
  vcpu: 0,
  handlerNs: 2000,
  itemNs: 0,
  arrivals: 'periodic',
  burst: 1,
  ring: 256,
  startNs: 0,
  stopNs: Number.POSITIVE_INFINITY,
};

/** The number of the nth guest's domain: 0 is the privileged one's, or nobody's. */
export const domainNumber = (guests: readonly GuestConfig[], n: number): number => n + (guests[0]?.privileged ? 0 : 1);

/** Deliberate faults: of a worker, to test how the machine reports them; of time-keeping, for `check-time`. */
export interface FaultInjection {
  readonly kind: 'throw' | 'exit' | 'stall' | 'stalled-worker' | TimeFault;
  readonly pcpu: number;
  /** Simulation time from which it goes wrong on that pCPU, ns. */
  readonly atNs: number;
}

/** Faults that `check-time` notices. */
export const TIME_INJECTIONS = [...TIME_FAULTS, 'stalled-worker'] as const;

export interface MachineConfig {
  /** `classic`: Xen 3.0.4; `modern`: Xen 4.18. @default 'modern' */
  readonly profile: Profile;
  /** Physical CPUs, 1..MAX_PCPUS. */
  readonly pcpus: number;
  /** Worker threads the pCPUs are folded on, 1..pcpus. @default pcpus */
  readonly threads: number;
  /** Host memory in MiB that domains draw from. */
  readonly memoryMib: number;
  /** How many domains domain 0 may have made at run time that exist at the same time, and how many VCPUs all of them. @default 0 */
  readonly spareDomains: number;
  readonly spareVcpus: number;
  /**
   * `ordered`: one order of all interactions, the same result for any number of threads and any host. `free`: workers run at
   * the same time, with real races; no two runs are alike. @default 'ordered'
   */
  readonly mode: 'ordered' | 'free';
  /** Free mode: how far simulation clocks may run apart, ns, at least the latency. @default 100000 */
  readonly windowNs: number;
  /** Free mode: pauses at every lock and in every marked window, drawn from this seed; 0 = none. @default 0 */
  readonly jitterSeed: number;
  /** Horizon, ns of simulation time; Infinity = until nothing is left to do. */
  readonly durationNs: number;
  /** What is drawn at boot (first pCPU of each VCPU, start of each round of idlers); 0 = nothing: the n-th is the n-th. */
  readonly seed: number;
  /** L, the inter-CPU communication latency, ns. @default 2000 */
  readonly latencyNs: number;
  /** Frequency of the cycle counters, Hz. @default 1e9 */
  readonly cycleHz: number;
  /** Start of each pCPU's cycle counter against the others', ns; a missing or `undefined` entry is drawn within 1 s. */
  readonly tscOffsetsNs: readonly (number | undefined)[];
  /** How much too fast each counter runs, ppm; a missing or `undefined` entry is drawn within 50. */
  readonly tscDriftsPpm: readonly (number | undefined)[];
  /** The same of the platform clock; undefined = drawn within 50. */
  readonly platformDriftPpm?: number | undefined;
  /** Whether the hypervisor synchronises the cycle counters at boot. @default true */
  readonly synchronise: boolean;
  /** How it keeps system times together: pCPU 0 calls all (modern Xen), each by itself (classic), not at all. @default 'rendezvous', classic 'local' */
  readonly calibration: 'rendezvous' | 'local' | 'off';
  /** Simulated seconds per host second; 0 = as fast as the host can. @default 0 */
  readonly pace: number;
  /** UTC at system time 0, seconds since 1970. */
  readonly bootTimeS: number;
  /** Sockets, cores a socket, threads a core; their product is `pcpus`. @default one socket of single-threaded cores */
  readonly topology?: Topology | undefined;
  /** `sched_smt_power_savings`: fill sockets and cores before others are used; classic: there is none. @default false */
  readonly smtPowerSavings: boolean;
  /** What a VCPU pays that runs where its caches are not: up to 100 ms each. @default nothing */
  readonly cache?: CacheCosts | undefined;
  readonly scheduler: string;
  /** `sched_credit_tslice_ms`, 1..1000; classic: 30. @default 30 */
  readonly tsliceMs: number;
  /** `sched_ratelimit_us`, 0 or 100..500000 and at most the timeslice; classic: there is none, and the default means so. @default 1000 */
  readonly ratelimitUs: number;
  /** `vcpu_migration_delay`, µs a descheduled VCPU counts as cache-hot, 0..100000; classic: 0. @default 0 */
  readonly migrationDelayUs: number;
  /** Whether waking VCPUs with credit are boosted: Xen always does; off shows what boost buys. @default true */
  readonly boost: boolean;
  /** `credit2_runqueue`: which pCPUs share a run queue under credit2, at most 16. @default 'socket' */
  readonly credit2Runqueue: RunqueueArrangement;
  /** `credit2_load_window_shift`: credit2's averages of loads go over 2 to this ns, 20..40. @default 30 */
  readonly credit2LoadWindowShift: number;
  /** `credit2_balance_under`: run queues with pCPUs to spare whose loads differ by 2 to this pCPUs are balanced, -10..10. @default 0 */
  readonly credit2BalanceUnder: number;
  /** `credit2_balance_over`: the same of run queues without. @default -3 */
  readonly credit2BalanceOver: number;
  /** How long a run-queue lock is held each time it is taken, ns; 0 = no time passes under locks. @default 0 */
  readonly runqLockNs: number;
  /** The same of the credit scheduler's private lock, which accounting takes. @default 0 */
  readonly privateLockNs: number;
  /** Time a guest-kernel operation takes (mutex, condition, resume, …), ns; at least 1. @default 100 */
  readonly guestOpNs: number;
  /** Keep trace records (the trace hash is computed either way). @default false */
  readonly trace: boolean;
  /** Keep rt-app's per-task log lines, this many newest per task. 0 = none. */
  readonly taskLogLines: number;
  /** Compare what guests see of time with simulation time, at every read. @default false */
  readonly checkTime: boolean;
  /** Lock-order and ownership checks. @default false */
  readonly debug: boolean;
  /** Host ms without a safe point after which a worker is fatally stalled. @default 10000 */
  readonly stallLimitMs: number;
  readonly inject?: FaultInjection;
  /** Sources of interrupts. @default none */
  readonly devices: readonly DeviceConfig[];
  /** Cpupools besides Pool-0, and Pool-0's own scheduler where it is named here. @default none: all pCPUs are in Pool-0 */
  readonly cpupools?: readonly CpupoolConfig[] | undefined;
  /** Cpupools that can be made while the machine runs, with any built-in scheduler. @default 0 */
  readonly sparePools?: number | undefined;
  readonly guests: readonly GuestConfig[];
  /** Whether a debugger can halt the first guest's VCPUs, which is one of machine code: see debug-port.ts. @default false */
  readonly hasDebugger?: boolean | undefined;
  /** What domain 0's tools are to do; the first guest must be domain 0. */
  readonly toolstack?: ToolstackConfig | undefined;
}

/** What a machine is unless told otherwise: all but its shape, its duration and its guests. */
export const MACHINE_DEFAULTS: Omit<MachineConfig, 'pcpus' | 'threads' | 'durationNs' | 'guests'> = {
  profile: 'modern',
  mode: 'ordered',
  windowNs: 100_000,
  jitterSeed: 0,
  memoryMib: 4096,
  spareDomains: 0,
  spareVcpus: 0,
  seed: 1,
  latencyNs: 2000,
  cycleHz: 1e9,
  tscOffsetsNs: [],
  tscDriftsPpm: [],
  synchronise: true,
  calibration: 'rendezvous',
  pace: 0,
  // 2006-01-01T00:00:00Z, the year of the interface manual that is simulated.
  bootTimeS: 1_136_073_600,
  scheduler: 'credit',
  tsliceMs: 30,
  ratelimitUs: 1000,
  migrationDelayUs: 0,
  boost: true,
  credit2Runqueue: 'socket',
  credit2LoadWindowShift: 30,
  credit2BalanceUnder: 0,
  credit2BalanceOver: -3,
  smtPowerSavings: false,
  runqLockNs: 0,
  privateLockNs: 0,
  guestOpNs: 100,
  trace: false,
  taskLogLines: 0,
  checkTime: false,
  debug: false,
  stallLimitMs: 10_000,
  devices: [],
};

/** The same of a profile: the classic one calibrates each pCPU by itself. */
export const machineDefaults = (profile: Profile): typeof MACHINE_DEFAULTS => ({
  ...MACHINE_DEFAULTS,
  profile,
  calibration: profile === 'classic' ? 'local' : MACHINE_DEFAULTS.calibration,
});
