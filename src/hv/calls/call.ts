/** What a hypercall handler is, and the parts of the hypervisor it may use. */

import type { Affinities } from '../affinity.js';
import type { ConsoleRing } from '../console-ring.js';
import type { HvContext } from '../context.js';
import type { Cpupools } from '../cpupool.js';
import type { Deferred } from '../deferred.js';
import type { Destruction } from '../destroy.js';
import type { Domains } from '../domain.js';
import type { EventChannels } from '../event-channel.js';
import type { Frames } from '../frames.js';
import type { Grants } from '../grants/grants.js';
import type { GuestConsoles } from '../guest-console.js';
import type { GuestMemory } from '../guest-memory.js';
import type { Hotplug } from '../hotplug.js';
import type { ForeignFrames } from '../mm/foreign.js';
import type { MachineMemory } from '../mm/memory.js';
import type { Irqs } from '../pirq.js';
import type { Ports } from '../ports.js';
import type { Runstates } from '../runstate.js';
import type { Scheduler } from '../schedule.js';
import type { Separation } from '../separation.js';
import type { Smp } from '../smp.js';
import type { TimeKeeping } from '../time.js';
import type { TimeCheck } from '../time-check.js';
import type { Timers } from '../timer.js';
import type { Work } from './work.js';

/**
 * Where the kernel of a VCPU is entered, as the processor keeps it that enters it. Modelled kernels take no exceptions: of them only the
 * event callback is ever used, which is in the VCPU's record.
 */
export interface GuestEntries {
  /** @param flags trap_info's */
  setTrap(v: number, vector: number, flags: number, address: bigint): void;
  clearTraps(v: number): void;
  /** @param type a CALLBACKTYPE */
  setCallback(v: number, type: number, address: bigint, masksEvents: boolean): void;
  /** Where entries from applications begin. Their selector is always that of the flat segment. */
  setKernelStack(v: number, sp: bigint): void;
  /** The base of a segment of v's. @param which a SEGBASE; of the last, `base` is a selector */
  setSegmentBase(v: number, which: number, base: bigint): void;
  /** CR0.TS: the next use of the x87 and of xmm registers is #NM. */
  setTaskSwitched(v: number, isSet: boolean): void;
  /** @returns 0, or −ENODEV: there is none of this number; −EPERM: it may not be so */
  setDebugRegister(v: number, n: number, x: bigint): number;
  debugRegister(v: number, n: number): bigint | undefined;
  setIopl(v: number, iopl: number): void;
  /** The local descriptor table of v: so many entries at an address. */
  setLdt(v: number, address: bigint, entries: number): void;
  /** HYPERVISOR_iret: all registers of v are those of its frame. @returns 0; or −EINVAL where v has none that this could be */
  iret(v: number): number;
}

/** Serves a hypercall of VCPU v (which runs on the pCPU whose turn it is); returns 0 or more, or a negated errno. */
export type Handler = (v: number) => number;

export interface CallParts {
  readonly context: HvContext;
  /** The observer of time, if there is one. */
  readonly check: TimeCheck | undefined;
  /** Free mode: what workers have to do with each other. */
  readonly separation: Separation;
  readonly smp: Smp;
  readonly memory: GuestMemory;
  readonly mm: MachineMemory;
  readonly grants: Grants;
  readonly foreign: ForeignFrames;
  /** VCPU v, whose hypercall this is, gets on so much later. */
  readonly stall: (v: number, ns: number) => void;
  readonly runstates: Runstates;
  readonly time: TimeKeeping;
  readonly timers: Timers;
  readonly sched: Scheduler;
  readonly events: EventChannels;
  readonly ports: Ports;
  readonly irqs: Irqs;
  readonly domains: Domains;
  readonly destruction: Destruction;
  readonly hotplug: Hotplug;
  readonly cpupools: Cpupools;
  readonly frames: Frames;
  readonly affinities: Affinities;
  readonly console: ConsoleRing;
  readonly consoles: GuestConsoles;
  /** Tells the processor what VCPU v begins with, a vcpu_guest_context at an image address: 0, or −EINVAL where it cannot. */
  readonly initialised: (v: number, context: number) => number;
  /** Where VCPUs' kernels are entered by the hypervisor. */
  readonly entries: GuestEntries;
  /** Forgets what pCPUs remember of VCPU v's page tables, of the page that holds an address or of all; on return none uses it any more. */
  readonly flushTlb: (v: number, page: bigint | undefined) => void;
  /** What is put off to the end of the turn. */
  readonly deferred: Deferred;
  /** What is put off within a hypercall. */
  readonly work: Work;
}

/** Guest pointer in argument k of VCPU v, translated; FAULT (0) when not all `bytes` are the domain's. */
export function pointer(parts: CallParts, v: number, k: number, bytes: number): number {
  const { regs, vcpu, domain } = parts.context;
  const d = vcpu.domain(v);
  return parts.memory.translate(d, regs.lo(v, k), domain.width(d) === 64 ? regs.hi(v, k) : 0, bytes);
}

export const address64 = (low: number, high: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
