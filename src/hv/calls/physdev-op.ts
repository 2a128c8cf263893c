/**
 * physdev_op (physdev.h): a domain's side of interrupt lines, and the I/O privilege level of a kernel. Of interrupts Xen 3.0.4 has only the
 * acknowledgement and the question whether one is needed; there every line is the pirq of its own number.
 */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM, XEN_ESRCH } from '../../shared/public/errno.js';
import { type AbiLayout, offsetsOf, sizeOf } from '../../shared/public/layout.js';
import * as P from '../../shared/public/physdev.js';
import { DOMID_SELF } from '../../shared/public/xen.js';
import { FAULT } from '../guest-memory.js';
import { type CallParts, type Handler, pointer } from './call.js';

/** I/O privilege levels are rings. */
const MOST_IOPL = 3;

export function physdevOp(parts: CallParts): Handler {
  const { context, memory, irqs, entries } = parts;
  const { vcpu, domain, regs, shape, params } = context;
  const QUERY = offsetsOf(P.physdev_irq_status_query, 64);
  const MAP = offsetsOf(P.physdev_map_pirq, 64);
  const UNMAP = offsetsOf(P.physdev_unmap_pirq, 64);
  const FREE = offsetsOf(P.physdev_get_free_pirq, 64);

  const isPirq = (n: number): boolean => n >= 0 && n < irqs.lines;

  /** The domain named, for domain 0 alone: others may not map. */
  function subject(v: number, domid: number): number {
    const own = vcpu.domain(v);
    const d = domid === DOMID_SELF ? own : domid;
    if (d >= shape.domains || domain.maxVcpus(d) === 0) return -XEN_ESRCH;
    return own === 0 ? d : -XEN_EPERM;
  }

  function setIopl(v: number, arg: number): number {
    const iopl = memory.u32(arg) >>> 0;
    if (iopl > MOST_IOPL) return -XEN_EINVAL;
    entries.setIopl(v, iopl);
    return 0;
  }

  function statusQuery(v: number, arg: number): number {
    const d = vcpu.domain(v);
    const pirq = memory.u32(arg + QUERY.irq) | 0;
    if (!isPirq(pirq)) return -XEN_EINVAL;
    const needsEoi = irqs.needsEoi(d, pirq) ? P.XENIRQSTAT_needs_eoi : 0;
    memory.setU32(arg + QUERY.flags, needsEoi | (irqs.isShared(d, pirq) ? P.XENIRQSTAT_shared : 0));
    return 0;
  }

  function mapPirq(v: number, arg: number): number {
    const d = subject(v, memory.u16(arg + MAP.domid));
    if (d < 0) return d;
    // Message-signalled interrupts: there are no such devices.
    if (memory.u32(arg + MAP.type) !== P.MAP_PIRQ_TYPE_GSI) return -XEN_EINVAL;
    const pirq = irqs.map(d, memory.u32(arg + MAP.index) | 0, memory.u32(arg + MAP.pirq) | 0);
    if (pirq < 0) return pirq;
    memory.setU32(arg + MAP.pirq, pirq);
    return 0;
  }

  function unmapPirq(v: number, arg: number): number {
    const d = subject(v, memory.u16(arg + UNMAP.domid));
    if (d < 0) return d;
    const pirq = memory.u32(arg + UNMAP.pirq) | 0;
    return isPirq(pirq) ? irqs.unmap(d, pirq) : -XEN_EINVAL;
  }

  function getFreePirq(v: number, arg: number): number {
    if (memory.u32(arg + FREE.type) !== P.MAP_PIRQ_TYPE_GSI) return -XEN_EINVAL;
    const pirq = irqs.freePirq(vcpu.domain(v));
    if (pirq < 0) return pirq;
    memory.setU32(arg + FREE.pirq, pirq);
    return 0;
  }

  type Operation = readonly [AbiLayout<unknown, unknown>, (v: number, arg: number) => number];
  const always: Readonly<Record<number, Operation>> = {
    [P.PHYSDEVOP_eoi]: [P.physdev_eoi, (v, arg) => irqs.eoi(vcpu.domain(v), memory.u32(arg) | 0)],
    [P.PHYSDEVOP_irq_status_query]: [P.physdev_irq_status_query, statusQuery],
    [P.PHYSDEVOP_set_iopl]: [P.physdev_set_iopl, setIopl],
  };
  const modern: Readonly<Record<number, Operation>> = {
    [P.PHYSDEVOP_map_pirq]: [P.physdev_map_pirq, mapPirq],
    [P.PHYSDEVOP_unmap_pirq]: [P.physdev_unmap_pirq, unmapPirq],
    [P.PHYSDEVOP_get_free_pirq]: [P.physdev_get_free_pirq, getFreePirq],
  };
  const operations = params.profile === 'classic' ? always : { ...always, ...modern };

  return (v) => {
    const operation = operations[regs.lo(v, 0)];
    if (!operation) return -XEN_ENOSYS;
    const width = domain.width(vcpu.domain(v)) === 64 ? 64 : 32;
    const arg = pointer(parts, v, 1, sizeOf(operation[0], width));
    return arg === FAULT ? -XEN_EFAULT : operation[1](v, arg);
  };
}
