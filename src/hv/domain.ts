/** Domains: creation, shutdown, crash. A domain that ended keeps its records until it is destroyed (destroy.ts). */
import { hardMask } from '../balancer/records.js';
import { PAGE_SIZE } from '../shared/image.js';
import { NONE } from '../shared/list.js';
import { XEN_LEGACY_MAX_VCPUS } from '../shared/public/arch-x86.js';
import { sizeOf } from '../shared/public/layout.js';
import { SHUTDOWN_crash } from '../shared/public/sched.js';
import { RUNSTATE_offline } from '../shared/public/vcpu.js';
import { VIRQ_DOM_EXC } from '../shared/public/xen.js';
import { vcpu_info } from '../shared/public/xen-layout.js';
import { NOTE, TRACE } from '../shared/trace-kinds.js';
import type { Affinities } from './affinity.js';
import type { ConsoleRing } from './console-ring.js';
import { type HvContext, WALL_LOCK } from './context.js';
import type { Frames } from './frames.js';
import { DOMAIN, DOMAIN_STATE, NOBODY, VPF_domain_paused, VPF_down, VPF_shutdown } from './records.js';
import type { Scheduler } from './schedule.js';
import type { TimeKeeping } from './time.js';
import type { TimeCheck } from './time-check.js';
import { TICKER_NS, type Timers } from './timer.js';

/** Why the hypervisor ends a domain that broke its rules. */
export const CRASH = {
  noCallback: 1,
  badCallback: 2,
  badEntry: 3,
  exception: 4,
  lostGrant: 5,
} as const;
export type CrashReason = (typeof CRASH)[keyof typeof CRASH];

export const CRASH_TEXT: Readonly<Record<number, string>> = {
  [CRASH.noCallback]: 'an event was pending and no event callback is registered',
  [CRASH.badCallback]: 'the event callback is not an address of its code',
  [CRASH.badEntry]: 'a VCPU was started at an address that is not its code',
  [CRASH.exception]: 'an exception that it does not handle',
  [CRASH.lostGrant]: 'a page-table entry that mapped a grant was overwritten, not unmapped',
};

/** Parameters of the SEDF scheduler, times in ns (XEN-FACTS §1). */
export interface SedfSpec {
  readonly periodNs: number;
  /** 0 = none of its own. */
  readonly sliceNs: number;
  readonly latencyNs: number;
  readonly extratime: boolean;
  /** With extra time the weight in that, else the weight by which it gets a slice; 0 = none. */
  readonly weight: number;
}

/** What a domain is from the beginning. */
export interface DomainSpec {
  /** Its domid. */
  readonly id: number;
  readonly width: 32 | 64;
  /** How many VCPUs it is going to have. */
  readonly vcpus: number;
  readonly weight: number;
  readonly cap: number;
  readonly sedf: SedfSpec;
  /** Number of its cpupool. */
  readonly pool: number;
  /** Frames that it really touches; frame 0 becomes the shared info page. */
  readonly backedFrames: number;
  /** Whether domain 0 has to let it go first. */
  readonly isPaused: boolean;
  /** Whether it is machine code, with page tables of its own. */
  readonly isPaged: boolean;
}

/** Where VCPUs begin, by number within the domain. */
export interface VcpuPlacement {
  /** pCPU numbers, or undefined for all. */
  readonly hardAffinity: (vcpu: number) => readonly number[] | undefined;
  readonly softAffinity: (vcpu: number) => readonly number[] | undefined;
  /** Where the policy starts to look for a VCPU's first pCPU. */
  readonly firstPcpu: (vcpu: number) => number;
}

export interface Domains {
  /** Makes domain d, without memory and VCPUs; false when there are not enough frames in the image. */
  create(d: number, spec: DomainSpec): boolean;
  /** What ABI domain d has from now on; it has not begun. */
  setWidth(d: number, width: 32 | 64): void;
  /** Gives domain d its VCPUs, all down; false when there are not that many records. Domctl lock, but at boot. */
  addVcpus(d: number, count: number, placement: VcpuPlacement): boolean;
  /** The record of the domain of this number, also of one that is dying; NOBODY when there is none. */
  find(id: number): number;
  isAlive(d: number): boolean;
  /** Whether VCPU number `id` of domain d has its vcpu_info by default; the others must register one first. */
  hasLegacyInfo(id: number): boolean;
  /** Starts VCPU 0 of every domain at its entry point; it brings up the others itself. At time 0, when boot is done. */
  startAll(): void;
  /** Parameters under the SEDF scheduler, which is told by `adjust`. */
  setSedf(d: number, spec: SedfSpec): void;
  shutdown(d: number, code: number): void;
  crash(d: number, reason: CrashReason): void;
  /** Tells domain 0 that something happened to a domain, if it wants to know (VIRQ_DOM_EXC). */
  tellDomain0(): void;
}

