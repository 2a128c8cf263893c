/* An application that calls its kernel: in ring 3 like that, with page tables that have nothing but its code. */
#include "bench.h"

#define MMUEXT_PIN_L4_TABLE 3
#define MMUEXT_NEW_USER_BASEPTR 15
#define USER_CS 0xe033
#define USER_SS 0xe02b
#define PRESENT_USER 5ul
#define TABLE_USER 7ul

/* entries.S: `calling` makes system calls for ever; the kernel takes so many and comes back. */
extern const u8 calling[], syscall_entry[];
extern u64 calls_left;
/* test-kernel/user.S */
void enter_user(const void *frame);

static u64 tables[4][PAGE / 8] __attribute__((aligned(4096)));
static u8 stack[PAGE] __attribute__((aligned(16)));

static long extended(u32 command, u64 mfn) {
	struct { u32 command, pad; u64 mfn, argument; } operation = { command, 0, mfn, 0 };
	return hypercall4(HYPERVISOR_mmuext_op, (long)&operation, 1, 0, DOMID_SELF);
}

void prepare_application(void) {
	u64 at = (u64)calling;
	for (u32 n = 0; n < 4; n++) {
		u64 entry = n < 3 ? mfn_of((u64)tables[n + 1]) << 12 | TABLE_USER : mfn_of(at) << 12 | PRESENT_USER;
		tables[n][at >> (39 - 9 * n) & 511] = entry;
	}
	for (u32 n = 0; n < 4; n++)
		must("read-only", hypercall(HYPERVISOR_update_va_mapping, (long)tables[n], (long)(mfn_of((u64)tables[n]) << 12 | PRESENT_READ_ONLY), 2));
	must("pin", extended(MMUEXT_PIN_L4_TABLE, mfn_of((u64)tables[0])));
	must("NEW_USER_BASEPTR", extended(MMUEXT_NEW_USER_BASEPTR, mfn_of((u64)tables[0])));
	must("stack_switch", hypercall(HYPERVISOR_stack_switch, FLAT_KERNEL_SS, (long)(stack + sizeof stack), 0));
	struct { u16 type, flags; u32 pad; u64 address; } callback = { 2, 0, 0, (u64)syscall_entry };
	must("callback_op", hypercall(HYPERVISOR_callback_op, CALLBACKOP_register, (long)&callback, 0));
}

void system_calls(u64 n) {
	const u64 frame[] = { USER_SS, 0, EFLAGS_IF, USER_CS, (u64)calling, 0 };
	calls_left = n;
	enter_user(frame);
}
