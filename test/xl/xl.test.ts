/** `ringzero up` and `ringzero xl`: what xl prints, what its verbs do, and the socket between the two. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { Machine } from '../../src/machine/machine.js';
import { cpuList, list, schedCredit, schedSedf, vcpuList } from '../../src/xl/format.js';
import { parseCpus } from '../../src/xl/parse.js';
import { xl } from '../../src/xl/verbs.js';
import { guest, hog, machineConfig, workload } from '../support/in-process.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

const vcpu = { id: 0, online: true, running: false, blocked: false, paused: false, pcpu: 2, timeNs: 12.34e9 };
const domain = {
  id: 3,
  name: 'web',
  memoryMib: 256,
  weight: 512,
  cap: 50,
  pool: 0,
  sedf: { periodNs: 10e6, sliceNs: 2.5e6, latencyNs: 0, extratime: true, weight: 0 },
  paused: false,
  shutDown: false,
  crashed: false,
  vcpus: [
    { ...vcpu, running: true, hard: [0, 1, 2, 3], soft: [0, 1] },
    { ...vcpu, id: 1, blocked: true, hard: [2], soft: [0, 1, 2, 3] },
    { ...vcpu, id: 2, online: false, hard: [0, 1, 3], soft: [0, 1, 2, 3] },
  ],
};

describe('what xl prints', () => {
  it('of domains', () => {
    expect(list([domain])).to.equal(
      'Name                                        ID   Mem VCPUs\tState\tTime(s)\n' +
        'web                                          3   256     2     r-----      37.0\n',
    );
  });

  it('of the states of a domain', () => {
    const state = (over: object): string =>
      list([{ ...domain, ...over }])
        .split('\n')[1]!
        .slice(63, 69);
    const blocked = domain.vcpus.map((v) => ({ ...v, running: false, blocked: true }));
    expect(state({})).to.equal('r-----');
    expect(state({ vcpus: blocked })).to.equal('-b----');
    expect(state({ vcpus: blocked, paused: true })).to.equal('-bp---');
    expect(state({ shutDown: true })).to.equal('---s--');
    expect(state({ shutDown: true, crashed: true })).to.equal('----c-');
  });

  it('of VCPUs', () => {
    expect(vcpuList([domain], 4)).to.equal(
      'Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)\n' +
        'web                                  3     0     2   r--      12.3 all / 0-1\n' +
        'web                                  3     1     2   -b-      12.3 2 / all\n' +
        'web                                  3     2     -   --p      12.3 0-1,3 / all\n',
    );
  });

  it('of the credit scheduler', () => {
    expect(schedCredit([domain], { name: 'Pool-0', tsliceMs: 30, ratelimitUs: 1000, migrationDelayUs: 0 })).to.equal(
      'Cpupool Pool-0: tslice=30ms ratelimit=1000us migration-delay=0us\n' +
        'Name                                ID Weight  Cap\n' +
        'web                                  3    512   50\n',
    );
  });

  it('of the SEDF scheduler', () => {
    expect(schedSedf([domain])).to.equal(
      'Name                                ID Period(ms) Slice(ms) Lat(ms) Extra Weight\n' +
        'web                                  3       10.0       2.5     0.0     1      0\n',
    );
  });

  it('of a mask', () => {
    expect(cpuList([], 4)).to.equal('none');
    expect(cpuList([0, 1, 2, 3], 4)).to.equal('all');
    expect(cpuList([0, 1, 2, 5, 7, 8], 9)).to.equal('0-2,5,7-8');
  });
});

describe('a CPU list of xl', () => {
  it('is ranges, and what is taken out of them', () => {
    expect(parseCpus('0-3,5,^1', 8)).to.deep.equal([0, 2, 3, 5]);
    expect(parseCpus('all', 3)).to.deep.equal([0, 1, 2]);
    expect(parseCpus('all,^2', 3)).to.deep.equal([0, 1]);
    expect(parseCpus('1-9', 3)).to.deep.equal([1, 2]);
    expect(parseCpus('-', 3)).to.equal(undefined);
    for (const wrong of ['x', '1-', '', '7', '^0', '1;2']) expect(() => parseCpus(wrong, 4), wrong).to.throw();
  });
});

describe('the verbs of xl', () => {
  let machine: Machine;
  before(async () => {
    machine = await Machine.create(
      machineConfig({
        pcpus: 4,
        threads: 2,
        durationNs: Infinity,
        guests: [
          guest({ name: 'hogs', vcpus: 3, workload: workload({ h: { instance: 3, run: 1e6 } }) }),
          guest({ name: 'other', workload: hog() }),
          guest({ name: 'third', weight: 300, workload: workload({ s: { run: 100, sleep: 900 } }) }),
        ],
      }),
    );
    // It stands before its first turn.
    await machine.pause();
    void machine.run();
    await machine.resume();
    await machine.pause();
  });
  after(async () => {
    await machine.stop();
    await machine.close();
  });

  const run = async (...args: string[]): Promise<string> => {
    const { stdout, stderr, code } = await xl(machine, args);
    expect([stderr, code], args.join(' ')).to.deep.equal(['', 0]);
    return stdout;
  };
  const refuse = async (...args: string[]): Promise<string> => {
    const { stdout, stderr, code } = await xl(machine, args);
    expect([stdout, code], args.join(' ')).to.deep.equal(['', 1]);
    return stderr;
  };
  /** Lets the machine get on. */
  const letRun = async (): Promise<void> => {
    const at = await machine.pause();
    await machine.runUntil(at + 100e6);
    await machine.resume();
  };
  const timeOf = async (n: number): Promise<number> =>
    (await machine.domains())[n]!.vcpus.reduce((ns, v) => ns + v.timeNs, 0);

  it('may come before the machine has booted', async () => {
    await run('pause', 'hogs');
    await run('unpause', 'hogs');
    for (let n = 0; n < 20 && (await timeOf(0)) === 0; n++) await letRun();
    expect(await timeOf(0)).to.be.above(0);
  });

  it('list domains by name, by number, and all', async () => {
    expect((await run('list')).split('\n').length).to.equal(5);
    for (const name of ['other', '2']) expect((await run('list', name)).split('\n')[1]).to.match(/^other +2 /);
    expect(await run('domid', 'third')).to.equal('3\n');
    expect(await run('domname', '1')).to.equal('hogs\n');
  });

  it('pause a domain and let it go', async () => {
    await run('pause', 'hogs');
    // Told, but perhaps not off its pCPU before the machine runs on.
    expect((await run('list', 'hogs')).split('\n')[1]).to.match(/ [r-]-p--- /);
    await letRun();
    expect((await run('list', 'hogs')).split('\n')[1]).to.match(/ --p--- /);
    const before = await timeOf(0);
    await letRun();
    expect(await timeOf(0)).to.equal(before);
    await run('unpause', 'hogs');
    await letRun();
    expect(await timeOf(0)).to.be.above(before);
  });

  it('pin one VCPU, or all', async () => {
    await run('vcpu-pin', 'hogs', '1', '3');
    await letRun();
    expect((await run('vcpu-list', 'hogs')).split('\n')[2]).to.match(/^hogs +1 +1 +3 .* 3 \/ all$/);
    await run('vcpu-pin', 'hogs', 'all', '0-1', '-');
    await letRun();
    const rows = (await run('vcpu-list', 'hogs')).trim().split('\n').slice(1);
    for (const row of rows) expect(row).to.match(/^hogs +1 +\d +[01] .* 0-1 \/ all$/);
    await run('vcpu-pin', 'hogs', 'all', 'all');
  });

  it('change soft affinity, and keep the wish that hard affinity has no room for', async () => {
    const affinities = async (): Promise<string[]> =>
      (await run('vcpu-list', 'hogs'))
        .trim()
        .split('\n')
        .slice(1)
        .map((row) => row.slice(67).trim());
    await run('vcpu-pin', 'hogs', '0', '-', '2-3');
    await run('vcpu-pin', 'hogs', '0', '1', '-');
    expect((await affinities())[0]).to.equal('1 / 2-3');
    await run('vcpu-pin', 'hogs', '0', 'all');
    expect((await affinities())[0]).to.equal('all / 2-3');
    // With a pCPU for each of them the first one is where it wants to be.
    for (let n = 0; n < 3; n++) await letRun();
    expect((await machine.domains())[0]!.vcpus[0]!.pcpu).to.be.oneOf([2, 3]);
    await run('vcpu-pin', 'hogs', 'all', '-', 'all');
    expect(await affinities()).to.deep.equal(['all / all', 'all / all', 'all / all']);
  });

  it('set weights and caps, which count from then on', async () => {
    await run('sched-credit', '-d', 'hogs', '-c', '60', '-w', '700');
    expect((await run('sched-credit', '-d', 'hogs')).split('\n')[1]).to.match(/^hogs +1 +700 +60$/);
    await letRun();
    const [at, from] = [await machine.pause(), await timeOf(0)];
    await machine.runUntil(at + 900e6);
    expect(((await timeOf(0)) - from) / 900e6).to.be.closeTo(0.6, 0.05);
    await machine.resume();
    await run('sched-credit', '-d', 'hogs', '-c', '0');
    expect(await run('sched-credit')).to.match(/^Cpupool Pool-0: tslice=30ms ratelimit=1000us migration-delay=0us\n/);
  });

  it('power a domain off', async () => {
    await run('shutdown', 'other');
    expect((await run('list', 'other')).split('\n')[1]).to.match(/ ---s-- /);
  });

  it('refuse what is wrong, as xl does', async () => {
    expect(await refuse('list', 'nobody')).to.equal('nobody is an invalid domain identifier (rc=-6)\n');
    expect(await refuse('destroyed')).to.equal("command 'destroyed' not implemented\n");
    expect(await refuse('constructor')).to.equal("command 'constructor' not implemented\n");
    expect(await refuse('vcpu-pin', 'hogs')).to.match(
      /^'xl vcpu-pin' requires at least 3 arguments\.\n\nUsage: xl vcpu-pin /,
    );
    expect(await refuse('vcpu-pin', 'hogs', '7', '1')).to.match(/^vcpu is out of range: 7/);
    expect(await refuse('vcpu-pin', 'hogs', '0', 'x')).to.match(/CPU list: x/);
    expect(await refuse('sched-credit', '-d', 'hogs', '-w', '0')).to.match(/^weight is out of range: 0/);
    expect(await refuse('sched-credit', '-w', '5')).to.equal('Must specify a domain.\n');
    expect(await refuse('sched-credit', '-x', '5')).to.match(/unknown option/);
    expect(await refuse('pause')).to.match(/requires at least 1 argument\./);
  });
});

