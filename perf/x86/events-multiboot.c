/* Page tables and TLB in ring 0; page faults put back the page that is missing. */
#include "events.h"

/* multiboot.S: entries of the first 32 MiB, one after the other */
extern ulong root[], page_tables[];
extern u8 page_fault[];

static struct { u16 low, selector; u8 stack, type; u16 middle; u32 high, zero; } gates[256] __attribute__((aligned(16)));

void handle_page_faults(void) {
	ulong to = (ulong)page_fault;
	gates[14].low = (u16)to;
	gates[14].middle = (u16)(to >> 16);
	gates[14].high = (u32)(to >> 32);
	gates[14].selector = 24;
	gates[14].type = 0x8e;
	struct { u16 limit; ulong base; } __attribute__((packed)) table = {sizeof gates - 1, (ulong)gates};
	__asm__ volatile("lidt %0" :: "m"(table));
}

__asm__(
	"page_fault:\n"
	"	pushq %rax\n"
	"	pushq %rcx\n"
	"	movq %cr2, %rax\n"
	"	movl %eax, %ecx\n"
	"	shrl $12, %ecx\n"
	"	andl $-4096, %eax\n"
	"	orl $3, %eax\n"
	"	movq %rax, page_tables(,%rcx,8)\n"
	"	popq %rcx\n"
	"	popq %rax\n"
	"	addq $8, %rsp\n"
	"	iretq\n");

void flush(void) { __asm__ volatile("movq %0, %%cr3" :: "r"(root) : "memory"); }
void invalidate(ulong page) { __asm__ volatile("invlpg (%0)" :: "r"(page) : "memory"); }
void drop(void) {
	for (u32 n = 0; n < PAGES; n++) page_tables[AREA / 4096 + n] = 0;
	flush();
}
