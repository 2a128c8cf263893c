/** What every part of the hypervisor works on: tables bound to the image once per worker, and the run's constants. */

import { ONLINE_MASK, WHOLE } from '../balancer/records.js';
import { type RunQueues, runQueues } from '../balancer/run-queues.js';
import type { CacheCosts, Topology } from '../balancer/topology.js';
import type { Image } from '../shared/image.js';
import { type Jitter, jitterOf, noJitter } from '../shared/jitter.js';
import { MAX_CPUPOOLS, MAX_DOMAINS, MAX_PCPUS } from '../shared/limits.js';
import { RUNSTATE_offline } from '../shared/public/vcpu.js';
import { type SharedWords, sharedWords } from '../shared/shared-words.js';
import { LOCK_RANK, type Spinlocks, spinlocks } from '../shared/spinlock.js';
import type { Table } from '../shared/struct.js';
import { setTraceGroup, type Tracer, traceBases, tracer } from '../shared/trace-ring.js';
import { type VersionCounter, versionCounter } from '../shared/version-counter.js';
import { timedLocks } from './lock-time.js';
import { type Perfc, perfCounters } from './perfc.js';
import {
  DOMAIN,
  EVTCHN,
  FLOOR,
  HOST,
  type HvShape,
  MACHINE,
  NOBODY,
  PCPU,
  REGS,
  SEPARATION,
  VCPU,
  VPF_down,
} from './records.js';

/** Faults of time-keeping on purpose, each known by name to the checks of docs/check-time.md. */
export const TIME_FAULTS = [
  'offset',
  'drift',
  'frequency-step',
  'lost-update',
  'early-stamp',
  'unsigned-delta',
  'khz-rounding',
  'late-calibration',
  'skipped-calibration',
  'torn-writer',
  'lost-single-shot',
  'past-periodic',
  'late-ipi',
] as const;
export type TimeFault = (typeof TIME_FAULTS)[number];

/** Which Xen the machine is like: 3.0.4, which the specification describes, or 4.18. All differences stand in docs/profiles.md. */
export const PROFILES = ['modern', 'classic'] as const;
export type Profile = (typeof PROFILES)[number];

export interface TimingParams {
  /** Whether the counters are synchronised at boot. */
  readonly synchronise: boolean;
  /** How system times are kept together: told by pCPU 0 (modern Xen), each by itself (classic), not at all. */
  readonly calibration: 'rendezvous' | 'local' | 'off';
  /** From `atNs` on pCPU `pcpu` does it wrong. */
  readonly inject?: { readonly kind: string; readonly pcpu: number; readonly atNs: number } | undefined;
}

/** Free mode: every worker takes turns of its own pCPUs at the same time as the others. */
export interface FreeParams {
  /** How far simulation clocks may run apart, ns. */
  readonly windowNs: number;
  /** Pauses where races live; 0 = none. */
  readonly jitterSeed: number;
  /** Rounds a waiter spins before it sleeps for a moment. */
  readonly spins: number;
}

/** Which pCPUs share a run queue under credit2 (Xen's `credit2_runqueue`); a socket is a node of memory, so these two are the same. */
export const RUNQUEUE_ARRANGEMENTS = ['cpu', 'core', 'socket', 'node', 'all'] as const;
export type RunqueueArrangement = (typeof RUNQUEUE_ARRANGEMENTS)[number];

/** Boot parameters of the credit2 scheduler. */
export interface Credit2Params {
  readonly runqueue: RunqueueArrangement;
  /** Window of average loads: 2 to this, ns. */
  readonly loadWindowShift: number;
  /** Queues are balanced whose loads differ by 2 to this, pCPUs: of queues with pCPUs to spare, and of others. */
  readonly balanceUnder: number;
  readonly balanceOver: number;
}

