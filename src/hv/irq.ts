/**
 * Interrupt lines (S9): who has which, and their way from a device to event channels.
 *
 * A device pulses an edge line or asserts a level line. The line's message takes L to the pCPU it is routed to, and there the
 * hypervisor sends an event to every domain that has the line. A level line is then in flight: masked until each of these
 * domains has acknowledged it (Xen's ACKTYPE_UNMASK). An edge line needs no acknowledgement; edges that meet one under way
 * merge with it.
 *
 * Locking: everything here, and the registers of devices, are under the IRQ lock. Events are sent under it, so it comes before the
 * run-queue locks; a hypercall takes it under the table lock of event channels.
 */
import { TRACE } from '../shared/trace-ring.js';
import { type HvContext, IRQ_LOCK } from './context.js';
import type { EventChannels } from './event-channel.js';
import { IRQ_LINE, MASK_throttled, MASK_unbound, PIRQ, TRIGGER } from './irq-records.js';
import { PERFC } from './perfc.js';
import { HOST_TIMERS_PER_IRQ } from './records.js';
import type { Smp } from './smp.js';
import type { Timers } from './timer.js';

/** A line may raise so many interrupts (irq_ratelimit) in such a time, ns; then it is masked for as long. Not in the classic profile. */
export const RATE_THRESHOLD = 10_000;
export const RATE_PERIOD_NS = 10e6;
/** Modern profile: an interrupt not acknowledged after this is taken for acknowledged, ns. */
export const EOI_LIMIT_NS = 1e6;

/** What each timer of a line is for: number `kind * irqs + line` of the host's. */
const TIMER_KIND = { arrival: 0, eoi: 1, throttle: 2 } as const;

export interface Lines {
  /** Lines 1 .. lines - 1; 0 is Xen's own timer. */
  readonly lines: number;
  /** The line behind domain d's pirq; -1 = none. */
  irqOf(d: number, pirq: number): number;
  /** The pirq that domain d has for a line; -1 = none. */
  pirqOf(d: number, irq: number): number;
  /** Record number in PIRQ of domain d's pirq or line n. */
  record(d: number, n: number): number;
  isLine(irq: number): boolean;
  isLevel(irq: number): boolean;
  /** Port that domain d's pirq is bound to, 0 = none. */
  portOf(d: number, pirq: number): number;
  /** A reason why the line is masked is gone: it goes on if it is asserted. Under the IRQ lock. */
  unmaskLocked(irq: number, mask: number): void;
  /** Domain d has served its devices on a pirq. Under the IRQ lock. */
  acknowledgeLocked(d: number, pirq: number): void;
  /** A device on a level line wants to be served, or does no longer. Under the IRQ lock. */
  assertLocked(irq: number): void;
  deassertLocked(irq: number): void;
  /** An edge. Under the IRQ lock. */
  pulseLocked(irq: number): void;
  /** Timer n of the lines fires on p. */
  timerDue(n: number, p: number): void;
}

