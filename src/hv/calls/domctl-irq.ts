/** domctl: who may have which interrupt line (S9, S23). */
import { xen_domctl } from '../../shared/public/domctl-layout.js';
import { XEN_EINVAL, XEN_EPERM } from '../../shared/public/errno.js';
import { offsetsOf } from '../../shared/public/layout.js';
import type { CallParts } from './call.js';
import type { DomctlHandler } from './toolstack.js';

export function domctlIrq({ context, memory, irqs }: CallParts) {
  const { vcpu } = context;
  const AT = offsetsOf(xen_domctl, 64);

  /** The line is named by the caller's own pirq for it, and must be one that the caller may have. */
  const irqPermission: DomctlHandler = (v, op, d) => {
    const pirq = memory.u32(op + AT['u.irq_permission.pirq']);
    if (pirq >= irqs.lines) return -XEN_EINVAL;
    const irq = irqs.irqOf(vcpu.domain(v), pirq);
    if (irq < 0 || !irqs.isPermitted(vcpu.domain(v), irq)) return -XEN_EPERM;
    irqs.permit(d, irq, (memory.u32(op + AT['u.irq_permission.allow_access']) & 0xff) !== 0);
    return 0;
  };

  return { irqPermission };
}
