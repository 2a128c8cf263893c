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
/* entries.S */
/* Of all vectors, and of the event callback behind them. */
extern const u64 entry_points[257];
#define EVENTS 256

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
#define HYPERVISOR_stack_switch 3
#define HYPERVISOR_console_io 18
#define HYPERVISOR_xen_version 17
#define HYPERVISOR_sched_op 29
#define HYPERVISOR_callback_op 30
#define HYPERVISOR_event_channel_op 32
#define HYPERVISOR_set_timer_op 15
#define HYPERVISOR_vcpu_op 24
#define HYPERVISOR_physdev_op 33
#define PHYSDEVOP_set_iopl 6
#define CONSOLEIO_write 0
#define SCHEDOP_block 1
#define SCHEDOP_shutdown 2
#define EVTCHNOP_bind_virq 1
#define EVTCHNOP_send 4
#define EVTCHNOP_bind_ipi 7
#define VCPUOP_initialise 0
#define VCPUOP_up 1
#define VCPUOP_stop_periodic_timer 7
#define VIRQ_TIMER 0
#define CALLBACKOP_register 0
#define CALLBACKTYPE_event 0
#define FLAT_KERNEL_CS 0xe033
#define FLAT_KERNEL_SS 0xe02b
#define EFLAGS_IF 0x200
#define START_INFO_SHARED_INFO 40
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

/* The frame of a virtual address: those are of the domain's memory, from 0 on. */
static inline u64 mfn_of(u64 address) { return (*(const u64 *const *)(start_info + START_INFO_MFN_LIST))[address >> 12]; }

/* text.c */
void put(char c);
void text(const char *s);
void hex(u64 x);
void number(u64 x);
u64 number_after(const char *where, const char *what, u64 otherwise);

/* time.c: ns */
u64 now(u32 vcpu);
void block_for(u32 vcpu, u64 ns);

/* One result: what was found is to be what was expected. */
void check(const char *what, u64 found, u64 expected);

/* traps.c, privileged.c, events.c, vcpus.c */
void test_traps(void);
void test_vcpus(void);
void test_privileged(void);
void test_events(void);