export function irqLines(hv: HvContext, smp: Smp, events: EventChannels, timers: Timers): Lines {
  const { image, domain, vcpu, evtchn, queues, locks, trace, perfc, raceWindow, now, params, shape, isSeparate } = hv;
  const lines = shape.irqs;
  const line = image.table(IRQ_LINE);
  const pirqs = image.table(PIRQ);
  const isClassic = params.profile === 'classic';
  const L = params.latencyNs;

  const record = (d: number, n: number): number => (Math.imul(d, lines) + n) | 0;
  const isLine = (irq: number): boolean => irq > 0 && irq < lines;
  const isLevel = (irq: number): boolean => line.trigger(irq) === TRIGGER.level;

  // Xen 3.0.4 knows no mapping: a pirq is the line of the same number.
  const irqOf: (d: number, pirq: number) => number = isClassic
    ? (_d, pirq) => (isLine(pirq) ? pirq : -1)
    : (d, pirq) => (isLine(pirq) ? pirqs.irq(record(d, pirq)) - 1 : -1);
  const pirqOf: (d: number, irq: number) => number = isClassic
    ? (_d, irq) => irq
    : (d, irq) => pirqs.pirq(record(d, irq)) - 1;
  const portOf = (d: number, pirq: number): number => (isLine(pirq) ? pirqs.port(record(d, pirq)) : 0);

  function setTimer(kind: number, irq: number, q: number, at: number): void {
    timers.setHost(kind * lines + irq, q, at);
  }

  /**
   * The pCPU a line is routed to: in the modern profile that on which the VCPU runs, or ran last, that is told of it, as Xen moves
   * the line when it switches such a VCPU in on another pCPU, or when the port is bound to another VCPU.
   */
  function target(irq: number): number {
    if (isClassic || line.nrGuests(irq) === 0) return line.affinity(irq);
    const d = line.guest(irq, 0);
    const port = portOf(d, pirqOf(d, irq));
    const v = domain.firstVcpu(d) + evtchn.notifyVcpu(events.record(d, port));
    const p = vcpu.lastPcpu(v);
    return p >= 0 ? p : queues.entry.processor(v);
  }

  /** Sends the line's message, unless it is masked or one is under way. */
  function dispatch(irq: number): void {
    if (line.sentTo(irq) !== 0 || line.masks(irq) !== 0 || line.inFlight(irq) !== 0) return;
    const q = target(irq);
    line.setSentTo(irq, q + 1);
    setTimer(TIMER_KIND.arrival, irq, q, now() + L);
  }

  function unmask(irq: number, mask: number): void {
    line.setMasks(irq, line.masks(irq) & ~mask);
    if (line.asserted(irq) !== 0) dispatch(irq);
  }

  /** The rate limit: whether this interrupt is one too many. It counts from the first one after a quiet time, as Xen's does. */
  function isTooMany(irq: number, p: number): boolean {
    const count = line.rateCount(irq);
    line.setRateCount(irq, count + 1);
    if (isClassic || count < RATE_THRESHOLD) return false;
    if (now() < line.quantumStart(irq) + RATE_PERIOD_NS) {
      line.setMasks(irq, line.masks(irq) | MASK_throttled);
      line.addThrottled(irq, 1);
      trace.record(TRACE.irq, irq, -2);
      setTimer(TIMER_KIND.throttle, irq, p, now() + RATE_PERIOD_NS);
      return true;
    }
    line.setRateCount(irq, 0);
    line.setQuantumStart(irq, now());
    return false;
  }

  /** Events for all who have the line. */
  function deliver(irq: number, p: number): void {
    line.addDelivered(irq, 1);
    for (let k = 0; k < line.nrGuests(irq); k++) {
      const d = line.guest(irq, k);
      const r = record(d, pirqOf(d, irq));
      if (isLevel(irq) && pirqs.isMasked(r) === 0) {
        pirqs.setIsMasked(r, 1);
        line.addInFlight(irq, 1);
      }
      if (events.isPending(d, pirqs.port(r))) line.addMerged(irq, 1);
      raceWindow();
      events.setPending(d, pirqs.port(r));
    }
    if (isClassic || !isLevel(irq)) return;
    line.setEoiDeadline(irq, now() + EOI_LIMIT_NS);
    if (line.eoiTimer(irq) !== 0) return;
    line.setEoiTimer(irq, 1);
    setTimer(TIMER_KIND.eoi, irq, p, line.eoiDeadline(irq));
  }

  /** The line's message has come to pCPU p. */
  function arrive(irq: number, p: number): void {
    line.setSentTo(irq, 0);
    // Masked meanwhile, or its devices were served for another reason.
    if (line.masks(irq) !== 0 || line.inFlight(irq) !== 0) return;
    if (isLevel(irq) && line.asserted(irq) === 0) return;
    // Somebody has it by now whom only another worker may touch.
    if (isSeparate() && !smp.isMine(target(irq))) {
      dispatch(irq);
      return;
    }
    perfc.inc(p, PERFC.irqs);
    trace.record(TRACE.irq, irq, line.nrGuests(irq) === 0 ? -1 : p);
    if (line.nrGuests(irq) === 0) {
      // Xen: "No irq handler for vector". Once: a level line would never stop.
      line.addUnhandled(irq, 1);
      line.setMasks(irq, line.masks(irq) | MASK_unbound);
    } else if (!isTooMany(irq, p)) deliver(irq, p);
  }

  /** Takes it that all have acknowledged: a domain that does not must not keep the line from the others. */
  function forceEoi(irq: number, p: number): void {
    if (now() < line.eoiDeadline(irq)) {
      setTimer(TIMER_KIND.eoi, irq, p, line.eoiDeadline(irq));
      return;
    }
    line.setEoiTimer(irq, 0);
    if (line.inFlight(irq) === 0) return;
    for (let k = 0; k < line.nrGuests(irq); k++) {
      const d = line.guest(irq, k);
      const r = record(d, pirqOf(d, irq));
      line.addForced(irq, pirqs.isMasked(r));
      pirqs.setIsMasked(r, 0);
    }
    line.setInFlight(irq, 0);
    unmask(irq, 0);
  }

  function acknowledge(d: number, pirq: number): void {
    const irq = irqOf(d, pirq);
    const r = record(d, pirq);
    if (irq < 0 || pirqs.isMasked(r) === 0) return;
    pirqs.setIsMasked(r, 0);
    line.addInFlight(irq, -1);
    if (line.inFlight(irq) === 0) unmask(irq, 0);
  }

  const lock = (): void => locks.acquire(IRQ_LOCK, smp.self());
  const unlock = (): void => locks.release(IRQ_LOCK, smp.self());
  return {
    lines,
    irqOf,
    pirqOf,
    record,
    isLine,
    isLevel,
    unmaskLocked: unmask,
    acknowledgeLocked: acknowledge,
    portOf,
    assertLocked(irq) {
      line.addAsserted(irq, 1);
      line.addRaised(irq, 1);
      if ((line.masks(irq) & MASK_unbound) !== 0) line.addUnhandled(irq, 1);
      dispatch(irq);
    },
    deassertLocked(irq) {
      line.addAsserted(irq, -1);
    },
    pulseLocked(irq) {
      line.addRaised(irq, 1);
      if ((line.masks(irq) & MASK_unbound) !== 0) line.addUnhandled(irq, 1);
      else if (line.masks(irq) !== 0) line.addThrottled(irq, 1);
      else if (line.sentTo(irq) !== 0) line.addMerged(irq, 1);
      else dispatch(irq);
    },
    timerDue(n, p) {
      const irq = n % lines;
      lock();
      switch (Math.floor(n / lines)) {
        case TIMER_KIND.arrival:
          arrive(irq, p);
          break;
        case TIMER_KIND.eoi:
          forceEoi(irq, p);
          break;
        default:
          unmask(irq, MASK_throttled);
      }
      unlock();
    },
  };
}

/** Timers of the host that belong to lines; those of devices follow. */
export const timersOfLines = (irqs: number): number => HOST_TIMERS_PER_IRQ * irqs;
