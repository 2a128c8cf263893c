/** What an expectation can be about: every measured quantity of a run, by the name it has in a scenario. */
import type { DomainResult, PcpuResult, RunResult } from '../machine/result.js';
import { COUNT, INDEX, PERCENT, TIME, type ValueKind } from './comparison.js';

/** How a quantity is read off the result at each scope it has. */
export interface NumericQuantity {
  readonly type: 'number';
  readonly kind: ValueKind;
  readonly domain?: (domain: DomainResult, detail: string, result: RunResult) => number;
  readonly pcpu?: (pcpu: PcpuResult) => number;
  readonly machine?: (result: RunResult, detail: string) => number;
  /** Selects within the quantity: `task` of loops, `name` of a counter. */
  readonly detail?: { readonly key: 'task' | 'name'; readonly required: boolean };
}

/** A word rather than a number: only equal or not. */
export interface WordQuantity {
  readonly type: 'word';
  readonly domain?: (domain: DomainResult) => string;
  readonly machine?: (result: RunResult) => string;
  readonly words?: readonly string[];
}

/** Several numbers under one name, each compared under its own key. */
export interface LatencyQuantity {
  readonly type: 'latency';
  readonly domain: (domain: DomainResult, field: LatencyField) => number;
}

export type Quantity = NumericQuantity | WordQuantity | LatencyQuantity;

export const LATENCY_FIELDS = ['p50', 'p99', 'p99.9', 'max', 'count'] as const;
export type LatencyField = (typeof LATENCY_FIELDS)[number];

export const latencyKind = (field: LatencyField): ValueKind => (field === 'count' ? COUNT : TIME);

const total = (result: RunResult, of: (domain: DomainResult) => number): number =>
  result.domains.reduce((sum, domain) => sum + of(domain), 0);

/** A quantity of a domain that may be added up over the machine. */
function additive(kind: ValueKind, of: (domain: DomainResult) => number): NumericQuantity {
  return { type: 'number', kind, domain: of, machine: (result) => total(result, of) };
}

const perPcpu = (result: RunResult, of: (pcpu: PcpuResult) => number): number =>
  result.pcpus.reduce((sum, pcpu) => sum + of(pcpu), 0);

/** A task is called by its name in the file, which is all its instances, or by an instance's own name. */
function loopsOf(domain: DomainResult, task: string): number {
  const chosen = domain.tasks.filter(({ name }) => task === '' || name === task || name.replace(/-\d+$/, '') === task);
  return chosen.length === 0 ? Number.NaN : chosen.reduce((sum, { loops }) => sum + loops, 0);
}

function wakeOf(domain: DomainResult, field: LatencyField): number {
  const { count, p50Ns, p99Ns, p999Ns, maxNs } = domain.wake;
  if (field === 'count') return count;
  // A domain that never woke has no latency: no bound is met by it.
  return count === 0 ? Number.NaN : { p50: p50Ns, p99: p99Ns, 'p99.9': p999Ns, max: maxNs }[field];
}

export const QUANTITIES: Readonly<Record<string, Quantity>> = {
  share: additive(PERCENT, (domain) => domain.share),
  fraction: {
    type: 'number',
    kind: PERCENT,
    domain: (domain, _detail, result) => domain.virtualTimeNs / total(result, (each) => each.virtualTimeNs),
  },
  'virtual-time': additive(TIME, (domain) => domain.virtualTimeNs),
  work: additive(TIME, (domain) => domain.workNs),
  steal: additive(TIME, (domain) => domain.stealNs),
  refill: {
    type: 'number',
    kind: TIME,
    domain: (domain) => domain.refillNs ?? 0,
    pcpu: (pcpu) => pcpu.refillNs ?? 0,
    machine: (result) => total(result, (domain) => domain.refillNs ?? 0),
  },
  migrations: additive(COUNT, (domain) => domain.migrations),
  switches: {
    type: 'number',
    kind: COUNT,
    domain: (domain) => domain.switches,
    pcpu: (pcpu) => pcpu.switches,
    machine: (result) => perPcpu(result, (pcpu) => pcpu.switches),
  },
  loops: {
    type: 'number',
    kind: COUNT,
    domain: loopsOf,
    detail: { key: 'task', required: false },
  },
  wake: { type: 'latency', domain: wakeOf },
  use: {
    type: 'number',
    kind: PERCENT,
    pcpu: (pcpu) => pcpu.use,
    machine: (result) => perPcpu(result, (pcpu) => pcpu.use) / result.pcpus.length,
  },
  steals: {
    type: 'number',
    kind: COUNT,
    pcpu: (pcpu) => pcpu.steals,
    machine: (result) => perPcpu(result, (pcpu) => pcpu.steals),
  },
  jain: { type: 'number', kind: INDEX, machine: (result) => result.jain },
  events: { type: 'number', kind: COUNT, machine: (result) => result.events },
  duration: { type: 'number', kind: TIME, machine: (result) => result.simulatedNs },
  counter: {
    type: 'number',
    kind: COUNT,
    machine: (result, name) => result.perfc[name] ?? Number.NaN,
    detail: { key: 'name', required: true },
  },
  outcome: { type: 'word', machine: (result) => result.outcome, words: ['horizon', 'idle', 'stopped'] },
  hash: { type: 'word', machine: (result) => result.hash },
  ended: { type: 'word', domain: (domain) => domain.ended ?? 'no' },
};
