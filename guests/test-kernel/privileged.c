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

static u64 rdmsr(u32 msr) {
	u32 low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "r11");
	return (u64)high << 32 | low;
}
static void wrmsr(u32 msr, u64 value) {
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory", "r11");
}
#define FS_BASE 0xc0000100u
#define GS_BASE 0xc0000101u
#define SHADOW_GS_BASE 0xc0000102u
#define EFER 0xc0000080u
#define PAT 0x277u
/* There is none. */
#define NO_MSR 0x1234u

#define READ(what) ({ u64 x_; __asm__ volatile("movq %%" what ", %0" : "=r"(x_) : : "rcx", "r11", "memory"); x_; })
#define WRITE(what, value) __asm__ volatile("movq %0, %%" what : : "a"((u64)(value)) : "rcx", "r11", "memory")
#define CR0_TS 8
/* TSD, and MCE, which is set where the processor has that. */
#define CR4_OTHERS 0x44ul
/* Nothing of a PC's is there, and domain 0 may have it. */
#define NO_PORT 0x2e0

static void test_msrs(void) {
	static u64 there[2] = { 0x1122334455667788ul, 0x99aabbccddeeff00ul };
	u64 found, before = faults;
	wrmsr(GS_BASE, (u64)there);
	check("rdmsr GS_BASE", rdmsr(GS_BASE), (u64)there);
	__asm__ volatile("movq %%gs:8, %0" : "=r"(found));
	check("%gs:8", found, there[1]);
	wrmsr(FS_BASE, (u64)there - 8);
	__asm__ volatile("movq %%fs:8, %0" : "=r"(found));
	check("%fs:8", found, there[0]);
	wrmsr(SHADOW_GS_BASE, 0xffff880000000000ul);
	check("rdmsr SHADOW_GS_BASE", rdmsr(SHADOW_GS_BASE), 0xffff880000000000ul);
	check("it is none of the kernel's", rdmsr(GS_BASE), (u64)there);
	check("EFER", rdmsr(EFER), 0xd01);
	check("PAT", rdmsr(PAT), 0x50100070406ul);
	check("no exception", faults, before);
	skipped = 2;
	wrmsr(GS_BASE, 1ul << 47);
	check("an address that is none", faults, ++before);
	rdmsr(NO_MSR);
	check("rdmsr of no register", faults, ++before);
	wrmsr(NO_MSR, 0);
	check("wrmsr of no register", faults, ++before);
	check("#GP", number_of_last, 13);
	check("GS_BASE is as it was", rdmsr(GS_BASE), (u64)there);
}

static void test_registers(void) {
	u64 before = faults;
	check("cr0", READ("cr0"), 0x80050033);
	check("cr2", READ("cr2"), SHARED->vcpu[0].cr2);
	WRITE("cr2", 0x1234);
	check("cr2 in vcpu_info", SHARED->vcpu[0].cr2, 0x1234);
	check("cr3 is a frame", READ("cr3") & 0xfff, 0);
	check("cr4", READ("cr4") & ~CR4_OTHERS, 0x620);
	WRITE("cr4", READ("cr4"));
	WRITE("dr0", 0x5678);
	check("dr0", READ("dr0"), 0x5678);
	WRITE("dr0", 0);
	__asm__ volatile("wbinvd" : : : "memory", "rcx", "r11");
	check("no exception", faults, before);
	skipped = 3;
	WRITE("cr0", 0x80050032);
	check("cr0 but for TS", faults, ++before);
	WRITE("dr0", 0xffff800000000000ul);
	check("a breakpoint in the hypervisor", faults, ++before);
	u64 status;
	/* TS may be the hypervisor's: registers of the x87 are switched when they are used. */
	__asm__ volatile("smsw %0" : "=r"(status));
	check("smsw", status & 0xfff7, 0x33);
}

/* Registers of the x87 are switched only now. */
static void switch_now(struct frame *frame) {
	note(frame);
	__asm__ volatile("clts" : : : "memory", "rcx", "r11");
}

static void test_task_switched(void) {
	struct { u8 vector, flags; u16 cs; u64 address; } traps[2] = { { 7, 0, FLAT_KERNEL_CS, entry_points[7] }, { 0, 0, 0, 0 } };
	check("set_trap_table", (u64)hypercall(HYPERVISOR_set_trap_table, (long)traps, 0, 0), 0);
	u64 before = faults;
	double one = 0;
	handler = switch_now;
	skipped = 0;
	WRITE("cr0", READ("cr0") | CR0_TS);
	check("TS", READ("cr0") & CR0_TS, CR0_TS);
	check("not yet", faults, before);
	__asm__ volatile("fld1; fstpl %0" : "=m"(one) : : "memory", "rcx", "r11");
	check("once", faults, before + 1);
	check("#NM", number_of_last, 7);
	check("no TS", READ("cr0") & CR0_TS, 0);
	check("1.0", *(u64 *)&one, 0x3ff0000000000000ul);
	handler = note;
}

static u32 in(u16 port) {
	u32 x = 0;
	__asm__ volatile("inl %1, %0" : "+a"(x) : "d"(port) : "rcx", "r11");
	return x;
}

static void test_ports(void) {
	u64 before = faults;
	u8 found[4] = { 0, 0, 0, 0 };
	check("in", in(0xcfc), 0xffffffff);
	__asm__ volatile("outb %%al, $0x80" : : "a"(0) : "rcx", "r11");
	void *to = found;
	__asm__ volatile("insb" : "+D"(to) : "d"(NO_PORT) : "memory", "rcx", "r11");
	check("insb", found[0] | found[1] << 8, 0xff);
	check("rdi behind it", (u64)to, (u64)(found + 1));
	check("no exception", faults, before);
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
	test_ports();
	iopl = 0;
	check("set_iopl", (u64)hypercall(HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, (long)&iopl, 0), 0);
	__asm__ volatile("sti" : : : "memory", "rcx", "r11");
	check("sti", faults, 3);
	in(0xcfc);
	check("in", faults, 4);
	test_msrs();
	test_registers();
	test_task_switched();
}
