/* Events that a process can have, on this host: "name ns" for each repetition. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "events.h"

#define REPETITIONS 7
#define LEAST_NS 5e7
/* More pages than TLBs have; of each a line is read, so that caches hold them all. */
#define MANY 8192

void drop(void) {}
void flush(void) {}
void invalidate(ulong page) { (void)page; }

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e9 + t.tv_nsec; }

static u8 *many;
/* A line of each page, and as many lines of few pages: in no order that the processor sees coming. */
static u32 touch_many(u32 n) {
	u32 x = 0;
	for (u32 k = 0; k < n; k++) { ulong at = k * 5077 % MANY; x += *(volatile u32 *)(many + at * 4096 + at % 64 * 64); }
	return x;
}
static u32 touch_few(u32 n) {
	u32 x = 0;
	for (u32 k = 0; k < n; k++) { ulong at = k * 5077 % MANY; x += *(volatile u32 *)(many + at * 64); }
	return x;
}

static double timed(u32 (*run)(u32), u32 n) { double before = now(); run(n); return now() - before; }
static void measure(const char *name, u32 (*run)(u32)) {
	u32 n = 64;
	while (timed(run, n) < LEAST_NS && n < 1u << 30) n *= 2;
	for (int k = 0; k < REPETITIONS; k++) printf("%s %.4f\n", name, timed(run, n) / n);
}

static u8 *map(void *at, ulong bytes, int rights, int flags) {
	u8 *p = mmap(at, bytes, rights, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	madvise(p, bytes, MADV_NOHUGEPAGE);
	return p;
}

/* The word that `lock` of events.c counts in, wanted by another processor, too. */
static void stay_on(int cpu) {
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof set, &set);
}
static void *want(void *run) {
	stay_on(1);
	for (;;) ((const struct event *)run)->run(1 << 20);
}
static void measure_contended(const struct event *event) {
	pthread_t thread;
	stay_on(0);
	if (pthread_create(&thread, 0, want, (void *)event) == 0) measure("lock-contended", event->run);
}

int main(void) {
	if (map((void *)AREA, (PAGES + 1) * 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_FIXED_NOREPLACE) != (u8 *)AREA) return 1;
	many = map(0, MANY * 4096ul, PROT_READ | PROT_WRITE, 0);
	if (many == MAP_FAILED) return 1;
	for (ulong n = 0; n < MANY; n++) many[n * 4096] = 1;
	measure("refill", touch_many);
	measure("flush", touch_few);
	for (int which = 0; which < nevents; which++)
		if (!events[which].is_privileged) measure(events[which].name, events[which].run);
	for (int which = 0; which < nevents; which++)
		if (strcmp(events[which].name, "lock") == 0) measure_contended(&events[which]);
	return 0;
}
