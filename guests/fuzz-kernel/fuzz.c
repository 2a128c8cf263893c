/*
 * A kernel that makes hypercalls at random: changes of page tables of its own pages, sensible and senseless, and any other call with any
 * registers. Its command line says from where on (seed=N) and on how many VCPUs (vcpus=N). It ends by what it does to itself, or not at all.
 */
typedef unsigned char u8;
typedef unsigned u32;
typedef unsigned long u64;

#define MOST 8
#define POOL 48
#define PAGE 4096ul
/* Of start_info and vcpu_guest_context (xen.h, arch-x86/xen.h). */
#define NR_PAGES 32
#define PT_BASE 88
#define MFN_LIST 104
#define CMDLINE 128
#define CONTEXT_BYTES 5168
#define FLAGS 512
#define USER_REGS 520
#define REGS_RIP 128
#define REGS_RSP 152
#define REGS_RDI 112
#define CTRLREG 4984
#define VGCF_in_kernel 4
#define DOMID_SELF 0x7ff0

static u8 pool[POOL][PAGE] __attribute__((aligned(4096)));
static u8 stacks[MOST][PAGE] __attribute__((aligned(4096)));
/* Of each VCPU: requests, and lists that they name. */
static u64 arguments[MOST][512] __attribute__((aligned(4096)));
static u8 context[CONTEXT_BYTES] __attribute__((aligned(8)));
static const u8 *info;
static u64 states[MOST];

