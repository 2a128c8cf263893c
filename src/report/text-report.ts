/** The report that `ringzero run` prints: who got what, in at most 100 columns for names of usual length. */
import type { Verdict } from '../config/expectations.js';
import { formatCount, formatDuration, formatMs, formatPercent, formatRate } from '../config/format.js';
import type {
  CpupoolResult,
  DeviceResult,
  DomainResult,
  InterruptResult,
  PcpuResult,
  RequestLatency,
  RunResult,
  ScriptResult,
} from '../machine/result.js';
import { errnoText } from '../toolstack/errno-text.js';
import { type Column, type Paint, plain, renderTable } from './table.js';

export interface TextReportOptions {
  /** What was run, for the headline. */
  readonly title: string;
  /** @default no colour */
  readonly paint?: Paint;
}

/** Domain names are cut to this, so that the widest table fits 100 columns. */
const NAME_WIDTH = 20;
/** And the names of the devices on a line to this. */
const LINE_WIDTH = 16;
/** Beyond this many pCPUs the table gives way to a summary; `--json` has them all. */
const PCPU_ROWS = 32;

const OUTCOMES: Readonly<Record<RunResult['outcome'], string>> = {
  horizon: 'the duration is over',
  idle: 'nothing was left to do',
  stopped: 'stopped before its end',
};

const nameColumn: Column<DomainResult> = {
  header: 'domain',
  align: 'left',
  maxWidth: NAME_WIDTH,
  cell: (domain) => domain.name,
};

const CPU_TIME: readonly Column<DomainResult>[] = [
  nameColumn,
  { header: 'VCPUs', cell: (domain) => String(domain.vcpus.length) },
  { header: 'weight', cell: (domain) => String(domain.weight) },
  { header: 'cap', cell: (domain) => (domain.cap === 0 ? 'none' : `${domain.cap} %`) },
  { header: 'expected', cell: (domain) => formatPercent(domain.expectedShare) },
  { header: 'share', cell: (domain) => formatPercent(domain.share) },
  { header: 'virtual time', cell: (domain) => formatDuration(domain.virtualTimeNs) },
  { header: 'work', cell: (domain) => formatDuration(domain.workNs) },
  { header: 'steal', cell: (domain) => formatDuration(domain.stealNs) },
];

/** A percentile of nothing is no number. */
function latency(header: string, of: (domain: DomainResult) => number): Column<DomainResult> {
  return { header, cell: (domain) => (domain.wake.count === 0 ? '-' : formatDuration(of(domain))) };
}

const SCHEDULING: readonly Column<DomainResult>[] = [
  nameColumn,
  { header: 'wake-ups', cell: (domain) => formatCount(domain.wake.count) },
  latency('p50', (domain) => domain.wake.p50Ns),
  latency('p99', (domain) => domain.wake.p99Ns),
  latency('p99.9', (domain) => domain.wake.p999Ns),
  latency('max', (domain) => domain.wake.maxNs),
  { header: 'switches', cell: (domain) => formatCount(domain.switches) },
  { header: 'migrations', cell: (domain) => formatCount(domain.migrations) },
];

const SCRIPT: readonly Column<ScriptResult>[] = [
  { header: 'at', cell: ({ atNs }) => formatDuration(atNs) },
  { header: 'command', align: 'left', maxWidth: 40, cell: ({ text }) => text },
  { header: 'began', cell: ({ beganNs }) => (beganNs === undefined ? '-' : formatDuration(beganNs)) },
  { header: 'done', cell: ({ doneNs }) => (doneNs === undefined ? '-' : formatDuration(doneNs)) },
  {
    header: 'result',
    align: 'left',
    cell: ({ doneNs, rc }) => (doneNs === undefined ? 'not done' : rc === 0 ? 'ok' : errnoText(rc)),
  },
];

interface RequestRow {
  readonly from: string;
  readonly service: string;
  readonly latency: RequestLatency;
}

