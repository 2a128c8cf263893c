/** Services for dom0's kernel (`platform.h`): the commands of `platform_op(struct xen_platform_op *)`. */

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
