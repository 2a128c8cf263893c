/* Upcalls: when they come, what is masked, and that nothing of what they interrupt is lost. */
#include "kernel.h"

static volatile u64 upcalls, upcall_cs, upcall_mask, ports_seen;
static struct vcpu_info *const info = &SHARED->vcpu[0];

static void take(struct frame *frame) {
	if (frame->number != EVENTS) {
		check("an exception", frame->number, EVENTS);
		return;
	}
	upcalls++;
	upcall_cs = frame->cs;
	upcall_mask = info->mask;
	info->pending = 0;
	u64 words = __atomic_exchange_n(&info->selector, 0, __ATOMIC_SEQ_CST);
	while (words) {
		u32 word = (u32)__builtin_ctzl(words);
		words &= words - 1;
		u64 bits = __atomic_exchange_n(&SHARED->pending[word], 0, __ATOMIC_SEQ_CST);
		while (bits) {
			ports_seen = ports_seen * 100 + word * 64 + (u32)__builtin_ctzl(bits);
			bits &= bits - 1;
		}
	}
}

static void send(u32 port) { hypercall(HYPERVISOR_event_channel_op, EVTCHNOP_send, (long)&port, 0); }

void test_events(void) {
	handler = take;
	struct { u16 type, flags; u32 pad; u64 address; } callback = { CALLBACKTYPE_event, 0, 0, entry_points[EVENTS] };
	check("callback_op", (u64)hypercall(HYPERVISOR_callback_op, CALLBACKOP_register, (long)&callback, 0), 0);
	struct { u32 vcpu, port; } ipi = { 0, 0 };
	check("bind_ipi", (u64)hypercall(HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, (long)&ipi, 0), 0);
	struct { u32 virq, vcpu, port; } timer = { VIRQ_TIMER, 0, 0 };
	check("bind_virq", (u64)hypercall(HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, (long)&timer, 0), 0);

	/* From here on the timer comes when it is asked for. */
	check("stop_periodic_timer", (u64)hypercall(HYPERVISOR_vcpu_op, VCPUOP_stop_periodic_timer, 0, 0), 0);
	__atomic_exchange_n(&SHARED->pending[0], 0, __ATOMIC_SEQ_CST);
	info->selector = 0;
	info->pending = 0;

	/* It comes before the hypercall that sends it has returned. */
	info->mask = 0;
	send(ipi.port);
	check("one upcall", upcalls, 1);
	check("of its port", ports_seen, ipi.port);
	check("cs", upcall_cs, FLAT_KERNEL_CS & ~3);
	check("upcalls are masked in it", upcall_mask, 1);
	check("and are not behind it", info->mask, 0);

	/* While upcalls are masked it waits; the next hypercall behind that brings it. */
	info->mask = 1;
	send(ipi.port);
	check("none while masked", upcalls, 1);
	check("but a flag", info->pending, 1);
	info->mask = 0;
	hypercall(HYPERVISOR_xen_version, 0, 0, 0);
	check("then it comes", upcalls, 2);

	/* Code that computes is interrupted anywhere, and does not notice. */
	u64 before = upcalls, sum = 1, again = 1;
	for (u32 n = 0; n < 50; n++) {
		u64 until = upcalls + 1;
		hypercall(HYPERVISOR_set_timer_op, (long)(now(0) + 100000), 0, 0);
		while (upcalls < until) {
			u64 x = sum;
			for (u32 k = 0; k < 1000; k++) x = x * 6364136223846793005ul + (x >> 33) + k;
			u64 y = sum;
			for (u32 k = 0; k < 1000; k++) y = y * 6364136223846793005ul + (y >> 33) + k;
			if (x != y) again = 0;
			sum = x;
		}
	}
	check("timers", upcalls, before + 50);
	check("what was interrupted", again, 1);

	/* Block returns when there is one, and it comes before that. */
	before = upcalls;
	block_for(0, 1000000);
	check("woken by an upcall", upcalls, before + 1);
}
