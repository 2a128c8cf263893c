/** What the observer of time and the clocks themselves have to say after a run. */
import { CPU_TIME, WALL_CLOCK } from '../hv/records.js';
import { timeFindings } from '../hv/time-check.js';
import { HISTOGRAM_BUCKETS, HISTOGRAM_BYTES, upperBoundOf } from '../shared/histogram.js';
import { OSCILLATOR, oscillators } from '../shared/oscillator.js';
import type { BuiltMachine } from './build.js';
import { POWER_ON_NS } from './build.js';
import type { MachineConfig } from './config.js';
import { endOf } from './end-of-run.js';
import type { PcpuClockResult, TimeResult } from './result.js';

function errorHistogram({ image, shape }: BuiltMachine): TimeResult['errorHistogram'] {
  const base = image.region('time-error').base >> 2;
  const sums = new Array<number>(HISTOGRAM_BUCKETS).fill(0);
  for (let w = 0; w < shape.hv.runners; w++) {
    const counts = image.i32.subarray(base + (w * HISTOGRAM_BYTES) / 4, base + ((w + 1) * HISTOGRAM_BYTES) / 4);
    for (const [b, n] of counts.entries()) sums[b]! += n >>> 0;
  }
  return sums.flatMap((reads, b) => (reads === 0 ? [] : [{ upToNs: upperBoundOf(b), reads }]));
}

export function collectTime(built: BuiltMachine, config: MachineConfig): TimeResult {
  const { image, core, shape } = built;
  const { time } = core.hv;
  const cpu = image.table(CPU_TIME);
  const wall = image.table(WALL_CLOCK);
  const oscillator = image.table(OSCILLATOR);
  // The clocks are compared at the end of the run.
  if (config.mode === 'free') core.hv.context.machine.setNow(0, endOf(built));
  const platform = oscillators(image).read(config.pcpus, endOf(built));
  const findings = timeFindings(image, shape.hv, platform, {
    latencyNs: config.latencyNs,
    windowNs: config.mode === 'free' ? config.windowNs : undefined,
  });
  const clocks = Array.from({ length: config.pcpus }, (_, p): PcpuClockResult => {
    const rate = oscillator.rate(p);
    return {
      pcpu: p,
      offsetNs: Math.round((oscillator.start(p) - cpu.corrected(p)) / rate - POWER_ON_NS),
      driftPpm: (rate / (config.cycleHz / 1e9) - 1) * 1e6,
      calibrations: cpu.calibrations(p),
      lastErrorNs: cpu.lastError(p),
      maxErrorNs: cpu.maxError(p),
      errorNs: time.systemTime(p) - platform,
    };
  });
  return {
    ok: findings.every(({ violations }) => violations === 0),
    latencyNs: config.latencyNs,
    reads: findings.find(({ check }) => check === 'clock-error')?.observations ?? 0,
    tscStable: wall.tscStable(0) !== 0,
    warpCycles: wall.warp(0),
    findings,
    errorHistogram: errorHistogram(built),
    clocks,
  };
}
