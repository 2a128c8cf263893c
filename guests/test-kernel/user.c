/*
 * Applications, which have page tables of their own: what they may, how they come to the kernel, and how that goes back. After events.c:
 * there is a port of the timer.
 */
#include "kernel.h"
#include "frames.h"

struct user { u64 ss, rsp, rflags, cs, rip, flags; };
void enter_user(const struct user *user);
void leave_user(void) __attribute__((noreturn));
extern const u8 applications[], app_leave[], app_syscall[], app_syscall_behind[], app_divide[], app_read[], app_write[], app_int80[], app_int83[],
	app_cli[], app_in[], app_rdmsr[], app_cpuid[], app_bases[], app_float[], app_wait[], app_iret[];

#define PAGE 4096
#define EXIT 1
#define ANSWER 0x2a
#define USER_CS 0xe033
#define USER_SS 0xe02b

u64 user_cr3, user_start;
/* What applications have at an address is not what the kernel has there. */
static u8 here[PAGE] __attribute__((aligned(PAGE))), there[PAGE] __attribute__((aligned(PAGE)));
static u64 tables[4][512] __attribute__((aligned(PAGE)));
static u8 stack[8 * PAGE] __attribute__((aligned(16)));
static struct frame left, seen;
static u64 faults, skipped, mask, gs_word, events, is_left_by_fault, own_word[1] = { 0x5555 };

static u64 kernel_gs(void) {
	u64 x;
	__asm__ volatile("movq %%gs:0, %0" : "=r"(x));
	return x;
}

static long set_callback(u16 type, u16 flags, u64 address) {
	struct { u16 type, flags; u32 pad; u64 address; } callback = { type, flags, 0, address };
	return hypercall(HYPERVISOR_callback_op, CALLBACKOP_register, (long)&callback, 0);
}

static void take(struct frame *frame) {
	mask = SHARED->vcpu[0].mask;
	gs_word = kernel_gs();
	if (frame->number == EVENTS) {
		SHARED->vcpu[0].pending = 0;
		SHARED->vcpu[0].selector = 0;
		for (u32 n = 0; n < 64; n++) SHARED->pending[n] = 0;
		if ((frame->cs & 3) == 3) {
			seen = *frame;
			events++;
			*(u64 *)there = 1;
		}
		return;
	}
	if (frame->number == SYSCALLS && frame->rax == EXIT) {
		left = *frame;
		leave_user();
	}
	seen = *frame;
	if (frame->number == FAILSAFE || is_left_by_fault) leave_user();
	if (frame->number == SYSCALLS) {
		frame->rax = ANSWER;
		return;
	}
	faults++;
	if (frame->number == 6) set_callback(CALLBACKTYPE_syscall, 0, entry_points[SYSCALLS]);
	if (frame->number == 7) hypercall(HYPERVISOR_fpu_taskswitch, 0, 0, 0);
	frame->rip += skipped;
}

static struct user user;

static void enter(const u8 *rip) {
	user = (struct user){ USER_SS, (u64)here + PAGE - 64, EFLAGS_IF, USER_CS, (u64)rip, 0 };
	enter_user(&user);
	SHARED->vcpu[0].mask = 0;
}

/* An application with RBX. Registers but for these are what the kernel had. */
static void run(const u8 *rip, const void *rbx) {
	__asm__ volatile("" : : : "memory");
	register u64 b __asm__("rbx") = (u64)rbx;
	__asm__ volatile("" : "+r"(b));
	user = (struct user){ USER_SS, (u64)here + PAGE - 64, EFLAGS_IF, USER_CS, (u64)rip, 0 };
	__asm__ volatile("call enter_user" : "+r"(b) : "D"(&user) : "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
	SHARED->vcpu[0].mask = 0;
}

static void fault(const u8 *rip, const void *rbx, u64 bytes, u64 number, u64 error_code) {
	u64 before = faults;
	skipped = bytes;
	run(rip, rbx);
	check("one exception", faults, before + 1);
	check("vector", seen.number, number);
	check("error code", seen.error_code, error_code);
	check("cs of an application", seen.cs, USER_CS);
	check("ss", seen.ss, USER_SS);
	check("rsp", seen.rsp, (u64)here + PAGE - 64);
	check("IF, IOPL", seen.rflags & 0x3200, EFLAGS_IF);
	check("gs is the kernel's", gs_word, own_word[0]);
}

static long set_base(u64 which, u64 base) { return hypercall(HYPERVISOR_set_segment_base, (long)which, (long)base, 0); }

static void build_tables(void) {
	u64 at = (u64)here;
	tables[0][at >> 39 & 511] = entry_of(tables[1], PTE_PRESENT | PTE_WRITABLE | PTE_USER);
	tables[1][at >> 30 & 511] = entry_of(tables[2], PTE_PRESENT | PTE_WRITABLE | PTE_USER);
	tables[2][at >> 21 & 511] = entry_of(tables[3], PTE_PRESENT | PTE_WRITABLE | PTE_USER);
	tables[3][at >> 12 & 511] = entry_of(there, PTE_PRESENT | PTE_WRITABLE | PTE_USER);
	tables[3][(u64)applications >> 12 & 511] = entry_of(applications, PTE_PRESENT | PTE_USER);
	check("a table that can be written", (u64)mmuext(MMUEXT_PIN_L4_TABLE, mfn_of((u64)tables[0]), 0), -22ul);
	for (u32 n = 0; n < 4; n++) check("update_va_mapping", (u64)remap(tables[n], 0), 0);
	check("pin", (u64)mmuext(MMUEXT_PIN_L4_TABLE, mfn_of((u64)tables[0]), 0), 0);
	check("NEW_USER_BASEPTR", (u64)mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of((u64)tables[0]), 0), 0);
	user_cr3 = mfn_of((u64)tables[0]) << 12;
	user_start = (u64)app_leave;
}

