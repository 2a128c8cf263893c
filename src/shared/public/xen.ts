/**
 * Numbers of `xen.h`: hypercalls, virtual interrupts, reserved domain ids, and the commands of the hypercalls that
 * have no header of their own (mmu_update, mmuext_op, update_va_mapping, console_io, vm_assist). The structures of
 * that header are in `xen-layout.ts`.
 */

// Hypercall numbers: EAX on i386, RAX on x86-64. Numbers 11, 43 to 47 are unused.
export const __HYPERVISOR_set_trap_table = 0;
export const __HYPERVISOR_mmu_update = 1;
export const __HYPERVISOR_set_gdt = 2;
export const __HYPERVISOR_stack_switch = 3;
export const __HYPERVISOR_set_callbacks = 4;
export const __HYPERVISOR_fpu_taskswitch = 5;
export const __HYPERVISOR_sched_op_compat = 6; // sched_op before interface 0x00030101
export const __HYPERVISOR_platform_op = 7;
export const __HYPERVISOR_set_debugreg = 8;
export const __HYPERVISOR_get_debugreg = 9;
export const __HYPERVISOR_update_descriptor = 10;
export const __HYPERVISOR_memory_op = 12;
export const __HYPERVISOR_multicall = 13;
export const __HYPERVISOR_update_va_mapping = 14;
export const __HYPERVISOR_set_timer_op = 15;
export const __HYPERVISOR_event_channel_op_compat = 16; // event_channel_op before interface 0x00030202
export const __HYPERVISOR_xen_version = 17;
export const __HYPERVISOR_console_io = 18;
export const __HYPERVISOR_physdev_op_compat = 19; // physdev_op before interface 0x00030202
export const __HYPERVISOR_grant_table_op = 20;
export const __HYPERVISOR_vm_assist = 21;
export const __HYPERVISOR_update_va_mapping_otherdomain = 22;
export const __HYPERVISOR_iret = 23; // x86 only
export const __HYPERVISOR_vcpu_op = 24;
export const __HYPERVISOR_set_segment_base = 25; // x86-64 only
export const __HYPERVISOR_mmuext_op = 26;
export const __HYPERVISOR_xsm_op = 27;
export const __HYPERVISOR_nmi_op = 28;
export const __HYPERVISOR_sched_op = 29;
export const __HYPERVISOR_callback_op = 30;
export const __HYPERVISOR_xenoprof_op = 31;
export const __HYPERVISOR_event_channel_op = 32;
export const __HYPERVISOR_physdev_op = 33;
export const __HYPERVISOR_hvm_op = 34;
export const __HYPERVISOR_sysctl = 35;
export const __HYPERVISOR_domctl = 36;
export const __HYPERVISOR_kexec_op = 37;
export const __HYPERVISOR_tmem_op = 38;
export const __HYPERVISOR_argo_op = 39;
export const __HYPERVISOR_xenpmu_op = 40;
export const __HYPERVISOR_dm_op = 41;
export const __HYPERVISOR_hypfs_op = 42;
export const __HYPERVISOR_arch_0 = 48;
export const __HYPERVISOR_arch_1 = 49;
export const __HYPERVISOR_arch_2 = 50;
export const __HYPERVISOR_arch_3 = 51;
export const __HYPERVISOR_arch_4 = 52;
export const __HYPERVISOR_arch_5 = 53;
export const __HYPERVISOR_arch_6 = 54;
export const __HYPERVISOR_arch_7 = 55;

// Virtual interrupts. "V": per VCPU, bound once on each and never re-bound. "G": global, allocated once per domain on
// VCPU 0, then re-bindable; those for dom0 only say so.
export const VIRQ_TIMER = 0; // V: the time base was updated, or a timeout that was asked for has come
export const VIRQ_DEBUG = 1; // V: please dump debug information
export const VIRQ_CONSOLE = 2; // G, dom0: bytes from the emergency console
export const VIRQ_DOM_EXC = 3; // G, dom0: something exceptional happened to a domain
export const VIRQ_TBUF = 4; // G, dom0: the trace buffers hold records
export const VIRQ_DEBUGGER = 6; // G, dom0: a domain paused for debugging
export const VIRQ_XENOPROF = 7; // V: a profiler sample is there
export const VIRQ_CON_RING = 8; // G, dom0: bytes in the console ring
export const VIRQ_PCPU_STATE = 9; // G, dom0: a pCPU came or went
export const VIRQ_MEM_EVENT = 10; // G, dom0
export const VIRQ_ARGO = 11; // G
export const VIRQ_ENOMEM = 12; // G, dom0: the heap runs low
export const VIRQ_XENPMU = 13; // V: performance-counter interrupt
export const VIRQ_ARCH_0 = 16;
export const VIRQ_ARCH_1 = 17;
export const VIRQ_ARCH_2 = 18;
export const VIRQ_ARCH_3 = 19;
export const VIRQ_ARCH_4 = 20;
export const VIRQ_ARCH_5 = 21;
export const VIRQ_ARCH_6 = 22;
export const VIRQ_ARCH_7 = 23;
export const NR_VIRQS = 24;

