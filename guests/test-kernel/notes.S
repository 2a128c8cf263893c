/* What the kernel says to domain builders (elfnote.h). Its virtual addresses are those of its memory: VIRT_BASE is 0. */
	.macro	NOTE type, value:vararg
	.balign	4
	.long	2f - 1f, 4f - 3f, \type
1:	.asciz	"Xen"
2:	.balign	4
3:	\value
4:
	.endm

	.section .note.Xen, "a", @note
	NOTE	1, .quad _start			/* ENTRY */
	NOTE	3, .quad 0			/* VIRT_BASE */
	NOTE	4, .quad 0			/* PADDR_OFFSET */
	NOTE	5, .asciz "xen-3.0"		/* XEN_VERSION */
	NOTE	6, .asciz "ringzero"		/* GUEST_OS */
	NOTE	8, .asciz "generic"		/* LOADER */
	NOTE	9, .asciz "yes"			/* PAE_MODE */
	NOTE	17, .long 1 << 11		/* SUPPORTED_FEATURES: it can be domain 0's */
	.section .note.GNU-stack,"",@progbits
