/**
 * Grants that domains have mapped (xen/common/grant_table.c; create_grant_pv_mapping and replace_grant_pv_mapping of xen/arch/x86/pv), by
 * their handles, and what becomes of them when a domain ends.
 *
 * Locking: the grant and its frame under the page lock of the domain whose grant it is; handles and page tables under that of the domain
 * that maps. One after the other, never both: a mapping has its references before an entry of a page table names the frame, and until no
 * entry and no TLB does any more. In between its handle is nobody else's: it says nothing that could be unmapped.
 */
import { PAGE_SIZE } from '../../shared/image.js';
import * as G from '../../shared/public/grant-table.js';
import type { HvContext } from '../context.js';
import type { Frames, Kept } from '../frames.js';
import type { MachineMemory } from '../mm/memory.js';
import type { EntryPlace } from '../mm/page-tables.js';
import { mfnOf, PGT, PTE, PTE_HIGH } from '../mm/records.js';
import { walk } from '../mm/walk.js';
import { NOBODY } from '../records.js';
import type { Exposure } from './exposure.js';
import { GRANT_TABLE, GRANTED, MAPTRACK, MAPTRACK_ENTRIES } from './records.js';
import type { GrantTables, Use } from './table.js';

/** An address, of a page or of a page-table entry, in halves. */
export interface Place {
  readonly lo: number;
  readonly hi: number;
}

export interface Mapped {
  /** A GNTST; where it is GNTST_okay, the rest counts. */
  readonly status: number;
  readonly handle: number;
  readonly mfn: number;
  /** The owner of the frame has yet to be told: see exposure.ts. */
  readonly waits: boolean;
}

/** An unmapping that was begun: its references go when TLBs are flushed. */
export interface Unmapped {
  readonly granter: number;
  readonly ref: number;
  readonly mfn: number;
  readonly use: Use;
  /** The handle, if nothing is left that it stands for; −1. */
  readonly handle: number;
}

export interface Mappings {
  /** VCPU v's domain maps an entry of domain d's table. @param flags GNTMAP_* */
  map(v: number, d: number, ref: number, flags: number, at: Place): Mapped;
  /**
   * Takes the mapping at these addresses away, as far as they are given; in its place comes what is mapped at `other`.
   * @returns a GNTST, or what is to be completed when the domain's TLBs are flushed
   */
  unmap(v: number, handle: number, host: Place, device: Place, other: Place | undefined): number | Unmapped;
  complete(d: number, unmapped: Unmapped): void;
  /** Domain d has ended, its VCPUs run nowhere. @returns its frames that others have mapped */
  end(d: number): readonly Kept[];
}

const isGiven = ({ lo, hi }: Place): boolean => lo !== 0 || hi !== 0;
const failed = (status: number): Mapped => ({ status, handle: 0, mfn: 0, waits: false });
/** Bits of a page-table entry that are the guest's, and the one of them that GNTMAP_guest_avail_mask begins with. */
const AVAIL_SHIFT = 9;
const AVAIL_BITS = 7;
const AVAIL_FLAGS = 16;

const useOf = (flags: number): Use => ({
  isHost: (flags & G.GNTMAP_host_map) !== 0,
  isDevice: (flags & G.GNTMAP_device_map) !== 0,
  isReadOnly: (flags & G.GNTMAP_readonly) !== 0,
});

export interface MappingParts {
  readonly mm: MachineMemory;
  readonly tables: GrantTables;
  readonly exposure: Exposure;
  readonly frames: Frames;
}

