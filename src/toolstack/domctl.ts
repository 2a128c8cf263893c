/**
 * A toolstack's hypercalls about one domain, as libxc has them: arguments in, a call for domain 0 to make out, and what its answer
 * says. Whether a call is right is the hypervisor's to say.
 */

import { entryPointOffset } from '../shared/guest-context.js';
import { VGCF_online } from '../shared/public/arch-x86.js';
import { vcpu_guest_context } from '../shared/public/arch-x86-layout.js';
import * as D from '../shared/public/domctl.js';
import { xen_domctl, xen_domctl_getdomaininfo } from '../shared/public/domctl-layout.js';
import { offsetsOf, sizeOf } from '../shared/public/layout.js';
import { XENMEM_populate_physmap, xen_memory_reservation } from '../shared/public/memory.js';
import { __HYPERVISOR_domctl, __HYPERVISOR_memory_op } from '../shared/public/xen.js';
import { xen_domctl_sched_sedf } from '../shared/sedf-abi.js';
import { Argument, CALL_COST_NS, readBitmap } from './argument.js';
import { type CreditName, type SchedulerName, schedulerNumber } from './schedulers.js';
import type { ToolCall } from './tool-job.js';

const AT = offsetsOf(xen_domctl, 64);
const SEDF = offsetsOf(xen_domctl_sched_sedf, 64);
const INFO = offsetsOf(xen_domctl_getdomaininfo, 64);
const RESERVATION = offsetsOf(xen_memory_reservation, 64);

/** A new domain's memory is filled in superpages of 2 MiB. */
const EXTENT_ORDER = 9;
const EXTENT_PAGES = 1 << EXTENT_ORDER;
/** What the builder does for a page: clear it, load into it, enter it in tables, ns. */
export const BUILD_PAGE_NS = 300;

function domctl(cmd: number, d: number): Argument {
  return new Argument(xen_domctl)
    .u32(AT.cmd, cmd)
    .u32(AT.interface_version, D.XEN_DOMCTL_INTERFACE_VERSION)
    .u16(AT.domain, d);
}

const plain = (cmd: number, d: number): ToolCall => domctl(cmd, d).call(__HYPERVISOR_domctl);

export const pauseDomain = (d: number): ToolCall => plain(D.XEN_DOMCTL_pausedomain, d);
export const unpauseDomain = (d: number): ToolCall => plain(D.XEN_DOMCTL_unpausedomain, d);
export const destroyDomain = (d: number): ToolCall => plain(D.XEN_DOMCTL_destroydomain, d);

export function createDomain(d: number, vcpus: number, pool: number): ToolCall {
  return domctl(D.XEN_DOMCTL_createdomain, d)
    .u32(AT['u.createdomain.max_vcpus'], vcpus)
    .u32(AT['u.createdomain.max_evtchn_port'], 0xffffffff)
    .u32(AT['u.createdomain.max_grant_frames'], 0xffffffff)
    .u32(AT['u.createdomain.max_maptrack_frames'], 0xffffffff)
    .u32(AT['u.createdomain.grant_opts'], 1)
    .u32(AT['u.createdomain.cpupool_id'], pool)
    .call(__HYPERVISOR_domctl);
}

/** @param bits 32 or 64 */
export const setAddressSize = (d: number, bits: number): ToolCall =>
  domctl(D.XEN_DOMCTL_set_address_size, d).u32(AT['u.address_size.size'], bits).call(__HYPERVISOR_domctl);

export const maxVcpus = (d: number, vcpus: number): ToolCall =>
  domctl(D.XEN_DOMCTL_max_vcpus, d).u32(AT['u.max_vcpus.max'], vcpus).call(__HYPERVISOR_domctl);

export const maxMem = (d: number, kib: number): ToolCall =>
  domctl(D.XEN_DOMCTL_max_mem, d).u64(AT['u.max_mem.max_memkb'], kib).call(__HYPERVISOR_domctl);

/** Gives domain d all its memory, page after page. */
export function populatePhysmap(d: number, pages: number): ToolCall[] {
  const some = (order: number, first: number, count: number): ToolCall => {
    const argument = new Argument(xen_memory_reservation)
      .u64(RESERVATION.nr_extents, count)
      .u32(RESERVATION.extent_order, order)
      .u16(RESERVATION.domid, d);
    const frames = new BigUint64Array(Array.from({ length: count }, (_, n) => BigInt(first + (n << order))));
    argument.buffer(RESERVATION.extent_start, new Uint8Array(frames.buffer));
    const costNs = CALL_COST_NS + count * 2 ** order * BUILD_PAGE_NS;
    return { ...argument.call(__HYPERVISOR_memory_op, [XENMEM_populate_physmap], costNs), needs: count };
  };
  const extents = Math.floor(pages / EXTENT_PAGES);
  const rest = pages - extents * EXTENT_PAGES;
  return [
    ...(extents > 0 ? [some(EXTENT_ORDER, 0, extents)] : []),
    ...(rest > 0 ? [some(0, extents * EXTENT_PAGES, rest)] : []),
  ];
}