static long call(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e) {
	register u64 r10 __asm__("r10") = d;
	register u64 r8 __asm__("r8") = e;
	__asm__ volatile("syscall" : "+a"(nr) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return (long)nr;
}
static u64 field(u64 at) { return *(const u64 *)(info + at); }
static u64 mfn(const void *at) { return ((const u64 *)field(MFN_LIST))[(u64)at >> 12]; }

static u64 draw(u64 id, u64 below) {
	u64 x = states[id];
	x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	states[id] = x;
	return (x >> 11) % below;
}

static u64 any_frame(u64 id) {
	switch (draw(id, 12)) {
	case 0: return draw(id, 64);
	case 1: return draw(id, 1u << 20);
	case 2: return states[id] >> 12;
	case 3: return mfn((void *)(field(PT_BASE) + draw(id, 5) * PAGE));
	default: return mfn(pool[draw(id, POOL)]);
	}
}
static u64 any_entry(u64 id) {
	static const u64 flags[] = { 0, 1, 3, 5, 7, 7, 0x27, 0x67, 0x87, 0x107, 0x1b, 1ul << 63 | 5, 1ul << 52 | 7, 0xfffffffffffffffe };
	u64 bits = flags[draw(id, sizeof flags / sizeof *flags)];
	return draw(id, 8) == 0 ? bits : any_frame(id) << 12 | bits;
}
static u64 any_word(u64 id) {
	switch (draw(id, 8)) {
	case 0: return draw(id, 16);
	case 1: return 1ul << draw(id, 64);
	case 2: return -1ul << draw(id, 64);
	case 3: return states[id];
	case 4: return (u64)arguments[id] + draw(id, PAGE);
	case 5: return (u64)pool[draw(id, POOL)] + draw(id, PAGE);
	case 6: return 0xffff800000000000 + draw(id, 1u << 20);
	default: return DOMID_SELF;
	}
}

/* Where a VCPU's requests are: its own page, or one that may be no page of data any more. It writes only to its own. */
static void update(u64 id) {
	u64 *at = arguments[id], count = 1 + draw(id, 6);
	for (u64 n = 0; n < count; n++) {
		/* Its own level 2 where that maps nothing that it needs; what it runs by only now and then, or it would not last. */
		u64 kind = draw(id, 400), table = kind == 0 ? any_frame(id) : mfn(kind < 80 ? (void *)(field(PT_BASE) + 2 * PAGE) : pool[draw(id, POOL)]);
		at[2 * n] = table << 12 | (kind < 80 ? 4 + draw(id, 508) : draw(id, 512)) * 8 | draw(id, 5);
		at[2 * n + 1] = any_entry(id);
	}
	call(1, (u64)at, draw(id, 64) == 0 ? any_word(id) : count, draw(id, 2) ? (u64)pool[draw(id, POOL)] + draw(id, 512) * 8 : 0,
		draw(id, 32) == 0 ? any_word(id) : DOMID_SELF, 0);
}
static void extended(u64 id) {
	static const u8 commands[] = { 0, 0, 1, 2, 3, 4, 4, 6, 7, 8, 9, 10, 11, 13, 15, 16, 17, 19 };
	u64 *at = arguments[id];
	at[0] = draw(id, 20) == 0 ? any_word(id) : commands[draw(id, sizeof commands)];
	at[1] = draw(id, 4) ? mfn(pool[draw(id, POOL)]) : any_frame(id);
	at[2] = draw(id, 3) ? any_frame(id) : any_word(id);
	call(26, (u64)at, 1, draw(id, 4) ? 0 : any_word(id), DOMID_SELF, 0);
}
static void map(u64 id) {
	u64 k = draw(id, POOL), entry = draw(id, 3) == 0 ? any_entry(id) : mfn(pool[k]) << 12 | (draw(id, 2) ? 3 : 1);
	call(14, draw(id, 24) ? (u64)pool[k] : any_word(id) | 1ul << 40, entry, draw(id, 16) ? draw(id, 8) : any_word(id), 0, 0);
}
static void reserve(u64 id) {
	static const u8 commands[] = { 0, 1, 1, 3, 4, 5, 6, 6, 6, 7, 9, 11, 12 };
	u64 *at = arguments[id];
	at[0] = (u64)(at + 32), at[1] = 1 + draw(id, 3), at[2] = draw(id, 8) ? 0 : draw(id, 12), at[3] = DOMID_SELF;
	at[4] = (u64)(at + 40), at[5] = at[1], at[6] = at[2], at[7] = DOMID_SELF, at[8] = 0;
	for (u64 n = 0; n < 16; n++) at[32 + n] = draw(id, 2) ? mfn(pool[draw(id, POOL)]) : (u64)pool[draw(id, POOL)] >> 12;
	call(12, commands[draw(id, sizeof commands)] | (draw(id, 64) ? 0 : draw(id, 1u << 20) << 6), (u64)at, 0, 0, 0);
}
/* Any call but those that end it, that wait, or that would take away its own pages. */
static u64 any_number(u64 id) {
	for (;;) {
		u64 nr = draw(id, 64);
		if (nr != 6 && nr != 14 && nr != 18 && nr != 22 && nr != 23 && nr != 29 && nr != 24) return nr;
	}
}
static void several(u64 id) {
	/* In its own page, or where it is if that can be read. */
	u64 *at = arguments[id] + 128, count = 1 + draw(id, 5);
	for (u64 n = 0; n < count; n++) {
		u64 *entry = at + 8 * n;
		entry[0] = draw(id, 2) ? 14 : any_number(id), entry[1] = 0;
		for (u32 k = 0; k < 6; k++) entry[2 + k] = any_word(id);
		if (entry[0] == 14) entry[2] = (u64)pool[draw(id, POOL)], entry[3] = any_entry(id);
	}
	call(13, (u64)at, draw(id, 32) ? count : any_word(id), 0, 0, 0);
}
static void area(u64 id) {
	u64 *at = arguments[id];
	at[0] = draw(id, 4) ? (u64)pool[draw(id, POOL)] + draw(id, 512) * 8 : any_word(id);
	call(24, draw(id, 2) ? 5 : 13, id, (u64)at, 0, 0);
}

void run(u64 id) {
	for (;;) {
		switch (draw(id, 16)) {
		case 0: case 1: case 2: update(id); break;
		case 3: case 4: case 5: case 6: map(id); break;
		case 7: case 8: case 9: case 10: extended(id); break;
		case 11: case 12: reserve(id); break;
		case 13: several(id); break;
		case 14: area(id); break;
		default:
			call(any_number(id), any_word(id), any_word(id), any_word(id), any_word(id), any_word(id));
		}
	}
}

static u64 number_after(const char *where, const char *what, u64 otherwise) {
	for (; *where; where++) {
		const char *a = where, *b = what;
		while (*b && *a == *b) a++, b++;
		if (*b) continue;
		u64 x = 0;
		while (*a >= '0' && *a <= '9') x = x * 10 + (u64)(*a++ - '0');
		return x;
	}
	return otherwise;
}

static void set(u64 at, u64 value) { *(u64 *)(context + at) = value; }

void kmain(const u8 *start) {
	info = start;
	const char *line = (const char *)info + CMDLINE;
	u64 seed = number_after(line, "seed=", 1), vcpus = number_after(line, "vcpus=", 1);
	for (u64 id = 0; id < MOST; id++) states[id] = (seed * MOST + id + 1) * 0x9e3779b97f4a7c15;
	set(FLAGS, VGCF_in_kernel);
	set(CTRLREG + 24, mfn((void *)field(PT_BASE)) << 12);
	for (u64 id = 1; id < vcpus && id < MOST; id++) {
		set(USER_REGS + REGS_RIP, (u64)run);
		set(USER_REGS + REGS_RSP, (u64)stacks[id] + PAGE - 8);
		set(USER_REGS + REGS_RDI, id);
		call(24, 0, id, (u64)context, 0, 0);
		call(24, 1, id, 0, 0, 0);
	}
	run(0);
}
