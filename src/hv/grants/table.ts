/**
 * Grant tables (xen/common/grant_table.c): frames of a domain that it shares with the hypervisor, and which of their entries are in use by
 * whom. As long as one is, the frame has a reference for each use: a domain may take back an entry, but not the frame from under others.
 *
 * Locking: the page lock of the domain whose table it is.
 */
import { PAGE_SIZE } from '../../shared/image.js';
import * as G from '../../shared/public/grant-table.js';
import type { HvContext } from '../context.js';
import type { MachineMemory } from '../mm/memory.js';
import { PGT } from '../mm/records.js';
import { ACTIVE, ENTRIES_PER_FRAME, GRANT_ENTRIES, GRANT_FRAMES, GRANT_TABLE, PIN, PINS } from './records.js';

/** A use of an entry: by the host's processors, by devices, or both. */
export interface Use {
  readonly isHost: boolean;
  readonly isDevice: boolean;
  readonly isReadOnly: boolean;
}

export interface GrantTables {
  /** Frames that d's table has, and may have. */
  frames(d: number): number;
  mostFrames(d: number): number;
  /** Machine frame number n of d's table. */
  mfn(d: number, n: number): number;
  /** From now on d's table has so many frames at least. @returns false where that cannot be */
  grow(d: number, frames: number): boolean;
  /**
   * Domain `user` uses an entry of d's table. @param isMap to map the frame, not only to read or write it now
   * @returns the frame, or a GNTST
   */
  pin(d: number, ref: number, user: number, use: Use, isMap: boolean): number;
  unpin(d: number, ref: number, use: Use): void;
  /** @returns a GNTST */
  swap(d: number, a: number, b: number): number;
  /** Whether an entry is in use. */
  isPinned(d: number, ref: number): boolean;
  /** Domain d has ended. */
  forget(d: number): void;
}

/** Attempts at an entry that its domain changes at the same time. */
const ATTEMPTS = 5;
const ENTRY_BYTES = 8;

/** What a use counts. */
function pinsOf({ isHost, isDevice, isReadOnly }: Use): number {
  const host = isReadOnly ? PIN.hostRead : PIN.hostWrite;
  const device = isReadOnly ? PIN.deviceRead : PIN.deviceWrite;
  return (isHost ? host : 0) + (isDevice ? device : 0);
}

