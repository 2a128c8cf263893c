/* A kernel for paravirtual 64-bit guests that tests what it runs on, and says what it found on its console. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned u32;
typedef unsigned long u64;

/* Xen's start_info. */
extern const u8 *start_info;

/* perf/x86/xen.S */
long hypercall(long nr, long first, long second, long third);
static inline long hypercall4(long nr, long first, long second, long third, long fourth) {
	register long r10 __asm__("r10") = fourth;
	__asm__ volatile("syscall" : "+a"(nr) : "D"(first), "S"(second), "d"(third), "r"(r10) : "rcx", "r11", "memory");
	return nr;
}
/* entries.S */
/* Of all vectors, and of the callbacks behind them. */
extern const u64 entry_points[259];
#define EVENTS 256
#define SYSCALLS 257
#define FAILSAFE 258
/* Of the next iret: VGCF_in_syscall. */
extern volatile u64 iret_flags;
#define VGCF_in_syscall 0x100
/* DS, ES, FS, GS as the last failsafe callback found them. */
extern volatile u64 failsafe_selectors[4];

/* What an entry finds. `handler` may change it: it goes on as it says then. */
struct frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 number, error_code;
	/* Above cs stands the mask of upcalls before the entry. */
	u64 rip, cs, rflags, rsp, ss;
};
/* Called for each entry of a VCPU. */
extern void (*handler)(struct frame *frame);

/* Xen's, of the public headers (xen.h, event_channel.h, sched.h, vcpu.h, callback.h, arch-x86/xen-x86_64.h). */
#define HYPERVISOR_set_trap_table 0
#define HYPERVISOR_mmu_update 1
#define HYPERVISOR_memory_op 12
#define HYPERVISOR_multicall 13
#define HYPERVISOR_update_va_mapping 14
#define HYPERVISOR_vm_assist 21
#define VMASST_CMD_enable 0
#define VMASST_CMD_disable 1
#define VMASST_TYPE_writable_pagetables 2
#define HYPERVISOR_mmuext_op 26
#define DOMID_SELF 0x7ff0
#define MMU_NORMAL_PT_UPDATE 0
#define MMU_MACHPHYS_UPDATE 1
#define MMU_PT_UPDATE_PRESERVE_AD 2
#define MMUEXT_PIN_L1_TABLE 0
#define MMUEXT_UNPIN_TABLE 4
#define MMUEXT_NEW_BASEPTR 5
#define MMUEXT_TLB_FLUSH_LOCAL 6
#define MMUEXT_CLEAR_PAGE 16
#define MMUEXT_COPY_PAGE 17
#define UVMF_NONE 0
#define UVMF_TLB_FLUSH 1
#define UVMF_INVLPG 2
#define UVMF_ALL 4
#define HYPERVISOR_set_gdt 2
#define HYPERVISOR_stack_switch 3
#define HYPERVISOR_fpu_taskswitch 5
#define HYPERVISOR_set_debugreg 8
#define HYPERVISOR_get_debugreg 9
#define HYPERVISOR_update_descriptor 10
#define HYPERVISOR_set_segment_base 25
#define HYPERVISOR_nmi_op 28
#define MMUEXT_PIN_L4_TABLE 3
#define MMUEXT_SET_LDT 13
#define MMUEXT_NEW_USER_BASEPTR 15
#define SEGBASE_FS 0
#define SEGBASE_GS_USER 1
#define SEGBASE_GS_KERNEL 2
#define SEGBASE_GS_USER_SEL 3
#define HYPERVISOR_console_io 18
#define HYPERVISOR_xen_version 17
#define HYPERVISOR_sched_op 29
#define HYPERVISOR_callback_op 30
#define HYPERVISOR_event_channel_op 32
#define HYPERVISOR_set_timer_op 15
#define HYPERVISOR_grant_table_op 20
#define HYPERVISOR_vcpu_op 24
#define HYPERVISOR_physdev_op 33
#define PHYSDEVOP_set_iopl 6
#define CONSOLEIO_write 0
#define SCHEDOP_yield 0
#define SCHEDOP_block 1
#define SCHEDOP_shutdown 2
#define EVTCHNOP_bind_virq 1
#define EVTCHNOP_send 4
#define EVTCHNOP_bind_ipi 7
#define VCPUOP_initialise 0
#define VCPUOP_up 1
#define VCPUOP_stop_periodic_timer 7
#define VCPUOP_send_nmi 11
#define VIRQ_TIMER 0
#define CALLBACKOP_register 0
#define CALLBACKTYPE_event 0
#define CALLBACKTYPE_failsafe 1
#define CALLBACKTYPE_syscall 2
#define CALLBACKTYPE_nmi 4
#define CALLBACKTYPE_sysenter 5
#define CALLBACKTYPE_syscall32 7
#define CALLBACKF_mask_events 1
#define FLAT_KERNEL_CS 0xe033
#define FLAT_KERNEL_SS 0xe02b
#define EFLAGS_IF 0x200
#define START_INFO_SHARED_INFO 40
#define START_INFO_FLAGS 48
#define SIF_INITDOMAIN 2
#define START_INFO_PT_BASE 88
#define START_INFO_MFN_LIST 104
#define START_INFO_CMDLINE 128

