import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { loadScenario, type MachineOverrides, type Scenario } from '../../src/config/scenario.js';
import { ConfigError } from '../../src/workload/config-error.js';

const HOG = 'workload: { tasks: { hog: { run: 1000000 } } }';
const EXAMPLES = fileURLToPath(new URL('../../../examples', import.meta.url));

describe('a scenario', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringzero-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function write(name: string, text: string): string {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    return path;
  }

  function load(text: string, overrides: MachineOverrides = {}): Scenario {
    return loadScenario(write('s.yaml', text), overrides);
  }

  /** The message, with paths relative to the test's folder. */
  function complaint(text: string, overrides: MachineOverrides = {}, name = 's.yaml'): string {
    try {
      loadScenario(write(name, text), overrides);
      return 'accepted';
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return error.message.replaceAll(`${folder}/`, '');
    }
  }

  const machine = (settings: string): string => `machine: { ${settings} }\nguests:\n  - { name: a, ${HOG} }\n`;
  const guest = (settings: string): string => `machine: { pcpus: 2 }\nguests:\n  - { ${settings}, ${HOG} }\n`;

  describe('when it is sound', () => {
    it('needs no more than a guest with a workload', () => {
      const { config, expectations, warnings } = load(`guests:\n  - name: a\n    ${HOG}\n`);
      expect(config).to.include({ pcpus: 4, threads: 4, durationNs: 10e9, latencyNs: 2000, cycleHz: 1e9 });
      expect(config).to.include({ scheduler: 'credit', tsliceMs: 30, ratelimitUs: 1000, boost: true, seed: 1 });
      expect(config.guests).to.have.length(1);
      expect(config.guests[0]).to.include({ name: 'a', vcpus: 1, weight: 256, cap: 0, abi: 64 });
      expect(config.guests[0]?.cpus).to.deep.equal([]);
      expect([expectations, warnings]).to.deep.equal([[], []]);
    });

    it('reads devices, with their defaults', () => {
      const { config } = load(
        `guests:\n  - { name: a, workload: { tasks: { t: { irq: n, io: { device: d } } } } }\ndevices:\n` +
          '  - { name: n, kind: nic, irq: 16, domain: a, rate: 4kHz, arrivals: burst, burst: 8, ring: 32, ' +
          'handler: 3us, item: 1us, start: 1ms, stop: 2s }\n  - { name: d, kind: disk, irq: 14, domain: a, period: 2ms }\n',
      );
      expect(config.devices[0]).to.deep.equal({
        ...{ name: 'n', kind: 'nic', irq: 16, domain: 'a', vcpu: 0, periodNs: 250e3, arrivals: 'burst', burst: 8 },
        ...{ ring: 32, handlerNs: 3000, itemNs: 1000, startNs: 1e6, stopNs: 2e9 },
      });
      expect(config.devices[1]).to.include({ periodNs: 2e6, arrivals: 'periodic', handlerNs: 2000, itemNs: 0 });
      expect(config.guests[0]?.workload.tasks[0]?.phases[0]?.events.map(({ kind }) => kind)).to.deep.equal([
        'irq',
        'io',
      ]);
      expect(load(guest('name: a')).config.devices).to.deep.equal([]);
    });

    it('reads every setting of the machine in its unit', () => {
      const { config } = load(
        machine(
          'pcpus: 8, threads: 2, memory: 2GiB, duration: 1.5s, seed: 7, latency: 500ns, cycle-hz: 2.4GHz, pace: 0.5, ' +
            'scheduler: credit, tslice: 5ms, ratelimit: 500us, migration-delay: 2ms, boost: false, guest-op: 50ns, ' +
            'boot-time: 2006-01-01T00:00:00Z, trace: true, debug: true',
        ),
      );
      expect(config).to.include({ pcpus: 8, threads: 2, memoryMib: 2048, durationNs: 1.5e9, seed: 7, latencyNs: 500 });
      expect(config).to.include({ cycleHz: 2.4e9, pace: 0.5, tsliceMs: 5, ratelimitUs: 500, migrationDelayUs: 2000 });
      expect(config).to.include({ boost: false, guestOpNs: 50, bootTimeS: 1136073600, trace: true, debug: true });
    });

    it('reads how clocks start, run and are kept; null and what is missing is drawn', () => {
      const { config } = load(
        machine(
          'pcpus: 4, synchronise: false, calibration: local, tsc-offset: [0, -20ms, null, 1.5s], ' +
            'tsc-drift: [-50, null, 0.25], platform-drift: 12.5',
        ),
      );
      expect(config).to.include({ synchronise: false, calibration: 'local', platformDriftPpm: 12.5 });
      expect(config.tscOffsetsNs).to.deep.equal([0, -20e6, undefined, 1.5e9]);
      expect(config.tscDriftsPpm).to.deep.equal([-50, undefined, 0.25]);
      const plain = load(machine('pcpus: 4')).config;
      expect(plain).to.include({ synchronise: true, calibration: 'rendezvous', checkTime: false });
      expect(plain.platformDriftPpm).to.equal(undefined);
      expect([plain.tscOffsetsNs, plain.tscDriftsPpm]).to.deep.equal([[], []]);
      const given = { synchronise: false, calibration: 'off', checkTime: true } as const;
      expect(load(machine('synchronise: true, calibration: local'), given).config).to.include(given);
    });

    it('has a topology, which says how many pCPUs there are, or what of it is left', () => {
      const two = { sockets: 2, cores: 4, threads: 2 };
      expect(load(machine('topology: { sockets: 2, cores: 4, threads: 2 }')).config).to.deep.include({
        pcpus: 16,
        topology: two,
      });
      expect(load(machine('pcpus: 16, topology: { sockets: 2, threads: 2 }')).config.topology).to.deep.equal(two);
      expect(load(machine('pcpus: 16')).config.topology).to.equal(undefined);
      const fewer = load(machine('topology: { sockets: 2, cores: 4, threads: 2 }'), { pcpus: 4 });
      expect(fewer.config.topology).to.equal(undefined);
      expect(fewer.warnings.join()).to.match(/^--pcpus 4: does not fit the file's topology/);
    });

    it('has a profile, which says how clocks are calibrated unless that is said', () => {
      expect(load(machine('pcpus: 1')).config).to.include({ profile: 'modern', calibration: 'rendezvous' });
      expect(load(machine('profile: classic')).config).to.include({ profile: 'classic', calibration: 'local' });
      expect(load(machine('pcpus: 1'), { profile: 'classic' }).config).to.include({ calibration: 'local' });
      expect(load(machine('profile: classic'), { profile: 'modern' }).config).to.include({ calibration: 'rendezvous' });
      const written = machine('profile: classic, calibration: rendezvous');
      expect(load(written).config.calibration).to.equal('rendezvous');
      expect(load(written, { calibration: 'off' }).config.calibration).to.equal('off');
    });

    it('may have no horizon', () => {
      expect(load(machine('duration: until-idle')).config.durationNs).to.equal(Number.POSITIVE_INFINITY);
    });

    it('gives way to the command line', () => {
      const { config } = load(machine('pcpus: 8, threads: 8, duration: 1s'), { pcpus: 2, durationNs: 5e9, seed: 9 });
      expect(config).to.include({ pcpus: 2, threads: 2, durationNs: 5e9, seed: 9 });
    });

    it('takes xl.cfg files and rt-app files beside it, and inline settings before those of the file', () => {
      write('sub/web.cfg', 'name = "web"\nvcpus = 2\nmemory = 256\ncpu_weight = 512\ncpus = ["0", "1-2"]\nbogus = 1\n');
      write('sub/load.json', '{ "tasks": { "t": { "run": 10 } }, "global": { "duration": 3 } }');
      const path = write(
        'sub/s.yaml',
        'guests:\n  - { config: web.cfg, workload: load.json, cap: 50, vcpus: 1, abi: 32 }\n',
      );
      const { config, warnings } = loadScenario(path, {});
      expect(config.guests[0]).to.include({ name: 'web', vcpus: 1, memoryMib: 256, weight: 512, cap: 50, abi: 32 });
      expect(config.guests[0]?.cpus).to.deep.equal([[0]]);
      expect(config.durationNs).to.equal(3e9);
      expect(warnings).to.deep.equal([`${folder}/sub/web.cfg:6:1: unknown setting "bogus" is ignored`]);
    });

    it('reads affinity as xl does, for all VCPUs or for each', () => {
      const { config } = load(guest('name: a, vcpus: 2, cpus: "0-1,^1", cpus_soft: [all, 1]'));
      expect(config.guests[0]?.cpus).to.deep.equal([[0], [0]]);
      expect(config.guests[0]?.cpusSoft).to.deep.equal([undefined, [1]]);
    });

    it('makes several equal domains of one guest, and lets expectations name them together', () => {
      const text = `guests:\n  - { name: b, instances: 3, ${HOG} }\nexpect:\n  - share: { domain: b, is: 100% }\n`;
      const { config, expectations } = load(text);
      expect(config.guests.map(({ name }) => name)).to.deep.equal(['b-0', 'b-1', 'b-2']);
      expect(expectations).to.have.length(3);
    });

    it('tells once of what a workload asks for and there is not, where it is written', () => {
      const { warnings } = load(
        'guests:\n  - name: a\n    instances: 3\n    workload:\n      tasks: { t: { util_min: 3, run: 1 } }\n',
      );
      expect(warnings.map((text) => text.replaceAll(`${folder}/`, ''))).to.deep.equal([
        's.yaml:5:31: "util_min" has no effect: all CPUs are equal and have one frequency',
      ]);
    });

    it('keeps the order and the places of an inline workload', () => {
      const text = [
        'guests:',
        '  - name: a',
        '    workload:',
        '      tasks:',
        '        t:',
        '          run: 10',
        '          suspend:',
        '          run1: 20',
      ].join('\n');
      const { config } = load(text);
      const task = config.guests[0]?.workload.tasks[0];
      const file = join(folder, 's.yaml');
      expect(config.guests[0]?.workload.file).to.equal(file);
      expect(task?.at).to.deep.equal({ file, line: 5, column: 9 });
      expect(task?.phases[0]?.events.map(({ kind, at }) => [kind, at.line, at.column])).to.deep.equal([
        ['run', 6, 11],
        ['suspend', 7, 11],
        ['run', 8, 11],
      ]);
    });

    it('may use anchors and merge keys', () => {
      const text = `guests:\n  - &base { name: a, cap: 20, ${HOG} }\n  - { <<: *base, name: b }\n`;
      expect(load(text).config.guests.map(({ name, cap }) => [name, cap])).to.deep.equal([
        ['a', 20],
        ['b', 20],
      ]);
    });

    it('is what every file in examples/ is', () => {
      const files = readdirSync(EXAMPLES).filter((name) => name.endsWith('.yaml'));
      expect(files).to.include('fair-share.yaml');
      for (const file of files) {
        const { expectations, warnings } = loadScenario(join(EXAMPLES, file), {});
        expect(expectations.length, file).to.be.greaterThan(0);
        expect(warnings, file).to.deep.equal([]);
      }
    });
  });

  describe('when it is a bare rt-app workload', () => {
    it('becomes one domain with a VCPU for every pCPU, for as long as the workload says', () => {
      const path = write('load.json', '{ "tasks": { "t": { "run": 10 } }, "global": { "duration": 2 } }');
      const { config } = loadScenario(path, { pcpus: 3 });
      expect(config).to.include({ pcpus: 3, threads: 3, durationNs: 2e9 });
      expect(config.guests[0]).to.include({ name: 'load', vcpus: 3 });
    });

    it('is refused with its place when it wants CPUs that are not there', () => {
      const text = '{ "tasks": {\n  "t": { "cpus": [5], "run": 10 } } }';
      expect(complaint(text, {}, 'w.json')).to.equal('w.json:2:3: task t wants CPU 5, but w has VCPUs 0 to 3');
      expect(complaint('{ "tasks": ', {}, 'w.json')).to.match(/^w\.json:1:\d+: /);
    });
  });

  describe('when it is broken, says where', () => {
    it('for a missing file, alone or named in another', () => {
      expect(() => loadScenario(join(folder, 'none.yaml'), {})).to.throw(ConfigError, /none\.yaml: no such file$/);
      expect(() => loadScenario(folder, {})).to.throw(ConfigError, /: is a directory$/);
      const lines = `guests:\n  - config: none.cfg\n    ${HOG}\n`;
      expect(complaint(lines)).to.equal('s.yaml:2:13: none.cfg: no such file');
      expect(complaint('guests:\n  - { name: a, workload: none.json }\n')).to.equal(
        's.yaml:2:26: none.json: no such file',
      );
    });

    it('for broken YAML', () => {
      expect(complaint('guests: [\n  a: 1\nb: 2\n')).to.match(/^s\.yaml:[23]:1: /);
      expect(complaint('machine: { pcpus: 1 }\nmachine: { pcpus: 2 }\n')).to.equal(
        's.yaml:2:1: Map keys must be unique',
      );
      expect(complaint('')).to.equal('s.yaml:1:1: expected a mapping, got nothing');
      expect(complaint('guests: *nothing\n')).to.match(/^s\.yaml:1:9: no anchor named 'nothing'/);
    });

    it('for a broken xl.cfg or JSON file', () => {
      write('bad.cfg', 'name = "a"\nvcpus == 2\n');
      write('bad.json', '{ "tasks": {\n  "t": { "walk": 3 } } }');
      expect(complaint(`guests:\n  - { config: bad.cfg, ${HOG} }\n`)).to.match(/^bad\.cfg:2:\d+: /);
      expect(complaint('guests:\n  - { name: a, workload: bad.json }\n')).to.equal(
        'bad.json:2:10: unknown event or key "walk"',
      );
    });

    it('for a broken inline workload', () => {
      const text = 'guests:\n  - name: a\n    workload:\n      tasks:\n        t:\n          run: fast\n';
      expect(complaint(text)).to.match(/^s\.yaml:6:16: /);
      expect(complaint('guests:\n  - { name: a, workload: { tasks: { t: { walk: 3 } } } }\n')).to.equal(
        's.yaml:2:42: unknown event or key "walk"',
      );
      expect(complaint('guests:\n  - { name: a, workload: { tasks: { t: { run: 1, run: 2 } } } }\n')).to.match(
        /^s\.yaml:2:\d+: Map keys must be unique$/,
      );
    });

    it('for unknown keys and wrong types', () => {
      expect(complaint(machine('cpus: 4'))).to.match(/^s\.yaml:1:12: unknown key 'cpus'; known: pcpus, threads, /);
      expect(complaint(machine('pcpus: four'))).to.equal("s.yaml:1:19: pcpus: expected a number, got 'four'");
      expect(complaint(machine('boost: 1'))).to.equal('s.yaml:1:19: boost: expected true or false, got 1');
      expect(complaint(guest('name: a, weight: 3'))).to.match(/^s\.yaml:3:16: unknown key 'weight'; known: config, /);
      expect(complaint('guests: web\n')).to.equal("s.yaml:1:9: guests: expected a list, got 'web'");
      expect(complaint('guests:\n  - name: a\n')).to.equal("s.yaml:2:5: a guest needs a 'workload' or a 'kernel'");
      expect(complaint('guests:\n  - { name: a, workload: 3 }\n')).to.match(/expected the name of an rt-app file/);
      expect(complaint('guests:\n  - { name: a, kernel: k, workload: w.json }\n')).to.equal(
        "s.yaml:2:24: a guest has a 'workload' or a 'kernel'",
      );
      expect(complaint('guests:\n  - { name: a, kernel: k.elf }\n')).to.match(/^s\.yaml:2:24: .*k\.elf: no such file$/);
      expect(complaint('guests:\n  - { name: a, cmdline: k, workload: { tasks: {} } }\n')).to.equal(
        "s.yaml:2:25: 'cmdline' is for a kernel",
      );
      expect(complaint(guest('vcpus: 1'))).to.equal("s.yaml:3:5: a guest needs a 'name' or a 'config'");
      expect(complaint(guest('name: a, abi: 16'))).to.match(/^s\.yaml:3:21: abi: expected 32 or 64, got 16$/);
    });

    it('wants nothing of the classic profile that Xen 3.0.4 has not', () => {
      const classic = 'the classic profile (Xen 3.0.4)';
      expect(complaint(machine('profile: classic, tslice: 30ms, ratelimit: 1ms, migration-delay: 0'))).to.equal(
        'accepted',
      );
      expect(complaint(machine('profile: classic, tslice: 10ms'))).to.equal(
        `s.yaml:1:38: ${classic} has a fixed timeslice of 30 ms`,
      );
      expect(complaint(machine('profile: classic, ratelimit: 500us'))).to.equal(
        `s.yaml:1:41: ${classic} has no ratelimit`,
      );
      expect(complaint(machine('migration-delay: 1ms'), { profile: 'classic' })).to.equal(
        `s.yaml:1:29: ${classic} has no migration delay`,
      );
      const soft = `machine: { profile: classic }\nguests:\n  - { name: a, cpus_soft: "0", ${HOG} }\n`;
      expect(complaint(soft)).to.equal(`s.yaml:3:27: ${classic} has no soft affinity`);
      expect(complaint(machine('profile: antique'))).to.equal(
        "s.yaml:1:21: profile: expected modern or classic, got 'antique'",
      );
    });

    it('for times without a unit', () => {
      const message = 'expected a duration with its unit, such as 10s, 30ms, 2us or 100ns';
      expect(complaint(machine('tslice: 30'))).to.equal(`s.yaml:1:20: tslice: ${message}, got '30'`);
      expect(complaint(machine('latency: 2 weeks'))).to.equal(`s.yaml:1:21: latency: ${message}, got '2 weeks'`);
      expect(complaint(machine('boot-time: yesterday'))).to.match(
        /^s\.yaml:1:23: boot-time: expected an instant in UTC/,
      );
      expect(complaint(machine('migration-delay: 0, ratelimit: 0'))).to.equal('accepted');
    });

    it('for a machine out of its limits', () => {
      expect(complaint(machine('pcpus: 0'))).to.equal(
        's.yaml:1:19: 0 pCPUs is out of range: must be a whole number from 1 to 256',
      );
      expect(complaint(machine('pcpus: 257'))).to.match(/^s\.yaml:1:19: 257 pCPUs is out of range/);
      expect(complaint(machine('pcpus: 2.5'))).to.match(/whole number/);
      expect(complaint(machine('pcpus: 2, threads: 3'))).to.match(/^s\.yaml:1:31: 3 threads for 2 pCPUs: at most one/);
      expect(complaint(machine('pcpus: 6, topology: { sockets: 4 }'))).to.equal(
        's.yaml:1:32: 4 sockets of 1.5 cores of 1 threads do not make 6 pCPUs',
      );
      expect(complaint(machine('scheduler: fifo'))).to.equal(
        "s.yaml:1:23: unknown scheduler 'fifo'; known: credit, credit2, sedf, null, or a file (.ts, .js) with a policy",
      );
      expect(complaint(machine('tslice: 2s'))).to.match(/^s\.yaml:1:20: 2000 ms is out of range.* 1 to 1000$/);
      expect(complaint(machine('ratelimit: 99us'))).to.match(
        /^s\.yaml:1:23: ratelimit of 99 us is out of range: 0 \(off\)/,
      );
      expect(complaint(machine('tslice: 1ms, ratelimit: 2ms'))).to.match(
        /^s\.yaml:1:36: .* exceeds the timeslice of 1 ms$/,
      );
      expect(complaint(machine('duration: 0'))).to.match(/^s\.yaml:1:22: 0 ns is too small/);
      expect(complaint(machine('cycle-hz: 1kHz'))).to.match(/^s\.yaml:1:22: 1000 Hz is out of range/);
    });

    it('for clocks that cannot be', () => {
      const help = 'a duration with its unit, such as 10s, 30ms, 2us or 100ns, or null for a drawn one';
      expect(complaint(machine('tsc-offset: [0, 5]')))
        .to.match(/^s\.yaml:1:28: /)
        .and.to.contain(`expected ${help}`);
      expect(complaint(machine('tsc-offset: 5ms'))).to.match(/^s\.yaml:1:24: tsc-offset: expected a list/);
      expect(complaint(machine('tsc-drift: [1, fast]'))).to.match(/^s\.yaml:1:27: .*expected a number, got 'fast'$/);
      expect(complaint(machine('platform-drift: fast'))).to.match(/^s\.yaml:1:28: platform-drift: expected a number/);
      expect(complaint(machine('synchronise: sometimes'))).to.match(
        /^s\.yaml:1:25: synchronise: expected true or false/,
      );
      expect(complaint(machine('calibration: never'))).to.match(
        /^s\.yaml:1:25: calibration: expected rendezvous.*local.*off/,
      );
      // A second and nine tenths: counters start two seconds before time 0, and none may be negative.
      expect(complaint(machine('tsc-offset: [0, -1901ms]'))).to.match(
        /^s\.yaml:1:24: -1901000000 ns is out of range: -1900000000 to 1900000000$/,
      );
      expect(complaint(machine('tsc-offset: [1900ms, -1900ms]'))).to.equal('accepted');
      expect(complaint(machine('tsc-drift: [500.1]'))).to.equal('s.yaml:1:23: 500.1 ppm is out of range: -500 to 500');
      expect(complaint(machine('platform-drift: -501'))).to.equal('s.yaml:1:28: -501 ppm is out of range: -500 to 500');
      expect(complaint(machine('pcpus: 2, tsc-drift: [1, 2, 3]'))).to.equal('s.yaml:1:33: 3 entries for 2 pCPUs');
      expect(complaint(machine('pcpus: 2, tsc-offset: [null, null, null]'))).to.equal(
        's.yaml:1:34: 3 entries for 2 pCPUs',
      );
    });

    it('for options out of their limits, by the name of the option', () => {
      const inject = { kind: 'drift', pcpu: 2, atNs: 0 } as const;
      expect(complaint(machine('pcpus: 2'), { inject })).to.equal('--inject: no pCPU 2: the machine has 2');
      expect(complaint(machine('pcpus: 3'), { inject })).to.equal('accepted');
      expect(complaint(machine('seed: 1'), { pcpus: 0 })).to.match(/^--pcpus: 0 pCPUs is out of range/);
      expect(load(machine('pcpus: 2'), { threads: 3 })).to.deep.include({
        warnings: ['--threads 3: 2 pCPUs need no more than 2'],
      });
      expect(complaint(machine('seed: 1'), { durationNs: 0 })).to.match(/^--duration: 0 ns is too small/);
      expect(complaint(machine('seed: 1'), { scheduler: 'fifo' })).to.match(/^--sched: unknown scheduler 'fifo'/);
    });

    it('for impossible affinity', () => {
      expect(complaint(guest('name: a, cpus: "2-3"'))).to.match(/^s\.yaml:3:22: pCPU 2 does not exist/);
      expect(complaint(guest('name: a, cpus: "0,^0"'))).to.match(/^s\.yaml:3:22: CPU list "0,\^0" holds no pCPU$/);
      expect(complaint(guest('name: a, cpus_soft: some'))).to.match(/^s\.yaml:3:27: "some" is not a pCPU/);
      write('a.cfg', 'name = "a"\ncpus = "7"\n');
      expect(complaint(`guests:\n  - { config: a.cfg, ${HOG} }\n`)).to.match(/^a\.cfg:2:8: pCPU 7 does not exist/);
    });

    it('for too many VCPUs, in a domain or in all', () => {
      expect(complaint(guest('name: a, vcpus: 10000'))).to.equal(
        's.yaml:3:23: "vcpus" is 10000; it must be from 1 to 128',
      );
      expect(complaint(guest('name: a, vcpus: 0'))).to.match(/^s\.yaml:3:23: /);
      const many = `machine: { memory: 1TiB }\nguests:\n  - { name: a, vcpus: 100, instances: 100, ${HOG} }\n`;
      expect(complaint(many)).to.match(/^s\.yaml:3:23: up to a-40 there are 4100 VCPUs; .* at most 4096$/);
    });

    it("for more memory than the host's", () => {
      const text = `machine: { memory: 300 }\nguests:\n  - { name: a, memory: 200, instances: 2, ${HOG} }\n`;
      expect(complaint(text)).to.equal(
        's.yaml:3:24: memory is exhausted: up to a-1 the domains need 400 MiB, the host has 300',
      );
    });

    it('for impossible guests', () => {
      expect(complaint('guests: []\n')).to.match(/^s\.yaml:1:9: no guests/);
      expect(complaint(`guests:\n  - { name: a, ${HOG} }\n  - { name: a, ${HOG} }\n`)).to.equal(
        "s.yaml:3:13: a second domain named 'a'",
      );
      expect(complaint(guest('name: a, cpu_weight: 0'))).to.match(/^s\.yaml:3:28: .*1 to 65535/);
      expect(complaint(guest('name: a, cap: 150'))).to.match(/^s\.yaml:3:21: .*100/);
      expect(complaint(guest('name: a, instances: 0'))).to.match(/^s\.yaml:3:27: 0 instances are out of range/);
      const task = 'workload: { tasks: { t: { cpus: [1], run: 1 } } }';
      expect(complaint(`guests:\n  - { name: a, ${task} }\n`)).to.equal(
        's.yaml:2:37: task t wants CPU 1, but a has only VCPU 0',
      );
      const deadline = '{ policy: SCHED_DEADLINE, dl-runtime: 10, dl-period: 20, instance: 2, run: 1 }';
      expect(complaint(`guests:\n  - { name: a, workload: { tasks: { d: ${deadline} } } }\n`)).to.equal(
        's.yaml:2:37: up to d tasks of SCHED_DEADLINE want 1.00 CPUs, and may have 0.95 of the 1 that a has',
      );
    });

    it('for a request to nobody, where it is written', () => {
      const ask = (to: string): string => `
  - name: a
    workload:
      tasks:
        t:
          run: 1
          request: { to: ${to} }
`;
      const web = `  - { name: web, workload: { tasks: { w: { serve: http, respond: http } } } }\n`;
      expect(complaint(`guests:${ask('nobody')}`)).to.equal("s.yaml:7:11: no domain named 'nobody'; there are: a");
      expect(complaint(`guests:${ask('web')}${web}`)).to.equal(
        "s.yaml:7:11: web has no service 'service'; it serves http",
      );
      expect(complaint(`guests:${ask('web, ref: http')}${web}`)).to.equal('accepted');
    });

    it('for impossible devices, where they are written', () => {
      const devices = (settings: string): string =>
        `guests:\n  - { name: a, ${HOG} }\ndevices:\n  - { name: n, ${settings} }\n`;
      expect(complaint(devices('kind: nic, irq: 3, rate: 1kHz'))).to.equal('accepted');
      expect(complaint(devices('kind: fax, irq: 3, rate: 1'))).to.match(/^s\.yaml:4:22: kind: expected timer or/);
      expect(complaint(devices('kind: nic, irq: 300, rate: 1'))).to.match(/^s\.yaml:4:32: 300 is out of range/);
      expect(complaint(devices('kind: nic, irq: 3, domain: b, rate: 1'))).to.match(
        /^s\.yaml:4:43: no domain named 'b'/,
      );
      expect(complaint(devices('kind: nic, irq: 3, period: 5ns'))).to.match(/^s\.yaml:4:43: 5 ns is out of range/);
      expect(complaint(devices('kind: nic, irq: 3, rate: 1GHz'))).to.match(/^s\.yaml:4:\d+: 1 ns is out of range/);
      expect(complaint(devices('kind: nic, irq: 3'))).to.equal(
        "s.yaml:4:5: a device needs either a 'period' or a 'rate'",
      );
      expect(complaint(devices('kind: nic, irq: 3, rate: 1, period: 1s'))).to.match(/either a 'period' or a 'rate'$/);
      expect(complaint(devices('kind: nic, irq: 3, rate: 0'))).to.match(/^s\.yaml:4:41: a rate is above 0/);
      const waits = 'workload: { tasks: { t: { irq: n } } }';
      expect(
        complaint(`guests:\n  - { name: a, ${waits} }\ndevices:\n  - { name: n, kind: nic, irq: 3, rate: 1 }\n`),
      ).to.equal("s.yaml:2:37: task t wants 'n', which is no device of a");
    });

    it('for impossible cpupools', () => {
      const pools = (text: string, of = 'name: a'): string =>
        `machine: { pcpus: 4 }\ncpupools:\n${text}\nguests:\n  - { ${of}, ${HOG} }\n`;
      expect(complaint(pools('  - { name: p, cpus: "2-3", sched: sedf }', 'name: a, pool: p'))).to.equal('accepted');
      expect(complaint(pools('  - { name: p, cpus: 1 }\n  - { name: q, cpus: "0-1" }'))).to.equal(
        's.yaml:4:22: pCPU 1 is in two cpupools: p and q',
      );
      expect(complaint(pools('  - { name: p, cpus: "4" }'))).to.match(/^s\.yaml:3:22: pCPU 4 does not exist/);
      expect(complaint(pools('  - { name: p, cpus: 1, sched: fifo }'))).to.match(
        /^s\.yaml:3:32: unknown scheduler 'fifo'/,
      );
      expect(complaint(pools('  - { name: p, cpus: 1, tslice: 2s }'))).to.match(/^s\.yaml:3:33: cpupool p: 2000 ms/);
      expect(complaint(pools('  - { name: p }'))).to.match(/^s\.yaml:3:13: cpupool p needs its pCPUs/);
      expect(complaint(pools('  - { name: p, cpus: 1 }', 'name: a, pool: q'))).to.equal(
        "s.yaml:5:22: there is no cpupool 'q'",
      );
      expect(complaint(pools('  - { name: p, cpus: 1 }', 'name: a, pool: p, cpus: "0"'))).to.match(
        /^s\.yaml:5:31: VCPU 0 of a may use only pCPU 0, cpupool p has pCPU 1$/,
      );
    });

    it('for the wrong kind of file', () => {
      write('a.cfg', 'name = "a"\n');
      expect(complaint('name = "a"\n', {}, 'a.cfg')).to.match(
        /^a\.cfg: this is a guest's configuration; run a scenario/,
      );
    });
  });
});
