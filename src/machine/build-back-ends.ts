/** What domain 0 finds at its boot of the domains that it serves: where their rings are, and what its toolstack has written into xenstore for them. */
import { BACK_END } from '../pcpu/model/back-end-records.js';
import { saveStore } from '../pcpu/model/back-ends.js';
import type { ProcessorCore } from '../pcpu/processor.js';
import { PAGE_SIZE } from '../shared/image.js';
import { dom0Nodes, guestNodes, makeNodes } from '../xenstore/guest-nodes.js';
import { serve } from '../xenstore/server.js';
import { newState } from '../xenstore/state.js';
import { strings, XS_INTRODUCE } from '../xenstore/wire.js';
import { type GuestConfig, mostVcpus } from './config.js';
import type { KernelRings } from './load-kernel.js';

export interface ServedDomain {
  readonly d: number;
  readonly guest: GuestConfig;
  readonly rings: KernelRings;
}

const KIB_PER_MIB = 1024;

/** A name for tools, which have no other than its number. */
const uuidOf = (d: number): string => `00000000-0000-0000-0000-${d.toString(16).padStart(12, '0')}`;

export function buildBackEnds({ hv }: ProcessorCore, domains: readonly ServedDomain[], dom0: GuestConfig): void {
  const { image, domain } = hv.context;
  const back = image.table(BACK_END);
  const frames = image.region('frames').base;
  const mfnOf = (page: number): number => (page - frames) / PAGE_SIZE;
  const state = newState();
  makeNodes(state, dom0Nodes(dom0.memoryMib * KIB_PER_MIB));
  for (const [b, { d, guest, rings }] of domains.entries()) {
    back.setDomain(b, d);
    back.setConsole(b, rings.console.page);
    back.setXenstore(b, rings.xenstore.page);
    back.setConsoleRemote(b, rings.console.port);
    back.setXenstoreRemote(b, rings.xenstore.port);
    const domid = domain.id(d);
    const [store, console] = [rings.xenstore, rings.console].map(({ page, port }) => ({ ref: mfnOf(page), port }));
    const payload = strings(`${domid}`, `${store!.ref}`, `${store!.port}`);
    serve(state, 0, { type: XS_INTRODUCE, reqId: 0, txId: 0, payload });
    makeNodes(
      state,
      guestNodes({
        ...{ domid, name: guest.name, uuid: uuidOf(d), maxVcpus: mostVcpus(guest), vcpus: guest.vcpus },
        maxMemKib: (guest.maxMemoryMib ?? guest.memoryMib) * KIB_PER_MIB,
        targetMemKib: guest.memoryMib * KIB_PER_MIB,
        ...{ store: store!, console: console! },
      }),
    );
  }
  saveStore(image, state);
}