/** Where a VCPU starts. @param width of the domain; its context has the layout of that ABI */
export function setVcpuContext(d: number, vcpu: number, entry: number, width: 32 | 64): ToolCall {
  const argument = domctl(D.XEN_DOMCTL_setvcpucontext, d).u32(AT['u.vcpucontext.vcpu'], vcpu);
  const context = new Uint8Array(sizeOf(vcpu_guest_context, width));
  const view = new DataView(context.buffer);
  view.setUint32(entryPointOffset(width), entry, true);
  view.setUint32(
    width === 64 ? offsetsOf(vcpu_guest_context, 64).flags : offsetsOf(vcpu_guest_context, 32).flags,
    VGCF_online,
    true,
  );
  argument.buffer(AT['u.vcpucontext.ctxt'], context);
  return argument.call(__HYPERVISOR_domctl);
}

export interface Affinity {
  readonly hard?: readonly number[] | undefined;
  readonly soft?: readonly number[] | undefined;
}

/** Sets the masks that are given. */
export function setVcpuAffinity(
  d: number,
  vcpu: number,
  { hard, soft }: Affinity,
  pcpus: number,
  force = false,
): ToolCall {
  const flags =
    (hard === undefined ? 0 : D.XEN_VCPUAFFINITY_HARD) |
    (soft === undefined ? 0 : D.XEN_VCPUAFFINITY_SOFT) |
    (force ? D.XEN_VCPUAFFINITY_FORCE : 0);
  const argument = domctl(D.XEN_DOMCTL_setvcpuaffinity, d)
    .u32(AT['u.vcpuaffinity.vcpu'], vcpu)
    .u32(AT['u.vcpuaffinity.flags'], flags);
  if (hard !== undefined) argument.bitmap(AT['u.vcpuaffinity.cpumap_hard'], hard, pcpus);
  if (soft !== undefined) argument.bitmap(AT['u.vcpuaffinity.cpumap_soft'], soft, pcpus);
  return argument.call(__HYPERVISOR_domctl);
}

export interface Query<T> {
  readonly call: ToolCall;
  /** What the answer's data says, and the number that the call returned, which is not negative. */
  read(data: Uint8Array, rc: number): T;
}

const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.byteLength);

/** Both masks of a VCPU, as they are set. */
export function getVcpuAffinity(d: number, vcpu: number, pcpus: number): Query<{ hard: number[]; soft: number[] }> {
  const argument = domctl(D.XEN_DOMCTL_getvcpuaffinity, d)
    .u32(AT['u.vcpuaffinity.vcpu'], vcpu)
    .u32(AT['u.vcpuaffinity.flags'], D.XEN_VCPUAFFINITY_HARD | D.XEN_VCPUAFFINITY_SOFT);
  const hard = argument.bitmap(AT['u.vcpuaffinity.cpumap_hard'], [], pcpus);
  const soft = argument.bitmap(AT['u.vcpuaffinity.cpumap_soft'], [], pcpus);
  return {
    call: argument.call(__HYPERVISOR_domctl),
    read: (data) => ({ hard: readBitmap(data, hard, pcpus), soft: readBitmap(data, soft, pcpus) }),
  };
}

export interface VcpuState {
  readonly online: boolean;
  readonly blocked: boolean;
  readonly running: boolean;
  readonly timeNs: number;
  readonly pcpu: number;
}

export function getVcpuInfo(d: number, vcpu: number): Query<VcpuState> {
  return {
    call: domctl(D.XEN_DOMCTL_getvcpuinfo, d).u32(AT['u.getvcpuinfo.vcpu'], vcpu).call(__HYPERVISOR_domctl),
    read: (data) => ({
      online: data[AT['u.getvcpuinfo.online']] !== 0,
      blocked: data[AT['u.getvcpuinfo.blocked']] !== 0,
      running: data[AT['u.getvcpuinfo.running']] !== 0,
      timeNs: Number(viewOf(data).getBigUint64(AT['u.getvcpuinfo.cpu_time'], true)),
      pcpu: viewOf(data).getUint32(AT['u.getvcpuinfo.cpu'], true),
    }),
  };
}

