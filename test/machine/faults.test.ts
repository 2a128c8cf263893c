/** Workers that fail: the machine says which pCPU, soon, with a trace; machines that cannot be built are refused. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { reportError } from '../../src/cli/run-command.js';
import type { FaultInjection, GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { Machine } from '../../src/machine/machine.js';
import { MachineFault } from '../../src/machine/machine-fault.js';
import { ConfigError } from '../../src/workload/config-error.js';
import { guest, hog, machineConfig } from '../support/in-process.js';
import { SCENARIOS } from '../support/scenarios.js';

const [, LOCKS] = Object.values(SCENARIOS) as [MachineConfig, MachineConfig];

interface Failure {
  readonly fault: MachineFault;
  /** Host ms from the start of the run to its rejection. */
  readonly afterMs: number;
  readonly warnings: readonly { readonly text: string; readonly atMs: number }[];
}

async function failing(inject: FaultInjection, threads: number, over: Partial<MachineConfig> = {}): Promise<Failure> {
  const machine = await Machine.create({ ...LOCKS, threads, inject, ...over });
  const began = performance.now();
  const warnings: { text: string; atMs: number }[] = [];
  machine.on('warning', (text) => warnings.push({ text, atMs: performance.now() - began }));
  try {
    await machine.run();
  } catch (fault) {
    if (fault instanceof MachineFault) return { fault, afterMs: performance.now() - began, warnings };
    throw fault;
  } finally {
    await machine.close();
  }
  throw new Error('the machine did not fail');
}

