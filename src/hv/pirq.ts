/**
 * Interrupt lines as domains have them: pirqs that stand for lines, who may have and who has bound which (S9; irq.ts).
 *
 * Locking: all under the IRQ lock; a hypercall that changes a port as well holds the table lock of event channels.
 */
import { XEN_EBUSY, XEN_EEXIST, XEN_EINVAL, XEN_ENOSPC, XEN_EPERM } from '../shared/public/errno.js';
import { type HvContext, IRQ_LOCK } from './context.js';
import type { Lines } from './irq.js';
import { IRQ_LINE, IRQ_MAX_GUESTS, MASK_unbound, PIRQ } from './irq-records.js';
import type { Smp } from './smp.js';

/** First pirq that `freePirq` gives: below are those of the ISA bus. */
const FIRST_FREE_PIRQ = 16;

export interface Pirqs {
  /** How line `irq` is triggered, and where it goes while nobody has it. At boot. */
  define(irq: number, trigger: number, p: number): void;
  /** Whether domain d may have a line from now on. Domain 0 may have all. */
  permit(d: number, irq: number, isAllowed: boolean): void;
  isPermitted(d: number, irq: number): boolean;
  /** Gives a domain a pirq for a line: the pirq, or a negated errno. Any free one when `pirq` is negative. */
  map(d: number, irq: number, pirq: number): number;
  unmap(d: number, pirq: number): number;
  freePirq(d: number): number;
  /** Takes all lines from domain d: for its end. Its ports stay. */
  release(d: number): void;
  /** Gives domain d the interrupts of a pirq as events of `port` (or the errno why there is none); 0 or a negated errno. */
  bind(d: number, pirq: number, port: number, willShare: boolean): number;
  unbind(d: number, pirq: number): void;
  /** A domain that has line `irq`, if any but d does; -1 = none. */
  otherGuest(d: number, pirq: number): number;
  /** Domain d has served its devices on a pirq. */
  eoi(d: number, pirq: number): number;
  isShared(d: number, pirq: number): boolean;
  /** Whether a pirq has to be acknowledged, as far as the domain is told. */
  needsEoi(d: number, pirq: number): boolean;
}

/** All that the hypervisor knows of interrupts. */
export type Irqs = Lines & Pirqs;

