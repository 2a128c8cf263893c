import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { expect } from 'chai';
import type { TaskLogLine, TaskResult } from '../../src/machine/result.js';
import { taskLog, writeTaskLogs } from '../../src/report/rt-app-log.js';
import { plots } from '../../src/report/rt-app-plot.js';
import { fakeDomain } from './fake-result.js';

/** The first line of the log in rt-app's doc/tutorial.txt, and one with a wake-up before its time from a real run. */
const line: TaskLogLine = {
  idx: 0,
  perf: 92164,
  run: 19935,
  period: 98965,
  start: 504549567051,
  end: 504549666016,
  rel_st: 2443,
  slack: 78701,
  c_duration: 20000,
  c_period: 100000,
  wu_lat: 266,
};

function task(name: string, log: readonly TaskLogLine[] = []): TaskResult {
  return { name, policy: 'SCHED_OTHER', priority: 0, state: 'sleeping', workNs: 0, loops: log.length, log };
}

describe("rt-app's log", () => {
  it('has the columns of the tutorial, byte for byte', () => {
    expect(taskLog(task('thread0-0', [line]))).to.equal(
      [
        '# Policy : SCHED_OTHER priority : 0',
        '#idx     perf      run   period           start             end          rel_st      slack c_duration   c_period     wu_lat',
        '   0    92164    19935    98965    504549567051    504549666016            2443      78701      20000     100000        266',
        '',
      ].join('\n'),
    );
  });

  it('prints a negative slack with its sign and a negative latency as rt-app does, unsigned', () => {
    const text = taskLog(task('a-0', [{ ...line, slack: -5, wu_lat: -2070 }]));
    expect(text).to.match(/ {9}-5 /);
    expect(text).to.contain(' 18446744073709549546\n');
  });

  it('makes a file for each task, numbered through the domain, and a folder for each of several domains', () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringzero-'));
    try {
      const domain = fakeDomain(1, { name: 'web', tasks: [task('a-0'), task('a-1'), task('b-0', [line])] });
      const names = (paths: string[]): string[] => paths.map((path) => relative(folder, path));
      const single = writeTaskLogs(folder, [{ domain, basename: 'load' }]);
      expect(names(single)).to.deep.equal(['load-a-0.log', 'load-a-1.log', 'load-b-2.log']);
      expect(readFileSync(single[2] ?? '', 'utf8')).to.equal(taskLog(task('b-0', [line])));

      const other = fakeDomain(2, { name: '../x', tasks: [task('a-0')] });
      const several = writeTaskLogs(folder, [
        { domain, basename: 'load' },
        { domain: other, basename: 'load' },
      ]);
      expect(names(several).slice(2)).to.deep.equal(['web/load-b-2.log', '.._x/load-a-0.log']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('has no priority in the head of SCHED_DEADLINE', () => {
    const text = taskLog({ ...task('d-0'), policy: 'SCHED_DEADLINE' });
    expect(text.split('\n')[0]).to.equal('# Policy : SCHED_DEADLINE');
  });

  it('names a forked task by its index and its number, and writes nothing where logs are disabled', () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringzero-'));
    try {
      const child = { ...task('child-1'), forked: { index: 7, number: 12 } };
      const domain = fakeDomain(1, { name: 'web', tasks: [task('a-0'), child] });
      const written = writeTaskLogs(folder, [{ domain, basename: 'x' }]);
      expect(written.map((path) => relative(folder, path))).to.deep.equal(['x-a-0.log', 'x-child-7-0012.log']);
      expect(writeTaskLogs(folder, [{ domain, basename: 'y', keepsLogs: false, gnuplot: true }])).to.deep.equal([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("rt-app's plots", () => {
  const tasks = [
    { stem: 'g-a-0', name: 'a', policy: 'SCHED_OTHER' },
    { stem: 'g-d-1', name: 'd', policy: 'SCHED_FIFO' },
  ];

  it('are what rt-app 1.0 writes, byte for byte', () => {
    const all = new Map(plots('g', tasks).map(({ file, text }) => [file, text]));
    expect([...all.keys()]).to.deep.equal(['g-a-0.plot', 'g-d-1.plot', 'g-period.plot', 'g-run.plot']);
    expect(all.get('g-d-1.plot')).to.equal(
      `set terminal postscript enhanced color
set output 'g-d.eps'
set grid
set key outside right
set title "Measured d Loop stats"
set xlabel "Loop start time [msec]"
set ylabel "Run Time [msec]"
set y2label "Load [nb loop]"
set y2tics  
plot "g-d-1.log" u ($5/1000000):2 w l title "load " axes x1y2, "g-d-1.log" u ($5/1000000):3 w l title "run ", "g-d-1.log" u ($5/1000000):4 w l title "period " 
set terminal wxt
replot
`,
    );
    expect(all.get('g-run.plot')).to.equal(
      `set terminal postscript enhanced color
set output 'g-run.eps'
set grid
set key outside right
set title "Measured run time per loop"
set xlabel "Loop start time [usec]"
set ylabel "Run Time [usec]"
plot "g-a-0.log" u ($5/1000):3 w l title "thread [a] (SCHED_OTHER)", "g-d-1.log" u ($5/1000):3 w l title "thread [d] (SCHED_FIFO)"
set terminal wxt
replot
`,
    );
  });

  it('stand beside the logs where the workload asks for them', () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringzero-'));
    try {
      const domain = fakeDomain(1, { name: 'web', tasks: [task('a-0')] });
      const written = writeTaskLogs(folder, [{ domain, basename: 'g', gnuplot: true }]);
      expect(written.map((path) => relative(folder, path))).to.deep.equal([
        ...['g-a-0.log', 'g-a-0.plot', 'g-period.plot', 'g-run.plot'],
      ]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
