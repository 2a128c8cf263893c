/*
 * Several VCPUs: each is brought up with a table of traps and an event callback of its own, takes an exception, and then passes events on,
 * round and round. Every other one begins as an application, which calls its kernel.
 */
#include "kernel.h"
#include "context.h"

#define MOST 32
#define ROUNDS 100
#define STACK_BYTES 8192

static u8 context[CONTEXT_BYTES] __attribute__((aligned(8)));
static u8 stacks[MOST][STACK_BYTES] __attribute__((aligned(16)));
static u32 ports[MOST], vcpus;
void (*volatile job)(u64 id);
static volatile u64 calls;
static volatile u64 faults[MOST], events[MOST], last_vector[MOST], nmis[MOST];

static void set(u64 at, u64 value) { *(u64 *)(context + at) = value; }
static void send(u32 port) { hypercall(HYPERVISOR_event_channel_op, EVTCHNOP_send, (long)&port, 0); }

/* Whose stack the frame is on. VCPU 0 has the domain builder's. */
static u32 self(const struct frame *frame) {
	u64 at = (u64)frame - (u64)stacks;
	return at < sizeof stacks ? (u32)(at / STACK_BYTES) : 0;
}

static void other(u64 id);

static void take(struct frame *frame) {
	u32 id = self(frame);
	if (frame->number == SYSCALLS) {
		__atomic_fetch_add(&calls, (frame->cs & 3) == 3, __ATOMIC_SEQ_CST);
		frame->rip = (u64)other;
		frame->cs = FLAT_KERNEL_CS & ~3;
		frame->rsp = (u64)stacks[id] + STACK_BYTES - 8;
		frame->rdi = id;
		return;
	}
	if (frame->number == 2) {
		nmis[id]++;
		return;
	}
	if (frame->number != EVENTS) {
		faults[id]++;
		last_vector[id] = frame->number;
		/* Of race.c: it need not be tried all the time. */
		if (frame->number == 14) for (volatile u32 k = 0; k < 1000; k++);
		frame->rip += frame->number == 6 ? 2 : frame->number == 14 ? 3 : 0;
		return;
	}
	struct vcpu_info *info = &SHARED->vcpu[id];
	info->pending = 0;
	__atomic_exchange_n(&info->selector, 0, __ATOMIC_SEQ_CST);
	u64 bit = 1ul << (ports[id] & 63);
	/* Else it is the timer's. */
	if (!(__atomic_fetch_and(&SHARED->pending[ports[id] >> 6], ~bit, __ATOMIC_SEQ_CST) & bit)) return;
	/* A round ends at VCPU 0, which begins the next. */
	events[id]++;
	if (id != 0 || events[0] < ROUNDS) send(ports[(id + 1) % vcpus]);
}

static void fault_once(void) {
	__asm__ volatile("ud2" : : : "memory", "rcx", "r11");
	__asm__ volatile("int $0x80" : : : "memory", "rcx", "r11");
}

static void other(u64 id) {
	fault_once();
	for (;;) {
		/* What comes from here on wakes it: blocking lets upcalls in, and does not wait for what is there. */
		SHARED->vcpu[id].mask = 1;
		if (job) job(id);
		hypercall(HYPERVISOR_sched_op, SCHEDOP_block, 0, 0);
	}
}

void wake(u32 id) { send(ports[id]); }

static void bring_up(u32 id) {
	static const u8 vectors[] = { 2, 6, 14, 0x80 };
	for (u32 n = 0; n < sizeof vectors; n++) {
		u8 *trap = context + TRAP_CTXT + 16 * vectors[n];
		trap[0] = vectors[n];
		trap[1] = 3;
		*(u64 *)(trap + 8) = entry_points[vectors[n]];
	}
	u32 is_application = id & 1;
	set(FLAGS, is_application ? 0 : VGCF_in_kernel);
	set(KERNEL_SP, (u64)stacks[id] + STACK_BYTES);
	set(SYSCALL_CALLBACK, entry_points[SYSCALLS]);
	set(CTRLREG + 8, user_cr3);
	set(EVENT_CALLBACK, entry_points[EVENTS]);
	set(USER_REGS + REGS_RIP, is_application ? user_start : (u64)other);
	set(USER_REGS + REGS_CS, FLAT_KERNEL_CS);
	set(USER_REGS + REGS_SS, FLAT_KERNEL_SS);
	set(USER_REGS + REGS_RSP, (u64)stacks[id] + STACK_BYTES - 8);
	set(USER_REGS + REGS_RDI, id);
	/* Both are machine addresses or lie in the flat memory, whose first frame is the shared info page. */
	set(CTRLREG + 24, mfn_of(*(const u64 *)(start_info + START_INFO_PT_BASE)) << 12);
	check("VCPUOP_initialise", (u64)hypercall(HYPERVISOR_vcpu_op, VCPUOP_initialise, id, (long)context), 0);
	check("VCPUOP_up", (u64)hypercall(HYPERVISOR_vcpu_op, VCPUOP_up, id, 0), 0);
}

/* After traps.c: 6 and 0x80 have a handler; events.c: there is a callback; and user.c: applications have page tables. */
void test_vcpus(void) {
	handler = take;
	vcpus = (u32)number_after((const char *)start_info + START_INFO_CMDLINE, "vcpus=", 1);
	for (u32 id = 0; id < vcpus; id++) {
		struct { u32 vcpu, port; } ipi = { id, 0 };
		check("bind_ipi", (u64)hypercall(HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, (long)&ipi, 0), 0);
		ports[id] = ipi.port;
	}
	fault_once();
	SHARED->vcpu[0].mask = 0;
	for (u32 id = 1; id < vcpus; id++) bring_up(id);
	send(ports[1 % vcpus]);
	while (events[0] < ROUNDS) {
		block_for(0, 1000000);
	}
	/* Interrupts that are not masked wake them, whatever they do. */
	for (u32 id = 1; id < vcpus; id++)
		check("VCPUOP_send_nmi", (u64)hypercall(HYPERVISOR_vcpu_op, VCPUOP_send_nmi, id, 0), 0);
	for (u32 id = 1; id < vcpus; id++) while (!nmis[id]) hypercall(HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0);
	check("calls of applications", calls, vcpus / 2);
	for (u32 id = 0; id < vcpus; id++) {
		check("exceptions of each", faults[id], 2);
		check("the last", last_vector[id], 0x80);
		check("events of each", events[id], ROUNDS);
		check("nmis of each", nmis[id], id != 0);
	}
}