describe('the verbs of xl on cpupools', () => {
  let machine: Machine;
  before(async () => {
    machine = await Machine.create(
      machineConfig({
        pcpus: 4,
        threads: 2,
        topology: { sockets: 2, cores: 2, threads: 1 },
        durationNs: Infinity,
        sparePools: 2,
        guests: [
          guest({ name: 'a', vcpus: 2, workload: workload({ h: { instance: 2, run: 1e6 } }) }),
          guest({ name: 'b', vcpus: 2, workload: workload({ h: { instance: 2, run: 1e6 } }) }),
        ],
      }),
    );
    await machine.runUntil(50e6);
  });
  after(async () => {
    await machine.stop();
    await machine.close();
  });
  const run = async (...args: string[]): Promise<string> => {
    const { stdout, stderr, code } = await xl(machine, args);
    expect([stderr, code], args.join(' ')).to.deep.equal(['', 0]);
    return stdout;
  };
  const refuse = async (...args: string[]): Promise<string> => {
    const { stdout, stderr, code } = await xl(machine, args);
    expect([stdout, code], args.join(' ')).to.deep.equal(['', 1]);
    return stderr;
  };
  const HEAD = 'Name               CPUs   Sched     Active   Domain count\n';

  it('list them', async () => {
    expect(await run('cpupool-list')).to.equal(`${HEAD}Pool-0               4    credit       y          2\n`);
    expect(await run('cpupool-list', '-c')).to.equal('Name               CPU list\nPool-0             0,1,2,3\n');
    expect((await run('list', '-c')).split('\n').slice(0, 2)).to.deep.equal([
      'Name                                        ID   Mem VCPUs\tState\tTime(s)         Cpupool',
      'a                                            1    64     2     r-----       0.1          Pool-0',
    ]);
  });

  it('make one, with another scheduler, and move a domain to it', async () => {
    await run('cpupool-cpu-remove', 'Pool-0', '2-3');
    expect(await run('cpupool-create', 'name="rt"', 'sched="sedf"', 'cpus="2-3"')).to.equal(
      'Using config file "command line"\ncpupool name:   rt\nscheduler:      sedf\nnumber of cpus: 2\n',
    );
    await run('cpupool-migrate', 'b', 'rt');
    await machine.runUntil(60e6);
    expect(await run('cpupool-list')).to.equal(
      `${HEAD}Pool-0               2    credit       y          1\nrt                   2      sedf       y          1\n`,
    );
    const cpuOf = (row: string): string => row.slice(44, 50).trim();
    expect((await run('vcpu-list', 'b')).trim().split('\n').slice(1).map(cpuOf).sort()).to.deep.equal(['2', '3']);
    expect((await run('sched-credit')).split('\n').length).to.equal(4);
    expect((await run('sched-sedf')).split('\n')[1]).to.match(/^b +2 /);
    expect(await refuse('sched-credit', '-d', 'b', '-w', '5')).to.equal('domain b is not scheduled by credit\n');
    expect(await refuse('vcpu-pin', 'b', '0', '1')).to.match(/^none of the pCPUs \[1\] is in rt \(EINVAL\)/);
  });

  it('say and set the parameters of one', async () => {
    const line = 'Cpupool Pool-0: tslice=30ms ratelimit=1000us migration-delay=0us\n';
    expect(await run('sched-credit', '-s', '-p', 'Pool-0')).to.equal(line);
    await run('sched-credit', '-s', '-p', 'Pool-0', '-t', '5', '-r', '500');
    expect(await run('sched-credit', '-s')).to.equal(
      'Cpupool Pool-0: tslice=5ms ratelimit=500us migration-delay=0us\n',
    );
    expect(await refuse('sched-credit', '-s', '-p', 'Pool-0', '-r', '9000')).to.match(/exceeds the timeslice/);
    expect(await refuse('sched-credit', '-p', 'nil')).to.equal("unknown cpupool 'nil'\n");
  });

  it('refuse what cannot be', async () => {
    expect(await refuse('cpupool-destroy', 'rt')).to.match(/has 1 domains/);
    expect(await refuse('cpupool-cpu-add', 'rt', '0')).to.match(/pCPU 0 cannot be added to cpupool 1 \(EBUSY\)/);
    expect(await refuse('cpupool-create', 'name=rt')).to.match(/already exists/);
    expect(await refuse('cpupool-create', 'name=x', 'cpus=0')).to.match(/cpu 0 is in a pool already/);
    expect(await refuse('cpupool-create', 'colour=x')).to.match(/is none of name=/);
    expect(await refuse('cpupool-numa-split')).to.match(/already cpupools in use/);
  });

  it('take one apart again, and make one for each node', async () => {
    await run('cpupool-migrate', 'b', 'Pool-0');
    await run('cpupool-destroy', 'rt');
    await run('cpupool-cpu-add', 'Pool-0', 'node:1');
    await run('cpupool-numa-split');
    expect(await run('cpupool-list', '-c')).to.equal(
      'Name               CPU list\nPool-node0         0,1\nPool-node1         2,3\n',
    );
    await run('cpupool-rename', 'Pool-node1', 'far');
    await run('cpupool-migrate', 'a', 'far');
    await machine.runUntil(200e6);
    expect(machine.verify()).to.deep.equal([]);
    expect((await machine.cpupools()).map(({ name, domains }) => [name, domains])).to.deep.equal([
      ['Pool-node0', 1],
      ['far', 1],
    ]);
  });
});

