/** A toolstack's hypercalls about the host, as libxc has them. */

import { xen_domctl_getdomaininfo } from '../shared/public/domctl-layout.js';
import { offsetsOf, sizeOf } from '../shared/public/layout.js';
import * as S from '../shared/public/sysctl.js';
import { xen_sysctl, xen_sysctl_perfc_desc } from '../shared/public/sysctl-layout.js';
import { __HYPERVISOR_sysctl } from '../shared/public/xen.js';
import { Argument, readBitmap } from './argument.js';
import { type DomainState, type Query, readDomainInfo } from './domctl.js';
import { type SchedulerName, schedulerNumber } from './schedulers.js';
import type { ToolCall } from './tool-job.js';

const AT = offsetsOf(xen_sysctl, 64);

function sysctl(cmd: number): Argument {
  return new Argument(xen_sysctl).u32(AT.cmd, cmd).u32(AT.interface_version, S.XEN_SYSCTL_INTERFACE_VERSION);
}

const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.byteLength);

/** Domains from number `first` on, at most `room`. */
export function getDomainInfoList(first: number, room: number): Query<DomainState[]> {
  const bytes = sizeOf(xen_domctl_getdomaininfo, 64);
  const argument = sysctl(S.XEN_SYSCTL_getdomaininfolist)
    .u16(AT['u.getdomaininfolist.first_domain'], first)
    .u32(AT['u.getdomaininfolist.max_domains'], room);
  const list = argument.buffer(AT['u.getdomaininfolist.buffer'], new Uint8Array(room * bytes));
  return {
    call: argument.call(__HYPERVISOR_sysctl),
    read: (data) =>
      Array.from({ length: viewOf(data).getUint32(AT['u.getdomaininfolist.num_domains'], true) }, (_, n) =>
        readDomainInfo(data, list + n * bytes),
      ),
  };
}

export interface PhysInfo {
  readonly threadsPerCore: number;
  readonly coresPerSocket: number;
  readonly cpus: number;
  readonly maxCpuId: number;
  readonly nodes: number;
  readonly cpuKhz: number;
  readonly totalPages: number;
  readonly freePages: number;
  /** Claimed and not taken yet. */
  readonly outstandingPages: number;
}

export function physInfo(): Query<PhysInfo> {
  return {
    call: sysctl(S.XEN_SYSCTL_physinfo).call(__HYPERVISOR_sysctl),
    read(data) {
      const view = viewOf(data);
      const u32 = (at: number): number => view.getUint32(at, true);
      return {
        threadsPerCore: u32(AT['u.physinfo.threads_per_core']),
        coresPerSocket: u32(AT['u.physinfo.cores_per_socket']),
        cpus: u32(AT['u.physinfo.nr_cpus']),
        maxCpuId: u32(AT['u.physinfo.max_cpu_id']),
        nodes: u32(AT['u.physinfo.nr_nodes']),
        cpuKhz: u32(AT['u.physinfo.cpu_khz']),
        totalPages: Number(view.getBigUint64(AT['u.physinfo.total_pages'], true)),
        freePages: Number(view.getBigUint64(AT['u.physinfo.free_pages'], true)),
        outstandingPages: Number(view.getBigUint64(AT['u.physinfo.outstanding_pages'], true)),
      };
    },
  };
}

/** The hypervisor's messages, as many bytes as there is room for. */
export function readConsole(room: number, clear = false): Query<string> {
  const argument = sysctl(S.XEN_SYSCTL_readconsole)
    .u8(AT['u.readconsole.clear'], clear ? 1 : 0)
    .u32(AT['u.readconsole.count'], room);
  const text = argument.buffer(AT['u.readconsole.buffer'], new Uint8Array(room));
  return {
    call: argument.call(__HYPERVISOR_sysctl),
    read: (data) =>
      new TextDecoder().decode(data.subarray(text, text + viewOf(data).getUint32(AT['u.readconsole.count'], true))),
  };
}

export function debugKeys(keys: string): ToolCall {
  const argument = sysctl(S.XEN_SYSCTL_debug_keys).u32(AT['u.debug_keys.nr_keys'], keys.length);
  argument.buffer(AT['u.debug_keys.keys'], new TextEncoder().encode(keys));
  return argument.call(__HYPERVISOR_sysctl);
}

