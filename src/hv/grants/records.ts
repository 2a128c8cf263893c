/** What the hypervisor knows of grants (xen/common/grant_table.c), of version 1. Of domains with page tables of their own. */
import { type Region, tableRegion } from '../../shared/image.js';
import { struct } from '../../shared/struct.js';

/** Frames of a grant table at most (Xen's gnttab_max_frames), set aside behind a domain's memory. */
export const GRANT_FRAMES = 64;
/** Entries of a frame. */
export const ENTRIES_PER_FRAME = 512;

/** One for each domain. Page lock of the domain. */
export const GRANT_TABLE = struct('grant-table', {
  /** Frames that its table has by now. */
  frames: 'i32',
});

export const grantRegions = (domains: number): Region[] => [tableRegion(GRANT_TABLE, domains)];
