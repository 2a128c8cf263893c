/* Grants of the domain's own to itself, as there may be no other; and with another domain that does the same, if the command line names it. */
#include "kernel.h"

#define GNTTABOP_map_grant_ref 0
#define GNTTABOP_unmap_grant_ref 1
#define GNTTABOP_setup_table 2
#define GNTTABOP_copy 5
#define GNTTABOP_query_size 6
#define DOMID_SELF 0x7ff0
#define MOST_DOMAINS 64
#define GTF_permit_access 1
#define GTF_readonly 4
#define GTF_reading 8
#define GTF_writing 16
#define GNTMAP_host_map 2
#define GNTMAP_readonly 4
#define GNTCOPY_source_gref 1
#define PAGE 4096
#define REF 8
#define READ_ONLY 9
#define PRESENT_AND_WRITABLE 0x63

struct entry { volatile u16 flags; u16 domid; u32 frame; };
struct map { u64 host_addr; u32 flags, ref; u16 dom; short status; u32 handle; u64 dev_bus_addr; };
struct unmap { u64 host_addr, dev_bus_addr; u32 handle; short status; };
struct setup { u16 dom; u32 nr_frames; short status; u64 *frames; };
struct size { u16 dom; u32 nr_frames, most; short status; };
struct end { u64 at; u16 domid, offset; };
struct copy { struct end source, dest; u16 length, flags; short status; };

static volatile u8 table[PAGE] __attribute__((aligned(PAGE)));
static volatile u64 page[PAGE / 8] __attribute__((aligned(PAGE)));
static volatile u64 there[PAGE / 8] __attribute__((aligned(PAGE)));
static struct entry *const entries = (struct entry *)table;
static u64 faults, last_error;

static long grants(u32 command, void *argument) { return hypercall(HYPERVISOR_grant_table_op, command, (long)argument, 1); }
static long set(volatile void *at, u64 entry) { return hypercall(HYPERVISOR_update_va_mapping, (long)at, (long)entry, 2); }

static void note(struct frame *frame) {
	if (frame->number == EVENTS) {
		SHARED->vcpu[0].pending = 0;
		return;
	}
	faults++;
	last_error = frame->error_code;
	frame->rip += 3;
}

static void grant(u32 ref, u16 domid, u64 mfn, u16 flags) {
	entries[ref].domid = domid;
	entries[ref].frame = (u32)mfn;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	entries[ref].flags = flags;
}

/* Whose size of a grant table can be asked for: its own. */
static u16 own_domid(void) {
	for (u16 domid = 0; domid < MOST_DOMAINS; domid++) {
		struct size size = { domid, 0, 0, 1 };
		if (grants(GNTTABOP_query_size, &size) == 0 && size.status == 0) return domid;
	}
	return DOMID_SELF;
}

