/*
 * Page tables: what may be pinned and mapped, and what not; how entries are changed; the machine-to-physical table; memory given back. After
 * traps.c: exception 14 has a handler. The first 4 MiB are mapped, by tables behind the kernel: one of each upper level, two of level 1.
 */
#include "kernel.h"

#define PAGE 4096ul
#define P 1ul
#define RW 2ul
#define US 4ul
#define A 0x20ul
#define D 0x40ul
#define EPERM -1ul
#define EFAULT -14ul
#define EBUSY -16ul
#define EINVAL -22ul
#define ESRCH -3ul
#define ENOSYS -38ul

typedef u64 page[512] __attribute__((aligned(4096)));
static page one, two, window, t1, t2, t3, t4, lists;
static u64 faults, skipped;
static struct frame seen;

static void note(struct frame *frame) {
	seen = *frame;
	faults++;
	frame->rip += skipped;
}

#define mfn(what) mfn_of((u64)(what))
/* The table of a level that maps an address, by the machine-to-physical table. */
static const u64 *table_at(u32 level, const void *at) {
	const u64 *table = *(const u64 *const *)(start_info + START_INFO_PT_BASE);
	for (u32 above = 4; above > level; above--) {
		u64 entry = table[(u64)at >> (3 + 9 * above) & 511];
		table = (const u64 *)(((const u64 *)0xffff800000000000)[entry >> 12 & 0xffffffffff] << 12);
	}
	return table;
}
static u64 entry_at(const void *at) { return table_at(1, at)[(u64)at >> 12 & 511]; }
static u64 table_of(u32 level, const void *at) { return mfn(table_at(level, at)); }

static u64 map(const void *at, u64 entry, u64 flags) { return (u64)hypercall(HYPERVISOR_update_va_mapping, (long)at, (long)entry, (long)flags); }
static u64 read_only(const void *at) { return map(at, mfn(at) << 12 | P | A, UVMF_INVLPG); }
static u64 writable(const void *at) { return map(at, mfn(at) << 12 | P | RW | A | D, UVMF_INVLPG); }

static u64 ext(u32 cmd, u64 arg1, u64 arg2) {
	struct { u32 cmd, pad; u64 arg1, arg2; } op = { cmd, 0, arg1, arg2 };
	return (u64)hypercall4(HYPERVISOR_mmuext_op, (long)&op, 1, 0, DOMID_SELF);
}
static u64 pin(u32 level, const void *what) { return ext(MMUEXT_PIN_L1_TABLE + level - 1, mfn(what), 0); }
static u64 unpin(const void *what) { return ext(MMUEXT_UNPIN_TABLE, mfn(what), 0); }

struct update { u64 ptr, val; };
static u64 update(u64 table, u64 n, u64 kind, u64 val) {
	struct update request = { table << 12 | n * 8 | kind, val };
	return (u64)hypercall4(HYPERVISOR_mmu_update, (long)&request, 1, 0, DOMID_SELF);
}

static void clear(u64 *table) { for (u32 n = 0; n < 512; n++) table[n] = 0; }

static u64 faults_by_writing(volatile u64 *at, u64 x) {
	u64 before = faults;
	skipped = 3;
	__asm__ volatile("movq %%rax, (%%rdi)" : : "D"(at), "a"(x) : "memory", "rcx", "r11");
	return faults - before;
}
static u64 faults_by_reading(volatile u64 *at) {
	u64 before = faults, x;
	skipped = 3;
	__asm__ volatile("movq (%%rdi), %%rax" : "=a"(x) : "D"(at) : "memory", "rcx", "r11");
	return faults - before;
}

/* A frame of the hypervisor's: of the table by which it maps the machine-to-physical table, in the first of its entries of the top. */
static u64 xen_frame(void) { return (*(const u64 *const *)(start_info + START_INFO_PT_BASE))[256] >> 12 & 0xffffffffff; }

/* Domain 0 has devices, whose memory need not be cached. */
static u64 uncached(void) { return is_domain0() ? 0 : EINVAL; }

/* What a level-1 table with this entry says when it is to be one. */
static u64 pin_with(u64 entry) {
	clear(t1);
	t1[7] = entry;
	read_only(t1);
	u64 rc = pin(1, t1);
	if (rc == 0) unpin(t1);
	check("writable again", writable(t1), 0);
	return rc;
}

