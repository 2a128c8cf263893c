/**
 * The domain builder of domain 0's toolstack for 64-bit paravirtual kernels (libxc's xg_dom), which does all it does by hypercalls: it fills
 * the domain's memory, of which it maps some frames at a time, pins its page tables, opens its ports, says where its VCPU 0 begins, and
 * tells those who serve it. The domain is there and paused; it has VCPUs and no memory.
 *
 * Memory is asked for in extents of 2 MiB as far as that certainly goes, then in pages, as libxc does. So the frames of a domain lie anywhere.
 */
import { FOREIGN_FIRST } from '../../hv/mm/records.js';
import { PAGE_SIZE } from '../../shared/image.js';
import { FLAT_KERNEL_CS, FLAT_KERNEL_SS, VGCF_in_kernel, VGCF_online } from '../../shared/public/arch-x86.js';
import { cpu_user_regs, vcpu_guest_context } from '../../shared/public/arch-x86-layout.js';
import * as D from '../../shared/public/domctl.js';
import { xen_domctl, xen_domctl_getdomaininfo } from '../../shared/public/domctl-layout.js';
import { XEN_EINVAL, XEN_ENOMEM } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import * as M from '../../shared/public/memory.js';
import * as X from '../../shared/public/xen.js';
import { mmuext_op } from '../../shared/public/xen-layout.js';
import { type BackEnds, RING_FRAMES } from './back-ends.js';
import { foreignFrames } from './foreign-frames.js';
import type { ArgumentArea, GuestHypercalls } from './hypercalls.js';
import { type KernelPlan, kernelPages, virtualOf } from './kernel-plan.js';
import type { ModelMemory } from './memory.js';

/** Frames that are mapped at a time, at the first numbers for foreign ones; those of rings are behind them. */
const BATCH = RING_FRAMES;
/** log2 of the frames of a large extent. */
const LARGE = 9;
const IF = 1 << 9;

/** Of the builder's area: an argument with its lists, a VCPU's context, the list of extents. */
const AREA = { argument: 0, context: PAGE_SIZE, extents: 3 * PAGE_SIZE } as const;

/** Bytes of domain 0's memory that it takes to build a domain of so many frames. */
export const builderBytes = (pages: number): number => AREA.extents + 8 * pages;

export interface DomainBuilder {
  /** Builds domain d by VCPU v of domain 0. @returns 0, or a negated errno */
  build(v: number, d: number): number;
}