describe('a worker that fails', () => {
  for (const kind of ['throw', 'exit'] as const) {
    for (const threads of [1, 2, 4]) {
      it(`is named with its pCPU and a trace within a second: ${kind}, ${threads} threads`, async () => {
        const { fault, afterMs } = await failing({ kind, pcpu: 3, atNs: 5e6 }, threads);
        expect(fault.pcpu).to.equal(3);
        // Whoever holds the token takes the turn, so it need not be the pCPU's own worker.
        expect(fault.worker).to.be.within(0, threads - 1);
        expect(fault.message).to.match(/pCPU 3/);
        expect(fault.message).to.match(kind === 'throw' ? /injected fault/ : /exit/i);
        expect(fault.trace).to.have.length.within(5, 20);
        // Boot takes place before time 0.
        for (const line of fault.trace) expect(line).to.match(/^(0|-0)\.0\d{8} p3 [\w:]+( \w+=[\w>, -]+)*$/);
        const times = fault.trace.map((line) => Number.parseFloat(line));
        expect(times).to.deep.equal([...times].sort((a, b) => a - b));
        expect(times.at(-1)).to.be.within(0, 0.006);
        // The fault comes after some milliseconds of a run of half a second at most.
        expect(afterMs).to.be.lessThan(1500);
      });
    }
  }

  it('is warned about after a second of holding the turn, and fatal at the stall limit', async () => {
    const { fault, afterMs, warnings } = await failing({ kind: 'stall', pcpu: 1, atNs: 5e6 }, 2, {
      stallLimitMs: 1500,
    });
    expect(fault.pcpu).to.equal(1);
    expect(fault.message).to.match(/safe point.*pCPU 1/);
    expect(fault.trace.length).to.be.greaterThan(0);
    expect(warnings).to.have.length(1);
    expect(warnings[0]?.text).to.match(/pCPU 1/);
    expect(warnings[0]?.atMs).to.be.within(900, afterMs - 100);
    expect(afterMs).to.be.within(1400, 6000);
  });

  it('fails the commands that wait for it', async () => {
    const machine = await Machine.create({ ...LOCKS, threads: 2, inject: { kind: 'throw', pcpu: 0, atNs: 5e6 } });
    try {
      const running = machine.run().catch((error: unknown) => error);
      const asked: unknown = await machine.runUntil(200e6).catch((error: unknown) => error);
      expect(asked).to.be.instanceOf(MachineFault);
      expect(await running).to.be.instanceOf(MachineFault);
    } finally {
      await machine.close();
    }
  });

  it('is reported by the command line with its pCPU, the trace and exit code 3', async () => {
    const { fault } = await failing({ kind: 'throw', pcpu: 2, atNs: 5e6 }, 2);
    const stderr = new PassThrough({ encoding: 'utf8' });
    expect(reportError(fault, stderr)).to.equal(3);
    const text = String(stderr.read());
    expect(text).to.match(/pCPU 2/);
    expect(text).to.match(/last trace:\n {2}0\.0/);
  });

  it('leaves nothing behind that would keep the process alive', async function () {
    this.timeout(20_000);
    const folder = mkdtempSync(join(tmpdir(), 'ringzero-fault-'));
    try {
      const module = fileURLToPath(new URL('../../src/machine/machine.js', import.meta.url));
      const script = join(folder, 'fail.mjs');
      const config = JSON.stringify({ ...LOCKS, threads: 2, inject: { kind: 'exit', pcpu: 1, atNs: 1e6 } });
      writeFileSync(
        script,
        `import { Machine } from ${JSON.stringify(module)};
         const machine = await Machine.create(${config});
         await machine.run().catch((fault) => console.log(fault.name, fault.pcpu));
         await machine.close();`,
      );
      const out = await new Promise<string>((resolve, reject) => {
        execFile(process.execPath, [script], { timeout: 15_000 }, (error, stdout) =>
          error ? reject(error) : resolve(stdout),
        );
      });
      expect(out).to.equal('MachineFault 1\n');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('a machine that cannot be built', () => {
  const one = (over: Partial<GuestConfig>): Partial<MachineConfig> => ({
    guests: [guest({ workload: hog(), ...over })],
  });
  const cases: Readonly<Record<string, [Partial<MachineConfig>, RegExp]>> = {
    'zero pCPUs': [{ pcpus: 0 }, /^pcpus: .*0/],
    'half a pCPU': [{ pcpus: 0.5 }, /^pcpus/],
    'a thousand pCPUs': [{ pcpus: 1000 }, /^pcpus: .*1000/],
    'more threads than pCPUs': [{ pcpus: 2, threads: 3 }, /^threads: 3 threads for 2 pCPUs/],
    'no threads': [{ threads: 0 }, /^threads/],
    'an unknown scheduler': [{ scheduler: 'lottery' }, /^scheduler: .*'lottery'.*credit/],
    'no guests': [{ guests: [] }, /^guests/],
    '10,000 VCPUs in a domain': [one({ vcpus: 10_000 }), /^guests\.0\.vcpus: 10000/],
    'more VCPUs than a machine has': [
      { guests: Array.from({ length: 40 }, (_, n) => guest({ name: `g${n}`, vcpus: 128, workload: hog() })) },
      /VCPUs/,
    ],
    'an affinity to pCPUs that are not there': [one({ cpus: [[7]] }), /^guests\.0\.cpus: impossible affinity.*pCPU 7/],
    'an affinity to nothing': [one({ cpus: [[]] }), /^guests\.0\.cpus: impossible affinity/],
    'more memory than the host has': [one({ memoryMib: 100_000 }), /^guests\.0\.memoryMib: memory is exhausted/],
    'weight 0': [one({ weight: 0 }), /^guests\.0\.weight/],
    'a cap above all VCPUs': [one({ cap: 101 }), /^guests\.0\.cap/],
    'a latency of 0': [{ latencyNs: 0 }, /^latencyNs/],
    'a ratelimit above the timeslice': [{ ratelimitUs: 40_000 }, /^ratelimitUs: .*timeslice/],
    'a duration of NaN': [{ durationNs: Number.NaN }, /^durationNs/],
    'two domains of one name': [
      { guests: [guest({ workload: hog() }), guest({ workload: hog() })] },
      /second domain named/,
    ],
    'an image beyond 4 GiB': [{ taskLogLines: 10_000_000, ...{ guests: manyTasks() } }, /image needs .* bytes/],
  };

  for (const [what, [over, message]] of Object.entries(cases)) {
    it(`is refused with a ConfigError: ${what}`, async () => {
      const error: unknown = await Machine.create(
        machineConfig({ guests: [guest({ workload: hog() })], ...over }),
      ).catch((reason: unknown) => reason);
      expect(error).to.be.instanceOf(ConfigError);
      expect((error as ConfigError).message).to.match(message);
    });
  }
});

/** 10 million log lines of 88 bytes for each of these tasks. */
function manyTasks(): GuestConfig[] {
  return Array.from({ length: 10 }, (_, n) => guest({ name: `g${n}`, workload: hog() }));
}