export function pirqsOf(hv: HvContext, smp: Smp, table: Lines): Irqs {
  const { image, domain, queues, locks, params } = hv;
  const { lines, irqOf, portOf, record, isLine, isLevel, unmaskLocked, acknowledgeLocked } = table;
  const line = image.table(IRQ_LINE);
  const pirqs = image.table(PIRQ);
  const isClassic = params.profile === 'classic';

  const isPermitted = (d: number, irq: number): boolean =>
    isLine(irq) && (d === 0 || pirqs.isPermitted(record(d, irq)) !== 0);

  function bind(d: number, pirq: number, port: number, willShare: boolean): number {
    if (pirq < 0 || pirq >= lines) return -XEN_EINVAL;
    if (!isPermitted(d, isClassic ? pirq : Math.max(irqOf(d, pirq), 0)) && d !== 0) return -XEN_EPERM;
    if (portOf(d, pirq) !== 0) return -XEN_EEXIST;
    if (port < 0) return port;
    const irq = irqOf(d, pirq);
    if (irq < 0) return -XEN_EINVAL;
    const nr = line.nrGuests(irq);
    if (nr > 0 && !(willShare && line.shareable(irq) !== 0)) return -XEN_EBUSY;
    if (nr === IRQ_MAX_GUESTS) return -XEN_EBUSY;
    line.setGuest(irq, nr, d);
    line.setNrGuests(irq, nr + 1);
    pirqs.setPort(record(d, pirq), port);
    if (nr > 0) return 0;
    line.setShareable(irq, willShare ? 1 : 0);
    line.setAffinity(irq, queues.entry.processor(domain.firstVcpu(d)));
    unmaskLocked(irq, MASK_unbound);
    return 0;
  }

  function unbind(d: number, pirq: number): void {
    const irq = irqOf(d, pirq);
    if (portOf(d, pirq) === 0) return;
    acknowledgeLocked(d, pirq);
    pirqs.setPort(record(d, pirq), 0);
    const nr = line.nrGuests(irq) - 1;
    let k = 0;
    while (k < nr && line.guest(irq, k) !== d) k++;
    for (; k < nr; k++) line.setGuest(irq, k, line.guest(irq, k + 1));
    line.setNrGuests(irq, nr);
    if (nr === 0) line.setMasks(irq, line.masks(irq) | MASK_unbound);
  }

  function freePirq(d: number): number {
    for (let n = FIRST_FREE_PIRQ; n < lines; n++) if (pirqs.irq(record(d, n)) === 0) return n;
    return -XEN_ENOSPC;
  }

  function map(d: number, irq: number, wanted: number): number {
    if (!isLine(irq)) return -XEN_EINVAL;
    const has = pirqs.pirq(record(d, irq)) - 1;
    if (has >= 0 && wanted >= 0 && has !== wanted) return -XEN_EEXIST;
    const pirq = wanted >= 0 ? wanted : has >= 0 ? has : freePirq(d);
    if (pirq < 0) return pirq;
    if (!isLine(pirq)) return -XEN_EINVAL;
    // As Xen does, which only warns: the pirq stays what it is.
    if (pirqs.irq(record(d, pirq)) !== 0) return pirq;
    pirqs.setIrq(record(d, pirq), irq + 1);
    pirqs.setPirq(record(d, irq), pirq + 1);
    pirqs.setIsPermitted(record(d, irq), 1);
    return pirq;
  }

  function unmap(d: number, pirq: number): number {
    const irq = irqOf(d, pirq);
    if (irq < 0) return -XEN_EINVAL;
    unbind(d, pirq);
    pirqs.setIrq(record(d, pirq), 0);
    pirqs.setPirq(record(d, irq), 0);
    pirqs.setIsPermitted(record(d, irq), 0);
    return 0;
  }

  const lock = (): void => locks.acquire(IRQ_LOCK, smp.self());
  const unlock = (): void => locks.release(IRQ_LOCK, smp.self());
  function locked(act: () => number): number {
    lock();
    const result = act();
    unlock();
    return result;
  }

  return {
    ...table,
    define(irq, trigger, p) {
      line.setTrigger(irq, trigger);
      line.setAffinity(irq, p);
    },
    permit(d, irq, isAllowed) {
      locked(() => {
        if (isLine(irq)) pirqs.setIsPermitted(record(d, irq), isAllowed ? 1 : 0);
        return 0;
      });
    },
    isPermitted,
    map: (d, irq, pirq) => locked(() => map(d, irq, pirq)),
    unmap: (d, pirq) => locked(() => unmap(d, pirq)),
    release(d) {
      lock();
      for (let n = 1; n < lines; n++) {
        unbind(d, n);
        if (!isClassic) unmap(d, n);
        pirqs.setIsPermitted(record(d, n), 0);
      }
      unlock();
    },
    freePirq: (d) => locked(() => freePirq(d)),
    bind: (d, pirq, port, willShare) => locked(() => bind(d, pirq, port, willShare)),
    unbind(d, pirq) {
      lock();
      unbind(d, pirq);
      unlock();
    },
    otherGuest(d, pirq) {
      const irq = irqOf(d, pirq);
      for (let k = 0; irq >= 0 && k < line.nrGuests(irq); k++) if (line.guest(irq, k) !== d) return line.guest(irq, k);
      return -1;
    },
    eoi(d, pirq) {
      if (pirq < 0 || pirq >= lines) return -XEN_EINVAL;
      lock();
      acknowledgeLocked(d, pirq);
      unlock();
      return 0;
    },
    isShared(d, pirq) {
      const irq = irqOf(d, pirq);
      return irq >= 0 && line.nrGuests(irq) > 1;
    },
    // Modern Xen asks for it always; a domain finds out by a page of bits when it may leave it out.
    needsEoi: (d, pirq) => !isClassic || (irqOf(d, pirq) >= 0 && isLevel(irqOf(d, pirq))),
  };
}
