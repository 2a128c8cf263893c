/* Where a kernel runs that QEMU or v86 starts: ring 0 of a PC, words go to its serial port. */
#include "guest.h"

#define COM1 0x3f8
#define LINE_STATUS 5
#define CAN_SEND 0x20
/* isa-debug-exit of QEMU's */
#define DEBUG_EXIT 0xf4
/* Of the multiboot information. */
#define HAS_COMMAND_LINE 4
#define COMMAND_LINE 4

static inline void outb(u16 port, u8 x) { __asm__ volatile("outb %0,%1" :: "a"(x), "Nd"(port)); }
static inline u8 inb(u16 port) { u8 x; __asm__ volatile("inb %1,%0" : "=a"(x) : "Nd"(port)); return x; }

void say(const char *line, u32 length) {
	while (length--) {
		while (!(inb(COM1 + LINE_STATUS) & CAN_SEND));
		outb(COM1, (u8)*line++);
	}
}

void power_off(void) {
	outb(DEBUG_EXIT, 0);
	for (;;) __asm__ volatile("cli; hlt");
}

void kmain(ulong information) {
	const u32 *info = (const u32 *)information;
	run(info[0] & HAS_COMMAND_LINE ? (const char *)(ulong)info[COMMAND_LINE] : "");
}