export function grantTables({ image, domain }: HvContext, mm: MachineMemory): GrantTables {
  const { i32, u8 } = image;
  const table = image.table(GRANT_TABLE);
  const active = image.table(ACTIVE);
  const { base } = image.region('frames');
  const { types } = mm.tables;
  const mostFrames = (d: number): number => (domain.isPaged(d) === 0 ? 0 : GRANT_FRAMES);
  const frames = (d: number): number => (mostFrames(d) === 0 ? 0 : table.frames(d));
  const mfn = (d: number, n: number): number =>
    (domain.frames(d) - base) / PAGE_SIZE + domain.backedFrames(d) - GRANT_FRAMES + n;
  const activeOf = (d: number, ref: number): number => d * GRANT_ENTRIES + ref;
  /** Image address of an entry; its flags and domid are one word. */
  const entryAt = (d: number, ref: number): number =>
    mm.tables.frame(mfn(d, Math.floor(ref / ENTRIES_PER_FRAME))) + (ref % ENTRIES_PER_FRAME) * ENTRY_BYTES;
  const isEntry = (d: number, ref: number): boolean => ref < frames(d) * ENTRIES_PER_FRAME;

  /** Says in the entry that it is in use, if it permits that. @returns a GNTST */
  function setFlags(d: number, ref: number, user: number, isReadOnly: boolean, isMap: boolean): number {
    const at = entryAt(d, ref) >> 2;
    const kind = G.GTF_type_mask | (isMap ? G.GTF_sub_page : 0);
    for (let n = 0; n < ATTEMPTS; n++) {
      const seen = Atomics.load(i32, at);
      if ((seen & kind) !== G.GTF_permit_access || seen >>> 16 !== domain.id(user)) return G.GNTST_general_error;
      if (!isReadOnly && (seen & G.GTF_readonly) !== 0) return G.GNTST_general_error;
      const wanted = seen | G.GTF_reading | (isReadOnly ? 0 : G.GTF_writing);
      if (Atomics.compareExchange(i32, at, seen, wanted) === seen) {
        mm.touched(at << 2, 4);
        return G.GNTST_okay;
      }
    }
    return G.GNTST_general_error;
  }

  /** Takes back what no use is left of. */
  function clearFlags(d: number, ref: number): void {
    const pins = active.pins(activeOf(d, ref));
    const gone = ((pins & PINS.write) === 0 ? G.GTF_writing : 0) | (pins === 0 ? G.GTF_reading : 0);
    if (gone === 0) return;
    Atomics.and(i32, entryAt(d, ref) >> 2, ~gone);
    mm.touched(entryAt(d, ref), 4);
  }

  /** A reference of the frame for a use. @returns whether there is one */
  function get(frame: number, d: number, { isHost, isDevice, isReadOnly }: Use): boolean {
    for (let n = 0, count = Number(isHost) + Number(isDevice); n < count; n++) {
      const isGot = isReadOnly ? types.getPage(frame, d) : types.getPageAndType(frame, d, PGT.writable_page) === 0;
      if (isGot) continue;
      while (--n >= 0) putOne(frame, isReadOnly);
      return false;
    }
    return true;
  }

  function putOne(frame: number, isReadOnly: boolean): void {
    if (isReadOnly) types.putPage(frame);
    else types.putPageAndType(frame);
  }

  function pin(d: number, ref: number, user: number, use: Use, isMap: boolean): number {
    if (!isEntry(d, ref)) return G.GNTST_bad_gntref;
    const a = activeOf(d, ref);
    const pins = active.pins(a);
    if (pins !== 0 && (active.user(a) !== user || (pins & PINS.full) !== 0)) return G.GNTST_general_error;
    if (pins === 0 || (!use.isReadOnly && (pins & PINS.write) === 0)) {
      const status = setFlags(d, ref, user, use.isReadOnly, isMap);
      if (status !== G.GNTST_okay) return status;
    }
    if (pins === 0) {
      const frame = i32[(entryAt(d, ref) >> 2) + 1]! >>> 0;
      if (!types.isOwner(frame, d)) {
        clearFlags(d, ref);
        return G.GNTST_bad_page;
      }
      active.setMfn(a, frame);
      active.setUser(a, user);
    }
    const frame = active.mfn(a);
    if (!get(frame, d, use)) {
      clearFlags(d, ref);
      return G.GNTST_general_error;
    }
    active.addPins(a, pinsOf(use));
    return frame;
  }

  return {
    frames,
    mostFrames,
    mfn,
    grow(d, wanted) {
      // They were shared before anybody could map them, and are no page tables: see the domain builder.
      for (let n = table.frames(d); n < wanted; n++) if (!types.share(mfn(d, n))) return false;
      table.setFrames(d, Math.max(wanted, table.frames(d)));
      return true;
    },
    pin,
    unpin(d, ref, use) {
      const a = activeOf(d, ref);
      active.addPins(a, -pinsOf(use));
      clearFlags(d, ref);
      for (let n = Number(use.isHost) + Number(use.isDevice); n > 0; n--) putOne(active.mfn(a), use.isReadOnly);
    },
    swap(d, a, b) {
      if (!isEntry(d, a) || !isEntry(d, b)) return G.GNTST_bad_gntref;
      if (a === b) return G.GNTST_okay;
      if (active.pins(activeOf(d, a)) !== 0 || active.pins(activeOf(d, b)) !== 0) return G.GNTST_eagain;
      const [first, second] = [entryAt(d, a), entryAt(d, b)];
      const before = u8.slice(first, first + ENTRY_BYTES);
      u8.copyWithin(first, second, second + ENTRY_BYTES);
      u8.set(before, second);
      for (const at of [first, second]) mm.touched(at, ENTRY_BYTES);
      return G.GNTST_okay;
    },
    isPinned: (d, ref) => active.pins(activeOf(d, ref)) !== 0,
    forget(d) {
      const from = image.region('grant-active').base + activeOf(d, 0) * ACTIVE.size;
      u8.fill(0, from, from + GRANT_ENTRIES * ACTIVE.size);
      table.setFrames(d, 0);
    },
  };
}
