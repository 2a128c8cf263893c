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
  /** pCPU q's deadlines changed: its next turn is to be computed anew. */
  refresh(q: number): void;
}

/** @param keyChanged tells the run loop that the time of pCPU q's next turn may have changed */
export function smp(
  { machine, pcpu, params, perfc, now, faulty }: HvContext,
  check: TimeCheck | undefined,
  keyChanged: (q: number) => void,
): Smp {
  const L = params.latencyNs;
  /** From where the sender has got to in its turn. */
  const arrival = (q: number): number => now() + machine.stall(0) + L + (faulty('late-ipi', q) ? LATE_IPI_NS : 0);
  const { ipis } = PERFC;
  return {
    raiseSchedule(q) {
      if (machine.turnOf(0) === q) pcpu.setSoftirq(q, SCHEDULE_SOFTIRQ);
      else if (pcpu.reschedIpiAt(q) === Infinity) {
        perfc.inc(machine.turnOf(0), ipis);
        pcpu.setReschedIpiAt(q, arrival(q));
        check?.ipiSent(q, false);
        keyChanged(q);
      }
    },
    kickGuest(q) {
      if (machine.turnOf(0) === q || pcpu.eventIpiAt(q) !== Infinity) return;
      perfc.inc(machine.turnOf(0), ipis);
      pcpu.setEventIpiAt(q, arrival(q));
      check?.ipiSent(q, true);
      keyChanged(q);
    },
    self: () => machine.turnOf(0),
    refresh: keyChanged,
    enterTurn: (p) => machine.setTurnOf(0, p),
  };
}
