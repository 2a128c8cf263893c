/* What the kernels here are to the place they run in, and what that gives them. */
#pragma once
#include "kernels.h"

/* The kernel's own: what it does with its command line. */
void run(const char *command);

/* The place's (xen.c, multiboot.c). */
void say(const char *line, u32 length);
void power_off(void);

/* text.c */
void put(char c);
void text(const char *s);
void hex(u32 x);
void number(u32 x);
const char *after(const char *where, const char *what);
u32 number_after(const char *where, const char *what, u32 otherwise);

static inline u32 ticks(u32 *high) {
	u32 low;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(*high));
	return low;
}
