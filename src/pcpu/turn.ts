/**
 * A pCPU's turn: everything that is due on it at one instant, in one fixed order. Whoever holds the token runs it, for
 * any pCPU, because all state is in the image. At its end the pCPU's key says when its next turn is: at least 1 ns on,
 * so simulation time always advances.
 */

import { isTimed } from '../hv/context.js';
import type { Hypervisor } from '../hv/hypervisor.js';
import { SCHEDULE_SOFTIRQ } from '../hv/smp.js';
import type { KeyTree } from './key-tree.js';

/** What runs a guest's VCPUs: the model of this room, and later the x86 core. */
export interface Executor {
  /** Whether the VCPU running on p can take an upcall now. If not, it is run first, or its pCPU has another turn soon. */
  mayUpcall(v: number, p: number): boolean;
  /** The event callback of the VCPU running on p: upcalls are masked, the guest is to look at its pending events. */
  upcall(v: number, p: number): void;
  /** The guest's next action is due. On return it computes until the pCPU's `guestAt`, or gave its pCPU up. */
  run(v: number, p: number): void;
  /** The VCPU running on p goes on `ns` later: its pCPU waited for locks, or it has caches to fill. */
  stall(v: number, p: number, ns: number): void;
  switchOut(v: number, p: number): void;
  switchIn(v: number, p: number): void;
  /** Forgets what there was of another domain's VCPU of this number. */
  made(v: number): void;
  /** Forgets what pCPUs remember of VCPU v's page tables, of the page that holds an address or of all; on return none uses it any more. */
  flushTlb(v: number, page: bigint | undefined): void;
  /** See Processor in hypervisor.ts. */
  switchedTable(v: number, of: 'kernel' | 'user'): void;
  /** VCPU v begins with what the vcpu_guest_context at an image address says: 0, or −EINVAL where it cannot. */
  initialise(v: number, context: number): number;
}

export interface Turns {
  /** Takes the turn of pCPU p, whose time has come: now is its key. */
  take(p: number): void;
  /** Time of pCPU p's next interaction, Infinity = none. */
  keyOf(p: number): number;
  /** Computes the key of another pCPU anew. */
  refresh(p: number): void;
  /** Does something on behalf of pCPU p between two turns, as a command from outside. */
  interact<T>(p: number, act: () => T): T;
}

