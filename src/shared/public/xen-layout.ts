/**
 * Structures of `xen.h`. Guest pointers, `unsigned long` and frame numbers are as wide as the guest's word, and a u64
 * is aligned to 4 bytes on i386: hence the differing columns.
 */

import { layout } from './layout.js';

/** u64 machine address with the command in bits 1:0, u64 new value. */
export const mmu_update = layout('struct mmu_update', [16, 16], {
  ptr: [0, 0],
  val: [8, 8],
});

/** u32 command; a frame number or linear address; a count, a pointer to a VCPU bitmap or a frame number. */
export const mmuext_op = layout('struct mmuext_op', [12, 24], {
  cmd: [0, 0],
  'arg1.mfn': [4, 8],
  'arg1.linear_addr': [4, 8],
  'arg2.nr_ents': [8, 16],
  'arg2.vcpumask': [8, 16],
  'arg2.src_mfn': [8, 16],
});

/** Words: the hypercall's number, its result, and six arguments. */
export const multicall_entry = layout('struct multicall_entry', [32, 64], {
  op: [0, 0],
  result: [4, 8],
  args: [8, 16],
});

/** A VCPU's clock: now = system_time + (((tsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul >> 32), in ns. */
export const vcpu_time_info = layout('struct vcpu_time_info', [32, 32], {
  version: [0, 0], // u32, odd while Xen writes
  tsc_timestamp: [8, 8], // u64, TSC at the last update
  system_time: [16, 16], // u64, ns since boot at that TSC
  tsc_to_system_mul: [24, 24], // u32 fraction of 2^32
  tsc_shift: [28, 28], // s8, applied to the TSC difference before the multiplication
  flags: [29, 29], // u8, XEN_PVCLOCK_*
});

/** In shared_info, or wherever VCPUOP_register_vcpu_info put it. */
export const vcpu_info = layout('struct vcpu_info', [64, 64], {
  evtchn_upcall_pending: [0, 0], // u8
  evtchn_upcall_mask: [1, 1], // u8
  evtchn_pending_sel: [4, 8], // word: one bit for each word of shared_info.evtchn_pending
  'arch.cr2': [8, 16], // word, address of the last page fault
  time: [32, 32], // vcpu_time_info
});

/** One page per domain, mapped by the guest. */
export const shared_info = layout('struct shared_info', [2344, 3136], {
  vcpu_info: [0, 0], // [XEN_LEGACY_MAX_VCPUS]
  evtchn_pending: [2048, 2048], // words, as many as a word has bits
  evtchn_mask: [2176, 2560], // likewise
  wc_version: [2304, 3072], // u32, odd while Xen writes the wall clock
  wc_sec: [2308, 3076], // u32, low half of the seconds of UTC at system time 0
  wc_nsec: [2312, 3080], // u32
  wc_sec_hi: [null, 3084], // u32, high half of the seconds
  arch: [2316, 3088], // arch_shared_info
  'arch.wc_sec_hi': [2340, null], // u32, where i386 keeps that half: there was no room for it before `arch`
});

/** The page that the domain builder hands to a new guest. Words, but for text and u32 as noted. */
export const start_info = layout('struct start_info', [1112, 1168], {
  magic: [0, 0], // char[32], such as `xen-3.0-x86_32p`
  nr_pages: [32, 32],
  shared_info: [36, 40], // machine address
  flags: [40, 48], // u32, SIF_*
  store_mfn: [44, 56],
  store_evtchn: [48, 64], // u32
  'console.domU.mfn': [52, 72],
  'console.domU.evtchn': [56, 80], // u32
  'console.dom0.info_off': [52, 72], // u32
  'console.dom0.info_size': [56, 76], // u32
  pt_base: [60, 88],
  nr_pt_frames: [64, 96],
  mfn_list: [68, 104],
  mod_start: [72, 112],
  mod_len: [76, 120],
  cmd_line: [80, 128], // char[MAX_GUEST_CMDLINE]
  first_p2m_pfn: [1104, 1152],
  nr_p2m_frames: [1108, 1160],
});

/** With SIF_MULTIBOOT_MOD, what start_info.mod_start points to. u32 each. */
export const xen_multiboot_mod_list = layout('struct xen_multiboot_mod_list', [16, 16], {
  mod_start: [0, 0],
  mod_end: [4, 4],
  cmdline: [8, 8],
  pad: [12, 12],
});
