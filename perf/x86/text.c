/* Words in and out: lines to the console, and the command line. */
#include "guest.h"

static char line[128];
static u32 length;

void put(char c) {
	line[length++] = c;
	if (c != '\n' && length < sizeof line) return;
	say(line, length);
	length = 0;
}
void text(const char *s) { while (*s) put(*s++); }
void hex(u32 x) { for (int at = 28; at >= 0; at -= 4) put("0123456789abcdef"[x >> at & 15]); }
void number(u32 x) { char digits[12]; int n = 0; do digits[n++] = (char)('0' + x % 10); while (x /= 10); while (n) put(digits[--n]); }

const char *after(const char *where, const char *what) {
	for (; *where; where++) {
		const char *a = where, *b = what;
		while (*b && *a == *b) a++, b++;
		if (!*b) return a;
	}
	return 0;
}

u32 number_after(const char *where, const char *what, u32 otherwise) {
	const char *given = after(where, what);
	if (!given) return otherwise;
	u32 x = 0;
	while (*given >= '0' && *given <= '9') x = x * 10 + (u32)(*given++ - '0');
	return x;
}
