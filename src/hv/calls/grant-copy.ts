/**
 * GNTTABOP_copy (grant_table.h; xen/common/grant_table.c): the hypervisor copies between frames, of the caller or granted to it.
 *
 * In ordered mode the other domain's VCPU may be ahead of the turn in which this is done, by less than L: of bytes that it writes while
 * they are copied the old value is copied or the new one, and which of them is not the same in each run. A domain that grants what it
 * still writes has no claim to either.
 */

import { PAGE_SIZE } from '../../shared/image.js';
import * as G from '../../shared/public/grant-table.js';
import { offsetsOf, type Width } from '../../shared/public/layout.js';
import { DOMID_SELF } from '../../shared/public/xen.js';
import type { Use } from '../grants/table.js';
import { PGT } from '../mm/records.js';
import { NOBODY } from '../records.js';
import type { CallParts, Handler } from './call.js';
import { elementsOf } from './grant-elements.js';

/** One end of a copy. */
interface End {
  readonly domain: number;
  readonly isRef: boolean;
  /** Reference or frame number. */
  readonly number: number;
  readonly offset: number;
  readonly use: Use;
}

export function grantCopy(parts: CallParts): Handler {
  const { context, memory, mm, domains, separation, grants } = parts;
  const { vcpu, domain, image } = context;
  const { tables } = grants;
  const { types } = mm.tables;
  const forEach = elementsOf(parts);
  const widthOf = (v: number): Width => (domain.width(vcpu.domain(v)) === 64 ? 64 : 32);

  /** Whose an end is, or a GNTST. */
  function domainOf(v: number, domid: number, isRef: boolean): number {
    if (!isRef && domid !== DOMID_SELF) return G.GNTST_permission_denied;
    const own = vcpu.domain(v);
    const d = domid === DOMID_SELF ? own : domains.find(domid);
    if (d === NOBODY || !domains.isAlive(d)) return G.GNTST_bad_domain;
    if (d !== own) separation.connect(own, d);
    return d;
  }

  /** A frame with a reference for the copy, or a GNTST. */
  function claim(own: number, { domain: d, isRef, number, use }: End): number {
    return mm.locked(d, () => {
      if (isRef) return tables.pin(d, number, own, use, false);
      if (domain.isPaged(d) === 0 || !types.isOwner(number, d)) return G.GNTST_bad_page;
      if (use.isReadOnly) types.getPage(number, d);
      else if (types.getPageAndType(number, d, PGT.writable_page) !== 0) return G.GNTST_general_error;
      return number;
    });
  }

  function release({ domain: d, isRef, number, use }: End, mfn: number): void {
    mm.locked(d, () => {
      if (isRef) tables.unpin(d, number, use);
      else if (use.isReadOnly) types.putPage(mfn);
      else types.putPageAndType(mfn);
    });
  }

  /** @returns a GNTST */
  function copy(own: number, source: End, dest: End, length: number): number {
    const from = claim(own, source);
    if (from < 0) return from;
    const to = claim(own, dest);
    if (to >= 0) {
      const isWithin = source.offset + length <= PAGE_SIZE && dest.offset + length <= PAGE_SIZE;
      const [first, target] = [mm.tables.frame(from) + source.offset, mm.tables.frame(to) + dest.offset];
      if (isWithin) {
        image.u8.copyWithin(target, first, first + length);
        if (length > 0) mm.touched(target, length);
      }
      release(dest, to);
      release(source, from);
      return isWithin ? G.GNTST_okay : G.GNTST_bad_copy_arg;
    }
    release(source, from);
    return to;
  }

  return (v) => {
    const width = widthOf(v);
    const at = offsetsOf(G.gnttab_copy, width);
    const numberAt = (where: number, isRef: boolean): number =>
      isRef || width === 32 ? memory.u32(where) : memory.u64(where);
    return forEach(v, G.gnttab_copy, (arg) => {
      const flags = memory.u16(arg + at.flags);
      const [isFromRef, isToRef] = [(flags & G.GNTCOPY_source_gref) !== 0, (flags & G.GNTCOPY_dest_gref) !== 0];
      const from = domainOf(v, memory.u16(arg + at['source.domid']), isFromRef);
      const to = from < 0 ? from : domainOf(v, memory.u16(arg + at['dest.domid']), isToRef);
      if (to < 0) {
        memory.setU16(arg + at.status, to);
        return;
      }
      const source: End = {
        domain: from,
        isRef: isFromRef,
        number: numberAt(arg + at['source.u.ref'], isFromRef),
        offset: memory.u16(arg + at['source.offset']),
        use: { isHost: true, isDevice: false, isReadOnly: true },
      };
      const dest: End = {
        domain: to,
        isRef: isToRef,
        number: numberAt(arg + at['dest.u.ref'], isToRef),
        offset: memory.u16(arg + at['dest.offset']),
        use: { isHost: true, isDevice: false, isReadOnly: false },
      };
      memory.setU16(arg + at.status, copy(vcpu.domain(v), source, dest, memory.u16(arg + at.len)));
    });
  };
}
