/* Segments of the kernel's own: what may be in a table, and what comes of a selector. After user.c: there is a page table of applications. */
#include "kernel.h"

#define PAGE 4096
#define PRESENT_DATA 0x00cff3000000fffful
#define CODE_OF_KERNEL 0x00af9b000000fffful
#define TASK_STATE 0x0000890000000067ul
#define NOT_PRESENT 0x00cf73000000fffful
enum { CODE = 1, DATA, ABSENT, TASK, NARROW };

static u64 gdt[512] __attribute__((aligned(PAGE))), ldt[512] __attribute__((aligned(PAGE)));
static u64 words[2] = { 0x1111, 0x2222 };
static struct frame seen;
static u64 faults, skipped;

static void note(struct frame *frame) {
	seen = *frame;
	faults++;
	frame->rip += skipped;
	/* Back from a segment that the table is not to have for ever. */
	if ((frame->cs & 0xffff) == CODE * 8) frame->cs += FLAT_KERNEL_CS - 3 - CODE * 8;
}

static u64 data_at(const void *base) {
	u64 at = (u64)base;
	return PRESENT_DATA | (at & 0xffffff) << 16 | (at >> 24 & 0xff) << 56;
}
static u64 selector(u64 n) { return n * 8 + 3; }

static long set_gdt(u64 entries) {
	u64 frame = mfn_of((u64)gdt);
	return hypercall(HYPERVISOR_set_gdt, (long)&frame, (long)entries, 0);
}
static long update(const u64 *entry, u64 descriptor) {
	return hypercall(HYPERVISOR_update_descriptor, (long)(mfn_of((u64)entry) << 12 | ((u64)entry & (PAGE - 1))), (long)descriptor, 0);
}

/* 3 bytes each. */
static u64 load_fs(u64 with) {
	u64 x = 0;
	__asm__ volatile("movl %1, %%fs; movq %%fs:0, %0" : "=&r"(x) : "r"((u32)with) : "rcx", "r11", "memory");
	return x;
}
static void refused(const char *what, u64 with, u64 number, u64 error_code) {
	u64 before = faults;
	skipped = 2;
	__asm__ volatile("movl %0, %%ds" : : "a"((u32)with) : "rcx", "r11", "memory");
	check(what, faults, before + 1);
	check("vector", seen.number, number);
	check("error code", seen.error_code, error_code);
}

static void test_table(void) {
	gdt[CODE] = CODE_OF_KERNEL;
	gdt[DATA] = data_at(words);
	gdt[ABSENT] = NOT_PRESENT;
	gdt[TASK] = TASK_STATE;
	check("a table that can be written", (u64)set_gdt(16), -22ul);
	check("update_va_mapping", (u64)remap(gdt, 0), 0);
	check("a table with a task", (u64)set_gdt(16), -22ul);
	check("a task", (u64)update(&gdt[TASK], TASK_STATE), -22ul);
	check("no place of a descriptor", (u64)update((u64 *)((u64)&gdt[TASK] + 4), 0), -22ul);
	check("nobody's frame", (u64)hypercall(HYPERVISOR_update_descriptor, 1l << 40, 0, 0), -22ul);
	check("update_descriptor", (u64)update(&gdt[TASK], 0), 0);
	check("too many", (u64)set_gdt(14 * 512 + 1), -22ul);
	check("no list", (u64)hypercall(HYPERVISOR_set_gdt, 1l << 40, 16, 0), -14ul);
	check("set_gdt", (u64)set_gdt(16), 0);
	check("the kernel's code is for ring 3", gdt[CODE] >> 45 & 3, 3);
	check("it cannot be written any more", (u64)remap(gdt, PTE_WRITABLE), -16ul);
}

