/* Brings the VCPUs of a kernel up. */
#include "vcpus.h"

#define HYPERVISOR_vcpu_op 24
#define VCPUOP_initialise 0
#define VCPUOP_up 1
#define VCPUOP_down 2
/* Of start_info (xen.h). */
#define PT_BASE 88
#define MFN_LIST 104
/* Of vcpu_guest_context (arch-x86/xen.h). */
#define CONTEXT_BYTES 5168
#define FLAGS 512
#define VGCF_in_kernel 4
#define USER_REGS 520
#define RIP 128
#define RSP 152
#define RDI 112
#define CTRLREG 4984
#define MOST 32

static u8 context[CONTEXT_BYTES];
static u8 stacks[MOST][4096] __attribute__((aligned(16)));

static void set(u64 at, u64 value) { *(u64 *)(context + at) = value; }

void bring_up(u32 vcpus, void (*entry)(u64 id)) {
	/* Virtual addresses are those of the domain's memory. */
	u64 table = *(const u64 *)(start_info + PT_BASE) >> 12;
	u64 cr3 = (*(const u64 *const *)(start_info + MFN_LIST))[table] << 12;
	for (u64 id = 1; id < vcpus; id++) {
		set(FLAGS, VGCF_in_kernel);
		set(USER_REGS + RIP, (u64)entry);
		set(USER_REGS + RSP, (u64)stacks[id] + sizeof stacks[id] - 8);
		set(USER_REGS + RDI, id);
		set(CTRLREG + 24, cr3);
		hypercall(HYPERVISOR_vcpu_op, VCPUOP_initialise, (long)id, (long)context);
		hypercall(HYPERVISOR_vcpu_op, VCPUOP_up, (long)id, 0);
	}
}

void go_down(u64 id) {
	hypercall(HYPERVISOR_vcpu_op, VCPUOP_down, (long)id, 0);
	for (;;);
}