export function mappings(
  { image, domain, vcpu, shape, isOrdered }: HvContext,
  { mm, tables, exposure, frames }: MappingParts,
): Mappings {
  const table = image.table(GRANT_TABLE);
  const track = image.table(MAPTRACK);
  const granted = image.table(GRANTED);
  const region = image.region('frames');
  const { types } = mm.tables;
  const trackOf = (d: number, handle: number): number => d * MAPTRACK_ENTRIES + handle;

  /** @returns a handle; −1: there is none */
  function takeHandle(d: number): number {
    const free = table.freeHandle(d) - 1;
    if (free >= 0) {
      table.setFreeHandle(d, track.next(trackOf(d, free)));
      return free;
    }
    if (table.handles(d) === MAPTRACK_ENTRIES) return -1;
    table.addHandles(d, 1);
    return table.handles(d) - 1;
  }

  function giveHandle(d: number, handle: number): void {
    track.setFlags(trackOf(d, handle), 0);
    track.setNext(trackOf(d, handle), table.freeHandle(d));
    table.setFreeHandle(d, handle + 1);
  }

  /** The entry of a level-1 table of v's domain that a place means; undefined: there is none. */
  function entryOf(v: number, { lo, hi }: Place, isEntry: boolean): EntryPlace | undefined {
    const d = vcpu.domain(v);
    const found = isEntry
      ? { table: mfnOf(lo, hi), n: (lo & (PAGE_SIZE - 1)) >> 3 }
      : walk(image, region, vcpu.guestTable(v), lo, hi);
    if (isEntry && ((lo & 7) !== 0 || hi >>> 20 !== 0)) return undefined;
    if (found === undefined || !types.isOwner(found.table, d)) return undefined;
    return types.typeOf(found.table) === PGT.l1_page_table ? found : undefined;
  }

  /** A page-table entry for a grant, in halves (grant_to_pte_flags). */
  function pteOf(mfn: number, flags: number): readonly [lo: number, hi: number] {
    const lo =
      (mfn << 12) |
      (PTE.present | PTE.accessed | PTE.dirty) |
      ((flags & G.GNTMAP_application_map) !== 0 ? PTE.user : 0) |
      ((flags & G.GNTMAP_readonly) !== 0 ? 0 : PTE.rw) |
      (((flags >>> AVAIL_FLAGS) & AVAIL_BITS) << AVAIL_SHIFT);
    return [lo, (mfn >>> 20) | PTE_HIGH.nx];
  }

  /** What domain m has of another's grant goes: its references, and what the entry says of it. */
  function letGo(m: number, d: number, ref: number, mfn: number, use: Use): void {
    if (d === NOBODY) {
      for (let n = Number(use.isHost) + Number(use.isDevice); n > 0; n--) frames.putKept(mfn);
      return;
    }
    mm.locked(d, () => {
      if (d !== m && use.isHost) exposure.unmap(d, mfn);
      tables.unpin(d, ref, use);
    });
  }

  return {
    map(v, d, ref, flags, at) {
      const m = vcpu.domain(v);
      if (domain.isPaged(m) === 0) return failed(G.GNTST_general_error);
      const handle = mm.locked(m, () => takeHandle(m));
      if (handle < 0) return failed(G.GNTST_no_space);
      const use = useOf(flags);
      let waits = false;
      const mfn = mm.locked(d, () => {
        const pinned = tables.pin(d, ref, m, use, true);
        if (pinned >= 0 && d !== m && use.isHost) waits = exposure.map(d, pinned);
        return pinned;
      });
      const status = mm.locked(m, () => {
        const entry = mfn >= 0 && use.isHost ? entryOf(v, at, (flags & G.GNTMAP_contains_pte) !== 0) : undefined;
        if (mfn < 0 || (use.isHost && entry === undefined)) {
          giveHandle(m, handle);
          return mfn < 0 ? mfn : G.GNTST_general_error;
        }
        const [lo, hi] = pteOf(mfn, flags);
        if (entry !== undefined) mm.tables.mapGrant(entry.table, entry.n, lo, hi);
        const t = trackOf(m, handle);
        track.setGranter(t, d);
        track.setRef(t, ref);
        track.setMfn(t, mfn);
        track.setFlags(t, flags & ~G.GNTMAP_guest_avail_mask);
        return G.GNTST_okay;
      });
      if (status !== G.GNTST_okay && mfn >= 0) letGo(m, d, ref, mfn, use);
      return { status, handle, mfn: Math.max(0, mfn), waits };
    },

    unmap(v, handle, host, device, other) {
      const m = vcpu.domain(v);
      return mm.locked(m, () => {
        if (handle >= (domain.isPaged(m) === 0 ? 0 : table.handles(m))) return G.GNTST_bad_handle;
        const t = trackOf(m, handle);
        const flags = track.flags(t);
        if (flags === 0) return G.GNTST_bad_handle;
        const use = useOf(flags);
        const isDevice = isGiven(device) && use.isDevice;
        if (isDevice && (device.lo >>> 12 !== track.mfn(t) % 2 ** 20 || (device.lo & (PAGE_SIZE - 1)) !== 0))
          return G.GNTST_bad_dev_addr;
        if (isDevice && device.hi !== track.mfn(t) >>> 20) return G.GNTST_bad_dev_addr;
        const isHost = isGiven(host) && use.isHost;
        if (isHost) {
          const isEntry = (flags & G.GNTMAP_contains_pte) !== 0;
          // What comes in its place is named by an address of a page.
          if (isEntry && other !== undefined) return G.GNTST_general_error;
          const entry = entryOf(v, host, isEntry);
          const from = other === undefined ? undefined : entryOf(v, other, false);
          if (entry === undefined || (other !== undefined && from === undefined)) return G.GNTST_general_error;
          if (!mm.tables.unmapGrant(entry.table, entry.n, track.mfn(t), use.isReadOnly ? 0 : PTE.rw, from))
            return G.GNTST_general_error;
        }
        track.setFlags(t, flags & ~((isHost ? G.GNTMAP_host_map : 0) | (isDevice ? G.GNTMAP_device_map : 0)));
        const isLeft = (track.flags(t) & (G.GNTMAP_host_map | G.GNTMAP_device_map)) !== 0;
        if (!isLeft) track.setFlags(t, 0);
        return {
          granter: track.granter(t),
          ref: track.ref(t),
          mfn: track.mfn(t),
          use: { isHost, isDevice, isReadOnly: use.isReadOnly },
          handle: isLeft ? -1 : handle,
        };
      });
    },

    complete(m, { granter, ref, mfn, use, handle }) {
      letGo(m, granter, ref, mfn, use);
      if (handle >= 0) mm.locked(m, () => giveHandle(m, handle));
    },

    end(d) {
      if (domain.isPaged(d) === 0) return [];
      for (let handle = 0; handle < table.handles(d); handle++) {
        const t = trackOf(d, handle);
        const flags = track.flags(t);
        // Of its own frames nothing is counted any more.
        if (flags !== 0 && track.granter(t) !== d) letGo(d, track.granter(t), track.ref(t), track.mfn(t), useOf(flags));
      }
      const kept = new Map<number, number>();
      for (let m = 0; m < shape.domains; m++) {
        if (m === d || domain.isPaged(m) === 0) continue;
        for (let handle = 0; handle < table.handles(m); handle++) {
          const t = trackOf(m, handle);
          if (track.flags(t) === 0 || track.granter(t) !== d) continue;
          const use = useOf(track.flags(t));
          track.setGranter(t, NOBODY);
          kept.set(track.mfn(t), (kept.get(track.mfn(t)) ?? 0) + Number(use.isHost) + Number(use.isDevice));
        }
      }
      exposure.forget(d);
      tables.forget(d);
      table.setHandles(d, 0);
      table.setFreeHandle(d, 0);
      const from = image.region('maptrack').base + trackOf(d, 0) * MAPTRACK.size;
      image.u8.fill(0, from, from + MAPTRACK_ENTRIES * MAPTRACK.size);
      const first = (domain.frames(d) - region.base) / PAGE_SIZE;
      for (let mfn = first; mfn < first + domain.backedFrames(d); mfn++) granted.setMaps(mfn, 0);
      return [...kept].map(([mfn, references]) => ({ mfn, references, isShared: isOrdered }));
    },
  };
}
