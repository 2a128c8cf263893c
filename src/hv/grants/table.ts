/**
 * Grant tables (xen/common/grant_table.c): frames of a domain that it shares with the hypervisor.
 *
 * Locking: the page lock of the domain whose table it is.
 */
import { PAGE_SIZE } from '../../shared/image.js';
import type { HvContext } from '../context.js';
import type { MachineMemory } from '../mm/memory.js';
import { PGT } from '../mm/records.js';
import { GRANT_FRAMES, GRANT_TABLE } from './records.js';

export interface GrantTables {
  /** Frames that d's table has, and may have. */
  frames(d: number): number;
  mostFrames(d: number): number;
  /** Machine frame number n of d's table. */
  mfn(d: number, n: number): number;
  /** From now on d's table has so many frames at least. @returns false where one of them is in use as a page table */
  grow(d: number, frames: number): boolean;
}

export function grantTables(
  { image, domain }: HvContext,
  { tables }: MachineMemory,
  flush: (d: number) => void,
): GrantTables {
  const table = image.table(GRANT_TABLE);
  const { base } = image.region('frames');
  const { types } = tables;
  const mfn = (d: number, n: number): number =>
    (domain.frames(d) - base) / PAGE_SIZE + domain.backedFrames(d) - GRANT_FRAMES + n;
  const mostFrames = (d: number): number => (domain.isPaged(d) === 0 ? 0 : GRANT_FRAMES);

  return {
    frames: (d) => (mostFrames(d) === 0 ? 0 : table.frames(d)),
    mostFrames,
    mfn,
    grow(d, frames) {
      const before = table.frames(d);
      // The hypervisor writes them, so none may become a page table; and the domain may have mapped them before.
      for (let n = before; n < frames; n++) {
        if (types.getPageAndType(mfn(d, n), d, PGT.writable_page) !== 0) {
          while (--n >= before) types.putPageAndType(mfn(d, n));
          return false;
        }
        types.share(mfn(d, n));
      }
      if (frames > before) {
        table.setFrames(d, frames);
        flush(d);
      }
      return true;
    },
  };
}
