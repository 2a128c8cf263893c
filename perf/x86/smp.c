/* Several VCPUs count together: with LOCK, and under a spinlock that is held for a while. Says both sums: "LOCKED n SPUN n". */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#define HYPERVISOR_console_io 18
#define HYPERVISOR_vcpu_op 24
#define HYPERVISOR_sched_op 29
#define VCPUOP_initialise 0
#define VCPUOP_up 1
#define VCPUOP_down 2
#define SCHEDOP_shutdown 2
#define CMDLINE 128
#define SHARED_INFO 40
#define PT_BASE 88
#define MOST 32
#define ROUNDS 2000
/* Of vcpu_guest_context (arch-x86/xen.h). */
#define CONTEXT_BYTES 5168
#define USER_REGS 520
#define RIP 128
#define RSP 152
#define RDI 112
#define CTRLREG 4984

long hypercall(long nr, long first, long second, long third);
void other(u64 id);

static u8 context[CONTEXT_BYTES];
static u8 stacks[MOST][4096] __attribute__((aligned(16)));
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

void other(u64 id) {
	count();
	hypercall(HYPERVISOR_vcpu_op, VCPUOP_down, (long)id, 0);
	for (;;);
}

static void put(u64 at, u64 value) { *(u64 *)(context + at) = value; }

static char *number(char *to, u32 x) {
	char digits[12];
	int n = 0;
	do digits[n++] = (char)('0' + x % 10); while (x /= 10);
	while (n) *to++ = digits[--n];
	return to;
}

void kmain(const u8 *info) {
	const char *command = (const char *)info + CMDLINE;
	u32 vcpus = 0;
	while (*command >= '0' && *command <= '9') vcpus = vcpus * 10 + (u32)(*command++ - '0');
	u64 cr3 = *(const u64 *)(info + SHARED_INFO) + *(const u64 *)(info + PT_BASE);
	for (u64 id = 1; id < vcpus; id++) {
		put(USER_REGS + RIP, (u64)other);
		put(USER_REGS + RSP, (u64)stacks[id] + sizeof stacks[id] - 8);
		put(USER_REGS + RDI, id);
		put(CTRLREG + 24, cr3);
		hypercall(HYPERVISOR_vcpu_op, VCPUOP_initialise, (long)id, (long)context);
		hypercall(HYPERVISOR_vcpu_op, VCPUOP_up, (long)id, 0);
	}
	count();
	while (done < vcpus) __asm__ volatile("pause");
	char line[64], *at = line;
	for (const char *s = "LOCKED "; *s;) *at++ = *s++;
	at = number(at, locked);
	for (const char *s = " SPUN "; *s;) *at++ = *s++;
	at = number(at, spun);
	*at++ = '\n';
	hypercall(HYPERVISOR_console_io, 0, at - line, (long)line);
	u32 reason = 0;
	hypercall(HYPERVISOR_sched_op, SCHEDOP_shutdown, (long)&reason, 0);
}
