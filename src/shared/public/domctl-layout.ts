/**
 * Structures of domctl (`domctl.h`), for those commands that ringzero serves: a member of the union `u` is named as C names
 * it. The numbers of the commands: `domctl.ts`.
 */

import { layout } from './layout.js';

/** What x86 adds to a domain's creation: devices that Xen plays for it (none for PV), and flags. u32 each. */
export const xen_arch_domainconfig = layout('struct xen_arch_domainconfig', [8, 8], {
  emulation_flags: [0, 0],
  misc_flags: [4, 4],
});

/** A mask in the caller's frames: a pointer to bytes, lowest bit first, and how many bits they hold (u32). */
export const xenctl_bitmap = layout('struct xenctl_bitmap', [16, 16], {
  bitmap: [0, 0],
  nr_bits: [8, 8],
});

/** A domain as its toolstack sees it; in `xen_domctl` and, as an array, in `XEN_SYSCTL_getdomaininfolist`. */
export const xen_domctl_getdomaininfo = layout('struct xen_domctl_getdomaininfo', [112, 112], {
  domain: [0, 0], // u16
  flags: [4, 4], // u32, XEN_DOMINF_*
  tot_pages: [8, 8], // u64, as all up to cpu_time
  max_pages: [16, 16],
  outstanding_pages: [24, 24],
  shr_pages: [32, 32],
  paged_pages: [40, 40],
  shared_info_frame: [48, 48],
  cpu_time: [56, 56], // ns
  nr_online_vcpus: [64, 64], // u32
  max_vcpu_id: [68, 68], // u32
  ssidref: [72, 72], // u32
  handle: [76, 76], // u8[16]
  cpupool: [92, 92], // u32
  gpaddr_bits: [96, 96], // u8
  arch_config: [104, 104], // xen_arch_domainconfig
});

/** Parameters of one VCPU, in the array of SCHEDOP_putvcpuinfo and getvcpuinfo. */
export const xen_domctl_schedparam_vcpu = layout('struct xen_domctl_schedparam_vcpu', [16, 16], {
  'u.credit.weight': [0, 0], // u16
  'u.credit.cap': [2, 2], // u16
  'u.credit2.weight': [0, 0], // u16
  'u.credit2.cap': [2, 2], // u16
  'u.rtds.period': [0, 0], // u32, us
  'u.rtds.budget': [4, 4], // u32, us
  'u.rtds.flags': [8, 8], // u32, XEN_DOMCTL_SCHEDRT_extra
  vcpuid: [12, 12], // u32
});

/** The argument of domctl. Handles are 64 bits wide for a caller of either width. */
export const xen_domctl = layout('struct xen_domctl', [144, 144], {
  cmd: [0, 0], // u32
  interface_version: [4, 4], // u32
  domain: [8, 8], // u16
  u: [16, 16],
  'u.createdomain.ssidref': [16, 16], // u32
  'u.createdomain.handle': [20, 20], // u8[16]
  'u.createdomain.flags': [36, 36], // u32, XEN_DOMCTL_CDF_*
  'u.createdomain.iommu_opts': [40, 40], // u32
  'u.createdomain.max_vcpus': [44, 44], // u32
  'u.createdomain.max_evtchn_port': [48, 48], // u32
  'u.createdomain.max_grant_frames': [52, 52], // s32
  'u.createdomain.max_maptrack_frames': [56, 56], // s32
  'u.createdomain.grant_opts': [60, 60], // u32
  'u.createdomain.vmtrace_size': [64, 64], // u32
  'u.createdomain.cpupool_id': [68, 68], // u32
  'u.createdomain.arch': [72, 72], // xen_arch_domainconfig
  'u.getdomaininfo': [16, 16], // xen_domctl_getdomaininfo
  'u.vcpuaffinity.vcpu': [16, 16], // u32
  'u.vcpuaffinity.flags': [20, 20], // u32, XEN_VCPUAFFINITY_*
  'u.vcpuaffinity.cpumap_hard': [24, 24], // xenctl_bitmap
  'u.vcpuaffinity.cpumap_soft': [40, 40], // xenctl_bitmap
  'u.nodeaffinity.nodemap': [16, 16], // xenctl_bitmap
  'u.max_mem.max_memkb': [16, 16], // u64
  'u.hypercall_init.gmfn': [16, 16], // u64
  'u.vcpucontext.vcpu': [16, 16], // u32
  'u.vcpucontext.ctxt': [24, 24], // handle of a vcpu_guest_context
  'u.getvcpuinfo.vcpu': [16, 16], // u32
  'u.getvcpuinfo.online': [20, 20], // u8
  'u.getvcpuinfo.blocked': [21, 21], // u8
  'u.getvcpuinfo.running': [22, 22], // u8
  'u.getvcpuinfo.cpu_time': [24, 24], // u64, ns
  'u.getvcpuinfo.cpu': [32, 32], // u32
  'u.max_vcpus.max': [16, 16], // u32
  'u.scheduler_op.sched_id': [16, 16], // u32, XEN_SCHEDULER_*
  'u.scheduler_op.cmd': [20, 20], // u32, XEN_DOMCTL_SCHEDOP_*
  'u.scheduler_op.u': [24, 24], // where a policy's own structure starts
  'u.scheduler_op.u.credit.weight': [24, 24], // u16
  'u.scheduler_op.u.credit.cap': [26, 26], // u16
  'u.scheduler_op.u.credit2.weight': [24, 24], // u16
  'u.scheduler_op.u.credit2.cap': [26, 26], // u16
  'u.scheduler_op.u.rtds.period': [24, 24], // u32, us
  'u.scheduler_op.u.rtds.budget': [28, 28], // u32, us
  'u.scheduler_op.u.rtds.flags': [32, 32], // u32
  'u.scheduler_op.u.v.vcpus': [24, 24], // handle of xen_domctl_schedparam_vcpu[]
  'u.scheduler_op.u.v.nr_vcpus': [32, 32], // u32
  'u.setdomainhandle.handle': [16, 16], // u8[16]
  'u.irq_permission.pirq': [16, 16], // u32
  'u.irq_permission.allow_access': [20, 20], // u8
  'u.address_size.size': [16, 16], // u32
});
