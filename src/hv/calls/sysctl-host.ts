/** sysctl: the host: what it has, and its pCPUs off line and back (S24). */
import { PAGE_SIZE } from '../../shared/image.js';
import { XEN_EBUSY, XEN_EEXIST, XEN_EINVAL, XEN_EOPNOTSUPP } from '../../shared/public/errno.js';
import { offsetsOf } from '../../shared/public/layout.js';
import * as S from '../../shared/public/sysctl.js';
import { xen_sysctl } from '../../shared/public/sysctl-layout.js';
import type { CallParts } from './call.js';
import type { SysctlHandler } from './toolstack.js';

/** Bytes of xen_sysctl_physinfo: all that is not said is 0. */
const PHYSINFO_BYTES = 112;

export function sysctlHost(parts: CallParts) {
  const { context, memory, hotplug, cpupools, time } = parts;
  const { host, shape, params, image } = context;
  const AT = offsetsOf(xen_sysctl, 64);

  /** One socket of cores without siblings, and one node. */
  const physinfo: SysctlHandler = (_v, op) => {
    image.u8.fill(0, op + AT.u, op + AT.u + PHYSINFO_BYTES);
    memory.setU32(op + AT['u.physinfo.threads_per_core'], 1);
    memory.setU32(op + AT['u.physinfo.cores_per_socket'], shape.pcpus);
    memory.setU32(op + AT['u.physinfo.nr_cpus'], hotplug.count());
    memory.setU32(op + AT['u.physinfo.max_cpu_id'], shape.pcpus - 1);
    memory.setU32(op + AT['u.physinfo.nr_nodes'], 1);
    memory.setU32(op + AT['u.physinfo.cpu_khz'], Math.round(params.cycleHz / 1000));
    memory.setU32(op + AT['u.physinfo.capabilities'], S.XEN_SYSCTL_PHYSCAP_pv);
    memory.setU64(op + AT['u.physinfo.total_pages'], host.totalPages(0));
    memory.setU64(op + AT['u.physinfo.free_pages'], host.freePages(0));
    memory.setU64(op + AT['u.physinfo.max_mfn'], host.totalPages(0) - 1);
    return 0;
  };

  const availheap: SysctlHandler = (_v, op) => {
    memory.setU64(op + AT['u.availheap.avail_bytes'], host.freePages(0) * PAGE_SIZE);
    return 0;
  };

  /** As Xen's cpu_up and cpu_down answer. */
  const cpuHotplug: SysctlHandler = (_v, op) => {
    const p = memory.u32(op + AT['u.cpu_hotplug.cpu']);
    switch (memory.u32(op + AT['u.cpu_hotplug.op'])) {
      case S.XEN_SYSCTL_CPU_HOTPLUG_ONLINE:
        if (p >= shape.pcpus) return -XEN_EINVAL;
        if (hotplug.isOnline(p)) return -XEN_EEXIST;
        if (time.isComing(p)) return -XEN_EBUSY;
        hotplug.online(p);
        return 0;
      case S.XEN_SYSCTL_CPU_HOTPLUG_OFFLINE:
        if (p >= shape.pcpus || p === 0) return -XEN_EINVAL;
        if (time.isComing(p)) return -XEN_EBUSY;
        if (!hotplug.isOnline(p)) return -XEN_EEXIST;
        if (cpupools.isLast(p)) return -XEN_EBUSY;
        hotplug.offline(p);
        return 0;
      default:
        // No threads that could go as siblings.
        return -XEN_EOPNOTSUPP;
    }
  };

  return { physinfo, availheap, cpuHotplug };
}