/** Constants of a run; equal parameters and an equal image give an equal trace hash. */
export interface HvParams {
  readonly profile: Profile;
  /** Pool-0's scheduler. */
  readonly scheduler: string;
  /** All that the machine has records for, Pool-0's first; by their places here cpupools name theirs. */
  readonly policies: readonly string[];
  readonly tsliceNs: number;
  readonly ratelimitNs: number;
  readonly migrationDelayNs: number;
  readonly boost: boolean;
  readonly credit2: Credit2Params;
  readonly latencyNs: number;
  readonly topology: Topology;
  /** `sched_smt_power_savings`: fills sockets and cores instead of spreading over them. */
  readonly smtPowerSavings: boolean;
  /** What it costs to run where one's caches are not (warmth.ts); absent: nothing. */
  readonly cache?: CacheCosts | undefined;
  /** Nominal frequency of the cycle counters, Hz. */
  readonly cycleHz: number;
  readonly timing: TimingParams;
  /** Compare what guests see of time with simulation time. */
  readonly checkTime: boolean;
  /** UTC at simulation time 0, s: for the comparison only. */
  readonly bootTimeS: number;
  /** How long a run-queue lock and the scheduler's private lock are held each time, ns; 0 = no time passes. */
  readonly runqLockNs: number;
  readonly privateLockNs: number;
  /** Absent: ordered mode, one runner at a time, so that locks and shared words need no atomic operations. */
  readonly free?: FreeParams | undefined;
  readonly trace: boolean;
  readonly debug: boolean;
}

export interface HvContext {
  readonly image: Image;
  readonly shape: HvShape;
  readonly params: HvParams;
  readonly machine: Table<typeof MACHINE.fields>;
  readonly floors: Table<typeof FLOOR.fields>;
  readonly domain: Table<typeof DOMAIN.fields>;
  readonly vcpu: Table<typeof VCPU.fields>;
  readonly pcpu: Table<typeof PCPU.fields>;
  readonly regs: Table<typeof REGS.fields>;
  readonly evtchn: Table<typeof EVTCHN.fields>;
  readonly host: Table<typeof HOST.fields>;
  readonly queues: RunQueues;
  readonly locks: Spinlocks;
  readonly trace: Tracer;
  readonly perfc: Perfc;
  readonly version: VersionCounter;
  /** Words of a domain, a VCPU or a pCPU that are changed under no lock; while the workers are separate, one worker's alone. */
  readonly words: SharedWords;
  /** Words of the whole machine, which every worker changes at any time. */
  readonly machineWords: SharedWords;
  /** Free mode: whether no worker comes near the VCPUs, domains and pCPUs of another, but when it has stopped it (separation.ts). */
  isSeparate(): boolean;
  /** Record of MACHINE of whoever takes turns here: the worker's, if it is a runner; in ordered mode else 0. */
  readonly me: number;
  /** The lock of the run queue that pCPU p takes its VCPUs from. */
  lockOf(p: number): number;
  /** Locks that are no domain's and no pCPU's, but guard what is each domain's own: one for each group that runs side by side. */
  readonly eventTableLock: number;
  readonly consoleLock: number;
  readonly isOrdered: boolean;
  /** A place where others may see things half done: `--jitter` pauses here now and then. */
  readonly raceWindow: Jitter;
  /** Free mode: something that happened at `ns` has come to be known here. No effect in ordered mode. */
  moveOn(ns: number): void;
  /** Simulation time of the turn, ns. Read from the image: a double handed through calls would be boxed. */
  now(): number;
  isIdle(v: number): boolean;
  idleOf(p: number): number;
  /** Whether pCPU p is to commit this fault of time-keeping by now. */
  faulty(kind: TimeFault, p: number): boolean;
}