/** A service by itself, then what each client saw of it where there are several. */
function requestRows(domains: readonly DomainResult[]): RequestRow[] {
  return domains.flatMap((server) =>
    (server.services ?? []).flatMap(({ name, latency }) => {
      const service = `${server.name}/${name}`;
      const clients = domains.flatMap((client) =>
        (client.requests ?? [])
          .filter((asked) => asked.to === server.name && asked.service === name)
          .map((asked) => ({ from: client.name, service, latency: asked.latency })),
      );
      return clients.length === 1 ? clients : [{ from: 'all', service, latency }, ...clients];
    }),
  );
}

function requestLatency(header: string, of: (latency: RequestLatency) => number): Column<RequestRow> {
  return { header, cell: (row) => (row.latency.count === 0 ? '-' : formatDuration(of(row.latency))) };
}

const REQUESTS: readonly Column<RequestRow>[] = [
  { header: 'service', align: 'left', maxWidth: NAME_WIDTH, cell: (row) => row.service },
  { header: 'asked by', align: 'left', maxWidth: NAME_WIDTH, cell: (row) => row.from },
  { header: 'answers', cell: (row) => formatCount(row.latency.count) },
  requestLatency('mean', ({ meanNs }) => meanNs),
  requestLatency('p50', ({ p50Ns }) => p50Ns),
  requestLatency('p95', ({ p95Ns }) => p95Ns),
  requestLatency('p99', ({ p99Ns }) => p99Ns),
  requestLatency('max', ({ maxNs }) => maxNs),
];

function requestTable(domains: readonly DomainResult[], paint: Paint): string[] {
  const rows = requestRows(domains);
  return rows.length === 0
    ? []
    : [paint('bold', 'Requests, from asking to having the answer'), ...renderTable(rows, REQUESTS, paint), ''];
}

const PCPUS: readonly Column<PcpuResult>[] = [
  { header: 'pCPU', cell: (pcpu) => String(pcpu.id) },
  { header: 'worker', cell: (pcpu) => String(pcpu.worker) },
  { header: 'use', cell: (pcpu) => formatPercent(pcpu.use) },
  { header: 'switches', cell: (pcpu) => formatCount(pcpu.switches) },
  { header: 'steals', cell: (pcpu) => formatCount(pcpu.steals) },
];

function irqLatency(header: string, of: (line: InterruptResult) => number): Column<InterruptResult> {
  return { header, cell: (line) => (line.latency.count === 0 ? '-' : formatDuration(of(line))) };
}

const LINE: Column<InterruptResult> = { header: 'line', cell: ({ irq }) => String(irq) };

const INTERRUPTS: readonly Column<InterruptResult>[] = [
  LINE,
  { header: 'devices', align: 'left', maxWidth: LINE_WIDTH, cell: ({ devices }) => devices.join(', ') },
  { header: 'raised', cell: ({ raised }) => formatCount(raised) },
  { header: 'delivered', cell: ({ delivered }) => formatCount(delivered) },
  { header: 'handled', cell: ({ handled }) => formatCount(handled) },
  { header: 'unhandled', cell: ({ unhandled }) => formatCount(unhandled) },
  { header: 'throttled', cell: ({ throttled }) => formatCount(throttled) },
];

const IRQ_LATENCY: readonly Column<InterruptResult>[] = [
  LINE,
  { header: 'trigger', align: 'left', cell: ({ trigger }) => trigger },
  { header: 'domains', cell: ({ domains }) => String(domains.length) },
  irqLatency('p50', ({ latency }) => latency.p50Ns),
  irqLatency('p99', ({ latency }) => latency.p99Ns),
  irqLatency('p99.9', ({ latency }) => latency.p999Ns),
  irqLatency('max', ({ latency }) => latency.maxNs),
];

