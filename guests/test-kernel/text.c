/* Lines to the console, numbers of the command line. */
#include "kernel.h"

static char line[128];
static u32 length;

void put(char c) {
	line[length++] = c;
	if (c != '\n' && length < sizeof line) return;
	hypercall(HYPERVISOR_console_io, CONSOLEIO_write, length, (long)line);
	length = 0;
}
void text(const char *s) { while (*s) put(*s++); }
void hex(u64 x) {
	int at = 60;
	while (at > 0 && (x >> at & 15) == 0) at -= 4;
	for (; at >= 0; at -= 4) put("0123456789abcdef"[x >> at & 15]);
}
void number(u64 x) {
	char digits[20];
	int n = 0;
	do digits[n++] = (char)('0' + x % 10); while (x /= 10);
	while (n) put(digits[--n]);
}

u64 number_after(const char *where, const char *what, u64 otherwise) {
	for (; *where; where++) {
		const char *a = where, *b = what;
		while (*b && *a == *b) a++, b++;
		if (*b) continue;
		u64 x = 0;
		while (*a >= '0' && *a <= '9') x = x * 10 + (u64)(*a++ - '0');
		return x;
	}
	return otherwise;
}
