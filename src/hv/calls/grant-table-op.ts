/**
 * grant_table_op (grant_table.h; xen/common/grant_table.c): grant tables of version 1, and what is put together of the others.
 *
 * Locking: see grants/mappings.ts.
 */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM, XEN_ESRCH } from '../../shared/public/errno.js';
import * as G from '../../shared/public/grant-table.js';
import { offsetsOf, sizeOf, type Width, wordBytes } from '../../shared/public/layout.js';
import { DOMID_SELF } from '../../shared/public/xen.js';
import { FAULT } from '../guest-memory.js';
import { NOBODY } from '../records.js';
import { type CallParts, type Handler, pointer } from './call.js';
import { grantCopy } from './grant-copy.js';
import { elementsOf } from './grant-elements.js';
import { grantMaps } from './grant-map.js';
import { PRIVILEGED } from './toolstack.js';

export function grantTableOp(parts: CallParts): Handler {
  const { context, memory, mm, domains, grants } = parts;
  const { vcpu, domain, regs } = context;
  const { tables } = grants;
  const forEach = elementsOf(parts);
  const maps = grantMaps(parts);
  const copy = grantCopy(parts);

  const widthOf = (v: number): Width => (domain.width(vcpu.domain(v)) === 64 ? 64 : 32);
  const setStatus = (at: number, status: number): void => memory.setU16(at, status);

  /** A domain whose table v may see, or a GNTST. */
  function target(v: number, domid: number): number {
    const own = vcpu.domain(v);
    const d = domid === DOMID_SELF ? own : domains.find(domid);
    if (d === NOBODY) return G.GNTST_bad_domain;
    return d === own || own === PRIVILEGED ? d : G.GNTST_permission_denied;
  }

  /** @returns a GNTST */
  function setUp(d: number, frames: number, list: number, word: 4 | 8): number {
    if (frames > tables.mostFrames(d)) return G.GNTST_general_error;
    if (!mm.locked(d, () => tables.grow(d, frames))) return G.GNTST_general_error;
    for (let n = 0; n < frames; n++) {
      if (word === 8) memory.setU64(list + 8 * n, tables.mfn(d, n));
      else memory.setU32(list + 4 * n, tables.mfn(d, n));
    }
    return G.GNTST_okay;
  }

  function setupTable(v: number): number {
    const width = widthOf(v);
    const arg = pointer(parts, v, 1, sizeOf(G.gnttab_setup_table, width));
    if (regs.lo(v, 2) !== 1) return -XEN_EINVAL;
    if (arg === FAULT) return -XEN_EFAULT;
    const at = offsetsOf(G.gnttab_setup_table, width);
    const frames = memory.u32(arg + at.nr_frames);
    const word = wordBytes(width);
    const d = target(v, memory.u16(arg + at.dom));
    // A list that is too long to be one is not looked at.
    const isList = d >= 0 && frames > 0 && frames <= tables.mostFrames(d);
    const list = isList ? memory.translateAt(vcpu.domain(v), arg + at.frame_list, frames * word) : FAULT;
    if (isList && list === FAULT) return -XEN_EFAULT;
    setStatus(arg + at.status, d < 0 ? d : setUp(d, frames, list, word));
    return 0;
  }

  function querySize(v: number): number {
    const width = widthOf(v);
    const arg = pointer(parts, v, 1, sizeOf(G.gnttab_query_size, width));
    if (regs.lo(v, 2) !== 1) return -XEN_EINVAL;
    if (arg === FAULT) return -XEN_EFAULT;
    const at = offsetsOf(G.gnttab_query_size, width);
    const d = target(v, memory.u16(arg + at.dom));
    if (d >= 0) {
      memory.setU32(arg + at.nr_frames, tables.frames(d));
      memory.setU32(arg + at.max_nr_frames, tables.mostFrames(d));
    }
    setStatus(arg + at.status, d < 0 ? d : G.GNTST_okay);
    return 0;
  }

  /** All have version 1; version 2 is refused as by a Xen that was booted with `gnttab=max-ver:1`. */
  function setVersion(v: number): number {
    const arg = pointer(parts, v, 1, sizeOf(G.gnttab_set_version, widthOf(v)));
    if (arg === FAULT) return -XEN_EFAULT;
    const version = memory.u32(arg);
    memory.setU32(arg, 1);
    return version === 1 ? 0 : version === 2 ? -XEN_ENOSYS : -XEN_EINVAL;
  }

  function getVersion(v: number): number {
    const width = widthOf(v);
    const arg = pointer(parts, v, 1, sizeOf(G.gnttab_get_version, width));
    if (arg === FAULT) return -XEN_EFAULT;
    const at = offsetsOf(G.gnttab_get_version, width);
    const d = target(v, memory.u16(arg + at.dom));
    if (d < 0) return d === G.GNTST_bad_domain ? -XEN_ESRCH : -XEN_EPERM;
    memory.setU32(arg + at.version, 1);
    return 0;
  }

  /** There is no version 2. */
  function getStatusFrames(v: number): number {
    const width = widthOf(v);
    const arg = pointer(parts, v, 1, sizeOf(G.gnttab_get_status_frames, width));
    if (regs.lo(v, 2) !== 1) return -XEN_EINVAL;
    if (arg === FAULT) return -XEN_EFAULT;
    const at = offsetsOf(G.gnttab_get_status_frames, width);
    const d = target(v, memory.u16(arg + at.dom));
    setStatus(arg + at.status, d < 0 ? d : G.GNTST_general_error);
    return 0;
  }

  const swap: Handler = (v) =>
    forEach(v, G.gnttab_swap_grant_ref, (arg) => {
      const at = offsetsOf(G.gnttab_swap_grant_ref, widthOf(v));
      const d = vcpu.domain(v);
      const [a, b] = [memory.u32(arg + at.ref_a), memory.u32(arg + at.ref_b)];
      setStatus(
        arg + at.status,
        mm.locked(d, () => tables.swap(d, a, b)),
      );
    });

  /** A domain's frames are its own as long as there is it: none is one that it could give away. */
  const transfer: Handler = (v) =>
    forEach(v, G.gnttab_transfer, (arg) =>
      setStatus(arg + offsetsOf(G.gnttab_transfer, widthOf(v)).status, G.GNTST_bad_page),
    );

  return (v) => {
    // Above 2^31 in the count, or in the command something to go on with, is nothing that a guest gives.
    if (regs.lo(v, 2) < 0) return -XEN_EINVAL;
    switch (regs.lo(v, 0)) {
      case G.GNTTABOP_setup_table:
        return setupTable(v);
      case G.GNTTABOP_query_size:
        return querySize(v);
      case G.GNTTABOP_set_version:
        return setVersion(v);
      case G.GNTTABOP_get_version:
        return getVersion(v);
      case G.GNTTABOP_map_grant_ref:
        return maps.map(v);
      case G.GNTTABOP_unmap_grant_ref:
        return maps.unmap(v);
      case G.GNTTABOP_unmap_and_replace:
        return maps.unmapAndReplace(v);
      case G.GNTTABOP_copy:
        return copy(v);
      case G.GNTTABOP_swap_grant_ref:
        return swap(v);
      case G.GNTTABOP_transfer:
        return transfer(v);
      case G.GNTTABOP_get_status_frames:
        return getStatusFrames(v);
      // Also dump_table, which Xen has no more, and cache_flush: there are no caches here.
      default:
        return -XEN_ENOSYS;
    }
  };
}
