/* Page tables: switched, and their entries changed by either hypercall. */
#include "bench.h"

#define MMUEXT_PIN_L4_TABLE 3
#define MMUEXT_NEW_BASEPTR 5
#define UVMF_INVLPG 2
#define MACHINE_TO_PHYS ((const u64 *)0xffff800000000000ul)

u64 roots[2];
static u8 second_root[PAGE] __attribute__((aligned(4096)));
/* Mapped in turn where the first is. */
static u8 pages[2][PAGE] __attribute__((aligned(4096)));

static const u64 *table_of(u64 entry) { return (const u64 *)(MACHINE_TO_PHYS[entry >> 12 & 0xffffffffff] << 12); }

/* The machine address of the level-1 entry of a page. */
static u64 entry_at(const void *page) {
	const u64 *table = *(const u64 *const *)(start_info + START_INFO_PT_BASE);
	u64 entry = 0;
	for (u32 level = 4; level > 1; level--) {
		entry = table[(u64)page >> (3 + 9 * level) & 511];
		table = table_of(entry);
	}
	return (entry & 0xffffffffff000ul) + ((u64)page >> 12 & 511) * 8;
}

static long extended(u32 command, u64 mfn) {
	struct { u32 command, pad; u64 mfn, argument; } operation = { command, 0, mfn, 0 };
	return hypercall4(HYPERVISOR_mmuext_op, (long)&operation, 1, 0, DOMID_SELF);
}

void prepare_tables(void) {
	const u64 *root = *(const u64 *const *)(start_info + START_INFO_PT_BASE);
	for (u32 n = 0; n < PAGE / 8; n++) ((u64 *)second_root)[n] = root[n];
	roots[0] = mfn_of((u64)root);
	roots[1] = mfn_of((u64)second_root);
	must("read-only", hypercall(HYPERVISOR_update_va_mapping, (long)second_root, (long)(roots[1] << 12 | PRESENT_READ_ONLY), UVMF_INVLPG));
	must("pin", extended(MMUEXT_PIN_L4_TABLE, roots[1]));
}

void switch_tables(u64 n) {
	while (n--) if (extended(MMUEXT_NEW_BASEPTR, roots[n & 1])) must("switch", -1);
}

void update_entries(u64 n) {
	u64 at = entry_at(pages[0]), mfns[2] = { mfn_of((u64)pages[0]), mfn_of((u64)pages[1]) };
	while (n--) {
		struct { u64 at, value; } update = { at, mfns[n & 1] << 12 | PRESENT_WRITABLE };
		if (hypercall4(HYPERVISOR_mmu_update, (long)&update, 1, 0, DOMID_SELF)) must("mmu_update", -1);
	}
}

void update_mappings(u64 n) {
	u64 mfns[2] = { mfn_of((u64)pages[0]), mfn_of((u64)pages[1]) };
	while (n--)
		if (hypercall(HYPERVISOR_update_va_mapping, (long)pages[0], (long)(mfns[n & 1] << 12 | PRESENT_WRITABLE), UVMF_INVLPG)) must("mapping", -1);
}
