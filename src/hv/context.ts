/** What every part of the hypervisor works on: tables bound to the image once per worker, and the run's constants. */

import { MASK } from '../balancer/records.js';
import { type RunQueues, runQueues } from '../balancer/run-queues.js';
import type { Image } from '../shared/image.js';
import { LOCK_RANK, type Spinlocks, spinlocks } from '../shared/spinlock.js';
import type { Table } from '../shared/struct.js';
import { type Tracer, traceBases, tracer } from '../shared/trace-ring.js';
import { type VersionCounter, versionCounter } from '../shared/version-counter.js';
import { timedLocks } from './lock-time.js';
import { type Perfc, perfCounters } from './perfc.js';
import { DOMAIN, EVTCHN, type HvShape, MACHINE, PCPU, REGS, VCPU } from './records.js';

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

export interface TimingParams {
  /** Whether the counters are synchronised at boot. */
  readonly synchronise: boolean;
  /** How system times are kept together: told by pCPU 0 (modern Xen), each by itself (classic), not at all. */
  readonly calibration: 'rendezvous' | 'local' | 'off';
  /** From `atNs` on pCPU `pcpu` does it wrong. */
  readonly inject?: { readonly kind: string; readonly pcpu: number; readonly atNs: number } | undefined;
}

/** Constants of a run; equal parameters and an equal image give an equal trace hash. */
export interface HvParams {
  readonly scheduler: string;
  readonly tsliceNs: number;
  readonly ratelimitNs: number;
  readonly migrationDelayNs: number;
  readonly boost: boolean;
  readonly latencyNs: number;
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
  /** Ordered mode: one runner at a time, so that locks and shared words need no atomic operations. */
  readonly ordered: boolean;
  readonly trace: boolean;
  readonly debug: boolean;
}

export interface HvContext {
  readonly image: Image;
  readonly shape: HvShape;
  readonly params: HvParams;
  readonly machine: Table<typeof MACHINE.fields>;
  readonly domain: Table<typeof DOMAIN.fields>;
  readonly vcpu: Table<typeof VCPU.fields>;
  readonly pcpu: Table<typeof PCPU.fields>;
  readonly regs: Table<typeof REGS.fields>;
  readonly evtchn: Table<typeof EVTCHN.fields>;
  readonly queues: RunQueues;
  readonly locks: Spinlocks;
  readonly trace: Tracer;
  readonly perfc: Perfc;
  readonly version: VersionCounter;
  /** Simulation time of the turn, ns. Read from the image: a double handed through calls would be boxed. */
  now(): number;
  isIdle(v: number): boolean;
  idleOf(p: number): number;
  /** Whether pCPU p is to commit this fault of time-keeping by now. */
  faulty(kind: TimeFault, p: number): boolean;
}

/** Lock numbers: the scheduler's private lock, then one run-queue lock a pCPU. */
export const PRIVATE_LOCK = 0;
export const runqLock = (p: number): number => p + 1;
export const numberOfLocks = (pcpus: number): number => pcpus + 1;

/** Whether locks take simulated time. */
export const isTimed = (params: HvParams): boolean => params.runqLockNs > 0 || params.privateLockNs > 0;

export function createContext(image: Image, shape: HvShape, params: HvParams): HvContext {
  const machine = image.table(MACHINE);
  const { f64 } = image;
  const NOW = image.column(MACHINE, 'now').base;
  const { vcpus } = shape;
  const locks = spinlocks(image.i32, image.region('spinlocks').base, image.region('held-locks').base, {
    exclusive: params.ordered,
    debug: params.debug,
  });
  const { inject } = params.timing;
  return {
    image,
    shape,
    params,
    machine,
    domain: image.table(DOMAIN),
    vcpu: image.table(VCPU),
    pcpu: image.table(PCPU),
    regs: image.table(REGS),
    evtchn: image.table(EVTCHN),
    queues: runQueues(image, shape.pcpus, params.ordered),
    locks: isTimed(params)
      ? timedLocks(image, locks, machine, (lock) => (lock === PRIVATE_LOCK ? params.privateLockNs : params.runqLockNs))
      : locks,
    trace: tracer(image.i32, traceBases(image), params.trace),
    perfc: perfCounters(image, shape.pcpus),
    version: versionCounter(image.i32, params.ordered),
    now: () => f64[NOW]!,
    isIdle: (v) => v >= vcpus,
    idleOf: (p) => vcpus + p,
    faulty:
      inject === undefined
        ? () => false
        : (kind, p) => inject.kind === kind && inject.pcpu === p && f64[NOW]! >= inject.atNs,
  };
}

/** Brings the zeroed tables to the state before the first domain: pCPUs on line and idle. Once, by the main thread. */
export function initialiseHv(hv: HvContext): void {
  const { pcpu, vcpu, queues, locks, shape } = hv;
  const { masks, word, entry } = queues;
  locks.init(PRIVATE_LOCK, LOCK_RANK.schedulerPrivate);
  for (let p = 0; p < shape.pcpus; p++) {
    locks.init(runqLock(p), LOCK_RANK.runQueue);
    const idle = hv.idleOf(p);
    masks.set(word(MASK.online), p);
    masks.set(word(MASK.idlers), p);
    entry.setProcessor(idle, p);
    entry.setIsRunning(idle, 1);
    vcpu.setDomain(idle, -1);
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
