/* Where a kernel begins that `ringzero boot` starts: RSI is Xen's start info, RSP the top of a stack. */
	.globl	_start
	.text
_start:
	xorl	%ebp, %ebp
	movq	%rsi, %rdi
	andq	$-16, %rsp
	call	kmain
	ud2

/* long hypercall(nr, first, second, third): numbers and registers as in xen-x86_64.h */
	.globl	hypercall
hypercall:
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	%rdx, %rsi
	movq	%rcx, %rdx
	syscall
	ret
	.section .note.GNU-stack,"",@progbits