const DEVICES: readonly Column<DeviceResult>[] = [
  { header: 'device', align: 'left', maxWidth: NAME_WIDTH, cell: ({ name }) => name },
  { header: 'kind', align: 'left', cell: ({ kind }) => kind },
  { header: 'line', cell: ({ irq }) => String(irq) },
  { header: 'domain', align: 'left', maxWidth: NAME_WIDTH, cell: ({ domain }) => domain ?? 'none' },
  { header: 'arrived', cell: ({ arrived }) => formatCount(arrived) },
  { header: 'taken', cell: ({ taken }) => formatCount(taken) },
  { header: 'dropped', cell: ({ dropped }) => formatCount(dropped) },
];

function interruptLines({ interrupts, devices }: RunResult, paint: Paint): string[] {
  if (interrupts === undefined || devices === undefined) return [];
  return [
    paint('bold', 'Interrupts'),
    ...renderTable(interrupts, INTERRUPTS, paint),
    '',
    paint('bold', 'Raise to handler'),
    ...renderTable(interrupts, IRQ_LATENCY, paint),
    '',
    ...renderTable(devices, DEVICES, paint),
    '',
  ];
}

const POOLS: readonly Column<CpupoolResult>[] = [
  { header: 'cpupool', align: 'left', maxWidth: NAME_WIDTH, cell: (pool) => pool.name },
  { header: 'scheduler', align: 'left', cell: (pool) => pool.scheduler },
  { header: 'pCPUs', cell: (pool) => String(pool.cpus.length) },
  { header: 'domains', cell: (pool) => String(pool.domains.length) },
  { header: 'use', cell: (pool) => formatPercent(pool.use) },
  { header: 'switches', cell: (pool) => formatCount(pool.switches) },
  { header: 'steals', cell: (pool) => formatCount(pool.steals) },
  { header: 'Jain', cell: (pool) => pool.jain.toFixed(4) },
];

type Summary = readonly [string, readonly number[], (value: number) => string];

function pcpuSummary(pcpus: readonly PcpuResult[], paint: Paint): string[] {
  const rows: Summary[] = [
    ['use', pcpus.map((pcpu) => pcpu.use), formatPercent],
    ['switches', pcpus.map((pcpu) => pcpu.switches), formatCount],
    ['steals', pcpus.map((pcpu) => pcpu.steals), formatCount],
  ];
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const columns: Column<Summary>[] = [
    { header: `${pcpus.length} pCPUs`, align: 'left', cell: ([name]) => name },
    { header: 'least', cell: ([, values, format]) => format(Math.min(...values)) },
    { header: 'mean', cell: ([, values, format]) => format(mean(values)) },
    { header: 'most', cell: ([, values, format]) => format(Math.max(...values)) },
  ];
  return renderTable(rows, columns, paint);
}

function totals(result: RunResult): [string, string][] {
  const { host } = result;
  const threads = host.threads === 1 ? '1 thread' : `${host.threads} threads`;
  return [
    ...result.locks
      .filter(({ acquired }) => acquired > 0)
      .map((lock): [string, string] => [
        `${lock.lock} lock`,
        `taken ${formatCount(lock.acquired)} times, waited for ${formatCount(lock.contended)} times${lock.waitedNs > 0 ? `, ${formatDuration(lock.waitedNs)} in all` : ''}; trylock failed ${formatCount(lock.tryFailed)} times`,
      ]),
    ...(result.free === undefined
      ? []
      : [
          [
            'clocks apart',
            `at most ${formatDuration(result.free.apartNs)}, window ${formatDuration(result.free.windowNs)}`,
          ] satisfies [string, string],
        ]),
    ...(result.domains.some(({ refillNs }) => refillNs !== undefined)
      ? [
          [
            'filling caches',
            result.domains.map((d) => `${d.name} ${formatDuration(d.refillNs ?? 0)}`).join(', '),
          ] satisfies [string, string],
        ]
      : []),
    ['Jain fairness', result.jain.toFixed(4)],
    ['events', formatCount(result.events)],
    ['trace hash', result.free === undefined ? result.hash : 'none: free mode has no one order'],
    ['host time', `${formatMs(host.runMs)} on ${threads}, after a start of ${formatMs(host.startMs)}`],
    ['host speed', `${formatRate(host.eventsPerSecond)} events/s, ${formatRate(host.speed)} simulated s per host s`],
  ];
}

