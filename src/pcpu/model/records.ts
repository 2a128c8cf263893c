/**
 * The memory of the workload guests' kernel: tasks, their programs, the resources they share, and one record of kernel
 * state a VCPU. All of it is written only in turns of a VCPU of the domain it belongs to.
 */
import { wordsFor } from '../../shared/bitmap.js';
import { type Region, rawRegion, tableRegion } from '../../shared/image.js';
import { MAX_VIRT_CPUS } from '../../shared/limits.js';
import { struct } from '../../shared/struct.js';

/** Where a VCPU of the guest kernel stands. */
export const MODE = { boot: 0, run: 1, idle: 2 } as const;

export const TASK_STATE = { new: 0, runnable: 1, sleeping: 2, waiting: 3, exited: 4 } as const;

/** Scheduling classes of the guest kernel; lower runs first. */
export const CLASS = { fifo: 0, rr: 1, other: 2 } as const;

export const K_VCPU = struct(
  'k-vcpu',
  {
    /** When the segment in progress began, and what was left of it when the VCPU was switched out, ns. */
    segmentStart: 'f64',
    remaining: 'f64',
    /** What its clock said when it was last entered, ns: no time passes within a turn. */
    clock: 'f64',
    clockReadAt: 'f64',
    /** Kernel time not yet spent, ns. */
    debt: 'f64',
    /** When the current task began its slice, guest clock. */
    sliceStart: 'f64',
    /** Deadline the hypervisor's timer is set to; Infinity = not set. */
    programmed: 'f64',
    mode: 'i32',
    /** First device + 1 that it serves (linked by `next`), and 1 while handlers' time is among its debt. */
    firstDevice: 'i32',
    handling: 'i32',
    /** Task + 1, 0 = none. */
    current: 'i32',
    polling: 'i32',
    /** Tasks of this VCPU that wait for a lock, condition or barrier. */
    waiters: 'i32',
    /** Runnable tasks queued here. */
    queued: 'i32',
    timers: 'i32',
    timerSlots: 'i32',
    timerPort: 'i32',
    ipiPort: 'i32',
    lockPort: 'i32',
    /** Image addresses of its vcpu_info and of its page for hypercall arguments, and that page's guest address. */
    infoAddr: 'i32',
    argAddr: 'i32',
    argGuest: 'i32',
  },
  64,
);

/** Run queues of a VCPU: 2v real-time, 2v + 1 other. */
export const K_QUEUE = struct('k-queue', { first: 'i32', last: 'i32' });

export const K_DOMAIN = struct(
  'k-domain',
  {
    /** Start of the use case and its end (Infinity = none), guest clock, ns. */
    start: 'f64',
    durationNs: 'f64',
    /** The latest time any VCPU read, where counters are not in step, ns. */
    lastClock: 'f64',
    firstTask: 'i32',
    tasks: 'i32',
    liveTasks: 'i32',
    /** Tasks queued on all VCPUs: anything for an idle VCPU to pull? */
    queued: 'i32',
    /** Guest addresses of the areas it registers. */
    infoArea: 'i32',
    runstateArea: 'i32',
    argArea: 'i32',
    bootArea: 'i32',
  },
  64,
);

export const TASK = struct(
  'task',
  {
    /** Guest clock at which it wakes; as every timer's, see deadline-heap. */
    deadline: 'f64',
    /** What the run event in progress still needs, ns. */
    remaining: 'f64',
    /** End of a runtime event, guest clock. */
    runtimeEnd: 'f64',
    delayNs: 'f64',
    /** Work done in all, and up to the start of the log line in progress, ns. */
    work: 'f64',
    workLogged: 'f64',
    /** Guest clock: start of the task, of the phase iteration, of the run event in progress. */
    startedAt: 'f64',
    phaseStart: 'f64',
    computeStart: 'f64',
    // The log line in progress, ns.
    duration: 'f64',
    slack: 'f64',
    configuredDuration: 'f64',
    configuredPeriod: 'f64',
    wakeLatency: 'f64',
    position: 'i32',
    state: 'i32',
    domain: 'i32',
    vcpu: 'i32',
    taskClass: 'i32',
    /** Of a real-time task; greater runs first. */
    priority: 'i32',
    next: 'i32',
    prev: 'i32',
    linked: 'i32',
    firstPhase: 'i32',
    phases: 'i32',
    loop: 'i32',
    phase: 'i32',
    event: 'i32',
    /** Rounds left of the task and of the phase; -1 = for ever. */
    roundsLeft: 'i32',
    phaseRoundsLeft: 'i32',
    /** Mutex to take again after a condition, +1. */
    mutex: 'i32',
    /** 1 while a run or runtime event is in progress. */
    computing: 'i32',
    /** 1 when the sleep in progress is a timer event, whose wake-up latency is logged. */
    inTimer: 'i32',
    loops: 'i32',
    logged: 'i32',
    cumulativeSlack: 'i32',
  },
  64,
);

/** Words of a task's VCPU mask. */
export const CPU_WORDS = wordsFor(MAX_VIRT_CPUS);

export const PHASE = struct('phase', { loop: 'i32', firstEvent: 'i32', events: 'i32', cpus: ['i32', CPU_WORDS] });

export const OP = {
  run: 0,
  runtime: 1,
  sleep: 2,
  timer: 3,
  lock: 4,
  unlock: 5,
  wait: 6,
  sync: 7,
  signal: 8,
  broad: 9,
  barrier: 10,
  suspend: 11,
  resume: 12,
  yield: 13,
  ntp: 14,
  irq: 15,
  io: 16,
} as const;

export const EVENT = struct('event', {
  ns: 'f64',
  op: 'i32',
  /** Resource, and for wait and sync the mutex. */
  resource: 'i32',
  mutex: 'i32',
  absolute: 'i32',
});

/** Mutexes, conditions, barriers, suspension points, timers, devices, and what a task has seen of a device. */
export const RESOURCE = struct('resource', {
  /** Timers: next expiry, guest clock; -1 = not used yet. */
  nextExpiry: 'f64',
  /** Mutexes: task + 1; devices: number + 1; what a task has seen: interrupts. */
  owner: 'i32',
  first: 'i32',
  last: 'i32',
  /** Barriers: tasks that meet, and those that are there. */
  users: 'i32',
  waiting: 'i32',
});

/** Doubles of a log line: idx, perf, run, period, start, end, rel_st, slack, c_duration, c_period, wu_lat. */
export const LOG_FIELDS = 11;

export interface ModelShape {
  readonly vcpus: number;
  readonly domains: number;
  readonly tasks: number;
  readonly phases: number;
  readonly events: number;
  readonly resources: number;
  readonly timerSlots: number;
  readonly logLines: number;
}

export const modelRegions = (s: ModelShape): Region[] => [
  tableRegion(K_VCPU, s.vcpus),
  tableRegion(K_QUEUE, 2 * s.vcpus),
  tableRegion(K_DOMAIN, s.domains),
  tableRegion(TASK, s.tasks),
  tableRegion(PHASE, s.phases),
  tableRegion(EVENT, s.events),
  tableRegion(RESOURCE, s.resources),
  rawRegion('task-timer-queues', 4, Math.max(1, s.timerSlots)),
  rawRegion('task-log', 8 * LOG_FIELDS * s.logLines, Math.max(1, s.tasks)),
];
