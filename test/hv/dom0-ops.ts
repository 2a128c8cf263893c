/** The calls of a toolstack as a test makes them, from VCPU 0 of domain 0: fields by name, answers by name. */

import { MACHINE_DEFAULTS, type MachineConfig } from '../../src/machine/config.js';
import { START_ENTRY } from '../../src/pcpu/model/boot.js';
import { entryPointOffset } from '../../src/shared/guest-context.js';
import { PAGE_SIZE } from '../../src/shared/image.js';
import { VGCF_online } from '../../src/shared/public/arch-x86.js';
import { vcpu_guest_context } from '../../src/shared/public/arch-x86-layout.js';
import * as D from '../../src/shared/public/domctl.js';
import { xen_domctl, xen_domctl_getdomaininfo } from '../../src/shared/public/domctl-layout.js';
import { type AbiLayout, offsetsOf, sizeOf } from '../../src/shared/public/layout.js';
import { XENMEM_populate_physmap, xen_memory_reservation } from '../../src/shared/public/memory.js';
import { XENPF_INTERFACE_VERSION, xen_platform_op } from '../../src/shared/public/platform.js';
import * as S from '../../src/shared/public/sysctl.js';
import { xen_sysctl } from '../../src/shared/public/sysctl-layout.js';
import * as X from '../../src/shared/public/xen.js';
import { guest, hog, machineConfig, workload } from '../support/in-process.js';
import { type Probe, probe } from './probe.js';

/** Members that are not 4 bytes wide. */
const WIDE =
  /(memkb|handle|ctxt|bitmap|buffer|info|desc|val|keys|cputopo|cpu_time|pages|extent_start|nr_extents|idletime|now|period|slice|latency|avail_bytes|v\.vcpus|getcpuinfo\.info)$/;
const NARROW = /(^domain|credit\.weight|credit\.cap|credit2\.weight|credit2\.cap|first_domain|^domid)$/;
const BYTE = /(readconsole\.clear|readconsole\.incremental|getvcpuinfo\.(online|blocked|running)|allow_access)$/;

const bytesOf = (field: string): 1 | 2 | 4 | 8 =>
  BYTE.test(field) ? 1 : NARROW.test(field) ? 2 : WIDE.test(field) ? 8 : 4;

export type Fields = Readonly<Record<string, number>>;

export interface Answer {
  readonly rc: number;
  /** A member of the argument after the call. */
  get(field: string): number;
}

export interface DomainState {
  readonly id: number;
  readonly flags: number;
  readonly totPages: number;
  readonly maxPages: number;
  readonly cpuTimeNs: number;
  readonly online: number;
  readonly maxVcpuId: number;
}

export interface Dom0 {
  readonly p: Probe;
  /** VCPU 0 of domain 0. */
  readonly v: number;
  domctl(cmd: number, domid: number, fields?: Fields, by?: number): Answer;
  sysctl(cmd: number, fields?: Fields, by?: number): Answer;
  platform(cmd: number, fields?: Fields, by?: number): Answer;
  memory(cmd: number, fields: Fields, by?: number): number;
  /** Guest address of a list in domain 0: areas from 1 on. */
  list(area: number, bytes?: readonly number[]): number;
  mask(area: number, cpus: readonly number[], bits?: number): { readonly bitmap: number; readonly nr_bits: number };
  readMask(area: number, bits?: number): number[];
  info(domid: number): DomainState | undefined;
  /** Makes a domain as a toolstack does, up to its first unpause; its guest kernel finds no tasks. @returns its domid */
  build(options?: { vcpus?: number; pages?: number; id?: number }): number;
  record(domid: number): number;
  setAffinity(domid: number, vcpu: number, hard?: readonly number[], soft?: readonly number[]): Answer;
  /** What was given, as masks in areas 1 and 2. */
  getAffinity(domid: number, vcpu: number): Answer;
  offline(p: number): number;
  online(p: number): number;
  console(): string;
}

const WIDTH = 64;

