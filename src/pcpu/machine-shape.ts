/** The sizes of a machine and the map of its image, computed alike by whoever lays the image and by every worker. */
import { balancerRegions } from '../balancer/records.js';
import { deviceRegions } from '../devices/records.js';
import { type HvParams, numberOfLocks } from '../hv/context.js';
import { lockTimeRegion } from '../hv/lock-time.js';
import { perfcRegion } from '../hv/perfc.js';
import { type HvShape, hvRegions } from '../hv/records.js';
import { findScheduler } from '../hv/sched/registry.js';
import type { UserPolicy } from '../hv/sched/user-policy.js';
import { timeCheckRegions } from '../hv/time-check.js';
import { warmthRegions } from '../hv/warmth.js';
import { doorbellRegion } from '../shared/doorbell.js';
import { type AddressMap, layOut, PAGE_SIZE, rawRegion } from '../shared/image.js';
import { spinlockRegions } from '../shared/spinlock.js';
import { traceRegions } from '../shared/trace-ring.js';
import { controlRegions } from './control-records.js';
import { keyTreeRegions } from './key-tree.js';
import { mailRegions } from './mail.js';
import type { GuestKernelParams } from './model/kernel.js';
import { type ModelShape, modelRegions } from './model/records.js';
import { runAheadRegions } from './run-ahead.js';
import { type X86Shape, x86Regions } from './x86/records.js';

export interface MachineShape {
  readonly workers: number;
  readonly hv: HvShape;
  readonly model: ModelShape;
  /** Of x86 guests. */
  readonly x86: X86Shape;
  /** Frames of machine memory backed in the image. */
  readonly frames: number;
}

/** Constants of a run that every worker needs. */
export interface RunParams {
  readonly hv: HvParams;
  readonly guest: GuestKernelParams;
  /** The scheduler, where it is a file of the user's: each worker loads it. */
  readonly policy?: UserPolicy | undefined;
  /** Simulation time at which the run ends; Infinity = when nothing is left to do. */
  readonly horizonNs: number;
  /** Simulated seconds per host second; 0 = unlimited. */
  readonly pace: number;
  /** Rounds a worker without the token spins before it sleeps; 0 where threads outnumber cores. */
  readonly spins: number;
  /** Workers that run guests of machine code at the same time in ordered mode. */
  readonly helpers: number;
  readonly inject?: { readonly kind: string; readonly pcpu: number; readonly atNs: number } | undefined;
}

/** @param policies schedulers that have records in it */
export function machineMap(shape: MachineShape, policies: readonly string[]): AddressMap {
  const { pcpus, domains, runners, groups } = shape.hv;
  const locks = numberOfLocks(domains, shape.hv.runners);
  return layOut([
    doorbellRegion(shape.workers),
    ...controlRegions(shape.workers),
    ...keyTreeRegions(pcpus, runners),
    ...mailRegions(pcpus, shape.workers),
    ...traceRegions(pcpus, runners, groups),
    ...spinlockRegions(locks, pcpus),
    lockTimeRegion(locks),
    perfcRegion(pcpus),
    ...balancerRegions(shape.hv),
    ...hvRegions(shape.hv),
    ...timeCheckRegions(shape.hv),
    ...warmthRegions(shape.hv),
    ...policies.flatMap((name) => findScheduler(name)?.regions(shape.hv) ?? []),
    ...deviceRegions(shape.hv.devices),
    ...modelRegions(shape.model),
    ...x86Regions(shape.x86),
    ...(shape.x86.vcpus === 0 ? [] : runAheadRegions(pcpus, shape.workers)),
    rawRegion('frames', PAGE_SIZE, shape.frames, PAGE_SIZE),
  ]);
}