static void test_loads(void) {
	u64 before = faults;
	check("base of fs", load_fs(selector(DATA)), words[0]);
	check("update_descriptor", (u64)update(&gdt[DATA], data_at(words + 1)), 0);
	check("the next base", load_fs(selector(DATA)), words[1]);
	check("no exception", faults, before);
	refused("one that is not present", selector(ABSENT), 11, ABSENT * 8);
	refused("none", selector(6), 13, 6 * 8);
	refused("one of no table", selector(DATA) | 4, 13, DATA * 8 + 4);
	check("a limit", (u64)update(&gdt[NARROW], 0x0040f30000000123ul), 0);
	u64 limit = 0, rights = 0;
	__asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(selector(NARROW)) : "cc");
	__asm__ volatile("lar %1, %0" : "=r"(rights) : "r"(selector(NARROW)) : "cc");
	check("lsl", limit, 0x123);
	check("lar", rights, 0x40f300);
	/* Code by the kernel's own selector. */
	skipped = 2;
	__asm__ volatile("movq %%rsp, %%rax; pushq %0; pushq %%rax; pushfq; pushq %1; leaq 1f(%%rip), %%rax; pushq %%rax; iretq; 1: ud2"
		: : "i"(FLAT_KERNEL_SS), "i"(CODE * 8 + 3) : "rax", "rcx", "r11", "memory", "cc");
	check("cs", seen.cs, CODE * 8);
	check("#UD", seen.number, 6);
}

static void test_local(void) {
	u64 before = faults;
	ldt[DATA] = data_at(words);
	check("SET_LDT", (u64)mmuext(MMUEXT_SET_LDT, (u64)ldt, 8), 0);
	/* Its page can be written: it is none of descriptors. */
	refused("a page fault", selector(DATA) | 4, 14, 0);
	check("cr2", SHARED->vcpu[0].cr2, (u64)&ldt[DATA]);
	check("update_va_mapping", (u64)remap(ldt, 0), 0);
	before = faults;
	check("base of fs", load_fs(selector(DATA) | 4), words[0]);
	check("no exception", faults, before);
	refused("beyond its end", selector(8) | 4, 13, 8 * 8 + 4);
	check("no page", (u64)mmuext(MMUEXT_SET_LDT, (u64)ldt + 8, 8), -22ul);
	check("too many", (u64)mmuext(MMUEXT_SET_LDT, (u64)ldt, 8193), -22ul);
	check("it cannot be written", (u64)remap(ldt, PTE_WRITABLE), -16ul);
	check("SET_LDT", (u64)mmuext(MMUEXT_SET_LDT, 0, 0), 0);
	check("now it can", (u64)remap(ldt, PTE_WRITABLE), 0);
}

static void test_registers(void) {
	check("set_debugreg", (u64)hypercall(HYPERVISOR_set_debugreg, 2, (long)0xffff880000001234ul, 0), 0);
	check("get_debugreg", (u64)hypercall(HYPERVISOR_get_debugreg, 2, 0, 0), 0xffff880000001234ul);
	check("set_debugreg", (u64)hypercall(HYPERVISOR_set_debugreg, 2, 0, 0), 0);
	check("in the hypervisor", (u64)hypercall(HYPERVISOR_set_debugreg, 2, (long)0xffff800000000000ul, 0), -1ul);
	check("no such register", (u64)hypercall(HYPERVISOR_get_debugreg, 8, 0, 0), -19ul);
	struct { u64 address, pad; } nmi = { entry_points[2], 0 };
	check("nmi_op", (u64)hypercall(HYPERVISOR_nmi_op, 0, (long)&nmi, 0), 0);
	check("nmi_op", (u64)hypercall(HYPERVISOR_nmi_op, 1, 0, 0), 0);
	check("no such assistance", (u64)hypercall(HYPERVISOR_vm_assist, 0, 6, 0), -22ul);
	/* The level is seen in frames, and set by them. */
	check("vm_assist", (u64)hypercall(HYPERVISOR_vm_assist, 0, 4, 0), 0);
	u32 iopl = 1;
	check("set_iopl", (u64)hypercall(HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, (long)&iopl, 0), 0);
	skipped = 2;
	__asm__ volatile("ud2" : : : "rcx", "r11", "memory");
	check("IOPL", seen.rflags & 0x3000, 0x1000);
	check("vm_assist", (u64)hypercall(HYPERVISOR_vm_assist, 1, 4, 0), 0);
	__asm__ volatile("ud2" : : : "rcx", "r11", "memory");
	check("no IOPL", seen.rflags & 0x3000, 0);
}