export function dom0(p: Probe): Dom0 {
  const { context, view, mem, hv } = p;
  const { domain } = context;
  const v = domain.firstVcpu(0);

  function write(by: number, layout: AbiLayout<unknown, unknown>, fields: Fields): number {
    const at = offsetsOf(layout, WIDTH) as Fields;
    const address = p.arg(by, []);
    context.image.u8.fill(0, p.at(by, address), p.at(by, address) + sizeOf(layout, WIDTH));
    for (const [field, value] of Object.entries(fields)) {
      const offset = at[field];
      if (offset === undefined) throw new Error(`${layout.name} has no member ${field}`);
      const to = p.at(by, address) + offset;
      const bytes = bytesOf(field);
      if (bytes === 8) view.setBigUint64(to, BigInt.asUintN(64, BigInt(value)), true);
      else if (bytes === 4) view.setUint32(to, value, true);
      else if (bytes === 2) view.setUint16(to, value, true);
      else view.setUint8(to, value);
    }
    return address;
  }

  function read(by: number, layout: AbiLayout<unknown, unknown>, field: string): number {
    const from = p.at(by, p.scratch(by)) + (offsetsOf(layout, WIDTH) as Fields)[field]!;
    const bytes = bytesOf(field);
    if (bytes === 8) return Number(view.getBigUint64(from, true));
    return bytes === 4 ? view.getUint32(from, true) : bytes === 2 ? view.getUint16(from, true) : view.getUint8(from);
  }

  function call(nr: number, layout: AbiLayout<unknown, unknown>, fields: Fields, by: number): Answer {
    const rc = p.call(by, nr, write(by, layout, fields));
    return { rc, get: (field) => read(by, layout, field) };
  }

  const domctl: Dom0['domctl'] = (cmd, domid, fields = {}, by = v) =>
    call(
      X.__HYPERVISOR_domctl,
      xen_domctl,
      { cmd, interface_version: D.XEN_DOMCTL_INTERFACE_VERSION, domain: domid, ...fields },
      by,
    );
  const sysctl: Dom0['sysctl'] = (cmd, fields = {}, by = v) =>
    call(X.__HYPERVISOR_sysctl, xen_sysctl, { cmd, interface_version: S.XEN_SYSCTL_INTERFACE_VERSION, ...fields }, by);
  const platform: Dom0['platform'] = (cmd, fields = {}, by = v) =>
    call(
      X.__HYPERVISOR_platform_op,
      xen_platform_op,
      { cmd, interface_version: XENPF_INTERFACE_VERSION, ...fields },
      by,
    );
  const memory: Dom0['memory'] = (cmd, fields, by = v) =>
    p.call(by, X.__HYPERVISOR_memory_op, cmd, write(by, xen_memory_reservation, fields));

  const list: Dom0['list'] = (area, bytes = []) => {
    const address = p.scratch(v, area);
    context.image.u8.set(bytes, p.at(v, address));
    return address;
  };

  function mask(area: number, cpus: readonly number[], bits = 16) {
    const bytes = new Array<number>(Math.ceil(bits / 8)).fill(0);
    for (const c of cpus) bytes[c >> 3]! |= 1 << (c & 7);
    return { bitmap: list(area, bytes), nr_bits: bits };
  }

  function readMask(area: number, bits = 16): number[] {
    const at = p.at(v, p.scratch(v, area));
    return Array.from({ length: bits }, (_, c) => c).filter(
      (c) => ((context.image.u8[at + (c >> 3)]! >> (c & 7)) & 1) !== 0,
    );
  }

  const record = (domid: number): number => hv.domains.find(domid);

  function affinity(
    cmd: number,
    domid: number,
    id: number,
    hard: readonly number[] | undefined,
    soft: readonly number[] | undefined,
  ): Answer {
    const M = offsetsOf(xen_domctl, 64);
    const flags = (hard ? D.XEN_VCPUAFFINITY_HARD : 0) | (soft ? D.XEN_VCPUAFFINITY_SOFT : 0);
    const address = write(v, xen_domctl, {
      cmd,
      interface_version: D.XEN_DOMCTL_INTERFACE_VERSION,
      domain: domid,
      'u.vcpuaffinity.vcpu': id,
      'u.vcpuaffinity.flags': flags,
    });
    const put = (at: number, m: { bitmap: number; nr_bits: number }): void => {
      view.setBigUint64(p.at(v, address) + at, BigInt(m.bitmap), true);
      view.setUint32(p.at(v, address) + at + 8, m.nr_bits, true);
    };
    if (hard) put(M['u.vcpuaffinity.cpumap_hard'], mask(1, hard));
    if (soft) put(M['u.vcpuaffinity.cpumap_soft'], mask(2, soft));
    const rc = p.call(v, X.__HYPERVISOR_domctl, address);
    return { rc, get: (field) => read(v, xen_domctl, field) };
  }

  function must(rc: number, what: string): void {
    if (rc < 0) throw new Error(`${what}: ${rc}`);
  }

  return {
    p,
    v,
    domctl,
    sysctl,
    platform,
    memory,
    list,
    mask,
    readMask,
    record,
    info(domid) {
      const answer = domctl(D.XEN_DOMCTL_getdomaininfo, domid);
      if (answer.rc < 0 || answer.get('domain') !== domid) return undefined;
      const at = p.at(v, p.scratch(v)) + offsetsOf(xen_domctl, 64)['u.getdomaininfo'];
      const I = offsetsOf(xen_domctl_getdomaininfo, 64);
      return {
        id: view.getUint16(at + I.domain, true),
        flags: view.getUint32(at + I.flags, true),
        totPages: Number(view.getBigUint64(at + I.tot_pages, true)),
        maxPages: Number(view.getBigUint64(at + I.max_pages, true)),
        cpuTimeNs: Number(view.getBigUint64(at + I.cpu_time, true)),
        online: view.getUint32(at + I.nr_online_vcpus, true),
        maxVcpuId: view.getUint32(at + I.max_vcpu_id, true),
      };
    },
    build({ vcpus = 1, pages = 16_384, id = 0 } = {}) {
      const made = domctl(D.XEN_DOMCTL_createdomain, id, { 'u.createdomain.max_vcpus': vcpus });
      must(made.rc, 'createdomain');
      const domid = made.get('domain');
      must(domctl(D.XEN_DOMCTL_max_vcpus, domid, { 'u.max_vcpus.max': vcpus }).rc, 'max_vcpus');
      must(domctl(D.XEN_DOMCTL_max_mem, domid, { 'u.max_mem.max_memkb': 4 * pages }).rc, 'max_mem');
      const extents = Math.ceil(pages / 512);
      const gpfns = Array.from({ length: 8 * extents }, () => 0);
      const done = memory(XENMEM_populate_physmap, {
        extent_start: list(1, gpfns),
        nr_extents: extents,
        extent_order: 9,
        domid,
      });
      if (done !== extents) throw new Error(`populate_physmap: ${done} of ${extents}`);
      const d = record(domid);
      // What a builder of workload guests writes into the guest kernel's memory: areas in its frames, and no task.
      const first = domain.firstVcpu(d);
      // Records used before say what a kernel that is gone had.
      const [kd, kv] = [context.image.region('k-domain'), context.image.region('k-vcpu')];
      context.image.u8.fill(0, kd.base + d * kd.size, kd.base + (d + 1) * kd.size);
      context.image.u8.fill(0, kv.base + first * kv.size, kv.base + (first + vcpus) * kv.size);
      mem.kd.setInfoArea(d, PAGE_SIZE);
      mem.kd.setRunstateArea(d, 2 * PAGE_SIZE);
      mem.kd.setArgArea(d, 3 * PAGE_SIZE);
      mem.kd.setBootArea(d, 4 * PAGE_SIZE);
      mem.kd.setDurationNs(d, Infinity);
      const bytes = sizeOf(vcpu_guest_context, 64);
      // A context is larger than a test's areas: it lies before them.
      const ctxt = p.scratch(v) - bytes - (p.scratch(v) % 8);
      context.image.u8.fill(0, p.at(v, ctxt), p.at(v, ctxt) + bytes);
      view.setUint32(p.at(v, ctxt) + offsetsOf(vcpu_guest_context, 64).flags, VGCF_online, true);
      view.setUint32(p.at(v, ctxt) + entryPointOffset(64), START_ENTRY, true);
      must(
        domctl(D.XEN_DOMCTL_setvcpucontext, domid, { 'u.vcpucontext.vcpu': 0, 'u.vcpucontext.ctxt': ctxt }).rc,
        'setvcpucontext',
      );
      return domid;
    },
    setAffinity: (domid, id, hard, soft) => affinity(D.XEN_DOMCTL_setvcpuaffinity, domid, id, hard, soft),
    getAffinity: (domid, id) => affinity(D.XEN_DOMCTL_getvcpuaffinity, domid, id, [], []),
    offline: (cpu) =>
      sysctl(S.XEN_SYSCTL_cpu_hotplug, {
        'u.cpu_hotplug.cpu': cpu,
        'u.cpu_hotplug.op': S.XEN_SYSCTL_CPU_HOTPLUG_OFFLINE,
      }).rc,
    online: (cpu) =>
      sysctl(S.XEN_SYSCTL_cpu_hotplug, {
        'u.cpu_hotplug.cpu': cpu,
        'u.cpu_hotplug.op': S.XEN_SYSCTL_CPU_HOTPLUG_ONLINE,
      }).rc,
    console() {
      const out = new Uint8Array(16_384);
      const { count } = hv.console.read(out, undefined, false);
      return new TextDecoder().decode(out.slice(0, count));
    },
  };
}

/** Domain 0 with a pCPU to itself, where it computes for ever, and a domain that runs and sleeps on the others. */
export function dom0Machine(over: Partial<MachineConfig> = {}): Dom0 {
  const pcpus = over.pcpus ?? 3;
  const others = Array.from({ length: pcpus - 1 }, (_, k) => k + 1);
  const config = machineConfig({
    ...MACHINE_DEFAULTS,
    seed: 0,
    pcpus,
    memoryMib: 1024,
    spareDomains: 3,
    spareVcpus: 6,
    durationNs: 60e9,
    debug: true,
    guests: [
      guest({ name: 'Domain-0', privileged: true, cpus: [[0]], workload: hog() }),
      guest({
        name: 'g1',
        vcpus: 2,
        cpus: [others, others],
        workload: workload({ t: { instance: 3, run: 700, sleep: 200 } }),
      }),
    ],
    ...over,
  });
  return dom0(probe(config));
}
