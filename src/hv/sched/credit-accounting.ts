/**
 * Accounting of the credit scheduler: hands out one timeslice's credits of the cpupool's pCPUs to its active domains by
 * weight, parks VCPUs over their cap (XEN-FACTS §1; by credit-rules.ts where profiles differ). Everything here runs under the
 * private lock.
 */
import type { List } from '../../shared/list.js';
import { NONE } from '../../shared/list.js';
import type { Table } from '../../shared/struct.js';
import { NOTE, TRACE } from '../../shared/trace-kinds.js';
import type { HvContext } from '../context.js';
import { PERFC } from '../perfc.js';
import {
  type CREDIT_DOMAIN,
  type CREDIT_GLOBAL,
  CREDIT_VCPU,
  CREDITS_PER_MS,
  PRI_OVER,
  PRI_UNDER,
} from './credit-records.js';
import { CREDIT_RULES } from './credit-rules.js';
import type { GenericScheduler, PoolView } from './interface.js';

export interface CreditState {
  readonly cv: Table<typeof CREDIT_VCPU.fields>;
  readonly cd: Table<typeof CREDIT_DOMAIN.fields>;
  readonly cg: Table<typeof CREDIT_GLOBAL.fields>;
  readonly activeVcpus: List;
  readonly activeDomains: List;
  readonly pool: PoolView;
}

export interface CreditAccounting {
  /** Puts a VCPU that was found running at a tick on the active list. */
  activate(v: number): void;
  deactivate(v: number): void;
  /** The next instant after `ns` at which accounting begins when somebody comes to be active. */
  rasterAfter(ns: number): number;
  /** A domain's weight changed: sums the active weights anew. */
  weightChanged(): void;
  run(): void;
}

