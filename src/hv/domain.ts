/** Domains: creation, shutdown, crash. A domain that ended keeps its records, so that its numbers can be reported. */
import { settleAffinity } from '../balancer/affinity.js';
import { hardMask, hardWish, softWish } from '../balancer/records.js';
import { PAGE_SIZE } from '../shared/image.js';
import { XEN_LEGACY_MAX_VCPUS } from '../shared/public/arch-x86.js';
import { sizeOf } from '../shared/public/layout.js';
import { SHUTDOWN_crash } from '../shared/public/sched.js';
import { RUNSTATE_offline } from '../shared/public/vcpu.js';
import { vcpu_info } from '../shared/public/xen-layout.js';
import { NOTE, TRACE } from '../shared/trace-kinds.js';
import type { HvContext } from './context.js';
import { DOMAIN, VPF_down, VPF_shutdown } from './records.js';
import type { Scheduler } from './schedule.js';
import type { TimeKeeping } from './time.js';
import { TICKER_NS, type Timers } from './timer.js';

/** Why the hypervisor ends a domain that broke its rules. */
export const CRASH = {
  noCallback: 1,
  badCallback: 2,
  badEntry: 3,
} as const;
export type CrashReason = (typeof CRASH)[keyof typeof CRASH];

export const CRASH_TEXT: Readonly<Record<number, string>> = {
  [CRASH.noCallback]: 'an event was pending and no event callback is registered',
  [CRASH.badCallback]: 'the event callback is not an address of its code',
  [CRASH.badEntry]: 'a VCPU was started at an address that is not its code',
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

export interface DomainSpec {
  readonly width: 32 | 64;
  readonly firstVcpu: number;
  readonly vcpus: number;
  readonly weight: number;
  readonly cap: number;
  readonly sedf: SedfSpec;
  /** Number of its cpupool. */
  readonly pool: number;
  /** Image address and number of its frames; frame 0 becomes the shared info page. */
  readonly frames: number;
  readonly nrFrames: number;
  /** pCPU numbers, or undefined for all, per VCPU. */
  readonly hardAffinity: (vcpu: number) => readonly number[] | undefined;
  readonly softAffinity: (vcpu: number) => readonly number[] | undefined;
  /** Where the policy starts to look for a VCPU's first pCPU. */
  readonly firstPcpu: (vcpu: number) => number;
}

export interface Domains {
  create(d: number, spec: DomainSpec): void;
  /** Whether VCPU number `id` of domain d has its vcpu_info by default; the others must register one first. */
  hasLegacyInfo(id: number): boolean;
  /** Starts VCPU 0 of every domain at its entry point; it brings up the others itself. At time 0, when boot is done. */
  startAll(): void;
  /** Parameters under the SEDF scheduler, which is told by `adjust`. */
  setSedf(d: number, spec: SedfSpec): void;
  shutdown(d: number, code: number): void;
  crash(d: number, reason: CrashReason): void;
}

export function domains(hv: HvContext, sched: Scheduler, time: TimeKeeping, timers: Timers): Domains {
  const { image, domain, vcpu, queues, shape, machineWords, trace } = hv;
  const isShutDown = image.column(DOMAIN, 'isShutDown');
  const { masks, word, entry } = queues;
  const INFO_BYTES = sizeOf(vcpu_info, 64);

  const all: readonly number[] = Array.from({ length: shape.pcpus }, (_, p) => p);

  /** The named pCPUs that exist; all of them when none is named. */
  function existing(cpus: readonly number[] | undefined): readonly number[] {
    const named = cpus?.filter((p) => p < shape.pcpus) ?? [];
    return named.length > 0 ? named : all;
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
  }

  function setSedf(d: number, { periodNs, sliceNs, latencyNs, extratime, weight }: SedfSpec): void {
    domain.setSedfPeriod(d, periodNs);
    domain.setSedfSlice(d, sliceNs);
    domain.setSedfLatency(d, latencyNs);
    domain.setSedfExtra(d, extratime ? 1 : 0);
    domain.setSedfWeight(d, weight);
  }

  return {
    setSedf,
    create(d, spec) {
      domain.setWidth(d, spec.width);
      domain.setFirstVcpu(d, spec.firstVcpu);
      domain.setMaxVcpus(d, spec.vcpus);
      domain.setPool(d, spec.pool);
      trace.note(NOTE.domAdd, d, spec.pool);
      domain.setWeight(d, spec.weight);
      domain.setCap(d, spec.cap);
      setSedf(d, spec.sedf);
      domain.setFrames(d, spec.frames);
      domain.setNrFrames(d, spec.nrFrames);
      domain.setSharedInfo(d, spec.frames);
      image.u8.fill(0, spec.frames, spec.frames + spec.nrFrames * PAGE_SIZE);
      for (let k = 0; k < spec.vcpus; k++) {
        const v = spec.firstVcpu + k;
        vcpu.setDomain(v, d);
        vcpu.setId(v, k);
        vcpu.setRunstate(v, RUNSTATE_offline);
        vcpu.setPauseFlags(v, VPF_down);
        vcpu.setWokenAt(v, -1);
        vcpu.setLastPcpu(v, -1);
        vcpu.setPeriodicPeriod(v, TICKER_NS);
        // VCPUs past the 32 of the shared info page have a page of the hypervisor's until they register their own, as in Xen.
        vcpu.setInfoAddr(
          v,
          k < XEN_LEGACY_MAX_VCPUS ? spec.frames + k * INFO_BYTES : image.region('dummy-vcpu-info').base,
        );
        image.u8[vcpu.infoAddr(v) + 1] = 1;
        entry.setPool(v, spec.pool);
        masks.assign(word(hardWish(v)), existing(spec.hardAffinity(k)));
        masks.assign(word(softWish(v)), existing(spec.softAffinity(k)));
        settleAffinity(queues, v);
        const mayUse = (p: number): boolean => masks.has(word(hardMask(v)), p);
        const first = spec.firstPcpu(k);
        entry.setProcessor(v, mayUse(first) ? first : masks.cycle(-1, word(hardMask(v))));
        sched.ops.insert(v);
      }
      time.updateWallClock(d);
    },
    startAll() {
      for (let d = 0; d < shape.domains; d++) {
        if (domain.maxVcpus(d) > 0) sched.clearFlag(domain.firstVcpu(d), VPF_down);
      }
    },
    hasLegacyInfo: (id) => id < XEN_LEGACY_MAX_VCPUS,
    shutdown,
    crash(d, reason) {
      if (domain.isShutDown(d) === 0) domain.setCrashReason(d, reason);
      shutdown(d, SHUTDOWN_crash);
    },
  };
}
