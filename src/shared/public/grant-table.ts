/** Grants of version 1 (`grant_table.h`): entries of a grant table, and the `grant_table_op(cmd, *, count)` commands. */

import { layout } from './layout.js';

export const GNTTABOP_map_grant_ref = 0;
export const GNTTABOP_unmap_grant_ref = 1;
export const GNTTABOP_setup_table = 2;
export const GNTTABOP_dump_table = 3;
export const GNTTABOP_transfer = 4;
export const GNTTABOP_copy = 5;
export const GNTTABOP_query_size = 6;
export const GNTTABOP_unmap_and_replace = 7;
export const GNTTABOP_set_version = 8;
export const GNTTABOP_get_status_frames = 9;
export const GNTTABOP_get_version = 10;
export const GNTTABOP_swap_grant_ref = 11;
export const GNTTABOP_cache_flush = 12;

// grant_entry_v1.flags: what an entry is, and its particulars.
export const GTF_invalid = 0;
export const GTF_permit_access = 1;
export const GTF_accept_transfer = 2;
export const GTF_transitive = 3;
export const GTF_type_mask = 3;
export const GTF_readonly = 1 << 2;
export const GTF_reading = 1 << 3; // Xen's: it is mapped, or read just now
export const GTF_writing = 1 << 4; // Xen's: likewise for writing
export const GTF_sub_page = 1 << 8;

export const GNTTAB_NR_RESERVED_ENTRIES = 8;
export const GNTTAB_RESERVED_CONSOLE = 0;
export const GNTTAB_RESERVED_XENSTORE = 1;

// gnttab_map_grant_ref.flags.
export const GNTMAP_device_map = 1 << 0;
export const GNTMAP_host_map = 1 << 1;
export const GNTMAP_readonly = 1 << 2;
export const GNTMAP_application_map = 1 << 3;
export const GNTMAP_contains_pte = 1 << 4;
export const GNTMAP_guest_avail_mask = 0xffff_0000;

// gnttab_copy.flags.
export const GNTCOPY_source_gref = 1 << 0;
export const GNTCOPY_dest_gref = 1 << 1;

// gnttab_*.status.
export const GNTST_okay = 0;
export const GNTST_general_error = -1;
export const GNTST_bad_domain = -2;
export const GNTST_bad_gntref = -3;
export const GNTST_bad_handle = -4;
export const GNTST_bad_virt_addr = -5;
export const GNTST_bad_dev_addr = -6;
export const GNTST_no_device_space = -7;
export const GNTST_permission_denied = -8;
export const GNTST_bad_page = -9;
export const GNTST_bad_copy_arg = -10;
export const GNTST_address_too_big = -11;
export const GNTST_eagain = -12;
export const GNTST_no_space = -13;

/** u16 GTF_*, u16 the domain that may, u32 frame. */
export const grant_entry_v1 = layout('struct grant_entry_v1', [8, 8], {
  flags: [0, 0],
  domid: [2, 2],
  frame: [4, 4],
});

/** u64 address, of the mapping or of a page-table entry; u32, u32, u16; OUT s16 status, u32 handle, u64 machine address. */
export const gnttab_map_grant_ref = layout('struct gnttab_map_grant_ref', [32, 32], {
  host_addr: [0, 0],
  flags: [8, 8],
  ref: [12, 12],
  dom: [16, 16],
  status: [18, 18],
  handle: [20, 20],
  dev_bus_addr: [24, 24],
});

/** u64, u64, u32; OUT s16 status. */
export const gnttab_unmap_grant_ref = layout('struct gnttab_unmap_grant_ref', [24, 24], {
  host_addr: [0, 0],
  dev_bus_addr: [8, 8],
  handle: [16, 16],
  status: [20, 20],
});

/** u16, u32; OUT s16 status; pointer to frame numbers. */
export const gnttab_setup_table = layout('struct gnttab_setup_table', [16, 24], {
  dom: [0, 0],
  nr_frames: [4, 4],
  status: [8, 8],
  frame_list: [12, 16],
});

/** Frame number, u16, u32; OUT s16 status. */
export const gnttab_transfer = layout('struct gnttab_transfer', [16, 24], {
  mfn: [0, 0],
  domid: [4, 8],
  ref: [8, 12],
  status: [12, 16],
});

/** Of each end: u32 reference or frame number, u16 domain, u16 offset; then u16, u16; OUT s16 status. */
export const gnttab_copy = layout('struct gnttab_copy', [24, 40], {
  'source.u.ref': [0, 0],
  'source.u.gmfn': [0, 0],
  'source.domid': [4, 8],
  'source.offset': [6, 10],
  'dest.u.ref': [8, 16],
  'dest.u.gmfn': [8, 16],
  'dest.domid': [12, 24],
  'dest.offset': [14, 26],
  len: [16, 32],
  flags: [18, 34],
  status: [20, 36],
});

/** u16; OUT u32, u32, s16 status. */
export const gnttab_query_size = layout('struct gnttab_query_size', [16, 16], {
  dom: [0, 0],
  nr_frames: [4, 4],
  max_nr_frames: [8, 8],
  status: [12, 12],
});

/** u64 address of the mapping, u64 address of what is mapped there then; u32; OUT s16 status. */
export const gnttab_unmap_and_replace = layout('struct gnttab_unmap_and_replace', [24, 24], {
  host_addr: [0, 0],
  new_addr: [8, 8],
  handle: [16, 16],
  status: [20, 20],
});

/** IN and OUT u32. */
export const gnttab_set_version = layout('struct gnttab_set_version', [4, 4], { version: [0, 0] });

/** u32, u16; OUT s16 status; pointer to u64 frame numbers. */
export const gnttab_get_status_frames = layout('struct gnttab_get_status_frames', [12, 16], {
  nr_frames: [0, 0],
  dom: [4, 4],
  status: [6, 6],
  frame_list: [8, 8],
});

/** u16; OUT u32. */
export const gnttab_get_version = layout('struct gnttab_get_version', [8, 8], { dom: [0, 0], version: [4, 4] });

/** u32, u32; OUT s16 status. */
export const gnttab_swap_grant_ref = layout('struct gnttab_swap_grant_ref', [12, 12], {
  ref_a: [0, 0],
  ref_b: [4, 4],
  status: [8, 8],
});
