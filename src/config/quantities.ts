/** What an expectation can be about: every measured quantity of a run, by the name it has in a scenario. */
import type {
  DeviceResult,
  DomainResult,
  InterruptResult,
  LatencyResult,
  PcpuResult,
  RequestLatency,
  RunResult,
} from '../machine/result.js';
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
  readonly fields: readonly LatencyField[];
  /** @param name what `name` selects, where the quantity has names; else empty */
  readonly domain: (domain: DomainResult, field: LatencyField, name: string) => number;
  readonly hasNames?: boolean;
}

export type Quantity = NumericQuantity | WordQuantity | LatencyQuantity;

export const LATENCY_FIELDS = ['p50', 'p95', 'p99', 'p99.9', 'max', 'mean', 'count'] as const;
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

/** What has never been measured is no latency: no bound is met by it. */
function fieldOf(measured: LatencyResult & Partial<RequestLatency>, field: LatencyField): number {
  const { count, p50Ns, p95Ns, p99Ns, p999Ns, maxNs, meanNs } = measured;
  if (field === 'count') return count;
  const values = { p50: p50Ns, p95: p95Ns, p99: p99Ns, 'p99.9': p999Ns, max: maxNs, mean: meanNs };
  return count === 0 ? Number.NaN : (values[field] ?? Number.NaN);
}

/** Of the one that has this among its names, or the only one. */
function named(
  all: readonly { readonly names: readonly string[]; readonly latency: RequestLatency }[],
  name: string,
  field: LatencyField,
): number {
  const [chosen, other] = all.filter(({ names }) => name === '' || names.includes(name));
  return chosen === undefined || other !== undefined ? Number.NaN : fieldOf(chosen.latency, field);
}

function serviceOf({ services = [] }: DomainResult, field: LatencyField, name: string): number {
  const all = services.map((service) => ({ names: [service.name], latency: service.latency }));
  return named(all, name, field);
}

/** A domain asked is called by its name, or with the service behind it: `web/http`. */
function requestsOf({ requests = [] }: DomainResult, field: LatencyField, name: string): number {
  const all = requests.map(({ to, service, latency }) => ({ names: [to, `${to}/${service}`], latency }));
  return named(all, name, field);
}

/** Something of the line that a device is on, by the device's name, or `irq16`. */
function ofLine(kind: ValueKind, of: (line: InterruptResult) => number): NumericQuantity {
  const find = ({ interrupts = [] }: RunResult, name: string): InterruptResult | undefined =>
    interrupts.find(({ irq, devices }) => name === `irq${irq}` || devices.includes(name));
  return {
    type: 'number',
    kind,
    machine: (result, name) => {
      const line = find(result, name);
      return line === undefined ? Number.NaN : of(line);
    },
    detail: { key: 'name', required: true },
  };
}

function ofDevice(of: (device: DeviceResult) => number): NumericQuantity {
  return {
    type: 'number',
    kind: COUNT,
    machine: ({ devices = [] }, wanted) => {
      const device = devices.find(({ name }) => name === wanted);
      return device === undefined ? Number.NaN : of(device);
    },
    detail: { key: 'name', required: true },
  };
}

/** What was never handled has no latency. */
const irqLatency = (of: (latency: InterruptResult['latency']) => number): NumericQuantity =>
  ofLine(TIME, ({ latency }) => (latency.count === 0 ? Number.NaN : of(latency)));

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
  wake: {
    type: 'latency',
    fields: ['p50', 'p99', 'p99.9', 'max', 'count'],
    domain: (domain, field) => fieldOf(domain.wake, field),
  },
  service: { type: 'latency', fields: LATENCY_FIELDS, hasNames: true, domain: serviceOf },
  requests: { type: 'latency', fields: LATENCY_FIELDS, hasNames: true, domain: requestsOf },
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
  'irq-raised': ofLine(COUNT, ({ raised }) => raised),
  'irq-delivered': ofLine(COUNT, ({ delivered }) => delivered),
  'irq-handled': ofLine(COUNT, ({ handled }) => handled),
  'irq-unhandled': ofLine(COUNT, ({ unhandled }) => unhandled),
  'irq-throttled': ofLine(COUNT, ({ throttled }) => throttled),
  'irq-forced': ofLine(COUNT, ({ forced }) => forced),
  'irq-p50': irqLatency(({ p50Ns }) => p50Ns),
  'irq-p99': irqLatency(({ p99Ns }) => p99Ns),
  'irq-max': irqLatency(({ maxNs }) => maxNs),
  arrived: ofDevice(({ arrived }) => arrived),
  taken: ofDevice(({ taken }) => taken),
  dropped: ofDevice(({ dropped }) => dropped),
  outcome: { type: 'word', machine: (result) => result.outcome, words: ['horizon', 'idle', 'stopped'] },
  hash: { type: 'word', machine: (result) => result.hash },
  ended: { type: 'word', domain: (domain) => domain.ended ?? 'no' },
};
