/* Page tables as a kernel sees them that may not write them. */
#include "kernel.h"

u64 entry_of(const void *page, u64 flags) { return mfn_of((u64)page) << 12 | flags; }

long remap(const void *page, u64 flags) {
	return hypercall(HYPERVISOR_update_va_mapping, (long)page, (long)entry_of(page, flags | PTE_PRESENT), UVMF_INVLPG);
}

long mmuext(u32 cmd, u64 arg1, u64 arg2) {
	struct { u32 cmd, pad; u64 arg1, arg2; } op = { cmd, 0, arg1, arg2 };
	register long whose __asm__("r10") = DOMID_SELF;
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "0"(HYPERVISOR_mmuext_op), "D"(&op), "S"(1l), "d"(0l), "r"(whose) : "rcx", "r11", "memory");
	return result;
}
