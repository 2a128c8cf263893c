/**
 * The null scheduler (Xen's common/sched/null.c): every VCPU has a pCPU to itself, for as long as it is up; those for whom there
 * is none wait. No timeslice, no accounting, nothing to balance: for hosts with as many pCPUs as VCPUs, and for measuring what the
 * rest of the hypervisor costs.
 *
 * A pCPU's VCPU is in its run queue while it is about to run. Who waits is in the queue of some pCPU that it may use, before that
 * pCPU's own VCPU: a pCPU that becomes free takes the first one that waits in its queue, or fetches one.
 *
 * Locking: `assigned` of a pCPU is guarded by that pCPU's run-queue lock; looked at without it, it is a hint. Other queues' locks are
 * tried, never waited for.
 */
import { type Region, tableRegion } from '../../shared/image.js';
import { NONE } from '../../shared/list.js';
import { struct } from '../../shared/struct.js';
import { TRACE } from '../../shared/trace-ring.js';
import { type HvContext, runqLock } from '../context.js';
import { PERFC } from '../perfc.js';
import { VPF_down, VPF_shutdown } from '../records.js';
import type { GenericScheduler, SchedulerOps, SchedulerPolicy } from './interface.js';

/** One per pCPU. Run-queue lock. */
const NULL_PCPU = struct('null-pcpu', {
  /** The VCPU that has it to itself, + 1; 0 = none. */
  assigned: 'i32',
});

/** Who waits is before who has a pCPU, so that who looks for one need not go through the queue. */
const PRI_WAITING = 1;
const PRI_ASSIGNED = 0;
const PRI_IDLE = -64;
/** When a pCPU that nobody has looks again, ns, if somebody may wait in a queue whose lock was taken. */
const RETRY_NS = 100_000;

const regions = (shape: { pcpus: number }): Region[] => [tableRegion(NULL_PCPU, shape.pcpus)];

