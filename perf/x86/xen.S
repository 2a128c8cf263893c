/*
 * Where a paravirtual kernel begins: RSI is Xen's start info. It has a stack of its own, for that of the domain builder is a page. The shared
 * info page is mapped where there is room for it (xen-x86_64.h, xen.h).
 */
	.globl	_start
	.text
_start:
	xorl	%ebp, %ebp
	movq	%rsi, %rbx
	leaq	stack_top(%rip), %rsp
	/* update_va_mapping: present, writable, accessed, dirty; INVLPG here. */
	movl	$14, %edi
	leaq	shared_info(%rip), %rsi
	movq	40(%rbx), %rdx
	orq	$0x63, %rdx
	movl	$2, %ecx
	call	hypercall
	movq	%rbx, %rdi
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
	.bss
	.balign	4096
	.globl	shared_info
shared_info:
	.skip	4096
	.skip	65536
stack_top:
	.section .note.GNU-stack,"",@progbits
