/* What an exception of an application leaves, as text: to be compared with that of the same application in ring 3 of a PC. */
#include "kernel.h"

/* Emulators of PCs differ in RF. */
#define RF 0x10000

static void field(const char *name, u64 x) {
	put(' ');
	text(name);
	put(' ');
	hex(x);
}

void say_frame(const char *name, const struct frame *frame, u64 rip, u64 rsp, u64 cr2) {
	text("frame ");
	text(name);
	field("vector", frame->number);
	field("error", frame->error_code);
	field("rip", frame->rip - rip);
	field("cs", frame->cs & 3);
	field("rflags", frame->rflags & ~(u64)RF);
	field("rsp", rsp - frame->rsp);
	field("ss", frame->ss & 3);
	if (frame->number == 14) field("cr2", cr2);
	put('\n');
}