static void test_pins(void) {
	check("a page that can be written", pin(1, t1), EINVAL);
	clear(t1);
	check("read only", read_only(t1), 0);
	check("pin", pin(1, t1), 0);
	check("once", pin(1, t1), EINVAL);
	check("no other level", pin(2, t1), EINVAL);
	check("no writable mapping", writable(t1), EBUSY);
	check("nor elsewhere", map(window, mfn(t1) << 12 | P | RW, 0), EBUSY);
	check("nor cleared", ext(MMUEXT_CLEAR_PAGE, mfn(t1), 0), EINVAL);
	check("nor copied over", ext(MMUEXT_COPY_PAGE, mfn(t1), mfn(one)), EINVAL);
	check("unpin", unpin(t1), 0);
	check("unpin once", unpin(t1), EINVAL);
	check("writable", writable(t1), 0);
	check("no frame", ext(MMUEXT_PIN_L1_TABLE, 1ul << 40, 0), EINVAL);
	check("the hypervisor's", ext(MMUEXT_PIN_L1_TABLE, 0, 0), EINVAL);
	check("shared info", ext(MMUEXT_PIN_L1_TABLE, *(const u64 *)(start_info + START_INFO_SHARED_INFO) >> 12, 0), EINVAL);

	check("an entry", pin_with(mfn(one) << 12 | P | RW), 0);
	check("an entry for reading", pin_with(mfn(one) << 12 | P), 0);
	check("no entry", pin_with(0xfffffffffffffffe), 0);
	check("itself for reading", pin_with(mfn(t1) << 12 | P), 0);
	check("itself for writing", pin_with(mfn(t1) << 12 | P | RW), EBUSY);
	check("a page table for writing", pin_with(table_of(1, t1) << 12 | P | RW), EBUSY);
	check("a frame of the hypervisor", pin_with(xen_frame() << 12 | P), EBUSY);
	check("a frame that is not there", pin_with(0x7ffffffffful << 12 | P), EPERM);
	check("all ones", pin_with(0xfffffffffful << 12 | P), EINVAL);
	check("a large page", pin_with(mfn(one) << 12 | P | 0x80), uncached());
	check("not cached", pin_with(mfn(one) << 12 | P | 0x10), uncached());

	/* One level upon the other. */
	clear(t1), clear(t2), clear(t3), clear(t4);
	t1[0] = mfn(one) << 12 | P | RW;
	t2[0] = mfn(t1) << 12 | P | RW | US;
	t3[0] = mfn(t2) << 12 | P | RW | US;
	t4[5] = mfn(t3) << 12 | P | RW | US;
	for (u32 level = 1; level <= 4; level++) read_only(level == 1 ? t1 : level == 2 ? t2 : level == 3 ? t3 : t4);
	check("level 4", pin(4, t4), 0);
	check("of another level", pin(3, t4), EINVAL);
	check("level 1", pin(1, t1), 0);
	check("level 2", pin(2, t2), 0);
	check("level 3", pin(3, t3), 0);
	check("unpin", unpin(t1), 0);
	check("it is one still", writable(t1), EBUSY);
	check("the kernel's entry", t1[0], mfn(one) << 12 | P | RW | US | 1ul << 52);
	check("an entry of the hypervisor", update(mfn(t4), 256, 0, 0), EINVAL);
	check("a level upon itself", update(mfn(t2), 1, 0, mfn(t2) << 12 | P | US), EINVAL);
	check("a frame of the hypervisor", update(mfn(t2), 1, 0, xen_frame() << 12 | P | US), EINVAL);
	check("a page that can be written", update(mfn(t2), 1, 0, mfn(one) << 12 | P | US), EINVAL);
	check("a large page", update(mfn(t2), 1, 0, mfn(t1) << 12 | P | US | 0x80), EINVAL);
	check("out of the table", update(mfn(t2), 0, 0, 0), 0);
	check("then it can be written", writable(t1), 0);
	check("unpin", unpin(t4), 0);
	check("unpin", unpin(t3), 0);
	check("unpin", unpin(t2), 0);
	check("all can be written", writable(t2) | writable(t3) | writable(t4), 0);
}