export interface DomainState {
  readonly id: number;
  /** `XEN_DOMINF_*`. */
  readonly flags: number;
  readonly shutdownCode: number;
  readonly pages: number;
  readonly maxPages: number;
  readonly timeNs: number;
  readonly onlineVcpus: number;
  readonly vcpus: number;
  readonly pool: number;
}

/** One record of `xen_domctl_getdomaininfo`, which starts at `from`. */
export function readDomainInfo(data: Uint8Array, from: number): DomainState {
  const view = viewOf(data);
  const flags = view.getUint32(from + INFO.flags, true);
  const last = view.getUint32(from + INFO.max_vcpu_id, true);
  return {
    id: view.getUint16(from + INFO.domain, true),
    flags,
    shutdownCode: (flags >>> D.XEN_DOMINF_shutdownshift) & D.XEN_DOMINF_shutdownmask,
    pages: Number(view.getBigUint64(from + INFO.tot_pages, true)),
    maxPages: Number(view.getBigUint64(from + INFO.max_pages, true)),
    timeNs: Number(view.getBigUint64(from + INFO.cpu_time, true)),
    onlineVcpus: view.getUint32(from + INFO.nr_online_vcpus, true),
    vcpus: last === D.XEN_INVALID_MAX_VCPU_ID ? 0 : last + 1,
    pool: view.getUint32(from + INFO.cpupool, true),
  };
}

function scheduler(d: number, policy: SchedulerName, cmd: number): Argument {
  return domctl(D.XEN_DOMCTL_scheduler_op, d)
    .u32(AT['u.scheduler_op.sched_id'], schedulerNumber(policy))
    .u32(AT['u.scheduler_op.cmd'], cmd);
}

export interface CreditParams {
  readonly weight: number;
  readonly cap: number;
}

/** What is left out stays as it is: Xen takes a weight of 0 and a cap of all ones so. */
export const setCredit = (
  d: number,
  policy: CreditName,
  { weight = 0, cap = 0xffff }: Partial<CreditParams>,
): ToolCall =>
  scheduler(d, policy, D.XEN_DOMCTL_SCHEDOP_putinfo)
    .u16(AT['u.scheduler_op.u.credit.weight'], weight)
    .u16(AT['u.scheduler_op.u.credit.cap'], cap)
    .call(__HYPERVISOR_domctl);

export const getCredit = (d: number, policy: CreditName): Query<CreditParams> => ({
  call: scheduler(d, policy, D.XEN_DOMCTL_SCHEDOP_getinfo).call(__HYPERVISOR_domctl),
  read: (data) => ({
    weight: viewOf(data).getUint16(AT['u.scheduler_op.u.credit.weight'], true),
    cap: viewOf(data).getUint16(AT['u.scheduler_op.u.credit.cap'], true),
  }),
});

export interface SedfParams {
  readonly periodNs: number;
  readonly sliceNs: number;
  readonly latencyNs: number;
  readonly extratime: boolean;
  readonly weight: number;
}

export function setSedf(d: number, { periodNs, sliceNs, latencyNs, extratime, weight }: SedfParams): ToolCall {
  const at = AT['u.scheduler_op.u'];
  return scheduler(d, 'sedf', D.XEN_DOMCTL_SCHEDOP_putinfo)
    .u64(at + SEDF.period, periodNs)
    .u64(at + SEDF.slice, sliceNs)
    .u64(at + SEDF.latency, latencyNs)
    .u32(at + SEDF.extratime, extratime ? 1 : 0)
    .u32(at + SEDF.weight, weight)
    .call(__HYPERVISOR_domctl);
}

export function getSedf(d: number): Query<SedfParams> {
  const at = AT['u.scheduler_op.u'];
  return {
    call: scheduler(d, 'sedf', D.XEN_DOMCTL_SCHEDOP_getinfo).call(__HYPERVISOR_domctl),
    read(data) {
      const view = viewOf(data);
      const u64 = (offset: number): number => Number(view.getBigUint64(at + offset, true));
      return {
        periodNs: u64(SEDF.period),
        sliceNs: u64(SEDF.slice),
        latencyNs: u64(SEDF.latency),
        extratime: view.getUint32(at + SEDF.extratime, true) !== 0,
        weight: view.getUint32(at + SEDF.weight, true),
      };
    },
  };
}
