/**
 * Between pCPUs: softirqs and the IPIs that raise them. An IPI takes L, the inter-CPU latency. Per kind only one is
 * under way to a pCPU: whoever finds one there adds nothing, because its arrival looks at all shared state, as Xen's
 * softirq bits work. What another pCPU may do earlier than `now + L` it does for the earlier sender's sake.
 */
import type { HvContext } from './context.js';
import { PERFC } from './perfc.js';
import type { TimeCheck } from './time-check.js';

export const SCHEDULE_SOFTIRQ = 1;
/** Delay of an IPI that is late on purpose, ns. */
const LATE_IPI_NS = 5e6;

export interface Smp {
  /** Asks pCPU q to enter the scheduler: at once for the pCPU whose turn it is, at now + L for others. */
  raiseSchedule(q: number): void;
  /** Makes pCPU q look at its guest's pending events. */
  kickGuest(q: number): void;
  /** The pCPU whose turn it is. */
  self(): number;
  enterTurn(p: number): void;
  /** pCPU q has a step of time-keeping at `at`, ns. */
  timeAt(q: number, at: number): void;
  /** The periodic timer of the VCPU that runs on q was changed by somebody else. */
  retime(q: number): void;
  /** A deadline of pCPU q that is kept elsewhere may now be earlier. */
  keyMoved(q: number): void;
  /** Something that another worker sent arrives at pCPU q of this worker at `at`, ns. */
  deliver(q: number, kind: IpiKind, at: number, sentAt: number): void;
  /** Whether this runner takes pCPU q's turns: always in ordered mode. */
  isMine(q: number): boolean;
}

/** What pCPUs send each other. */
export const IPI = { reschedule: 0, event: 1, time: 2, retime: 3, key: 4 } as const;
export type IpiKind = (typeof IPI)[keyof typeof IPI];
export const IPI_KINDS = Object.keys(IPI).length;

/** The wires between pCPUs, which the processor owns. */
export interface Interconnect {
  /** pCPU q, which is this runner's, has or may have an earlier (or later) next turn than it said. */
  keyChanged(q: number): void;
  isMine(q: number): boolean;
  /**
   * Sends to a pCPU of another worker. @param at arrival, ns @param sentAt when it was sent, ns
   * @returns false when one of its kind is under way already
   */
  post(q: number, kind: IpiKind, at: number, sentAt: number): boolean;
}

export function smp(
  { machine, pcpu, params, perfc, me, now, faulty }: HvContext,
  check: TimeCheck | undefined,
  { keyChanged, isMine, post }: Interconnect,
): Smp {
  const L = params.latencyNs;
  /** From where the sender has got to in its turn. */
  const arrival = (q: number): number => now() + machine.stall(me) + L + (faulty('late-ipi', q) ? LATE_IPI_NS : 0);
  const { ipis } = PERFC;

  function deliver(q: number, kind: IpiKind, at: number, sentAt: number): void {
    switch (kind) {
      case IPI.reschedule:
        if (pcpu.reschedIpiAt(q) <= at) return;
        check?.ipiSent(q, false, sentAt);
        pcpu.setReschedIpiAt(q, at);
        break;
      case IPI.event:
        if (pcpu.eventIpiAt(q) <= at) return;
        check?.ipiSent(q, true, sentAt);
        pcpu.setEventIpiAt(q, at);
        break;
      case IPI.time:
        if (at < pcpu.calibrateAt(q)) pcpu.setCalibrateAt(q, at);
        break;
      case IPI.retime:
        pcpu.setRetime(q, 1);
        if (at >= pcpu.eventIpiAt(q)) break;
        check?.ipiSent(q, true, sentAt);
        pcpu.setEventIpiAt(q, at);
        break;
      case IPI.key:
        break;
    }
    keyChanged(q);
  }

  function send(q: number, kind: IpiKind, at: number): void {
    if (isMine(q)) deliver(q, kind, at, now());
    else post(q, kind, at, now());
  }

  return {
    raiseSchedule(q) {
      if (machine.turnOf(me) === q) pcpu.setSoftirq(q, SCHEDULE_SOFTIRQ);
      else if (!isMine(q)) {
        if (post(q, IPI.reschedule, arrival(q), now())) perfc.inc(machine.turnOf(me), ipis);
      } else if (pcpu.reschedIpiAt(q) === Infinity) {
        perfc.inc(machine.turnOf(me), ipis);
        pcpu.setReschedIpiAt(q, arrival(q));
        check?.ipiSent(q, false, now());
        keyChanged(q);
      }
    },
    kickGuest(q) {
      if (machine.turnOf(me) === q) return;
      if (!isMine(q)) {
        if (post(q, IPI.event, arrival(q), now())) perfc.inc(machine.turnOf(me), ipis);
      } else if (pcpu.eventIpiAt(q) === Infinity) {
        perfc.inc(machine.turnOf(me), ipis);
        pcpu.setEventIpiAt(q, arrival(q));
        check?.ipiSent(q, true, now());
        keyChanged(q);
      }
    },
    timeAt: (q, at) => send(q, IPI.time, at),
    retime: (q) => send(q, IPI.retime, now() + L),
    keyMoved: (q) => send(q, IPI.key, now()),
    deliver,
    isMine,
    self: () => machine.turnOf(me),
    enterTurn: (p) => machine.setTurnOf(me, p),
  };
}