static void test_mappings(void) {
	static const u64 flags[] = { UVMF_NONE, 3, UVMF_TLB_FLUSH, UVMF_TLB_FLUSH | UVMF_ALL, UVMF_INVLPG, UVMF_INVLPG | UVMF_ALL, 0, 0 };
	static u64 mask __attribute__((aligned(8))) = 1;
	one[0] = 1, two[0] = 2;
	for (u32 n = 0; n < 8; n++) {
		u64 how = n < 6 ? flags[n] : (u64)&mask | (n == 6 ? UVMF_TLB_FLUSH : UVMF_INVLPG);
		check("map", map(window, mfn(n & 1 ? two : one) << 12 | P | RW, how), 0);
		if (n < 2) ext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
		check("what is there", ((volatile u64 *)window)[0], n & 1 ? 2 : 1);
	}
	check("a bitmap that is not there", map(window, mfn(one) << 12 | P | RW, 1ul << 40 | UVMF_INVLPG), EFAULT);
	check("an address without tables", map((void *)(1ul << 40), 0, 0), EINVAL);
	check("the hypervisor's", map((void *)0xffff800000000000, 0, 0), EINVAL);
	check("the hypervisor's frame", map(window, xen_frame() << 12 | P, 0), EBUSY);
	check("for another domain", (u64)hypercall4(22, (long)window, 0, 0, 77), ESRCH);

	/* Accessed and dirty bits. */
	map(window, mfn(one) << 12 | P | RW, UVMF_INVLPG);
	check("neither", entry_at(window) & (A | D), 0);
	(void)*(volatile u64 *)window;
	check("accessed", entry_at(window) & (A | D), A);
	*(volatile u64 *)window = 7;
	check("dirty", entry_at(window) & (A | D), A | D);
	check("one that keeps them", update(table_of(1, window), (u64)window >> 12 & 511, MMU_PT_UPDATE_PRESERVE_AD, mfn(one) << 12 | P | RW), 0);
	check("are kept", entry_at(window) & (A | D), A | D);
	check("one that does not", update(table_of(1, window), (u64)window >> 12 & 511, MMU_NORMAL_PT_UPDATE, mfn(one) << 12 | P | RW), 0);
	check("are not", entry_at(window) & (A | D), 0);

	/* A list ends at what is refused, and says how much was done. */
	struct update list[4];
	for (u32 n = 0; n < 4; n++) list[n] = (struct update){ mfn(two) << 12 | 8 * n, 100 + n };
	list[2].ptr = 0;
	u32 done = 9;
	two[0] = two[1] = two[2] = two[3] = 0;
	check("a list", (u64)hypercall4(HYPERVISOR_mmu_update, (long)list, 4, (long)&done, DOMID_SELF), EINVAL);
	check("done", done, 2);
	check("the words", two[0] << 32 | two[1] << 16 | two[2] | two[3], 100ul << 32 | 101 << 16);
	check("a command that is none", update(mfn(two), 0, 5, 0), ENOSYS);
	check("no list", (u64)hypercall4(HYPERVISOR_mmu_update, 1l << 40, 1, 0, DOMID_SELF), EFAULT);
	check("its own number, or nobody's", (u64)hypercall4(HYPERVISOR_mmu_update, (long)list, 1, 0, 77), ESRCH);
	check("a device's frames", (u64)hypercall4(HYPERVISOR_mmu_update, (long)list, 1, 0, 0x7ff1), 0);

	/* A level-1 table of its own, in the tables that are in use. */
	volatile u64 *at = (volatile u64 *)(6ul << 20);
	clear(t1);
	t1[0] = mfn(one) << 12 | P | RW;
	read_only(t1);
	check("nothing there", faults_by_reading(at), 1);
	check("linked", update(table_of(2, 0), 3, 0, mfn(t1) << 12 | P | RW | US), 0);
	((volatile u64 *)one)[3] = 33;
	check("something there", at[3], 33);
	check("unlinked", update(table_of(2, 0), 3, 0, 0), 0);
	ext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
	check("nothing there", faults_by_reading(at), 1);
	check("it can be written", writable(t1), 0);
	writable(window);
}