/** Lock numbers; what each guards stands in docs/lock-order.md. One a cpupool, one a pCPU, three a domain. */
export const PRIVATE_LOCK = 0;
export const WALL_LOCK = 1;
export const RENDEZVOUS_LOCK = 2;
export const EVENT_TABLE_LOCK = 3;
export const CONSOLE_LOCK = 4;
/** Interrupt lines, who has them, and the registers of devices. Below the run-queue locks: workers share it, separate or not. */
export const IRQ_LOCK = 7;
export const DOMCTL_LOCK = 5;
export const HEAP_LOCK = 6;
const FIRST_POOL_LOCK = 8;
/** Private lock of the scheduler of a cpupool; PRIVATE_LOCK is that of Pool-0. */
export const privateLock = (pool: number): number => (pool === 0 ? PRIVATE_LOCK : FIRST_POOL_LOCK + pool - 1);
const FIRST_RUNQ_LOCK = FIRST_POOL_LOCK + MAX_CPUPOOLS - 1;
export const runqLock = (p: number): number => FIRST_RUNQ_LOCK + p;
export const eventLock = (d: number): number => FIRST_RUNQ_LOCK + MAX_PCPUS + d;
const FIRST_BUDGET_LOCK = FIRST_RUNQ_LOCK + MAX_PCPUS + MAX_DOMAINS;
/** Of what a capped domain may still run under the credit2 scheduler. */
export const budgetLock = (d: number): number => FIRST_BUDGET_LOCK + d;
const FIRST_PAGE_LOCK = FIRST_BUDGET_LOCK + MAX_DOMAINS;
/** Of what a domain's frames are used as, and of its page tables. */
export const pageLock = (d: number): number => FIRST_PAGE_LOCK + d;
const FIRST_GUEST_LOCK = FIRST_PAGE_LOCK + MAX_DOMAINS;
/** Of the kernel of a domain with several VCPUs: a guest's own business, but one word of the image like the others. */
export const guestLock = (d: number): number => FIRST_GUEST_LOCK + d;
/** Ordered mode: of every runner but the first, who has those of the whole machine: its event table and console lock. */
const runnersLock = (domains: number, runner: number): number => FIRST_GUEST_LOCK + domains + 2 * (runner - 1);
export const numberOfLocks = (domains: number, runners: number): number => runnersLock(domains, runners);

/** Whether locks take simulated time. */
export const isTimed = (params: HvParams): boolean => params.runqLockNs > 0 || params.privateLockNs > 0;

/**
 * @param self number of the worker that will run this
 * @param isEnded whether the machine was ended, asked by who has waited long for a lock
 */
export function createContext(
  image: Image,
  shape: HvShape,
  params: HvParams,
  self: number,
  isEnded: () => boolean,
): HvContext {
  const machine = image.table(MACHINE);
  const { f64 } = image;
  const { free } = params;
  const isOrdered = free === undefined;
  // One that has no groups of its own takes turns only while nobody else does.
  const me = self < shape.runners ? self : 0;
  const own = isOrdered && me > 0 ? runnersLock(shape.domains, me) : undefined;
  const { base, shift } = image.column(MACHINE, 'now');
  const NOW = base + (me << shift);
  const { vcpus } = shape;
  const quiet = image.region('quiet-word').base >> 2;
  const raceWindow = free && free.jitterSeed !== 0 ? jitterOf(image.i32, quiet, free.jitterSeed + self) : noJitter;
  const isSeparate = image.column(SEPARATION, 'isSeparate').base;
  const words = sharedWords(image.i32, image.u8, isOrdered ? 'never' : { unless: isSeparate });
  const locks = spinlocks(image.i32, f64, image.region('spinlocks').base, image.region('held-locks').base, {
    debug: params.debug,
    free: free && {
      now: NOW,
      // A guest's data go with its lock, and nothing gets to another pCPU in less than L.
      firstHandedOver: FIRST_GUEST_LOCK,
      handOverNs: params.latencyNs,
      separate: isSeparate,
      firstOwn: FIRST_RUNQ_LOCK,
      spins: free.spins,
      jitter: raceWindow,
      isEnded,
    },
  });
  const { inject } = params.timing;
  const queues = runQueues(image, shape, words);
  return {
    image,
    shape,
    params,
    machine,
    floors: image.table(FLOOR),
    domain: image.table(DOMAIN),
    vcpu: image.table(VCPU),
    pcpu: image.table(PCPU),
    regs: image.table(REGS),
    evtchn: image.table(EVTCHN),
    host: image.table(HOST),
    queues,
    locks: isTimed(params) ? timedLocks(image, locks, machine, me, holdingCosts(params)) : locks,
    trace: tracer(image.i32, traceBases(image), {
      keep: params.trace,
      ordered: isOrdered,
      me,
      groups: isOrdered ? shape.groups : 1,
    }),
    perfc: perfCounters(image, shape.pcpus),
    version: versionCounter(image.i32, isOrdered),
    words,
    machineWords: sharedWords(image.i32, image.u8, isOrdered ? 'never' : 'always'),
    isSeparate: () => image.i32[isSeparate] !== 0,
    me,
    lockOf: (p) => runqLock(queues.queueOf(p)),
    eventTableLock: own ?? EVENT_TABLE_LOCK,
    consoleLock: own === undefined ? CONSOLE_LOCK : own + 1,
    isOrdered,
    raceWindow,
    moveOn: isOrdered
      ? () => {}
      : (ns) => {
          if (ns > f64[NOW]!) f64[NOW] = ns;
        },
    now: () => f64[NOW]!,
    isIdle: (v) => v >= vcpus,
    idleOf: (p) => vcpus + p,
    faulty:
      inject === undefined
        ? () => false
        : (kind, p) => inject.kind === kind && inject.pcpu === p && f64[NOW]! >= inject.atNs,
  };
}