export function creditAccounting(hv: HvContext, generic: GenericScheduler, state: CreditState): CreditAccounting {
  const { image, vcpu, domain, queues, trace, perfc, params, words, me, now, machine } = hv;
  const { entry } = queues;
  const { cv, cd, cg, activeVcpus, activeDomains, pool } = state;
  /** The pool's record of CREDIT_GLOBAL. */
  const G = pool.index;
  const rules = CREDIT_RULES[params.profile];
  /** Credits of one pCPU per timeslice. */
  const creditsPerTslice = (): number => Math.floor((cg.tsliceNs(G) / 1e6) * CREDITS_PER_MS);
  const P = PERFC;
  const creditColumn = image.column(CREDIT_VCPU, 'credit');
  const creditWord = (v: number): number => (creditColumn.base + (v << creditColumn.shift)) | 0;

  /** What domain d weighs with n active VCPUs. */
  const weightOf: (d: number, n: number) => number =
    rules.weighs === 'vcpu' ? (d, n) => domain.weight(d) * n : (d, n) => (n > 0 ? domain.weight(d) : 0);

  /** The next instant of the raster of timeslices, which every third tick is one of. */
  const rasterAfter = (ns: number): number => (Math.floor(ns / cg.tsliceNs(G)) + 1) * cg.tsliceNs(G);
  const onRaster = (): number => rasterAfter(now());
  const nextRun: () => number = rules.accounting === 'tick' ? onRaster : () => now() + cg.tsliceNs(G);

  function activate(v: number): void {
    const d = vcpu.domain(v);
    perfc.inc(machine.turnOf(me), P.acct_vcpu_active);
    activeVcpus.append(d, v);
    const n = cd.activeVcpus(d);
    cd.addActiveVcpus(d, 1);
    trace.note(NOTE.acctStart, v, d, n + 1);
    cg.addWeight(G, weightOf(d, n + 1) - weightOf(d, n));
    if (!activeDomains.isLinked(d)) activeDomains.append(G, d);
    // Accounting sleeps while nobody is active; it wakes on its own raster, so a pause does not shift it.
    if (cg.nextAccounting(G) === Infinity) {
      cg.setNextAccounting(G, onRaster());
      generic.keyChanged(pool.master());
    }
  }

  function deactivate(v: number): void {
    if (!activeVcpus.isLinked(v)) return;
    const d = vcpu.domain(v);
    perfc.inc(machine.turnOf(me), P.acct_vcpu_idle);
    activeVcpus.remove(d, v);
    const n = cd.activeVcpus(d);
    cd.addActiveVcpus(d, -1);
    trace.note(NOTE.acctStop, v, d, n - 1);
    cg.addWeight(G, weightOf(d, n - 1) - weightOf(d, n));
    if (n === 1) activeDomains.remove(G, d);
  }

  function park(v: number): void {
    perfc.inc(machine.turnOf(me), P.vcpu_park);
    trace.record(TRACE.park, v, 1);
    cv.setIsParked(v, 1);
    generic.pause(v);
  }

  /** Unpause first, then clear the flag: the wake-up in between must not boost. */
  function unpark(v: number): void {
    perfc.inc(machine.turnOf(me), P.vcpu_unpark);
    trace.record(TRACE.park, v, 0);
    generic.unpause(v);
    cv.setIsParked(v, 0);
  }

  /** Gives one VCPU its share; returns its credit, for the balance. */
  function settle(v: number, share: number, capPerVcpu: number, CPT: number): number {
    // The VCPU may be running, and burning, at the same time under its own lock.
    const credit = words.add(creditWord(v), share) + share;
    if (credit < 0) {
      entry.setPri(v, PRI_OVER);
      if (capPerVcpu > 0 && credit < -capPerVcpu && cv.isParked(v) === 0) park(v);
      if (credit >= -CPT) return credit;
      perfc.inc(machine.turnOf(me), P.acct_min_credit);
      words.add(creditWord(v), -CPT - credit);
      return -CPT;
    }
    entry.setPri(v, PRI_UNDER);
    if (cv.isParked(v) !== 0) unpark(v);
    if (credit <= CPT) return credit;
    // It does not use what it gets: it stops earning.
    deactivate(v);
    const kept = rules.creditKept(credit);
    words.add(creditWord(v), kept - credit);
    return kept;
  }

  return {
    activate,
    deactivate,
    rasterAfter,

    weightChanged() {
      let sum = 0;
      for (let d = activeDomains.first(G); d !== NONE; d = activeDomains.next(d)) {
        sum += weightOf(d, cd.activeVcpus(d));
      }
      cg.setWeight(G, sum);
    },

    run() {
      const self = machine.turnOf(me);
      const totalWeight = cg.weight(G);
      trace.record(TRACE.accounting, totalWeight, cg.balance(G));
      if (totalWeight === 0) {
        cg.setBalance(G, 0);
        perfc.inc(self, P.acct_no_work);
        cg.setNextAccounting(G, Infinity);
        return;
      }
      perfc.inc(self, P.acct_run);
      cg.setNextAccounting(G, nextRun());
      const shortfall = Math.max(0, -cg.balance(G));
      if (shortfall > 0) perfc.inc(self, P.acct_balance);
      // What is to be handed out; grows by what domains cannot use, for the benefit of those after them.
      const CPT = creditsPerTslice();
      let total = pool.pcpus() * CPT + shortfall;
      let weightLeft = totalWeight;
      let someoneWantsMore = false;
      let balance = 0;
      let nextDomain = NONE;
      for (let d = activeDomains.first(G); d !== NONE; d = nextDomain) {
        nextDomain = activeDomains.next(d);
        const n = cd.activeVcpus(d);
        const weight = weightOf(d, n);
        weightLeft -= weight;
        // At most a domain can run all its active VCPUs for the whole period, and help to lift a negative balance.
        let peak = n * CPT + (shortfall > 0 ? Math.ceil((shortfall * weight) / totalWeight) : 0);
        let capPerVcpu = 0;
        if (domain.cap(d) > 0) {
          const cap = Math.ceil((domain.cap(d) * CPT) / 100);
          peak = Math.min(peak, cap);
          capPerVcpu = Math.ceil(cap / n);
        }
        let fair = Math.ceil((total * weight) / totalWeight);
        if (fair < peak) someoneWantsMore = true;
        else {
          if (weightLeft > 0) total += Math.ceil(((fair - peak) * totalWeight) / weightLeft);
          if (someoneWantsMore) {
            // Lazily: givers move to the head, so that next time their surplus reaches those who want it.
            perfc.inc(self, P.acct_reorder);
            activeDomains.remove(G, d);
            activeDomains.insertBefore(G, d, activeDomains.first(G));
          }
          fair = peak;
        }
        const share = Math.ceil(fair / n);
        let nextVcpu = NONE;
        for (let v = activeVcpus.first(d); v !== NONE; v = nextVcpu) {
          nextVcpu = activeVcpus.next(v);
          balance += settle(v, share, capPerVcpu, CPT);
        }
      }
      cg.setBalance(G, balance);
      cg.addSortEpoch(G, 1);
    },
  };
}
