/**
 * The SEDF scheduler of Xen 3.0.4 (sched_sedf.c): earliest deadline first on each pCPU by itself. A VCPU is promised a slice of
 * each period; what nobody is promised or uses is handed out as extra time. VCPUs stay on their pCPU: there is no balancing.
 *
 * A VCPU that used up its slice waits for its next period. One that wakes within a period and before its deadline ("short
 * block") loses the rest of that period, so that it cannot take another's time, and is compensated in extra time; one that wakes
 * after its deadline ("long block") begins a period. Order: slices by deadline, then compensation by penalty, then extra time in
 * weighted turns of 500 us, then idle. `latency` is kept and not used: so it is under this rule for unblocking.
 *
 * A runnable VCPU that does not run is in its pCPU's generic run queue too, in the order of arrival, as under every policy; what
 * decides is in the queues of sedf-queues.ts, where the running one stays.
 *
 * Locking: everything of a pCPU and of its VCPUs is guarded by its run-queue lock, and no second one is taken. Who brings a VCPU
 * to a pCPU or takes one away without holding that pCPU's lock sets its `isStale`; it computes its slices when it next schedules.
 */
import { hardMask, ONLINE_MASK } from '../../balancer/records.js';
import { NONE } from '../../shared/list.js';
import type { HvContext } from '../context.js';
import { PERFC } from '../perfc.js';
import type { GenericScheduler, SchedulerOps, SchedulerPolicy } from './interface.js';
import { sedfParameters } from './sedf-parameters.js';
import { sedfQueues } from './sedf-queues.js';
import { EXTRA_QUANTUM, RUNS_EDF, RUNS_IDLE, RUNS_PEN, RUNS_UTIL, SEDF_PCPU, sedfRegions } from './sedf-records.js';

