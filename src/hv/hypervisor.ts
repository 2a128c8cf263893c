/** Puts the hypervisor together. Every worker makes one over the shared image; all state is in the image. */
import type { Image } from '../shared/image.js';
import type { CallParts } from './calls/call.js';
import { type HypercallDispatch, hypercallDispatch } from './calls/table.js';
import { createContext, type HvParams } from './context.js';
import { type Cpupools, cpupools } from './cpupool.js';
import { type Domains, domains } from './domain.js';
import { type EventChannels, eventChannels } from './event-channel.js';
import { guestMemory } from './guest-memory.js';
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
  /** The VCPU that runs on p gets on `ns` later. */
  stall(v: number, p: number, ns: number): void;
  /** Does something while no other worker takes a turn. */
  stopped<T>(act: () => T): T;
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
  const workers = separation(context, processor.stopped);
  const bus = smp(context, check, processor);
  const memory = guestMemory(context);
  const states = runstates(context, memory, check);
  const time: TimeKeeping = timeKeeping(context, bus, () => {
    check?.booted();
    workers.alone(doms.startAll);
  });
  // Timers wake VCPUs and switching VCPUs arms timers: the two ends meet in these late-bound actions.
  const clock: Timers = timers(
    context,
    bus,
    time,
    check,
    {
      sendVirq: (v, virq) => events.sendVirq(v, virq),
      pollTimedOut: (v) => events.pollTimedOut(v),
    },
    processor.keyChanged,
  );
  const switching: ContextSwitch = {
    switchOut: processor.switchOut,
    switchIn: processor.switchIn,
    stall: processor.stall,
    timerEvents: clock.switchedIn,
  };
  const sched: Scheduler = scheduler(context, bus, states, time, check, switching);
  const events: EventChannels = eventChannels(context, bus, sched, clock.stopPoll);
  const doms: Domains = domains(context, sched, time, clock);
  const pools = cpupools(context, sched, bus, workers, processor.stopped);
  const parts = {
    context,
    check,
    separation: workers,
    smp: bus,
    memory,
    runstates: states,
    time,
    timers: clock,
    sched,
    events,
    domains: doms,
  };
  return { ...parts, cpupools: pools, hypercall: hypercallDispatch(parts) };
}