export function turns(
  hv: Hypervisor,
  executor: Executor,
  keys: KeyTree,
  isAhead: (p: number) => boolean = () => false,
): Turns {
  const { context, separation, smp, timers, sched, events, time, check, deferred } = hv;
  const { pcpu, machine, floors, shape, trace, me, isOrdered, now, isIdle } = context;
  const { ops } = sched;
  const { accounts } = sched;

  function keyOf(p: number): number {
    if (pcpu.softirq(p) !== 0) return machine.now(me);
    // In a rendezvous nothing happens but its end.
    if (!isOrdered && pcpu.isHeld(p) !== 0) return pcpu.calibrateAt(p);
    // Each time is read once, into a local: read again on the rarer branch it would be a call with a boxed result.
    let key = pcpu.timerAt(p);
    const guestAt = pcpu.guestAt(p);
    if (guestAt < key) key = guestAt;
    const sliceEnd = pcpu.sliceEnd(p);
    if (sliceEnd < key) key = sliceEnd;
    const tickAt = pcpu.tickAt(p);
    if (tickAt < key) key = tickAt;
    const periodicAt = pcpu.periodicAt(p);
    if (periodicAt < key) key = periodicAt;
    const calibrateAt = pcpu.calibrateAt(p);
    if (calibrateAt < key) key = calibrateAt;
    const reschedIpiAt = pcpu.reschedIpiAt(p);
    if (reschedIpiAt < key) key = reschedIpiAt;
    const eventIpiAt = pcpu.eventIpiAt(p);
    if (eventIpiAt < key) key = eventIpiAt;
    if (!accounts(p)) return key;
    const accounting = ops.nextAccounting(p);
    if (accounting < key) key = accounting;
    return key;
  }

  const timed = isTimed(context.params);

  /** The turn's waits for locks, ns: they come off the time of whoever runs on. */
  function stalled(p: number): number {
    const ns = machine.stall(me);
    machine.setStall(me, 0);
    const v = pcpu.current(p);
    if (ns > 0 && !isIdle(v)) executor.stall(v, p, ns);
    return ns;
  }

  /** Upcalls a guest may take in one instant; one that never clears its upcall flag must not stop time. */
  const UPCALLS_PER_TURN = 64;

  /** Lets the current guest act until it computes, gives up its pCPU, or something else wants the pCPU. */
  function runGuest(p: number): void {
    let upcalls = 0;
    while (pcpu.softirq(p) === 0) {
      const v = pcpu.current(p);
      if (isIdle(v)) return;
      if (events.needsDelivery(v) && executor.mayUpcall(v, p)) {
        if (++upcalls > UPCALLS_PER_TURN) {
          pcpu.setEventIpiAt(p, now() + 1);
          return;
        }
        executor.upcall(v, p);
      } else if (pcpu.guestAt(p) <= now()) executor.run(v, p);
      else return;
    }
  }

  /** A command comes from outside, at the time at which the machine as a whole stands. */
  function sinceWhen(): number {
    let lowest = Infinity;
    for (let w = 0; w < shape.runners; w++) lowest = Math.min(lowest, floors.floor(w));
    return lowest === Infinity ? 0 : lowest;
  }

  /** The same where p's guest may have been run for less than L from now on: what reaches it earlier, it learns of then. */
  function keyAhead(p: number): number {
    const [key, soonest] = [keyOf(p), now() + context.params.latencyNs];
    return key >= soonest || key === pcpu.guestAt(p) ? key : Math.min(keys.key(p), soonest);
  }

  /** Says when p is next, at `earliest` or after it. */
  function endTurn(p: number, key: number, earliest: number): void {
    const late = timed ? stalled(p) : 0;
    if (!isOrdered) pcpu.setTurnedAt(p, now());
    keys.set(p, Math.max(key, earliest + late));
  }

  /** Somebody else set or stopped the ticker of the VCPU that runs here. */
  function retime(p: number): void {
    pcpu.setRetime(p, 0);
    pcpu.setPeriodicAt(p, Infinity);
    const v = pcpu.current(p);
    if (!isIdle(v)) timers.startPeriodic(v, p);
  }

  return {
    // The time is read from the image here and in runGuest: handed through calls it would be boxed.
    take(p) {
      const ns = keys.key(p);
      machine.setNow(me, ns);
      machine.addTurns(me, 1);
      smp.enterTurn(p);
      trace.turn(p, ns);

      if (pcpu.calibrateAt(p) <= ns) {
        time.run(p);
        const key = keyOf(p);
        if (key > ns) {
          // Nothing else was due: not what an idle machine is kept going by.
          endTurn(p, key, now() + 1);
          return;
        }
      }
      machine.setWorked(me, ns);
      // Arrivals. An event check has no work of its own: it brings the pCPU to the delivery of events below.
      if (pcpu.eventIpiAt(p) <= ns) {
        pcpu.setEventIpiAt(p, Infinity);
        check?.ipiArrived(p, true);
        if (!isOrdered && pcpu.retime(p) !== 0) retime(p);
      }
      if (pcpu.reschedIpiAt(p) <= ns) {
        check?.ipiArrived(p, false);
        pcpu.setReschedIpiAt(p, Infinity);
        pcpu.setSoftirq(p, SCHEDULE_SOFTIRQ);
      }
      if (pcpu.timerAt(p) <= ns) timers.runDue(p);
      if (pcpu.periodicAt(p) <= ns) timers.periodicDue(p);
      // Not when an IPI asked for the scheduler: that comes before a return to the guest.
      runGuest(p);
      if (pcpu.sliceEnd(p) <= ns) {
        pcpu.setSliceEnd(p, Infinity);
        pcpu.setSoftirq(p, SCHEDULE_SOFTIRQ);
      }
      if (pcpu.tickAt(p) <= ns) {
        pcpu.setTickAt(p, ops.nextTick(p));
        ops.tick(p);
      }
      if (accounts(p) && ops.nextAccounting(p) <= ns) separation.alone(() => ops.accounting(p));
      while (pcpu.softirq(p) !== 0 || deferred.isWanted()) {
        if (pcpu.softirq(p) !== 0) sched.schedule(p);
        else deferred.run();
        runGuest(p);
      }
      // Never at the same instant again.
      endTurn(p, keyOf(p), now() + 1);
    },
    keyOf,
    interact(p, act) {
      return separation.alone(() => {
        smp.enterTurn(p);
        trace.enter(p);
        machine.setNow(me, isOrdered ? floors.floor(0) : Math.max(0, pcpu.turnedAt(p), sinceWhen()));
        const result = act();
        if (deferred.isWanted()) deferred.run();
        // In ordered mode a turn of this instant that it has not had yet is not put off.
        endTurn(p, keyOf(p), isOrdered ? Math.min(keys.key(p), now() + 1) : now() + 1);
        return result;
      });
    },
    refresh(p) {
      // The pCPU whose turn it is recomputes its own key last.
      // One that comes before it in the order has had its turn of this instant, or none: its next is 1 ns later.
      const self = smp.self();
      if (p === self) return;
      if (isOrdered && isAhead(p)) keys.set(p, keyAhead(p));
      else if (isOrdered) keys.set(p, Math.max(keyOf(p), machine.now(me) + (p < self ? 1 : 0)));
      else if (!smp.isMine(p)) throw new Error(`a key of pCPU ${p}, which is another worker's`);
      // In free mode a pCPU's clock may be ahead of who sends to it.
      else keys.set(p, Math.max(keyOf(p), pcpu.turnedAt(p) + 1));
    },
  };
}