export interface DomainParts {
  readonly sched: Scheduler;
  readonly time: TimeKeeping;
  readonly timers: Timers;
  readonly frames: Frames;
  readonly affinities: Affinities;
  readonly console: ConsoleRing;
  readonly check: TimeCheck | undefined;
  readonly sendVirq: (v: number, virq: number) => void;
  /** Tells the processor of a new VCPU. */
  readonly made: (v: number) => void;
}

export function domains(hv: HvContext, parts: DomainParts): Domains {
  const { sched, time, timers, frames, affinities, console, check, sendVirq, made } = parts;
  const { image, domain, vcpu, queues, locks, machine, shape, machineWords, trace, me, now } = hv;
  const isShutDown = image.column(DOMAIN, 'isShutDown');
  const { masks, word, entry } = queues;
  const INFO_BYTES = sizeOf(vcpu_info, 64);

  const all: readonly number[] = Array.from({ length: shape.pcpus }, (_, p) => p);

  /** The named pCPUs that exist; all of them when none is named. */
  function existing(cpus: readonly number[] | undefined): readonly number[] {
    const named = cpus?.filter((p) => p < shape.pcpus) ?? [];
    return named.length > 0 ? named : all;
  }

  /** First of `count` records of VCPUs side by side that are nobody's, or NOBODY. */
  function findVcpus(count: number): number {
    for (let first = 0, v = 0; v < shape.vcpus; v++) {
      if (vcpu.domain(v) !== NOBODY) first = v + 1;
      else if (v + 1 - first === count) return first;
    }
    return NOBODY;
  }

  function tellDomain0(): void {
    const v = domain.firstVcpu(0);
    if (domain.state(0) === DOMAIN_STATE.alive && domain.maxVcpus(0) > 0) sendVirq(v, VIRQ_DOM_EXC);
  }

  function shutdown(d: number, code: number): void {
    // Its VCPUs may all ask at the same time: the first one's reason counts.
    if (domain.isShutDown(d) !== 0 || machineWords.exchange(isShutDown.base + (d << isShutDown.shift), 1) !== 0) return;
    domain.setShutdownCode(d, code);
    trace.record(TRACE.domain, d, code);
    trace.note(NOTE.domRem, d, domain.pool(d));
    for (let k = 0; k < domain.maxVcpus(d); k++) {
      const v = domain.firstVcpu(d) + k;
      timers.stopSingleshot(v);
      timers.stopPoll(v);
      vcpu.setPeriodicPeriod(v, 0);
      sched.sleep(v, VPF_shutdown);
    }
    tellDomain0();
  }

  function setSedf(d: number, { periodNs, sliceNs, latencyNs, extratime, weight }: SedfSpec): void {
    domain.setSedfPeriod(d, periodNs);
    domain.setSedfSlice(d, sliceNs);
    domain.setSedfLatency(d, latencyNs);
    domain.setSedfExtra(d, extratime ? 1 : 0);
    domain.setSedfWeight(d, weight);
  }

  /** What is in a VCPU's record from the beginning; it is zero otherwise. */
  function initialiseVcpu(v: number, d: number, id: number): void {
    vcpu.setId(v, id);
    vcpu.setRunstate(v, RUNSTATE_offline);
    vcpu.setPauseFlags(v, VPF_down | (domain.pauseCount(d) > 0 ? VPF_domain_paused : 0));
    vcpu.setWokenAt(v, -1);
    vcpu.setLastPcpu(v, -1);
    vcpu.setPeriodicPeriod(v, TICKER_NS);
    if (time.hasStarted()) {
      vcpu.setCreatedAt(v, now());
      vcpu.setStateEntryTime(v, now());
      vcpu.setPeriodicLastEvent(v, now());
      check?.created(v);
    }
    // VCPUs past the 32 of the shared info page have a page of the hypervisor's until they register their own, as in Xen.
    const info =
      id < XEN_LEGACY_MAX_VCPUS ? domain.sharedInfo(d) + id * INFO_BYTES : image.region('dummy-vcpu-info').base;
    vcpu.setInfoAddr(v, info);
    image.u8[info + 1] = 1;
  }

  /** Who sets the wall clock tells all domains that have a page for it, perhaps at the same time. */
  function writeWallClock(d: number): void {
    locks.acquire(WALL_LOCK, machine.turnOf(me));
    time.updateWallClock(d);
    locks.release(WALL_LOCK, machine.turnOf(me));
  }

  function place(v: number, id: number, placement: VcpuPlacement): void {
    entry.setPool(v, domain.pool(vcpu.domain(v)));
    affinities.give(v, existing(placement.hardAffinity(id)), existing(placement.softAffinity(id)));
    const mayUse = (p: number): boolean => masks.has(word(hardMask(v)), p);
    const first = placement.firstPcpu(id);
    entry.setProcessor(v, mayUse(first) ? first : masks.cycle(NONE, word(hardMask(v))));
    // At boot nobody else is there.
    if (time.hasStarted()) sched.locked(v, () => sched.ops.insert(v));
    else sched.ops.insert(v);
  }

  return {
    setSedf,
    tellDomain0,
    create(d, spec) {
      if (!frames.setAside(d, spec.backedFrames)) return false;
      domain.setId(d, spec.id);
      domain.setWidth(d, spec.width);
      domain.setIsPaged(d, spec.isPaged ? 1 : 0);
      domain.setFlushEpoch(d, 1);
      domain.setPool(d, spec.pool);
      trace.note(NOTE.domAdd, d, spec.pool);
      domain.setVcpuLimit(d, spec.vcpus);
      domain.setWeight(d, spec.weight);
      domain.setCap(d, spec.cap);
      setSedf(d, spec.sedf);
      domain.setPauseCount(d, spec.isPaused ? 1 : 0);
      domain.setSharedInfo(d, domain.frames(d));
      if (time.hasStarted()) writeWallClock(d);
      domain.setState(d, DOMAIN_STATE.alive);
      console.print(`d${spec.id}: created for ${spec.vcpus} VCPUs of ${spec.width} bits`);
      return true;
    },
    setWidth(d, width) {
      domain.setWidth(d, width);
      // What is behind the vcpu_infos is elsewhere in the other ABI.
      const page = domain.sharedInfo(d);
      image.u8.fill(0, page + XEN_LEGACY_MAX_VCPUS * INFO_BYTES, page + PAGE_SIZE);
      writeWallClock(d);
    },
    addVcpus(d, count, placement) {
      const first = findVcpus(count);
      if (first === NOBODY) return false;
      for (let k = 0; k < count; k++) {
        vcpu.setDomain(first + k, d);
        initialiseVcpu(first + k, d, k);
        made(first + k);
        place(first + k, k, placement);
      }
      domain.setFirstVcpu(d, first);
      domain.setMaxVcpus(d, count);
      if (!time.hasStarted()) time.updateWallClock(d);
      return true;
    },
    find(id) {
      if (id < shape.domains && domain.state(id) !== DOMAIN_STATE.free && domain.id(id) === id) return id;
      for (let d = 0; d < shape.domains; d++) {
        if (domain.state(d) !== DOMAIN_STATE.free && domain.id(d) === id) return d;
      }
      return NOBODY;
    },
    isAlive: (d) => domain.state(d) === DOMAIN_STATE.alive,
    startAll() {
      for (let d = 0; d < shape.domains; d++) {
        if (domain.maxVcpus(d) > 0) sched.clearFlag(domain.firstVcpu(d), VPF_down);
      }
    },
    hasLegacyInfo: (id) => id < XEN_LEGACY_MAX_VCPUS,
    shutdown,
    crash(d, reason) {
      if (domain.isShutDown(d) === 0) {
        domain.setCrashReason(d, reason);
        console.print(`Domain ${domain.id(d)} crashed: ${CRASH_TEXT[reason]}`);
      }
      shutdown(d, SHUTDOWN_crash);
    },
  };
}
