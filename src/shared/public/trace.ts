/**
 * Trace events (`trace.h`), as `xentrace` writes and `xenalyze` reads them, for scheduling, PV entries and the buffer's
 * own bookkeeping. An event number has a class in bits 27:16, a subclass in 15:12, and the event in 11:0.
 */

import { layout } from './layout.js';

export const TRACE_EXTRA_MAX = 7; // words of data in one record at most
export const TRACE_EXTRA_SHIFT = 28; // of the word count, in a record's first word
export const TRC_HD_CYCLE_FLAG = 0x8000_0000; // in a record's first word: a u64 TSC follows

export const TRC_CLS_SHIFT = 16;
export const TRC_SUBCLS_SHIFT = 12;

// Classes, with every subclass bit set: masks for the tools' event filter.
export const TRC_GEN = 0x1f000;
export const TRC_SCHED = 0x2f000;
export const TRC_DOM0OP = 0x4f000;
export const TRC_PV = 0x20f000;
export const TRC_ALL = 0xffff000;

// Subclasses.
export const TRC_SCHED_MIN = 0x21000; // runstate changes
export const TRC_SCHED_CLASS = 0x22000; // of one policy
export const TRC_SCHED_VERBOSE = 0x28000;
export const TRC_DOM0_DOMOPS = 0x41000;
export const TRC_PV_ENTRY = 0x201000;
export const TRC_PV_SUBCALL = 0x202000;

// General.
export const TRC_LOST_RECORDS = 126977;
export const TRC_TRACE_WRAP_BUFFER = 126978;
export const TRC_TRACE_CPU_CHANGE = 126979;

// Scheduling, whatever the policy.
export const TRC_SCHED_RUNSTATE_CHANGE = 135169; // plus old state << 8, new state << 4
export const TRC_SCHED_CONTINUE_RUNNING = 135170;
export const TRC_SCHED_DOM_ADD = 163841;
export const TRC_SCHED_DOM_REM = 163842;
export const TRC_SCHED_SLEEP = 163843;
export const TRC_SCHED_WAKE = 163844;
export const TRC_SCHED_YIELD = 163845;
export const TRC_SCHED_BLOCK = 163846;
export const TRC_SCHED_SHUTDOWN = 163847;
export const TRC_SCHED_CTL = 163848;
export const TRC_SCHED_ADJDOM = 163849;
export const TRC_SCHED_SWITCH = 163850;
export const TRC_SCHED_S_TIMER_FN = 163851;
export const TRC_SCHED_T_TIMER_FN = 163852;
export const TRC_SCHED_DOM_TIMER_FN = 163853;
export const TRC_SCHED_SWITCH_INFPREV = 163854;
export const TRC_SCHED_SWITCH_INFNEXT = 163855;
export const TRC_SCHED_SHUTDOWN_CODE = 163856;
export const TRC_SCHED_SWITCH_INFCONT = 163857;

// Events of one policy: TRC_SCHED_CLASS | policy << TRC_SCHED_ID_SHIFT | event (9 bits).
export const TRC_SCHED_ID_BITS = 3;
export const TRC_SCHED_ID_SHIFT = 9;
export const TRC_SCHED_CSCHED = 0;
export const TRC_SCHED_CSCHED2 = 1;
export const TRC_SCHED_ARINC653 = 3;
export const TRC_SCHED_RTDS = 4;
export const TRC_SCHED_SNULL = 5;

// The credit policy's events. The header leaves these to the policy; xenalyze has the same list.
export const TRC_CSCHED_SCHED_TASKLET = 139265;
export const TRC_CSCHED_ACCOUNT_START = 139266;
export const TRC_CSCHED_ACCOUNT_STOP = 139267;
export const TRC_CSCHED_STOLEN_UNIT = 139268;
export const TRC_CSCHED_PICKED_CPU = 139269;
export const TRC_CSCHED_TICKLE = 139270;
export const TRC_CSCHED_BOOST_START = 139271;
export const TRC_CSCHED_BOOST_END = 139272;
export const TRC_CSCHED_SCHEDULE = 139273;
export const TRC_CSCHED_RATELIMIT = 139274;
export const TRC_CSCHED_STEAL_CHECK = 139275;

// Domains.
export const TRC_DOM0_DOM_ADD = 266241;
export const TRC_DOM0_DOM_REM = 266242;

// Entries from PV guests.
export const TRC_PV_HYPERCALL = 2101249;
export const TRC_PV_TRAP = 2101251;
export const TRC_PV_PAGE_FAULT = 2101252;
export const TRC_PV_FORCED_INVALID_OP = 2101253;
export const TRC_PV_EMULATE_PRIVOP = 2101254;
export const TRC_PV_EMULATE_4GB = 2101255;
export const TRC_PV_MATH_STATE_RESTORE = 2101256;
export const TRC_PV_PAGING_FIXUP = 2101257;
export const TRC_PV_GDT_LDT_MAPPING_FAULT = 2101258;
export const TRC_PV_PTWR_EMULATION = 2101259;
export const TRC_PV_PTWR_EMULATION_PAE = 2101260;
export const TRC_PV_HYPERCALL_V2 = 2101261;
export const TRC_PV_HYPERCALL_SUBCALL = 2105358;
export const TRC_PV_HYPERCALL_V2_ARG_MASK = 0xfff00000;

/** Added to an event whose addresses are 64 bits wide. */
export const TRC_64_FLAG = 0x100;

/** Head of a per-pCPU buffer, before the records: u32 offsets, modulo twice the buffer's size. */
export const t_buf = layout('struct t_buf', [8, 8], {
  cons: [0, 0],
  prod: [4, 4],
});