describe('sched-sedf', () => {
  it('says and sets periods, slices and weights', async () => {
    const guests = ['a', 'b'].map((name) => guest({ name, workload: hog() }));
    const machine = await Machine.create(machineConfig({ scheduler: 'sedf', pcpus: 1, durationNs: Infinity, guests }));
    try {
      const sedf = (...args: string[]) => xl(machine, ['sched-sedf', ...args]);
      await machine.runUntil(10e6);
      expect((await sedf()).stdout.split('\n')[1]).to.match(/^a +1 +100\.0 +0\.0 +0\.0 +1 +1$/);
      await sedf('-d', 'a', '-p', '10', '-s', '2.5', '-e', '0');
      expect((await sedf('-d', 'a')).stdout.split('\n')[1]).to.match(/^a +1 +10\.0 +2\.5 +0\.0 +0 +0$/);
      const timeOf = async (): Promise<number> => (await machine.domains())[0]!.vcpus[0]!.timeNs;
      const from = await timeOf();
      await machine.runUntil(1010e6);
      expect((await timeOf()) - from).to.be.closeTo(250e6, 5e6);
      await sedf('-d', 'a', '-w', '3');
      expect((await sedf('-d', 'a')).stdout.split('\n')[1]).to.match(/^a +1 +10\.0 +0\.0 +0\.0 +0 +3$/);
      for (const wrong of [
        ['-s', '20'],
        ['-s', '1', '-w', '2'],
        ['-p', 'x'],
        ['-e', '2'],
        ['-s', '0'],
      ]) {
        const { code, stderr } = await sedf('-d', 'a', ...wrong);
        expect(code, wrong.join(' ')).to.equal(1);
        expect(stderr).to.match(/^[a-z].*\n$/);
      }
      expect((await xl(machine, ['sched-credit'])).stderr).to.equal('the scheduler is sedf, not credit\n');
      await machine.stop();
    } finally {
      await machine.close();
    }
  });
});

