/* Several VCPUs count together: with LOCK, and under a spinlock that is held for a while. Says both sums: "LOCKED n SPUN n". */
#include "vcpus.h"

#define ROUNDS 2000

static volatile u32 locked, spun, lock, done;

static void count(void) {
	for (u32 n = 0; n < ROUNDS; n++) {
		__asm__ volatile("lock incl %0" : "+m"(locked));
		while (__sync_lock_test_and_set(&lock, 1))
			while (lock) __asm__ volatile("pause");
		u32 seen = spun;
		for (volatile u32 k = 0; k < 5; k++);
		spun = seen + 1;
		__sync_lock_release(&lock);
	}
	__sync_fetch_and_add(&done, 1);
}

static void other(u64 id) {
	count();
	go_down(id);
}

/* Command line: VCPUs. */
void run(const char *command) {
	u32 vcpus = number_after(command, "", 1);
	bring_up(vcpus, other);
	count();
	while (done < vcpus) __asm__ volatile("pause");
	text("LOCKED ");
	number(locked);
	text(" SPUN ");
	number(spun);
	put('\n');
	power_off();
}