static void test_m2p(void) {
	volatile u64 *m2p = (volatile u64 *)0xffff800000000000;
	const u64 *p2m = *(const u64 *const *)(start_info + START_INFO_MFN_LIST);
	u64 wrong = 0, pages = *(const u64 *)(start_info + 32);
	for (u64 pfn = 0; pfn < pages; pfn++) wrong += m2p[p2m[pfn]] != pfn;
	check("numbers of frames", wrong, 0);
	check("cannot be written", faults_by_writing(&m2p[mfn(one)], 1), 1);
	check("error code", seen.error_code, 3);
	check("changed", update(0, 0, MMU_MACHPHYS_UPDATE, 0) , EINVAL);
	struct update request = { mfn(one) << 12 | MMU_MACHPHYS_UPDATE, 0x123456789a };
	check("changed", (u64)hypercall4(HYPERVISOR_mmu_update, (long)&request, 1, 0, DOMID_SELF), 0);
	check("it is", m2p[mfn(one)], 0x123456789a);
	request.val = (u64)one >> 12;
	check("back", (u64)hypercall4(HYPERVISOR_mmu_update, (long)&request, 1, 0, DOMID_SELF), 0);
	check("it is", m2p[mfn(one)], (u64)one >> 12);
}

static void test_switch(void) {
	u64 old = mfn_of(*(const u64 *)(start_info + START_INFO_PT_BASE));
	const u64 *from = *(const u64 *const *)(start_info + START_INFO_PT_BASE);
	for (u32 n = 0; n < 512; n++) t4[n] = n < 256 ? from[n] : 0;
	check("one that can be written", ext(MMUEXT_NEW_BASEPTR, mfn(t4), 0), EINVAL);
	read_only(t4);
	check("another top", ext(MMUEXT_NEW_BASEPTR, mfn(t4), 0), 0);
	check("m2p", *(volatile u64 *)(0xffff800000000000 + 8 * mfn(t4)), (u64)t4 >> 12);
	check("in use", writable(t4), EBUSY);
	u64 cr3;
	__asm__ volatile("movq %%cr3, %0" : "=r"(cr3) : : "rcx", "r11", "memory");
	check("cr3", cr3, mfn(t4) << 12);
	check("back", ext(MMUEXT_NEW_BASEPTR, old, 0), 0);
	check("not in use", writable(t4), 0);
	check("none", ext(MMUEXT_NEW_BASEPTR, 0, 0), EINVAL);
}

static void test_reservation(void) {
	struct { u64 start, end, max; } where;
	check("machphys_mapping", (u64)hypercall(HYPERVISOR_memory_op, 12, (long)&where, 0), 0);
	check("start", where.start, 0xffff800000000000);
	check("end", where.end, 0xffff804000000000);
	struct { u32 most, pad; u64 list; u32 count, pad2; } extents = { 1, 0, (u64)lists, 0, 0 };
	check("machphys_mfn_list", (u64)hypercall(HYPERVISOR_memory_op, 5, (long)&extents, 0), 0);
	check("its extents", extents.count, 1);
	struct { u32 count, pad; u64 buffer; } e820 = { 16, 0, (u64)lists };
	check("memory_map", (u64)hypercall(HYPERVISOR_memory_op, 9, (long)&e820, 0), ENOSYS);
	u64 space[3] = { DOMID_SELF, 0, 0 };
	check("add_to_physmap", (u64)hypercall(HYPERVISOR_memory_op, 7, (long)space, 0), -13ul);
	u16 domain = DOMID_SELF;
	u64 pages = (u64)hypercall(HYPERVISOR_memory_op, 3, (long)&domain, 0);
	check("current_reservation", pages, *(const u64 *)(start_info + 32));

	/* A page goes with its last reference, and comes back empty. */
	struct { u64 list, count; u32 order, flags; u16 domain; } of = { (u64)lists, 1, 0, 0, DOMID_SELF };
	u64 frame = mfn(window), pfn = (u64)window >> 12;
	volatile u64 *m2p = (volatile u64 *)0xffff800000000000;
	window[5] = 55;
	lists[0] = frame;
	check("decrease", (u64)hypercall(HYPERVISOR_memory_op, 1, (long)&of, 0), 1);
	check("mapped, so it is there", (u64)hypercall(HYPERVISOR_memory_op, 3, (long)&domain, 0), pages);
	check("and can be read", window[5], 55);
	check("unmapped", map(window, 0, UVMF_INVLPG), 0);
	check("it went", (u64)hypercall(HYPERVISOR_memory_op, 3, (long)&domain, 0), pages - 1);
	check("without a number", m2p[frame], -1ul);
	check("nobody's", map(window, frame << 12 | P | RW, 0), EBUSY);
	lists[0] = pfn;
	check("populate", (u64)hypercall(HYPERVISOR_memory_op, 6, (long)&of, 0), 1);
	check("it is the same", lists[0], frame);
	check("with its number", m2p[frame], pfn);
	check("mapped", writable(window), 0);
	/* Domain 0 of Xen may have more than it has, and gets it as it is. */
	if (is_compared()) return;
	check("it is empty", window[5], 0);
	lists[0] = pfn;
	check("no more than there were", (u64)hypercall(HYPERVISOR_memory_op, 6, (long)&of, 0), 0);

	map(window, 0, UVMF_INVLPG);
	struct { u64 in[4], out[4], done; } exchange = { { (u64)lists, 1, 0, DOMID_SELF }, { (u64)(lists + 1), 1, 0, DOMID_SELF }, 0 };
	lists[0] = frame, lists[1] = pfn;
	check("exchange", (u64)hypercall(HYPERVISOR_memory_op, 11, (long)&exchange, 0), 0);
	check("of one", exchange.done, 1);
	check("the only one", lists[1], frame);
	check("mapped", writable(window), 0);
	lists[0] = mfn(one), lists[1] = (u64)one >> 12, exchange.done = 0;
	check("one that is in use", (u64)hypercall(HYPERVISOR_memory_op, 11, (long)&exchange, 0), EINVAL);
}