/* Interrupts that are not masked with upcalls: the handler of the first, in which another is sent, and of that. */
static u64 nmis, depth, deepest, nmi_mask[2];
static struct frame nmi_frame[2];

static long send_nmi(u64 id, long argument) { return hypercall(HYPERVISOR_vcpu_op, VCPUOP_send_nmi, (long)id, argument); }

static void take_nmi(struct frame *frame) {
	if (frame->number != 2) {
		note(frame);
		return;
	}
	if (++depth > deepest) deepest = depth;
	nmi_mask[nmis & 1] = SHARED->vcpu[0].mask;
	nmi_frame[nmis & 1] = *frame;
	if (nmis++ == 0) {
		check("within its handler", (u64)send_nmi(0, 0), 0);
		check("once", (u64)send_nmi(0, 0), 0);
		check("it waits", nmis, 1);
	}
	depth--;
}

static void test_nmis(void) {
	void (*before)(struct frame *) = handler;
	handler = take_nmi;
	check("no such VCPU", (u64)send_nmi(8000, 0), -2ul);
	check("an argument", (u64)send_nmi(0, 4096), -22ul);
	/* Xen says something of it. */
	if (!is_compared()) check("without a handler", (u64)send_nmi(0, 0), 0);
	struct { u64 address, pad; } nmi = { entry_points[2], 0 };
	check("nmi_op", (u64)hypercall(HYPERVISOR_nmi_op, 0, (long)&nmi, 0), 0);
	check("it was lost", nmis, 0);
	SHARED->vcpu[0].mask = 1;
	check("VCPUOP_send_nmi", (u64)send_nmi(0, 0), 0);
	check("both have come", nmis, 2);
	check("one after the other", deepest, 1);
	for (u32 n = 0; n < 2; n++) {
		check("vector", nmi_frame[n].number, 2);
		check("error code", nmi_frame[n].error_code, 0);
		check("cs, upcalls masked before", nmi_frame[n].cs, (FLAT_KERNEL_CS & ~3ul) | 1ul << 32);
		check("mask", nmi_mask[n], 1);
	}
	check("behind the same hypercall", nmi_frame[1].rip, nmi_frame[0].rip);
	check("rsp", nmi_frame[1].rsp, nmi_frame[0].rsp);
	SHARED->vcpu[0].mask = 0;
	nmis = 2;
	check("VCPUOP_send_nmi", (u64)send_nmi(0, 0), 0);
	check("it has come", nmis, 3);
	check("upcalls are masked", nmi_mask[0], 1);
	check("and are not behind it", SHARED->vcpu[0].mask, 0);
	check("cs, upcalls not masked before", nmi_frame[0].cs, FLAT_KERNEL_CS & ~3ul);
	check("nmi_op", (u64)hypercall(HYPERVISOR_nmi_op, 1, 0, 0), 0);
	handler = before;
}

void test_descriptors(void) {
	handler = note;
	set_trap(11, 0);
	test_table();
	test_loads();
	test_local();
	check("of applications", (u64)hypercall(HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, (long)selector(DATA), 0), 0);
	u64 gs;
	__asm__ volatile("movl %%gs, %k0" : "=r"(gs));
	check("gs", gs, selector(DATA));
	check("null", (u64)hypercall(HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, 0, 0), 0);
	check("fs", (u64)hypercall(HYPERVISOR_set_segment_base, SEGBASE_FS, 0, 0), 0);
	test_registers();
	test_nmis();
	__asm__ volatile("movl %0, %%fs; movl %0, %%ds" : : "r"(0));
	check("set_gdt", (u64)hypercall(HYPERVISOR_set_gdt, 0, 0, 0), 0);
	check("now it can be written", (u64)remap(gdt, PTE_WRITABLE), 0);
}
