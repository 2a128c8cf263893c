/** Puts the hypervisor together. Every worker makes one over the shared image; all state is in the image. */
import type { Image } from '../shared/image.js';
import { affinities } from './affinity.js';
import type { CallParts, GuestEntries } from './calls/call.js';
import { type HypercallDispatch, hypercallDispatch } from './calls/table.js';
import { work } from './calls/work.js';
import { consoleRing } from './console-ring.js';
import { createContext, type HvParams } from './context.js';
import { type Cpupools, cpupools } from './cpupool.js';
import { deferred } from './deferred.js';
import { type Destruction, destruction } from './destroy.js';
import { CRASH, type Domains, domains } from './domain.js';
import { type EventChannels, eventChannels } from './event-channel.js';
import { frames } from './frames.js';
import { grants } from './grants/grants.js';
import { guestConsoles } from './guest-console.js';
import { guestMemory } from './guest-memory.js';
import { type Hotplug, hotplug } from './hotplug.js';
import { irqLines, timersOfLines } from './irq.js';
import { foreignFrames } from './mm/foreign.js';
import { machineMemory } from './mm/memory.js';
import { type Irqs, pirqsOf } from './pirq.js';
import { ports } from './ports.js';
import type { HvShape } from './records.js';
import { runstates } from './runstate.js';
import { type ContextSwitch, type Scheduler, scheduler } from './schedule.js';
import { separation } from './separation.js';
import { type Interconnect, smp } from './smp.js';
import { type TimeKeeping, timeKeeping } from './time.js';
import { timeCheck } from './time-check.js';
import { type Timers, timers } from './timer.js';

export interface Hypervisor extends CallParts {
  readonly hypercall: HypercallDispatch;
  readonly cpupools: Cpupools;
}

/** What the hypervisor needs of the processor it runs on. */
export interface Processor extends Interconnect {
  switchOut(v: number, p: number): void;
  switchIn(v: number, p: number): void;
  /** VCPU v is a domain's from now on, and has never run. */
  made(v: number): void;
  /** See CallParts. */
  initialise(v: number, context: number): number;
  /** The hypervisor is going to read or write memory of a guest, so many bytes at an image address. */
  readonly touched?: ((address: number, bytes: number) => void) | undefined;
  /** See CallParts. */
  flushTlb(v: number, page: bigint | undefined): void;
  /** VCPU v's kernel or its applications have another top-level page table: what is remembered of the last one goes. */
  switchedTable(v: number, of: 'kernel' | 'user'): void;
  /** See CallParts. */
  readonly entries: GuestEntries;
  /** The VCPU that runs on p gets on `ns` later. */
  stall(v: number, p: number, ns: number): void;
  /** Does something while no other worker takes a turn. */
  stopped<T>(act: () => T): T;
  /** The timer of device n fires on p. */
  deviceDue(n: number, p: number): void;
  /** Ordered mode, groups side by side: pCPU p's turns are worker w's from now on. While nobody takes turns. */
  moveTo(p: number, w: number): void;
  /** Whether the machine was ended from outside. */
  isEnded(): boolean;
}

/** @param self number of the worker that runs it */
export function createHypervisor(
  image: Image,
  shape: HvShape,
  params: HvParams,
  self: number,
  processor: Processor,
): Hypervisor {
  const context = createContext(image, shape, params, self, processor.isEnded);
  const check = params.checkTime ? timeCheck(context, (p) => time.systemTime(p)) : undefined;
  const workers = separation(context, processor);
  const bus = smp(context, check, processor);
  const putOff = deferred(context.isOrdered, processor.stopped);
  const mm = machineMemory(context, {
    flushTlb: processor.flushTlb,
    switched: processor.switchedTable,
    touched: processor.touched,
    lostGrant: (d) => doms.crash(d, CRASH.lostGrant),
  });
  const memory = guestMemory(context, processor.touched, mm);
  const heap = frames(context, mm.forget);
  const granting = grants(context, { mm, smp: bus, frames: heap, flushTlb: processor.flushTlb });
  const foreign = foreignFrames(image, context.isOrdered, mm, granting.exposure, heap);
  const masks = affinities(context);
  const console = consoleRing(context);
  const states = runstates(context, memory, check);
  const time: TimeKeeping = timeKeeping(
    context,
    bus,
    () => {
      check?.booted();
      workers.alone(doms.startAll);
    },
    (p) => cpus.completeOnline(p),
  );
  const firstDevice = timersOfLines(shape.irqs);
  // Timers wake VCPUs and switching VCPUs arms timers: the two ends meet in these late-bound actions.
  const clock: Timers = timers(context, bus, time, check, {
    sendVirq: (v, virq) => events.sendVirq(v, virq),
    pollTimedOut: (v) => events.pollTimedOut(v),
    hostDue: (n, p) => {
      if (n < firstDevice) lines.timerDue(n, p);
      else processor.deviceDue(n - firstDevice, p);
    },
  });
  const switching: ContextSwitch = {
    switchOut: processor.switchOut,
    switchIn: processor.switchIn,
    stall: processor.stall,
    timerEvents: clock.switchedIn,
    left: () => ends.hasLeft(),
    emptied: (p) => cpus.emptied(p),
  };
  const sched: Scheduler = scheduler(context, bus, states, masks, time, check, switching);
  const events: EventChannels = eventChannels(context, bus, sched, clock.stopPoll);
  const lines: Irqs = pirqsOf(context, bus, irqLines(context, bus, events, clock));
  const table = ports(context, events, lines.unbind);
  const doms: Domains = domains(context, {
    sched,
    time,
    timers: clock,
    frames: heap,
    affinities: masks,
    console,
    check,
    sendVirq: events.sendVirq,
    made: processor.made,
  });
  const ends: Destruction = destruction(context, {
    sched,
    timers: clock,
    ports: table,
    domains: doms,
    irqs: lines,
    frames: heap,
    grants: granting,
    foreign,
    console,
    deferred: putOff,
  });
  const pools = cpupools(context, { sched, smp: bus, workers, stopped: processor.stopped });
  const cpus: Hotplug = hotplug(context, {
    recount: pools.recount,
    sched,
    smp: bus,
    time,
    timers: clock,
    affinities: masks,
    separation: workers,
    console,
    deferred: putOff,
  });
  const parts = {
    context,
    check,
    separation: workers,
    smp: bus,
    memory,
    mm,
    grants: granting,
    foreign,
    stall: (v: number, ns: number) => processor.stall(v, bus.self(), ns),
    runstates: states,
    time,
    timers: clock,
    sched,
    events,
    ports: table,
    irqs: lines,
    domains: doms,
    destruction: ends,
    hotplug: cpus,
    cpupools: pools,
    frames: heap,
    affinities: masks,
    console,
    consoles: guestConsoles(context),
    deferred: putOff,
    work: work(),
    initialised: processor.initialise,
    flushTlb: processor.flushTlb,
    entries: processor.entries,
  };
  return { ...parts, hypercall: hypercallDispatch(parts) };
}
