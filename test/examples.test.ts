/** Every example runs, keeps its expectations and gives one hash; so do the files of Debian's rt-app package, or they say why not. */

import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { checkExpectations } from '../src/config/expectations.js';
import { loadScenario } from '../src/config/scenario.js';
import type { MachineConfig } from '../src/machine/config.js';
import { ConfigError } from '../src/workload/config-error.js';
import { simulate } from './support/in-process.js';
import { runMachine } from './support/run-machine.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const EXAMPLES = join(ROOT, 'examples');
const RT_APP = '/usr/share/doc/rt-app/examples';

/** Runs the CLI as a user would. */
function ringzero(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const main = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
    execFile(process.execPath, [main, ...args], { cwd: ROOT }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

describe('examples', () => {
  const scenarios = readdirSync(EXAMPLES).filter((name) => name.endsWith('.yaml'));

  it('are there', () => {
    expect(scenarios).to.include('fair-share.yaml');
    expect(scenarios.length).to.be.at.least(8);
  });

  for (const name of scenarios) {
    it(`${name} keeps its expectations with one hash for 1 and 2 threads`, async () => {
      const { config, expectations, warnings } = loadScenario(join(EXAMPLES, name));
      expect(warnings).to.deep.equal([]);
      expect(expectations.length).to.be.greaterThan(0);
      const alone = await runMachine({ ...config, threads: 1 });
      const broken = checkExpectations(expectations, alone).filter(({ ok }) => !ok);
      expect(broken.map((v) => `${v.subject} ${v.expected}, measured ${v.measured}`)).to.deep.equal([]);
      if (config.pcpus === 1) return;
      const folded = await runMachine({ ...config, threads: 2 });
      expect(folded.hash).to.equal(alone.hash);
    });
  }

  it('fair-share.yaml is what the command line runs, and exits with 0', async () => {
    const { code, stdout, stderr } = await ringzero('run', 'examples/fair-share.yaml');
    expect(stderr).to.equal('');
    expect(code).to.equal(0);
    expect(stdout).to.match(/trace hash +[0-9a-f]{16}/);
    expect(stdout).to.match(/Expectations: (\d+) of \1 held/);
  });

  it('web.json runs by itself and writes a log for each task', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringzero-log-'));
    try {
      const { code } = await ringzero('run', 'examples/web.json', '-q', '--duration', '200ms', '--logdir', folder);
      expect(code).to.equal(0);
      const logs = readdirSync(folder);
      expect(logs).to.include('web-request-2.log').and.to.have.length(8);
      const [, ...lines] = readFileSync(join(folder, 'web-request-2.log'), 'utf8').trim().split('\n');
      // One line for each period of 5 ms.
      expect(lines.length).to.be.within(35, 40);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("Debian's rt-app examples", () => {
  const files = existsSync(RT_APP)
    ? readdirSync(RT_APP, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.json'))
        .sort()
    : [];
  const ran: string[] = [];

  /** Parts of a workload that are none by themselves. */
  const FRAGMENTS = /^merge\//;
  const REFUSAL = /:\d+:\d+: ("\w+" is not among the "resources" of the file|there is no "tasks" object)/;

  before(function () {
    if (files.length === 0) this.skip();
  });

  for (const name of files) {
    it(`${name} runs unmodified, or is refused by name with its place`, () => {
      const file = join(RT_APP, name);
      let config: MachineConfig;
      try {
        ({ config } = loadScenario(file, { durationNs: 2e9 }));
      } catch (error) {
        expect(error).to.be.instanceOf(ConfigError);
        expect(name).to.match(FRAGMENTS);
        expect((error as ConfigError).message)
          .to.match(REFUSAL)
          .and.to.include(file);
        return;
      }
      const simulation = simulate(config);
      simulation.run();
      const result = simulation.result();
      const [domain] = result.domains;
      expect(domain?.ended ?? 'poweroff').to.equal('poweroff');
      expect(domain?.workNs).to.be.greaterThan(0);
      // Every task took part, unless its own delay is longer than the run.
      const idle = domain?.tasks.filter(
        ({ workNs, loops, state }) => workNs === 0 && loops === 0 && state === 'runnable',
      );
      expect(idle).to.deep.equal([]);
      ran.push(name);
    });
  }

  it('run, all that are whole files', function () {
    if (files.length === 0) this.skip();
    expect(ran).to.deep.equal(files.filter((name) => !FRAGMENTS.test(name)));
  });

  it('run when they are of the old grammar, and fragments when they are merged as merge.py does', function () {
    if (files.length === 0) this.skip();
    const read = (name: string): Record<string, object> => JSON.parse(readFileSync(join(RT_APP, name), 'utf8'));
    const merged: Record<string, object> = {};
    for (const name of files.filter((each) => FRAGMENTS.test(each))) {
      for (const [key, value] of Object.entries(read(name))) merged[key] = { ...merged[key], ...value };
    }
    const folder = mkdtempSync(join(tmpdir(), 'ringzero-merged-'));
    try {
      const file = join(folder, 'merged.json');
      writeFileSync(file, JSON.stringify(merged));
      for (const path of [file, join(RT_APP, '../taskset.json')]) {
        const { config } = loadScenario(path, { durationNs: 1e9 });
        const simulation = simulate(config);
        simulation.run();
        for (const { name, loops } of simulation.result().domains[0]!.tasks) expect(loops, name).to.be.greaterThan(5);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('run on worker threads with the same hash', async function () {
    const name = 'tutorial/example5.json';
    if (!files.includes(name)) this.skip();
    const { config } = loadScenario(join(RT_APP, name), { durationNs: 2e9 });
    const simulation = simulate(config);
    simulation.run();
    const { hash } = await runMachine({ ...config, threads: 2 });
    expect(hash).to.equal(simulation.result().hash);
  });
});
