/** `ringzero up` and `ringzero xl`: what xl's verbs do, through domain 0, and the socket between the two. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { withBuiltKernels } from '../../src/config/built-kernels.js';
import { withLiveTools } from '../../src/config/dom0.js';
import { readGuestFile } from '../../src/config/guest-file.js';
import { noWorkload } from '../../src/config/kernel-file.js';
import { readKernel } from '../../src/loader/kernel.js';
import type { MachineConfig } from '../../src/machine/config.js';
import { Machine } from '../../src/machine/machine.js';
import { Session } from '../../src/xl/session.js';
import { xl } from '../../src/xl/verbs.js';
import { BLOCKS, elfOf } from '../support/elf.js';
import { guest, hog, machineConfig, workload } from '../support/in-process.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

/** A machine that is up, and the verbs on it. */
class Up {
  readonly machine: Machine;
  readonly #session: Session;
  readonly folder = mkdtempSync(join(tmpdir(), 'xl-'));

  private constructor(machine: Machine) {
    this.machine = machine;
    this.#session = new Session(machine, (file) => readGuestFile(file, machine.config.pcpus));
    void machine.run();
  }

  static async make(config: MachineConfig): Promise<Up> {
    return new Up(await Machine.create(withLiveTools(config)));
  }

  async close(): Promise<void> {
    await this.machine.stop();
    await this.machine.close();
    rmSync(this.folder, { recursive: true });
  }

