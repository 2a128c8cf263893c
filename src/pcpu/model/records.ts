/**
 * The memory of the workload guests' kernel: tasks, their programs, the resources they share, and one record of kernel
 * state a VCPU. All of it is written only in turns of a VCPU of the domain it belongs to.
 */
import { wordsFor } from '../../shared/bitmap.js';
import { type Region, rawRegion, tableRegion } from '../../shared/image.js';
import { MAX_VIRT_CPUS } from '../../shared/limits.js';
import { struct } from '../../shared/struct.js';
import { backEndRegions } from './back-end-records.js';
import { type ToolShape, toolRegions } from './privcmd-records.js';
import { type RequestShape, requestRegions } from './request-records.js';

/** Where a VCPU of the guest kernel stands. */
export const MODE = { boot: 0, run: 1, idle: 2, down: 3 } as const;

/** `unborn`: a record for a fork that may come. */
export const TASK_STATE = { new: 0, runnable: 1, sleeping: 2, waiting: 3, exited: 4, unborn: 5 } as const;

/** Scheduling classes of the guest kernel; lower runs first. FIFO and RR tasks share a queue. */
export const CLASS = { deadline: 0, fifo: 1, rr: 2, other: 3 } as const;

/** What a task computes: nothing, a run event, a runtime event, or memory traffic that no log counts as running. */
export const COMPUTING = { no: 0, run: 1, runtime: 2, memory: 3 } as const;

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
    /** When the current task's budget or turn will be over if it computes on, guest clock; Infinity = no timer for it. */
    preemptAt: 'f64',
    /** What the current task computed since it was picked, ns. */
    turnUsed: 'f64',
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
    /** Where its queue of sleepers lies. */
    timerSlots: 'i32',
    timerPort: 'i32',
    ipiPort: 'i32',
    lockPort: 'i32',
    /** Where domain 0 hears that its tools are wanted; 0 = nowhere. */
    consolePort: 'i32',
    /** Where VCPU 0 hears what its domain's tools want; 0 = nowhere. */
    storePort: 'i32',
    /** 1 while it is wanted on line. */
    online: 'i32',
    /** 1 when another VCPU left it sleepers that its timer does not know of. */
    adopted: 'i32',
    /** Image addresses of its vcpu_info and of its page for hypercall arguments, and that page's guest address. */
    infoAddr: 'i32',
    argAddr: 'i32',
    argGuest: 'i32',
  },
  64,
);

/** Tasks of a VCPU that share by weight: virtual time that none of them is behind, ns, and the weights queued. */
export const K_FAIR = struct('k-fair', { minVirtual: 'f64', load: 'i32' });

/** Run queues of a VCPU: 3v deadline, 3v + 1 real-time, 3v + 2 other. */
export const QUEUES_PER_VCPU = 3;
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
    /** Where the queues of sleepers of its VCPUs lie. */
    timerSlots: 'i32',
    liveTasks: 'i32',
    /** Tasks there are from the start; and tasks forked since. */
    initialTasks: 'i32',
    forked: 'i32',
    /** 1: nice values differ, so tasks of SCHED_OTHER share by weight and virtual time; 0: they take turns. */
    isWeighted: 'i32',
    /** 1: mutexes pass priorities on to their holders. */
    inherits: 'i32',
    firstResource: 'i32',
    resources: 'i32',
    /** What one loop of rt-app's work takes, ns. */
    nsPerLoop: 'i32',
    /** Its links as a client, and as a server. */
    firstFront: 'i32',
    fronts: 'i32',
    firstBack: 'i32',
    backs: 'i32',
    /** Tasks queued on all VCPUs: anything for an idle VCPU to pull? */
    queued: 'i32',
    /** Guest addresses of the areas it registers. */
    infoArea: 'i32',
    runstateArea: 'i32',
    argArea: 'i32',
    bootArea: 'i32',
    /** VCPUs it brings up when it boots. */
    bootVcpus: 'i32',
    /** Where tasks wait until domain 0's tools are wanted, a resource + 1; 0 = nobody wants them. */
    toolPoint: 'i32',
    /** Guest address of what its tools want (store.ts); 0 = there are no tools. */
    storeArea: 'i32',
    /** Its port for that, and domain 0's. Atomics. */
    storePort: 'i32',
    storeLocal: 'i32',
    /** Of domain 0: guest address of what its domain builder needs; its port of VIRQ_DOM_EXC, 0 = none; whether that has said something. */
    buildArea: 'i32',
    endsPort: 'i32',
    hasEnds: 'i32',
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
    /** Work done in all, and up to the start of the event in progress, ns. */
    work: 'f64',
    workBefore: 'f64',
    /** Loops of rt-app's work in the log line in progress. */
    perf: 'f64',
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
    /** VCPU that it is on, and the number in the domain of the one where it begins. */
    vcpu: 'i32',
    home: 'i32',
    /** By which it is scheduled now: its own, or inherited. */
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
    /** COMPUTING: the event in progress. */
    computing: 'i32',
    /** How far an event of several steps has got; 0 = the next event is due. */
    stage: 'i32',
    /** 1 when the sleep in progress is a timer event, whose wake-up latency is logged. */
    inTimer: 'i32',
    loops: 'i32',
    logged: 'i32',
    cumulativeSlack: 'i32',
  },
  64,
);