static void test_syscalls(void) {
	/* Without a callback it is no instruction; in this fault it gets one, and is begun again. */
	fault(app_leave, 0, 0, 6, 0);
	check("at the instruction", seen.rip, left.rip - 2);
	enter(app_syscall);
	check("number", seen.number, SYSCALLS);
	check("rip", seen.rip, (u64)app_syscall_behind);
	check("rcx is rip", seen.rcx, seen.rip);
	check("r11 is rflags", seen.r11, seen.rflags);
	check("DF and IF", seen.rflags & 0x600, 0x600);
	check("cs", seen.cs, USER_CS);
	check("ss", seen.ss, USER_SS);
	check("rsp", seen.rsp, (u64)here + PAGE - 64);
	check("upcalls are not masked", mask, 0);
	check("the answer", left.rdi, ANSWER);
	check("rax of iret", left.rsi, 0x11);
	check("rcx of iret", left.rdx, 0x33);
	/* Masked; and by SYSRET. */
	check("syscall", (u64)set_callback(CALLBACKTYPE_syscall, CALLBACKF_mask_events, entry_points[SYSCALLS]), 0);
	iret_flags = VGCF_in_syscall;
	enter(app_syscall);
	iret_flags = 0;
	check("upcalls are masked", mask, 1);
	check("the answer", left.rdi, ANSWER);
	check("syscall", (u64)set_callback(CALLBACKTYPE_syscall, 0, entry_points[SYSCALLS]), 0);
	check("syscall32", (u64)set_callback(CALLBACKTYPE_syscall32, 0, entry_points[SYSCALLS]), 0);
	check("sysenter", (u64)set_callback(CALLBACKTYPE_sysenter, 0, entry_points[SYSCALLS]), 0);
	check("nmi", (u64)set_callback(CALLBACKTYPE_nmi, 0, entry_points[2]), 0);
	check("no such callback", (u64)set_callback(3, 0, entry_points[2]), -38ul);
	check("an address that is none", (u64)set_callback(CALLBACKTYPE_failsafe, 0, 1ul << 47), -22ul);
}

static void test_faults(void) {
	fault(app_divide, 0, 2, 0, 0);
	fault(app_read, (void *)0x7ffff123, 3, 14, 4);
	check("cr2", SHARED->vcpu[0].cr2, 0x7ffff123);
	/* The kernel is not there. */
	fault(app_read, &faults, 3, 14, 4);
	fault(app_write, applications, 3, 14, 7);
	fault(app_read, (void *)(1ul << 47), 3, 13, 0);
	fault(app_int80, 0, 0, 0x80, 0);
	set_trap(0x83, 1);
	fault(app_int83, 0, 2, 13, 0x83 * 8 + 2);
	fault(app_cli, 0, 1, 13, 0);
	fault(app_in, 0, 1, 13, 0);
	fault(app_rdmsr, 0, 2, 13, 0);
	u64 before = faults;
	run(app_cpuid, 0);
	check("forced cpuid", faults, before);
	check("its name", left.rdi & 0xffffffff, 0x676e6952);
	check("their memory", *(u64 *)there, 0x3333);
	check("not the kernel's", *(u64 *)here, 0x2222);
}

