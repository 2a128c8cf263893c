/* What a kernel may not do itself and the hypervisor does for it. After traps.c: exceptions 6 and 13 have a handler. */
#include "kernel.h"

static u64 faults, number_of_last, skipped;

static void note(struct frame *frame) {
	faults++;
	number_of_last = frame->number;
	frame->rip += skipped;
}

static void cpuid(u32 leaf, u32 r[4]) {
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}
static void forced_cpuid(u32 leaf, u32 r[4]) {
	__asm__ volatile("ud2; .ascii \"xen\"; cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0) : "r11");
}

void test_privileged(void) {
	handler = note;
	static const u32 leaves[] = { 0, 1, 0x80000000u, 0x80000001u, 0x12345678u };
	for (u32 n = 0; n < sizeof leaves / sizeof *leaves; n++) {
		u32 plain[4], forced[4];
		cpuid(leaves[n], plain);
		forced_cpuid(leaves[n], forced);
		for (u32 k = 0; k < 4; k++) check("forced cpuid", forced[k], plain[k]);
	}
	check("no exception", faults, 0);
	/* Before any other instruction the prefix is an undefined instruction. */
	skipped = 6;
	__asm__ volatile("ud2; .ascii \"xen\"; nop" : : : "memory", "rcx", "r11");
	check("one exception", faults, 1);
	check("#UD", number_of_last, 6);

	skipped = 1;
	__asm__ volatile("cli" : : : "memory", "rcx", "r11");
	check("cli", faults, 2);
	check("#GP", number_of_last, 13);
	u32 iopl = 4;
	check("no such level", (u64)hypercall(HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, (long)&iopl, 0), -22ul);
	iopl = 1;
	check("set_iopl", (u64)hypercall(HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, (long)&iopl, 0), 0);
	__asm__ volatile("cli; sti" : : : "memory");
	check("cli and sti", faults, 2);
	check("upcalls", SHARED->vcpu[0].mask, 0);
	iopl = 0;
	check("set_iopl", (u64)hypercall(HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, (long)&iopl, 0), 0);
	__asm__ volatile("sti" : : : "memory", "rcx", "r11");
	check("sti", faults, 3);
}
