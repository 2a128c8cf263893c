/* Runs the kernels of the benchmark and says on the console when each begins and what it found: "S name iterations", "E checksum". */
#include "kernels.h"

#define HYPERVISOR_console_io 18
#define HYPERVISOR_sched_op 29
#define CONSOLEIO_write 0
#define SCHEDOP_shutdown 2
#define CMDLINE 128

long hypercall(long nr, long first, long second, long third);

static u8 arena[ARENA] __attribute__((aligned(4096)));
static char line[128];
static u32 length;

static void flush(void) { hypercall(HYPERVISOR_console_io, CONSOLEIO_write, length, (long)line); length = 0; }
static void put(char c) { line[length++] = c; if (c == '\n' || length == sizeof line) flush(); }
static void text(const char *s) { while (*s) put(*s++); }
static void hex(u32 x) { for (int at = 28; at >= 0; at -= 4) put("0123456789abcdef"[x >> at & 15]); }
static void number(u32 x) { char digits[12]; int n = 0; do digits[n++] = '0' + x % 10; while (x /= 10); while (n) put(digits[--n]); }

static const char *after(const char *where, const char *what) {
	for (; *where; where++) {
		const char *a = where, *b = what;
		while (*b && *a == *b) a++, b++;
		if (!*b) return a;
	}
	return 0;
}

static int is(const char *name, const char *wanted) {
	while (*name && *name == *wanted) name++, wanted++;
	return !*name && (!*wanted || *wanted == ' ');
}

/* Command line: div=N runs an Nth of the iterations, only=NAME one kernel. */
void kmain(const u8 *info) {
	const char *command = (const char *)info + CMDLINE, *given;
	u32 div = 1;
	if ((given = after(command, "div="))) for (div = 0; *given >= '0' && *given <= '9';) div = div * 10 + (u32)(*given++ - '0');
	const char *only = after(command, "only=");
	for (int n = 0; n < nkernels; n++) {
		if (only && !is(kernels[n].name, only)) continue;
		u32 iterations = kernels[n].iters / div;
		if (!iterations) iterations = 1;
		text("S "); text(kernels[n].name); put(' '); number(iterations); put('\n');
		u32 sum = kernels[n].fn(iterations, arena);
		text("E "); hex(sum); put('\n');
	}
	text("DONE\n");
	u32 reason = 0;
	hypercall(HYPERVISOR_sched_op, SCHEDOP_shutdown, (long)&reason, 0);
}
