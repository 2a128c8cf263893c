/* What is measured of single events, and what they need of the place they run in. */
#pragma once
#include "kernels.h"

/* Memory for them, at the same address everywhere: pages that may be dropped, and behind them one for code that is written. */
#define AREA 0x1000000ul
#define PAGES 512
#define CODE_PAGE (AREA + PAGES * 4096)

/* run(n): n events, a multiple of PAGES */
struct event { const char *name; u32 (*run)(u32 n); u32 n; int is_privileged; } __attribute__((aligned(32)));
extern const struct event events[];
extern const int nevents;

/* Takes the pages out of the page table; an access puts its page back in. */
void drop(void);
/* The TLB forgets all it knows, or a page. */
void flush(void);
void invalidate(ulong page);
