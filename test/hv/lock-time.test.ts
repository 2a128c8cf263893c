/** Locks that take simulated time: who waits, how long, and what fails. */
import { expect } from 'chai';
import type { MachineConfig } from '../../src/machine/config.js';
import type { RunResult } from '../../src/machine/result.js';
import { guest, hog, machineConfig, simulate, workload } from '../support/in-process.js';

/** Many short sleepers beside hogs: queues are looked at, woken into and stolen from all the while. */
function run(over: Partial<MachineConfig>): RunResult {
  const guests = [
    guest({ name: 'hogs', vcpus: 4, workload: hog() }),
    ...Array.from({ length: 12 }, (_, n) =>
      guest({ name: `s${n}`, workload: workload({ t: { run: 40 + n, sleep: 60 + 3 * n } }) }),
    ),
  ];
  const simulation = simulate(machineConfig({ pcpus: 8, durationNs: 300e6, guests, ...over }));
  simulation.run();
  return simulation.result();
}

const lockOf = ({ locks }: RunResult, name: string) => locks.find(({ lock }) => lock === name)!;
const work = ({ domains }: RunResult): number => domains.reduce((sum, { workNs }) => sum + workNs, 0);

describe('locks in simulated time', () => {
  it('that cost nothing change nothing', () => {
    const free = run({});
    expect(lockOf(free, 'run-queue')).to.include({ acquired: 0, contended: 0, waitedNs: 0, tryFailed: 0 });
    expect(run({ runqLockNs: 0, privateLockNs: 0 }).hash).to.equal(free.hash);
  });

  it('are waited for and fail to be tried, the more the longer they are held', () => {
    const [short, long] = [run({ runqLockNs: 1000 }), run({ runqLockNs: 20_000 })];
    for (const result of [short, long]) {
      const lock = lockOf(result, 'run-queue');
      expect(lock.acquired).to.be.above(1000);
      expect(lock.contended).to.be.above(0).and.below(lock.acquired);
      // Nobody waits for more than everybody else on the machine in a row.
      expect(lock.waitedNs / lock.contended).to.be.below(16 * 20_000);
    }
    expect(lockOf(long, 'run-queue').waitedNs).to.be.above(lockOf(short, 'run-queue').waitedNs);
    expect(lockOf(long, 'run-queue').tryFailed).to.be.above(0);
    expect(long.perfc.steal_trylock_failed).to.equal(lockOf(long, 'run-queue').tryFailed);
  });

  it('take their time from the guests, not from nowhere', () => {
    const [free, costly] = [run({ pcpus: 4 }), run({ pcpus: 4, runqLockNs: 5000 })];
    const { acquired, waitedNs } = lockOf(costly, 'run-queue');
    const lost = work(free) - work(costly);
    // Idle pCPUs wait as well, and what guests do not get they may sleep.
    expect(lost).to.be.above(0.2 * (acquired * 5000 + waitedNs));
    expect(lost).to.be.below(1.5 * (acquired * 5000 + waitedNs));
    for (const { runstate } of costly.domains.flatMap(({ vcpus }) => vcpus)) {
      const { running, runnable, blocked, offline } = runstate;
      expect(running + runnable + blocked + offline).to.equal(300e6);
    }
  });

  it('stall accounting when the private lock is held long', () => {
    const result = run({ pcpus: 4, privateLockNs: 500_000 });
    expect(lockOf(result, 'private').acquired).to.be.above(5);
    expect(work(result)).to.be.below(work(run({ pcpus: 4 })));
  });

  it('give one result for one configuration', () => {
    const costs = { runqLockNs: 700, privateLockNs: 3000 };
    expect(run(costs).hash).to.equal(run(costs).hash);
  });
});
