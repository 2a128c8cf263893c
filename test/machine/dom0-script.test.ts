/** Domain 0's script in whole machines: what its commands do to domains, and that the result is one whatever carries it out. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { loadScenario, type MachineOverrides } from '../../src/config/scenario.js';
import type { DomainResult, RunResult } from '../../src/machine/result.js';
import { ConfigError } from '../../src/workload/config-error.js';
import { runMachine } from '../support/run-machine.js';

describe("domain 0's script", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'script-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  function load(text: string, overrides: MachineOverrides = {}) {
    const file = join(folder, 's.yaml');
    writeFileSync(file, text);
    return loadScenario(file, overrides);
  }

  async function run(
    commands: readonly string[],
    guests: string,
    overrides: MachineOverrides = {},
  ): Promise<RunResult> {
    const listed = commands.map((command) => `    - { at: ${command.replace(' ', ', xl: "')}" }`).join('\n');
    const text = `machine: { pcpus: 4, duration: 1s, debug: true }\ndom0:\n  commands:\n${listed}\nguests:\n${guests}`;
    return runMachine(load(text, overrides).config);
  }

  const named = (result: RunResult, name: string): DomainResult => result.domains.find((d) => d.name === name)!;
  const HOGS = (name: string, vcpus: number, more = ''): string =>
    `  - { name: ${name}, vcpus: ${vcpus}, ${more} workload: { tasks: { h: { instance: ${vcpus}, run: 1000 } } } }\n`;

  it('takes VCPUs of a running guest away, whose tasks go on elsewhere, and gives them back', async () => {
    const result = await run(['200ms vcpu-set a 1', '600ms vcpu-set a 4'], HOGS('a', 2, 'maxvcpus: 4,'));
    const a = named(result, 'a');
    expect(a.vcpus).to.have.length(4);
    const offline = a.vcpus.map((v) => v.runstate.offline / 1e6);
    expect(offline[0]).to.equal(0);
    expect(offline[1]).to.be.closeTo(400, 15);
    for (const k of [2, 3]) expect(offline[k]).to.be.closeTo(601, 2);
    // Both tasks got on while there was one VCPU, and there are not more of them than tasks to use.
    for (const task of a.tasks) expect(task.workNs).to.be.within(700e6, 850e6);
    expect(a.virtualTimeNs).to.be.closeTo(1.6e9, 20e6);
  });

  it('makes cpupools, moves domains to them, and creates some there', async () => {
    const commands = [
      '100ms cpupool-cpu-remove Pool-0 2-3',
      '110ms cpupool-create name=rt sched=sedf cpus=2-3',
      '120ms cpupool-migrate a rt',
      '130ms create later',
      '300ms cpupool-rename Pool-0 rest',
    ];
    const guests = HOGS('a', 4) + HOGS('later', 2, 'boot: false, pool: rt,');
    const results = await Promise.all([1, 4].map((threads) => run(commands, guests, { threads })));
    for (const { pools, toolstack, hash } of results) {
      expect(toolstack!.map(({ rc }) => rc)).to.deep.equal([0, 0, 0, 0, 0]);
      expect(pools!.map(({ name, scheduler, cpus, domains }) => [name, scheduler, cpus, domains])).to.deep.equal([
        ['rest', 'credit', [0, 1], ['Domain-0']],
        ['rt', 'sedf', [2, 3], ['a', 'later']],
      ]);
      expect(hash).to.equal(results[0]!.hash);
    }
    // All four pCPUs at first, then two.
    expect(named(results[0]!, 'a').virtualTimeNs + named(results[0]!, 'later').virtualTimeNs).to.be.closeTo(
      2.15e9,
      0.1e9,
    );
    expect(() => load(`dom0: { commands: [{ at: 1s, xl: cpupool-destroy x }] }\nguests:\n${HOGS('a', 1)}`)).to.throw(
      ConfigError,
      "xl cpupool-destroy: unknown cpupool 'x'",
    );
  });

  it('keeps sleepers of a VCPU that goes, and those who wait for a lock', async () => {
    const tasks =
      '{ s: { instance: 6, run: 100, sleep: 900 }, l: { instance: 3, lock: m, run: 50, unlock: m, sleep: 200 } }';
    const guests = `  - { name: a, vcpus: 4, workload: { tasks: ${tasks} } }\n`;
    const commands = ['100ms vcpu-set a 1', '300ms vcpu-set a 4', '500ms vcpu-set a 2', '700ms vcpu-set a 3'];
    const whole = named(await run(['1ms vcpu-set a 4'], guests), 'a');
    const less = named(await run(commands, guests), 'a');
    for (const [n, task] of less.tasks.entries()) {
      expect(task.workNs, task.name).to.be.within(0.8 * whole.tasks[n]!.workNs, 1.05 * whole.tasks[n]!.workNs);
    }
  });

  it('creates a domain, late when domain 0 is slow, and destroys it; the next of that name is another one', async () => {
    const commands = ['100ms create late', '400ms destroy late', '600ms create late'];
    const result = await run(commands, HOGS('early', 1) + HOGS('late', 2, 'boot: false, memory: 512,'));
    expect(result.toolstack!.map(({ rc }) => rc)).to.deep.equal([0, 0, 0]);
    const build = result.toolstack![0]!.doneNs! - result.toolstack![0]!.atNs;
    // 512 MiB are 131,072 pages.
    expect(build).to.be.closeTo(131_072 * 300 + 1e6, 1e6);
    const lates = result.domains.filter(({ name }) => name === 'late');
    expect(lates.map(({ id, ended }) => [id, ended])).to.deep.equal([
      [2, 'it is not there'],
      [3, undefined],
    ]);
    expect(lates[1]!.virtualTimeNs).to.be.closeTo(2 * (400e6 - build), 5e6);
    // What the first one did is known by its work.
    expect(lates[0]!.workNs).to.be.closeTo(2 * (300e6 - build), 5e6);
  });

  it('says what could not be done', async () => {
    const commands = [
      '100ms create big',
      '200ms unpause a',
      '300ms vcpu-set a 1',
      '400ms shutdown a',
      '500ms vcpu-set a 2',
    ];
    const result = await run(commands, HOGS('a', 2) + HOGS('big', 1, 'boot: false, memory: 9000,'));
    expect(result.toolstack!.map(({ rc }) => rc)).to.deep.equal([-12, -22, 0, 0, -3]);
    expect(named(result, 'a').ended).to.equal('poweroff');
  });

  it('has one result for any number of threads, and does the same in free mode', async () => {
    const commands = [
      '50ms vcpu-pin a 0 1-2',
      '100ms create late',
      '150ms sched-credit -d a -w 512 -c 150',
      '200ms cpu-offline 3',
      '250ms pause b',
      '300ms vcpu-set b 1',
      '350ms unpause b',
      '400ms cpu-online 3',
      '450ms mem-set a 64',
      '500ms destroy late',
      '550ms create late',
      '600ms shutdown a',
    ];
    const guests = HOGS('a', 2) + HOGS('b', 3) + HOGS('late', 2, 'boot: false,');
    const results = [];
    for (const threads of [1, 2, 4]) results.push(await run(commands, guests, { threads }));
    const { host: _h, ...first } = results[0]!;
    for (const { host: _host, pcpus, ...other } of results) {
      expect(other.hash).to.equal(first.hash);
      expect(other.domains).to.deep.equal(first.domains);
      expect(other.toolstack).to.deep.equal(first.toolstack);
      expect(pcpus.map(({ use }) => use)).to.deep.equal(first.pcpus.map(({ use }) => use));
    }
    const free = await run(commands, guests, { threads: 4, mode: 'free' });
    expect(free.toolstack!.map(({ rc }) => rc)).to.deep.equal(first.toolstack!.map(({ rc }) => rc));
    expect(named(free, 'a').ended).to.equal('poweroff');
    expect(named(free, 'b').virtualTimeNs).to.be.closeTo(named(first as RunResult, 'b').virtualTimeNs, 150e6);
  });

  it('is refused with its place when a command is none, or wrong', () => {
    const complaint = (command: string, dom0 = ''): string => {
      try {
        load(
          `machine: { pcpus: 2 }\ndom0:\n${dom0}  commands:\n    - { at: 1s, xl: "${command}" }\nguests:\n${HOGS('a', 1)}`,
        );
        return 'accepted';
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        return error.message.replace(`${folder}/`, '');
      }
    };
    expect(complaint('vcpu-pin a 0 1')).to.equal('accepted');
    expect(complaint('xl vcpu-pin a 0 1')).to.equal('accepted');
    expect(complaint('list')).to.match(/^s\.yaml:4:21: no command that a script can hold: 'list'; known: /);
    expect(complaint('pause')).to.equal('s.yaml:4:21: usage: pause <Domain>');
    expect(complaint('pause nobody')).to.equal('s.yaml:4:21: xl pause: nobody is an invalid domain identifier (rc=-6)');
    expect(complaint('vcpu-pin a 5 1')).to.match(/s\.yaml:4:21: xl vcpu-pin: Error: Invalid argument 5 as VCPU/);
    expect(complaint('create a')).to.match(/s\.yaml:4:21: xl create: Failed to read config file: a/);
    expect(() => load('guests:\n  - { name: x, boot: false, workload: { tasks: { t: { run: 1 } } } }\n')).to.throw(
      /nobody could make x later: there is no domain 0/,
    );
  });
});
