/* Where a kernel runs that `ringzero boot` starts. */
#include "vcpus.h"

#define HYPERVISOR_console_io 18
#define HYPERVISOR_sched_op 29
#define CONSOLEIO_write 0
#define SCHEDOP_shutdown 2
#define CMDLINE 128

const u8 *start_info;

void say(const char *line, u32 length) { hypercall(HYPERVISOR_console_io, CONSOLEIO_write, length, (long)line); }

void power_off(void) {
	u32 reason = 0;
	hypercall(HYPERVISOR_sched_op, SCHEDOP_shutdown, (long)&reason, 0);
}

void kmain(const u8 *info) {
	start_info = info;
	run((const char *)info + CMDLINE);
}
