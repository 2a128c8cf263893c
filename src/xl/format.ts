/** How xl prints (docs/xl.md): the columns that people's scripts read. */
import type { CpupoolView, DomainInfo, VcpuInfo } from '../machine/inspect.js';

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

/** Flags r b p s c d, each at its place; a domain that is being destroyed is not listed any more. */
function domainState({ vcpus, paused, shutDown, crashed }: DomainInfo): string {
  const up = vcpus.filter((v) => v.online);
  const flags: readonly [string, boolean][] = [
    ['r', !shutDown && up.some((v) => v.running)],
    ['b', !shutDown && up.length > 0 && up.every((v) => v.blocked)],
    ['p', paused],
    ['s', shutDown && !crashed],
    ['c', crashed],
    ['d', false],
  ];
  return flags.map(([flag, is]) => (is ? flag : '-')).join('');
}

/** @param pools where a column says in which of them each domain is */
export function list(domains: readonly DomainInfo[], pools?: readonly CpupoolView[]): string {
  const poolOf = ({ pool }: DomainInfo): string =>
    pools === undefined ? '' : right(pools.find(({ id }) => id === pool)?.name ?? '', 16);
  const rows = domains.map((d) => {
    const online = d.vcpus.filter((v) => v.online).length;
    const time = d.vcpus.reduce((ns, v) => ns + v.timeNs, 0);
    return `${left(d.name, 40)} ${right(d.id, 5)} ${right(d.memoryMib, 5)} ${right(online, 5)}     ${domainState(d)}  ${right(seconds(time), 8)}${poolOf(d)}\n`;
  });
  return `Name                                        ID   Mem VCPUs\tState\tTime(s)${pools === undefined ? '' : right('Cpupool', 16)}\n${rows.join('')}`;
}

function vcpuState({ online, running, blocked }: VcpuInfo): string {
  return online ? `${running ? 'r' : '-'}${blocked ? 'b' : '-'}-` : '--p';
}

export function vcpuList(domains: readonly DomainInfo[], pcpus: number): string {
  const row = (...cells: readonly (string | number)[]): string =>
    `${left(cells[0]!, 32)} ${cells
      .slice(1, 5)
      .map((cell) => right(cell, 5))
      .join(' ')} ${right(cells[5]!, 9)} ${cells[6]}\n`;
  const rows = domains.flatMap((d) =>
    d.vcpus.map((v) =>
      row(
        d.name,
        d.id,
        v.id,
        v.online ? v.pcpu : '-',
        vcpuState(v),
        seconds(v.timeNs),
        `${cpuList(v.hard, pcpus)} / ${cpuList(v.soft, pcpus)}`,
      ),
    ),
  );
  return row('Name', 'ID', 'VCPU', 'CPU', 'State', 'Time(s)', 'Affinity (Hard / Soft)') + rows.join('');
}

/** xm's columns: 3.0.4 is xm's time. */
export function schedSedf(domains: readonly DomainInfo[]): string {
  const row = (...[name, id, period, slice, latency, extra, weight]: readonly (string | number)[]): string =>
    `${left(name!, 33)} ${right(id!, 4)} ${right(period!, 10)} ${right(slice!, 9)} ${right(latency!, 7)} ${right(extra!, 5)} ${right(weight!, 6)}\n`;
  const ms = (ns: number): string => (ns / 1e6).toFixed(1);
  const rows = domains.map(({ name, id, sedf: s }) =>
    row(name, id, ms(s.periodNs), ms(s.sliceNs), ms(s.latencyNs), s.extratime ? 1 : 0, s.weight),
  );
  return row('Name', 'ID', 'Period(ms)', 'Slice(ms)', 'Lat(ms)', 'Extra', 'Weight') + rows.join('');
}

export type CreditSettings = Pick<CpupoolView, 'name' | 'tsliceMs' | 'ratelimitUs' | 'migrationDelayUs'>;

export const schedCreditParams = (s: CreditSettings): string =>
  `Cpupool ${s.name}: tslice=${s.tsliceMs}ms ratelimit=${s.ratelimitUs}us migration-delay=${s.migrationDelayUs}us\n`;

/** xl's columns: name, number of pCPUs, scheduler, domains; or name and pCPUs. */
export function cpupoolList(pools: readonly CpupoolView[], showsCpus: boolean): string {
  const head = showsCpus ? 'CPU list' : 'CPUs   Sched     Active   Domain count';
  const row = ({ cpus, scheduler, domains }: CpupoolView): string =>
    showsCpus ? cpus.join(',') : `${right(cpus.length, 3)} ${right(scheduler, 9)}       y       ${right(domains, 4)}`;
  return `${left('Name', 19)}${head}\n${pools.map((pool) => `${left(pool.name, 19)}${row(pool)}\n`).join('')}`;
}

export function schedCredit(domains: readonly DomainInfo[], s: CreditSettings | undefined): string {
  const row = (name: string, id: string | number, weight: string | number, cap: string | number): string =>
    `${left(name, 33)} ${right(id, 4)} ${right(weight, 6)} ${right(cap, 4)}\n`;
  const pool = s === undefined ? '' : schedCreditParams(s);
  return pool + row('Name', 'ID', 'Weight', 'Cap') + domains.map((d) => row(d.name, d.id, d.weight, d.cap)).join('');
}
