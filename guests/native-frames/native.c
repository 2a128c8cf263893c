/* The test kernel's applications in ring 3 of a PC, started by a multiboot loader: what their exceptions leave, at the debug port. */
#include "../test-kernel/kernel.h"
#include "../test-kernel/frames.h"

#define PAGE 4096
#define DEBUG_PORT 0xe9
#define DEBUG_EXIT 0xf4
#define KERNEL_CS 0x18
#define USER 4
#define WRITABLE 2
#define PAGES 8192
#define INTERRUPT_GATE 0x8e00ul
#define GATE_OF_RING3 0x6000ul
#define TASK 0x30

extern u64 root[];
extern const u64 stubs[256];
extern const u8 applications[], app_divide[], app_read[], app_write[], app_int80[], app_int83[], app_cli[], app_in[], app_rdmsr[];
void enter_user(u64 rip, u64 rsp, u64 rbx);
void leave_user(void) __attribute__((noreturn));

static u8 here[PAGE] __attribute__((aligned(PAGE))), stack[2 * PAGE] __attribute__((aligned(16)));
static u64 gates[512] __attribute__((aligned(16)));
static u32 task[26] __attribute__((aligned(16)));
static u64 segments[8] __attribute__((aligned(16))) = {
	0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff, 0, 0,
};
static struct frame seen;
static u64 cr2;

static void outb(u16 port, u8 x) { __asm__ volatile("outb %0, %1" : : "a"(x), "Nd"(port)); }
/* text.c's lines. */
long hypercall(long nr, long first, long length, long line) {
	(void)nr, (void)first;
	for (long n = 0; n < length; n++) outb(DEBUG_PORT, ((const u8 *)line)[n]);
	return 0;
}

void faulted(const struct frame *frame) {
	seen = *frame;
	__asm__ volatile("movq %%cr2, %0" : "=r"(cr2));
	leave_user();
}

static void load(u64 limit, const void *base, int is_gates) {
	struct { u16 limit; u64 base; } __attribute__((packed)) table = { (u16)limit, (u64)base };
	if (is_gates) __asm__ volatile("lidt %0" : : "m"(table));
	else __asm__ volatile("lgdt %0" : : "m"(table));
}

static u64 *below(u64 *table, u64 n) { return (u64 *)(table[n] & ~(u64)(PAGE - 1)); }

static void open_pages(void) {
	u64 *directory = below(below(root, 0), 0);
	root[0] |= USER;
	below(root, 0)[0] |= USER;
	for (u32 n = 0; n < PAGES / 512; n++) directory[n] |= USER;
	u64 *pages = below(directory, 0);
	pages[(u64)here / PAGE] |= USER;
	pages[(u64)applications / PAGE] |= USER;
	pages[(u64)applications / PAGE] &= ~(u64)WRITABLE;
	__asm__ volatile("movq %0, %%cr3" : : "r"(root) : "memory");
}

void kmain(void) {
	u64 top = (u64)(stack + sizeof stack), at = (u64)task;
	for (u32 n = 0; n < 256; n++) {
		u64 to = stubs[n];
		gates[2 * n] = (to & 0xffff) | KERNEL_CS << 16 | (INTERRUPT_GATE | (n == 0x80 ? GATE_OF_RING3 : 0)) << 32 | (to >> 16 & 0xffff) << 48;
		gates[2 * n + 1] = to >> 32;
	}
	task[1] = (u32)top;
	task[2] = (u32)(top >> 32);
	/* No map of ports. */
	task[25] = sizeof task << 16;
	segments[6] = (sizeof task - 1) | (at & 0xffffff) << 16 | 0x89ul << 40 | (at >> 24 & 0xff) << 56;
	segments[7] = at >> 32;
	load(sizeof segments - 1, segments, 0);
	load(sizeof gates - 1, gates, 1);
	__asm__ volatile("ltr %w0" : : "r"(TASK));
	open_pages();
#define SAY(name, rbx) enter_user((u64)name, (u64)here + PAGE - 64, (u64)(rbx)); say_frame(#name, &seen, (u64)name, (u64)here + PAGE - 64, cr2);
	FAULTING(SAY)
	outb(DEBUG_EXIT, 0);
	for (;;) __asm__ volatile("cli; hlt");
}
