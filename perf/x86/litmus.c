/*
 * Litmus tests of memory order between VCPUs (Intel SDM vol. 3, 9.2.3): VCPUs meet, and then each does a few accesses to a pair of words, the
 * others' at the same moment if they can. Says for each test how often the outcome was seen that order forbids, or, of SB without fences,
 * allows: "SB 12 SB+mfence 0 ...". IRIW needs four VCPUs; two see more of the others where there are two processors.
 * Command line: "vcpus=2 rounds=10". Also as a program of the processor it is built on (litmus-native.c).
 */
#include "vcpus.h"

#define PAIRS 512
#define VCPUS 4
/* Loops at most that a VCPU waits after a meeting: who comes last is off before the others have seen it come. */
#define DELAYS 64

struct line { volatile u64 x; u64 fill[7]; };
static struct line x[PAIRS], y[PAIRS];
static volatile u64 seen[VCPUS][PAIRS][2];
/* How many meetings each has come to. */
static struct { volatile u64 number; u64 fill[7]; } come[VCPUS];
static u32 vcpus;

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

/* Nobody goes on before all have come. */
INLINE void meet(u64 id, u64 number) {
	come[id].number = number;
	for (u64 other = 0; other < vcpus; other++)
		while (come[other].number < number) {}
}

INLINE void test_of(u64 id, u64 *number, void (*does)(u64 id, u32 n)) {
	for (u32 n = 0; n < PAIRS; n++) {
		meet(id, ++*number);
		for (u32 loops = n * (id ? 29 : 17) % DELAYS; loops != 0; loops--) none();
		does(id, n);
	}
}
INLINE void sb(u64 id, u32 n) { store_buffer(id, n, none); }
INLINE void sb_mfence(u64 id, u32 n) { store_buffer(id, n, mfence); }
INLINE void sb_lock(u64 id, u32 n) { store_buffer(id, n, locked); }
INLINE void iriw(u64 id, u32 n) { independent_reads(id, n, none); }
INLINE void iriw_mfence(u64 id, u32 n) { independent_reads(id, n, mfence); }

static void accesses(u32 test, u64 id, u64 *number) {
	switch (test) {
	case SB: test_of(id, number, sb); break;
	case SB_MFENCE: test_of(id, number, sb_mfence); break;
	case SB_LOCK: test_of(id, number, sb_lock); break;
	case SB_XCHG: test_of(id, number, store_buffer_swap); break;
	case MP: test_of(id, number, message); break;
	case LB: test_of(id, number, load_buffer); break;
	case IRIW: test_of(id, number, iriw); break;
	case IRIW_MFENCE: test_of(id, number, iriw_mfence); break;
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

static void all(u64 id, u32 rounds) {
	u64 number = 0;
	const u32 tests = vcpus < 4 ? IRIW : TESTS;
	for (u32 round = 0; round < rounds; round++) {
		for (u32 test = 0; test < tests; test++) {
			accesses(test, id, &number);
			meet(id, ++number);
			if (id == 0) {
				for (u32 n = 0; n < PAIRS; n++) {
					outcomes[test] += is_outcome(test, n);
					x[n].x = y[n].x = 0;
				}
			}
			meet(id, ++number);
		}
	}
}

static u32 rounds;

static void other(u64 id) {
	all(id, rounds);
	go_down(id);
}

void run(const char *command) {
	vcpus = number_after(command, "vcpus=", 2);
	rounds = number_after(command, "rounds=", 1);
	bring_up(vcpus, other);
	all(0, rounds);
	for (u32 test = 0; test < (vcpus < 4 ? IRIW : TESTS); test++) {
		text(names[test]);
		number(outcomes[test]);
	}
	put('\n');
	power_off();
}
