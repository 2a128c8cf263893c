/* A kernel for paravirtual 64-bit guests that does one thing many times, for others to measure how long that takes. */
#pragma once
#include "../test-kernel/kernel.h"

#define HYPERVISOR_mmu_update 1
#define HYPERVISOR_update_va_mapping 14
#define HYPERVISOR_mmuext_op 26
#define DOMID_SELF 0x7ff0
#define PAGE 4096ul
#define PRESENT_WRITABLE 0x63ul
#define PRESENT_READ_ONLY 0x61ul

/* entries.S */
extern const u8 undefined_entry[], fault_entry[], upcall_entry[];
long hypercall4(long nr, long first, long second, long third, long fourth);
void undefined(u64 n);
void fault(u64 address, u64 n);

/* Ends with a line that says what went wrong. */
void must(const char *what, long result);

/* tables.c: two page tables of level 4 with the same entries, and what has three of them */
extern u64 roots[2];
void prepare_tables(void);
void switch_tables(u64 n);
void update_entries(u64 n);
void update_mappings(u64 n);

/* application.c */
void prepare_application(void);
void system_calls(u64 n);

/* other.c */
void prepare_other(void);
void send_to_running(u64 n);
void send_to_blocked(u64 n);