function create(hv: HvContext, generic: GenericScheduler): SchedulerOps {
  const { image, vcpu, pcpu, domain, queues, words, perfc, machine, shape, me, now, isIdle, idleOf } = hv;
  const { entry, list, masks, word } = queues;
  const own = sedfQueues(image);
  const { sv, sp, run, wait, pen, util, periodStart } = own;
  const refresh = sedfParameters(hv, own);
  const staleColumn = image.column(SEDF_PCPU, 'isStale');
  const staleWord = (p: number): number => (staleColumn.base + (p << staleColumn.shift)) | 0;
  const P = PERFC;

  const setStale = (p: number): void => words.store(staleWord(p), 1);

  /** Its own pCPU if it may use that, else the next allowed one, round about. */
  function pickCpu(v: number): number {
    const p = entry.processor(v);
    const allowed = word(hardMask(v));
    if (masks.has(allowed, p)) return p;
    const next = masks.cycleAnd(p, allowed, word(ONLINE_MASK));
    return next === NONE ? p : next;
  }

  /** Takes a VCPU that does not run out of all queues of its pCPU. */
  function unqueue(v: number): void {
    if (!queues.isQueued(v)) return;
    const p = entry.processor(v);
    queues.addRunnable(p, -1);
    queues.remove(v);
    own.leave(p, v);
  }

  /** The time since `startedAt` is charged to what the VCPU ran as. */
  function charge(p: number, v: number, t: number): void {
    const ran = Math.max(0, t - sv.startedAt(v));
    switch (sp.runsAs(p)) {
      case RUNS_EDF: {
        sv.addCputime(v, ran);
        const slices = Math.floor(sv.cputime(v) / sv.slice(v));
        if (slices === 0) return;
        // What it ran over counts in its next period.
        run.remove(p, v);
        sv.addCputime(v, -slices * sv.slice(v));
        sv.addDeadline(v, slices * sv.period(v));
        own.enterPeriod(p, v, t);
        return;
      }
      case RUNS_PEN:
        sv.setPenalty(v, Math.max(0, sv.penalty(v) - ran));
        own.requeuePenalty(p, v);
        return;
      case RUNS_UTIL:
        own.requeueUtil(p, v);
    }
  }

  /**
   * ns for which v may run in its slice: until that is used up or its period is over, or until a VCPU with an earlier deadline
   * begins its period.
   */
  function edfTime(p: number, v: number, t: number): number {
    const end = Math.min(t + sv.slice(v) - sv.cputime(v), sv.deadline(v));
    for (let w = wait.first(p); w !== NONE && periodStart(w) < end; w = wait.next(w)) {
      if (sv.deadline(w) < sv.deadline(v)) return periodStart(w) - t;
    }
    return end - t;
  }

  function setNext(p: number, v: number, runsAs: number, ns: number): void {
    const idlers = queues.idlers(p);
    sp.setRunsAs(p, runsAs);
    pcpu.setNext(p, v);
    pcpu.setNextSlice(p, ns);
    if (runsAs === RUNS_IDLE) {
      if (!masks.has(idlers, p)) masks.setAtomic(idlers, p);
      return;
    }
    if (masks.has(idlers, p)) masks.clearAtomic(idlers, p);
    sv.setStartedAt(v, now());
    queues.remove(v);
  }

  function choose(p: number, t: number): void {
    const first = run.first(p);
    if (first !== NONE) {
      setNext(p, first, RUNS_EDF, edfTime(p, first, t));
      return;
    }
    const waiter = wait.first(p);
    const left = waiter === NONE ? Infinity : periodStart(waiter) - t;
    if (left < EXTRA_QUANTUM) setNext(p, idleOf(p), RUNS_IDLE, left);
    else if (pen.first(p) !== NONE) {
      const v = pen.first(p);
      setNext(p, v, RUNS_PEN, Math.min(EXTRA_QUANTUM, sv.penalty(v)));
    } else if (util.first(p) !== NONE) setNext(p, util.first(p), RUNS_UTIL, EXTRA_QUANTUM);
    else setNext(p, idleOf(p), RUNS_IDLE, left);
  }

  function doSchedule(p: number): void {
    const t = now();
    const current = pcpu.current(p);
    perfc.inc(p, P.schedule);
    if (!isIdle(current)) {
      charge(p, current, t);
      if (generic.isRunnable(current)) list.append(p, current);
      else {
        queues.addRunnable(p, -1);
        own.leave(p, current);
      }
    }
    if (sp.isStale(p) !== 0) {
      // First taken back: what is told meanwhile is looked at the next time.
      words.exchange(staleWord(p), 0);
      refresh(p, t);
    }
    own.advance(p, t);
    choose(p, t);
  }

  /** What a block costs and what it gives, by when it ends. */
  function unblock(v: number, t: number): void {
    if (sv.slice(v) === 0 || t < periodStart(v)) return;
    if (t < sv.deadline(v)) {
      sv.setPenalty(v, Math.max(0, sv.slice(v) - sv.cputime(v)));
      sv.addDeadline(v, sv.period(v));
    } else {
      sv.setPenalty(v, 0);
      sv.setDeadline(v, t + sv.period(v));
    }
    sv.setCputime(v, 0);
  }

  /** Whether v, which was put into the queues at time t, changes what its pCPU should do, or until when. */
  function concerns(p: number, v: number): boolean {
    const current = pcpu.current(p);
    if (isIdle(current) || sp.isStale(p) !== 0) return true;
    // A period that has begun, or will before the pCPU looks again.
    const inTime = run.isLinked(v) && periodStart(v) < pcpu.sliceEnd(p);
    if (sp.runsAs(p) === RUNS_EDF) return inTime && sv.deadline(v) < sv.deadline(current);
    return inTime || (sp.runsAs(p) === RUNS_UTIL && pen.isLinked(v));
  }

  return {
    name: 'sedf',
    init() {},
    initPcpu: setStale,
    deinitPcpu() {},

    insert(v) {
      // What it was promised in another pool is not what it is here.
      sv.setPeriod(v, 0);
      sv.setIsMoving(v, 0);
      entry.setProcessor(v, pickCpu(v));
      setStale(entry.processor(v));
    },

    remove(v) {
      setStale(entry.processor(v));
      generic.raiseSchedule(entry.processor(v));
    },

    sleep(v) {
      const p = entry.processor(v);
      perfc.inc(machine.turnOf(me), P.vcpu_sleep);
      if (domain.isShutDown(vcpu.domain(v)) !== 0) setStale(p);
      if (pcpu.current(p) === v) generic.raiseSchedule(p);
      else unqueue(v);
    },

    wake(v) {
      const p = entry.processor(v);
      const self = machine.turnOf(me);
      if (pcpu.current(p) === v) {
        perfc.inc(self, P.vcpu_wake_running);
        return;
      }
      if (queues.isQueued(v)) {
        perfc.inc(self, P.vcpu_wake_onrunq);
        return;
      }
      perfc.inc(self, P.vcpu_wake_runnable);
      const t = now();
      if (sv.isMoving(v) === 0) unblock(v, t);
      sv.setIsMoving(v, 0);
      queues.addRunnable(p, 1);
      list.append(p, v);
      own.enter(p, v, t);
      if (!concerns(p, v)) {
        perfc.inc(self, P.tickled_no_cpu);
        return;
      }
      perfc.inc(self, isIdle(pcpu.current(p)) ? P.tickled_idle_cpu : P.tickled_busy_cpu);
      generic.raiseSchedule(p);
    },

    // The generic half asks for the scheduler: a turn of extra time ends, a slice goes on.
    yield() {
      perfc.inc(machine.turnOf(me), P.vcpu_yield);
    },

    doSchedule,

    pickCpu(v) {
      sv.setIsMoving(v, 1);
      return pickCpu(v);
    },

    migrate(v, p) {
      setStale(entry.processor(v));
      entry.setProcessor(v, p);
      setStale(p);
    },

    contextSaved: () => {},

    adjust(d) {
      for (let k = 0; k < domain.maxVcpus(d); k++) {
        const p = entry.processor(domain.firstVcpu(d) + k);
        setStale(p);
        generic.raiseSchedule(p);
      }
    },

    adjustAffinity() {},
    nextTick: () => Infinity,
    tick() {},
    nextAccounting: () => Infinity,
    accounting() {},

    dumpSettings() {
      const domains = Array.from({ length: shape.domains }, (_, d) => d).filter((d) => domain.maxVcpus(d) > 0);
      const settings = domains.map((d) => {
        const [period, slice] = [domain.sedfPeriod(d) / 1e6, domain.sedfSlice(d) / 1e6];
        return `${d}:${slice}/${period}ms,extra=${domain.sedfExtra(d)},weight=${domain.sedfWeight(d)}`;
      });
      return `sedf: ${settings.join(' ')}`;
    },
  };
}

export const sedf: SchedulerPolicy = {
  name: 'sedf',
  title: 'SEDF: a slice of every period by earliest deadline, and extra time',
  isLocal: true,
  regions: sedfRegions,
  create,
};
