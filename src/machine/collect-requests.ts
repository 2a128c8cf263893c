/** Numbers of the requests between domains. */
import { modelMemory } from '../pcpu/model/memory.js';
import { HISTOGRAM_BUCKETS, HISTOGRAM_BYTES, quantilesOf } from '../shared/histogram.js';
import type { BuiltMachine } from './build.js';
import type { GuestConfig } from './config.js';
import type { DomainResult, RequestLatency } from './result.js';
import { serviceLinks } from './service-links.js';

/** Of guest n: what it asked, and what was asked of it. */
export function requestResults(
  { image, core }: BuiltMachine,
  guests: readonly GuestConfig[],
): (n: number) => Pick<DomainResult, 'requests' | 'services'> {
  const { front } = modelMemory(image, core.hv);
  const { services, links } = serviceLinks(guests);
  const base = image.region('request-latency').base;

  /** Of several links together. */
  function latency(of: readonly number[]): RequestLatency {
    const counts = new Int32Array(HISTOGRAM_BUCKETS);
    for (const link of of) {
      const w = (base + link * HISTOGRAM_BYTES) >> 2;
      for (let b = 0; b < HISTOGRAM_BUCKETS; b++) counts[b]! += image.i32[w + b]!;
    }
    const { count, values } = quantilesOf(counts, [0.5, 0.95, 0.99, 0.999]);
    const total = of.reduce((sum, link) => sum + front.totalNs(link), 0);
    const maxNs = Math.max(0, ...of.map((link) => front.maxNs(link)));
    // A bucket's upper bound may lie above the largest value in it.
    const [p50Ns, p95Ns, p99Ns, p999Ns] = values.map((value) => Math.min(value, maxNs)) as [
      number,
      number,
      number,
      number,
    ];
    return { count, meanNs: count === 0 ? 0 : total / count, p50Ns, p95Ns, p99Ns, p999Ns, maxNs };
  }

  const numbers = links.map((_, link) => link);
  return (n) => {
    const asked = numbers.filter((link) => links[link]!.client === n);
    const offered = services.flatMap(({ guest }, s) => (guest === n ? [s] : []));
    return {
      ...(asked.length > 0 && {
        requests: asked.map((link) => {
          const { guest, name } = services[links[link]!.service]!;
          return { to: guests[guest]!.name, service: name, latency: latency([link]) };
        }),
      }),
      ...(offered.length > 0 && {
        services: offered.map((s) => ({
          name: services[s]!.name,
          latency: latency(numbers.filter((link) => links[link]!.service === s)),
        })),
      }),
    };
  };
}
