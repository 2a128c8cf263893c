/** Numbers of the x86 ABI (`arch-x86/xen.h`, `xen-x86_32.h`, `xen-x86_64.h`). The structures: `arch-x86-layout.ts`. */

import type { PerWidth } from './layout.js';

/** VCPUs whose vcpu_info is in shared_info; the others must register one (VCPUOP_register_vcpu_info). */
export const XEN_LEGACY_MAX_VCPUS = 32;

// The end of every descriptor table belongs to Xen; a guest's own GDT stops at this page, byte, entry.
export const FIRST_RESERVED_GDT_PAGE = 14;
export const FIRST_RESERVED_GDT_BYTE = 57344;
export const FIRST_RESERVED_GDT_ENTRY = 7168;

// Flat segments that Xen provides. A 64-bit guest's kernel runs in ring 3, as its applications do.
export const FLAT_RING1_CS = { 32: 0xe019 } as const;
export const FLAT_RING1_DS = { 32: 0xe021 } as const;
export const FLAT_RING1_SS = { 32: 0xe021 } as const;
export const FLAT_RING3_CS = { 32: 0xe02b } as const;
export const FLAT_RING3_DS = { 32: 0xe033 } as const;
export const FLAT_RING3_SS = { 32: 0xe033 } as const;
export const FLAT_RING3_CS32 = { 64: 0xe023 } as const;
export const FLAT_RING3_CS64 = { 64: 0xe033 } as const;
export const FLAT_RING3_DS32 = { 64: 0xe02b } as const;
export const FLAT_RING3_DS64 = { 64: 0x0 } as const;
export const FLAT_RING3_SS32 = { 64: 0xe02b } as const;
export const FLAT_RING3_SS64 = { 64: 0xe02b } as const;
export const FLAT_KERNEL_CS: PerWidth<number> = { 32: 0xe019, 64: 0xe033 };
export const FLAT_KERNEL_DS: PerWidth<number> = { 32: 0xe021, 64: 0x0 };
export const FLAT_KERNEL_SS: PerWidth<number> = { 32: 0xe021, 64: 0xe02b };
export const FLAT_USER_CS: PerWidth<number> = { 32: 0xe02b, 64: 0xe033 };
export const FLAT_USER_DS: PerWidth<number> = { 32: 0xe033, 64: 0x0 };
export const FLAT_USER_SS: PerWidth<number> = { 32: 0xe033, 64: 0xe02b };

// The hypervisor's hole in every address space, which starts with the machine-to-physical table.
export const HYPERVISOR_VIRT_START: PerWidth<bigint> = { 32: 0xf5800000n, 64: 0xffff800000000000n };
export const HYPERVISOR_VIRT_END = { 64: 0xffff880000000000n } as const;
export const MACH2PHYS_VIRT_START: PerWidth<bigint> = { 32: 0xf5800000n, 64: 0xffff800000000000n };
export const MACH2PHYS_VIRT_END: PerWidth<bigint> = { 32: 0xf6800000n, 64: 0xffff804000000000n };

// vcpu_guest_context.flags.
export const VGCF_i387_valid = 1 << 0;
export const VGCF_in_kernel = 1 << 2;
export const VGCF_failsafe_disables_events = 1 << 3;
export const VGCF_syscall_disables_events = 1 << 4;
export const VGCF_online = 1 << 5;

// set_segment_base, 64-bit guests.
export const SEGBASE_FS = { 64: 0 } as const;
export const SEGBASE_GS_USER = { 64: 1 } as const;
export const SEGBASE_GS_KERNEL = { 64: 2 } as const;
export const SEGBASE_GS_USER_SEL = { 64: 3 } as const;

/** For iret_context.flags, of 64-bit guests: return with SYSRET. */
export const VGCF_in_syscall = { 64: 1 << 8 } as const;
