/* Events from VCPU 0 to VCPU 1: from the send until its upcall has come. */
#include "bench.h"
#include "../test-kernel/context.h"

static u8 context[CONTEXT_BYTES] __attribute__((aligned(8)));
static u8 stack[16384] __attribute__((aligned(16)));
static u32 port;
static volatile u64 upcalls, blocks;

void upcall(const u8 *sp) {
	u32 id = sp >= stack && sp < stack + sizeof stack;
	struct vcpu_info *info = &SHARED->vcpu[id];
	info->pending = 0;
	__atomic_exchange_n(&info->selector, 0, __ATOMIC_SEQ_CST);
	__atomic_exchange_n(&SHARED->pending[0], 0, __ATOMIC_SEQ_CST);
	if (id) upcalls++;
}

static void other(void) {
	SHARED->vcpu[1].mask = 0;
	/* What has been sent meanwhile comes now. */
	hypercall(HYPERVISOR_xen_version, 0, 0, 0);
	for (;;) {
		if (blocks) hypercall(HYPERVISOR_sched_op, SCHEDOP_block, 0, 0);
		else __asm__ volatile("pause");
	}
}

static void set(u64 at, u64 value) { *(u64 *)(context + at) = value; }

void prepare_other(void) {
	struct { u32 vcpu, port; } ipi = { 1, 0 };
	must("bind_ipi", hypercall(HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, (long)&ipi, 0));
	port = ipi.port;
	set(FLAGS, VGCF_in_kernel);
	set(EVENT_CALLBACK, (u64)upcall_entry);
	set(USER_REGS + REGS_RIP, (u64)other);
	set(USER_REGS + REGS_CS, FLAT_KERNEL_CS);
	set(USER_REGS + REGS_SS, FLAT_KERNEL_SS);
	set(USER_REGS + REGS_RSP, (u64)stack + sizeof stack - 8);
	set(CTRLREG + 24, roots[0] << 12);
	must("initialise", hypercall(HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, (long)context));
	must("stop_periodic_timer", hypercall(HYPERVISOR_vcpu_op, VCPUOP_stop_periodic_timer, 1, 0));
	must("up", hypercall(HYPERVISOR_vcpu_op, VCPUOP_up, 1, 0));
}

static void send(u64 n) {
	while (n--) {
		u64 before = upcalls;
		hypercall(HYPERVISOR_event_channel_op, EVTCHNOP_send, (long)&port, 0);
		while (upcalls == before) __asm__ volatile("pause");
	}
}

void send_to_running(u64 n) {
	blocks = 0;
	send(n);
}

void send_to_blocked(u64 n) {
	blocks = 1;
	send(n);
}
