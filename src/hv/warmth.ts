/**
 * Cache warmth: what it costs a VCPU to run where its caches are not. A core's own caches (shared by its threads) are lost when it goes to
 * another core, and bit by bit while others run in its place; a socket's cache is lost when it goes to another socket. Filling them
 * again takes time that the VCPU runs without getting on: it is charged to the guest when it is switched in, like a wait for a lock.
 *
 * A constant of the machine, 0 unless told otherwise. What schedulers do about it, Xen's migration delay for one, is up to them: they are not
 * told of it.
 */
import { coreOf, socketOf } from '../balancer/topology.js';
import { type Region, tableRegion } from '../shared/image.js';
import { struct } from '../shared/struct.js';
import { NOTE } from '../shared/trace-kinds.js';
import type { HvContext } from './context.js';

/** The turn of the pCPU that the VCPU runs on, until its state is saved. */
export const WARMTH_VCPU = struct('warmth-vcpu', {
  /** Time for which VCPUs had run on its pCPU when it was last switched out, ns. */
  busyAt: 'f64',
  /** What filling caches has cost it, ns. */
  refillNs: 'f64',
  /** The pCPU it last ran on, + 1; 0 = it has not run. */
  where: 'i32',
});

/** That pCPU's turn. */
export const WARMTH_PCPU = struct('warmth-pcpu', { refillNs: 'f64' }, 64);

export const warmthRegions = (shape: { pcpus: number; vcpus: number }): Region[] => [
  tableRegion(WARMTH_VCPU, shape.vcpus),
  tableRegion(WARMTH_PCPU, shape.pcpus),
];

export interface Warmth {
  /** v is switched out on p. */
  leaves(v: number, p: number): void;
  /** v is switched in on p. @returns what it costs, ns */
  arrives(v: number, p: number): number;
}

/** @returns undefined where nothing costs anything */
export function warmth({ image, params, pcpu, trace }: HvContext): Warmth | undefined {
  const { cache, topology } = params;
  if (cache === undefined) return undefined;
  const { coreNs, socketNs, displacedNs } = cache;
  const wv = image.table(WARMTH_VCPU);
  const wp = image.table(WARMTH_PCPU);

  function cost(v: number, from: number, p: number): number {
    if (from === p) {
      const others = pcpu.busy(p) - wv.busyAt(v);
      return Math.round(coreNs * Math.min(1, others / displacedNs));
    }
    if (coreOf(topology, from) === coreOf(topology, p)) return 0;
    return socketOf(topology, from) === socketOf(topology, p) ? coreNs : coreNs + socketNs;
  }

  return {
    leaves(v, p) {
      wv.setWhere(v, p + 1);
      wv.setBusyAt(v, pcpu.busy(p));
    },
    arrives(v, p) {
      const from = wv.where(v) - 1;
      if (from < 0) return 0;
      const ns = cost(v, from, p);
      if (ns === 0) return 0;
      wv.addRefillNs(v, ns);
      wp.addRefillNs(p, ns);
      trace.note(NOTE.refill, v, from, ns);
      return ns;
    },
  };
}
