import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const HOG = 'workload: { tasks: { hog: { run: 1000 } } }';

describe('the ringzero command', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringzero-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  function ringzero(...args: string[]): SpawnSyncReturns<string> {
    return spawnSync(process.execPath, [MAIN, ...args], { cwd: folder, encoding: 'utf8', timeout: 60_000 });
  }

  function write(name: string, text: string): string {
    writeFileSync(join(folder, name), text);
    return name;
  }

  /** What is said when `args` are refused as the user's mistake. */
  function refusal(...args: string[]): string {
    const { status, stdout, stderr } = ringzero(...args);
    expect(status, stderr).to.equal(2);
    expect(stdout).to.equal('');
    expect(stderr).to.not.match(/^\s+at .*:\d+/m);
    return stderr;
  }

  const scenario = (name: string, text: string): string => refusal('run', write(name, text));

  it('tells its version and its options', () => {
    expect(ringzero('--version')).to.include({ status: 0, stderr: '' });
    expect(ringzero('--version').stdout).to.match(/^\d+\.\d+\.\d+\n$/);
    const help = ringzero('run', '--help');
    expect(help.status).to.equal(0);
    for (const option of ['--threads', '--pcpus', '--duration', '--json', '--logdir', '--stall-limit', '--quiet']) {
      expect(help.stdout).to.contain(option);
    }
    expect(help.stdout).to.contain('Exit codes: 0 ok, 1 an expectation failed');
  });

  it('refuses what it does not know', () => {
    expect(refusal()).to.contain('Usage: ringzero');
    expect(refusal('walk')).to.match(/^ringzero: unknown command 'walk'/);
    expect(refusal('run')).to.match(/^ringzero: missing required argument 'file'/);
    expect(refusal('run', 'x.yaml', '--fast')).to.match(/^ringzero: unknown option '--fast'/);
    expect(refusal('run', 'x.yaml', '--duration', '10')).to.match(
      /^ringzero: .*--duration.* Expected a duration with its unit/,
    );
    expect(refusal('run', 'x.yaml', '--pcpus', 'four')).to.match(/^ringzero: .*--pcpus.* Expected a number/);
  });

  it('says which file is missing', () => {
    expect(refusal('run', 'none.yaml')).to.equal('ringzero: none.yaml: no such file\n');
    expect(refusal('run', 'none.json')).to.equal('ringzero: none.json: no such file\n');
    expect(scenario('cfg.yaml', `guests:\n  - { config: none.cfg, ${HOG} }\n`)).to.equal(
      'ringzero: cfg.yaml:2:15: none.cfg: no such file\n',
    );
  });

  it('says where YAML, an xl.cfg or a workload is broken', () => {
    expect(scenario('a.yaml', 'guests: [\n')).to.match(/^ringzero: a\.yaml:\d+:\d+: /);
    write('bad.cfg', 'name = \n');
    expect(scenario('b.yaml', `guests:\n  - { config: bad.cfg, ${HOG} }\n`)).to.match(/^ringzero: bad\.cfg:1:8: /);
    write('bad.json', '{ "tasks": { "t": { "run": } } }');
    expect(scenario('c.yaml', 'guests:\n  - { name: a, workload: bad.json }\n')).to.match(
      /^ringzero: bad\.json:1:28: /,
    );
    expect(refusal('run', 'bad.json')).to.match(/^ringzero: bad\.json:1:28: /);
  });

  it('says what cannot be built', () => {
    const guest = (settings: string): string => `guests:\n  - { name: a, ${settings}, ${HOG} }\n`;
    expect(scenario('d.yaml', guest('cpus: "4-7"'))).to.match(/^ringzero: d\.yaml:2:22: pCPU 4 does not exist/);
    expect(scenario('e.yaml', `machine: { pcpus: 0 }\n${guest('cap: 0')}`)).to.match(
      /^ringzero: e\.yaml:1:19: 0 pCPUs/,
    );
    expect(scenario('f.yaml', `machine: { scheduler: bvt }\n${guest('cap: 0')}`)).to.equal(
      "ringzero: f.yaml:1:23: unknown scheduler 'bvt'; known: credit, credit2, sedf, null, or a file (.ts, .js) with a policy\n",
    );
    expect(scenario('g.yaml', guest('vcpus: 10000'))).to.match(/^ringzero: g\.yaml:2:23: "vcpus" is 10000; .* 128$/m);
    expect(scenario('h.yaml', guest('memory: 5000'))).to.match(/^ringzero: h\.yaml:2:24: memory is exhausted/);
    const sound = write('sound.yaml', guest('cap: 0'));
    expect(refusal('run', sound, '--pcpus', '0')).to.match(/^ringzero: --pcpus: 0 pCPUs is out of range/);
    expect(refusal('run', sound, '--sched', 'bvt')).to.match(/^ringzero: --sched: unknown scheduler 'bvt'/);
    expect(refusal('run', sound, '--threads', '0')).to.match(/^ringzero: --threads: 0 threads/);
  });

  it('runs a scenario, and says 1 when an expectation fails', () => {
    const text = `machine: { pcpus: 1, duration: 100ms }\nguests:\n  - { name: a, ${HOG} }\nexpect:\n`;
    const good = ringzero('run', write('good.yaml', `${text}  - outcome: horizon\n`));
    expect(good).to.include({ status: 0, stderr: '' });
    expect(good.stdout).to.contain('good.yaml: 100.0 ms simulated on 1 pCPU').and.to.contain('1 of 1 held');
    const bad = ringzero('run', write('bad.yaml', `${text}  - share: { domain: a, is: "< 1%" }\n`));
    expect(bad.status).to.equal(1);
    expect(bad.stdout).to.match(/FAILED\s+share of a\s+< 1\.00 %\s+\d+\.\d+ %\s+line 5/);
  });

  it('runs a bare workload, and prints JSON alone when asked to', () => {
    const file = write('load.json', '{ "tasks": { "t": { "run": 1000, "sleep": 1000 } } }');
    const { status, stdout, stderr } = ringzero('run', file, '--pcpus', '2', '--duration', '50ms', '--json');
    expect(stderr).to.equal('');
    expect(status).to.equal(0);
    const report = JSON.parse(stdout);
    expect(report).to.include({ schema: 'ringzero.run/1', scenario: 'load.json', simulatedNs: 50e6 });
    expect(report.domains).to.have.length(1);
    expect(report.hash).to.match(/^[0-9a-f]{16}$/);
  });
});
