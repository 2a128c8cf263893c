/**
 * Control of the host by dom0's tools (`sysctl.h`): the commands of `sysctl(struct xen_sysctl *)`, and the limits of
 * the credit scheduler's parameters. As with domctl, the interface may change with each version of Xen.
 */

export const XEN_SYSCTL_INTERFACE_VERSION = 0x15;

export const XEN_SYSCTL_readconsole = 1;
export const XEN_SYSCTL_tbuf_op = 2;
export const XEN_SYSCTL_physinfo = 3;
export const XEN_SYSCTL_sched_id = 4;
export const XEN_SYSCTL_perfc_op = 5;
export const XEN_SYSCTL_getdomaininfolist = 6;
export const XEN_SYSCTL_debug_keys = 7;
export const XEN_SYSCTL_getcpuinfo = 8;
export const XEN_SYSCTL_availheap = 9;
export const XEN_SYSCTL_get_pmstat = 10;
export const XEN_SYSCTL_cpu_hotplug = 11;
export const XEN_SYSCTL_pm_op = 12;
export const XEN_SYSCTL_page_offline_op = 14;
export const XEN_SYSCTL_lockprof_op = 15;
export const XEN_SYSCTL_cputopoinfo = 16;
export const XEN_SYSCTL_numainfo = 17;
export const XEN_SYSCTL_cpupool_op = 18;
export const XEN_SYSCTL_scheduler_op = 19;
export const XEN_SYSCTL_coverage_op = 20;
export const XEN_SYSCTL_psr_cmt_op = 21;
export const XEN_SYSCTL_pcitopoinfo = 22;
export const XEN_SYSCTL_psr_alloc = 23;
export const XEN_SYSCTL_get_cpu_levelling_caps = 25;
export const XEN_SYSCTL_get_cpu_featureset = 26;
export const XEN_SYSCTL_livepatch_op = 27;
export const XEN_SYSCTL_get_cpu_policy = 29;

// xen_sysctl_scheduler_op.cmd.
export const XEN_SYSCTL_SCHEDOP_putinfo = 0;
export const XEN_SYSCTL_SCHEDOP_getinfo = 1;

// Limits; the unit is in the name, and microseconds for the ratelimit.
export const XEN_SYSCTL_CSCHED_TSLICE_MIN = 1; // ms
export const XEN_SYSCTL_CSCHED_TSLICE_MAX = 1000; // ms
export const XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US = 100000;
export const XEN_SYSCTL_SCHED_RATELIMIT_MIN = 100; // us; 0, which turns the limit off, is allowed too
export const XEN_SYSCTL_SCHED_RATELIMIT_MAX = 500000; // us

// xen_sysctl_cpupool_op.op.
export const XEN_SYSCTL_CPUPOOL_OP_CREATE = 1;
export const XEN_SYSCTL_CPUPOOL_OP_DESTROY = 2;
export const XEN_SYSCTL_CPUPOOL_OP_INFO = 3;
export const XEN_SYSCTL_CPUPOOL_OP_ADDCPU = 4;
export const XEN_SYSCTL_CPUPOOL_OP_RMCPU = 5;
export const XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN = 6;
export const XEN_SYSCTL_CPUPOOL_OP_FREEINFO = 7;
export const XEN_SYSCTL_CPUPOOL_PAR_ANY = 0xffffffff;

// xen_sysctl_tbuf_op.cmd.
export const XEN_SYSCTL_TBUFOP_get_info = 0;
export const XEN_SYSCTL_TBUFOP_set_cpu_mask = 1;
export const XEN_SYSCTL_TBUFOP_set_evt_mask = 2;
export const XEN_SYSCTL_TBUFOP_set_size = 3;
export const XEN_SYSCTL_TBUFOP_enable = 4;
export const XEN_SYSCTL_TBUFOP_disable = 5;

// xen_sysctl_perfc_op.cmd.
export const XEN_SYSCTL_PERFCOP_reset = 1;
export const XEN_SYSCTL_PERFCOP_query = 2;

// xen_sysctl_cpu_hotplug.op.
export const XEN_SYSCTL_CPU_HOTPLUG_ONLINE = 0;
export const XEN_SYSCTL_CPU_HOTPLUG_OFFLINE = 1;
export const XEN_SYSCTL_CPU_HOTPLUG_SMT_ENABLE = 2;
export const XEN_SYSCTL_CPU_HOTPLUG_SMT_DISABLE = 3;

// xen_sysctl_physinfo.capabilities.
export const XEN_SYSCTL_PHYSCAP_hvm = 1 << 0;
export const XEN_SYSCTL_PHYSCAP_pv = 1 << 1;

// xen_sysctl_cputopo of a pCPU that is not there.
export const XEN_INVALID_CORE_ID = 0xffffffff;
export const XEN_INVALID_SOCKET_ID = 0xffffffff;
export const XEN_INVALID_NODE_ID = 0xffffffff;