/* After test_faults: all have a handler. Where the command line asks for it. */
static void say_frames(void) {
	if (!number_after((const char *)start_info + START_INFO_CMDLINE, "frames=", 0)) return;
	/* INT 0x80 goes on behind itself; the others leave at their next exception. */
#define SAY(name, rbx) is_left_by_fault = 1; run(name, (void *)(rbx)); is_left_by_fault = 0; \
	say_frame(#name, &seen, (u64)name, (u64)here + PAGE - 64, SHARED->vcpu[0].cr2);
	FAULTING(SAY)
}

static void test_bases(void) {
	*(u64 *)(there + 0x100) = 0x1001;
	*(u64 *)(there + 0x200) = 0x2002;
	check("fs", (u64)set_base(SEGBASE_FS, (u64)here + 0x100), 0);
	check("gs of applications", (u64)set_base(SEGBASE_GS_USER, (u64)here + 0x200), 0);
	check("an address that is none", (u64)set_base(SEGBASE_FS, 1ul << 47), -22ul);
	check("no such base", (u64)set_base(4, 0), -22ul);
	run(app_bases, 0);
	check("%fs:0", left.rdi, 0x1001);
	check("%gs:0", left.rsi, 0x2002);
	check("gs is the kernel's", gs_word, own_word[0]);
	check("null selector", (u64)set_base(SEGBASE_GS_USER_SEL, 3), 0);
	fault(app_bases, 0, 9, 14, 4);
	check("gs has base 0", SHARED->vcpu[0].cr2, 0);
}

static void test_float(void) {
	set_trap(7, 0);
	check("fpu_taskswitch", (u64)hypercall(HYPERVISOR_fpu_taskswitch, 1, 0, 0), 0);
	fault(app_float, 0, 0, 7, 0);
	check("1.0", left.rdi, 0x3ff0000000000000ul);
}

static void test_upcall(void) {
	*(u64 *)there = 0;
	/* Not before it runs; and what came before is over. */
	SHARED->vcpu[0].mask = 1;
	__atomic_exchange_n(&SHARED->pending[0], 0, __ATOMIC_SEQ_CST);
	SHARED->vcpu[0].selector = 0;
	SHARED->vcpu[0].pending = 0;
	hypercall(HYPERVISOR_set_timer_op, (long)(now(0) + 50000), 0, 0);
	run(app_wait, here);
	check("an upcall", events, 1);
	check("upcalls are masked in it", seen.number == EVENTS, 1);
	check("cs of an application", seen.cs, USER_CS);
}

/* Where iret cannot be done. */
static void failing(const char *what, u64 rip, u64 cs, u64 ss) {
	seen.number = 0;
	user = (struct user){ ss, 0x7000, EFLAGS_IF, cs, rip, 0 };
	enter_user(&user);
	check(what, seen.number, FAILSAFE);
	check("rip", seen.rip, rip);
	check("cs", seen.cs & 0xffff, cs);
	check("rsp", seen.rsp, 0x7000);
	check("ss", seen.ss, ss | 3);
	check("ds, es, fs, gs", failsafe_selectors[0] | failsafe_selectors[1] | failsafe_selectors[2], 0);
	check("upcalls", mask, 1);
	SHARED->vcpu[0].mask = 0;
}

static void test_failsafe(void) {
	check("failsafe", (u64)set_callback(CALLBACKTYPE_failsafe, CALLBACKF_mask_events, entry_points[FAILSAFE]), 0);
	failing("an address that is none", 1ul << 47, USER_CS, USER_SS);
	failing("no code", (u64)app_leave, USER_SS, USER_SS);
	failing("no segment", (u64)app_leave, 0x4b, USER_SS);
	failing("no stack", (u64)app_leave, USER_CS, 0);
	failing("no selector", (u64)app_leave, 3, USER_SS);
}

static void test_iret(void) {
	enter(app_iret);
	check("flags of iret", left.rdi & 0x3fd5, 0x2d5);
	check("flags of popf", left.rdx & 0x3fd5, EFLAGS_IF);
	check("rsp", left.rsi, 0);
	/* The kernel's own, in ring 3 as it is. */
	u64 flags, before = faults;
	__asm__ volatile("movq %%rsp, %%rax; pushq %1; pushq %%rax; pushq $0x3095; pushq %2; leaq 1f(%%rip), %%rax; pushq %%rax; iretq; 1: pushfq; popq %0"
		: "=&r"(flags) : "i"(USER_SS), "i"(USER_CS) : "rax", "memory", "cc");
	check("flags of the kernel's iret", flags & 0x3fd5, 0x295);
	check("no exception", faults, before);
	skipped = 2;
	__asm__ volatile("movq %%rsp, %%rbx; pushq %0; pushq %%rbx; pushq $0x202; pushq %1; leaq 1f(%%rip), %%rax; pushq %%rax; iretq; 1: movq %%rbx, %%rsp"
		: : "i"(USER_SS), "i"(0x4b) : "rax", "rbx", "rcx", "r11", "memory", "cc");
	check("iret to no segment", faults, before + 1);
	check("#GP", seen.number, 13);
	check("of its selector", seen.error_code, 0x48);
}

void test_user(void) {
	handler = take;
	SHARED->vcpu[0].mask = 0;
	*(u64 *)here = 0x2222;
	check("gs", (u64)set_base(SEGBASE_GS_KERNEL, (u64)own_word), 0);
	check("stack_switch", (u64)hypercall(HYPERVISOR_stack_switch, FLAT_KERNEL_SS, (long)(stack + sizeof stack), 0), 0);
	build_tables();
	test_syscalls();
	*(u64 *)there = 0x3333;
	test_faults();
	say_frames();
	test_bases();
	test_float();
	test_upcall();
	/* In QEMU 7.2 the hypervisor's own IRET to nowhere does not come back. */
	if (!is_compared()) test_failsafe();
	test_iret();
}