function create(hv: HvContext, generic: GenericScheduler): SchedulerOps {
  const { image, machine, vcpu, pcpu, queues, locks, trace, perfc, shape, me, isIdle, idleOf } = hv;
  const { entry, list, masks } = queues;
  const np = image.table(NULL_PCPU);
  const P = PERFC;

  const assignedTo = (p: number): number => np.assigned(p) - 1;
  const isAssigned = (v: number): boolean => assignedTo(entry.processor(v)) === v;
  const mayUse = (v: number, p: number): boolean => masks.has(queues.affinity(v, 1), p);

  /** Takes a VCPU that does not run out of its pCPU's queue, if it is there. */
  function unqueue(v: number): void {
    if (!queues.isQueued(v)) return;
    queues.addRunnable(entry.processor(v), -1);
    queues.remove(v);
  }

  function assign(p: number, v: number): void {
    np.setAssigned(p, v + 1);
    entry.setPri(v, PRI_ASSIGNED);
  }

  /** v has no pCPU any more. Under the lock of the pCPU it had. */
  function unassign(v: number): void {
    np.setAssigned(entry.processor(v), 0);
    entry.setPri(v, PRI_WAITING);
  }

  /** A pCPU that v may use and nobody has, its own first; else its own, or the first that it may use. */
  function pick(v: number): number {
    const own = entry.processor(v);
    let fallback = mayUse(v, own) ? own : NONE;
    for (let n = 0; n < shape.pcpus; n++) {
      const p = (own + n) % shape.pcpus;
      if (!mayUse(v, p)) continue;
      if (assignedTo(p) === NONE) return p;
      if (fallback === NONE) fallback = p;
    }
    return fallback === NONE ? own : fallback;
  }

  /** The first who waits in the queue of pCPU q and may use p. Under q's lock. */
  function waiting(q: number, p: number): number {
    for (let v = list.first(q); v !== NONE && entry.pri(v) === PRI_WAITING; v = list.next(v))
      if (mayUse(v, p)) return v;
    return NONE;
  }

  /** Somebody who waits elsewhere, in p's queue now; NONE. Whether a queue could not be looked at stands in `missed`. */
  function fetch(p: number): number {
    missed = false;
    for (let n = 1; n < shape.pcpus; n++) {
      const q = (p + n) % shape.pcpus;
      // Queues of another group are another worker's alone, and nobody there may come here.
      if (list.first(q) === NONE || queues.idlers(q) !== queues.idlers(p)) continue;
      perfc.inc(p, P.steal_trylock);
      if (!locks.tryAcquire(runqLock(q), p)) {
        perfc.inc(p, P.steal_trylock_failed);
        missed = true;
        continue;
      }
      const v = waiting(q, p);
      if (v !== NONE) {
        queues.remove(v);
        queues.addRunnable(q, -1);
        entry.setProcessor(v, p);
        queues.addRunnable(p, 1);
      }
      locks.release(runqLock(q), p);
      if (v === NONE) continue;
      perfc.inc(p, P.migrate_queued);
      pcpu.addSteals(p, 1);
      trace.record(TRACE.steal, p, v);
      return v;
    }
    return NONE;
  }
  let missed = false;

  /** Who is to have pCPU p, which nobody has: out of its queue, or of somebody else's. */
  function adopt(p: number): number {
    let v = list.first(p);
    if (v !== NONE) queues.remove(v);
    else v = fetch(p);
    if (v !== NONE) assign(p, v);
    const next = waiting(p, p);
    if (next !== NONE) callFree(next);
    return v;
  }

  /** Somebody waits: a pCPU that is free comes for it. */
  function callFree(v: number): void {
    const free = pick(v);
    if (assignedTo(free) === NONE) generic.raiseSchedule(free);
  }

  return {
    name: 'null',
    init: () => {},
    initPcpu(p) {
      entry.setPri(idleOf(p), PRI_IDLE);
      np.setAssigned(p, 0);
    },
    deinitPcpu: () => {},

    insert(v) {
      const locked = entry.processor(v);
      entry.setPri(v, PRI_WAITING);
      entry.setProcessor(v, pick(v));
      // One that is down would keep a pCPU from those that are up, as Xen has it since 4.12. It is given one when it wakes.
      if ((vcpu.pauseFlags(v) & VPF_down) !== 0) return;
      // One whose lock is not held has it from its queue when it first wakes.
      const p = entry.processor(v);
      if ((hv.isOrdered || p === locked) && assignedTo(p) === NONE) assign(p, v);
    },

    remove(v) {
      const p = entry.processor(v);
      const self = machine.turnOf(me);
      locks.acquire(runqLock(p), self);
      if (isAssigned(v)) {
        unassign(v);
        generic.raiseSchedule(p);
      }
      locks.release(runqLock(p), self);
    },

    sleep(v) {
      const p = entry.processor(v);
      perfc.inc(machine.turnOf(me), P.vcpu_sleep);
      const isGone = (vcpu.pauseFlags(v) & (VPF_down | VPF_shutdown)) !== 0 && isAssigned(v);
      if (pcpu.current(p) === v) {
        masks.clearAtomic(queues.idlers(p), p);
        generic.raiseSchedule(p);
      } else unqueue(v);
      if (!isGone) return;
      // Its pCPU looks for another.
      unassign(v);
      generic.raiseSchedule(p);
    },

    wake(v) {
      const p = entry.processor(v);
      if (pcpu.current(p) === v || queues.isQueued(v)) return;
      queues.addRunnable(p, 1);
      queues.insert(v);
      if (isAssigned(v) || assignedTo(p) === NONE) {
        generic.raiseSchedule(p);
        return;
      }
      callFree(v);
    },

    // There is nobody to yield to.
    yield: () => {},

    doSchedule(p) {
      perfc.inc(p, P.schedule);
      const current = pcpu.current(p);
      if (!isIdle(current)) {
        if (generic.isRunnable(current)) queues.insert(current);
        else queues.addRunnable(p, -1);
      }
      let next = assignedTo(p);
      pcpu.setNextSlice(p, Infinity);
      if (next === NONE) {
        next = adopt(p);
        if (next === NONE && missed) pcpu.setNextSlice(p, RETRY_NS);
      } else if (queues.isQueued(next)) queues.remove(next);
      else next = NONE;
      if (next === NONE) {
        if (!masks.has(queues.idlers(p), p)) masks.setAtomic(queues.idlers(p), p);
        pcpu.setNext(p, idleOf(p));
        return;
      }
      if (masks.has(queues.idlers(p), p)) masks.clearAtomic(queues.idlers(p), p);
      pcpu.setNext(p, next);
    },

    pickCpu: pick,

    migrate(v, p) {
      entry.setProcessor(v, p);
    },

    contextSaved: () => {},

    adjust: () => {},

    adjustAffinity(v) {
      const p = entry.processor(v);
      if (!isAssigned(v)) {
        // It may wait where nobody is free, and now be allowed where somebody is.
        if (queues.isQueued(v)) callFree(v);
        return;
      }
      if (mayUse(v, p)) return;
      unassign(v);
      generic.raiseSchedule(p);
    },

    nextTick: () => Infinity,
    tick: () => {},
    nextAccounting: () => Infinity,
    accounting: () => {},
    dumpSettings: () =>
      `null: ${Array.from({ length: shape.pcpus }, (_, p) => assignedTo(p)).filter((v) => v !== NONE).length} of ${shape.pcpus} pCPUs assigned`,
  };
}

export const nullScheduler: SchedulerPolicy = {
  name: 'null',
  title: 'Null: a pCPU for every VCPU, nothing to decide',
  isLocal: true,
  isWorkConserving: false,
  regions,
  create,
};
