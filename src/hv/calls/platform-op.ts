/** platform_op (platform.h), for domain 0 alone: the wall clock (S12), and the host's pCPUs (S24). */
import {
  XEN_EACCES,
  XEN_EBUSY,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
} from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import {
  XEN_PCPU_FLAGS_INVALID,
  XEN_PCPU_FLAGS_ONLINE,
  XENPF_cpu_offline,
  XENPF_cpu_online,
  XENPF_get_cpuinfo,
  XENPF_getidletime,
  XENPF_INTERFACE_VERSION,
  XENPF_settime32,
  XENPF_settime64,
  xen_platform_op,
} from '../../shared/public/platform.js';
import { FAULT } from '../guest-memory.js';
import { idleTimeNs } from '../idle-time.js';
import { type CallParts, type Handler, pointer } from './call.js';
import { bitmapAt, PRIVILEGED } from './toolstack.js';

const NS = 1e9;

export function platformOp(parts: CallParts): Handler {
  const { context, memory, time, hotplug, cpupools, separation, smp } = parts;
  const { vcpu, domain, shape, image } = context;
  const at = offsetsOf(xen_platform_op, 64);
  const IDLE = { 32: offsetsOf(xen_platform_op, 32), 64: at };

  /** UTC was `secs` and `nsecs` when system time was `systemNs`; kept as UTC at system time 0. */
  function setTime(secs: number, nsecs: number, systemNs: number): number {
    const rest = nsecs - systemNs;
    const seconds = secs + Math.floor(rest / NS);
    if (nsecs >= NS || seconds < 0) return -XEN_EINVAL;
    time.setWallClock(seconds, rest - Math.floor(rest / NS) * NS);
    return 0;
  }

  function cpuOnline(p: number): number {
    if (p >= shape.pcpus) return -XEN_EINVAL;
    if (hotplug.isOnline(p)) return 0;
    if (time.isComing(p)) return -XEN_EBUSY;
    hotplug.online(p);
    return 0;
  }

  /** pCPU 0 stays: so much in Xen hangs on it. */
  function cpuOffline(p: number): number {
    if (p === 0) return -XEN_EOPNOTSUPP;
    if (p >= shape.pcpus) return -XEN_EINVAL;
    if (time.isComing(p)) return -XEN_EBUSY;
    if (cpupools.isLast(p)) return -XEN_EBUSY;
    if (hotplug.isOnline(p)) hotplug.offline(p);
    return 0;
  }

  function getCpuinfo(op: number): number {
    const p = memory.u32(op + at['u.pcpu_info.xen_cpuid']);
    const exists = p < shape.pcpus;
    memory.setU32(op + at['u.pcpu_info.max_present'], shape.pcpus - 1);
    const state = exists && hotplug.isOnline(p) ? XEN_PCPU_FLAGS_ONLINE : 0;
    memory.setU32(op + at['u.pcpu_info.flags'], exists ? state : XEN_PCPU_FLAGS_INVALID);
    if (!exists) return 0;
    memory.setU32(op + at['u.pcpu_info.apic_id'], p);
    memory.setU32(op + at['u.pcpu_info.acpi_id'], p);
    return 0;
  }

  /** Idle time of each pCPU that is asked for and there, in an array that is indexed by pCPU. Pointers are as wide as the caller's. */
  function getIdletime(v: number, op: number): number {
    const d = vcpu.domain(v);
    const offsets = IDLE[domain.width(d) === 64 ? 64 : 32];
    const bits = memory.u32(op + offsets['u.getidletime.cpumap_nr_cpus']);
    const map = memory.translateAt(d, op + offsets['u.getidletime.cpumap_bitmap'], Math.ceil(bits / 8));
    if (map === FAULT) return -XEN_EFAULT;
    const mask = bitmapAt(image.u8, map, bits, shape.pcpus);
    const cpus = mask.read();
    const times = memory.translateAt(d, op + offsets['u.getidletime.idletime'], 8 * ((cpus.at(-1) ?? -1) + 1));
    if (times === FAULT) return -XEN_EFAULT;
    for (const p of cpus) memory.setU64(times + 8 * p, idleTimeNs(context, p));
    mask.write(cpus);
    memory.setU64(op + offsets['u.getidletime.now'], Math.floor(time.systemTime(smp.self())));
    return 0;
  }

  return (v) => {
    if (vcpu.domain(v) !== PRIVILEGED) return -XEN_EPERM;
    const op = pointer(parts, v, 0, sizeOf(xen_platform_op, 64));
    if (op === FAULT) return -XEN_EFAULT;
    if (memory.u32(op + at.interface_version) !== XENPF_INTERFACE_VERSION) return -XEN_EACCES;
    switch (memory.u32(op + at.cmd)) {
      case XENPF_settime32:
        return setTime(
          memory.u32(op + at['u.settime32.secs']),
          memory.u32(op + at['u.settime32.nsecs']),
          memory.u64(op + at['u.settime32.system_time']),
        );
      case XENPF_settime64:
        if (memory.u32(op + at['u.settime64.mbz']) !== 0) return -XEN_EINVAL;
        return setTime(
          memory.u64(op + at['u.settime64.secs']),
          memory.u32(op + at['u.settime64.nsecs']),
          memory.u64(op + at['u.settime64.system_time']),
        );
      case XENPF_cpu_online:
        return separation.alone(() => cpuOnline(memory.u32(op + at['u.cpu_ol.cpuid'])));
      case XENPF_cpu_offline:
        return separation.alone(() => cpuOffline(memory.u32(op + at['u.cpu_ol.cpuid'])));
      case XENPF_get_cpuinfo:
        return getCpuinfo(op);
      case XENPF_getidletime:
        return getIdletime(v, op);
      default:
        return -XEN_ENOSYS;
    }
  };
}
