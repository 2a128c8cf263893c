import { expect } from 'chai';
import { TIME_CHECKS } from '../../src/hv/time-check.js';
import type { PcpuClockResult, TimeFindingResult, TimeResult } from '../../src/machine/result.js';
import { coloured } from '../../src/report/table.js';
import { timeReport } from '../../src/report/time-report.js';
import { fakeResult } from './fake-result.js';

const finding = (check: TimeFindingResult['check'], over: Partial<TimeFindingResult> = {}): TimeFindingResult => ({
  check,
  observations: 1000,
  violations: 0,
  worst: 0,
  worstAtNs: 0,
  ...over,
});

const clock = (pcpu: number): PcpuClockResult => ({
  pcpu,
  offsetNs: -458_300_000,
  driftPpm: 40.9678,
  calibrations: 4,
  lastErrorNs: -12,
  maxErrorNs: 19,
  errorNs: 3,
});

const fakeTime = (over: Partial<TimeResult> = {}): TimeResult => ({
  ok: true,
  latencyNs: 2000,
  reads: 704_516,
  tscStable: true,
  warpCycles: 0,
  findings: TIME_CHECKS.map((check) => finding(check)),
  errorHistogram: [
    { upToNs: 0, reads: 1023 },
    { upToNs: 1, reads: 31 },
    { upToNs: 2, reads: 0 },
    { upToNs: 3, reads: 15 },
    { upToNs: 1_048_575, reads: 1 },
  ],
  clocks: [clock(0), clock(1)],
  ...over,
});

const report = (time: TimeResult, stalls: readonly string[] = [], inject = {}): string[] =>
  timeReport(fakeResult({ time }), time, stalls, { title: 'x.yaml', ...inject }).split('\n');

/** What went wrong later stands first in the order of the checks. */
const broken = fakeTime({
  ok: false,
  tscStable: false,
  warpCycles: 1_492_975_384,
  findings: [
    finding('torn-read', { violations: 3, worst: 1, first: { size: 1, atNs: 1.6e9, pcpu: 7, vcpu: 2 } }),
    finding('clock-error', { violations: 20, worst: 9e5, first: { size: 2177, atNs: 1.5e9, pcpu: 1, vcpu: 8 } }),
    finding('frequency', { violations: 8, worst: 99.99, first: { size: 99.9899, atNs: 1.7e9, pcpu: 1, vcpu: 0 } }),
    // Found at the end of the run, on no pCPU; counted more often than it was looked at.
    finding('timer-lost', {
      observations: 1,
      violations: 2,
      first: { size: 3.4e9, atNs: 5e9, pcpu: -1, vcpu: 4 },
    }),
    finding('ipi-late'),
  ],
});

describe('the report of check-time', () => {
  it('names every check with what it is about, and says that time is consistent', () => {
    const lines = report(fakeTime());
    expect(lines[0]).to.equal('x.yaml: 10.00 s of time, 704,516 clock reads checked');
    expect(lines[1]).to.contain("L = 2.000 us; the boot's warp check found none: TSC_STABLE");
    expect(lines[2]).to.equal('1.52 M events/s; trace hash 0123456789abcdef');
    for (const check of TIME_CHECKS) {
      // A check without a meaning would end in its verdict.
      expect(
        lines.find((line) => line.startsWith(`${check} `)),
        check,
      ).to.match(/ 1,000 +0( +0(\.000 ppm)?)? +ok {2}\S/);
    }
    expect(lines.at(-2)).to.equal('time is consistent');
    expect(lines.join('\n')).to.not.contain('FAIL');
  });

  it('says what failed: where first, in the order of time, and all at the end', () => {
    const lines = report(broken);
    expect(lines[1]).to.contain('found 1,492,975,384 cycles: not TSC_STABLE');
    expect(lines.filter((line) => line.includes('FAIL')).map((line) => line.split(' ')[0])).to.deep.equal([
      ...['torn-read', 'clock-error', 'frequency', 'timer-lost'],
    ]);
    expect(lines.slice(-6, -1)).to.deep.equal([
      'clock-error: 20 times, first 2.177 us at 1.500 s pCPU 1, VCPU 8',
      'torn-read: 3 times, first at 1.600 s pCPU 7, VCPU 2',
      'frequency: 8 times, first 99.990 ppm at 1.700 s pCPU 1, VCPU 0',
      'timer-lost: 2 times, first 3.400 s at 5.000 s VCPU 4',
      'time is not consistent: torn-read, clock-error, frequency, timer-lost',
    ]);
    // More wrong than looked at would be nonsense.
    expect(lines.find((line) => line.startsWith('timer-lost '))).to.match(/^timer-lost +2 +2 /);
  });

  it('names stalled workers, and what was injected', () => {
    const stall = 'worker 1 has not passed a safe point for 1.0 s (pCPU 1)';
    const lines = report(fakeTime(), [stall], { inject: { kind: 'stalled-worker', pcpu: 1, atNs: 1.5e9 } });
    expect(lines[3]).to.equal('injected: stalled-worker on pCPU 1 from 1.500 s on');
    expect(lines.slice(-3, -1)).to.deep.equal([`worker-stalled: ${stall}`, 'time is not consistent: worker-stalled']);
  });

  it('draws errors in octaves, by the logarithm, with a mark for a single read', () => {
    const bars = report(fakeTime())
      .filter((line) => line.includes('█'))
      .map((line) => /^ *(.*?) +(█+) +([\d,]+)$/.exec(line)?.slice(1));
    const bar = (length: number): string => '█'.repeat(length);
    // log2 of 1024, 32, 16 and 2 are 10, 5, 4 and 1, of 40 columns; 2 and 3 ns share a bar.
    expect(bars).to.deep.equal([
      ['0', bar(40), '1,023'],
      ['< 2 ns', bar(20), '31'],
      ['< 4 ns', bar(16), '15'],
      ['< 1.049 ms', bar(4), '1'],
    ]);
  });

  it('shows 32 pCPUs, and how many more there are', () => {
    const lines = report(fakeTime({ clocks: Array.from({ length: 40 }, (_, p) => clock(p)) }));
    expect(lines.filter((line) => line.includes('40.97 ppm'))).to.have.length(32);
    expect(lines).to.include('… and 8 more (--json has them all)');
    expect(report(fakeTime()).join('\n')).to.not.contain('more (--json');
  });

  it('stays within 120 columns, however large the numbers', () => {
    const huge = TIME_CHECKS.map((check) =>
      finding(check, {
        observations: 987_654_321,
        violations: 987_654_321,
        worst: check === 'frequency' ? 999_999 : 7.7e18,
        first: { size: 7.7e18, atNs: 9e15, pcpu: 255, vcpu: 4095 },
      }),
    );
    const [, ...lines] = report(fakeTime({ ok: false, findings: huge, reads: 987_654_321, warpCycles: 1e12 }));
    // The last line is a list of names, as long as many failed.
    for (const line of lines.slice(0, -2)) expect(line.length, line).to.be.at.most(120);
    for (const line of report(broken)) expect(line.length, line).to.be.at.most(120);
  });

  it('is coloured when asked to', () => {
    const time = fakeTime();
    const text = timeReport(fakeResult({ time }), time, [], { title: 'x.yaml', paint: coloured });
    expect(text).to.contain('\u001b[32mtime is consistent\u001b[39m');
  });
});
