/** How domain 0's programs map frames of other domains, as Linux's privcmd device has a translated domain 0 do it. */
import type { Hypervisor } from '../../hv/hypervisor.js';
import { PAGE_SIZE } from '../../shared/image.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import * as M from '../../shared/public/memory.js';
import { __HYPERVISOR_memory_op, DOMID_SELF } from '../../shared/public/xen.js';
import type { ArgumentArea, GuestHypercalls } from './hypercalls.js';

/** Where the lists of a batch begin, and bytes of them for each frame. */
const LISTS = 64;
const LIST_BYTES = 20;
/** Bytes of an area for so many frames at a time. */
const argumentBytes = (frames: number): number => LISTS + LIST_BYTES * frames;

export interface ForeignFrames {
  /**
   * Maps frames of the domain of this number side by side, from frame number `first` of domain 0 on. All of them, or what is mapped of
   * them is to be unmapped. @returns 0, or a negated errno
   */
  map(v: number, domid: number, first: number, mfns: readonly number[], area: ArgumentArea): number;
  unmap(v: number, first: number, count: number, area: ArgumentArea): void;
  /** Image address of a frame number's page; 0: nothing is there. */
  pageAt(gpfn: number): number;
}

export function foreignFrames({ memory, foreign, mm, context }: Hypervisor, calls: GuestHypercalls): ForeignFrames {
  const { u8, i32 } = context.image;
  const BATCH = offsetsOf(M.xen_add_to_physmap_batch, 64);
  const REMOVE = offsetsOf(M.xen_remove_from_physmap, 64);

  return {
    map(v, domid, first, mfns, { at, guest }) {
      const count = mfns.length;
      const [idxs, gpfns, errs] = [LISTS, LISTS + 8 * count, LISTS + 16 * count];
      u8.fill(0, at, at + argumentBytes(count));
      for (const [n, mfn] of mfns.entries()) {
        memory.setU64(at + idxs + 8 * n, mfn);
        memory.setU64(at + gpfns + 8 * n, first + n);
      }
      memory.setU16(at + BATCH.domid, DOMID_SELF);
      memory.setU16(at + BATCH.space, M.XENMAPSPACE_gmfn_foreign);
      memory.setU16(at + BATCH.size, count);
      memory.setU16(at + BATCH['u.foreign_domid'], domid);
      memory.setU64(at + BATCH.idxs, guest + idxs);
      memory.setU64(at + BATCH.gpfns, guest + gpfns);
      memory.setU64(at + BATCH.errs, guest + errs);
      const rc = calls.call(v, __HYPERVISOR_memory_op, M.XENMEM_add_to_physmap_batch, guest, 0, 0);
      if (rc !== 0) return rc;
      return mfns.map((_, n) => i32[(at + errs + 4 * n) >> 2]!).find((err) => err !== 0) ?? 0;
    },
    unmap(v, first, count, { at, guest }) {
      for (let n = 0; n < count; n++) {
        u8.fill(0, at, at + sizeOf(M.xen_remove_from_physmap, 64));
        memory.setU16(at + REMOVE.domid, DOMID_SELF);
        memory.setU64(at + REMOVE.gpfn, first + n);
        calls.call(v, __HYPERVISOR_memory_op, M.XENMEM_remove_from_physmap, guest, 0, 0);
      }
    },
    pageAt(gpfn) {
      const page = foreign.pageAt(gpfn);
      // It is going to be written.
      if (page !== 0) mm.touched(page, PAGE_SIZE);
      return page;
    },
  };
}