describe('a machine that is up', () => {
  let folder: string;
  let up: ChildProcess | undefined;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'up-'));
  });
  after(() => {
    up?.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  });

  it('answers at a socket of its owner until it is interrupted', async () => {
    const [socket, scenario] = [join(folder, 's'), join(folder, 's.yaml')];
    writeFileSync(
      scenario,
      'machine: { pcpus: 2, threads: 1 }\nguests:\n  - { name: web, workload: { tasks: { t: { run: 10, sleep: 90 } } } }\n',
    );
    const xlOf = (...args: string[]) =>
      spawnSync(process.execPath, [MAIN, 'xl', '--socket', socket, ...args], { encoding: 'utf8' });
    const down = xlOf('list');
    expect([down.status, down.stderr]).to.deep.equal([
      2,
      `ringzero: ${socket}: no machine is up there (ringzero up SCENARIO)\n`,
    ]);

    up = spawn(process.execPath, [MAIN, 'up', scenario, '--socket', socket]);
    const said = await new Promise<string>((resolve) => up!.stdout!.once('data', (text) => resolve(String(text))));
    expect(said).to.equal(`${scenario}: up, 2 pCPUs, 1 domains; ringzero xl --socket ${socket} list\n`);
    expect(statSync(socket).mode & 0o777).to.equal(0o600);
    const listed = xlOf('list', 'web');
    expect([listed.status, listed.stderr]).to.deep.equal([0, '']);
    expect(listed.stdout).to.match(/^web +1 +\d+ +1 /m);
    expect(xlOf('list', 'nobody').status).to.equal(1);

    // Somebody who talks nonsense, or nothing, is answered or dropped; the machine stays up.
    for (const text of ['{"a":1}\n', 'no json\n', 'x'.repeat(100_000)]) {
      await new Promise<void>((resolve) => {
        const client = createConnection(socket, () => client.write(text));
        client.on('data', (line) =>
          expect(JSON.parse(String(line)))
            .to.have.property('code')
            .that.is.above(1),
        );
        client.on('close', () => resolve());
        client.on('error', () => resolve());
      });
    }
    const second = spawnSync(process.execPath, [MAIN, 'up', scenario, '--socket', socket], { encoding: 'utf8' });
    expect([second.status, second.stderr]).to.deep.equal([2, `ringzero: ${socket}: a machine is up there already\n`]);
    expect(xlOf('list').status).to.equal(0);

    // What is no socket is left alone, and nobody listens where nobody may.
    for (const [path, why] of [
      [scenario, 'is there already, and no socket'],
      [join(folder, 'no', 's'), 'EACCES'],
    ] as const) {
      const refused = spawnSync(process.execPath, [MAIN, 'up', scenario, '--socket', path], { encoding: 'utf8' });
      expect([refused.status, refused.stderr]).to.deep.equal([2, `ringzero: ${path}: ${why}\n`]);
    }
    expect(existsSync(scenario)).to.equal(true);

    up.kill('SIGINT');
    const code = await new Promise((resolve) => up!.once('exit', resolve));
    expect(code).to.equal(0);
    expect(existsSync(socket)).to.equal(false);
  });
});
