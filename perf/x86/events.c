/* Single events, each in a loop that does nothing else, in the order of EVENTS in events-table.ts. */
#include "events.h"

#define AGAIN8(what) what what what what what what what what

static u32 touch(void) {
	u32 x = 0;
	for (u32 page = 0; page < PAGES; page++) x += *(volatile u32 *)(AREA + page * 4096);
	return x;
}

static u32 fault(u32 n) { u32 x = 0; for (; n; n -= PAGES) { drop(); x += touch(); } return x; }
static u32 dropped(u32 n) { for (; n; n -= PAGES) drop(); touch(); return 0; }
static u32 refill(u32 n) { u32 x = 0; for (; n; n -= PAGES) { flush(); x += touch(); } return x; }
static u32 flushed(u32 n) { for (; n; n -= PAGES) flush(); return 0; }
static u32 invalidated(u32 n) { u32 x = 0; while (n--) { invalidate(AREA); x += *(volatile u32 *)AREA; } return x; }

static u32 locked(ulong at, u32 n) {
	for (; n; n -= 8) { AGAIN8(__asm__ volatile("lock incl %0" : "+m"(*(u32 *)at));) }
	return 0;
}
static u32 lock(u32 n) { return locked(AREA + 64, n); }
static u32 lock_lines(u32 n) { return locked(AREA + 62, n); }
static u32 lock_pages(u32 n) { return locked(AREA + 4094, n); }

/* mov eax,n; ret: the number is written before each call. */
static u32 modified(u32 n) {
	u8 *code = (u8 *)CODE_PAGE;
	code[0] = 0xb8;
	code[5] = 0xc3;
	u32 x = 0;
	while (n--) { *(volatile u32 *)(code + 1) = n; x += ((u32 (*)(void))code)(); }
	return x;
}

static u32 crossing(u32 n) {
	u32 x = 0;
	for (; n; n -= 8) { AGAIN8(x += *(volatile u32 *)(AREA + 4094);) }
	return x;
}

/* Numbers are those for QEMU, a tenth of a second or so; others find their own. */
const struct event events[] = {
	{"fault", fault, PAGES * 512, 1}, {"drop", dropped, PAGES * 512, 1},
	{"refill", refill, PAGES * 2048, 1}, {"flush", flushed, PAGES * 2048, 1},
	{"invalidate", invalidated, 1 << 19, 1},
	{"lock", lock, 1 << 24, 0}, {"lock-lines", lock_lines, 1 << 23, 0}, {"lock-pages", lock_pages, 1 << 22, 0},
	{"modified", modified, 1 << 15, 0}, {"crossing", crossing, 1 << 22, 0},
};
const int nevents = sizeof events / sizeof *events;
