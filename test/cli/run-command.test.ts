import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { expect } from 'chai';
import { type RunnableMachine, type RunOptions, runCommand, type Surroundings } from '../../src/cli/run-command.js';
import type { MachineConfig } from '../../src/machine/config.js';
import type { RunResult } from '../../src/machine/result.js';
import { ConfigError } from '../../src/workload/config-error.js';
import { fakeDomain, fakeResult } from '../report/fake-result.js';

/** A machine that does nothing but end, with the result it was given. */
class FakeMachine implements RunnableMachine {
  readonly result: RunResult;
  closed = false;
  stopped = false;
  /** Lets a test act while the machine runs. */
  during: () => void = () => undefined;
  #warn: (text: string) => void = () => undefined;

  constructor(result: RunResult) {
    this.result = result;
  }

  async run(): Promise<RunResult> {
    this.#warn('pCPU 1 holds the turn');
    this.during();
    return this.stopped ? { ...this.result, outcome: 'stopped' } : this.result;
  }

  progress(): { simulatedNs: number; events: number } {
    return { simulatedNs: 5e9, events: 1000 };
  }

  async stop(): Promise<void> {
    this.stopped = true;
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  on(_event: 'warning', listener: (text: string) => void): this {
    this.#warn = listener;
    return this;
  }
}

const SCENARIO = `
guests:
  - name: web
    workload: { tasks: { t: { run: 1 } }, global: { log_basename: load } }
expect:
  - jain: ">= 0.9"
`;

describe('the run command', () => {
  let folder = '';
  let file = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringzero-'));
    file = join(folder, 's.yaml');
    writeFileSync(file, SCENARIO);
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  interface Ran {
    readonly code: number;
    readonly stdout: string;
    readonly stderr: string;
    readonly machine: FakeMachine;
    readonly config: MachineConfig | undefined;
    readonly listening: boolean;
  }

  async function run(
    options: Partial<RunOptions>,
    result = fakeResult(),
    meddle?: (machine: FakeMachine, interrupt: () => void) => void,
    isTTY = false,
  ): Promise<Ran> {
    const stdout = new PassThrough();
    const stderr = Object.assign(new PassThrough(), { isTTY });
    const machine = new FakeMachine(result);
    let config: MachineConfig | undefined;
    let interrupt: (() => void) | undefined;
    const around: Surroundings = {
      stdout,
      stderr,
      createMachine: async (given) => {
        config = given;
        meddle?.(machine, () => interrupt?.());
        return machine;
      },
      onInterrupt: (listener) => {
        interrupt = listener;
        return () => {
          interrupt = undefined;
        };
      },
    };
    const code = await runCommand(file, { overrides: {}, quiet: false, ...options }, around);
    const text = (stream: PassThrough): string => String(stream.read() ?? '');
    return { code, stdout: text(stdout), stderr: text(stderr), machine, config, listening: interrupt !== undefined };
  }

  it('prints the report, passes warnings on, closes the machine and says 0', async () => {
    const ran = await run({ overrides: { seed: 5 } });
    expect(ran.code).to.equal(0);
    expect(ran.config?.seed).to.equal(5);
    expect(ran.stdout).to.contain('trace hash').and.to.contain('Expectations: 1 of 1 held');
    expect(ran.stderr).to.equal('ringzero: warning: pCPU 1 holds the turn\n');
    expect(ran.machine.closed).to.equal(true);
    expect(ran.listening).to.equal(false);
  });

  it('says 1 when an expectation failed, and names it even when quiet', async () => {
    const ran = await run({ quiet: true }, fakeResult({ jain: 0.5 }));
    expect(ran.code).to.equal(1);
    expect(ran.stdout).to.equal('');
    expect(ran.stderr).to.match(/FAILED\s+jain\s+>= 0\.9000\s+0\.5000\s+line 6/);
  });

  it('writes nothing but JSON to stdout where JSON is wanted there', async () => {
    for (const json of [true, '-'] as const) {
      const ran = await run({ json });
      expect(JSON.parse(ran.stdout)).to.include({ schema: 'ringzero.run/1', scenario: file });
    }
  });

  it('writes JSON to a file beside the report', async () => {
    const json = join(folder, 'out.json');
    const ran = await run({ json });
    expect(ran.stdout).to.contain('trace hash');
    expect(JSON.parse(readFileSync(json, 'utf8'))).to.have.property('hash', '0123456789abcdef');
  });

  it('knows before the run what it cannot write after it', async () => {
    const refused = async (options: Partial<RunOptions>): Promise<string> => {
      try {
        await run(options, fakeResult(), () => expect.fail('the machine was built'));
      } catch (error) {
        if (error instanceof ConfigError) return error.message;
        throw error;
      }
      return 'accepted';
    };
    expect(await refused({ json: join(folder, 'none', 'out.json') })).to.match(/^--json: ENOENT/);
    expect(await refused({ json: file })).to.match(/^--json: refusing to overwrite .*s\.yaml/);
    expect(readFileSync(file, 'utf8')).to.equal(SCENARIO);
    expect(await refused({ logdir: join(file, 'logs') })).to.match(/^--logdir: /);
  });

  it("writes rt-app's logs under the workload's own name for them", async () => {
    const task = { policy: 'SCHED_OTHER', priority: 0, state: 'sleeping', workNs: 0, loops: 0, log: [] } as const;
    const domains = [fakeDomain(1, { name: 'web', tasks: [{ name: 't-0', ...task }] })];
    const logdir = join(folder, 'logs');
    await run({ logdir }, fakeResult({ domains }));
    expect(existsSync(join(logdir, 'load-t-0.log'))).to.equal(true);
  });

  it('stops at an interrupt, reports what there is without judging it, and says 130', async () => {
    const ran = await run({}, fakeResult({ jain: 0.5 }), (machine, interrupt) => {
      machine.during = interrupt;
    });
    expect(ran.code).to.equal(130);
    expect(ran.machine.stopped).to.equal(true);
    expect(ran.stdout).to.contain('stopped before its end').and.not.to.contain('Expectations');
    expect(ran.machine.closed).to.equal(true);
  });

  it('does not start when interrupted while the machine is built', async () => {
    const ran = await run({}, fakeResult(), (machine, interrupt) => {
      machine.during = () => expect.fail('the machine ran');
      interrupt();
    });
    expect(ran.code).to.equal(130);
    expect(ran.stdout).to.equal('');
    expect(ran.machine.closed).to.equal(true);
  });

  it('shows progress on a terminal only, and never when quiet', async () => {
    const seen = async (quiet: boolean, isTTY: boolean): Promise<boolean> =>
      (await run({ quiet }, fakeResult(), undefined, isTTY)).stderr.includes('1,000 events');
    expect(await seen(false, true)).to.equal(true);
    expect(await seen(false, false)).to.equal(false);
    expect(await seen(true, true)).to.equal(false);
  });
});
