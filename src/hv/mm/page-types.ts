/**
 * What frames are used as (xen/arch/x86/mm.c: get_page_type, put_page_type). A frame is a page table of one level, or writable, never
 * both: so a guest cannot write its own page tables, and all that its page tables name is its own.
 *
 * A frame becomes something else when nothing uses it as what it was. Translations may remember it as that: a pCPU that could write it may
 * do so until it is told to forget. So all TLBs of its domain are flushed first, unless they have been since the last use ended; whoever
 * runs on another worker meanwhile does so without them when that is done (flushTlb).
 *
 * Locking: the page lock of the frame's owner.
 */
import { XEN_EINVAL } from '../../shared/public/errno.js';
import type { HvContext } from '../context.js';
import {
  PAGE,
  PGT,
  PGT_granted,
  PGT_leaving,
  PGT_pinned,
  PGT_shared,
  PGT_type_mask,
  PGT_validated,
} from './records.js';

export interface PageTypes {
  isOwner(mfn: number, d: number): boolean;
  typeOf(mfn: number): number;
  /** An untyped reference to a frame of domain d; false where it is not d's. */
  getPage(mfn: number, d: number): boolean;
  putPage(mfn: number): void;
  /** A typed reference, and an untyped one. @returns 0; −EINVAL: not d's, or in use as something else; what `validate` says */
  getPageAndType(mfn: number, d: number, type: number): number;
  putPageAndType(mfn: number): void;
  /** A reference of its own of a page table's type, once. @returns as getPageAndType; −EINVAL: it has one */
  pin(mfn: number, d: number, type: number): number;
  /** −EINVAL: it has none. */
  unpin(mfn: number, d: number): number;
  /** The hypervisor and others write it from now on, until its domain ends: it stays writable. False: it is in use as something else. */
  share(mfn: number): boolean;
  isShared(mfn: number): boolean;
  /** Whether it is memory of domain d's that nothing refers to. */
  isUnused(mfn: number, d: number): boolean;
  /** Domain d gives it up: it goes with its last reference. False: it is not d's to give. */
  leave(mfn: number, d: number): boolean;
  /** Whether another domain has it mapped. */
  setGranted(mfn: number, isGranted: boolean): void;
  /** Forgets all about a frame that is free from now on. */
  forget(mfn: number): void;
}

/** What only page tables know, who need to know types themselves. */
export interface Contents {
  /** Counts all that a page table names. @returns 0; or an errno, and nothing is counted */
  validate(mfn: number, d: number, type: number): number;
  /** Takes all that back. */
  devalidate(mfn: number, d: number, type: number): void;
  /** All TLBs that may know frames of domain d. */
  flush(d: number): void;
  /** A frame that domain d gave up has no references any more. */
  freed(mfn: number, d: number): void;
}

