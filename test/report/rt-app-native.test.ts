/** Logs and plots beside those of the real rt-app, where it is installed. Measured times are not compared: the host is busy. */
import { expect } from 'chai';
import { differences, hasRtApp, parseLog, runInMachine, runNative, sampleWorkload } from '../../perf/native-rt-app.js';

describe("rt-app's own files", () => {
  it('have the names, heads, widths, numbers of lines and configured columns that ours have', async function () {
    if (!hasRtApp()) return this.skip();
    this.timeout(120_000);
    const workload = sampleWorkload(100);
    const native = runNative(workload).files;
    const ours = await runInMachine(workload);
    expect(native.size).to.equal(6 + 6 + 2);
    expect(differences(native, ours)).to.deep.equal([]);
    // Loops of work are those of the configured durations, but in runtime, where they are what the time allowed.
    const perf = (files: typeof native): unknown[] =>
      [...files]
        .filter(([name]) => name.endsWith('.log') && !name.includes('runtime'))
        .sort()
        .map(([, text]) => parseLog(text).rows.map((row) => row[1]));
    expect(perf(ours)).to.deep.equal(perf(native));
  });
});

describe('the comparison', () => {
  const head = ['# Policy : SCHED_OTHER priority : 0', '#idx run c_duration c_period'];
  const files = (...lines: string[]): Map<string, string> =>
    new Map([['x-a-0.log', [...head, ...lines, ''].join('\n')]]);
  const one = files('  0   5         10        0');

  it('finds nothing where only measured columns differ', () => {
    expect(differences(one, files('  0   7         10        0'))).to.deep.equal([]);
  });

  it('finds other widths, configured columns, numbers of lines, heads and files', () => {
    expect(differences(one, files('  0   5        10        0')).join()).to.contain('ends its columns');
    expect(differences(one, files('  0   5         11        0')).join()).to.contain('c_duration is 10 by rt-app, 11');
    expect(differences(one, files()).join()).to.contain('1 lines by rt-app, 0 by the machine');
    expect(differences(one, new Map([['x-a-0.log', 'x']])).join()).to.contain('heads differ');
    expect(differences(one, new Map())).to.deep.equal(['x-a-0.log: only rt-app writes it']);
    expect(differences(new Map([['a.plot', 'x']]), new Map([['a.plot', 'y']]))).to.deep.equal([
      'a.plot: the texts differ',
    ]);
  });
});
