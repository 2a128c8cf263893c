/** Scheduling policies in users' own files, and the page that says how to write one. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect } from 'chai';
import { loadScenario } from '../../src/config/scenario.js';
import type { MachineConfig } from '../../src/machine/config.js';
import { Machine } from '../../src/machine/machine.js';
import type { RunResult } from '../../src/machine/result.js';
import { guest, hog, machineConfig, workload } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

const ROUND_ROBIN = resolve('examples/policies/round-robin.ts');

describe("a policy in the user's own file", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'policy-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  function file(text: string, name = 'mine.ts'): string {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  }

  const config = (scheduler: string, over: Partial<MachineConfig> = {}): MachineConfig =>
    machineConfig({
      scheduler,
      pcpus: 2,
      threads: 2,
      durationNs: 300e6,
      guests: [
        guest({ name: 'hogs', vcpus: 3, workload: workload({ h: { instance: 3, run: 1e6 } }) }),
        guest({ name: 'sleepers', vcpus: 2, workload: workload({ s: { instance: 4, run: 200, sleep: 700 } }) }),
        guest({ name: 'pinned', cpus: [[1]], workload: hog() }),
      ],
      ...over,
    });

  /** What the run, or the attempt to start one, ended with. */
  async function failure(scheduler: string): Promise<string> {
    return runMachine(config(scheduler)).then(
      () => 'nothing',
      (error: Error) => `${error.name}: ${error.message}`,
    );
  }

  /** The example with a part of it replaced. */
  function changed(from: string, to: string): string {
    const text = readFileSync(ROUND_ROBIN, 'utf8');
    expect(text).to.include(from);
    return file(text.replace(from, to));
  }

  it('of the documentation is the example', () => {
    const page = readFileSync('docs/write-a-scheduler.md', 'utf8');
    const code = /```ts\n([\s\S]*?)```/.exec(page)?.[1];
    expect(code).to.equal(readFileSync(ROUND_ROBIN, 'utf8'));
    expect(code?.trimEnd().split('\n').length).to.be.at.most(65);
  });

  it('gives turns to everybody, and one hash for any number of workers', async () => {
    const results: RunResult[] = [];
    for (const threads of [1, 2]) results.push(await runMachine(config(ROUND_ROBIN, { threads })));
    expect(new Set(results.map(({ hash }) => hash)).size).to.equal(1);
    const [hogs, sleepers, pinned] = results[0]!.domains;
    for (const { runstate } of hogs!.vcpus) expect(runstate.running).to.be.above(30e6);
    expect(sleepers!.share).to.be.above(0.02);
    expect(pinned!.share).to.be.above(0.15);
  });

  it('runs in free mode', async () => {
    const { outcome, domains } = await runMachine(config(ROUND_ROBIN, { mode: 'free', jitterSeed: 3 }));
    expect(outcome).to.equal('horizon');
    for (const { share } of domains) expect(share).to.be.above(0.02);
  });

  it('is found beside the scenario that names it', () => {
    const scenario = file(
      'machine: { scheduler: ./mine.ts }\nguests: [{ name: a, workload: { tasks: { t: { run: 1 } } } }]\n',
      's.yaml',
    );
    expect(loadScenario(scenario).config.scheduler).to.equal(join(folder, 'mine.ts'));
  });

  it('may be JavaScript', async () => {
    const path = file('export default () => ({ create: () => ({}) });', 'mine.mjs');
    expect(await failure(path)).to.equal(`ConfigError: ${path}: the policy has no operation "insert"`);
  });

  describe('is refused, with its place,', () => {
    const cases: Readonly<Record<string, readonly [text: string, message: string]>> = {
      'when it is no TypeScript': ['const a = 1;\nexport default (x: number) => {;\n  const = 3;\n', ':3:9: '],
      'when it needs more than types taken out': ['\nenum A { B }\nexport default () => A;\n', ':2:1: TypeScript enum'],
      'when it imports': [
        "import type { Policy } from 'ringzero';\nimport { readFileSync } from 'node:fs';\n",
        ':2:1: a policy imports types only',
      ],
      'when it exports nothing': ['export const a = 1;\n', ': the default export is no function'],
      'when it makes nothing': ['export default () => 3;\n', ': what it makes has no operation "create"'],
      'when it throws': ["\n\nexport default () => {\n  throw new Error('not today');\n};\n", ':4:9: not today'],
    };
    for (const [what, [text, message]] of Object.entries(cases)) {
      it(what, async () => {
        const path = file(text);
        const found = await failure(path);
        expect(found).to.satisfy((s: string) => s.startsWith(`ConfigError: ${path}${message}`), found);
      });
    }

    it('when there is none', async () => {
      expect(await failure(join(folder, 'no.ts'))).to.equal(`ConfigError: ${join(folder, 'no.ts')}: no such file`);
    });
  });

  describe('ends the run, and says why, when it', () => {
    it('runs a VCPU that sleeps', async () => {
      const path = changed('pcpu.setNext(p, next === NONE ? idleOf(p) : next);', 'pcpu.setNext(p, 0);');
      expect(await failure(path)).to.match(/MachineFault: .*mine\.ts: doSchedule chose VCPU 0 for pCPU \d: it /);
    });

    it('runs a VCPU that it leaves in the queue', async () => {
      const path = changed('        queues.remove(next);\n', '');
      expect(await failure(path)).to.match(
        /MachineFault: .*doSchedule chose VCPU \d+ for pCPU \d: it is still in the run queue/,
      );
    });

    it('gives no time', async () => {
      const path = changed('next === NONE ? Infinity : SLICE_NS', '0');
      expect(await failure(path)).to.match(/MachineFault: .*gave VCPU \d+ a timeslice of 0 ns/);
    });

    it('throws', async () => {
      const path = changed(
        'turns.addChosen(next, 1);',
        "if (turns.chosen(next) === 2) throw new Error('enough');turns.addChosen(next, 1);",
      );
      expect(await failure(path)).to.match(/MachineFault: .*pCPU \d: .*mine\.ts:56:\d+: enough/);
    });
  });

  it('leaves other machines of the process their own', async () => {
    const machine = await Machine.create(config('credit'));
    await machine.close();
    expect(machine.config.scheduler).to.equal('credit');
  });
});
