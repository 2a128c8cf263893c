/**
 * The hypervisor's own domain builder, for kernels that are there before time 0, whether there is a domain 0 or not (Xen's dom0_build.c, and its
 * dom0less domains): frames of a 64-bit paravirtual kernel are filled, and its VCPU 0 begins. Its page tables are looked at as any are.
 * What domain 0's toolstack builds is in pcpu/model/domain-builder.ts.
 */
import { EVENT_TABLE_LOCK } from '../hv/context.js';
import { writeHypercallPage } from '../hv/hypercall-page.js';
import { type KernelPlan, kernelPages, virtualOf } from '../pcpu/model/kernel-plan.js';
import type { ProcessorCore } from '../pcpu/processor.js';
import { resetState } from '../pcpu/x86/reset.js';
import { GPR_NAMES, ST, STATE_BYTES } from '../pcpu/x86/state.js';
import { PAGE_SIZE } from '../shared/image.js';
import { EVTCHNSTAT_unbound } from '../shared/public/event-channel.js';

/** A page that a domain shares with domain 0, by its image address, and the port that belongs to it. */
export interface KernelRing {
  readonly page: number;
  readonly port: number;
}

export interface KernelRings {
  readonly console: KernelRing;
  readonly xenstore: KernelRing;
}

/** Fills the frames of domain d and the registers of its VCPU 0. */
export function loadKernel({ hv }: ProcessorCore, d: number, plan: KernelPlan): KernelRings {
  const { image, domain } = hv.context;
  const { u8, i32 } = image;
  const view = new DataView(image.buffer);
  const sharedInfo = (domain.frames(d) - image.region('frames').base) / PAGE_SIZE;
  const mfnOf = (pfn: number): number => sharedInfo + 1 + pfn;
  const frame = (pfn: number): number => hv.mm.tables.frame(mfnOf(pfn));
  const { layout } = plan;

  /** A port that domain 0 may bind to. */
  function port(): number {
    const free = hv.events.findFree(d);
    const self = hv.context.machine.turnOf(hv.context.me);
    hv.context.locks.acquire(EVENT_TABLE_LOCK, self);
    hv.ports.set(d, free, EVTCHNSTAT_unbound, 0, 0, 0);
    hv.context.locks.release(EVENT_TABLE_LOCK, self);
    return free;
  }

  hv.mm.begin(d);
  for (let pfn = 0; pfn < plan.pages; pfn++) hv.mm.setPfn(mfnOf(pfn), pfn);
  const place = { mfnOf, sharedInfo, xenstorePort: port(), consolePort: port() };
  for (const [pfn, write] of kernelPages(plan, place)) write(view, frame(pfn));
  if (plan.hypercallPage !== undefined) writeHypercallPage(u8, frame(plan.hypercallPage));
  // Others write them: they are never page tables.
  for (const pfn of [layout.xenstore, layout.console]) hv.mm.tables.types.share(mfnOf(pfn));

  const v = domain.firstVcpu(d);
  const st = image.region('x86-vcpu').base + v * STATE_BYTES;
  const setGpr = (name: string, x: bigint): void =>
    view.setBigUint64(st + ST.gpr + 8 * GPR_NAMES.indexOf(name), x, true);
  setGpr('rsp', virtualOf(plan, layout.stack + 1));
  setGpr('rsi', virtualOf(plan, layout.startInfo));
  view.setBigUint64(st + ST.rip, plan.entry, true);
  resetState(view, st);
  i32[(st + ST.isPresent) >> 2] = 1;
  const rc = hv.mm.locked(d, () => hv.mm.setTable(v, mfnOf(layout.tables[0]!.pfn), 'kernel'));
  if (rc !== 0) throw new Error(`the page tables of domain ${d} were refused: ${rc}`);
  return {
    console: { page: frame(layout.console), port: place.consolePort },
    xenstore: { page: frame(layout.xenstore), port: place.xenstorePort },
  };
}
