/** What all who fill or read a vcpu_guest_context (arch-x86/xen.h) have to find in it. */
import { cpu_user_regs, vcpu_guest_context } from './public/arch-x86-layout.js';
import { offsetsOf, type Width } from './public/layout.js';

/** Where a VCPU's first instruction stands in its vcpu_guest_context, bytes. */
export function entryPointOffset(width: Width): number {
  return width === 64
    ? offsetsOf(vcpu_guest_context, 64).user_regs + offsetsOf(cpu_user_regs, 64).rip
    : offsetsOf(vcpu_guest_context, 32).user_regs + offsetsOf(cpu_user_regs, 32).eip;
}
