/** sysctl: what is handed out in arrays: the console, counters, domains, pCPUs; and the debug keys, which come in one. */
import { XEN_EFAULT, XEN_EINVAL } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import * as S from '../../shared/public/sysctl.js';
import {
  xen_sysctl,
  xen_sysctl_cpuinfo,
  xen_sysctl_cputopo,
  xen_sysctl_perfc_desc,
} from '../../shared/public/sysctl-layout.js';
import { FAULT } from '../guest-memory.js';
import { idleTimeNs } from '../idle-time.js';
import { PERFC_NAMES } from '../perfc.js';
import { DOMAIN_STATE } from '../records.js';
import { dumpRunQueues } from '../scheduler-dump.js';
import type { CallParts } from './call.js';
import { DOMAIN_INFO_BYTES, writeDomainInfo } from './domain-info.js';
import type { SysctlHandler, Toolstack } from './toolstack.js';

export function sysctlLists(parts: CallParts, tools: Toolstack) {
  const { context, memory, console, hotplug } = parts;
  const { domain, perfc, shape, image } = context;
  const AT = offsetsOf(xen_sysctl, 64);
  const DESC = offsetsOf(xen_sysctl_perfc_desc, 64);
  const DESC_BYTES = sizeOf(xen_sysctl_perfc_desc, 64);
  const TOPO = offsetsOf(xen_sysctl_cputopo, 64);
  const TOPO_BYTES = sizeOf(xen_sysctl_cputopo, 64);
  const CPUINFO_BYTES = sizeOf(xen_sysctl_cpuinfo, 64);
  const encoder = new TextEncoder();

  const readconsole: SysctlHandler = (v, op) => {
    const count = memory.u32(op + AT['u.readconsole.count']);
    const buffer = tools.handle(v, op + AT['u.readconsole.buffer'], count);
    if (buffer === FAULT) return -XEN_EFAULT;
    const isIncremental = image.u8[op + AT['u.readconsole.incremental']] !== 0;
    const from = isIncremental ? memory.u32(op + AT['u.readconsole.index']) : undefined;
    const read = console.read(memory.bytes(buffer, count), from, image.u8[op + AT['u.readconsole.clear']] !== 0);
    memory.setU32(op + AT['u.readconsole.count'], read.count);
    memory.setU32(op + AT['u.readconsole.index'], read.end);
    return 0;
  };

  /** Names, and a value a pCPU of each; without arrays, how many there are. */
  const perfcOp: SysctlHandler = (v, op) => {
    const cmd = memory.u32(op + AT['u.perfc_op.cmd']);
    const [descAt, valAt] = [op + AT['u.perfc_op.desc'], op + AT['u.perfc_op.val']];
    if (cmd !== S.XEN_SYSCTL_PERFCOP_reset && cmd !== S.XEN_SYSCTL_PERFCOP_query) return -XEN_EINVAL;
    const values = PERFC_NAMES.length * shape.pcpus;
    const desc = tools.isNull(descAt) ? undefined : tools.handle(v, descAt, PERFC_NAMES.length * DESC_BYTES);
    const val = tools.isNull(valAt) ? undefined : tools.handle(v, valAt, 4 * values);
    if (desc === FAULT || val === FAULT) return -XEN_EFAULT;
    if (cmd === S.XEN_SYSCTL_PERFCOP_reset) perfc.reset();
    for (const [n, name] of PERFC_NAMES.entries()) {
      if (desc !== undefined) {
        const at = desc + n * DESC_BYTES;
        image.u8.fill(0, at, at + DESC_BYTES);
        image.u8.set(encoder.encode(name), at + DESC.name);
        memory.setU32(at + DESC.nr_vals, shape.pcpus);
      }
      if (val === undefined) continue;
      for (let p = 0; p < shape.pcpus; p++) memory.setU32(val + 4 * (n * shape.pcpus + p), perfc.value(p, n));
    }
    memory.setU32(op + AT['u.perfc_op.nr_counters'], PERFC_NAMES.length);
    memory.setU32(op + AT['u.perfc_op.nr_vals'], values);
    return 0;
  };

  /** In order of their numbers. */
  const getdomaininfolist: SysctlHandler = (v, op) => {
    const from = memory.u16(op + AT['u.getdomaininfolist.first_domain']);
    const most = memory.u32(op + AT['u.getdomaininfolist.max_domains']);
    const found: number[] = [];
    for (let d = 0; d < shape.domains; d++) {
      if (domain.state(d) !== DOMAIN_STATE.free && domain.id(d) >= from) found.push(d);
    }
    const listed = found.sort((a, b) => domain.id(a) - domain.id(b)).slice(0, most);
    const buffer = tools.handle(v, op + AT['u.getdomaininfolist.buffer'], listed.length * DOMAIN_INFO_BYTES);
    if (buffer === FAULT) return -XEN_EFAULT;
    for (const [n, d] of listed.entries()) writeDomainInfo(parts, d, buffer + n * DOMAIN_INFO_BYTES);
    memory.setU32(op + AT['u.getdomaininfolist.num_domains'], listed.length);
    return 0;
  };

  /** Keys that Xen does not know either do nothing. */
  const debugKeys: SysctlHandler = (v, op) => {
    const count = memory.u32(op + AT['u.debug_keys.nr_keys']);
    const keys = tools.handle(v, op + AT['u.debug_keys.keys'], count);
    if (keys === FAULT) return -XEN_EFAULT;
    for (const key of memory.bytes(keys, count)) if (key === 'r'.charCodeAt(0)) dumpRunQueues(context, parts);
    return 0;
  };

  const getcpuinfo: SysctlHandler = (v, op) => {
    const count = Math.min(memory.u32(op + AT['u.getcpuinfo.max_cpus']), shape.pcpus);
    const info = tools.handle(v, op + AT['u.getcpuinfo.info'], count * CPUINFO_BYTES);
    if (info === FAULT) return -XEN_EFAULT;
    for (let p = 0; p < count; p++) memory.setU64(info + p * CPUINFO_BYTES, idleTimeNs(context, p));
    memory.setU32(op + AT['u.getcpuinfo.nr_cpus'], count);
    return 0;
  };

  /** Every pCPU a core of its own, all in one socket and one node; of one that is off line nothing is known. */
  const cputopoinfo: SysctlHandler = (v, op) => {
    const at = op + AT['u.cputopoinfo.cputopo'];
    if (!tools.isNull(at)) {
      const count = Math.min(memory.u32(op + AT['u.cputopoinfo.num_cpus']), shape.pcpus);
      const list = tools.handle(v, at, count * TOPO_BYTES);
      if (list === FAULT) return -XEN_EFAULT;
      for (let p = 0; p < count; p++) {
        const isThere = hotplug.isOnline(p);
        memory.setU32(list + p * TOPO_BYTES + TOPO.core, isThere ? p : S.XEN_INVALID_CORE_ID);
        memory.setU32(list + p * TOPO_BYTES + TOPO.socket, isThere ? 0 : S.XEN_INVALID_SOCKET_ID);
        memory.setU32(list + p * TOPO_BYTES + TOPO.node, isThere ? 0 : S.XEN_INVALID_NODE_ID);
      }
    }
    memory.setU32(op + AT['u.cputopoinfo.num_cpus'], shape.pcpus);
    return 0;
  };

  return { readconsole, perfcOp, getdomaininfolist, debugKeys, getcpuinfo, cputopoinfo };
}
