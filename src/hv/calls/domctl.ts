/**
 * domctl (domctl.h), for domain 0 alone: the header of the argument, and which command is whose. Checks come in Xen's order: is the
 * argument there, is it of this version, is there such a domain, may the caller.
 *
 * Locking: one domctl at a time, under the domctl lock. In free mode, while the workers are separate, the others stand still.
 */
import * as D from '../../shared/public/domctl.js';
import { xen_domctl } from '../../shared/public/domctl-layout.js';
import { XEN_EACCES, XEN_EFAULT, XEN_ENOSYS, XEN_EPERM, XEN_ESRCH } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import { DOMCTL_LOCK } from '../context.js';
import { FAULT } from '../guest-memory.js';
import { NOBODY } from '../records.js';
import { type CallParts, type Handler, pointer } from './call.js';
import { domctlIrq } from './domctl-irq.js';
import { domctlLife } from './domctl-life.js';
import { domctlScheduler } from './domctl-scheduler.js';
import { domctlVcpus } from './domctl-vcpus.js';
import { type DomctlHandler, toolstack } from './toolstack.js';

export function domctl(parts: CallParts): Handler {
  const { context, memory, smp, separation, domains } = parts;
  const { locks } = context;
  const AT = offsetsOf(xen_domctl, 64);
  const tools = toolstack(parts);
  const life = domctlLife(parts);
  const vcpus = domctlVcpus(parts, tools);

  const commands: Readonly<Record<number, DomctlHandler>> = {
    [D.XEN_DOMCTL_createdomain]: life.createdomain,
    [D.XEN_DOMCTL_destroydomain]: life.destroydomain,
    [D.XEN_DOMCTL_pausedomain]: life.pausedomain,
    [D.XEN_DOMCTL_unpausedomain]: life.unpausedomain,
    [D.XEN_DOMCTL_getdomaininfo]: life.getdomaininfo,
    [D.XEN_DOMCTL_max_mem]: life.maxMem,
    [D.XEN_DOMCTL_hypercall_init]: life.hypercallInit,
    [D.XEN_DOMCTL_setdomainhandle]: life.setdomainhandle,
    [D.XEN_DOMCTL_set_address_size]: life.setAddressSize,
    [D.XEN_DOMCTL_get_address_size]: life.getAddressSize,
    [D.XEN_DOMCTL_max_vcpus]: vcpus.maxVcpus,
    [D.XEN_DOMCTL_setvcpuaffinity]: vcpus.setvcpuaffinity,
    [D.XEN_DOMCTL_getvcpuaffinity]: vcpus.getvcpuaffinity,
    [D.XEN_DOMCTL_getvcpuinfo]: vcpus.getvcpuinfo,
    [D.XEN_DOMCTL_setvcpucontext]: vcpus.setvcpucontext,
    [D.XEN_DOMCTL_getvcpucontext]: vcpus.getvcpucontext,
    [D.XEN_DOMCTL_irq_permission]: domctlIrq(parts).irqPermission,
    [D.XEN_DOMCTL_scheduler_op]: domctlScheduler(parts, tools),
  };
  /** These name a domain that need not be there. */
  const LOOK_FOR_THEMSELVES: readonly number[] = [D.XEN_DOMCTL_createdomain, D.XEN_DOMCTL_getdomaininfo];

  function serve(v: number, op: number): number {
    const cmd = memory.u32(op + AT.cmd);
    const d = LOOK_FOR_THEMSELVES.includes(cmd) ? NOBODY : domains.find(memory.u16(op + AT.domain));
    if (d === NOBODY && !LOOK_FOR_THEMSELVES.includes(cmd)) return -XEN_ESRCH;
    return tools.isPrivileged(v) ? (commands[cmd]?.(v, op, d) ?? -XEN_ENOSYS) : -XEN_EPERM;
  }

  return (v) => {
    const op = pointer(parts, v, 0, sizeOf(xen_domctl, 64));
    if (op === FAULT) return -XEN_EFAULT;
    if (memory.u32(op + AT.interface_version) !== D.XEN_DOMCTL_INTERFACE_VERSION) return -XEN_EACCES;
    // Who may not, disturbs nobody.
    if (!tools.isPrivileged(v)) return serve(v, op);
    return separation.alone(() => {
      locks.acquire(DOMCTL_LOCK, smp.self());
      const result = serve(v, op);
      locks.release(DOMCTL_LOCK, smp.self());
      return result;
    });
  };
}
