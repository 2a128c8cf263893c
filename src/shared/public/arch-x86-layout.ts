/**
 * Structures of the x86 ABI (`arch-x86/xen.h`, `xen-x86_32.h`, `xen-x86_64.h`). Members are words (`unsigned long`)
 * unless noted; a member that one ABI alone has is `null` in the other's column.
 */

import { layout } from './layout.js';

/** Address of the last page fault. */
export const arch_vcpu_info = layout('struct arch_vcpu_info', [24, 16], {
  cr2: [0, 0],
});

/** What shared_info holds of x86 alone: where the guest keeps its table of its own frames, and NMI reasons. */
export const arch_shared_info = layout('struct arch_shared_info', [28, 48], {
  max_pfn: [0, 0], // last frame that pfn_to_mfn_frame_list_list covers
  pfn_to_mfn_frame_list_list: [4, 8],
  nmi_reason: [8, 16],
  p2m_cr3: [12, 24],
  p2m_vaddr: [16, 32],
  p2m_generation: [20, 40],
  wc_sec_hi: [24, null], // u32
});

/** One entry of set_trap_table: u8 vector, u8 flags (1:0 DPL, 2 masks events), u16 code selector, entry point. */
export const trap_info = layout('struct trap_info', [8, 16], {
  vector: [0, 0],
  flags: [1, 1],
  cs: [2, 2],
  address: [4, 8],
});

/** General registers: u32 on i386, u64 on x86-64. Selectors u16, saved_upcall_mask u8. */
export const cpu_user_regs = layout('struct cpu_user_regs', [68, 200], {
  ebx: [0, null],
  ecx: [4, null],
  edx: [8, null],
  esi: [12, null],
  edi: [16, null],
  ebp: [20, null],
  eax: [24, null],
  r15: [null, 0],
  r14: [null, 8],
  r13: [null, 16],
  r12: [null, 24],
  rbp: [null, 32],
  rbx: [null, 40],
  r11: [null, 48],
  r10: [null, 56],
  r9: [null, 64],
  r8: [null, 72],
  rax: [null, 80],
  rcx: [null, 88],
  rdx: [null, 96],
  rsi: [null, 104],
  rdi: [null, 112],
  error_code: [28, 120], // u16 on i386, u32 on x86-64
  entry_vector: [30, 124], // likewise
  eip: [32, null],
  rip: [null, 128],
  cs: [36, 136],
  saved_upcall_mask: [38, 140], // flags.IF is its negation
  eflags: [40, null],
  esp: [44, null],
  rflags: [null, 144],
  rsp: [null, 152],
  ss: [48, 160],
  es: [52, 168],
  ds: [56, 176],
  fs: [60, 184],
  gs: [64, 192],
});

/** Everything that VCPUOP_initialise and set/getvcpucontext load into a VCPU. */
export const vcpu_guest_context = layout('struct vcpu_guest_context', [2800, 5168], {
  fpu_ctxt: [0, 0], // char[512]
  flags: [512, 512], // VGCF_*
  user_regs: [516, 520], // cpu_user_regs
  trap_ctxt: [584, 720], // trap_info[256]
  ldt_base: [2632, 4816],
  ldt_ents: [2636, 4824],
  gdt_frames: [2640, 4832], // [16]
  gdt_ents: [2704, 4960],
  kernel_ss: [2708, 4968],
  kernel_sp: [2712, 4976],
  ctrlreg: [2716, 4984], // [8]
  debugreg: [2748, 5048], // [8]
  event_callback_cs: [2780, null],
  event_callback_eip: [2784, 5112],
  failsafe_callback_cs: [2788, null],
  failsafe_callback_eip: [2792, 5120],
  syscall_callback_eip: [null, 5128],
  vm_assist: [2796, 5136],
  fs_base: [null, 5144],
  gs_base_kernel: [null, 5152],
  gs_base_user: [null, 5160],
});

/** i386: a far pointer of two words, `cs` then `eip`. x86-64: the address itself. */
export const xen_callback_t = layout('xen_callback_t', [8, 8], {
  cs: [0, null],
  eip: [4, null],
});
