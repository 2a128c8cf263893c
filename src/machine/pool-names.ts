/** Names of cpupools. They are the toolstack's: the hypervisor knows numbers. */
import { CPUPOOL_NAME_BYTES } from '../hv/records.js';
import type { Image } from '../shared/image.js';
import { MAX_NAME_LENGTH } from '../shared/limits.js';

/** Written and read by the main thread only. */
export function setPoolName(image: Image, id: number, name: string): void {
  const bytes = Buffer.from(name);
  if (bytes.length === 0 || bytes.length > MAX_NAME_LENGTH) {
    throw new RangeError(`a cpupool's name has 1 to ${MAX_NAME_LENGTH} bytes`);
  }
  const { base } = image.region('cpupool-name');
  image.u8.fill(0, base + id * CPUPOOL_NAME_BYTES, base + (id + 1) * CPUPOOL_NAME_BYTES);
  image.u8.set(bytes, base + id * CPUPOOL_NAME_BYTES);
}

export function poolName(image: Image, id: number): string {
  const at = image.region('cpupool-name').base + id * CPUPOOL_NAME_BYTES;
  const bytes = image.u8.slice(at, at + CPUPOOL_NAME_BYTES);
  return Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString();
}
