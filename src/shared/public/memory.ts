/** Reservations and the physical map (`memory.h`): the `memory_op(cmd, *)` commands of a guest and its builder. */

import { layout } from './layout.js';

export const XENMEM_increase_reservation = 0;
export const XENMEM_decrease_reservation = 1;
export const XENMEM_maximum_ram_page = 2;
export const XENMEM_current_reservation = 3;
export const XENMEM_maximum_reservation = 4;
export const XENMEM_machphys_mfn_list = 5;
export const XENMEM_populate_physmap = 6;
export const XENMEM_add_to_physmap = 7;
export const XENMEM_memory_map = 9;
export const XENMEM_machine_memory_map = 10;
export const XENMEM_exchange = 11;
export const XENMEM_machphys_mapping = 12;
export const XENMEM_set_memory_map = 13;
export const XENMEM_maximum_gpfn = 14;
export const XENMEM_remove_from_physmap = 15;
export const XENMEM_add_to_physmap_batch = 23;
export const XENMEM_machphys_compat_mfn_list = 25;

// xen_memory_reservation.mem_flags.
export const XENMEMF_populate_on_demand = 1 << 16;
export const XENMEMF_exact_node_request = 1 << 17;
export const XENMEMF_vnode = 1 << 18;

// xen_add_to_physmap.space.
export const XENMAPSPACE_shared_info = 0;
export const XENMAPSPACE_grant_table = 1;
export const XENMAPSPACE_gmfn = 2;
export const XENMAPSPACE_gmfn_range = 3;
export const XENMAPSPACE_gmfn_foreign = 4;

/** Pointer to frame numbers, their number, u32 log2 of the pages in each, u32 flags, u16 domain. */
export const xen_memory_reservation = layout('struct xen_memory_reservation', [20, 32], {
  extent_start: [0, 0],
  nr_extents: [4, 8],
  extent_order: [8, 16],
  mem_flags: [12, 20],
  domid: [16, 24],
});

/** What is given, what is wanted, how many extents of the first were exchanged. */
export const xen_memory_exchange = layout('struct xen_memory_exchange', [44, 72], {
  in: [0, 0],
  out: [20, 32],
  nr_exchanged: [40, 64],
});

/** u32 room, pointer to frame numbers, u32 frames given. Each frame maps 2 MB of the table. */
export const xen_machphys_mfn_list = layout('struct xen_machphys_mfn_list', [12, 24], {
  max_extents: [0, 0],
  extent_start: [4, 8],
  nr_extents: [8, 16],
});

/** OUT addresses of the machine-to-physical table, and the last frame it holds. */
export const xen_machphys_mapping = layout('struct xen_machphys_mapping', [12, 24], {
  v_start: [0, 0],
  v_end: [4, 8],
  max_mfn: [8, 16],
});

/** u16 domain, u16 size, u32 space (XENMAPSPACE_*), index in that space, guest frame. */
export const xen_add_to_physmap = layout('struct xen_add_to_physmap', [16, 24], {
  domid: [0, 0],
  size: [2, 2],
  space: [4, 4],
  idx: [8, 8],
  gpfn: [12, 16],
});

/**
 * u16 domain, u16 space, u16 number of frames, u16 of XENMAPSPACE_gmfn_foreign whose they are; pointers to indices in that space, to guest
 * frames, and to an int each, OUT what came of it.
 */
export const xen_add_to_physmap_batch = layout('struct xen_add_to_physmap_batch', [20, 32], {
  domid: [0, 0],
  space: [2, 2],
  size: [4, 4],
  'u.foreign_domid': [6, 6],
  idxs: [8, 8],
  gpfns: [12, 16],
  errs: [16, 24],
});

/** u16 domain, guest frame. */
export const xen_remove_from_physmap = layout('struct xen_remove_from_physmap', [8, 16], {
  domid: [0, 0],
  gpfn: [4, 8],
});

/** u32 entries, pointer to 20-byte E820 entries. */
export const xen_memory_map = layout('struct xen_memory_map', [8, 16], {
  nr_entries: [0, 0],
  buffer: [4, 8],
});
