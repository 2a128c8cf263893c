/* Kernels of several VCPUs, and hypercalls by themselves. */
#pragma once
#include "guest.h"

typedef unsigned long u64;

/* xen.S: numbers and registers as in xen-x86_64.h. */
long hypercall(long nr, long first, long second, long third);
/* xen.c: Xen's start_info. */
extern const u8 *start_info;
/* xen.S: Xen's shared info page, where it is mapped. */
extern u8 shared_info[4096];

/* VCPUs 1 to `vcpus` - 1 begin at `entry`, which is given their number and does not return. */
void bring_up(u32 vcpus, void (*entry)(u64 id));
void go_down(u64 id);
