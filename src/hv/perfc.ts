/** Performance counters under Xen's names (perfc_defn.h), one set a pCPU. Written by the turn. */
import { type Image, type Region, rawRegion } from '../shared/image.js';

export const PERFC_NAMES = [
  'sched_run',
  'sched_ctx',
  'schedule',
  'delay_ms',
  'tickled_no_cpu',
  'tickled_idle_cpu',
  'tickled_busy_cpu',
  'acct_run',
  'acct_no_work',
  'acct_balance',
  'acct_reorder',
  'acct_min_credit',
  'acct_vcpu_active',
  'acct_vcpu_idle',
  'vcpu_boost',
  'vcpu_park',
  'vcpu_unpark',
  'vcpu_wake_running',
  'vcpu_wake_onrunq',
  'vcpu_wake_runnable',
  'vcpu_sleep',
  'vcpu_yield',
  'vcpu_hot',
  'load_balance_idle',
  'load_balance_over',
  'load_balance_other',
  'steal_trylock',
  'steal_trylock_failed',
  'steal_peer_idle',
  'migrate_queued',
  'migrate_running',
  'migrate_kicked_away',
  'credit_reset',
  'migrate_resisted',
  'deferred_to_tickled_cpu',
  'hypercalls',
  'ipis',
  'irqs',
] as const;
export type PerfcName = (typeof PERFC_NAMES)[number];

/** Number of each counter, for hot code to take out as a constant. */
export const PERFC = Object.fromEntries(PERFC_NAMES.map((name, n) => [name, n])) as Readonly<Record<PerfcName, number>>;

const SET_BYTES = Math.ceil((PERFC_NAMES.length * 4) / 64) * 64;

export const perfcRegion = (pcpus: number): Region => rawRegion('perfc', SET_BYTES, pcpus);

export interface Perfc {
  inc(p: number, counter: number): void;
  value(p: number, counter: number): number;
  reset(): void;
  /** Sum over all pCPUs. */
  total(counter: number): number;
}

export function perfCounters(image: Image, pcpus: number): Perfc {
  const { i32 } = image;
  const base = image.region('perfc').base >> 2;
  const words = SET_BYTES / 4;
  return {
    inc(p, counter) {
      i32[(base + Math.imul(p, words) + counter) | 0]! += 1;
    },
    value: (p, counter) => i32[base + p * words + counter]! >>> 0,
    reset: () => {
      i32.fill(0, base, base + pcpus * words);
    },
    total(counter) {
      let sum = 0;
      for (let p = 0; p < pcpus; p++) sum += i32[base + p * words + counter]! >>> 0;
      return sum;
    },
  };
}
