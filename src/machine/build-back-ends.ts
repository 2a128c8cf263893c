/**
 * What domain 0 finds at its boot of the domains that it serves: which there are, where the rings are of those that are there already, and
 * what its toolstack has written into xenstore.
 */
import { BACK_END } from '../pcpu/model/back-end-records.js';
import { introduce, saveStore } from '../pcpu/model/back-ends.js';
import type { KernelPlan } from '../pcpu/model/kernel-plan.js';
import type { ProcessorCore } from '../pcpu/processor.js';
import { PAGE_SIZE } from '../shared/image.js';
import { dom0Nodes, makeNodes } from '../xenstore/guest-nodes.js';
import { newState } from '../xenstore/state.js';
import type { GuestConfig } from './config.js';
import type { KernelRings } from './load-kernel.js';

export interface ServedDomain {
  readonly d: number;
  readonly plan: KernelPlan;
  /** Of one that is there. */
  readonly rings: KernelRings | undefined;
}

const KIB_PER_MIB = 1024;

export function buildBackEnds({ hv }: ProcessorCore, domains: readonly ServedDomain[], dom0: GuestConfig): void {
  const { image, domain } = hv.context;
  const back = image.table(BACK_END);
  const frames = image.region('frames').base;
  const state = newState();
  makeNodes(state, dom0Nodes(dom0.memoryMib * KIB_PER_MIB));
  for (const [b, { d, plan, rings }] of domains.entries()) {
    back.setDomain(b, d);
    if (rings === undefined) continue;
    back.setIsServed(b, 1);
    back.setDomid(b, domain.id(d));
    back.setConsole(b, rings.console.page);
    back.setXenstore(b, rings.xenstore.page);
    back.setConsoleRemote(b, rings.console.port);
    back.setXenstoreRemote(b, rings.xenstore.port);
    const [store, console] = [rings.xenstore, rings.console].map(({ page, port }) => ({
      ref: (page - frames) / PAGE_SIZE,
      port,
    }));
    introduce(state, { ...plan.guest, domid: domain.id(d), store: store!, console: console! });
  }
  saveStore(image, state);
}
