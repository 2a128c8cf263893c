/** How the guest kernel shares a VCPU among tasks: classes, round robin, yield, CPU masks. Times in µs, by hand. */
import { expect } from 'chai';
import { endsOf, lineOf, near, runTasks, taskOf } from '../support/tasks.js';

describe('guest kernel: round robin', () => {
  it('takes turns of 10 ms among tasks that share a VCPU', () => {
    const result = runTasks({ a: { loop: 1, run: 25_000 }, b: { loop: 1, run: 25_000 } });
    // a 0-10, b 10-20, a 20-30, b 30-40, a 40-45, b 45-50 ms.
    expect(near(endsOf(result, 'a-0'), [45_000])).to.equal(true);
    expect(near(endsOf(result, 'b-0'), [50_000])).to.equal(true);
  });

  it('shares evenly among three', () => {
    const result = runTasks({ a: { instance: 3, run: 1_000_000 } }, { ms: 900 });
    for (let n = 0; n < 3; n++) expect(taskOf(result, `a-${n}`).workNs).to.be.closeTo(300e6, 10e6);
  });

  it('does not interrupt a task that is alone', () => {
    const result = runTasks({ a: { loop: 1, run: 100_000 } });
    expect(near(endsOf(result, 'a-0'), [100_000])).to.equal(true);
    expect(result.domains[0]?.switches).to.be.at.most(2);
  });

  it('rotates SCHED_RR tasks and not SCHED_FIFO ones', () => {
    const pair = (policy: string): object => ({
      a: { loop: 1, policy, run: 25_000 },
      b: { loop: 1, policy, run: 25_000 },
    });
    const rr = runTasks(pair('SCHED_RR'));
    expect(near([...endsOf(rr, 'a-0'), ...endsOf(rr, 'b-0')], [45_000, 50_000])).to.equal(true);
    const fifo = runTasks(pair('SCHED_FIFO'));
    expect(near([...endsOf(fifo, 'a-0'), ...endsOf(fifo, 'b-0')], [25_000, 50_000])).to.equal(true);
  });
});

describe('guest kernel: real-time before others', () => {
  it('preempts an ordinary task when a FIFO task wakes', () => {
    const result = runTasks({
      ordinary: { loop: 1, run: 5000 },
      fifo: { loop: 1, delay: 1000, policy: 'SCHED_FIFO', run: 2000 },
    });
    expect(near(endsOf(result, 'fifo-0'), [3000])).to.equal(true);
    expect(near(endsOf(result, 'ordinary-0'), [7000])).to.equal(true);
  });

  it('runs the FIFO task of the highest priority', () => {
    const fifo = (priority: number, delay: number, run: number): object => ({
      ...{ loop: 1, policy: 'SCHED_FIFO', priority, delay, run },
    });
    const result = runTasks({ low: fifo(10, 0, 5000), high: fifo(20, 1000, 2000), middle: fifo(15, 1000, 1000) });
    expect(near(endsOf(result, 'high-0'), [3000])).to.equal(true);
    expect(near(endsOf(result, 'middle-0'), [4000])).to.equal(true);
    expect(near(endsOf(result, 'low-0'), [8000])).to.equal(true);
  });

  it('starves ordinary tasks while a FIFO task computes', () => {
    const result = runTasks({
      ordinary: { loop: 1, run: 1000 },
      fifo: { loop: 1, policy: 'SCHED_FIFO', run: 80_000 },
    });
    expect(near(endsOf(result, 'fifo-0'), [80_000])).to.equal(true);
    expect(near(endsOf(result, 'ordinary-0'), [81_000])).to.equal(true);
  });

  it('takes the default policy of the file', () => {
    const result = runTasks({ a: { loop: 1, run: 1000 } }, { global: { default_policy: 'SCHED_FIFO' } });
    expect(taskOf(result, 'a-0').policy).to.equal('SCHED_FIFO');
    expect(taskOf(result, 'a-0').priority).to.equal(10);
  });

  it('preempts on another VCPU as well', () => {
    const result = runTasks(
      {
        ordinary: { instance: 2, loop: 1, run: 20_000 },
        waker: { loop: 1, policy: 'SCHED_FIFO', cpus: [0], delay: 3000, run: 1000, resume: 'fifo' },
        fifo: { loop: 1, policy: 'SCHED_FIFO', cpus: [1], suspend: '', run: 2000 },
      },
      { vcpus: 2 },
    );
    expect(near(endsOf(result, 'fifo-0'), [6000], 25)).to.equal(true);
  });
});