export function domainBuilder(
  { hv, kd }: ModelMemory,
  calls: GuestHypercalls,
  backs: BackEnds,
  kernels: readonly (KernelPlan | undefined)[],
): DomainBuilder {
  const { image, domain } = hv.context;
  const view = new DataView(image.buffer);
  const foreign = foreignFrames(hv, calls);
  const DOMCTL = offsetsOf(xen_domctl, 64);
  const SHARED_INFO = DOMCTL['u.getdomaininfo'] + offsetsOf(xen_domctl_getdomaininfo, 64).shared_info_frame;
  const CONTEXT = offsetsOf(vcpu_guest_context, 64);
  const REGS = offsetsOf(cpu_user_regs, 64);

  /** Where a part of the area is: for the hypervisor, and for us. */
  const guestAt = (part: number): number => kd.buildArea(0) + part;
  const at = (part: number): number => domain.frames(0) + guestAt(part);
  const set64 = (where: number, x: number | bigint): void => view.setBigUint64(where, BigInt(x), true);

  /** An argument, from zeroes on. @returns its place in the image */
  function argument(bytes: number): number {
    image.u8.fill(0, at(AREA.argument), at(AREA.argument) + bytes);
    return at(AREA.argument);
  }

  const area = (): ArgumentArea => ({ at: at(AREA.argument), guest: guestAt(AREA.argument) });
  const domctl = (v: number, d: number, cmd: number, write?: (op: number) => void): number =>
    calls.domctl(v, cmd, domain.id(d), area(), write);

  /** Gives d its memory. @returns the machine frame of each of its frames; undefined: there is not so much */
  function populate(v: number, d: number, pages: number): ((pfn: number) => number) | undefined {
    // One less than there are: those of its frames that begin at a multiple of so many are not more for certain.
    const large = Math.max(0, Math.floor(pages / 2 ** LARGE) - 1);
    const inLarge = large * 2 ** LARGE;
    const F = offsetsOf(M.xen_memory_reservation, 64);
    const list = AREA.extents;
    const ask = (first: number, count: number, order: number, at8: number): boolean => {
      for (let n = 0; n < count; n++) set64(at(list) + 8 * (at8 + n), first + n * 2 ** order);
      const arg = argument(sizeOf(M.xen_memory_reservation, 64));
      set64(arg + F.extent_start, guestAt(list) + 8 * at8);
      set64(arg + F.nr_extents, count);
      view.setUint32(arg + F.extent_order, order, true);
      view.setUint16(arg + F.domid, domain.id(d), true);
      const cmd = M.XENMEM_populate_physmap;
      return calls.call(v, X.__HYPERVISOR_memory_op, cmd, guestAt(AREA.argument), 0, 0) === count;
    };
    if (large > 0 && !ask(0, large, LARGE, 0)) return undefined;
    if (!ask(inLarge, pages - inLarge, 0, large)) return undefined;
    const extent = (n: number): number => Number(view.getBigUint64(at(list) + 8 * n, true));
    return (pfn) => (pfn < inLarge ? extent(pfn >> LARGE) + (pfn & (2 ** LARGE - 1)) : extent(large + pfn - inLarge));
  }

  /** Writes all pages that are not zero. @returns 0, or a negated errno */
  function fill(v: number, d: number, plan: KernelPlan, place: Parameters<typeof kernelPages>[1]): number {
    const pages = [...kernelPages(plan, place)];
    for (let first = 0; first < pages.length; first += BATCH) {
      const batch = pages.slice(first, first + BATCH);
      const mfns = batch.map(([pfn]) => place.mfnOf(pfn));
      const rc = foreign.map(v, domain.id(d), FOREIGN_FIRST, mfns, area());
      if (rc === 0) for (const [n, [, write]] of batch.entries()) write(view, foreign.pageAt(FOREIGN_FIRST + n));
      foreign.unmap(v, FOREIGN_FIRST, batch.length, area());
      if (rc !== 0) return rc;
    }
    return 0;
  }

  /** Its page tables stay page tables. */
  function pin(v: number, d: number, mfn: number): number {
    const F = offsetsOf(mmuext_op, 64);
    const arg = argument(sizeOf(mmuext_op, 64));
    view.setUint32(arg + F.cmd, X.MMUEXT_PIN_L4_TABLE, true);
    set64(arg + F['arg1.mfn'], mfn);
    return calls.call(v, X.__HYPERVISOR_mmuext_op, guestAt(AREA.argument), 1, 0, domain.id(d));
  }

  /** VCPU 0 begins at the kernel's entry, with its start info in RSI. */
  function setContext(v: number, d: number, plan: KernelPlan, top: number): number {
    const { layout } = plan;
    const ctxt = at(AREA.context);
    image.u8.fill(0, ctxt, ctxt + sizeOf(vcpu_guest_context, 64));
    view.setUint32(ctxt + CONTEXT.flags, VGCF_in_kernel | VGCF_online, true);
    const regs = ctxt + CONTEXT.user_regs;
    set64(regs + REGS.rip, plan.entry);
    set64(regs + REGS.rsp, virtualOf(plan, layout.stack + 1));
    set64(regs + REGS.rsi, virtualOf(plan, layout.startInfo));
    set64(regs + REGS.rflags, IF);
    view.setUint16(regs + REGS.cs, FLAT_KERNEL_CS[64], true);
    view.setUint16(regs + REGS.ss, FLAT_KERNEL_SS[64], true);
    set64(ctxt + CONTEXT.kernel_sp, virtualOf(plan, layout.stack + 1));
    set64(ctxt + CONTEXT.kernel_ss, FLAT_KERNEL_SS[64]);
    set64(ctxt + CONTEXT.ctrlreg + 8 * 3, BigInt(top) << 12n);
    return domctl(v, d, D.XEN_DOMCTL_setvcpucontext, (op) => {
      view.setUint32(op + DOMCTL['u.vcpucontext.vcpu'], 0, true);
      set64(op + DOMCTL['u.vcpucontext.ctxt'], guestAt(AREA.context));
    });
  }

  return {
    build(v, d) {
      const plan = kernels[d];
      if (plan === undefined) return -XEN_EINVAL;
      const { layout } = plan;
      const rc = domctl(v, d, D.XEN_DOMCTL_getdomaininfo);
      if (rc < 0) return rc;
      const sharedInfo = Number(view.getBigUint64(at(AREA.argument) + SHARED_INFO, true));
      const mfnOf = populate(v, d, plan.pages);
      if (mfnOf === undefined) return -XEN_ENOMEM;
      const port = (): number => calls.allocUnbound(v, domain.id(0), domain.id(d));
      const [xenstorePort, consolePort] = [port(), port()];
      if (xenstorePort < 0 || consolePort < 0) return Math.min(xenstorePort, consolePort);
      const top = mfnOf(layout.tables[0]!.pfn);
      const steps: readonly (() => number)[] = [
        () => fill(v, d, plan, { mfnOf, sharedInfo, xenstorePort, consolePort }),
        () =>
          plan.hypercallPage === undefined
            ? 0
            : domctl(v, d, D.XEN_DOMCTL_hypercall_init, (op) =>
                set64(op + DOMCTL['u.hypercall_init.gmfn'], mfnOf(plan.hypercallPage!)),
              ),
        () => pin(v, d, top),
        () => setContext(v, d, plan, top),
        () =>
          backs.introduce(v, d, plan.guest, {
            console: { ref: mfnOf(layout.console), port: consolePort },
            store: { ref: mfnOf(layout.xenstore), port: xenstorePort },
          }),
      ];
      for (const step of steps) {
        const failed = step();
        if (failed < 0) return failed;
      }
      return 0;
    },
  };
}
