/**
 * The credit scheduler (XEN-FACTS §1): proportional fair shares by weight, caps, boost for waking VCPUs that have credit,
 * and transparent balancing of runnable VCPUs over all pCPUs (S20, S21). What Xen 3.0.4 and 4.18 do differently stands in
 * credit-rules.ts; functions are chosen by it once, when the policy is made.
 *
 * A VCPU earns credits at each accounting (every timeslice) in proportion to its domain's weight and pays for what it runs, 10 a
 * millisecond. With credit it is UNDER, without OVER; one that wakes with credit is BOOSTed until its
 * first tick. Run queues are ordered by priority, first come first served within one.
 *
 * Locking: the private lock guards the active lists, weights and credits handed out; it is taken before, never while
 * holding, a run-queue lock. Run queues, priorities and flags of a VCPU: the run-queue lock of its pCPU. `idlers` is
 * changed by atomic bit operations only. Peers' locks are tried, never waited for, when stealing.
 */

import { pickCpu } from '../../balancer/pick-cpu.js';
import { hardMask } from '../../balancer/records.js';
import { HARD, SOFT } from '../../balancer/run-queues.js';
import { stealing } from '../../balancer/steal.js';
import { flatTopology } from '../../balancer/topology.js';
import { lists, NONE } from '../../shared/list.js';
import { MOVES, NOTE, TRACE } from '../../shared/trace-kinds.js';
import { type HvContext, privateLock, runqLock } from '../context.js';
import { PERFC } from '../perfc.js';
import { creditAccounting } from './credit-accounting.js';
import { creditDump } from './credit-dump.js';
import { foundVcpus } from './credit-found.js';
import {
  CREDIT_DOMAIN,
  CREDIT_GLOBAL,
  CREDIT_VCPU,
  CREDITS_PER_MS,
  creditRegions,
  PRI_BOOST,
  PRI_IDLE,
  PRI_OVER,
  PRI_UNDER,
} from './credit-records.js';
import { CREDIT_RULES } from './credit-rules.js';
import { tickling } from './credit-tickle.js';
import type { GenericScheduler, PoolView, SchedulerOps, SchedulerPolicy } from './interface.js';

const MS = 1e6;
/** Shortest timer the rate limit may set, ns (CSCHED_MIN_TIMER). */
const MIN_TIMER_NS = 500_000;

