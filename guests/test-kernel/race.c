/*
 * A page that one VCPU writes as fast as it can becomes a page table, and is one no more, round after round, by another: from the pin to the
 * unpin nothing in it changes. The other VCPUs have been brought up by vcpus.c.
 */
#include "kernel.h"

static volatile u64 contended[512] __attribute__((aligned(4096)));
static volatile u32 stop;

/* Words that are no entries. In vcpus.c a page fault goes on behind 3 bytes. */
static void write_all(u64 id) {
	for (u64 x = id << 32; !stop; x += 2)
		__asm__ volatile("movq %%rax, (%%rdi)" : : "D"(&contended[(x >> 1) & 511]), "a"(x) : "memory", "rcx", "r11");
}

static u64 map(u64 bits, u64 flags) {
	return (u64)hypercall(HYPERVISOR_update_va_mapping, (long)contended, (long)(mfn_of((u64)contended) << 12 | bits), (long)flags);
}
static u64 ext(u32 cmd) {
	struct { u32 cmd, pad; u64 arg1, arg2; } op = { cmd, 0, mfn_of((u64)contended), 0 };
	return (u64)hypercall4(HYPERVISOR_mmuext_op, (long)&op, 1, 0, DOMID_SELF);
}
static u64 sum(void) {
	u64 x = 0;
	for (u32 n = 0; n < 512; n++) x = x * 31 + contended[n];
	return x;
}

void test_race(void) {
	const char *line = (const char *)start_info + START_INFO_CMDLINE;
	u64 vcpus = number_after(line, "vcpus=", 1), rounds = number_after(line, "rounds=", 10), changed = 0, refused = 0, idle = 0;
	/* Xen 4.17 writes the table for who may not, whether asked to or not. */
	if (vcpus < 2 || is_compared()) return;
	job = write_all;
	wake(1);
	/* It may be queued behind this one, on a host that balances no sooner than it does. */
	for (u32 n = 0; n < 100 && sum() == 0; n++) block_for(0, 1000000);
	for (u64 n = 0; n < rounds; n++) {
		/* It is written. */
		u64 before = sum(), patience = 300;
		while (sum() == before && patience) patience--;
		idle += patience == 0;
		/* Nobody is told to forget that it could be. */
		refused += map(1 | 0x20, UVMF_NONE) != 0;
		refused += ext(MMUEXT_PIN_L1_TABLE) != 0;
		u64 then = sum();
		for (u32 k = 0; k < 3; k++) changed += sum() != then;
		refused += ext(MMUEXT_UNPIN_TABLE) != 0;
		refused += map(1 | 2 | 0x20 | 0x40, UVMF_TLB_FLUSH | UVMF_ALL) != 0;
	}
	stop = 1;
	check("a page table that was written", changed, 0);
	check("refused", refused, 0);
	check("rounds in which it was not written before", idle > rounds / 2, 0);
}
