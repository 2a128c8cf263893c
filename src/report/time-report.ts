/** What `ringzero check-time` prints: every check with its verdict, the clocks of the pCPUs, and how wrong guests were. */
import { formatCount, formatDuration, formatRate } from '../config/format.js';
import type { FaultInjection } from '../machine/config.js';
import type { PcpuClockResult, RunResult, TimeFindingResult, TimeResult } from '../machine/result.js';
import { type Column, type Paint, plain, renderTable } from './table.js';

export interface TimeReportOptions {
  readonly title: string;
  readonly inject?: FaultInjection | undefined;
  /** @default no colour */
  readonly paint?: Paint;
}

/** What each check is about, in a few words. */
const MEANING: Readonly<Record<string, string>> = {
  'boot-skew': 'cycle counters after boot, apart by',
  'torn-read': 'pages half of one update, half of another',
  'stale-page': 'pages of another time or another pCPU',
  'backward-step': 'a read less than one L or more before it',
  'clock-error': "a guest's clock against the platform clock",
  'counter-skew': "two pCPUs' clocks at the same instant",
  frequency: 'the scale of a page against the oscillator',
  'calibration-late': 'past the second and 10 ms a calibration has',
  'wall-clock': "a guest's UTC against the true one",
  'runstate-sum': 'runstate times against the time passed',
  'virtual-time': 'gained while switched out',
  'timer-early': 'single-shot and poll timers before their time',
  'timer-late': 'after their time',
  'timer-lost': 'set and never fired',
  'ticker-doubled': 'ticks closer than their period',
  'ticker-late': 'ticks of a running VCPU after their period',
  'ipi-late': 'IPIs that took longer than L',
};

/** pCPUs shown one by one. */
const CLOCK_ROWS = 32;
const BAR_WIDTH = 40;

function size(finding: TimeFindingResult, value: number): string {
  if (finding.check === 'frequency') return `${value.toFixed(3)} ppm`;
  if (finding.check === 'torn-read' || finding.check === 'stale-page') return '';
  return value === 0 ? '0' : formatDuration(value);
}

function firstOf(finding: TimeFindingResult): string {
  const { first } = finding;
  if (first === undefined) return '';
  const where = [first.pcpu < 0 ? '' : `pCPU ${first.pcpu}`, first.vcpu < 0 ? '' : `VCPU ${first.vcpu}`];
  return `${size(finding, first.size)} at ${formatDuration(first.atNs)} ${where.filter((w) => w !== '').join(', ')}`.trim();
}

function findingColumns(paint: Paint): Column<TimeFindingResult>[] {
  return [
    { header: 'check', align: 'left', cell: (f) => f.check },
    { header: 'looked at', cell: (f) => formatCount(Math.max(f.observations, f.violations)) },
    { header: 'wrong', cell: (f) => formatCount(f.violations) },
    { header: 'worst', cell: (f) => size(f, f.worst) },
    { header: '', align: 'left', cell: (f) => (f.violations === 0 ? paint('green', 'ok') : paint('red', 'FAIL')) },
    { header: '', align: 'left', cell: (f) => MEANING[f.check] ?? '' },
  ];
}

const CLOCKS: readonly Column<PcpuClockResult>[] = [
  { header: 'pCPU', cell: (c) => String(c.pcpu) },
  { header: 'start', cell: (c) => formatDuration(c.offsetNs) },
  { header: 'rate', cell: (c) => `${c.driftPpm.toFixed(2)} ppm` },
  { header: 'calibrations', cell: (c) => String(c.calibrations) },
  { header: 'last error', cell: (c) => formatDuration(c.lastErrorNs) },
  { header: 'worst', cell: (c) => formatDuration(c.maxErrorNs) },
  { header: 'now', cell: (c) => formatDuration(c.errorNs) },
];

interface Bar {
  readonly label: string;
  readonly reads: number;
}

/** Buckets of a power of two: the error of a clock spans nine orders of magnitude when it goes wrong. */
function bars({ errorHistogram }: TimeResult): Bar[] {
  const byOctave = new Map<number, number>();
  for (const { upToNs, reads } of errorHistogram) {
    const octave = upToNs <= 0 ? 0 : Math.floor(Math.log2(upToNs)) + 1;
    byOctave.set(octave, (byOctave.get(octave) ?? 0) + reads);
  }
  return [...byOctave.keys()]
    .sort((a, b) => a - b)
    .map((octave) => ({
      label: octave === 0 ? '0' : `< ${formatDuration(2 ** octave)}`,
      reads: byOctave.get(octave) ?? 0,
    }));
}

function picture(time: TimeResult, paint: Paint): string[] {
  const all = bars(time);
  const most = Math.max(...all.map(({ reads }) => reads), 1);
  return renderTable(
    all,
    [
      { header: '', cell: ({ label }) => label },
      {
        header: '',
        align: 'left',
        // Logarithmic: a single wrong read among millions must show.
        cell: ({ reads }) =>
          '█'
            .repeat(Math.max(1, Math.round((BAR_WIDTH * Math.log2(reads + 1)) / Math.log2(most + 1))))
            .padEnd(BAR_WIDTH),
      },
      { header: '', cell: ({ reads }) => formatCount(reads) },
    ],
    paint,
  );
}

/** The last line: whether time is consistent, and what is not. */
export function verdictOf({ findings }: TimeResult, stalls: readonly string[]): string {
  const failed = findings.filter(({ violations }) => violations > 0).map(({ check }) => check);
  const all = [...stalls.map(() => 'worker-stalled'), ...failed];
  return all.length === 0 ? 'time is consistent' : `time is not consistent: ${all.join(', ')}`;
}

export function timeReport(
  result: RunResult,
  time: TimeResult,
  stalls: readonly string[],
  { title, inject, paint = plain }: TimeReportOptions,
): string {
  const failed = time.findings.filter(({ violations }) => violations > 0);
  const rate = formatRate(result.host.eventsPerSecond);
  const lines = [
    paint(
      'bold',
      `${title}: ${formatDuration(result.simulatedNs)} of time, ${formatCount(time.reads)} clock reads checked`,
    ),
    `L = ${formatDuration(time.latencyNs)}; the boot's warp check ${time.tscStable ? 'found none: TSC_STABLE' : `found ${formatCount(time.warpCycles)} cycles: not TSC_STABLE`}`,
    result.free === undefined
      ? `${rate} events/s; trace hash ${result.hash}`
      : `${rate} events/s; free mode, clocks apart at most ${formatDuration(result.free.apartNs)}`,
    ...(inject ? [`injected: ${inject.kind} on pCPU ${inject.pcpu} from ${formatDuration(inject.atNs)} on`] : []),
    '',
    ...renderTable(time.findings, findingColumns(paint), paint),
    '',
    "a sample of the clock reads by their error, ns from the platform clock's (bars are logarithmic)",
    ...picture(time, paint),
    '',
    ...renderTable(time.clocks.slice(0, CLOCK_ROWS), CLOCKS, paint),
    ...(time.clocks.length > CLOCK_ROWS ? [`… and ${time.clocks.length - CLOCK_ROWS} more (--json has them all)`] : []),
    '',
    ...stalls.map((text) => paint('red', `worker-stalled: ${text}`)),
    ...failed
      .toSorted((a, b) => (a.first?.atNs ?? 0) - (b.first?.atNs ?? 0))
      .map((f) => paint('red', `${f.check}: ${formatCount(f.violations)} times, first ${firstOf(f)}`)),
    paint(failed.length + stalls.length === 0 ? 'green' : 'red', verdictOf(time, stalls)),
  ];
  return `${lines.join('\n')}\n`;
}
