/* Exceptions of a PC in 64-bit mode, and ring 3. */
	.text
	.macro	STUB number
stub_\number:
	.if	\number == 8 || (\number >= 10 && \number <= 14) || \number == 17
	.else
	pushq	$0
	.endif
	pushq	$\number
	jmp	common
	.endm
	.altmacro
	.set	n, 0
	.rept	256
	STUB	%n
	.set	n, n + 1
	.endr

/* As struct frame of the test kernel. */
common:
	.irp	register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	pushq	%\register
	.endr
	movq	%rsp, %rdi
	call	faulted
	ud2

/* void enter_user(rip, rsp, rbx): comes back by leave_user. */
	.globl	enter_user, leave_user
enter_user:
	.irp	register, rbx, rbp, r12, r13, r14, r15
	pushq	%\register
	.endr
	movq	%rsp, left_at(%rip)
	movq	%rdx, %rbx
	pushq	$0x23
	pushq	%rsi
	pushq	$0x202
	pushq	$0x2b
	pushq	%rdi
	iretq
leave_user:
	movq	left_at(%rip), %rsp
	cli
	.irp	register, r15, r14, r13, r12, rbp, rbx
	popq	%\register
	.endr
	ret

	.section .rodata
	.globl	stubs
	.balign	8
	.macro	POINT number
	.quad	stub_\number
	.endm
stubs:
	.set	n, 0
	.rept	256
	POINT	%n
	.set	n, n + 1
	.endr
	.bss
	.balign	8
left_at:
	.skip	8
	.section .note.GNU-stack,"",@progbits
