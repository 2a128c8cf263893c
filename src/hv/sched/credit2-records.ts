/** The state records and constants of the credit2 scheduler (Xen's CSCHED2_…). Credit and budget are ns of a pCPU's time. */
import { machineMaskWords } from '../../balancer/records.js';
import { type Region, rawRegion, tableRegion } from '../../shared/image.js';
import { struct } from '../../shared/struct.js';

/** What a VCPU begins with, and what everybody of a run queue gets when nobody there has any left, ns. */
export const CREDIT_INIT = 10e6;
/** Nobody owes more than this, ns. */
export const CREDIT_MIN = -CREDIT_INIT;
export const CREDIT_IDLE = -(1 << 30);
/** Shortest and longest time until a pCPU looks again, ns. */
export const MIN_TIMER_NS = 500e3;
export const MAX_TIMER_NS = CREDIT_INIT;
/** What of old credit is kept beyond a new start, ns. */
export const CARRYOVER_MAX = MIN_TIMER_NS;
/** How much more credit a VCPU must have to be taken over from another pCPU, and what it gets for being, ns. */
export const MIGRATE_RESIST = 500e3;
export const MIGRATE_COMPENSATION = 50e3;
/** Who will have run for the ratelimit in this time may be told to make room, ns. */
export const RATELIMIT_TOLERANCE_NS = 50e3;
/** How often a capped domain gets its budget, ns. */
export const REPLENISH_PERIOD_NS = 10e6;
/** Most pCPUs of a run queue (`credit2_max_cpus_runqueue`). */
export const MAX_CPUS_RUNQUEUE = 16;

/** Loads are multiples of 2^-18 pCPUs; their time goes in steps of 2^10 ns. */
export const LOAD_PRECISION_SHIFT = 18;
export const LOAD_ONE = 2 ** LOAD_PRECISION_SHIFT;
export const LOAD_GRANULARITY_SHIFT = 10;

/** One per VCPU, idle ones included. Guarded by the lock of the run queue it belongs to. */
export const CREDIT2_VCPU = struct(
  'credit2-vcpu',
  {
    /** Since when the running VCPU has not been debited, ns. */
    startTime: 'f64',
    /** When `avgload` was brought up to date, in steps of load time. */
    loadUpdated: 'f64',
    /** What is left of what it took of its domain's budget, and how much it takes at a time, ns. Infinity: no cap. */
    budget: 'f64',
    quota: 'f64',
    credit: 'i32',
    /** Remainder of the last debit, in ns x weight of the queue. */
    residual: 'i32',
    weight: 'i32',
    /** Which part of the last window it was runnable. */
    avgload: 'i32',
    /** The pCPU told of it, + 1; 0 = none. */
    tickledOn: 'i32',
    /** 1 from when it is chosen to run until its state is saved. */
    isScheduled: 'i32',
    /** 1 when it goes into the queue as soon as its state is saved. */
    delayedAdd: 'i32',
    yields: 'i32',
    /** 1 when hard affinity is a single pCPU. */
    isPinned: 'i32',
    /** The run queue that balancing chose for it, + 1; 0 = none. */
    moveTo: 'i32',
    /** The run queue it is a member of, + 1; 0 = none: it was moved, and nobody has taken the new queue's lock for it yet. */
    queue: 'i32',
    /** 1 while it counts in that queue's load. */
    isCounted: 'i32',
    next: 'i32',
    prev: 'i32',
    linked: 'i32',
  },
  64,
);

/**
 * One per run queue, under the number of its first pCPU. Guarded by its lock; `bAvgload` and `pickBias` are also looked at without
 * it, as hints. The instantaneous load is the generic queue's `nrRunnable`, and those who wait are in its list, most credit first.
 */
export const CREDIT2_RUNQ = struct(
  'credit2-runq',
  {
    loadUpdated: 'f64',
    /** Average load, and the same with what has just been moved here or away already counted: for balancing. */
    avgload: 'i32',
    bAvgload: 'i32',
    /** Greatest weight of a member: its credit burns in real time. */
    maxWeight: 'i32',
    /** The pCPU that was picked last. */
    pickBias: 'i32',
    /** Its pCPUs: `start` up to, not including, `end`. Written at boot. */
    start: 'i32',
    end: 'i32',
    /** Members, runnable or not. */
    first: 'i32',
    last: 'i32',
  },
  64,
);

/** Guarded by the domain's budget lock. */
export const CREDIT2_DOMAIN = struct(
  'credit2-domain',
  {
    /** What its VCPUs may still take; less than 0 when they ran over. */
    budget: 'f64',
    /** What it gets each period; 0 = it has no cap. */
    totBudget: 'f64',
    nextReplenish: 'f64',
    /** Its VCPUs that are parked, or are just being let go. */
    parked: 'i32',
  },
  64,
);

/** One per instance of the scheduler. */
export const CREDIT2_GLOBAL = struct(
  'credit2-global',
  {
    /** Written by a toolstack; read as it is. */
    ratelimitNs: 'f64',
    /** When budgets are looked at next; written by the accounting pCPU alone. Counts only while `isArmed`. */
    nextReplenish: 'f64',
    /** 1 while a domain has less than its budget. Atomics. */
    isArmed: 'i32',
  },
  64,
);

/** Masks of a run queue, on cache lines of its own. All under its lock. */
export const RUNQ_MASKS = 4;
export const ACTIVE = 0;
/** pCPUs that were told to look at the queue and have not yet. */
export const TICKLED = 1;
/** Idle pCPUs that were not told. */
export const FREE = 2;
/** Those of them whose whole core is. */
export const SMT_FREE = 3;

export const credit2Regions = (shape: { pcpus: number; vcpus: number; domains: number }): Region[] => [
  tableRegion(CREDIT2_VCPU, shape.vcpus + shape.pcpus),
  tableRegion(CREDIT2_RUNQ, shape.pcpus),
  tableRegion(CREDIT2_DOMAIN, shape.domains),
  tableRegion(CREDIT2_GLOBAL, 1),
  rawRegion('credit2-masks', machineMaskWords(shape.pcpus) * 4 * RUNQ_MASKS, shape.pcpus),
];
