/* The place of litmus.c where VCPUs are threads, each on a processor of its own where there are so many: litmus-native COMMAND-LINE */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>
#include "vcpus.h"

static void (*entry_of_all)(u64 id);

static void stay_on(u64 id) {
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(id % (u64)sysconf(_SC_NPROCESSORS_ONLN), &set);
	pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

static void *begin(void *id) {
	stay_on((u64)id);
	entry_of_all((u64)id);
	return 0;
}

void bring_up(u32 vcpus, void (*entry)(u64 id)) {
	entry_of_all = entry;
	stay_on(0);
	for (u64 id = 1; id < vcpus; id++) {
		pthread_t thread;
		if (pthread_create(&thread, 0, begin, (void *)id) != 0) exit(1);
	}
}
void go_down(u64 id) { (void)id; }
void say(const char *line, u32 length) { if (write(1, line, length) < 0) exit(1); }
void power_off(void) { exit(0); }

int main(int argc, char **argv) {
	run(argc > 1 ? argv[1] : "");
	return 0;
}