export function verdictLines(verdicts: readonly Verdict[], paint: Paint = plain): string[] {
  const failed = verdicts.filter(({ ok }) => !ok).length;
  const held = verdicts.length - failed;
  const head = failed === 0 ? `${held} of ${held} held` : `${failed} of ${verdicts.length} failed`;
  const rows = renderTable(verdicts, [
    { header: '', align: 'left', cell: ({ ok }) => (ok ? 'ok' : 'FAILED') },
    { header: '', align: 'left', maxWidth: 34, cell: ({ subject }) => subject },
    { header: '', align: 'left', maxWidth: 34, cell: ({ expected }) => expected },
    { header: '', cell: ({ measured }) => measured },
    { header: '', cell: ({ place }) => `line ${place.line}` },
  ]);
  const lines = rows.map((row, index) => paint(verdicts[index]?.ok ? 'green' : 'red', row));
  return [paint('bold', `Expectations: ${head}`), ...lines];
}

/** Lines of a console at most; `--json` has all that is kept. */
const CONSOLE_LINES = 20;

/** What kernels said, and what the hypervisor had to say of those that crashed. */
function consoleLines({ domains, hypervisorConsole }: RunResult, paint: Paint): string[] {
  if (hypervisorConsole === undefined) return [];
  const isCrashed = domains.some(({ ended }) => ended?.startsWith('crash') === true);
  const all: readonly (readonly [string, string])[] = [
    ...domains.map(({ name, console }) => [name, console] as const),
    ...(isCrashed ? [['the hypervisor', hypervisorConsole] as const] : []),
  ];
  return all
    .filter(([, text]) => text !== '')
    .flatMap(([name, text]) => {
      const said = text.trimEnd().split('\n');
      return ['', paint('bold', `Console of ${name}`), ...said.slice(-CONSOLE_LINES).map((line) => `  ${line}`)];
    });
}

export function textReport(result: RunResult, verdicts: readonly Verdict[], options: TextReportOptions): string {
  const paint = options.paint ?? plain;
  const pcpus = result.pcpus.length === 1 ? '1 pCPU' : `${result.pcpus.length} pCPUs`;
  const ran = `${formatDuration(result.simulatedNs)} simulated on ${pcpus}, ${OUTCOMES[result.outcome]}`;
  const lines = [
    `${paint('bold', options.title)}: ${ran}`,
    '',
    paint('bold', 'CPU time (shares in percent of one pCPU)'),
    ...renderTable(result.domains, CPU_TIME, paint),
    '',
    paint('bold', 'Wake-up to running'),
    ...renderTable(result.domains, SCHEDULING, paint),
    '',
    ...requestTable(result.domains, paint),
    ...interruptLines(result, paint),
    ...(result.pcpus.length > PCPU_ROWS ? pcpuSummary(result.pcpus, paint) : renderTable(result.pcpus, PCPUS, paint)),
    '',
    ...(result.pools === undefined ? [] : [...renderTable(result.pools, POOLS, paint), '']),
    ...renderTable(totals(result), [
      { header: '', align: 'left', cell: ([name]) => name },
      { header: '', align: 'left', cell: ([, text]) => text },
    ]),
  ];
  const { toolstack } = result;
  if (toolstack !== undefined)
    lines.push(
      '',
      paint('bold', "Domain 0's commands"),
      ...renderTable(
        toolstack.toSorted((a, b) => a.atNs - b.atNs),
        SCRIPT,
        paint,
      ),
    );
  lines.push(...consoleLines(result, paint));
  const ended = result.domains.filter((domain) => domain.ended !== undefined);
  if (ended.length > 0) lines.push('', ...ended.map((domain) => `${domain.name} ended: ${domain.ended}`));
  if (verdicts.length > 0) lines.push('', ...verdictLines(verdicts, paint));
  return `${lines.join('\n')}\n`;
}
