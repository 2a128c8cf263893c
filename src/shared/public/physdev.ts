/** Devices and interrupts of the host (`physdev.h`): the commands of `physdev_op(cmd, *)`. */

import { layout } from './layout.js';

export const PHYSDEVOP_eoi = 12;
export const PHYSDEVOP_pirq_eoi_gmfn_v1 = 17;
export const PHYSDEVOP_pirq_eoi_gmfn_v2 = 28;
export const PHYSDEVOP_irq_status_query = 5;
export const PHYSDEVOP_set_iopl = 6;
export const PHYSDEVOP_set_iobitmap = 7;
export const PHYSDEVOP_apic_read = 8;
export const PHYSDEVOP_apic_write = 9;
export const PHYSDEVOP_alloc_irq_vector = 10;
export const PHYSDEVOP_free_irq_vector = 11;
export const PHYSDEVOP_map_pirq = 13;
export const PHYSDEVOP_unmap_pirq = 14;
export const PHYSDEVOP_manage_pci_add = 15;
export const PHYSDEVOP_manage_pci_remove = 16;
export const PHYSDEVOP_restore_msi = 19;
export const PHYSDEVOP_manage_pci_add_ext = 20;
export const PHYSDEVOP_setup_gsi = 21;
export const PHYSDEVOP_get_free_pirq = 23;
export const PHYSDEVOP_pci_mmcfg_reserved = 24;
export const PHYSDEVOP_pci_device_add = 25;
export const PHYSDEVOP_pci_device_remove = 26;
export const PHYSDEVOP_restore_msi_ext = 27;
export const PHYSDEVOP_prepare_msix = 30;
export const PHYSDEVOP_release_msix = 31;
export const PHYSDEVOP_dbgp_op = 29;

// physdev_irq_status_query.flags.
export const XENIRQSTAT_needs_eoi = 1; // PHYSDEVOP_eoi must follow each event
export const XENIRQSTAT_shared = 2; // other domains have it, too

// physdev_map_pirq.type, physdev_get_free_pirq.type.
export const MAP_PIRQ_TYPE_MSI = 0;
export const MAP_PIRQ_TYPE_GSI = 1;
export const MAP_PIRQ_TYPE_UNKNOWN = 2;
export const MAP_PIRQ_TYPE_MSI_SEG = 3;
export const MAP_PIRQ_TYPE_MULTI_MSI = 4;

/** IN irq. */
export const physdev_eoi = layout('struct physdev_eoi', [4, 4], {
  irq: [0, 0],
});

/** IN irq; OUT flags (XENIRQSTAT_*). */
export const physdev_irq_status_query = layout('struct physdev_irq_status_query', [8, 8], {
  irq: [0, 0],
  flags: [4, 4],
});

/** IN domid, type, index; IN or OUT pirq (negative: any); the rest is for MSIs. */
export const physdev_map_pirq = layout('struct physdev_map_pirq', [36, 40], {
  domid: [0, 0],
  type: [4, 4],
  index: [8, 8],
  pirq: [12, 12],
  bus: [16, 16],
  devfn: [20, 20],
  entry_nr: [24, 24],
  table_base: [28, 32],
});

/** IN domid, pirq. */
export const physdev_unmap_pirq = layout('struct physdev_unmap_pirq', [8, 8], {
  domid: [0, 0],
  pirq: [4, 4],
});

/** IN type; OUT pirq. */
export const physdev_get_free_pirq = layout('struct physdev_get_free_pirq', [8, 8], {
  type: [0, 0],
  pirq: [4, 4],
});

/** The guest kernel's I/O privilege level, u32. */
export const physdev_set_iopl = layout('struct physdev_set_iopl', [4, 4], {
  iopl: [0, 0],
});

/** Pointer to the I/O permission bitmap; u32 ports that it covers. */
export const physdev_set_iobitmap = layout('struct physdev_set_iobitmap', [8, 16], {
  bitmap: [0, 0],
  nr_ports: [4, 8],
});
