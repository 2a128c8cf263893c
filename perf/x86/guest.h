/* What kernels of several VCPUs share: hypercalls, a console line, and bringing the others up. Included once by each. */
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
/* Of vcpu_guest_context (arch-x86/xen.h). */
#define CONTEXT_BYTES 5168
#define USER_REGS 520
#define RIP 128
#define RSP 152
#define RDI 112
#define CTRLREG 4984

#define UNUSED __attribute__((unused))

/* In start.S. */
long hypercall(long nr, long first, long second, long third);

static u8 context[CONTEXT_BYTES];
static u8 stacks[MOST][4096] __attribute__((aligned(16)));
static char line[128], *end = line;

static void say(const char *text) { while (*text) *end++ = *text++; }

static void say_number(u32 x) {
	char digits[12];
	int n = 0;
	do digits[n++] = (char)('0' + x % 10); while (x /= 10);
	while (n) *end++ = digits[--n];
}

static void end_line(void) {
	*end++ = '\n';
	hypercall(HYPERVISOR_console_io, 0, end - line, (long)line);
	end = line;
}

/* The next number of a command line, and what is behind it. */
static u32 next_number(const char **rest) {
	u32 x = 0;
	while (**rest == ' ') ++*rest;
	while (**rest >= '0' && **rest <= '9') x = x * 10 + (u32)(*(*rest)++ - '0');
	return x;
}

UNUSED static void put(u64 at, u64 value) { *(u64 *)(context + at) = value; }

/* VCPUs 1 to `vcpus` - 1 begin at `entry`, which is given their number and does not return. */
UNUSED static void bring_up(const u8 *info, u32 vcpus, void (*entry)(u64 id)) {
	u64 cr3 = *(const u64 *)(info + SHARED_INFO) + *(const u64 *)(info + PT_BASE);
	for (u64 id = 1; id < vcpus; id++) {
		put(USER_REGS + RIP, (u64)entry);
		put(USER_REGS + RSP, (u64)stacks[id] + sizeof stacks[id] - 8);
		put(USER_REGS + RDI, id);
		put(CTRLREG + 24, cr3);
		hypercall(HYPERVISOR_vcpu_op, VCPUOP_initialise, (long)id, (long)context);
		hypercall(HYPERVISOR_vcpu_op, VCPUOP_up, (long)id, 0);
	}
}

UNUSED static void go_down(u64 id) {
	hypercall(HYPERVISOR_vcpu_op, VCPUOP_down, (long)id, 0);
	for (;;);
}

static void power_off(void) {
	u32 reason = 0;
	hypercall(HYPERVISOR_sched_op, SCHEDOP_shutdown, (long)&reason, 0);
}
