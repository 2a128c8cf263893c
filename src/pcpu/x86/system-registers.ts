/**
 * What registers of the system hold while a 64-bit paravirtual guest runs: Xen's, which SMSW, SGDT, SIDT, SLDT and STR show to ring 3 where
 * there is no UMIP, and which MOV from CR0 and CR4 shows a kernel (xen/arch/x86/boot/trampoline.S, asm/desc.h, asm/config.h, asm/pv/domain.h).
 */
import { FIRST_RESERVED_GDT_ENTRY, FIRST_RESERVED_GDT_PAGE } from '../../shared/public/arch-x86.js';

export const CR0 = { PE: 1, MP: 2, TS: 8, ET: 0x10, NE: 0x20, WP: 0x10000, AM: 0x40000, PG: 0x80000000 } as const;
/** But for TS, which is the guest's. */
export const CR0_OF_XEN = CR0.PG + CR0.AM + CR0.WP + CR0.NE + CR0.ET + CR0.MP + CR0.PE;

export const CR4 = { TSD: 4, PAE: 0x20, OSFXSR: 0x200, OSXMMEXCPT: 0x400 } as const;
/** Of Xen's, what a guest is shown. */
export const CR4_OF_XEN = CR4.PAE | CR4.OSFXSR | CR4.OSXMMEXCPT;
/** What a guest may change: of Xen's list, what CPUID names. RDTSC does not look at it. */
export const CR4_OF_GUEST = CR4.TSD;

/** The table of segments, Xen's page at its end included: in Xen's mappings of the domain, and here for each VCPU as for the first. */
export const GDTR = { limit: (FIRST_RESERVED_GDT_PAGE + 1) * 4096 - 1, base: 0xffff_8200_0000_0000n } as const;
/** 256 gates, where Xen's image begins. */
export const IDTR = { limit: 256 * 16 - 1, base: 0xffff_82d0_4000_0000n } as const;
/** Selector of Xen's task state segment, the ninth of its entries. */
export const TR = (FIRST_RESERVED_GDT_ENTRY + 8) << 3;
/** No guest has a local table. */
export const LDTR = 0;
