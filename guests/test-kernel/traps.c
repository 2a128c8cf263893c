/* Exceptions: what is in their frames, what is masked, and how code goes on. */
#include "kernel.h"

struct trap_info { u8 vector, flags; u16 cs; u64 address; };
#define MASKS 4

static struct frame seen;
static u64 entries, seen_mask, seen_rsp, skipped;

/* Notes the frame, and goes on behind the instruction. */
static void note(struct frame *frame) {
	seen = *frame;
	seen_mask = SHARED->vcpu[0].mask;
	seen_rsp = (u64)frame;
	entries++;
	frame->rip += skipped;
}

/* Of an INT: behind it, and behind one that was refused. */
static void note_interrupt(struct frame *frame) {
	skipped = frame->number == 13 ? 2 : 0;
	note(frame);
}

void set_trap(u8 vector, u8 flags) {
	struct trap_info traps[2] = { { vector, flags, FLAT_KERNEL_CS, entry_points[vector] }, { 0, 0, 0, 0 } };
	check("set_trap_table", (u64)hypercall(HYPERVISOR_set_trap_table, (long)traps, 0, 0), 0);
}

/*
 * Executes `instruction`, of so many bytes, with known registers. It begins at `at`; RSP is `sp` there. RBX and R8 to R15 must come through,
 * RCX and R11 too.
 */
#define FAULT(instruction, setup) ({ \
	u64 at_, sp_, rcx_ = 0x1111, r11_ = 0x2222, rbx_ = 0x3333; \
	__asm__ volatile("movq %%rsp, %1; leaq 1f(%%rip), %%rax; movq %%rax, %0; movq %5, %%r11; " setup "; 1: " instruction "; movq %%r11, %3" \
		: "=&r"(at_), "=&r"(sp_), "+c"(rcx_), "=&r"(r11_), "+b"(rbx_) : "i"(0x2222l) : "rax", "rdx", "r11", "memory", "cc"); \
	check("rip", seen.rip, at_); \
	check("rsp", seen.rsp, sp_); \
	check("rcx in the frame", seen.rcx, 0x1111); \
	check("r11 in the frame", seen.r11, 0x2222); \
	check("rcx", rcx_, 0x1111); \
	check("r11", r11_, 0x2222); \
	check("rbx", rbx_, 0x3333); })

static void common(u64 number, u64 error_code) {
	check("vector", seen.number, number);
	check("error code", seen.error_code, error_code);
	check("cs, upcalls not masked before", seen.cs, FLAT_KERNEL_CS & ~3);
	check("ss", seen.ss, FLAT_KERNEL_SS);
	check("IF", seen.rflags & EFLAGS_IF, EFLAGS_IF);
	check("IOPL", seen.rflags & 0x3000, 0);
	/* From the hypervisor's frame down to ours is a known number of words; above it is the alignment. */
	check("the stack is aligned", (seen_rsp + sizeof(struct frame)) & 15, 0);
}

void test_traps(void) {
	static const u8 vectors[] = { 0, 3, 4, 6, 13, 14, 19, 0x80 };
	handler = note;
	SHARED->vcpu[0].mask = 0;
	for (u32 n = 0; n < sizeof vectors; n++) set_trap(vectors[n], vectors[n] == 3 || vectors[n] == 0x80 ? DPL3 : 0);

	skipped = 2;
	FAULT("divl %%edx", "xorl %%edx, %%edx");
	common(0, 0);
	check("no upcall is masked", seen_mask, 0);
	FAULT("ud2", "");
	common(6, 0);
	skipped = 0;
	/* It is behind the instruction. */
	__asm__ volatile("int3; 1: leaq 1b(%%rip), %%rax" : : : "rax", "memory", "rcx", "r11");
	common(3, 0);
	skipped = 1;
	FAULT("hlt", "");
	common(13, 0);
	skipped = 3;
	FAULT("movq (%%rax), %%rdx", "movabsq $0x1234567800000123, %%rax");
	common(13, 0);
	FAULT("movq (%%rax), %%rdx", "movl $0x7ffff123, %%eax");
	common(14, 0);
	check("cr2", SHARED->vcpu[0].cr2, 0x7ffff123);
	FAULT("movq %%rdx, (%%rax)", "movl $0x7ffff124, %%eax");
	common(14, 2);
	check("cr2", SHARED->vcpu[0].cr2, 0x7ffff124);
	/* Page tables can be read. */
	FAULT("movq %%rdx, (%%rax)", "movq start_info(%%rip), %%rax; movq 88(%%rax), %%rax; movq (%%rax), %%rdx");
	common(14, 3);

	/* An interrupt by software is behind its instruction, if its gate is for the kernel; else it is a general protection fault at it. */
	u64 before = entries;
	skipped = 0;
	__asm__ volatile("int $0x80" : : : "memory", "rcx", "r11");
	check("int 0x80", entries, before + 1);
	common(0x80, 0);
	skipped = 2;
	FAULT("int $0x81", "");
	common(13, 0x81 * 8 + 2);
	set_trap(0x81, 0);
	FAULT("int $0x81", "");
	common(13, 0x81 * 8 + 2);

	/* Upcalls stay masked until iret. */
	set_trap(6, MASKS);
	FAULT("ud2", "");
	common(6, 0);
	check("upcalls are masked", seen_mask, 1);
	check("and are not behind it", SHARED->vcpu[0].mask, 0);
	SHARED->vcpu[0].mask = 1;
	FAULT("ud2", "");
	check("cs, upcalls masked before", seen.cs, (FLAT_KERNEL_CS & ~3ul) | 1ul << 32);
	check("no IF", seen.rflags & EFLAGS_IF, 0);
	check("upcalls stay masked", SHARED->vcpu[0].mask, 1);
	SHARED->vcpu[0].mask = 0;

	/* Status flags come through. */
	u64 flags;
	skipped = 2;
	__asm__ volatile("pushq $0x8d5; popfq; ud2; pushfq; popq %0" : "=r"(flags) : : "memory", "cc", "rcx", "r11");
	check("flags", flags & 0x8d5, 0x8d5);
	check("flags in the frame", seen.rflags & 0x8d5, 0x8d5);
	__asm__ volatile("pushq $0x400; popfq; ud2; pushfq; popq %0; cld" : "=r"(flags) : : "memory", "cc", "rcx", "r11");
	check("flags", flags & 0xcd5, 0x400);

	/* Refused, or half: what was before the bad entry counts. */
	check("a bad pointer", (u64)hypercall(HYPERVISOR_set_trap_table, 1l << 40, 0, 0), -14ul);
	struct trap_info bad[3] = { { 0x82, DPL3, FLAT_KERNEL_CS, entry_points[0x82] }, { 0x83, DPL3, FLAT_KERNEL_CS, 1ul << 50 } };
	check("an address that is none", (u64)hypercall(HYPERVISOR_set_trap_table, (long)bad, 0, 0), -22ul);
	handler = note_interrupt;
	__asm__ volatile("int $0x82" : : : "memory", "rcx", "r11");
	check("the entry before it", seen.number, 0x82);
	handler = note;
	check("stack_switch", (u64)hypercall(HYPERVISOR_stack_switch, FLAT_KERNEL_SS, (long)&bad, 0), 0);
}