  /** What a verb prints; it must not fail. */
  async run(...args: string[]): Promise<string> {
    const { stdout, stderr, code } = await xl(this.#session, args, this.folder);
    expect([stderr, code], args.join(' ')).to.deep.equal(['', 0]);
    return stdout;
  }

  /** What a verb complains of; it must fail. */
  async refuse(...args: string[]): Promise<string> {
    const { stdout, stderr, code } = await xl(this.#session, args, this.folder);
    expect([stdout, code], args.join(' ')).to.deep.equal(['', 1]);
    return stderr;
  }

  /** The line that `list` has of a domain. */
  async listed(name: string): Promise<string> {
    return (await this.run('list', name)).split('\n')[1]!;
  }

  async seconds(name: string): Promise<number> {
    return Number(/[\d.]+$/.exec(await this.listed(name))![0]);
  }

  /** Lets the machine get on by so long, ns. */
  async pass(ns: number): Promise<void> {
    await this.machine.runUntil((await this.machine.pause()) + ns);
    await this.machine.resume();
  }

  /** What a domain has of a pCPU over the next `ns`, the machine standing still at both ends. */
  async share(name: string, ns: number): Promise<number> {
    const from = await this.machine.pause();
    const ran = async (): Promise<number> => {
      const { vcpus } = (await this.machine.domains()).find((d) => d.name === name)!;
      return vcpus.reduce((sum, { timeNs }) => sum + timeNs, 0);
    };
    const before = await ran();
    const to = await this.machine.runUntil(from + ns);
    const after = await ran();
    await this.machine.resume();
    return (after - before) / (to - from);
  }
}

describe('the verbs of xl', () => {
  let up: Up;
  before(async () => {
    up = await Up.make(
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
  });
  after(() => up.close());

  it('list domains by name, by number, and all', async () => {
    expect((await up.run('list')).split('\n').length).to.equal(6);
    for (const name of ['other', '2']) expect(await up.listed(name)).to.match(/^other +2 +64 +1 {5}/);
    expect(await up.run('domid', 'third')).to.equal('3\n');
    expect(await up.run('domname', '1')).to.equal('hogs\n');
    expect(await up.listed('Domain-0')).to.match(/^Domain-0 +0 +256 +1 {5}r----- /);
  });

  it('pause a domain and let it go', async () => {
    await up.run('pause', 'hogs');
    await up.pass(100e6);
    expect(await up.listed('hogs')).to.match(/ {5}--p--- /);
    const before = await up.seconds('hogs');
    await up.pass(500e6);
    expect(await up.seconds('hogs')).to.equal(before);
    await up.run('unpause', 'hogs');
    await up.pass(500e6);
    expect(await up.seconds('hogs')).to.be.above(before);
    expect(await up.refuse('unpause', 'hogs')).to.match(/Invalid argument\n.*unpausing failed/);
  });

  it('pin one VCPU, or all, hard and soft', async () => {
    await up.run('vcpu-pin', 'hogs', '1', '3');
    await up.pass(100e6);
    expect((await up.run('vcpu-list', 'hogs')).split('\n')[2]).to.match(/^hogs +1 +1 +3 .* 3 \/ all$/);
    await up.run('vcpu-pin', 'hogs', 'all', '0-1', '1');
    await up.pass(100e6);
    const rows = (await up.run('vcpu-list', 'hogs')).trim().split('\n').slice(1);
    for (const row of rows) expect(row).to.match(/^hogs +1 +\d +[01] .* 0-1 \/ 1$/);
    await up.run('vcpu-pin', 'hogs', 'all', 'all', 'all');
  });

  it('change soft affinity, and keep the wish that hard affinity has no room for', async () => {
    const affinities = async (): Promise<string[]> =>
      (await up.run('vcpu-list', 'hogs'))
        .trim()
        .split('\n')
        .slice(1)
        .map((row) => row.slice(67).trim());
    await up.run('vcpu-pin', 'hogs', '0', '-', '2-3');
    await up.run('vcpu-pin', 'hogs', '0', '1', '-');
    expect((await affinities())[0]).to.equal('1 / 2-3');
    await up.run('vcpu-pin', 'hogs', '0', 'all');
    expect((await affinities())[0]).to.equal('all / 2-3');
    // With a pCPU for each of them the first one is where it wants to be.
    await up.pass(600e6);
    expect((await up.machine.domains()).find(({ name }) => name === 'hogs')!.vcpus[0]!.pcpu).to.be.oneOf([2, 3]);
    await up.run('vcpu-pin', 'hogs', 'all', '-', 'all');
    expect(await affinities()).to.deep.equal(['all / all', 'all / all', 'all / all']);
  });

  it('set weights and caps, which count from then on', async () => {
    await up.run('sched-credit', '-d', 'hogs', '-c', '60', '-w', '700');
    expect((await up.run('sched-credit', '-d', 'hogs')).split('\n')[1]).to.match(/^hogs +1 +700 +60$/);
    await up.run('sched-credit', '--domain=hogs', '--weight=512');
    expect((await up.run('sched-credit', '-d', 'hogs')).split('\n')[1]).to.match(/^hogs +1 +512 +60$/);
    await up.pass(200e6);
    expect(await up.share('hogs', 20e9)).to.be.closeTo(0.6, 0.06);
    await up.run('sched-credit', '-d', 'hogs', '-c', '0');
  });

  it("set the scheduler's own parameters", async () => {
    expect(await up.run('sched-credit')).to.match(
      /^Cpupool Pool-0: tslice=30ms ratelimit=1000us migration-delay=0us\n/,
    );
    await up.run('sched-credit', '-s', '-t', '10', '-r', '500');
    expect(await up.run('sched-credit', '-s')).to.equal(
      'Cpupool Pool-0: tslice=10ms ratelimit=500us migration-delay=0us\n',
    );
    expect(await up.refuse('sched-credit', '-s', '-t', '0')).to.match(/Invalid argument/);
  });

  it('take VCPUs away and give them back', async () => {
    await up.run('vcpu-set', 'hogs', '1');
    await up.pass(300e6);
    const states = async (): Promise<string[]> =>
      (await up.run('vcpu-list', 'hogs'))
        .trim()
        .split('\n')
        .slice(1)
        .map((row) => row.slice(51, 56).trim());
    expect((await states()).slice(1)).to.deep.equal(['--p', '--p']);
    expect(await up.listed('hogs')).to.match(/^hogs +1 +64 +1 /);
    await up.run('vcpu-set', 'hogs', '3');
    await up.pass(300e6);
    expect((await states()).includes('--p')).to.equal(false);
    expect(await up.refuse('vcpu-set', 'hogs', '5')).to.match(
      /^You are overcommmitting! You have 4 physical CPUs and want 5/,
    );
    expect(await up.refuse('vcpu-set', '-i', 'hogs', '5')).to.match(/^libxl_set_vcpuonline failed domid=1 max_vcpus=5/);
    expect(await up.refuse('vcpu-set', 'hogs', 'x')).to.equal('Error: Invalid argument.\n');
  });

  it('give a domain more memory, and less', async () => {
    for (const mib of [96, 32, 64]) {
      await up.run('mem-set', 'third', String(mib));
      await up.pass(100e6);
      expect(await up.listed('third')).to.match(new RegExp(`^third +3 +${mib} +1 `));
    }
  });

  it('show use in batches, as xentop does', async () => {
    const shown = await up.run('top', '-b', '-i', '2', '-d', '1');
    const rows = shown.split('\n');
    expect(rows[0]).to.equal(
      '      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID',
    );
    expect(rows[1]).to.match(/^ {2}Domain-0 -----r +\d+ +0\.0 +262144 +0\.4 +262144 +0\.4 +1 +0 +0 +0 +0 /);
    const hogs = rows.filter((row) => /^ +hogs /.test(row));
    expect(hogs).to.have.length(2);
    expect(Number(hogs[1]!.slice(29, 35))).to.be.within(100, 330);
    expect(await up.refuse('top')).to.match(/only batch mode/);
  });

  it('create what a file describes, and destroy it', async () => {
    writeFileSync(
      join(up.folder, 'new.json'),
      JSON.stringify({ tasks: { t: { instance: 2, run: 1000, sleep: 1000 } } }),
    );
    writeFileSync(
      join(up.folder, 'new.cfg'),
      'name = "new"\nkernel = "new.json"\nmemory = 100\nvcpus = 2\ncpus = "2-3"\n',
    );
    await up.run('create', 'new.cfg');
    const id = Number(await up.run('domid', 'new'));
    expect(id).to.be.above(3);
    await up.pass(1e9);
    expect(await up.listed('new')).to.match(/^new +\d+ +100 +2 /);
    expect(await up.seconds('new')).to.be.above(0);
    expect(await up.run('vcpu-list', 'new')).to.match(/ 2-3 \/ all\n/);
    expect(await up.refuse('create', 'new.cfg')).to.equal('Domain with name "new" already exists.\n');
    await up.run('destroy', 'new');
    expect(await up.refuse('list', 'new')).to.match(/invalid domain identifier/);
    await up.run('create', 'new.cfg');
    expect(Number(await up.run('domid', 'new'))).to.equal(id + 1);
    await up.run('destroy', String(id + 1));

    writeFileSync(join(up.folder, 'big.cfg'), 'name = "big"\nkernel = "new.json"\nmemory = 90000\n');
    expect(await up.refuse('create', 'big.cfg')).to.match(/Cannot allocate memory/);
    expect(await up.refuse('list', 'big')).to.match(/invalid domain identifier/);
    writeFileSync(join(up.folder, 'wrong.cfg'), 'name = "wrong"\nkernel = "vmlinuz"\n');
    expect(await up.refuse('create', 'wrong.cfg')).to.match(/wrong\.cfg:2:10: "kernel" must name an rt-app workload/);
    expect(await up.refuse('create', 'nothing.cfg')).to.match(/nothing\.cfg/);
  });

  it('take a pCPU off line and back', async () => {
    await up.run('cpu-offline', '2');
    await up.pass(200e6);
    expect(await up.run('vcpu-list', 'hogs')).to.not.match(/^hogs +1 +\d +2 /m);
    expect(await up.run('info')).to.match(/^nr_cpus +: 3$/m);
    await up.run('cpu-online', '2');
    expect(await up.run('info')).to.match(/^nr_cpus +: 4$/m);
  });

  it('tell of the host and of what the hypervisor said', async () => {
    const info = await up.run('info');
    expect(info).to.match(/^xen_scheduler +: credit$/m);
    expect(info).to.match(/^total_memory +: 65792$/m);
    expect(info).to.match(/^xen_version +: 4\.17/m);
    await up.run('debug-keys', 'r');
    expect(await up.run('dmesg')).to.match(/Scheduler: SMP Credit Scheduler \(credit\)/);
  });

  it('ask a domain to end itself', async () => {
    await up.run('shutdown', 'other');
    await up.pass(100e6);
    expect(await up.listed('other')).to.match(/ ---s-- /);
    expect(await up.refuse('shutdown', 'other')).to.match(/shutdown failed/);
  });

  it('refuse what is wrong, as xl does', async () => {
    expect(await up.refuse('list', 'nobody')).to.equal('nobody is an invalid domain identifier (rc=-6)\n');
    expect(await up.refuse('destroyed')).to.equal('command "destroyed" not implemented\n');
    expect(await up.refuse('constructor')).to.equal('command "constructor" not implemented\n');
    expect(await up.refuse('vcpu-pin', 'hogs')).to.match(
      /^'xl vcpu-pin' requires at least 3 arguments\.\n\nUsage: xl vcpu-pin /,
    );
    expect(await up.refuse('vcpu-pin', 'hogs', '7', '1')).to.equal('Error: Invalid argument 7 as VCPU.\n');
    expect(await up.refuse('vcpu-pin', '-f', 'hogs', 'all', '1')).to.match(/--force and 'all'/);
    expect(await up.refuse('vcpu-pin', 'hogs', '0', 'x')).to.match(/CPU list: x/);
    expect(await up.refuse('sched-credit', '-d', 'hogs', '-w', '0')).to.match(/^weight is out of range: 0/);
    expect(await up.refuse('sched-credit', '-w', '5')).to.equal('Must specify a domain.\n');
    expect(await up.refuse('sched-credit', '-x', '5')).to.match(/unknown option/);
    expect(await up.refuse('sched-sedf', '-d', 'hogs', '-w', '5')).to.match(/returned credit not sedf/);
    expect(await up.refuse('destroy', '0')).to.match(/^Not destroying domain 0/);
    expect(await up.refuse('pause')).to.match(/requires at least 1 argument\./);
    expect(await up.refuse('mem-max', 'hogs', '12q')).to.equal('invalid memory size: 12q\n');
  });
});

describe('the verbs of xl on cpupools', () => {
  let up: Up;
  before(async () => {
    up = await Up.make(
      machineConfig({
        pcpus: 4,
        threads: 2,
        topology: { sockets: 2, cores: 2, threads: 1 },
        durationNs: Infinity,
        guests: [
          guest({ name: 'a', vcpus: 2, workload: workload({ h: { instance: 2, run: 1e6 } }) }),
          guest({ name: 'b', vcpus: 2, workload: workload({ h: { instance: 2, run: 1e6 } }) }),
        ],
      }),
    );
  });
  after(() => up.close());
  const HEAD = 'Name               CPUs   Sched     Active   Domain count\n';

  it('list them', async () => {
    expect(await up.run('cpupool-list')).to.equal(`${HEAD}Pool-0               4    credit       y          3\n`);
    expect(await up.run('cpupool-list', '-c')).to.equal('Name               CPU list\nPool-0             0,1,2,3\n');
    const [head, , row] = (await up.run('list', '-c')).split('\n');
    expect(head).to.equal('Name                                        ID   Mem VCPUs\tState\tTime(s)         Cpupool');
    expect(row).to.match(/^a {44}1 {4}64 {5}2 .* Pool-0$/);
  });

  it('make one, with another scheduler, and move a domain to it', async () => {
    await up.run('cpupool-cpu-remove', 'Pool-0', '2-3');
    expect(await up.run('info')).to.match(/^free_cpus +: 2$/m);
    expect(await up.run('cpupool-create', 'name="rt"', 'sched="sedf"', 'cpus="2-3"')).to.equal(
      'Using config file "command line"\ncpupool name:   rt\nscheduler:      sedf\nnumber of cpus: 2\n',
    );
    await up.run('cpupool-migrate', 'b', 'rt');
    await up.pass(100e6);
    expect(await up.run('cpupool-list')).to.equal(
      `${HEAD}Pool-0               2    credit       y          2\nrt                   2      sedf       y          1\n`,
    );
    const cpuOf = (row: string): string => row.slice(44, 50).trim();
    expect((await up.run('vcpu-list', 'b')).trim().split('\n').slice(1).map(cpuOf).sort()).to.deep.equal(['2', '3']);
    expect((await up.run('sched-credit')).split('\n').length).to.equal(5);
    expect((await up.run('sched-sedf')).split('\n')[1]).to.match(/^b +2 /);
    expect(await up.refuse('sched-credit', '-d', 'b', '-w', '5')).to.match(/returned sedf not credit/);
    expect(await up.refuse('vcpu-pin', 'b', '0', '1')).to.match(/Invalid argument/);
  });

  it('create a domain in one', async () => {
    writeFileSync(join(up.folder, 'new.json'), JSON.stringify({ tasks: { t: { run: 1000, sleep: 1000 } } }));
    writeFileSync(join(up.folder, 'new.cfg'), 'name = "new"\nkernel = "new.json"\nmemory = 10\npool = "rt"\n');
    await up.run('create', 'new.cfg');
    await up.pass(200e6);
    expect(await up.run('list', '-c', 'new')).to.match(/^new .* rt$/m);
    expect(await up.run('sched-sedf')).to.match(/^new +\d+ /m);
    expect(await up.run('vcpu-list', 'new')).to.match(/^new +\d+ +0 +[23] /m);
    await up.run('destroy', 'new');
    writeFileSync(join(up.folder, 'lost.cfg'), 'name = "lost"\nkernel = "new.json"\nmemory = 10\npool = "nil"\n');
    expect(await up.refuse('create', 'lost.cfg')).to.equal("unknown cpupool 'nil'\n");
  });

  it('say and set the parameters of one', async () => {
    const line = 'Cpupool Pool-0: tslice=30ms ratelimit=1000us migration-delay=0us\n';
    expect(await up.run('sched-credit', '-s', '-p', 'Pool-0')).to.equal(line);
    await up.run('sched-credit', '-s', '-p', 'Pool-0', '-t', '5', '-r', '500');
    expect(await up.run('sched-credit', '-s')).to.equal(
      'Cpupool Pool-0: tslice=5ms ratelimit=500us migration-delay=0us\n',
    );
    expect(await up.refuse('sched-credit', '-s', '-p', 'Pool-0', '-r', '9000')).to.match(/Invalid argument/);
    expect(await up.refuse('sched-credit', '-p', 'nil')).to.equal("unknown cpupool 'nil'\n");
  });

  it('refuse what cannot be', async () => {
    expect(await up.refuse('cpupool-destroy', 'rt')).to.equal("Can't destroy cpupool 'rt'\n");
    expect(await up.refuse('cpupool-destroy', 'Pool-0')).to.equal("Can't destroy cpupool 'Pool-0'\n");
    expect(await up.refuse('cpupool-rename', 'rt', 'Pool-0')).to.equal("Can't rename cpupool 'rt'\n");
    expect(await up.refuse('cpupool-cpu-add', 'rt', '0')).to.match(
      /Device or resource busy\nsome cpus may not have been added to rt\n$/,
    );
    expect(await up.refuse('cpupool-create', 'sched=credit')).to.equal('Missing cpupool name!\n');
    expect(await up.refuse('cpupool-create', 'name=rt')).to.equal('Pool name "rt" already exists\n');
    expect(await up.refuse('cpupool-create', 'name=x', 'cpus=0')).to.equal('cpu 0 illegal or not free\n');
    expect(await up.refuse('cpupool-create', 'colour=x')).to.match(/is none of name=/);
    expect(await up.refuse('cpupool-list', 'nil')).to.equal("Pool 'nil' does not exist\n");
    expect(await up.refuse('cpupool-migrate', 'a', 'nil')).to.equal("unknown cpupool 'nil'\n");
    expect(await up.refuse('cpupool-numa-split')).to.match(/already cpupools in use/);
  });

  it('take one apart again, and make one for each node', async () => {
    await up.run('cpupool-migrate', 'b', 'Pool-0');
    await up.run('cpupool-destroy', 'rt');
    await up.run('cpupool-cpu-add', 'Pool-0', 'node:1');
    await up.run('cpupool-numa-split');
    expect(await up.run('cpupool-list', '-c')).to.equal(
      'Name               CPU list\nPool-node0         0,1\nPool-node1         2,3\n',
    );
    await up.run('cpupool-rename', 'Pool-node1', 'far');
    await up.run('cpupool-migrate', 'a', 'far');
    await up.pass(100e6);
    await up.machine.pause();
    expect(up.machine.verify()).to.deep.equal([]);
    await up.machine.resume();
    expect((await up.machine.cpupools()).map(({ cpus, domains }) => [cpus, domains])).to.deep.equal([
      [[0, 1], 2],
      [[2, 3], 1],
    ]);
    expect(await up.run('cpupool-list', 'far')).to.equal(
      `${HEAD}far                  2    credit       y          1\n`,
    );
  });
});

describe('sched-sedf', () => {
  it('says and sets periods, slices and weights', async () => {
    const guests = ['a', 'b'].map((name) => guest({ name, workload: hog() }));
    const up = await Up.make(machineConfig({ scheduler: 'sedf', pcpus: 1, durationNs: Infinity, guests }));
    try {
      const row = async (): Promise<string> => (await up.run('sched-sedf', '-d', 'a')).split('\n')[1]!;
      expect(await row()).to.match(/^a +1 +100\.0 +0\.0 +0\.0 +1 +1$/);
      await up.run('sched-sedf', '-d', 'a', '-p', '10', '-s', '2.5', '-e', '0');
      expect(await row()).to.match(/^a +1 +10\.0 +2\.5 +0\.0 +0 +0$/);
      expect(await up.share('a', 20e9)).to.be.closeTo(0.25, 0.02);
      await up.run('sched-sedf', '-d', 'a', '-w', '3');
      expect(await row()).to.match(/^a +1 +10\.0 +0\.0 +0\.0 +0 +3$/);
      for (const wrong of [
        ['-s', '20'],
        ['-p', 'x'],
        ['-e', '2'],
        ['-s', '0'],
      ]) {
        expect(await up.refuse('sched-sedf', '-d', 'a', ...wrong), wrong.join(' ')).to.match(/\n$/);
      }
      expect(await up.refuse('sched-credit', '-d', 'a')).to.match(/returned sedf not credit/);
    } finally {
      await up.close();
    }
  });
});
describe('xl on guests of the scenario', () => {
  it('creates them, with kernels of their own or without, and again once they are destroyed', async function () {
    this.timeout(60_000);
    const idle = {
      image: readKernel(elfOf(BLOCKS)),
      commandLine: '',
    };
    const guests = [
      guest({ name: 'Domain-0', privileged: true, workload: noWorkload('Domain-0') }),
      guest({ name: 'kernel', memoryMib: 8, workload: noWorkload('kernel'), kernel: { file: 'kernel', ...idle } }),
      guest({ name: 'later', boot: false, workload: workload({ t: { loop: -1, run: 1000, sleep: 1000 } }) }),
    ];
    const up = await Up.make(withBuiltKernels(machineConfig({ pcpus: 2, durationNs: Infinity, guests })));
    try {
      await up.pass(1e9);
      const id = await up.run('domid', 'kernel');
      expect(await up.refuse('create', 'kernel')).to.equal('Domain with name "kernel" already exists.\n');
      await up.run('create', 'later');
      const first = Number(await up.run('domid', 'later'));
      await up.run('destroy', 'kernel');
      await up.run('destroy', 'later');
      // Another one comes in between.
      await up.run('create', 'later');
      await up.run('create', 'kernel');
      for (const name of ['kernel', 'later']) {
        await up.run('destroy', name);
        expect(await up.refuse('list', name)).to.match(/invalid domain identifier/);
        await up.run('create', name);
        await up.pass(1e8);
        expect(await up.listed(name)).to.match(name === 'kernel' ? /^kernel +\d+ +8 +1 +-b----/ : /^later/);
      }
      // A kernel is built where it was; a workload is another domain.
      expect(await up.run('domid', 'kernel')).to.equal(id);
      expect(Number(await up.run('domid', 'later'))).to.be.above(first);
    } finally {
      await up.close();
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
    expect(said).to.equal(`${scenario}: up, 2 pCPUs, 2 domains; ringzero xl --socket ${socket} list\n`);
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

describe('sched-credit2', () => {
  it("says and sets weights and caps, and the scheduler's ratelimit", async () => {
    const guests = ['a', 'b'].map((name) => guest({ name, workload: hog() }));
    const up = await Up.make(machineConfig({ scheduler: 'credit2', pcpus: 1, durationNs: Infinity, guests }));
    try {
      expect(await up.run('sched-credit2')).to.match(
        /^Cpupool Pool-0: ratelimit=1000us\nName {32}ID Weight {2}Cap\nDomain-0 {29}0 {4}256 {4}0\n/,
      );
      await up.run('sched-credit2', '-d', 'a', '-w', '512', '-c', '25');
      expect((await up.run('sched-credit2', '-d', 'a')).split('\n')[1]).to.match(/^a +1 +512 +25$/);
      expect(await up.share('a', 20e9)).to.be.closeTo(0.25, 0.02);
      await up.run('sched-credit2', '-s', '-r', '500');
      expect(await up.run('sched-credit2', '-s')).to.equal('Cpupool Pool-0: ratelimit=500us\n');
      expect(await up.refuse('sched-credit2', '-s', '-r', '99')).to.match(/Invalid argument/);
    } finally {
      await up.close();
    }
  });
});
