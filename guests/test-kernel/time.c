/* System time: that of a VCPU's last stamp, and what its processor's counter says has gone by since (xen.h, vcpu_time_info). */
#include "kernel.h"

static u64 tsc(void) {
	u32 low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (u64)high << 32 | low;
}

u64 now(u32 vcpu) {
	const struct vcpu_info *info = &SHARED->vcpu[vcpu];
	u32 version;
	u64 time;
	do {
		version = __atomic_load_n(&info->time.version, __ATOMIC_ACQUIRE) & ~1u;
		u64 delta = tsc() - info->time.tsc;
		delta = info->time.shift < 0 ? delta >> -info->time.shift : delta << info->time.shift;
		time = info->time.system_time + (u64)((unsigned __int128)delta * info->time.mul >> 32);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (info->time.version != version);
	return time;
}

/* Waits for an upcall, for so many ns at most: a timer that is due before it blocks wakes it, too, for upcalls are masked until then. */
void block_for(u32 vcpu, u64 ns) {
	SHARED->vcpu[vcpu].mask = 1;
	hypercall(HYPERVISOR_set_timer_op, (long)(now(vcpu) + ns), 0, 0);
	hypercall(HYPERVISOR_sched_op, SCHEDOP_block, 0, 0);
}
