/* What the kernel does: all tests, one line for each result, and the sum at the end. */
#include "kernel.h"

void (*handler)(struct frame *frame);
const u8 *start_info;
static u64 passed, failed;

void entered(struct frame *frame) { handler(frame); }

void check(const char *what, u64 found, u64 expected) {
	if (found == expected) {
		passed++;
		return;
	}
	failed++;
	text("FAILED ");
	text(what);
	text(": ");
	hex(found);
	text(" instead of ");
	hex(expected);
	put('\n');
}

static void section(const char *name, void (*test)(void)) {
	u64 before = failed;
	test();
	text(name);
	text(failed == before ? ": ok\n" : ": FAILED\n");
}

void kmain(const u8 *info) {
	start_info = info;
	section("traps", test_traps);
	section("privileged", test_privileged);
	u64 peer = number_after((const char *)info + START_INFO_CMDLINE, "peer=", 0);
	if (peer != 0) {
		test_peer((u16)peer);
		goto done;
	}
	section("events", test_events);
	section("memory", test_memory);
	section("grants", test_grants);
	section("vcpus", test_vcpus);
	section("race", test_race);
done:
	number(passed);
	text(" passed, ");
	number(failed);
	text(" failed\n");
	u32 reason = 0;
	hypercall(HYPERVISOR_sched_op, SCHEDOP_shutdown, (long)&reason, 0);
}
