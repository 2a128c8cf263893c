/**
 * What memory and devices cost the guests of this machine, as time. Round numbers of a server with DDR4 memory and a SATA SSD; the
 * reference for users is docs/scenario.md.
 */

/** A buffer of at most this size stays in a cache. */
const CACHE_BYTES = 2 ** 20;
const CACHE_BYTES_PER_NS = 32;
const MEMORY_BYTES_PER_NS = 8;

/** One write call to a device that takes everything at once, ns. */
const NULL_WRITE_NS = 300;
/** A request to a real device: until it begins, and what it then moves. */
const DEVICE_LATENCY_NS = 100_000;
const DEVICE_BYTES_PER_NS = 0.5;

export const DEFAULT_BUFFER_BYTES = 4 * 2 ** 20;
export const NULL_DEVICE = '/dev/null';

/** Writing `bytes` round and round in a buffer, ns. */
export const memoryNs = (bytes: number, bufferBytes: number): number =>
  Math.ceil(bytes / (bufferBytes <= CACHE_BYTES ? CACHE_BYTES_PER_NS : MEMORY_BYTES_PER_NS));

/** Copying `bytes` into a shared page or out of it, ns. */
export const copyNs = (bytes: number): number => Math.ceil(bytes / MEMORY_BYTES_PER_NS);

/** Writing `bytes` to a device, a buffer at a time: what the task computes, and how long it sleeps, ns. */
export function deviceNs(bytes: number, bufferBytes: number, device: string): { computeNs: number; sleepNs: number } {
  const writes = Math.ceil(bytes / bufferBytes);
  const sleepNs = device === NULL_DEVICE ? 0 : writes * DEVICE_LATENCY_NS + Math.ceil(bytes / DEVICE_BYTES_PER_NS);
  return { computeNs: writes * NULL_WRITE_NS, sleepNs };
}
