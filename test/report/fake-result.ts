/** A small result made by hand, for tests of what is done with results. */
import type { DomainResult, RunResult } from '../../src/machine/result.js';

export function fakeDomain(id: number, over: Partial<DomainResult>): DomainResult {
  return {
    id,
    name: `d${id}`,
    weight: 256,
    cap: 0,
    expectedShare: 0.5,
    share: 0.5,
    virtualTimeNs: 5e9,
    workNs: 4.9e9,
    wake: { count: 1000, p50Ns: 2500, p99Ns: 800_000, p999Ns: 1_200_000, maxNs: 1_500_000 },
    stealNs: 123_456_789,
    switches: 1234,
    migrations: 5,
    console: '',
    vcpus: [
      {
        id: 0,
        state: 'running',
        runstate: { running: 5e9, runnable: 1e9, blocked: 4e9, offline: 0 },
        switches: 1234,
        migrations: 5,
      },
    ],
    tasks: [],
    ...over,
  };
}

export function fakeResult(over: Partial<RunResult> = {}): RunResult {
  return {
    mode: 'ordered',
    schema: 'ringzero.run/1',
    outcome: 'horizon',
    simulatedNs: 10e9,
    hash: '0123456789abcdef',
    events: 1_234_567,
    turns: 2_000_000,
    locks: [],
    jain: 0.9987,
    domains: [
      fakeDomain(1, { name: 'web', share: 1.5, expectedShare: 1.52, virtualTimeNs: 15e9 }),
      fakeDomain(2, { name: 'batch', cap: 50, wake: { count: 0, p50Ns: 0, p99Ns: 0, p999Ns: 0, maxNs: 0 } }),
    ],
    pcpus: [
      { id: 0, worker: 0, use: 1, switches: 700, steals: 2 },
      { id: 1, worker: 1, use: 0.99, switches: 540, steals: 3 },
    ],
    perfc: { vcpu_boost: 17 },
    host: { threads: 2, startMs: 41.5, runMs: 812.25, eventsPerSecond: 1_519_953, speed: 12.3 },
    ...over,
  };
}
