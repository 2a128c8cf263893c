/*
 * Where a kernel begins that a multiboot 1 loader starts, in 32-bit mode without paging: maps the first 32 MiB where they are, in pages of
 * 4 KiB, and of a 64-bit build goes to long mode.
 */
#define PAGES 8192
#define PRESENT_WRITABLE 3

	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 3, -(0x1badb002 + 3)

	.text
	.code32
	.globl _start
_start:
	cli
	cld
	movl $stack_top, %esp
	movl %ebx, %esi

	movl $page_tables, %edi
	movl $PRESENT_WRITABLE, %eax
	movl $PAGES, %ecx
	call entries
#ifdef __x86_64__
	movl $directory, %edi
	movl $(page_tables + PRESENT_WRITABLE), %eax
	movl $(PAGES / 512), %ecx
	call entries
	movl $(directory + PRESENT_WRITABLE), pointers
	movl $(pointers + PRESENT_WRITABLE), root
#else
	movl $root, %edi
	movl $(page_tables + PRESENT_WRITABLE), %eax
	movl $(PAGES / 1024), %ecx
	call entries
#endif

	lgdt descriptor
	ljmp $8, $1f
1:	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %eax, %fs
	movl %eax, %gs
#ifdef __x86_64__
	movl %cr4, %eax
	orl $0x20, %eax			/* PAE */
	movl %eax, %cr4
#endif
	movl $root, %eax
	movl %eax, %cr3
#ifdef __x86_64__
	movl $0xc0000080, %ecx		/* EFER.LME */
	rdmsr
	orl $0x100, %eax
	wrmsr
#endif
	movl %cr0, %eax
	orl $0x80010001, %eax		/* PG, WP, PE */
	andl $0x9fffffff, %eax		/* caches on */
	movl %eax, %cr0
#ifdef __x86_64__
	ljmp $24, $2f
	.code64
2:	movl %esi, %edi
	call kmain
#else
	pushl %esi
	call kmain
#endif
3:	hlt
	jmp 3b

	.code32
/* %ecx entries at %edi, for one page after the other from the entry in %eax on */
entries:
	movl %eax, (%edi)
#ifdef __x86_64__
	movl $0, 4(%edi)
	addl $8, %edi
#else
	addl $4, %edi
#endif
	addl $4096, %eax
	loop entries
	ret

	.data
	.align 16
gdt:	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
descriptor:
	.word 31
	.long gdt, 0

	.bss
	.align 4096
	.globl root, page_tables
root:	.skip 4096
pointers:
	.skip 4096
directory:
	.skip 4096
page_tables:
	.skip 65536
	.skip 65536
stack_top:
	.skip 16
	.section .note.GNU-stack, "", @progbits
