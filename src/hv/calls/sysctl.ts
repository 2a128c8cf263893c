/**
 * sysctl (sysctl.h), for domain 0 alone: the header of the argument, and which command is whose. Cpupools have a place here when
 * there are any: `XEN_SYSCTL_cpupool_op` is one more row.
 */
import { XEN_EACCES, XEN_EFAULT, XEN_ENOSYS, XEN_EPERM } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import * as S from '../../shared/public/sysctl.js';
import { xen_sysctl } from '../../shared/public/sysctl-layout.js';
import { FAULT } from '../guest-memory.js';
import { type CallParts, type Handler, pointer } from './call.js';
import { sysctlCpupool } from './sysctl-cpupool.js';
import { sysctlHost } from './sysctl-host.js';
import { sysctlLists } from './sysctl-lists.js';
import { sysctlScheduler } from './sysctl-scheduler.js';
import { type SysctlHandler, toolstack } from './toolstack.js';

export function sysctl(parts: CallParts): Handler {
  const { memory, separation } = parts;
  const AT = offsetsOf(xen_sysctl, 64);
  const tools = toolstack(parts);
  const host = sysctlHost(parts);
  const lists = sysctlLists(parts, tools);
  const scheduling = sysctlScheduler(parts);

  const commands: Readonly<Record<number, SysctlHandler>> = {
    [S.XEN_SYSCTL_readconsole]: lists.readconsole,
    [S.XEN_SYSCTL_physinfo]: host.physinfo,
    [S.XEN_SYSCTL_sched_id]: scheduling.schedId,
    [S.XEN_SYSCTL_perfc_op]: lists.perfcOp,
    [S.XEN_SYSCTL_getdomaininfolist]: lists.getdomaininfolist,
    [S.XEN_SYSCTL_debug_keys]: lists.debugKeys,
    [S.XEN_SYSCTL_getcpuinfo]: lists.getcpuinfo,
    [S.XEN_SYSCTL_availheap]: host.availheap,
    [S.XEN_SYSCTL_cpu_hotplug]: host.cpuHotplug,
    [S.XEN_SYSCTL_cputopoinfo]: lists.cputopoinfo,
    [S.XEN_SYSCTL_scheduler_op]: scheduling.schedulerOp,
    [S.XEN_SYSCTL_cpupool_op]: sysctlCpupool(parts, tools),
  };

  return (v) => {
    const op = pointer(parts, v, 0, sizeOf(xen_sysctl, 64));
    if (op === FAULT) return -XEN_EFAULT;
    if (memory.u32(op + AT.interface_version) !== S.XEN_SYSCTL_INTERFACE_VERSION) return -XEN_EACCES;
    if (!tools.isPrivileged(v)) return -XEN_EPERM;
    const command = commands[memory.u32(op + AT.cmd)];
    return command === undefined ? -XEN_ENOSYS : separation.alone(() => command(v, op));
  };
}
