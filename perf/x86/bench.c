/* Runs the kernels of the benchmark and says on the console when each begins and what it found: "S name iterations", "E checksum". */
#include "guest.h"

static u8 arena[ARENA] __attribute__((aligned(4096)));

static int is(const char *name, const char *wanted) {
	while (*name && *name == *wanted) name++, wanted++;
	return !*name && (!*wanted || *wanted == ' ');
}

/*
 * Command line: div=N runs an Nth of the iterations, only=NAME one kernel. warm: a tenth of them before each, so that who translates code
 * has done so, and behind each the ticks of the cycle counter that it took, "T ticks".
 */
void run(const char *command) {
	u32 div = number_after(command, "div=", 1);
	const char *only = after(command, "only=");
	int warm = after(command, "warm") != 0;
	for (int n = 0; n < nkernels; n++) {
		if (only && !is(kernels[n].name, only)) continue;
		u32 iterations = kernels[n].iters / div;
		if (!iterations) iterations = 1;
		if (warm) kernels[n].fn(iterations / 10 + 1, arena);
		text("S "); text(kernels[n].name); put(' '); number(iterations); put('\n');
		u32 high, high_before, before = ticks(&high_before);
		u32 sum = kernels[n].fn(iterations, arena);
		u32 now = ticks(&high);
		text("E "); hex(sum); put('\n');
		if (warm) { text("T "); hex(high - high_before - (now < before)); hex(now - before); put('\n'); }
	}
	text("DONE\n");
	power_off();
}
