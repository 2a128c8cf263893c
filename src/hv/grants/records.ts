/** What the hypervisor knows of grants (xen/common/grant_table.c), of version 1. Of domains with page tables of their own. */
import { type Region, tableRegion } from '../../shared/image.js';
import { struct } from '../../shared/struct.js';

/** Frames of a grant table at most (Xen's gnttab_max_frames), set aside behind a domain's memory. */
export const GRANT_FRAMES = 64;
/** Entries of a frame, and of a table at most. */
export const ENTRIES_PER_FRAME = 512;
export const GRANT_ENTRIES = GRANT_FRAMES * ENTRIES_PER_FRAME;
/** Mappings of others' grants that a domain can have (Xen's gnttab_max_maptrack_frames has 2^19). */
export const MAPTRACK_ENTRIES = 2048;

/** One for each domain. Page lock of the domain. */
export const GRANT_TABLE = struct('grant-table', {
  /** Frames that its table has by now. */
  frames: 'i32',
  /** Handles that have ever been in use, and the first of those that are free again, + 1; 0 = none. */
  handles: 'i32',
  freeHandle: 'i32',
  /** First of its frames, + 1, of which has changed whether others have it mapped, which its VCPU has yet to be told; 0 = none. */
  untold: 'i32',
});

/** One for each entry of a domain's grant table that is in use (Xen's active_entry). Page lock of the domain whose table it is. */
export const ACTIVE = struct('grant-active', {
  /** How it is in use: a sum of PIN. */
  pins: 'i32',
  /** The frame meanwhile, whatever the entry says. */
  mfn: 'i32',
  /** The domain that uses it. */
  user: 'i32',
});

/** What ACTIVE.pins counts, each in a byte. */
export const PIN = { hostRead: 1, hostWrite: 1 << 8, deviceRead: 1 << 16, deviceWrite: 1 << 24 } as const;
export const PINS = { write: (0xff << 8) | (0xff << 24), full: 0x8080_8080 | 0 } as const;

/** One for each handle of a domain that maps grants of others. Page lock of the domain that maps. */
export const MAPTRACK = struct('maptrack', {
  /** GNTMAP_*; 0 = it maps nothing. */
  flags: 'i32',
  /** The domain whose grant it is; NOBODY where that has ended: the frame is kept as long as it is mapped. */
  granter: 'i32',
  ref: 'i32',
  mfn: 'i32',
  /** Of a free handle: the next one, + 1. */
  next: 'i32',
});

/** One for each frame of machine memory. Page lock of the frame's owner. */
export const GRANTED = struct('granted-frame', {
  /** Mappings of other domains. */
  maps: 'i32',
  /** In the list of GRANT_TABLE.untold: the next, + 1, or −1 at its end; 0 = it is not in it. */
  next: 'i32',
});

/** @param domains 0 where none has page tables */
export const grantRegions = (domains: number, frames: number): Region[] => [
  tableRegion(GRANT_TABLE, Math.max(1, domains)),
  tableRegion(ACTIVE, Math.max(1, domains * GRANT_ENTRIES)),
  tableRegion(MAPTRACK, Math.max(1, domains * MAPTRACK_ENTRIES)),
  tableRegion(GRANTED, frames),
];
