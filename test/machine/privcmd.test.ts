/** Domain 0's tools: they make hypercalls on domain 0's time, from a script and for the outside. */
import { expect } from 'chai';
import { withLiveTools } from '../../src/config/dom0.js';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { Machine } from '../../src/machine/machine.js';
import { XEN_EFAULT } from '../../src/shared/public/errno.js';
import { __HYPERVISOR_console_io, CONSOLEIO_write } from '../../src/shared/public/xen.js';
import { DATA, type ToolCall, type ToolJob } from '../../src/toolstack/tool-job.js';
import type { WorkloadEvent } from '../../src/workload/workload.js';
import { guest, hog, machineConfig, simulate, workload } from '../support/in-process.js';

const at = { file: 'test', line: 1, column: 1 };

const say = (text: string, costNs: number): ToolCall => {
  const data = new TextEncoder().encode(text);
  return { costNs, nr: __HYPERVISOR_console_io, args: [CONSOLEIO_write, data.length, DATA], data, pointers: [] };
};
/** A call that fails. */
const wrong: ToolCall = { ...say('', 1000), args: [CONSOLEIO_write, 8, 0x7ff0_0000] };

/** Domain 0 with a script. */
function dom0(jobs: readonly ToolJob[], over: Partial<GuestConfig> = {}): GuestConfig {
  const events = jobs.flatMap(({ atNs }, n): WorkloadEvent[] => [
    { kind: 'until', ns: atNs, at },
    { kind: 'tool', job: 1 + n, at },
  ]);
  const base = workload({ shell: { run: 1 } });
  const [shell] = base.tasks;
  const phases = [
    { name: 'script', loop: 1, events },
    { name: 'asleep', loop: -1, events: [{ kind: 'sleep' as const, ns: 3600e9, at }] },
  ];
  return guest({
    name: 'Domain-0',
    privileged: true,
    workload: { ...base, tasks: [{ ...shell!, phases }] },
    ...over,
  });
}

const job = (atNs: number, ...calls: ToolCall[]): ToolJob => ({ atNs, text: 'test', calls });

describe("domain 0's tools", () => {
  it('make the calls of a script in time, and pay for their work', () => {
    const jobs = [job(20e6, say('one ', 3e6), say('two ', 2e6)), job(21e6, say('three', 1e6))];
    const simulation = simulate(machineConfig({ guests: [dom0(jobs)], toolstack: { live: false, jobs } }));
    simulation.run();
    const { toolstack, domains } = simulation.result();
    expect(domains[0]!.console).to.match(/one two three$/);
    const [first, second] = toolstack!;
    expect(first).to.include({ rc: 0, atNs: 20e6 });
    expect(first!.beganNs).to.be.within(20e6, 20.01e6);
    expect(first!.doneNs).to.be.within(25e6, 25.01e6);
    // One after the other.
    expect(second!.beganNs).to.be.within(25e6, 25.01e6);
    expect(second!.doneNs).to.be.within(26e6, 26.01e6);
    expect(domains[0]!.virtualTimeNs).to.be.within(6e6, 6.2e6);
  });

  it('are late when domain 0 is starved', () => {
    const jobs = [job(20e6, say('x', 30e6))];
    const done = (over: Partial<GuestConfig>): number => {
      const guests = [dom0(jobs, over), guest({ name: 'hog', workload: hog() })];
      const simulation = simulate(machineConfig({ guests, durationNs: 3e9, toolstack: { live: false, jobs } }));
      simulation.run();
      return simulation.result().toolstack![0]!.doneNs! - 20e6;
    };
    expect(done({})).to.be.below(100e6);
    expect(done({ cap: 5 })).to.be.above(180e6);
  });

  it('stop at the call that fails, and say why', () => {
    const jobs = [job(1e6, say('first ', 1000), wrong, say('never', 1000)), job(2e6, say('next', 1000))];
    const simulation = simulate(machineConfig({ guests: [dom0(jobs)], toolstack: { live: false, jobs } }));
    simulation.run();
    const { toolstack, domains } = simulation.result();
    expect(toolstack!.map(({ rc }) => rc)).to.deep.equal([-XEN_EFAULT, 0]);
    expect(domains[0]!.console).to.match(/first next$/);
  });

  it('take back what was done before a call that fails, if anything was', () => {
    const undo = [wrong, say('back ', 1000)];
    const jobs = [
      { ...job(1e6, say('first ', 1000), wrong, say('never', 1000)), undo },
      { ...job(2e6, wrong), undo },
      { ...job(3e6, say('last', 1000)), undo },
    ];
    const simulation = simulate(machineConfig({ guests: [dom0(jobs)], toolstack: { live: false, jobs } }));
    simulation.run();
    const { toolstack, domains } = simulation.result();
    expect(toolstack!.map(({ rc }) => rc)).to.deep.equal([-XEN_EFAULT, -XEN_EFAULT, 0]);
    expect(domains[0]!.console).to.match(/first back last$/);
  });

  for (const mode of ['ordered', 'free'] as const) {
    it(`do what the outside asks for while the machine runs: ${mode} mode`, async () => {
      const guests = [guest({ name: 'hogs', vcpus: 4, workload: workload({ h: { instance: 4, run: 1e6 } }) })];
      const bare: MachineConfig = machineConfig({ mode, pcpus: 2, threads: 2, durationNs: Infinity, guests });
      const machine = await Machine.create(withLiveTools(bare));
      try {
        const running = machine.run();
        const results = await machine.privcmd([say('hello ', 1000), say('world', 1000)]);
        expect(results.map(({ rc }) => rc)).to.deep.equal([0, 0]);
        const refused = await machine.privcmd([say('!', 1000), wrong, say('?', 1000)]);
        expect(refused.map(({ rc }) => rc)).to.deep.equal([0, -XEN_EFAULT]);
        // More than there is room for at once, and several askers.
        const many = await Promise.all(
          [3000, 1].map((n) => machine.privcmd(Array.from({ length: n }, () => say('.', 10)))),
        );
        expect(many.map((list) => list.length)).to.deep.equal([3000, 1]);
        await machine.stop();
        expect((await running).domains[0]!.console).to.match(/hello world!\.{3001}$/);
      } finally {
        await machine.close();
      }
    });
  }

  it('are not there in a machine that was not given them', async () => {
    const machine = await Machine.create(machineConfig({ guests: [guest({ workload: hog() })] }));
    try {
      expect(() => machine.privcmd([say('x', 1)])).to.throw(/no tools that listen/);
    } finally {
      await machine.close();
    }
  });
});
