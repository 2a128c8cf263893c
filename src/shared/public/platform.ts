/** Services for dom0's kernel (`platform.h`): the commands of `platform_op(struct xen_platform_op *)`. */

import { layout } from './layout.js';

export const XENPF_INTERFACE_VERSION = 0x3000001;

export const XENPF_settime32 = 17;
export const XENPF_settime64 = 62;
export const XENPF_add_memtype = 31;
export const XENPF_del_memtype = 32;
export const XENPF_read_memtype = 33;
export const XENPF_microcode_update = 35;
export const XENPF_platform_quirk = 39;
export const XENPF_efi_runtime_call = 49;
export const XENPF_firmware_info = 50;
export const XENPF_enter_acpi_sleep = 51;
export const XENPF_change_freq = 52;
export const XENPF_getidletime = 53;
export const XENPF_set_processor_pminfo = 54;
export const XENPF_get_cpuinfo = 55;
export const XENPF_get_cpu_version = 48;
export const XENPF_cpu_online = 56;
export const XENPF_cpu_offline = 57;
export const XENPF_cpu_hotadd = 58;
export const XENPF_mem_hotadd = 59;
export const XENPF_core_parking = 60;
export const XENPF_resource_op = 61;
export const XENPF_get_symbol = 63;

// xenpf_pcpuinfo.flags.
export const XEN_PCPU_FLAGS_ONLINE = 1;
export const XEN_PCPU_FLAGS_INVALID = 2; // there is no such pCPU

/** Of the union only what is served: the time, pCPUs and how long they idled. */
export const xen_platform_op = layout('struct xen_platform_op', [136, 136], {
  cmd: [0, 0], // u32
  interface_version: [4, 4], // u32
  'u.settime32.secs': [8, 8], // u32
  'u.settime32.nsecs': [12, 12], // u32
  'u.settime32.system_time': [16, 16], // u64, ns
  'u.settime64.secs': [8, 8], // u64
  'u.settime64.nsecs': [16, 16], // u32
  'u.settime64.mbz': [20, 20], // u32
  'u.settime64.system_time': [24, 24], // u64, ns
  'u.getidletime.cpumap_bitmap': [8, 8], // pointer
  'u.getidletime.cpumap_nr_cpus': [12, 16], // u32
  'u.getidletime.idletime': [16, 24], // pointer to u64[]
  'u.getidletime.now': [20, 32], // u64, ns
  'u.pcpu_info.xen_cpuid': [8, 8], // u32, as all of it
  'u.pcpu_info.max_present': [12, 12],
  'u.pcpu_info.flags': [16, 16], // XEN_PCPU_FLAGS_*
  'u.pcpu_info.apic_id': [20, 20],
  'u.pcpu_info.acpi_id': [24, 24],
  'u.cpu_ol.cpuid': [8, 8], // u32
});