struct call { u64 op; long result; u64 args[6]; };

static void test_multicall(void) {
	static struct call calls[5];
	calls[0] = (struct call){ HYPERVISOR_xen_version, 1, { 0 } };
	calls[1] = (struct call){ HYPERVISOR_update_va_mapping, 1, { (u64)window, mfn(two) << 12 | P | RW, UVMF_INVLPG } };
	calls[2] = (struct call){ HYPERVISOR_update_va_mapping, 1, { (u64)window, xen_frame() << 12 | P | RW, 0 } };
	calls[3] = (struct call){ 61, 1, { 0 } };
	calls[4] = (struct call){ HYPERVISOR_update_va_mapping, 1, { (u64)t1, mfn(t1) << 12 | P, UVMF_INVLPG } };
	check("multicall", (u64)hypercall(HYPERVISOR_multicall, (long)calls, 5, 0), 0);
	check("the version", (u64)calls[0].result, 4 << 16 | 17);
	check("a mapping", (u64)calls[1].result, 0);
	check("one that is refused", (u64)calls[2].result, EBUSY);
	check("none of that number", (u64)calls[3].result, ENOSYS);
	check("the last", (u64)calls[4].result, 0);
	check("it can be read only", faults_by_writing(t1, 1), 1);
	writable(t1);
	writable(window);

	/* Nothing that a call writes its results to becomes a page table meanwhile. */
	struct call *inside = (struct call *)t2;
	clear(t2);
	struct { u32 cmd, pad; u64 arg1, arg2; } pins = { MMUEXT_PIN_L1_TABLE, 0, mfn(t2), 0 };
	inside[0] = (struct call){ HYPERVISOR_update_va_mapping, 0, { (u64)t2, mfn(t2) << 12 | P, UVMF_INVLPG } };
	inside[1] = (struct call){ HYPERVISOR_mmuext_op, 0, { (u64)&pins, 1, 0, DOMID_SELF } };
	inside[2] = (struct call){ HYPERVISOR_xen_version, 0, { 0 } };
	hypercall(HYPERVISOR_multicall, (long)inside, 3, 0);
	check("not while it is written", (u64)inside[1].result, EINVAL);
	check("it is none", unpin(t2), EINVAL);
	writable(t2);
	clear(t2);
}

/* Long lists go on where they stopped. */
static void test_long_list(void) {
	static struct update list[5000];
	u32 done = 0;
	for (u32 n = 0; n < 5000; n++) list[n] = (struct update){ mfn(two) << 12 | 8 * (n & 511), n };
	check("a long list", (u64)hypercall4(HYPERVISOR_mmu_update, (long)list, 5000, (long)&done, DOMID_SELF), 0);
	check("all of it", done, 5000);
	check("the last", two[4999 & 511], 4999);
	static struct call call;
	call = (struct call){ HYPERVISOR_mmu_update, 1, { (u64)list, 4000, (u64)&done, DOMID_SELF } };
	check("in a multicall", (u64)hypercall(HYPERVISOR_multicall, (long)&call, 1, 0), 0);
	check("its result", (u64)call.result, 0);
	check("all of it", done, 4000);
	check("the last", two[3999 & 511], 3999);
}