struct vcpu_info {
	volatile u8 pending, mask;
	u8 pad[6];
	volatile u64 selector, cr2, pad2;
	struct { volatile u32 version; u32 pad; u64 tsc, system_time; u32 mul; signed char shift; u8 pad2[3]; } time;
};
struct shared_info {
	struct vcpu_info vcpu[32];
	volatile u64 pending[64], mask[64];
};
/* perf/x86/xen.S */
extern struct shared_info shared_info;
#define SHARED (&shared_info)

static inline u32 is_domain0(void) { return *(const u32 *)(start_info + START_INFO_FLAGS) & SIF_INITDOMAIN; }
/* Said by the command line: whether it is compared with a run on another hypervisor, which does not do all of it. */
static inline u32 is_compared(void);
/* The frame of a virtual address: those are of the domain's memory, from 0 on. */
static inline u64 mfn_of(u64 address) { return (*(const u64 *const *)(start_info + START_INFO_MFN_LIST))[address >> 12]; }

/* text.c */
void put(char c);
void text(const char *s);
void hex(u64 x);
void number(u64 x);
u64 number_after(const char *where, const char *what, u64 otherwise);
static inline u32 is_compared(void) { return number_after((const char *)start_info + START_INFO_CMDLINE, "compared=", 0) != 0; }

/* time.c: ns */
u64 now(u32 vcpu);
void block_for(u32 vcpu, u64 ns);

/* One result: what was found is to be what was expected. */
void check(const char *what, u64 found, u64 expected);

/* vcpus.c: what other VCPUs do when they are woken, and waking one. */
extern void (*volatile job)(u64 id);
void wake(u32 id);

void test_memory(void);
void test_race(void);
/* mappings.c: an entry of a page table; a page of the kernel as it may be mapped; mmuext_op with one operation. */
#define PTE_PRESENT 1
#define PTE_WRITABLE 2
#define PTE_USER 4
u64 entry_of(const void *page, u64 flags);
long remap(const void *page, u64 flags);
long mmuext(u32 cmd, u64 arg1, u64 arg2);

/* user.c: the machine address of the page table of applications, and where one begins that calls the kernel at once. */
extern u64 user_cr3, user_start;

/* frames.c: one line of what an exception of an application has left, its stack apart. */
void say_frame(const char *name, const struct frame *frame, u64 rip, u64 rsp, u64 cr2);

/* One file each. */
void set_trap(u8 vector, u8 flags);
#define DPL3 3
void test_traps(void);
void test_user(void);
void test_descriptors(void);
void test_vcpus(void);
void test_privileged(void);
void test_events(void);
void test_grants(void);
void test_peer(u16 peer);