/* After traps.c: 14 has a handler. */
void test_grants(void) {
	handler = note;
	u64 frame = 0;
	struct setup setup = { DOMID_SELF, 1, 1, &frame };
	check("setup_table", (u64)grants(GNTTABOP_setup_table, &setup), 0);
	check("its status", (u64)setup.status, 0);
	struct size size = { DOMID_SELF, 0, 0, 1 };
	check("query_size", (u64)grants(GNTTABOP_query_size, &size), 0);
	check("frames", size.nr_frames, 1);
	check("frames at most", size.most, 64);
	check("the table is mapped", (u64)set(table, frame << 12 | PRESENT_AND_WRITABLE), 0);
	u16 self = own_domid();
	u64 mfn = mfn_of((u64)page);

	/* At another address it is the same page. */
	grant(REF, self, mfn, GTF_permit_access);
	page[1] = 0x1122334455667788ul;
	struct map map = { (u64)there, GNTMAP_host_map, REF, self, 1, 0, 0 };
	check("map_grant_ref", (u64)grants(GNTTABOP_map_grant_ref, &map), 0);
	check("its status", (u64)map.status, 0);
	check("its machine address", map.dev_bus_addr, mfn << 12);
	check("read there", there[1], page[1]);
	there[2] = 42;
	check("written there", page[2], 42);
	check("it is in use", entries[REF].flags, GTF_permit_access | GTF_reading | GTF_writing);
	struct unmap unmap = { (u64)there, 0, map.handle, 1 };
	check("unmap_grant_ref", (u64)grants(GNTTABOP_unmap_grant_ref, &unmap), 0);
	check("its status", (u64)unmap.status, 0);
	check("it is not in use", entries[REF].flags, GTF_permit_access);
	u64 before = faults;
	__asm__ volatile("movq (%0), %%rdx" : : "a"(there) : "rdx", "memory", "rcx", "r11");
	check("there is nothing", faults, before + 1);
	check("not present", last_error, 0);
	check("unmapped twice", (u64)grants(GNTTABOP_unmap_grant_ref, &unmap), 0);
	check("its status", (u64)unmap.status, -4ul);

	/* To be read only. */
	grant(READ_ONLY, self, mfn, GTF_permit_access | GTF_readonly);
	map = (struct map){ (u64)there, GNTMAP_host_map, READ_ONLY, self, 1, 0, 0 };
	check("map_grant_ref", (u64)grants(GNTTABOP_map_grant_ref, &map), 0);
	check("it cannot be written", (u64)map.status, -1ul);
	map.flags |= GNTMAP_readonly;
	check("map_grant_ref", (u64)grants(GNTTABOP_map_grant_ref, &map), 0);
	check("but read", (u64)map.status, 0);
	check("read there", there[2], 42);
	__asm__ volatile("movq %%rdx, (%0)" : : "a"(there) : "memory", "rcx", "r11");
	check("a write faults", faults, before + 2);
	check("of what is present", last_error, 3);
	unmap = (struct unmap){ (u64)there, 0, map.handle, 1 };
	check("unmap_grant_ref", (u64)grants(GNTTABOP_unmap_grant_ref, &unmap), 0);
	check("its status", (u64)unmap.status, 0);

	/* Copied. */
	check("the page is back", (u64)set(there, mfn_of((u64)there) << 12 | PRESENT_AND_WRITABLE), 0);
	struct copy copy = { { REF, self, 8 }, { mfn_of((u64)there), DOMID_SELF, 24 }, 16, GNTCOPY_source_gref, 1 };
	there[3] = there[4] = there[5] = 7;
	check("copy", (u64)grants(GNTTABOP_copy, &copy), 0);
	check("its status", (u64)copy.status, 0);
	check("copied", there[3], page[1]);
	check("copied", there[4], page[2]);
	check("and no more", there[5], 7);
	copy.length = PAGE;
	check("copy", (u64)grants(GNTTABOP_copy, &copy), 0);
	check("over the end of a page", (u64)copy.status, -10ul);

	/* Entries are the kernel's own when nobody uses them. */
	for (u32 ref = REF; ref <= READ_ONLY; ref++) entries[ref].flags = 0;
	map.ref = REF;
	check("map_grant_ref", (u64)grants(GNTTABOP_map_grant_ref, &map), 0);
	check("no more", (u64)map.status, -1ul);
}

#define ROUNDS 3000

/* Grants a page to the other domain, and looks at the one of that while both are written: what is seen has an order, and ends with the last. */
void test_peer(u16 peer) {
	handler = note;
	u64 frame = 0, seen = 0, steps = 0, backwards = 0, last = 0;
	struct setup setup = { DOMID_SELF, 1, 1, &frame };
	check("setup_table", (u64)grants(GNTTABOP_setup_table, &setup), 0);
	check("the table is mapped", (u64)set(table, frame << 12 | PRESENT_AND_WRITABLE), 0);
	page[0] = 1;
	grant(REF, peer, mfn_of((u64)page), GTF_permit_access);
	struct map map;
	do {
		/* It is written before anybody else has it, too. */
		for (u32 n = 0; n < 1000; n++) page[1]++;
		map = (struct map){ (u64)there, GNTMAP_host_map | GNTMAP_readonly, REF, peer, 1, 0, 0 };
		check("map_grant_ref", (u64)grants(GNTTABOP_map_grant_ref, &map), 0);
	} while (map.status != 0);
	for (u64 n = 2; n <= ROUNDS; n++) {
		page[0] = n;
		u64 x = there[0];
		if (x < last) backwards++;
		if (x != last) steps++;
		last = x;
		seen = seen * 31 + x + there[1];
	}
	while (there[0] < ROUNDS) seen++;
	check("nothing goes backwards", backwards, 0);
	check("the last", there[0], ROUNDS);
	struct unmap unmap = { (u64)there, 0, map.handle, 1 };
	check("unmap_grant_ref", (u64)grants(GNTTABOP_unmap_grant_ref, &unmap), 0);
	check("its status", (u64)unmap.status, 0);
	while (entries[REF].flags != GTF_permit_access) seen++;
	text("seen ");
	hex(seen);
	text(steps > 0 ? "\n" : " at once\n");
}
