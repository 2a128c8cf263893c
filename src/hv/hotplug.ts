/**
 * pCPUs off line and back at run time (Xen's cpu_down, cpu_up and cpu_disable_scheduler). One that goes off line loses its bit in the
 * mask of those that are on line, and with it its place in every VCPU's masks (affinity.ts); VCPUs that belong to it move, those
 * that may run nowhere else have their affinity broken, with Xen's word on the console; its timers go to pCPU 0. What runs there
 * leaves when the IPI arrives. From then on it is idle, takes no ticks, and nobody finds it among the idlers.
 *
 * Back on line its clock is brought in step before anything runs there (time.ts).
 *
 * All of it happens while all other workers stand still.
 */
import { hardMask, ONLINE_MASK } from '../balancer/records.js';
import { HARD } from '../balancer/run-queues.js';
import { NONE } from '../shared/list.js';
import type { Affinities } from './affinity.js';
import type { ConsoleRing } from './console-ring.js';
import type { HvContext } from './context.js';
import type { Deferred } from './deferred.js';
import { NOBODY } from './records.js';
import type { Scheduler } from './schedule.js';
import type { Separation } from './separation.js';
import type { Smp } from './smp.js';
import type { TimeKeeping } from './time.js';
import type { Timers } from './timer.js';

export interface Hotplug {
  isOnline(p: number): boolean;
  /** How many pCPUs are on line. */
  count(): number;
  /** Takes pCPU p, which is on line and not pCPU 0, off line. */
  offline(p: number): void;
  /** Brings pCPU p back; it is on line when its clock is in step. */
  online(p: number): void;
  /** It is off line, and its last VCPU has left. */
  emptied(p: number): void;
  /** Its clock is in step. */
  completeOnline(p: number): void;
}

export interface HotplugParts {
  readonly sched: Scheduler;
  readonly smp: Smp;
  readonly time: TimeKeeping;
  readonly timers: Timers;
  readonly affinities: Affinities;
  readonly separation: Separation;
  readonly console: ConsoleRing;
  readonly deferred: Deferred;
  /** Tells the cpupool of a pCPU that went or came. */
  recount(p: number): void;
}

/** Where timers of a pCPU that goes go; it stays. */
const REFUGE = 0;

export function hotplug(hv: HvContext, parts: HotplugParts): Hotplug {
  const { sched, smp, time, timers, affinities, separation, console, deferred, recount } = parts;
  const { domain, vcpu, pcpu, queues, shape, isIdle } = hv;
  const { masks, word } = queues;
  const ONLINE = word(ONLINE_MASK);
  const all: readonly number[] = Array.from({ length: shape.pcpus }, (_, p) => p);

  /** By what it was given, or for want of anything else. */
  const mayUse = (v: number, p: number): boolean =>
    masks.has(queues.givenAffinity(v, HARD), p) || masks.has(word(hardMask(v)), p) || !affinities.isPossible(v);

  function forEachThatMayUse(p: number, act: (v: number) => void): void {
    for (let v = 0; v < shape.vcpus; v++) {
      if (vcpu.domain(v) !== NOBODY && queues.entry.pool(v) === queues.runq.pool(p) && mayUse(v, p)) act(v);
    }
  }

  function takeDown(p: number): void {
    if (!queues.isOnline(p)) return;
    // A VCPU may have to go to another worker's pCPUs.
    separation.together();
    masks.clearAtomic(ONLINE, p);
    masks.clearAtomic(queues.idlers(p), p);
    recount(p);
    forEachThatMayUse(p, (v) => {
      if (affinities.isPossible(v)) {
        sched.affinityChanged(v);
        return;
      }
      console.print(`Breaking affinity for d${domain.id(vcpu.domain(v))}v${vcpu.id(v)}`);
      sched.setAffinity(v, all);
    });
    timers.moveAll(p, REFUGE);
    time.goesOffline(p);
  }

  function completeOnline(p: number): void {
    masks.setAtomic(ONLINE, p);
    recount(p);
    // One that is in no pool serves nobody.
    if (isIdle(pcpu.current(p)) && queues.runq.pool(p) !== NONE) masks.setAtomic(queues.idlers(p), p);
    forEachThatMayUse(p, (v) => sched.affinityChanged(v));
    // It looks for work, as one that is new: no matter when it looked last.
    queues.runq.setLastLoadBalance(p, -Infinity);
    smp.raiseSchedule(p);
  }

  return {
    isOnline: queues.isOnline,
    count: () => masks.count(ONLINE),
    offline: (p) => deferred.alone(() => takeDown(p)),
    online: (p) =>
      deferred.alone(() => {
        if (!queues.isOnline(p)) time.comesOnline(p);
      }),
    // What the last one set on its way out. Not if the pCPU is back meanwhile.
    emptied: (p) =>
      deferred.later(() => {
        if (!queues.isOnline(p)) timers.moveAll(p, REFUGE);
      }),
    completeOnline,
  };
}