// Domain ids that name no ordinary domain.
export const DOMID_FIRST_RESERVED = 0x7ff0;
export const DOMID_SELF = 0x7ff0;
export const DOMID_IO = 0x7ff1; // owner of I/O pages
export const DOMID_XEN = 0x7ff2; // owner of pages of Xen's heap that it shares
export const DOMID_COW = 0x7ff3; // owner of shared copy-on-write pages
export const DOMID_INVALID = 0x7ff4;
export const DOMID_IDLE = 0x7fff; // the idle VCPUs, in traces
export const DOMID_MASK = 0x7fff;

// mmu_update: the command is in bits 1:0 of `ptr`.
export const MMU_NORMAL_PT_UPDATE = 0;
export const MMU_MACHPHYS_UPDATE = 1;
export const MMU_PT_UPDATE_PRESERVE_AD = 2;
export const MMU_PT_UPDATE_NO_TRANSLATE = 3;

// mmuext_op commands.
export const MMUEXT_PIN_L1_TABLE = 0;
export const MMUEXT_PIN_L2_TABLE = 1;
export const MMUEXT_PIN_L3_TABLE = 2;
export const MMUEXT_PIN_L4_TABLE = 3;
export const MMUEXT_UNPIN_TABLE = 4;
export const MMUEXT_NEW_BASEPTR = 5;
export const MMUEXT_TLB_FLUSH_LOCAL = 6;
export const MMUEXT_INVLPG_LOCAL = 7;
export const MMUEXT_TLB_FLUSH_MULTI = 8;
export const MMUEXT_INVLPG_MULTI = 9;
export const MMUEXT_TLB_FLUSH_ALL = 10;
export const MMUEXT_INVLPG_ALL = 11;
export const MMUEXT_FLUSH_CACHE = 12;
export const MMUEXT_SET_LDT = 13;
export const MMUEXT_NEW_USER_BASEPTR = 15;
export const MMUEXT_CLEAR_PAGE = 16;
export const MMUEXT_COPY_PAGE = 17;
export const MMUEXT_FLUSH_CACHE_GLOBAL = 18;
export const MMUEXT_MARK_SUPER = 19;
export const MMUEXT_UNMARK_SUPER = 20;

// update_va_mapping flags: what to flush in bits 1:0, on which pCPUs in bit 2; with MULTI the remaining bits are the
// address of a VCPU bitmap. UVMF_MULTI and UVMF_LOCAL are both 0: a null bitmap address means the calling pCPU alone.
export const UVMF_NONE = 0;
export const UVMF_TLB_FLUSH = 1;
export const UVMF_INVLPG = 2;
export const UVMF_FLUSHTYPE_MASK = 3;
export const UVMF_MULTI = 0;
export const UVMF_LOCAL = 0;
export const UVMF_ALL = 4;

// console_io commands.
export const CONSOLEIO_write = 0;
export const CONSOLEIO_read = 1;

// vm_assist commands and types; a type is a bit number.
export const VMASST_CMD_enable = 0;
export const VMASST_CMD_disable = 1;
export const VMASST_TYPE_4gb_segments = 0;
export const VMASST_TYPE_4gb_segments_notify = 1;
export const VMASST_TYPE_writable_pagetables = 2;
export const VMASST_TYPE_pae_extended_cr3 = 3;
export const VMASST_TYPE_architectural_iopl = 4;
export const VMASST_TYPE_runstate_update_flag = 5;
export const VMASST_TYPE_m2p_strict = 32;

// vcpu_time_info.flags.
export const XEN_PVCLOCK_TSC_STABLE_BIT = 1; // times of different VCPUs may be compared without clamping
export const XEN_PVCLOCK_GUEST_STOPPED = 2;

// start_info.flags.
export const SIF_PRIVILEGED = 1 << 0;
export const SIF_INITDOMAIN = 1 << 1; // this is dom0
export const SIF_MULTIBOOT_MOD = 1 << 2;
export const SIF_MOD_START_PFN = 1 << 3; // mod_start is a page-frame number
export const SIF_VIRT_P2M_4TOOLS = 1 << 4;
export const SIF_PM_MASK = 0xff << 8;
export const MAX_GUEST_CMDLINE = 1024; // bytes, with the final NUL
