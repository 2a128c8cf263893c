/**
 * map_grant_ref, unmap_grant_ref, unmap_and_replace (grant_table.h; xen/common/grant_table.c).
 *
 * A list is unmapped some at a time: entries of page tables, then TLBs, then references. So no TLB knows a frame that may be somebody
 * else's already.
 */
import * as G from '../../shared/public/grant-table.js';
import { offsetsOf, type Width } from '../../shared/public/layout.js';
import { WAITS } from '../grants/exposure.js';
import type { Place, Unmapped } from '../grants/mappings.js';
import { NOBODY } from '../records.js';
import type { CallParts, Handler } from './call.js';
import { elementsOf } from './grant-elements.js';

/** Mappings that are unmapped before TLBs are flushed (Xen's GNTTAB_UNMAP_BATCH_SIZE). */
const BATCH = 32;
const NOWHERE: Place = { lo: 0, hi: 0 };

export function grantMaps(parts: CallParts): Readonly<Record<'map' | 'unmap' | 'unmapAndReplace', Handler>> {
  const { context, memory, domains, separation, grants, stall } = parts;
  const { vcpu, domain, params } = context;
  const { mappings } = grants;
  const forEach = elementsOf(parts);
  const widthOf = (v: number): Width => (domain.width(vcpu.domain(v)) === 64 ? 64 : 32);
  const place = (at: number): Place => ({ lo: memory.u32(at) | 0, hi: memory.u32(at + 4) | 0 });

  function map(v: number): number {
    const at = offsetsOf(G.gnttab_map_grant_ref, widthOf(v));
    let waits = false;
    const result = forEach(v, G.gnttab_map_grant_ref, (arg) => {
      const flags = memory.u32(arg + at.flags) | 0;
      const setStatus = (status: number): void => memory.setU16(arg + at.status, status);
      if ((flags & (G.GNTMAP_host_map | G.GNTMAP_device_map)) === 0) return setStatus(G.GNTST_bad_gntref);
      const d = domains.find(memory.u16(arg + at.dom));
      if (d === NOBODY || !domains.isAlive(d)) return setStatus(G.GNTST_bad_domain);
      if (d !== vcpu.domain(v)) separation.connect(vcpu.domain(v), d);
      const mapped = mappings.map(v, d, memory.u32(arg + at.ref), flags, place(arg + at.host_addr));
      if (mapped.waits) waits = true;
      if (mapped.status === G.GNTST_okay) {
        memory.setU32(arg + at.handle, mapped.handle);
        memory.setU32(arg + at.dev_bus_addr, mapped.mfn << 12);
        memory.setU32(arg + at.dev_bus_addr + 4, mapped.mfn >>> 20);
      }
      return setStatus(mapped.status);
    });
    if (waits) stall(v, WAITS * params.latencyNs + 1);
    return result;
  }

  /** Unmaps a list. @param begin one of it */
  function unmapping(
    v: number,
    element: Parameters<typeof forEach>[1],
    status: number,
    begin: (arg: number) => number | Unmapped,
  ): number {
    const d = vcpu.domain(v);
    let batch: Unmapped[] = [];
    function flush(): void {
      if (batch.some(({ use }) => use.isHost)) grants.flush(d);
      for (const unmapped of batch) mappings.complete(d, unmapped);
      batch = [];
    }
    const result = forEach(v, element, (arg) => {
      const begun = begin(arg);
      if (typeof begun === 'number') {
        memory.setU16(arg + status, begun);
        return;
      }
      memory.setU16(arg + status, G.GNTST_okay);
      if (begun.granter !== NOBODY && begun.granter !== d) separation.connect(d, begun.granter);
      if (begun.use.isHost || begun.use.isDevice) batch.push(begun);
      if (batch.length === BATCH) flush();
    });
    flush();
    return result;
  }

  return {
    map,
    unmap(v) {
      const at = offsetsOf(G.gnttab_unmap_grant_ref, widthOf(v));
      return unmapping(v, G.gnttab_unmap_grant_ref, at.status, (arg) => {
        const [host, device] = [place(arg + at.host_addr), place(arg + at.dev_bus_addr)];
        return mappings.unmap(v, memory.u32(arg + at.handle), host, device, undefined);
      });
    },
    unmapAndReplace(v) {
      const at = offsetsOf(G.gnttab_unmap_and_replace, widthOf(v));
      return unmapping(v, G.gnttab_unmap_and_replace, at.status, (arg) => {
        const [host, other] = [place(arg + at.host_addr), place(arg + at.new_addr)];
        const isOther = other.lo !== 0 || other.hi !== 0;
        return mappings.unmap(v, memory.u32(arg + at.handle), host, NOWHERE, isOther ? other : undefined);
      });
    },
  };
}
