/** How xl prints (docs/xl.md): the columns that people's scripts read. */
import {
  XEN_DOMINF_blocked,
  XEN_DOMINF_dying,
  XEN_DOMINF_paused,
  XEN_DOMINF_running,
  XEN_DOMINF_shutdown,
} from '../shared/public/domctl.js';
import { SHUTDOWN_crash } from '../shared/public/sched.js';
import type { DomainState, VcpuState } from '../toolstack/domctl.js';
import type { PhysInfo } from '../toolstack/sysctl.js';
import type { CompileInfo } from '../toolstack/version.js';
import type { LiveDomain } from './session.js';
import type { KnownDomain, KnownPool } from './world.js';

const PAGE_KIB = 4;
const left = (text: string | number, width: number): string => String(text).padEnd(width);
const right = (text: string | number, width: number): string => String(text).padStart(width);
const seconds = (ns: number): string => (ns / 1e9).toFixed(1);

/** pCPUs as xl writes a mask: `all`, `none`, `0-3,5`. */
export function cpuList(cpus: readonly number[], pcpus: number): string {
  if (cpus.length === 0) return 'none';
  if (cpus.length === pcpus) return 'all';
  const ranges: string[] = [];
  for (let n = 0; n < cpus.length; ) {
    const from = cpus[n]!;
    let to = from;
    while (cpus[n + 1] === to + 1) to = cpus[++n]!;
    n++;
    ranges.push(from === to ? `${from}` : `${from}-${to}`);
  }
  return ranges.join(',');
}

/** Flags r b p s c d, each at its place. */
export function domainState({ flags, shutdownCode }: Pick<DomainState, 'flags' | 'shutdownCode'>): string {
  const isShutDown = (flags & XEN_DOMINF_shutdown) !== 0;
  const letters: readonly [string, boolean][] = [
    ['r', (flags & XEN_DOMINF_running) !== 0],
    ['b', (flags & XEN_DOMINF_blocked) !== 0],
    ['p', (flags & XEN_DOMINF_paused) !== 0],
    ['s', isShutDown],
    ['c', isShutDown && shutdownCode === SHUTDOWN_crash],
    ['d', (flags & XEN_DOMINF_dying) !== 0],
  ];
  return letters.map(([letter, is]) => (is ? letter : '-')).join('');
}

/** @param pools when the pools are to be shown, too */
export function list(domains: readonly LiveDomain[], pools?: readonly KnownPool[]): string {
  const rows = domains.map(({ id, name, pool, state }) => {
    const mib = Math.floor((state.pages * PAGE_KIB) / 1024);
    const poolName = pools?.find((p) => p.id === pool)?.name ?? '';
    return `${left(name, 40)} ${right(id, 5)} ${right(mib, 5)} ${right(state.onlineVcpus, 5)}     ${domainState(state)}  ${right(seconds(state.timeNs), 8)}${pools === undefined ? '' : right(poolName, 16)}\n`;
  });
  const header = 'Name                                        ID   Mem VCPUs\tState\tTime(s)';
  return `${header}${pools === undefined ? '' : '         Cpupool'}\n${rows.join('')}`;
}

export interface VcpuRow extends VcpuState {
  readonly id: number;
  readonly name: string;
  readonly vcpu: number;
  readonly hard: readonly number[];
  readonly soft: readonly number[];
}

export function vcpuList(vcpus: readonly VcpuRow[], pcpus: number): string {
  const row = (...[name, id, vcpu, cpu, state, time, masks]: readonly (string | number)[]): string =>
    `${left(name!, 32)} ${right(id!, 5)} ${right(vcpu!, 5)} ${right(cpu!, 5)} ${right(state!, 5)} ${right(time!, 9)} ${masks}\n`;
  const rows = vcpus.map((v) =>
    row(
      v.name,
      v.id,
      v.vcpu,
      v.online ? v.pcpu : '-',
      v.online ? `${v.running ? 'r' : '-'}${v.blocked ? 'b' : '-'}-` : '--p',
      seconds(v.timeNs),
      `${cpuList(v.hard, pcpus)} / ${cpuList(v.soft, pcpus)}`,
    ),
  );
  return row('Name', 'ID', 'VCPU', 'CPU', 'State', 'Time(s)', 'Affinity (Hard / Soft)') + rows.join('');
}