export function pageTypes({ image, domain }: HvContext, contents: Contents): PageTypes {
  const page = image.table(PAGE);
  const owners = image.region('frame-owners');
  const { i32 } = image;
  const ownerOf = (mfn: number): number => i32[(owners.base >> 2) + mfn]!;
  const isOwner = (mfn: number, d: number): boolean => mfn < owners.count && ownerOf(mfn) === d + 1;
  const isTable = (type: number): boolean => type >= PGT.l1_page_table && type <= PGT.l4_page_table;

  function getPage(mfn: number, d: number): boolean {
    if (!isOwner(mfn, d)) return false;
    page.addCount(mfn, 1);
    return true;
  }

  function goIfLast(mfn: number): void {
    if (page.count(mfn) > 0 || (page.type(mfn) & PGT_leaving) === 0) return;
    // Its stamp stays: TLBs may know it still.
    page.setType(mfn, page.type(mfn) & PGT_type_mask);
    contents.freed(mfn, ownerOf(mfn) - 1);
  }

  function putPage(mfn: number): void {
    page.addCount(mfn, -1);
    goIfLast(mfn);
  }

  /** @returns as getPageAndType */
  function getType(mfn: number, d: number, type: number): number {
    if (page.typeCount(mfn) === 0) {
      if ((page.type(mfn) & PGT_type_mask) !== type) {
        if (page.stamp(mfn) === domain.flushEpoch(d)) {
          contents.flush(d);
          domain.addFlushEpoch(d, 1);
        }
        page.setType(mfn, (page.type(mfn) & (PGT_shared | PGT_granted | PGT_leaving)) | type);
      }
    } else if ((page.type(mfn) & PGT_type_mask) !== type) return -XEN_EINVAL;
    if (isTable(type) && (page.type(mfn) & PGT_validated) === 0) {
      // A table that leads to itself finds this type taken, and none of its entries may be a table of its own level.
      page.addTypeCount(mfn, 1);
      const rc = contents.validate(mfn, d, type);
      page.addTypeCount(mfn, -1);
      if (rc !== 0) {
        page.setStamp(mfn, domain.flushEpoch(d));
        return rc;
      }
      page.setType(mfn, page.type(mfn) | PGT_validated);
    }
    page.addTypeCount(mfn, 1);
    return 0;
  }

  function putType(mfn: number): void {
    page.addTypeCount(mfn, -1);
    if (page.typeCount(mfn) > 0) return;
    const d = ownerOf(mfn) - 1;
    const type = page.type(mfn);
    if ((type & PGT_validated) !== 0) {
      page.setType(mfn, type & ~PGT_validated);
      contents.devalidate(mfn, d, type & PGT_type_mask);
    }
    page.setStamp(mfn, domain.flushEpoch(d));
  }

  function getPageAndType(mfn: number, d: number, type: number): number {
    if (!getPage(mfn, d)) return -XEN_EINVAL;
    const rc = getType(mfn, d, type);
    if (rc !== 0) putPage(mfn);
    return rc;
  }

  function putPageAndType(mfn: number): void {
    putType(mfn);
    putPage(mfn);
  }

  return {
    isOwner,
    typeOf: (mfn) => (page.typeCount(mfn) === 0 ? PGT.none : page.type(mfn) & PGT_type_mask),
    getPage,
    putPage,
    getPageAndType,
    putPageAndType,
    pin(mfn, d, type) {
      const rc = getPageAndType(mfn, d, type);
      if (rc !== 0) return rc;
      if ((page.type(mfn) & PGT_pinned) !== 0) {
        putPageAndType(mfn);
        return -XEN_EINVAL;
      }
      page.setType(mfn, page.type(mfn) | PGT_pinned);
      return 0;
    },
    unpin(mfn, d) {
      if (!isOwner(mfn, d) || (page.type(mfn) & PGT_pinned) === 0) return -XEN_EINVAL;
      page.setType(mfn, page.type(mfn) & ~PGT_pinned);
      putPageAndType(mfn);
      return 0;
    },
    share(mfn) {
      if ((page.type(mfn) & PGT_shared) !== 0) return true;
      if (getPageAndType(mfn, ownerOf(mfn) - 1, PGT.writable_page) !== 0) return false;
      page.setType(mfn, page.type(mfn) | PGT_shared);
      return true;
    },
    isShared: (mfn) => (page.type(mfn) & (PGT_shared | PGT_granted)) !== 0,
    isUnused: (mfn, d) => isOwner(mfn, d) && page.count(mfn) === 0,
    leave(mfn, d) {
      if (!isOwner(mfn, d) || (page.type(mfn) & PGT_shared) !== 0) return false;
      page.setType(mfn, page.type(mfn) | PGT_leaving);
      goIfLast(mfn);
      return true;
    },
    setGranted: (mfn, isGranted) =>
      page.setType(mfn, isGranted ? page.type(mfn) | PGT_granted : page.type(mfn) & ~PGT_granted),
    forget(mfn) {
      for (const set of [page.setType, page.setTypeCount, page.setCount, page.setStamp]) set(mfn, 0);
    },
  };
}
