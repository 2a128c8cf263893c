/**
 * Structures of sysctl (`sysctl.h`), for those commands that ringzero serves: a member of the union `u` is named as C names
 * it. The numbers of the commands: `sysctl.ts`.
 */

import { layout } from './layout.js';

/** A performance counter's name, and how many values it has. */
export const xen_sysctl_perfc_desc = layout('struct xen_sysctl_perfc_desc', [84, 84], {
  name: [0, 0], // char[80]
  nr_vals: [80, 80], // u32
});

/** u64 ns a pCPU has been idle. */
export const xen_sysctl_cpuinfo = layout('struct xen_sysctl_cpuinfo', [8, 8], {
  idletime: [0, 0],
});

/** Where a pCPU is; u32 each, all ones where there is none. */
export const xen_sysctl_cputopo = layout('struct xen_sysctl_cputopo', [12, 12], {
  core: [0, 0],
  socket: [4, 4],
  node: [8, 8],
});

/** The argument of sysctl. Handles are 64 bits wide for a caller of either width. */
export const xen_sysctl = layout('struct xen_sysctl', [136, 136], {
  cmd: [0, 0], // u32
  interface_version: [4, 4], // u32
  u: [8, 8],
  'u.readconsole.clear': [8, 8], // u8
  'u.readconsole.incremental': [9, 9], // u8
  'u.readconsole.index': [12, 12], // u32
  'u.readconsole.buffer': [16, 16], // handle
  'u.readconsole.count': [24, 24], // u32
  'u.physinfo.threads_per_core': [8, 8], // u32, as all before total_pages
  'u.physinfo.cores_per_socket': [12, 12],
  'u.physinfo.nr_cpus': [16, 16],
  'u.physinfo.max_cpu_id': [20, 20],
  'u.physinfo.nr_nodes': [24, 24],
  'u.physinfo.max_node_id': [28, 28],
  'u.physinfo.cpu_khz': [32, 32],
  'u.physinfo.capabilities': [36, 36], // XEN_SYSCTL_PHYSCAP_*
  'u.physinfo.arch_capabilities': [40, 40],
  'u.physinfo.total_pages': [48, 48], // u64
  'u.physinfo.free_pages': [56, 56],
  'u.physinfo.scrub_pages': [64, 64],
  'u.physinfo.outstanding_pages': [72, 72],
  'u.physinfo.max_mfn': [80, 80],
  'u.physinfo.hw_cap': [88, 88], // u32[8]
  'u.sched_id.sched_id': [8, 8], // u32
  'u.perfc_op.cmd': [8, 8], // u32, XEN_SYSCTL_PERFCOP_*
  'u.perfc_op.nr_counters': [12, 12], // u32
  'u.perfc_op.nr_vals': [16, 16], // u32
  'u.perfc_op.desc': [24, 24], // handle of xen_sysctl_perfc_desc[]
  'u.perfc_op.val': [32, 32], // handle of u32[]
  'u.getdomaininfolist.first_domain': [8, 8], // u16
  'u.getdomaininfolist.max_domains': [12, 12], // u32
  'u.getdomaininfolist.buffer': [16, 16], // handle of xen_domctl_getdomaininfo[]
  'u.getdomaininfolist.num_domains': [24, 24], // u32
  'u.debug_keys.keys': [8, 8], // handle of char[]
  'u.debug_keys.nr_keys': [16, 16], // u32
  'u.getcpuinfo.max_cpus': [8, 8], // u32
  'u.getcpuinfo.info': [16, 16], // handle of xen_sysctl_cpuinfo[]
  'u.getcpuinfo.nr_cpus': [24, 24], // u32
  'u.availheap.min_bitwidth': [8, 8], // u32
  'u.availheap.max_bitwidth': [12, 12], // u32
  'u.availheap.node': [16, 16], // s32
  'u.availheap.avail_bytes': [24, 24], // u64
  'u.cpu_hotplug.cpu': [8, 8], // u32
  'u.cpu_hotplug.op': [12, 12], // u32, XEN_SYSCTL_CPU_HOTPLUG_*
  'u.cputopoinfo.num_cpus': [8, 8], // u32
  'u.cputopoinfo.cputopo': [16, 16], // handle of xen_sysctl_cputopo[]
  'u.cpupool_op.op': [8, 8], // u32, XEN_SYSCTL_CPUPOOL_OP_*; u32 all up to cpumap
  'u.cpupool_op.cpupool_id': [12, 12],
  'u.cpupool_op.sched_id': [16, 16],
  'u.cpupool_op.domid': [20, 20],
  'u.cpupool_op.cpu': [24, 24],
  'u.cpupool_op.n_dom': [28, 28],
  'u.cpupool_op.cpumap': [32, 32], // xenctl_bitmap
  'u.scheduler_op.cpupool_id': [8, 8], // u32
  'u.scheduler_op.sched_id': [12, 12], // u32, XEN_SCHEDULER_*
  'u.scheduler_op.cmd': [16, 16], // u32, XEN_SYSCTL_SCHEDOP_*
  'u.scheduler_op.u.sched_credit.tslice_ms': [24, 24], // u32
  'u.scheduler_op.u.sched_credit.ratelimit_us': [28, 28], // u32
  'u.scheduler_op.u.sched_credit.vcpu_migr_delay_us': [32, 32], // u32
  'u.scheduler_op.u.sched_credit2.ratelimit_us': [24, 24], // u32
});