describe('guest kernel: yield', () => {
  it('lets the next task of the VCPU run', () => {
    const result = runTasks({
      a: { loop: 3, run: 1000, yield: '' },
      b: { loop: 3, run: 1000, yield: '' },
    });
    expect(near(endsOf(result, 'a-0'), [2000, 4000, 6000], 1010)).to.equal(true);
    // The second task computes while the first one's iteration is not over: they alternate by milliseconds.
    expect(lineOf(result, 'b-0', 0).end).to.be.lessThan(lineOf(result, 'a-0', 1).end);
    expect(lineOf(result, 'a-0', 1).end).to.be.lessThan(lineOf(result, 'b-0', 2).end);
  });

  it('goes on when there is nobody else', () => {
    const result = runTasks({ a: { loop: 100, yield: '', run: 100 } });
    expect(endsOf(result, 'a-0').at(-1)).to.be.closeTo(10_000, 10);
  });
});

describe('guest kernel: several VCPUs', () => {
  it('spreads tasks over idle VCPUs', () => {
    const result = runTasks({ a: { instance: 4, loop: 1, run: 10_000 } }, { vcpus: 4 });
    for (let n = 0; n < 4; n++) expect(near(endsOf(result, `a-${n}`), [10_000], 20)).to.equal(true);
  });

  it('lets an idle VCPU pull work from a busy sibling', () => {
    // Two tasks a VCPU; those of VCPU 0 end at once, so it helps out.
    const result = runTasks({ a: { loop: 1, run: 100 }, b: { instance: 3, loop: 1, run: 30_000 } }, { vcpus: 2 });
    const last = Math.max(...[0, 1, 2].map((n) => lineOf(result, `b-${n}`, 0).end));
    expect(last).to.be.lessThan(52_000);
  });

  it('keeps a task on the CPUs of its mask', () => {
    const result = runTasks(
      { a: { loop: 1, run: 5000, cpus: [1] }, b: { loop: 1, run: 5000, cpus: [1] } },
      { vcpus: 2 },
    );
    // Both on VCPU 1, one after the other, although VCPU 0 idles.
    expect(near([...endsOf(result, 'a-0'), ...endsOf(result, 'b-0')], [5000, 10_000])).to.equal(true);
    expect(result.domains[0]?.vcpus[0]?.runstate.running).to.be.lessThan(1e6);
    expect(result.domains[0]?.vcpus[1]?.runstate.running).to.be.closeTo(10e6, 0.1e6);
  });

  it('moves a task when a phase has another mask', () => {
    const result = runTasks(
      { a: { loop: 1, phases: { p: { run: 5000, cpus: [1] }, q: { run: 3000, cpus: [0] } } } },
      { vcpus: 2 },
    );
    expect(near(endsOf(result, 'a-0'), [5000, 8000])).to.equal(true);
    expect(result.domains[0]?.vcpus[0]?.runstate.running).to.be.closeTo(3e6, 0.1e6);
    expect(result.domains[0]?.vcpus[1]?.runstate.running).to.be.closeTo(5e6, 0.1e6);
  });

  it('does the same in both widths of the guest interface', () => {
    const tasks = {
      a: { instance: 2, loop: 5, lock: 'm', run: 300, unlock: 'm', timer: { ref: 'unique', period: 2000 } },
      b: { loop: 5, run: 700, sleep: 300, resume: 'c' },
      c: { loop: 3, suspend: '', run: 200 },
    };
    const [narrow, wide] = ([32, 64] as const).map((abi) => runTasks(tasks, { vcpus: 3, ms: 50, guest: { abi } }));
    for (const name of ['a-0', 'a-1', 'b-0', 'c-0']) {
      expect(endsOf(narrow!, name), name).to.deep.equal(endsOf(wide!, name));
    }
  });

  it('works with more VCPUs than fit in the shared info page', () => {
    const result = runTasks({ a: { instance: 40, loop: 2, run: 1000, sleep: 1000 } }, { vcpus: 40, pcpus: 8 });
    for (let n = 0; n < 40; n++) expect(taskOf(result, `a-${n}`).loops).to.equal(2);
  });
});
