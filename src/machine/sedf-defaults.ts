/** A domain's parameters under the SEDF scheduler, with what its configuration leaves out as Xen 3.0.4 sets it. */
import type { SedfSpec } from '../hv/domain.js';
import type { GuestConfig } from './config.js';

const MS = 1e6;

/**
 * Domain 0 is promised 15 ms of 20 ms; others nothing. Everybody gets extra time, in equal parts, unless the configuration
 * promises a slice or a weight and does not ask for it.
 */
export function sedfOf(guest: GuestConfig): SedfSpec {
  const { sedf = {}, privileged = false } = guest;
  const isPromised = (sedf.sliceNs ?? 0) > 0 || sedf.weight !== undefined;
  const isHost = privileged && sedf.sliceNs === undefined && sedf.weight === undefined;
  const extratime = sedf.extratime ?? !isPromised;
  return {
    periodNs: sedf.periodNs ?? (isHost ? 20 * MS : 100 * MS),
    sliceNs: sedf.sliceNs ?? (isHost ? 15 * MS : 0),
    latencyNs: sedf.latencyNs ?? 0,
    extratime,
    // A slice with extra time gets that in proportion to the slice.
    weight: sedf.weight ?? (extratime && !isPromised ? 1 : 0),
  };
}
