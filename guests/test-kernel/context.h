/* Of vcpu_guest_context (arch-x86/xen.h). */
#pragma once

#define CONTEXT_BYTES 5168
#define FLAGS 512
#define VGCF_in_kernel 4
#define USER_REGS 520
#define REGS_RIP 128
#define REGS_CS 136
#define REGS_RSP 152
#define REGS_SS 160
#define REGS_RDI 112
#define TRAP_CTXT 720
#define KERNEL_SP 4976
#define CTRLREG 4984
#define EVENT_CALLBACK 5112
#define SYSCALL_CALLBACK 5128
