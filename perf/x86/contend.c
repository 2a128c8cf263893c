/* VCPUs do nothing but LOCK INC of one word, for ever. Command line: VCPUs. */
#include "vcpus.h"

static volatile u32 word;

#define AGAIN8(what) what what what what what what what what

static void other(u64 id) {
	(void)id;
	for (;;) { AGAIN8(AGAIN8(__asm__ volatile("lock incl %0" : "+m"(word));)) }
}

void run(const char *command) {
	bring_up(number_after(command, "", 1), other);
	other(0);
}