#define IN(instruction, ...) __asm__ volatile(instruction : : __VA_ARGS__ : "memory", "cc", "rcx", "r11")

/* A level-1 table that is mapped, and that its kernel writes as if it could. */
static void test_writable_tables(void) {
	check("enable", (u64)hypercall(HYPERVISOR_vm_assist, VMASST_CMD_enable, VMASST_TYPE_writable_pagetables, 0), 0);
	u64 before = faults, was, entry = mfn(one) << 12 | P | RW | US | A | 1ul << 52;
	clear(t1);
	read_only(t1);
	check("pin", pin(1, t1), 0);
	IN("movq %0, (%1)", "r"(entry), "r"(t1));
	check("mov", t1[0], entry);
	IN("movq %0, 8(%1)", "r"(entry & ~US & ~(1ul << 52)), "r"(t1));
	check("the kernel's", t1[1], entry);
	was = 0;
	__asm__ volatile("xchgq %0, (%1)" : "+r"(was) : "r"(t1) : "memory", "rcx", "r11");
	check("xchg", was, entry);
	check("is there", t1[0], 0);
	u64 old = 0;
	__asm__ volatile("lock cmpxchgq %1, (%2)" : "+a"(old) : "r"(entry), "r"(t1) : "memory", "cc", "rcx", "r11");
	check("cmpxchg", t1[0], entry);
	old = 5;
	__asm__ volatile("lock cmpxchgq %1, (%2)" : "+a"(old) : "r"(0ul), "r"(t1) : "memory", "cc", "rcx", "r11");
	check("cmpxchg that fails", old, entry);
	IN("lock andb $0xfd, (%0)", "r"(t1));
	check("lock and", t1[0], entry & ~RW);
	IN("lock orb $2, (%0)", "r"(t1));
	check("lock or", t1[0], entry);
	IN("lock btsq $6, (%0)", "r"(t1));
	check("lock bts", t1[0], entry | D);
	IN("lock btrq $6, (%0)", "r"(t1));
	check("lock btr", t1[0], entry);
	void *to = t1 + 2;
	u64 count = 8;
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(entry) : "memory", "r11");
	check("rep stos", t1[2] ^ t1[9] ^ t1[5] ^ entry, 0);
	check("rdi behind it", (u64)to, (u64)(t1 + 10));
	check("no fault", faults, before);
	/* What it must not have is its own fault. */
	skipped = 3;
	__asm__ volatile("movq %%rax, (%%rdi)" : : "a"(mfn(t1) << 12 | P | RW), "D"(t1) : "memory", "rcx", "r11");
	check("a writable page table", faults, ++before);
	check("error code", seen.error_code, 3);
	check("nothing has changed", t1[0], entry);
	__asm__ volatile("movq %%rax, (%%rdi)" : : "a"(xen_frame() << 12 | P), "D"(t1) : "memory", "rcx", "r11");
	check("the hypervisor's frame", faults, ++before);
	/* Tables of other levels cannot be written so. */
	u64 *top = *(u64 *const *)(start_info + START_INFO_PT_BASE);
	__asm__ volatile("movq %%rax, (%%rdi)" : : "a"(0), "D"(top + 9) : "memory", "rcx", "r11");
	check("the top", faults, ++before);
	check("disable", (u64)hypercall(HYPERVISOR_vm_assist, VMASST_CMD_disable, VMASST_TYPE_writable_pagetables, 0), 0);
	__asm__ volatile("movq %%rax, (%%rdi)" : : "a"(0), "D"(t1) : "memory", "rcx", "r11");
	check("not any more", faults, ++before);
	skipped = 0;
	check("unpin", unpin(t1), 0);
	check("writable", writable(t1), 0);
}

void test_memory(void) {
	handler = note;
	test_pins();
	test_mappings();
	test_m2p();
	test_switch();
	test_reservation();
	test_multicall();
	test_long_list();
	test_writable_tables();
}
