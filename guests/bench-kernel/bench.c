/*
 * What is measured. The command line says of each how many rounds, `NAME=N`, and how often, `times=N`: a line before (`S NAME N`) and one
 * behind (`E NAME`). What is not named is not run.
 */
#include "bench.h"

const u8 *start_info;
/* Nothing is there. */
#define NOWHERE 0x7ffff000ul

void must(const char *what, long result) {
	if (result >= 0) return;
	text("FAILED ");
	text(what);
	put('\n');
	u32 reason = 3;
	hypercall(HYPERVISOR_sched_op, SCHEDOP_shutdown, (long)&reason, 0);
}

static void exceptions(u64 n) { undefined(n); }
static void page_faults(u64 n) { fault(NOWHERE, n); }
static void hypercalls(u64 n) { while (n--) hypercall(HYPERVISOR_xen_version, 0, 0, 0); }

static const struct { const char *name; void (*run)(u64 n); } rows[] = {
	{ "exception=", exceptions },
	{ "page-fault=", page_faults },
	{ "system-call=", system_calls },
	{ "hypercall=", hypercalls },
	{ "base=", switch_tables },
	{ "mmu-update=", update_entries },
	{ "va-mapping=", update_mappings },
	{ "running=", send_to_running },
	{ "blocked=", send_to_blocked },
};

static void name_of(u32 n) { for (const char *c = rows[n].name; *c != '='; c++) put(*c); }

void kmain(const u8 *info) {
	start_info = info;
	const char *line = (const char *)info + START_INFO_CMDLINE;
	struct { u8 vector, flags; u16 cs; u32 pad; u64 address; } traps[] = {
		{ 6, 0, FLAT_KERNEL_CS, 0, (u64)undefined_entry }, { 14, 0, FLAT_KERNEL_CS, 0, (u64)fault_entry }, { 0, 0, 0, 0, 0 },
	};
	must("set_trap_table", hypercall(HYPERVISOR_set_trap_table, (long)traps, 0, 0));
	struct { u16 type, flags; u32 pad; u64 address; } callback = { CALLBACKTYPE_event, 0, 0, (u64)upcall_entry };
	must("callback_op", hypercall(HYPERVISOR_callback_op, CALLBACKOP_register, (long)&callback, 0));
	must("stop_periodic_timer", hypercall(HYPERVISOR_vcpu_op, VCPUOP_stop_periodic_timer, 0, 0));
	prepare_tables();
	prepare_application();
	if (number_after(line, "vcpus=", 1) > 1) prepare_other();
	for (u64 times = number_after(line, "times=", 1); times; times--) {
		for (u32 n = 0; n < sizeof rows / sizeof *rows; n++) {
			u64 rounds = number_after(line, rows[n].name, 0);
			if (!rounds) continue;
			text("S ");
			name_of(n);
			put(' ');
			number(rounds);
			put('\n');
			rows[n].run(rounds);
			text("E ");
			name_of(n);
			put('\n');
		}
	}
	text("DONE\n");
	u32 reason = 0;
	hypercall(HYPERVISOR_sched_op, SCHEDOP_shutdown, (long)&reason, 0);
}