function create(hv: HvContext, generic: GenericScheduler, pool: PoolView): SchedulerOps {
  const { image, machine, vcpu, pcpu, domain, queues, locks, words, trace, perfc, params, shape, me, now } = hv;
  const { isIdle, idleOf } = hv;
  const { entry, runq, list, masks, word } = queues;
  const cv = image.table(CREDIT_VCPU);
  const creditColumn = image.column(CREDIT_VCPU, 'credit');
  const cd = image.table(CREDIT_DOMAIN);
  const cg = image.table(CREDIT_GLOBAL);
  const activeVcpus = lists(
    image.i32,
    image.columns(CREDIT_VCPU, 'next', 'prev', 'linked'),
    image.columns(CREDIT_DOMAIN, 'first', 'last'),
  );
  const activeDomains = lists(
    image.i32,
    image.columns(CREDIT_DOMAIN, 'next', 'prev', 'linked'),
    image.columns(CREDIT_GLOBAL, 'first', 'last'),
  );
  const pick = pickCpu(queues, params.topology, params.smtPowerSavings);
  const rules = CREDIT_RULES[params.profile];
  /** Present where other groups may be taking turns. Of several pools each is within one group. */
  const found = hv.isOrdered && shape.runners > 1 && shape.pools === 1 ? foundVcpus(hv, cv) : undefined;
  const accounting = creditAccounting(hv, generic, { cv, cd, cg, activeVcpus, activeDomains, pool });
  const tickle = tickling(hv, generic, cv, rules.tickles);

  const { boost } = params;
  /** The pool's record of CREDIT_GLOBAL, and its private lock. */
  const G = pool.index;
  const LOCK = privateLock(G);
  const LOAD_BALANCE_RATELIMIT_NS = rules.loadBalanceRatelimitNs;
  const P = PERFC;

  const steal = stealing({
    queues,
    locks,
    lockOf: runqLock,
    counters: {
      tried: (p) => perfc.inc(p, P.steal_trylock),
      tryFailed: (p) => perfc.inc(p, P.steal_trylock_failed),
      peerIdle: (p) => perfc.inc(p, P.steal_peer_idle),
      hot: (p) => perfc.inc(p, P.vcpu_hot),
      checked: (_, peer, result) => trace.note(NOTE.stealCheck, peer, result),
      stolen: (_, peer, v, step) => trace.note(NOTE.stolen, peer, v, step),
    },
    isHot: (v) => cg.migrationDelayNs(G) > 0 && now() - entry.lastRan(v) < cg.migrationDelayNs(G),
    ...(rules.stealRounds === 'once'
      ? { topology: flatTopology(shape.pcpus), firstStep: HARD, bias: { get: (p) => p, set: () => {} } }
      : { topology: params.topology, firstStep: SOFT, bias: { get: queues.lastVictim, set: queues.setLastVictim } }),
  });

  /** Debits exactly what was run since the last debit; what is less than one credit is carried over. */
  function burnCredits(v: number): void {
    const t = now();
    const delta = t - cv.startTime(v);
    if (delta <= 0) return;
    const val = delta * CREDITS_PER_MS + cv.residual(v);
    const credits = Math.floor(val / MS);
    cv.setResidual(v, val - credits * MS);
    // Accounting gives at the same time, under another lock: neither may be lost.
    if (credits !== 0) words.add((creditColumn.base + (v << creditColumn.shift)) | 0, -credits);
    cv.setStartTime(v, t);
  }

  /** Debits a whole tick to whoever happens to run at it. */
  function debitTick(v: number): void {
    words.add((creditColumn.base + (v << creditColumn.shift)) | 0, -(cg.tickNs(G) / MS) * CREDITS_PER_MS);
  }

  const debitAtTick = rules.debit === 'exact' ? burnCredits : debitTick;
  const debitAtSwitch = rules.debit === 'exact' ? burnCredits : () => {};

  function pickFor(v: number): number {
    const p = pick.commit(v);
    trace.note(NOTE.picked, v, p, pick.why());
    return p;
  }

  function insertRunnable(v: number): void {
    queues.addRunnable(entry.processor(v), 1);
    queues.insert(v);
  }

  function loadBalance(p: number, pri: number): number {
    perfc.inc(
      p,
      pri === PRI_IDLE ? P.load_balance_idle : pri === PRI_OVER ? P.load_balance_over : P.load_balance_other,
    );
    const v = steal(p, pri);
    if (v !== NONE) {
      perfc.inc(p, P.migrate_queued);
      pcpu.addSteals(p, 1);
      trace.record(TRACE.steal, p, v);
    }
    return v;
  }

  function doSchedule(p: number): void {
    const t = now();
    const current = pcpu.current(p);
    const runnable = generic.isRunnable(current);
    perfc.inc(p, P.schedule);
    if (!isIdle(current)) {
      debitAtSwitch(current);
      const ratelimitNs = cg.ratelimitNs(G);
      if (runnable && ratelimitNs > 0 && entry.yielded(current) === 0) {
        const ran = t - vcpu.stateEntryTime(current);
        if (ran < ratelimitNs) {
          perfc.inc(p, P.delay_ms);
          trace.note(NOTE.ratelimit, current, ran);
          pcpu.setNext(p, current);
          pcpu.setNextSlice(p, Math.max(ratelimitNs - ran, MIN_TIMER_NS));
          return;
        }
      }
      if (runnable) queues.insert(current);
      else queues.addRunnable(p, -1);
      entry.setYielded(current, 0);
    }
    let next = list.first(p);
    let isStolen = false;
    const pri = next === NONE ? PRI_IDLE : entry.pri(next);
    if (pri <= PRI_OVER && t - runq.lastLoadBalance(p) >= LOAD_BALANCE_RATELIMIT_NS) {
      runq.setLastLoadBalance(p, t);
      const stolen = loadBalance(p, pri);
      if (stolen !== NONE) {
        next = stolen;
        isStolen = true;
      } else if (next !== NONE) queues.remove(next);
    } else if (next !== NONE) queues.remove(next);

    trace.note(NOTE.schedule, current, next === NONE ? idleOf(p) : next, isStolen ? 1 : 0);
    const idlers = queues.idlers(p);
    if (next === NONE) {
      if (!masks.has(idlers, p)) masks.setAtomic(idlers, p);
      pcpu.setNext(p, idleOf(p));
      pcpu.setNextSlice(p, Infinity);
      return;
    }
    if (masks.has(idlers, p)) masks.clearAtomic(idlers, p);
    cv.setStartTime(next, t);
    pcpu.setNext(p, next);
    pcpu.setNextSlice(p, cg.tsliceNs(G));
  }

  function setTimes(tsliceNs: number, ratelimitNs: number, migrationDelayNs: number): void {
    cg.setTsliceNs(G, tsliceNs);
    // A timeslice below 3 ms has one tick.
    cg.setTickNs(G, tsliceNs < 3 * MS ? tsliceNs : Math.floor(tsliceNs / 3));
    cg.setRatelimitNs(G, ratelimitNs);
    cg.setMigrationDelayNs(G, migrationDelayNs);
  }

  const isActive = (v: number): boolean => activeVcpus.isLinked(v) || found?.isNoted(v) === true;

  function activate(v: number, p: number): void {
    locks.acquire(LOCK, p);
    // Looked at again: it may have been put there, or its domain weighed anew, while the lock was waited for. One whose domain has
    // gone to another pool is off in a moment.
    if (!activeVcpus.isLinked(v) && domain.pool(vcpu.domain(v)) === G) accounting.activate(v);
    locks.release(LOCK, p);
  }

  return {
    name: 'credit',

    init() {
      cg.setNextAccounting(G, Infinity);
      cg.setWeight(G, 0);
      cg.setBalance(G, 0);
      const { tsliceNs, ratelimitNs, migrationDelayNs } = pool.params;
      setTimes(tsliceNs, ratelimitNs, migrationDelayNs);
    },

    initPcpu(p) {
      entry.setPri(idleOf(p), PRI_IDLE);
      runq.setLastLoadBalance(p, now() - LOAD_BALANCE_RATELIMIT_NS);
      runq.setSortEpoch(p, cg.sortEpoch(G));
    },

    deinitPcpu() {},

    insert(v) {
      entry.setPri(v, PRI_UNDER);
      entry.setYielded(v, 0);
      cv.setCredit(v, 0);
      cv.setResidual(v, 0);
      cv.setIsMigrating(v, 0);
      cv.setIsParked(v, 0);
      cv.setIsPinned(v, masks.count(word(hardMask(v))) === 1 ? 1 : 0);
      entry.setProcessor(v, pickFor(v));
    },

    remove(v) {
      locks.acquire(LOCK, hv.machine.turnOf(me));
      accounting.deactivate(v);
      locks.release(LOCK, hv.machine.turnOf(me));
    },

    sleep(v) {
      const p = entry.processor(v);
      perfc.inc(hv.machine.turnOf(me), P.vcpu_sleep);
      if (pcpu.current(p) === v) {
        // Its pCPU is about to be free, but is not idle before it went through the scheduler.
        masks.clearAtomic(queues.idlers(p), p);
        generic.raiseSchedule(p);
      } else if (queues.isQueued(v)) {
        queues.addRunnable(p, -1);
        queues.remove(v);
      }
    },

    wake(v) {
      const p = entry.processor(v);
      const self = hv.machine.turnOf(me);
      if (pcpu.current(p) === v) {
        perfc.inc(self, P.vcpu_wake_running);
        return;
      }
      if (queues.isQueued(v)) {
        perfc.inc(self, P.vcpu_wake_onrunq);
        return;
      }
      perfc.inc(self, P.vcpu_wake_runnable);
      // Boost is for those who slept, not for those who were moved or paused for being over their cap.
      const migrating = cv.isMigrating(v);
      cv.setIsMigrating(v, 0);
      if (boost && migrating === 0 && entry.pri(v) === PRI_UNDER && cv.isParked(v) === 0) {
        entry.setPri(v, PRI_BOOST);
        perfc.inc(self, P.vcpu_boost);
        trace.note(NOTE.boost, v, 0);
      }
      insertRunnable(v);
      tickle(v);
    },

    yield(v) {
      perfc.inc(hv.machine.turnOf(me), P.vcpu_yield);
      if (rules.hasYield) entry.setYielded(v, 1);
    },

    doSchedule,
    pickCpu(v) {
      // Asked when v is being moved: the wake-up at the end of the move must not boost it.
      cv.setIsMigrating(v, 1);
      return pickFor(v);
    },

    migrate(v, p) {
      entry.setProcessor(v, p);
    },

    contextSaved: () => {},

    adjust() {
      locks.acquire(LOCK, hv.machine.turnOf(me));
      accounting.weightChanged();
      locks.release(LOCK, hv.machine.turnOf(me));
    },

    adjustAffinity(v) {
      cv.setIsPinned(v, masks.count(word(hardMask(v))) === 1 ? 1 : 0);
    },

    nextTick: () => (Math.floor(now() / cg.tickNs(G)) + 1) * cg.tickNs(G),

    tick(p) {
      const v = pcpu.current(p);
      if (!isIdle(v)) {
        if (entry.pri(v) === PRI_BOOST) {
          entry.setPri(v, PRI_UNDER);
          trace.note(NOTE.unboost, v, 0);
        }
        debitAtTick(v);
        if (!isActive(v)) {
          if (found === undefined) activate(v, p);
          else found.note(v, p);
        } else if (pick.look(v) !== p) {
          perfc.inc(p, P.migrate_running);
          generic.requestMigration(v, MOVES.better);
          generic.raiseSchedule(p);
        }
      }
      const epoch = cg.sortEpoch(G);
      if (runq.sortEpoch(p) !== epoch) {
        runq.setSortEpoch(p, epoch);
        locks.acquire(runqLock(p), p);
        queues.sort(p);
        locks.release(runqLock(p), p);
      }
    },

    nextAccounting: () => cg.nextAccounting(G),
    // While nobody is active any tick may begin it, at the next instant of its raster.
    accountingFrom(ns) {
      const next = cg.nextAccounting(G);
      return next === Infinity ? accounting.rasterAfter(ns) : next;
    },
    settle() {
      if (found === undefined || !found.forEach(activate)) return;
      // One that was found on the accounting pCPU did not tell it, whose turn it was.
      machine.setTurnOf(me, NONE);
      generic.keyChanged(pool.master());
    },

    accounting() {
      // The tick of this turn.
      found?.forEach(activate);
      locks.acquire(LOCK, hv.machine.turnOf(me));
      accounting.run();
      locks.release(LOCK, hv.machine.turnOf(me));
    },

    dumpSettings: () =>
      `credit (${params.profile}): tslice=${cg.tsliceNs(G) / MS}ms ratelimit=${cg.ratelimitNs(G) / 1000}us migration-delay=${cg.migrationDelayNs(G) / 1000}us ` +
      `weights=${Array.from({ length: shape.domains }, (_, d) => domain.weight(d)).join(',')}`,

    settings: {
      tsliceNs: () => cg.tsliceNs(G),
      ratelimitNs: () => cg.ratelimitNs(G),
      migrationDelayNs: () => cg.migrationDelayNs(G),
      set(tsliceNs, ratelimitNs, migrationDelayNs) {
        locks.acquire(LOCK, hv.machine.turnOf(me));
        setTimes(tsliceNs, ratelimitNs, migrationDelayNs);
        locks.release(LOCK, hv.machine.turnOf(me));
      },
    },
    ...creditDump(hv, { cv, cd, cg, activeVcpus, activeDomains, pool }),
  };
}

export const credit: SchedulerPolicy = {
  name: 'credit',
  title: 'Credit: proportional fair shares with caps and transparent balancing',
  isLocal: true,
  regions: creditRegions,
  create,
};
