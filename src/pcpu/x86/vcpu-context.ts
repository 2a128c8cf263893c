/**
 * What a VCPU begins with, as its domain says by VCPUOP_initialise (xen/arch/x86/domain.c: arch_set_info_guest; arch-x86/xen.h:
 * vcpu_guest_context): registers, tables and where its kernel is entered.
 */
import type { Hypervisor } from '../../hv/hypervisor.js';
import { DESCRIPTORS_PER_PAGE, MOST_LDT_ENTRIES } from '../../hv/mm/descriptors.js';
import { type Image, PAGE_SIZE } from '../../shared/image.js';
import {
  FIRST_RESERVED_GDT_ENTRY,
  FLAT_KERNEL_CS,
  FLAT_KERNEL_SS,
  VGCF_failsafe_disables_events,
  VGCF_in_kernel,
  VGCF_syscall_disables_events,
} from '../../shared/public/arch-x86.js';
import { cpu_user_regs, trap_info, vcpu_guest_context } from '../../shared/public/arch-x86-layout.js';
import { CALLBACKTYPE_event, CALLBACKTYPE_failsafe, CALLBACKTYPE_syscall } from '../../shared/public/callback.js';
import { XEN_EINVAL } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import type { X86Core } from './core.js';
import { isCanonical } from './emulated.js';
import type { Entries } from './entries.js';
import { resetState } from './reset.js';
import { writeRflags } from './rflags.js';
import { RPL } from './segment-descriptors.js';
import { FLAG, GPR_NAMES, LOADED_BY_IRET, SEGMENT, ST, STATE_BYTES } from './state.js';
import { CR0 } from './system-registers.js';
import { setTs } from './task-switched.js';

const VECTORS = 256;
const IOPL_SHIFT = 12;
const CONTEXT = offsetsOf(vcpu_guest_context, 64);
const TRAP = offsetsOf(trap_info, 64);
const REGS = offsetsOf(cpu_user_regs, 64);