/** How long each lock is held, ns; only the scheduler's locks take simulated time. */
function holdingCosts({ privateLockNs, runqLockNs }: HvParams): (lock: number) => number {
  return (lock) => {
    if (lock === PRIVATE_LOCK || (lock >= FIRST_POOL_LOCK && lock < FIRST_RUNQ_LOCK)) return privateLockNs;
    return lock >= runqLock(0) && lock < eventLock(0) ? runqLockNs : 0;
  };
}

/** Brings the zeroed tables to the state before the first domain: pCPUs on line and idle. Once, by the main thread. */
export function initialiseHv(hv: HvContext): void {
  const { image, pcpu, vcpu, queues, locks, shape } = hv;
  const { masks, word, entry } = queues;
  for (let pool = 0; pool < shape.pools; pool++) locks.init(privateLock(pool), LOCK_RANK.schedulerPrivate);
  locks.init(WALL_LOCK, LOCK_RANK.wall);
  locks.init(EVENT_TABLE_LOCK, LOCK_RANK.eventTable);
  locks.init(CONSOLE_LOCK, LOCK_RANK.console);
  locks.init(IRQ_LOCK, LOCK_RANK.irq);
  locks.init(RENDEZVOUS_LOCK, LOCK_RANK.rendezvous);
  locks.init(DOMCTL_LOCK, LOCK_RANK.domctl);
  locks.init(HEAP_LOCK, LOCK_RANK.heap);
  for (let d = 0; d < shape.domains; d++) {
    locks.init(eventLock(d), LOCK_RANK.event);
    locks.init(guestLock(d), LOCK_RANK.guest);
    locks.init(budgetLock(d), LOCK_RANK.budget);
    locks.init(pageLock(d), LOCK_RANK.pages);
  }
  for (let v = 0; v < shape.vcpus; v++) {
    vcpu.setDomain(v, NOBODY);
    vcpu.setPauseFlags(v, VPF_down);
    vcpu.setRunstate(v, RUNSTATE_offline);
  }
  for (let lock = runnersLock(shape.domains, 1); lock < numberOfLocks(shape.domains, shape.runners); lock += 2) {
    locks.init(lock, LOCK_RANK.eventTable);
    locks.init(lock + 1, LOCK_RANK.console);
  }
  for (let p = 0; p < shape.pcpus; p++) {
    locks.init(runqLock(p), LOCK_RANK.runQueue);
    const idle = hv.idleOf(p);
    masks.set(word(ONLINE_MASK), p);
    queues.setGroup(p, 0, WHOLE);
    queues.runq.setQueue(p, p);
    setTraceGroup(image.i32, traceBases(image), p, 0);
    masks.set(queues.idlers(p), p);
    entry.setProcessor(idle, p);
    entry.setIsRunning(idle, 1);
    vcpu.setDomain(idle, NOBODY);
    vcpu.setId(idle, p);
    pcpu.setCurrent(p, idle);
    pcpu.setLastTickled(p, p);
    for (const set of [
      pcpu.setSliceEnd,
      pcpu.setTickAt,
      pcpu.setCalibrateAt,
      pcpu.setTimerAt,
      pcpu.setPeriodicAt,
      pcpu.setGuestAt,
      pcpu.setReschedIpiAt,
      pcpu.setEventIpiAt,
    ]) {
      set(p, Infinity);
    }
  }
}
