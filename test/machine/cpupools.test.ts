/** Cpupools of whole machines with their worker threads, in both modes, and those that cannot be built. */
import { expect } from 'chai';
import { findConfigProblem } from '../../src/machine/check-config.js';
import type { CpupoolConfig, GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { XenError } from '../../src/machine/cpupools.js';
import { Machine, traceText } from '../../src/machine/machine.js';
import { XEN_EBUSY, XEN_EEXIST, XEN_ENOSPC } from '../../src/shared/public/errno.js';
import { guest, hog, machineConfig, workload } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

const hogs = (name: string, vcpus: number, over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({ name, vcpus, workload: workload({ hog: { instance: vcpus, run: 1_000_000 } }), ...over });

describe('cpupools that cannot be', () => {
  const problem = (cpupools: readonly CpupoolConfig[], over: Partial<MachineConfig> = {}): string => {
    const found = findConfigProblem(
      machineConfig({ pcpus: 4, guests: [guest({ workload: hog() })], cpupools, ...over }),
    );
    return found === undefined ? 'none' : `${found.path.join('.')}: ${found.message}`;
  };
  const inPool = (pool: string, cpus: GuestConfig['cpus'] = []) => [guest({ name: 'g', workload: hog(), pool, cpus })];

  it('are told with their place', () => {
    const a = { name: 'a', cpus: [0, 1] };
    expect(problem([a])).to.equal('none');
    expect(problem([a, { name: 'b', cpus: [1, 2] }])).to.equal('cpupools.1.cpus: pCPU 1 is in two cpupools: a and b');
    expect(problem([a, { ...a, cpus: [2] }])).to.equal("cpupools.1.name: a second cpupool named 'a'");
    expect(problem([{ name: 'a', cpus: [] }])).to.equal('cpupools.0.cpus: cpupool a has no pCPU');
    expect(problem([{ name: 'a' }])).to.equal('cpupools.0.name: cpupool a needs its pCPUs (cpus)');
    expect(problem([{ name: 'a', cpus: [4] }])).to.equal(
      'cpupools.0.cpus: cpupool a wants pCPU 4; the machine has 4 pCPUs',
    );
    expect(problem([{ ...a, scheduler: 'x' }])).to.match(/^cpupools\.0\.scheduler: unknown scheduler 'x' of cpupool a/);
    expect(problem([{ ...a, tsliceMs: 5, ratelimitUs: 6000 }])).to.match(
      /^cpupools\.0\.ratelimitUs: cpupool a: ratelimit/,
    );
    expect(problem([a], { profile: 'classic' })).to.equal(
      'cpupools.0: the classic profile (Xen 3.0.4) has no cpupools',
    );
    expect(problem([], { profile: 'classic', sparePools: 1 })).to.match(/^sparePools: the classic profile/);
    const whole = /the run queues of credit2 are the whole host's/;
    expect(problem([{ ...a, scheduler: 'credit2' }]))
      .to.match(whole)
      .and.match(/^cpupools\.0\.scheduler: /);
    expect(problem([], { scheduler: 'credit2', sparePools: 1 })).to.match(whole);
    expect(problem([], { scheduler: 'credit2' })).to.equal('none');
    expect(problem([], { sparePools: 64 })).to.equal('sparePools: 65 cpupools; at most 64');
    expect(problem([a], { scheduler: './x.ts' })).to.match(
      /^cpupools\.0\.name: cpupool a needs a scheduler of its own/,
    );
  });

  it('of a guest, too', () => {
    const a = { name: 'a', cpus: [0, 1] };
    expect(problem([a], { guests: inPool('b') })).to.equal("guests.0.pool: there is no cpupool 'b'");
    expect(problem([a], { guests: inPool('a', [[1, 2]]) })).to.equal('none');
    expect(problem([a], { guests: inPool('a', [[2]]) })).to.equal(
      'guests.0.cpus: VCPU 0 of g may use only pCPU 2, cpupool a has pCPUs 0, 1',
    );
    const all = [{ name: 'a', cpus: [0, 1, 2, 3] }];
    expect(problem(all, { guests: inPool('a') })).to.equal('none');
    expect(problem(all)).to.equal(
      'guests.0.pool: cpupool Pool-0, in which guest is, has no pCPU: all are in other pools',
    );
    expect(problem([{ name: 'Pool-0', scheduler: 'sedf' }])).to.equal('none');
  });
});

describe('cpupools of a machine', () => {
  const guests = [hogs('a', 2), hogs('b', 2)];

  it('are made, filled and emptied from the library', async () => {
    const machine = await Machine.create(
      machineConfig({ pcpus: 4, durationNs: 1e9, sparePools: 1, trace: true, guests }),
    );
    try {
      await machine.runUntil(100e6);
      const id = await machine.createCpupool({ name: 'p', scheduler: 'sedf' });
      const errnoOf = (act: Promise<unknown>): Promise<number> =>
        act.then(
          () => 0,
          (error: XenError) => {
            expect(error).to.be.instanceOf(XenError);
            return error.errno;
          },
        );
      expect(await errnoOf(machine.createCpupool({ name: 'p' }))).to.equal(XEN_EEXIST);
      expect(await errnoOf(machine.createCpupool({ name: 'q' }))).to.equal(XEN_ENOSPC);
      expect(await errnoOf(machine.cpupoolAddCpu(id, 0))).to.equal(XEN_EBUSY);
      for (const p of [0, 3]) {
        await machine.cpupoolRemoveCpu(0, p);
        await machine.cpupoolAddCpu(id, p);
      }
      await machine.moveToCpupool(2, id);
      expect(
        (await machine.cpupools()).map(({ name, scheduler, cpus, domains }) => [name, scheduler, cpus, domains]),
      ).to.deep.equal([
        ['Pool-0', 'credit', [1, 2], 1],
        ['p', 'sedf', [0, 3], 1],
      ]);
      expect(machine.verify()).to.deep.equal([]);
      const said = [0, 1, 2, 3].flatMap((p) => machine.trace(p)).map(({ kind, words }) => traceText(kind, words));
      expect(said).to.include.members(['cpupool pool=1 what=3', 'cpupool pool=1 what=2']);
      expect(said.some((text) => /^moves v=[23] from=\d why=pool$/.test(text))).to.equal(true);
      await machine.resume();
      const { domains, pools } = await machine.run();
      expect(domains.map((d) => d.share)).to.satisfy((s: number[]) => s.every((share) => Math.abs(share - 2) < 0.01));
      expect(pools!.map((pool) => pool.domains)).to.deep.equal([['a'], ['b']]);
      expect(await errnoOf(machine.destroyCpupool(id)), 'a machine that is over').to.equal(XEN_EBUSY);
    } finally {
      await machine.close();
    }
  });

  it("keep free mode's workers separate where each is one worker's", async () => {
    const cpupools = [
      { name: 'A', cpus: [0, 1] },
      { name: 'B', cpus: [2, 3] },
    ];
    const result = await runMachine(
      machineConfig({
        mode: 'free',
        pcpus: 4,
        threads: 2,
        durationNs: 500e6,
        cpupools,
        guests: [hogs('a', 3, { pool: 'A' }), hogs('b', 2, { pool: 'B' })],
      }),
    );
    // Nobody else's events ever held up the other.
    expect(result.domains.map((d) => Math.round(d.share * 100))).to.deep.equal([200, 200]);
    expect(result.pools!.map((pool) => pool.domains)).to.deep.equal([[], ['a'], ['b']]);
  });

  for (const isPinned of [true, false]) {
    it(`change while workers of free mode run${isPinned ? ', separate at first' : ''}`, async () => {
      const mixed = (name: string, cpus: readonly number[]): GuestConfig =>
        guest({
          name,
          vcpus: 3,
          cpus: isPinned ? [cpus, cpus, cpus] : [],
          workload: workload({ t: { instance: 6, run: 60, lock: 'm', run1: 10, unlock: 'm', sleep: 120 } }),
        });
      const machine = await Machine.create(
        machineConfig({
          mode: 'free',
          pcpus: 4,
          threads: 4,
          durationNs: Infinity,
          sparePools: 2,
          debug: true,
          guests: [mixed('a', [0]), mixed('b', [1]), mixed('c', [2])],
        }),
      );
      const done = machine.run();
      try {
        const id = await machine.createCpupool({ name: 'p' });
        const look = async (): Promise<void> => {
          const at = await machine.pause();
          expect(machine.verify(), `at ${at}`).to.deep.equal([]);
          await machine.resume();
        };
        for (let n = 0; n < 6; n++) {
          await machine.cpupoolRemoveCpu(0, 3);
          await machine.cpupoolAddCpu(id, 3);
          await machine.moveToCpupool(1 + (n % 3), id);
          await look();
          await machine.cpupoolRemoveCpu(0, 1);
          await machine.cpupoolAddCpu(id, 1);
          await look();
          await machine.moveToCpupool(1 + (n % 3), 0);
          for (const p of [3, 1]) {
            await machine.cpupoolRemoveCpu(id, p);
            await machine.cpupoolAddCpu(0, p);
          }
          await look();
        }
        const work = (): number[] => machine.work();
        await machine.pause();
        const before = work();
        await machine.runUntil((await machine.pause()) + 20e6);
        expect(work().every((w, n) => w > before[n]!)).to.equal(true);
        await machine.stop();
        await done;
      } finally {
        await machine.close();
      }
    });
  }
});
