import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { parseInjection } from '../../src/cli/check-time-command.js';
import { parseDuration } from '../../src/config/units.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

describe('ringzero check-time', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringzero-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  function checkTime(...args: string[]): SpawnSyncReturns<string> {
    const all = [MAIN, 'check-time', '--threads', '2', ...args];
    return spawnSync(process.execPath, all, { cwd: folder, encoding: 'utf8', timeout: 60_000 });
  }

  /** The example for a while: long enough for guests to read a clock that has been wrong since 100 ms. */
  const brief = (...args: string[]): SpawnSyncReturns<string> => checkTime('--duration', '200ms', ...args);

  /** What is said when `args` are refused as the user's mistake. */
  function refusal(...args: string[]): string {
    const { status, stdout, stderr } = brief(...args);
    expect(status, stderr).to.equal(2);
    expect(stdout).to.equal('');
    expect(stderr).to.not.match(/^\s+at .*:\d+/m);
    return stderr;
  }

  it('needs no file, and says 0 when time is consistent', () => {
    const { status, stdout, stderr } = brief();
    expect(stderr).to.equal('');
    expect(status).to.equal(0);
    expect(stdout).to.match(/^check-time .*: 200\.0 ms of time, [\d,]+ clock reads checked\n/);
    expect(stdout).to.match(/time is consistent\n$/);
    expect(stdout).to.not.contain('FAIL');
  });

  it('says 1, and what is wrong from when on, with a fault', () => {
    const { status, stdout } = brief('--inject', 'offset@1:100ms');
    expect(status).to.equal(1);
    expect(stdout).to.contain('injected: offset on pCPU 1 from 100.0 ms on');
    expect(stdout).to.match(/^clock-error .* FAIL /m);
    expect(stdout).to.match(/^clock-error: [\d,]+ times, first 1000\.0 us at 1\d\d\.\d ms pCPU 1, VCPU \d+$/m);
    expect(stdout).to.match(/time is not consistent: .*clock-error.*\n$/);
  });

  it('says 1 when counters are not synchronised or clocks not calibrated', () => {
    const apart = brief('--no-sync');
    expect(apart.status).to.equal(1);
    expect(apart.stdout)
      .to.contain('not TSC_STABLE')
      .and.to.match(/time is not consistent: boot-skew\n$/);
    const adrift = brief('--calibration', 'off');
    expect(adrift.status).to.equal(1);
    expect(adrift.stdout).to.match(/time is not consistent: .*clock-error.*frequency/);
    expect(brief('--calibration', 'local').status).to.equal(0);
  });

  it('says 1 and names a worker that stalls, though time itself is right', () => {
    // The watchdog warns after a second; the fault lasts two and a half.
    const { status, stdout, stderr } = brief('--inject', 'stalled-worker@1:100ms');
    expect(status).to.equal(1);
    // Two workers, four pCPUs each: pCPU 1 is worker 0's.
    expect(stderr).to.match(/^ringzero: warning: worker 0 has not passed a safe point/);
    expect(stdout).to.match(/^worker-stalled: worker 0 has not passed a safe point/m);
    expect(stdout).to.match(/time is not consistent: worker-stalled\n$/);
  });

  it('writes JSON alone to stdout, or to a file beside the report', () => {
    const good = brief('--json');
    expect(good).to.include({ status: 0, stderr: '' });
    const data = JSON.parse(good.stdout);
    expect(data).to.include({ schema: 'ringzero.check-time/1', ok: true, simulatedNs: 200e6, latencyNs: 2000 });
    expect(data.stalls).to.deep.equal([]);
    expect(data.findings).to.have.length(17);
    expect(data.findings[0]).to.include({ check: 'boot-skew', observations: 1, violations: 0 });
    expect(data.clocks).to.have.length(8);
    expect(data.hash).to.match(/^[0-9a-f]{16}$/);
    expect(data).to.not.have.property('inject');
    const bad = brief('--inject', 'offset@1:100ms', '--json', 'found.json', '--quiet');
    expect(bad).to.include({ status: 1, stdout: '' });
    const found = JSON.parse(readFileSync(join(folder, 'found.json'), 'utf8'));
    expect(found.ok).to.equal(false);
    expect(found.inject).to.deep.equal({ kind: 'offset', pcpu: 1, atNs: 100e6 });
    const clock = found.findings.find(({ check }: { check: string }) => check === 'clock-error');
    expect(clock.first).to.include({ pcpu: 1 });
    expect(clock.first.size).to.be.closeTo(1e6, 2000);
  });

  it('takes any scenario, and refuses what is wrong with it', () => {
    writeFileSync(
      join(folder, 's.yaml'),
      'machine: { pcpus: 2, synchronise: false }\nguests:\n  - { name: a, workload: { tasks: { t: { run: 50, sleep: 50 } } } }\n',
    );
    const { status, stdout } = brief('s.yaml');
    expect(status).to.equal(1);
    expect(stdout)
      .to.match(/^s\.yaml: /)
      .and.to.contain('boot-skew');
    expect(refusal('none.yaml')).to.equal('ringzero: none.yaml: no such file\n');
    expect(refusal('s.yaml', '--json', 's.yaml')).to.match(/^ringzero: --json: refusing to overwrite s\.yaml/);
  });

  it('refuses faults that there are not, in places that there are not', () => {
    expect(refusal('--inject', 'gremlin')).to.match(
      /^ringzero: .*--inject.*'gremlin'.* NAME@PCPU:TIME with NAME one of offset, drift, .*stalled-worker\.$/m,
    );
    expect(refusal('--inject', 'offset@1:100')).to.match(/^ringzero: .*--inject.*'offset@1:100' is invalid/);
    expect(refusal('--inject', 'offset@8')).to.equal('ringzero: --inject: no pCPU 8: the machine has 8\n');
    expect(refusal('--calibration', 'nonsense')).to.match(
      /^ringzero: .*--calibration.*'nonsense' is invalid\. Allowed choices are rendezvous, local, off\.$/m,
    );
    // `run` has no such options: nobody would look at what they do.
    const run = spawnSync(process.execPath, [MAIN, 'run', 'x.yaml', '--inject', 'offset'], { encoding: 'utf8' });
    expect(run.status).to.equal(2);
    expect(run.stderr).to.match(/^ringzero: unknown option '--inject'/);
  });

  it('reads NAME, NAME@PCPU and NAME@PCPU:TIME', () => {
    const read = (text: string): unknown => parseInjection(text, parseDuration);
    expect(read('drift')).to.deep.equal({ kind: 'drift', pcpu: 1, atNs: 1.5e9 });
    expect(read('drift@3')).to.deep.equal({ kind: 'drift', pcpu: 3, atNs: 1.5e9 });
    expect(read('late-ipi@0:20ms')).to.deep.equal({ kind: 'late-ipi', pcpu: 0, atNs: 20e6 });
    for (const text of [
      '',
      'drift@',
      'drift@x',
      'drift@-1',
      'drift@1.5',
      'drift:1s',
      'drift@1:',
      'drift@1:-1s',
      'throw',
    ]) {
      expect(read(text), text).to.equal(undefined);
    }
  });
});
