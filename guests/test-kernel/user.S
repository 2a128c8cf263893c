/* Into an application and out of it. */
	.text

/* void enter_user(const struct user *): comes back by leave_user. */
	.globl	enter_user
enter_user:
	.irp	register, rbx, rbp, r12, r13, r14, r15
	pushq	%\register
	.endr
	movq	%rsp, left_at(%rip)
	/* ss, rsp, rflags, cs, rip, flags */
	.irp	n, 0, 8, 16, 24, 32, 40
	pushq	\n(%rdi)
	.endr
	pushq	$0x33
	pushq	$0x22
	pushq	$0x11
	movl	$23, %eax
	syscall
	ud2
	.globl	leave_user
leave_user:
	movq	left_at(%rip), %rsp
	.irp	register, r15, r14, r13, r12, rbp, rbx
	popq	%\register
	.endr
	ret

	.bss
	.balign	8
left_at:
	.skip	8
	.section .note.GNU-stack,"",@progbits
