/* Where a 32-bit kernel runs natively, without a C library: checksums of a 32-bit build. Its argument is the command line. */
#include "guest.h"

#define SYS_exit 1
#define SYS_write 4
#define STDOUT 1

static void call(u32 nr, u32 first, u32 second, u32 third) {
	__asm__ volatile("int $0x80" : "+a"(nr) : "b"(first), "c"(second), "d"(third) : "memory");
}

void say(const char *line, u32 length) { call(SYS_write, STDOUT, (u32)line, length); }
void power_off(void) { call(SYS_exit, 0, 0, 0); }

__asm__(
	".globl _start\n"
	"_start:\n"
	"	movl 8(%esp), %eax\n"
	"	andl $-16, %esp\n"
	"	subl $12, %esp\n"
	"	pushl %eax\n"
	"	call run\n");