/** @returns begins VCPU v with the context at an image address: 0, or −EINVAL */
export function vcpuContext(
  image: Image,
  hv: Hypervisor,
  core: X86Core,
  entry: Entries,
  blockOf: (v: number) => number,
): (v: number, context: number) => number {
  const { vcpu } = hv.context;
  const view = new DataView(image.buffer);
  const u64 = (at: number): bigint => view.getBigUint64(at, true);

  /** A frame number, with its uppermost bits, if it had any, in the lowest (arch-x86/xen.h: xen_pfn_to_cr3). */
  function tableOf(context: number, n: number): number {
    const cr3 = u64(context + CONTEXT.ctrlreg + 8 * n);
    return (cr3 & 0xfffn) === 0n && cr3 >> 44n === 0n ? Number(cr3 >> 12n) : Number.POSITIVE_INFINITY;
  }

  function areAddresses(context: number): boolean {
    const fields = [
      ...[CONTEXT.kernel_sp, CONTEXT.fs_base, CONTEXT.gs_base_kernel, CONTEXT.gs_base_user, CONTEXT.ldt_base],
      ...[CONTEXT.event_callback_eip, CONTEXT.syscall_callback_eip, CONTEXT.failsafe_callback_eip],
      ...[CONTEXT.user_regs + REGS.rip, CONTEXT.user_regs + REGS.rsp],
      ...Array.from({ length: VECTORS }, (_, n) => CONTEXT.trap_ctxt + n * sizeOf(trap_info, 64) + TRAP.address),
    ];
    return fields.every((at) => isCanonical(u64(context + at)));
  }

  /** What its tables are, which are counted. */
  function setTables(v: number, context: number, gdtEntries: number): number {
    const frames = Array.from({ length: Math.ceil(gdtEntries / DESCRIPTORS_PER_PAGE) }, (_, n) =>
      Number(u64(context + CONTEXT.gdt_frames + 8 * n)),
    );
    return hv.mm.locked(vcpu.domain(v), () => {
      const kernel = hv.mm.setTable(v, tableOf(context, 3), 'kernel');
      if (kernel !== 0) return kernel;
      const user = hv.mm.setTable(v, tableOf(context, 1), 'user');
      return user === 0 ? hv.mm.descriptors.setGdt(v, frames, gdtEntries) : user;
    });
  }

  function setEntries(v: number, context: number, flags: number): void {
    for (let n = 0; n < VECTORS; n++) {
      const from = context + CONTEXT.trap_ctxt + n * sizeOf(trap_info, 64);
      entry.setTrap(v, n, image.u8[from + TRAP.flags]!, u64(from + TRAP.address));
    }
    const set = (type: number, at: number, masks: boolean): void =>
      entry.setCallback(v, type, u64(context + at), masks);
    set(CALLBACKTYPE_event, CONTEXT.event_callback_eip, true);
    set(CALLBACKTYPE_failsafe, CONTEXT.failsafe_callback_eip, (flags & VGCF_failsafe_disables_events) !== 0);
    set(CALLBACKTYPE_syscall, CONTEXT.syscall_callback_eip, (flags & VGCF_syscall_disables_events) !== 0);
    entry.setKernelStack(v, u64(context + CONTEXT.kernel_sp));
    entry.setLdt(v, u64(context + CONTEXT.ldt_base), Number(u64(context + CONTEXT.ldt_ents)));
    entry.setIopl(v, Number((u64(context + CONTEXT.user_regs + REGS.rflags) >> BigInt(IOPL_SHIFT)) & 3n));
  }

  /** Selectors, where they can be loaded: else flat ones, and null. FS and GS get the bases that the context says in any case. */
  function setSelectors(v: number, context: number): void {
    const st = blockOf(v);
    const selector = (at: number): number => view.getUint16(context + CONTEXT.user_regs + at, true);
    const [cs, ss] = [selector(REGS.cs) | RPL, selector(REGS.ss) | RPL];
    const isUsable = core.segments.mayReturnTo(st, cs, ss);
    view.setUint16(st + ST.selectors + 2 * SEGMENT.CS, isUsable ? cs : FLAT_KERNEL_CS[64], true);
    view.setUint16(st + ST.selectors + 2 * SEGMENT.SS, isUsable ? ss : FLAT_KERNEL_SS[64], true);
    for (const [n, at] of [
      [SEGMENT.DS, REGS.ds],
      [SEGMENT.ES, REGS.es],
      [SEGMENT.FS, REGS.fs],
      [SEGMENT.GS, REGS.gs],
    ] as const)
      core.segments.loadData(st, n, selector(at), undefined);
  }

  return (v, context) => {
    const st = blockOf(v);
    const flags = Number(u64(context + CONTEXT.flags) & 0xffff_ffffn);
    const isUser = (flags & VGCF_in_kernel) === 0;
    const [ldtBase, ldtEntries] = [u64(context + CONTEXT.ldt_base), u64(context + CONTEXT.ldt_ents)];
    const gdtEntries = u64(context + CONTEXT.gdt_ents);
    const isPossible =
      areAddresses(context) &&
      (ldtBase & BigInt(PAGE_SIZE - 1)) === 0n &&
      ldtEntries <= BigInt(MOST_LDT_ENTRIES) &&
      gdtEntries <= BigInt(FIRST_RESERVED_GDT_ENTRY) &&
      // Applications need page tables.
      !(isUser && tableOf(context, 1) === 0);
    if (!isPossible || setTables(v, context, Number(gdtEntries)) !== 0) return -XEN_EINVAL;
    const user = REGS as Readonly<Record<string, number>>;
    const from = context + CONTEXT.user_regs;
    image.u8.fill(0, st, st + STATE_BYTES);
    entry.made(v);
    for (const [n, name] of GPR_NAMES.entries()) view.setBigUint64(st + 8 * n, u64(from + user[name]!), true);
    resetState(view, st);
    view.setBigUint64(st + ST.rip, u64(from + REGS.rip), true);
    const rflags = Number(BigInt.asIntN(32, u64(from + REGS.rflags)));
    writeRflags(view, st, (rflags & LOADED_BY_IRET) | FLAG.IF);
    view.setInt32(st + ST.isUser, isUser ? 1 : 0, true);
    view.setBigUint64(st + ST.fsBase, u64(context + CONTEXT.fs_base), true);
    view.setBigUint64(st + (isUser ? ST.userGsBase : ST.gsBase), u64(context + CONTEXT.gs_base_kernel), true);
    view.setBigUint64(st + (isUser ? ST.gsBase : ST.userGsBase), u64(context + CONTEXT.gs_base_user), true);
    setTs(image, st, (Number(u64(context + CONTEXT.ctrlreg) & 0xffn) & CR0.TS) !== 0);
    for (let n = 0; n < 8; n++) core.setDebugRegister(st, n, u64(context + CONTEXT.debugreg + 8 * n));
    view.setInt32(st + ST.isPresent, 1, true);
    setEntries(v, context, flags);
    setSelectors(v, context);
    return 0;
  };
}