/** What a task's scheduling class needs. */
export const TASK_SCHED = struct(
  'task-sched',
  {
    /** Fair tasks: virtual time on its VCPU, ns of a task of nice 0. */
    virtualTime: 'f64',
    /** SCHED_DEADLINE: its parameters, ns. */
    dlRuntime: 'f64',
    dlDeadline: 'f64',
    dlPeriod: 'f64',
    /** What is left of the runtime, and the absolute deadline, guest clock. */
    budget: 'f64',
    dlAt: 'f64',
    /** Deadline by which it is queued: its own, or inherited. */
    queuedBy: 'f64',
    /** Its own class and priority, whatever it inherits. */
    ownClass: 'i32',
    ownPriority: 'i32',
    weight: 'i32',
    /** 1 while it has used up its budget and sleeps until the next period. */
    isThrottled: 'i32',
    /** Mutex that it waits for, +1. */
    blockedOn: 'i32',
    /** Index in logs; and of a forked task, how many forks of its kind were before it. */
    index: 'i32',
    forkNumber: 'i32',
  },
  64,
);

/** Words of a task's VCPU mask. */
export const CPU_WORDS = wordsFor(MAX_VIRT_CPUS);

export const PHASE = struct('phase', {
  /** SCHED_DEADLINE: parameters that hold from here on, ns. */
  dlRuntime: 'f64',
  dlDeadline: 'f64',
  dlPeriod: 'f64',
  loop: 'i32',
  firstEvent: 'i32',
  events: 'i32',
  /** 1: the class, priority and weight below hold from here on. */
  setsClass: 'i32',
  taskClass: 'i32',
  priority: 'i32',
  weight: 'i32',
  cpus: ['i32', CPU_WORDS],
});

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
  mem: 15,
  ioSleep: 16,
  sem_post: 17,
  sem_wait: 18,
  fork: 19,
  request: 20,
  serve: 21,
  respond: 22,
  until: 23,
  tool: 24,
  toolstack: 25,
  irq: 26,
  io: 27,
} as const;

export const EVENT = struct('event', {
  ns: 'f64',
  op: 'i32',
  /** Resource, and for wait and sync the mutex; link of a request, service of serve. */
  resource: 'i32',
  mutex: 'i32',
  absolute: 'i32',
  /** Of a request or an answer. */
  bytes: 'i32',
});

/** What tasks of a domain share. */
export const RESOURCE_KINDS = [
  'mutex',
  'cond',
  'barrier',
  'point',
  'timer',
  'semaphore',
  'fork',
  'device',
  'seen',
] as const;
export type ResourceKind = (typeof RESOURCE_KINDS)[number];

export const RESOURCE = struct('resource', {
  /** Timers: next expiry, guest clock; -1 = not used yet. */
  nextExpiry: 'f64',
  /** Index in RESOURCE_KINDS. */
  kind: 'i32',
  /** Mutexes: task + 1. Forks: first record for a forked task. Devices: number + 1; what a task has seen: interrupts. */
  owner: 'i32',
  first: 'i32',
  last: 'i32',
  /** Barriers: tasks that meet, and those that are there. Semaphores: their value in `waiting`. Forks: how many may be, and are. */
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
  readonly requests: RequestShape;
  readonly timerSlots: number;
  readonly logLines: number;
  readonly tools: ToolShape;
  /** Domains whose console and xenstore domain 0 serves. */
  readonly backEnds: number;
}

export const modelRegions = (s: ModelShape): Region[] => [
  tableRegion(K_VCPU, s.vcpus),
  tableRegion(K_FAIR, s.vcpus),
  tableRegion(K_QUEUE, QUEUES_PER_VCPU * s.vcpus),
  tableRegion(K_DOMAIN, s.domains),
  tableRegion(TASK, s.tasks),
  tableRegion(TASK_SCHED, s.tasks),
  tableRegion(PHASE, s.phases),
  tableRegion(EVENT, s.events),
  tableRegion(RESOURCE, s.resources),
  ...requestRegions(s.requests),
  rawRegion('task-timer-queues', 4, Math.max(1, s.timerSlots)),
  ...toolRegions(s.tools),
  ...backEndRegions(s.backEnds),
  rawRegion('task-log', 8 * LOG_FIELDS * s.logLines, Math.max(1, s.tasks)),
];
