/* Applications, each of which begins at a label: by enter_user, and in ring 3 of a PC. They share a page that they can execute and not write. */
	.text
	.macro	LEAVE
	movl	$1, %eax
	syscall
	ud2
	.endm
	.macro	APPLICATION name
	.globl	\name
\name:
	.endm

	.balign	4096
	.globl	applications
applications:
	APPLICATION app_leave
	LEAVE
	/* Finds 0x2a in RAX behind. */
	APPLICATION app_syscall
	movq	%rax, %r12
	movq	%rcx, %r13
	movq	%r11, %r14
	std
	movl	$2, %eax
	syscall
	.globl	app_syscall_behind
app_syscall_behind:
	cld
	movq	%rax, %rdi
	movq	%r12, %rsi
	movq	%r13, %rdx
	LEAVE
	/* Whatever faults is passed over by the kernel. */
	APPLICATION app_divide
	xorl	%edx, %edx
	divl	%edx
	LEAVE
	APPLICATION app_read
	movq	(%rbx), %rdi
	LEAVE
	APPLICATION app_write
	movq	%rdi, (%rbx)
	LEAVE
	APPLICATION app_int80
	int	$0x80
	LEAVE
	APPLICATION app_int83
	int	$0x83
	LEAVE
	APPLICATION app_cli
	cli
	LEAVE
	APPLICATION app_in
	inb	%dx, %al
	LEAVE
	APPLICATION app_rdmsr
	rdmsr
	LEAVE
	APPLICATION app_cpuid
	xorl	%eax, %eax
	ud2
	.ascii	"xen"
	cpuid
	movq	%rbx, %rdi
	LEAVE
	APPLICATION app_bases
	movq	%fs:0, %rdi
	movq	%gs:0, %rsi
	LEAVE
	APPLICATION app_float
	fld1
	fstpl	-8(%rsp)
	movq	-8(%rsp), %rdi
	LEAVE
	/* Until the kernel writes there. */
	APPLICATION app_wait
1:	cmpq	$0, (%rbx)
	je	1b
	LEAVE
	/* IRET with flags that it may not set. */
	APPLICATION app_iret
	movq	%rsp, %rsi
	movl	%ss, %eax
	pushq	%rax
	pushq	%rsi
	pushq	$0x30d5
	movl	%cs, %eax
	pushq	%rax
	leaq	1f(%rip), %rax
	pushq	%rax
	iretq
	ud2
1:	pushfq
	popq	%rdi
	pushq	$0x3002
	popfq
	pushfq
	popq	%rdx
	subq	%rsp, %rsi
	LEAVE
	.balign	4096

	.section .note.GNU-stack,"",@progbits
