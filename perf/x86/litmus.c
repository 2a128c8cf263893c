/*
 * Litmus tests of memory order between VCPUs (Intel SDM vol. 3, 9.2.3): two or four VCPUs each do a few accesses to many pairs of words,
 * one pair after the other, as close together as they run. Says for each test how often the outcome was seen that order forbids, or, of
 * SB without fences, allows: "SB 12 SB+mfence 0 …". Command line: rounds.
 */
#include "vcpus.h"

#define PAIRS 512
#define VCPUS 4

struct line { volatile u64 x; u64 fill[7]; };
static struct line x[PAIRS], y[PAIRS];
static volatile u64 seen[VCPUS][PAIRS][2];
static volatile u32 arrived, go;

static u64 load(volatile u64 *at) {
	u64 v;
	__asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*at) : "memory");
	return v;
}
static void store(volatile u64 *at) { __asm__ volatile("movq $1, %0" : "=m"(*at) : : "memory"); }
static void none(void) { __asm__ volatile("" : : : "memory"); }
static void mfence(void) { __asm__ volatile("mfence" : : : "memory"); }
static void locked(void) { __asm__ volatile("lock orl $0, (%%rsp)" : : : "memory", "cc"); }
static void swap(volatile u64 *at) {
	u64 one = 1;
	__asm__ volatile("xchgq %0, %1" : "+r"(one), "+m"(*at) : : "memory");
}

#define INLINE static inline __attribute__((always_inline))

/* What VCPU `id` does with pair n of each test. */
INLINE void store_buffer(u64 id, u32 n, void (*fence)(void)) {
	if (id > 1) return;
	store(id ? &y[n].x : &x[n].x);
	fence();
	seen[id][n][0] = load(id ? &x[n].x : &y[n].x);
}
INLINE void store_buffer_swap(u64 id, u32 n) {
	if (id > 1) return;
	swap(id ? &y[n].x : &x[n].x);
	seen[id][n][0] = load(id ? &x[n].x : &y[n].x);
}
INLINE void message(u64 id, u32 n) {
	if (id == 0) {
		store(&x[n].x);
		store(&y[n].x);
	} else if (id == 1) {
		seen[1][n][0] = load(&y[n].x);
		seen[1][n][1] = load(&x[n].x);
	}
}
INLINE void load_buffer(u64 id, u32 n) {
	if (id > 1) return;
	seen[id][n][0] = load(id ? &y[n].x : &x[n].x);
	store(id ? &x[n].x : &y[n].x);
}
INLINE void independent_reads(u64 id, u32 n, void (*fence)(void)) {
	if (id == 0) store(&x[n].x);
	else if (id == 1) store(&y[n].x);
	else {
		seen[id][n][0] = load(id == 2 ? &x[n].x : &y[n].x);
		fence();
		seen[id][n][1] = load(id == 2 ? &y[n].x : &x[n].x);
	}
}

enum { SB, SB_MFENCE, SB_LOCK, SB_XCHG, MP, LB, IRIW, IRIW_MFENCE, TESTS };
static const char *const names[TESTS] = { "SB ", " SB+mfence ", " SB+lock ", " SB+xchg ", " MP ", " LB ", " IRIW ", " IRIW+mfence " };
static u32 outcomes[TESTS];

INLINE void accesses(u32 test, u64 id) {
	switch (test) {
	case SB: for (u32 n = 0; n < PAIRS; n++) store_buffer(id, n, none); break;
	case SB_MFENCE: for (u32 n = 0; n < PAIRS; n++) store_buffer(id, n, mfence); break;
	case SB_LOCK: for (u32 n = 0; n < PAIRS; n++) store_buffer(id, n, locked); break;
	case SB_XCHG: for (u32 n = 0; n < PAIRS; n++) store_buffer_swap(id, n); break;
	case MP: for (u32 n = 0; n < PAIRS; n++) message(id, n); break;
	case LB: for (u32 n = 0; n < PAIRS; n++) load_buffer(id, n); break;
	case IRIW: for (u32 n = 0; n < PAIRS; n++) independent_reads(id, n, none); break;
	case IRIW_MFENCE: for (u32 n = 0; n < PAIRS; n++) independent_reads(id, n, mfence); break;
	}
}

static u32 is_outcome(u32 test, u32 n) {
	switch (test) {
	case MP: return seen[1][n][0] == 1 && seen[1][n][1] == 0;
	case LB: return seen[0][n][0] == 1 && seen[1][n][0] == 1;
	case IRIW: case IRIW_MFENCE:
		return seen[2][n][0] == 1 && seen[2][n][1] == 0 && seen[3][n][0] == 1 && seen[3][n][1] == 0;
	default: return seen[0][n][0] == 0 && seen[1][n][0] == 0;
	}
}

/* All begin at the same time, and nobody goes on before all are through. */
static void meet(u32 number) {
	if (__sync_add_and_fetch(&arrived, 1) == VCPUS) {
		arrived = 0;
		go = number;
	}
	while (go != number) __asm__ volatile("pause");
}

static void all(u64 id, u32 rounds) {
	u32 number = 0;
	for (u32 round = 0; round < rounds; round++) {
		for (u32 test = 0; test < TESTS; test++) {
			meet(++number);
			accesses(test, id);
			meet(++number);
			if (id != 0) continue;
			for (u32 n = 0; n < PAIRS; n++) {
				outcomes[test] += is_outcome(test, n);
				x[n].x = y[n].x = 0;
			}
		}
	}
	meet(++number);
}

static u32 rounds;

static void other(u64 id) {
	all(id, rounds);
	go_down(id);
}

void run(const char *command) {
	rounds = number_after(command, "", 1);
	bring_up(VCPUS, other);
	all(0, rounds);
	for (u32 test = 0; test < TESTS; test++) {
		text(names[test]);
		number(outcomes[test]);
	}
	put('\n');
	power_off();
}
