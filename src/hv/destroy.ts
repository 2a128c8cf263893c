/**
 * The end of a domain (Xen's domain_kill and complete_domain_destroy). At first it is dying: its VCPUs are told to leave their
 * pCPUs, and nothing will let them back. When the last one is off and its state saved, everything goes: timers, event channels with
 * their other ends, what the scheduler keeps, frames, records. For that all other workers stand still, between two turns: nobody
 * is in the middle of looking at anything of the domain's.
 */

import { HISTOGRAM_BYTES } from '../shared/histogram.js';
import { RUNSTATE_offline } from '../shared/public/vcpu.js';
import type { ConsoleRing } from './console-ring.js';
import type { HvContext } from './context.js';
import type { Deferred } from './deferred.js';
import type { Domains } from './domain.js';
import type { Frames, Kept } from './frames.js';
import type { Grants } from './grants/grants.js';
import type { ForeignFrames } from './mm/foreign.js';
import type { Irqs } from './pirq.js';
import type { Ports } from './ports.js';
import { DOMAIN, DOMAIN_STATE, NOBODY, VCPU, VPF_down, VPF_dying } from './records.js';
import type { Scheduler } from './schedule.js';
import type { Timers } from './timer.js';

export interface Destruction {
  /** Begins the end of domain d; that of one that is dying goes on by itself. */
  destroy(d: number): void;
  /** A VCPU of a dying domain has left its pCPU. With no lock held. */
  hasLeft(): void;
}

export interface DestructionParts {
  readonly sched: Scheduler;
  readonly timers: Timers;
  readonly ports: Ports;
  readonly domains: Domains;
  readonly irqs: Irqs;
  readonly frames: Frames;
  readonly grants: Pick<Grants, 'mappings'>;
  readonly foreign: Pick<ForeignFrames, 'end'>;
  readonly console: ConsoleRing;
  readonly deferred: Deferred;
}

/** Frames that are kept for several reasons are kept once, for all of them. */
function allKept(...lists: readonly (readonly Kept[])[]): readonly Kept[] {
  const kept = new Map<number, Kept>();
  for (const each of lists.flat())
    kept.set(each.mfn, { ...each, references: each.references + (kept.get(each.mfn)?.references ?? 0) });
  return [...kept.values()];
}

export function destruction(hv: HvContext, parts: DestructionParts): Destruction {
  const { sched, timers, ports, domains, irqs, frames, grants, foreign, console, deferred } = parts;
  const { image, domain, vcpu, queues, shape } = hv;
  const { u8 } = image;

  const vcpusOf = (d: number): number[] =>
    Array.from({ length: domain.maxVcpus(d) }, (_, k) => domain.firstVcpu(d) + k);

  function clearRecord(region: string, size: number, n: number): void {
    const from = image.region(region).base + n * size;
    u8.fill(0, from, from + size);
  }

  /** Everything of domain d, whose VCPUs are all off, is given back. */
  function release(d: number): void {
    const id = domain.id(d);
    const vcpus = vcpusOf(d);
    for (const v of vcpus) timers.forget(v);
    ports.closeAll(d);
    irqs.release(d);
    for (const v of vcpus) {
      sched.remove(v);
      clearRecord('vcpu', VCPU.size, v);
      vcpu.setDomain(v, NOBODY);
      vcpu.setPauseFlags(v, VPF_down);
      vcpu.setRunstate(v, RUNSTATE_offline);
    }
    frames.releaseAll(d, allKept(grants.mappings.end(d), foreign.end(d)));
    clearRecord('domain', DOMAIN.size, d);
    clearRecord('wake-latency', HISTOGRAM_BYTES, d);
    console.print(`d${id}: destroyed`);
    domains.tellDomain0();
  }

  function releaseAll(): void {
    for (let d = 0; d < shape.domains; d++) {
      if (domain.state(d) !== DOMAIN_STATE.dying) continue;
      if (vcpusOf(d).every((v) => queues.entry.isRunning(v) === 0)) release(d);
    }
  }

  return {
    destroy(d) {
      if (domain.state(d) !== DOMAIN_STATE.alive) return;
      domain.setState(d, DOMAIN_STATE.dying);
      for (const v of vcpusOf(d)) sched.sleep(v, VPF_dying);
      deferred.alone(releaseAll);
    },
    hasLeft: () => deferred.later(releaseAll),
  };
}
