/* Where the hypervisor enters the kernel: exceptions and the event callback. It begins in perf/x86/xen.S, which has its hypercalls, too. */
	.text

/*
 * A frame of the hypervisor: rcx, r11, [error code], rip, cs, rflags, rsp, ss. It is made a struct frame of kernel.h, and from what that says
 * then the frame of HYPERVISOR_iret.
 */
	.macro	ENTRY number, has_error_code
entry_\number:
	movq	(%rsp), %rcx
	movq	8(%rsp), %r11
	addq	$16, %rsp
	.if	\has_error_code == 0
	pushq	$0
	.endif
	pushq	$\number
	jmp	common
	.endm

	/* System calls of applications have no number of their own; and where iret could not be done there are selectors in the frame, too. */
	ENTRY	257, 0
entry_258:
	movq	(%rsp), %rcx
	movq	8(%rsp), %r11
	.irp	n, 0, 8, 16, 24
	pushq	16+\n(%rsp)
	popq	failsafe_selectors+\n(%rip)
	.endr
	addq	$48, %rsp
	pushq	$0
	pushq	$258
	jmp	common

	.altmacro
	.macro	ENTRY_OF number
	.if	\number == 8 || (\number >= 10 && \number <= 14) || \number == 17
	ENTRY	\number, 1
	.else
	ENTRY	\number, 0
	.endif
	.endm
	.set	n, 0
	.rept	257
	ENTRY_OF	%n
	.set	n, n + 1
	.endr

common:
	.irp	register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	pushq	%\register
	.endr
	movq	%rsp, %rdi
	/* The stack was aligned to 16 before the frame. */
	movq	%rsp, %rbp
	andq	$-16, %rsp
	cld
	call	entered
	movq	%rbp, %rsp
	.irp	register, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
	popq	%\register
	.endr
	addq	$16, %rsp
	pushq	iret_flags(%rip)
	pushq	%rcx
	pushq	%r11
	pushq	%rax
	movl	$23, %eax
	syscall
	ud2

	.section .rodata
	.globl	entry_points
	.balign	8
	.macro	POINT_OF number
	.quad	entry_\number
	.endm
entry_points:
	.set	n, 0
	.rept	259
	POINT_OF	%n
	.set	n, n + 1
	.endr
	.bss
	.globl	iret_flags, failsafe_selectors
	.balign	8
iret_flags:
	.skip	8
failsafe_selectors:
	.skip	32
	.section .note.GNU-stack,"",@progbits
