import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { expect } from 'chai';
import type { TaskLogLine, TaskResult } from '../../src/machine/result.js';
import { taskLog, writeTaskLogs } from '../../src/report/rt-app-log.js';
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
});
