/** Runstates: where a VCPU's time goes (vcpu.h). The four times always sum to the system time since its creation. */
import { addSample, HISTOGRAM_BYTES, recordSample } from '../shared/histogram.js';
import { offsetsOf } from '../shared/public/layout.js';
import { RUNSTATE_blocked, RUNSTATE_runnable, RUNSTATE_running, vcpu_runstate_info } from '../shared/public/vcpu.js';
import { TRACE } from '../shared/trace-ring.js';
import type { HvContext } from './context.js';
import type { GuestMemory } from './guest-memory.js';
import type { TimeCheck } from './time-check.js';

/** How early a stamp is that is early on purpose, ns. */
const EARLY_NS = 5000;

export interface Runstates {
  /** Charges the time since the last change to the old state and enters `state`. Under the VCPU's run-queue lock. */
  change(v: number, state: number): void;
  /** ns in `state`, for one VCPU. @param ns up to when; @default now */
  timeIn(v: number, state: number, ns?: number): number;
  /** Copies the VCPU's runstate to the area its guest registered, if any. Under the VCPU's run-queue lock. */
  publish(v: number): void;
}

export function runstates(
  { image, vcpu, domain, machine, trace, now, moveOn, me, isOrdered, faulty }: HvContext,
  memory: GuestMemory,
  check: TimeCheck | undefined,
): Runstates {
  const { i32 } = image;
  const latencyBase = image.region('wake-latency').base >> 2;
  const AREA = { 32: offsetsOf(vcpu_runstate_info, 32), 64: offsetsOf(vcpu_runstate_info, 64) };
  const [entry32, time32] = [AREA[32].state_entry_time, AREA[32].time];
  const [entry64, time64] = [AREA[64].state_entry_time, AREA[64].time];

  function timeIn(v: number, state: number, ns = now()): number {
    const settled = vcpu.runstateTime(v, state);
    return vcpu.runstate(v) === state ? settled + (ns - vcpu.stateEntryTime(v)) : settled;
  }

  return {
    change(v, state) {
      // Whoever changed it last may be ahead of this pCPU: what a migration leaves behind is read under another lock.
      moveOn(vcpu.stateEntryTime(v));
      // On purpose: the time before the lock was waited for.
      const t = faulty('early-stamp', machine.turnOf(me)) ? now() - EARLY_NS : now();
      const old = vcpu.runstate(v);
      vcpu.addRunstateTime(v, old, t - vcpu.stateEntryTime(v));
      check?.runstateEnded(v, t - vcpu.stateEntryTime(v));
      vcpu.setStateEntryTime(v, t);
      vcpu.setRunstateDirty(v, vcpu.runstateDirty(v) | (1 << old));
      vcpu.setRunstate(v, state);
      machine.addEvents(me, 1);
      trace.record(TRACE.runstate, v, (old << 4) | state);
      if (state === RUNSTATE_running) {
        const woken = vcpu.wokenAt(v);
        if (woken >= 0) {
          const d = vcpu.domain(v);
          const w = (latencyBase + Math.imul(d, HISTOGRAM_BYTES / 4)) | 0;
          // The lock that is held is the VCPU's: siblings may be woken at the same time.
          if (isOrdered || domain.maxVcpus(d) === 1) recordSample(i32, w, t - woken);
          else addSample(i32, w, t - woken);
          vcpu.setWokenAt(v, -1);
        }
      } else if (state === RUNSTATE_runnable && old === RUNSTATE_blocked) vcpu.setWokenAt(v, t);
    },
    timeIn,
    publish(v) {
      const area = vcpu.runstateAddr(v);
      if (area === 0) return;
      const is64 = domain.width(vcpu.domain(v)) === 64;
      memory.setU32(area, vcpu.runstate(v));
      memory.setU64(area + (is64 ? entry64 : entry32), vcpu.stateEntryTime(v));
      const times = area + (is64 ? time64 : time32);
      // Only what changed since the last time: two or three of the four.
      for (let dirty = vcpu.runstateDirty(v); dirty !== 0; dirty &= dirty - 1) {
        const k = 31 - Math.clz32(dirty & -dirty);
        memory.setU64(times + 8 * k, vcpu.runstateTime(v, k));
      }
      vcpu.setRunstateDirty(v, 0);
    },
  };
}