/** xm's columns: 3.0.4 is xm's time. */
export function schedSedf(domains: readonly KnownDomain[]): string {
  const row = (...[name, id, period, slice, latency, extra, weight]: readonly (string | number)[]): string =>
    `${left(name!, 33)} ${right(id!, 4)} ${right(period!, 10)} ${right(slice!, 9)} ${right(latency!, 7)} ${right(extra!, 5)} ${right(weight!, 6)}\n`;
  const ms = (ns: number): string => (ns / 1e6).toFixed(1);
  const rows = domains.flatMap(({ name, id, sedf: s }) =>
    s === undefined ? [] : row(name, id, ms(s.periodNs), ms(s.sliceNs), ms(s.latencyNs), s.extratime ? 1 : 0, s.weight),
  );
  return row('Name', 'ID', 'Period(ms)', 'Slice(ms)', 'Lat(ms)', 'Extra', 'Weight') + rows.join('');
}

/** xl's columns: name, number of pCPUs, scheduler, domains; or name and pCPUs. */
export function cpupoolList(pools: readonly (KnownPool & { readonly domains: number })[], showsCpus: boolean): string {
  const head = showsCpus ? 'CPU list' : 'CPUs   Sched     Active   Domain count';
  const row = ({ cpus, scheduler, domains }: (typeof pools)[number]): string =>
    showsCpus ? cpus.join(',') : `${right(cpus.length, 3)} ${right(scheduler, 9)}       y       ${right(domains, 4)}`;
  return `${left('Name', 19)}${head}\n${pools.map((pool) => `${left(pool.name, 19)}${row(pool)}\n`).join('')}`;
}

/** The line of a pool under either credit scheduler. */
export function creditPool({ name, scheduler, globals: g }: KnownPool): string {
  if (g === undefined) return `Cpupool ${name}: [sched params unavailable]\n`;
  return scheduler === 'credit2'
    ? `Cpupool ${name}: ratelimit=${g.ratelimitUs}us\n`
    : `Cpupool ${name}: tslice=${g.tsliceMs}ms ratelimit=${g.ratelimitUs}us migration-delay=${g.migrationDelayUs}us\n`;
}

const credit = (name: string, id: string | number, weight: string | number, cap: string | number): string =>
  `${left(name, 33)} ${right(id, 4)} ${right(weight, 6)} ${right(cap, 4)}\n`;

export const creditHeader = (): string => credit('Name', 'ID', 'Weight', 'Cap');

export const creditRow = ({ name, id, credit: params }: KnownDomain): string =>
  params === undefined ? '' : credit(name, id, params.weight, params.cap);

export interface HostInfo {
  readonly host: PhysInfo;
  readonly major: number;
  readonly minor: number;
  readonly extra: string;
  readonly caps: string;
  readonly changeset: string;
  readonly compile: CompileInfo;
  readonly hole: bigint;
  readonly scheduler: string;
  readonly freeCpus: number;
}

export function info(i: HostInfo): string {
  const mib = (pages: number): number => Math.floor((pages * PAGE_KIB) / 1024);
  const { host } = i;
  const rows: readonly [string, string | number][] = [
    ['host', 'ringzero'],
    ['release', `${i.major}.${i.minor}`],
    ['version', i.extra],
    ['machine', 'x86_64'],
    ['nr_cpus', host.cpus],
    ['max_cpu_id', host.maxCpuId],
    ['nr_nodes', host.nodes],
    ['cores_per_socket', host.coresPerSocket],
    ['threads_per_core', host.threadsPerCore],
    ['cpu_mhz', (host.cpuKhz / 1000).toFixed(3)],
    ['virt_caps', 'pv'],
    ['total_memory', mib(host.totalPages)],
    ['free_memory', mib(host.freePages)],
    ['sharing_freed_memory', 0],
    ['sharing_used_memory', 0],
    ['outstanding_claims', mib(host.outstandingPages)],
    ['free_cpus', i.freeCpus],
    ['xen_major', i.major],
    ['xen_minor', i.minor],
    ['xen_extra', i.extra],
    ['xen_version', `${i.major}.${i.minor}${i.extra}`],
    ['xen_caps', i.caps],
    ['xen_scheduler', i.scheduler],
    ['xen_pagesize', PAGE_KIB * 1024],
    ['platform_params', `virt_start=0x${i.hole.toString(16)}`],
    ['xen_changeset', i.changeset],
    ['cc_compiler', i.compile.compiler],
    ['cc_compile_by', i.compile.by],
    ['cc_compile_domain', i.compile.domain],
    ['cc_compile_date', i.compile.date],
    ['xend_config_format', 4],
  ];
  return rows.map(([name, value]) => `${left(name, 22)} : ${value}\n`).join('');
}