export const cpuHotplug = (cpu: number, online: boolean): ToolCall =>
  sysctl(S.XEN_SYSCTL_cpu_hotplug)
    .u32(AT['u.cpu_hotplug.cpu'], cpu)
    .u32(AT['u.cpu_hotplug.op'], online ? S.XEN_SYSCTL_CPU_HOTPLUG_ONLINE : S.XEN_SYSCTL_CPU_HOTPLUG_OFFLINE)
    .call(__HYPERVISOR_sysctl);

/** Number of the default scheduler, `XEN_SCHEDULER_*`. */
export const schedId = (): Query<number> => ({
  call: sysctl(S.XEN_SYSCTL_sched_id).call(__HYPERVISOR_sysctl),
  read: (data) => viewOf(data).getUint32(AT['u.sched_id.sched_id'], true),
});

export interface CreditGlobals {
  readonly tsliceMs: number;
  readonly ratelimitUs: number;
  readonly migrationDelayUs: number;
}

function globals(pool: number, policy: SchedulerName, cmd: number): Argument {
  return sysctl(S.XEN_SYSCTL_scheduler_op)
    .u32(AT['u.scheduler_op.cpupool_id'], pool)
    .u32(AT['u.scheduler_op.sched_id'], schedulerNumber(policy))
    .u32(AT['u.scheduler_op.cmd'], cmd);
}

/** The credit scheduler's parameters of a pool. */
export const getCreditGlobals = (pool: number): Query<CreditGlobals> => ({
  call: globals(pool, 'credit', S.XEN_SYSCTL_SCHEDOP_getinfo).call(__HYPERVISOR_sysctl),
  read(data) {
    const u32 = (at: number): number => viewOf(data).getUint32(at, true);
    return {
      tsliceMs: u32(AT['u.scheduler_op.u.sched_credit.tslice_ms']),
      ratelimitUs: u32(AT['u.scheduler_op.u.sched_credit.ratelimit_us']),
      migrationDelayUs: u32(AT['u.scheduler_op.u.sched_credit.vcpu_migr_delay_us']),
    };
  },
});

export const setCreditGlobals = (pool: number, g: CreditGlobals): ToolCall =>
  globals(pool, 'credit', S.XEN_SYSCTL_SCHEDOP_putinfo)
    .u32(AT['u.scheduler_op.u.sched_credit.tslice_ms'], g.tsliceMs)
    .u32(AT['u.scheduler_op.u.sched_credit.ratelimit_us'], g.ratelimitUs)
    .u32(AT['u.scheduler_op.u.sched_credit.vcpu_migr_delay_us'], g.migrationDelayUs)
    .call(__HYPERVISOR_sysctl);

/** The same of credit2, which has a ratelimit only. */
export const getCredit2Globals = (pool: number): Query<CreditGlobals> => ({
  call: globals(pool, 'credit2', S.XEN_SYSCTL_SCHEDOP_getinfo).call(__HYPERVISOR_sysctl),
  read: (data) => ({
    tsliceMs: 0,
    ratelimitUs: viewOf(data).getUint32(AT['u.scheduler_op.u.sched_credit2.ratelimit_us'], true),
    migrationDelayUs: 0,
  }),
});

export const setCredit2Globals = (pool: number, ratelimitUs: number): ToolCall =>
  globals(pool, 'credit2', S.XEN_SYSCTL_SCHEDOP_putinfo)
    .u32(AT['u.scheduler_op.u.sched_credit2.ratelimit_us'], ratelimitUs)
    .call(__HYPERVISOR_sysctl);

export interface Counter {
  readonly name: string;
  readonly values: readonly number[];
}

