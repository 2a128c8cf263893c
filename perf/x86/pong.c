/*
 * Two domains of one VCPU each send each other an event many times: they wait for it in poll, or look at the shared info page until it is
 * there. Says the sum of what their clocks (RDTSC) said each time. Command line: role= 0 or 1, peer= the other's domain, rounds=
 */
#include "vcpus.h"

#define HYPERVISOR_event_channel_op 32
#define EVTCHNOP_bind_interdomain 0
#define EVTCHNOP_send 4
#define EVTCHNOP_alloc_unbound 6
#define HYPERVISOR_sched_op 29
#define SCHEDOP_yield 0
#define SCHEDOP_poll 3
/* Those before it are of xenstore and of the console. */
#define FIRST_PORT 3
#define PENDING 2048
#define MASK 2560

static u64 clock(void) {
	u32 high, low = ticks(&high);
	return ((u64)high << 32) | low;
}

static volatile u64 *const pending = (volatile u64 *)(shared_info + PENDING);
static u32 port;

static void poll(void) {
	struct { u64 ports; u32 nr, pad; u64 timeout; } arg = { (u64)&port, 1, 0, 0 };
	hypercall(HYPERVISOR_sched_op, SCHEDOP_poll, (long)&arg, 0);
}

void run(const char *command) {
	u32 role = number_after(command, "role=", 0), peer = number_after(command, "peer=", 0);
	u32 rounds = number_after(command, "rounds=", 1);
	/* No upcalls. */
	*(volatile u8 *)(shared_info + 1) = 1;
	*(volatile u64 *)(shared_info + MASK) = ~0ul;
	if (role == 0) {
		struct { unsigned short dom, remote; u32 port; } arg = { 0x7ff0, (unsigned short)peer, 0 };
		hypercall(HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, (long)&arg, 0);
		port = arg.port;
	} else {
		struct { unsigned short remote, pad; u32 remote_port, port; } arg = { (unsigned short)peer, 0, FIRST_PORT, 0 };
		while (hypercall(HYPERVISOR_event_channel_op, EVTCHNOP_bind_interdomain, (long)&arg, 0) < 0)
			hypercall(HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0);
		port = arg.port;
	}
	u64 sum = 0, bit = 1ul << port;
	for (u32 n = 0; n < rounds; n++) {
		if (role == 1 || n > 0) {
			/* The other may not run for long. */
			if (n % 3 != 0) for (u32 k = 0; k < 300 && !(*pending & bit); k++) __asm__ volatile("pause");
			while (!(*pending & bit)) poll();
			__asm__ volatile("lock andq %1, %0" : "+m"(*pending) : "r"(~bit) : "cc");
		}
		for (volatile u32 k = 0; k < (n * 7 + role * 3) % 50; k++);
		sum = sum * 31 + clock();
		hypercall(HYPERVISOR_event_channel_op, EVTCHNOP_send, (long)&port, 0);
	}
	text("PORT ");
	number(port);
	text(" SUM ");
	hex((u32)(sum ^ (sum >> 32)));
	put('\n');
	power_off();
}
