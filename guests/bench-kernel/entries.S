/* The shortest ways into the kernel and out of it: exceptions go on behind their instruction. */
	.text

	/* iret with the registers of the entry: rcx, r11 and rax are in place, and rsp points to rip. */
	.macro	LEAVE flags=0
	pushq	$\flags
	pushq	%rcx
	pushq	%r11
	pushq	%rax
	movl	$23, %eax
	syscall
	ud2
	.endm

	.globl	undefined_entry, fault_entry, upcall_entry
/* ud2 */
undefined_entry:
	popq	%rcx
	popq	%r11
	addq	$2, (%rsp)
	LEAVE

/* mov (%rdi), %rax */
fault_entry:
	popq	%rcx
	popq	%r11
	addq	$8, %rsp
	addq	$3, (%rsp)
	LEAVE

/* A system call of an application: VGCF_in_syscall, and back. */
	.globl	syscall_entry, calling, calls_left
	.comm	calls_left, 8, 8
syscall_entry:
	popq	%rcx
	popq	%r11
	decq	calls_left(%rip)
	jz	leave_user
	LEAVE	0x100
	.balign	4096
calling:
	syscall
	jmp	calling
	.balign	4096

upcall_entry:
	popq	%rcx
	popq	%r11
	.irp	register, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11, rbp
	pushq	%\register
	.endr
	movq	%rsp, %rbp
	movq	%rsp, %rdi
	andq	$-16, %rsp
	call	upcall
	movq	%rbp, %rsp
	.irp	register, rbp, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
	popq	%\register
	.endr
	LEAVE

/* So many times: undefined(n), fault(address, n) */
	.globl	undefined, fault
undefined:
1:	ud2
	decq	%rdi
	jnz	1b
	ret
fault:
1:	movq	(%rdi), %rax
	decq	%rsi
	jnz	1b
	ret

/* long hypercall4(nr, first, second, third, fourth) */
	.globl	hypercall4
hypercall4:
	movq	%r8, %r10
	jmp	hypercall
	.section .note.GNU-stack,"",@progbits