/** Performance counters, for as many as there is room for. */
export function perfCounters(counters: number, values: number): Query<Counter[]> {
  const descBytes = sizeOf(xen_sysctl_perfc_desc, 64);
  const { name, nr_vals } = offsetsOf(xen_sysctl_perfc_desc, 64);
  const argument = sysctl(S.XEN_SYSCTL_perfc_op)
    .u32(AT['u.perfc_op.cmd'], S.XEN_SYSCTL_PERFCOP_query)
    .u32(AT['u.perfc_op.nr_counters'], counters)
    .u32(AT['u.perfc_op.nr_vals'], values);
  const desc = argument.buffer(AT['u.perfc_op.desc'], new Uint8Array(counters * descBytes));
  const vals = argument.buffer(AT['u.perfc_op.val'], new Uint8Array(values * 4));
  return {
    call: argument.call(__HYPERVISOR_sysctl),
    read(data) {
      const view = viewOf(data);
      let v = vals;
      return Array.from({ length: view.getUint32(AT['u.perfc_op.nr_counters'], true) }, (_, n) => {
        const at = desc + n * descBytes;
        const [text] = new TextDecoder().decode(data.subarray(at + name, at + nr_vals)).split('\0');
        const count = view.getUint32(at + nr_vals, true);
        const own = Array.from({ length: count }, (_x, k) => view.getUint32(v + 4 * k, true));
        v += 4 * count;
        return { name: text ?? '', values: own };
      });
    },
  };
}

export interface PoolInfo {
  readonly id: number;
  /** `XEN_SCHEDULER_*`. */
  readonly scheduler: number;
  readonly domains: number;
  readonly cpus: readonly number[];
}

interface PoolOp {
  readonly pool?: number;
  readonly scheduler?: number;
  readonly domain?: number;
  readonly cpu?: number;
}

function poolOp(op: number, { pool = 0, scheduler = 0, domain = 0, cpu = 0 }: PoolOp): Argument {
  return sysctl(S.XEN_SYSCTL_cpupool_op)
    .u32(AT['u.cpupool_op.op'], op)
    .u32(AT['u.cpupool_op.cpupool_id'], pool)
    .u32(AT['u.cpupool_op.sched_id'], scheduler)
    .u32(AT['u.cpupool_op.domid'], domain)
    .u32(AT['u.cpupool_op.cpu'], cpu);
}

/** The pool of that number, or the next above it. */
export function poolInfo(pool: number, pcpus: number): Query<PoolInfo> {
  const argument = poolOp(S.XEN_SYSCTL_CPUPOOL_OP_INFO, { pool });
  const map = argument.bitmap(AT['u.cpupool_op.cpumap'], [], pcpus);
  return {
    call: argument.call(__HYPERVISOR_sysctl),
    read(data) {
      const u32 = (at: number): number => viewOf(data).getUint32(at, true);
      return {
        id: u32(AT['u.cpupool_op.cpupool_id']),
        scheduler: u32(AT['u.cpupool_op.sched_id']),
        domains: u32(AT['u.cpupool_op.n_dom']),
        cpus: readBitmap(data, map, pcpus),
      };
    },
  };
}

/** pCPUs that are in no pool. */
export function freeCpus(pcpus: number): Query<number[]> {
  const argument = poolOp(S.XEN_SYSCTL_CPUPOOL_OP_FREEINFO, {});
  const map = argument.bitmap(AT['u.cpupool_op.cpumap'], [], pcpus);
  return { call: argument.call(__HYPERVISOR_sysctl), read: (data) => readBitmap(data, map, pcpus) };
}

const pools = (op: number, what: PoolOp): ToolCall => poolOp(op, what).call(__HYPERVISOR_sysctl);

export const poolCreate = (pool: number, scheduler: number): ToolCall =>
  pools(S.XEN_SYSCTL_CPUPOOL_OP_CREATE, { pool, scheduler });
export const poolDestroy = (pool: number): ToolCall => pools(S.XEN_SYSCTL_CPUPOOL_OP_DESTROY, { pool });
export const poolAddCpu = (pool: number, cpu: number): ToolCall => pools(S.XEN_SYSCTL_CPUPOOL_OP_ADDCPU, { pool, cpu });
export const poolRemoveCpu = (pool: number, cpu: number): ToolCall =>
  pools(S.XEN_SYSCTL_CPUPOOL_OP_RMCPU, { pool, cpu });
export const poolMoveDomain = (pool: number, domain: number): ToolCall =>
  pools(S.XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, { pool, domain });
