/** Scheduling classes of the guest kernel: shares by nice, deadlines with budgets, real-time queues, inheritance. Times in µs, by hand. */
import { expect } from 'chai';
import { guest, hog } from '../support/in-process.js';
import { endsOf, lineOf, logOf, near, runTasks, taskOf } from '../support/tasks.js';

const WORK = 1_000_000;

describe('guest kernel: nice values', () => {
  /** Part of a second each task got that shares a VCPU with the others. */
  function shares(tasks: Readonly<Record<string, object>>): number[] {
    const result = runTasks(
      Object.fromEntries(Object.entries(tasks).map(([name, task]) => [name, { run: WORK, ...task }])),
    );
    return Object.keys(tasks).map((name) => taskOf(result, `${name}-0`).workNs / 1e9);
  }

  it('share a VCPU by weight, a step of nice being a factor of 1.25', () => {
    const [a, b] = shares({ a: {}, b: { priority: 5 } });
    const weight = 1.25 ** -5;
    expect(a).to.be.closeTo(1 / (1 + weight), 0.01);
    expect(b).to.be.closeTo(weight / (1 + weight), 0.01);
  });

  it('leave SCHED_IDLE what hardly counts', () => {
    const [a, idle] = shares({ a: {}, idle: { policy: 'SCHED_IDLE' } });
    expect(a).to.be.greaterThan(0.99);
    expect(idle).to.be.within(0.001, 0.01);
  });

  it('share among three, and on two VCPUs', () => {
    const [a, b, c] = shares({ a: { priority: -3 }, b: {}, c: { priority: 3 } });
    const total = 1.25 ** 3 + 1 + 1.25 ** -3;
    expect(a).to.be.closeTo(1.25 ** 3 / total, 0.01);
    expect(b).to.be.closeTo(1 / total, 0.01);
    expect(c).to.be.closeTo(1.25 ** -3 / total, 0.01);
    const pinned = { priority: 5, cpus: [1], run: WORK };
    const result = runTasks({ a: { cpus: [0], run: WORK }, b: pinned, c: { ...pinned, priority: 0 } }, { vcpus: 2 });
    expect(taskOf(result, 'a-0').workNs).to.be.closeTo(1e9, 15e6);
    expect(taskOf(result, 'b-0').workNs).to.be.closeTo((1e9 * 1.25 ** -5) / (1 + 1.25 ** -5), 10e6);
  });

  it('let a task that woke run before the end of a turn, and no task grow rich in its sleep', () => {
    const beat = { priority: -10, run: 100, timer: { ref: 'unique', period: 20_000 } };
    const result = runTasks({ hog: { run: WORK }, beat });
    expect(logOf(result, 'beat-0')).to.have.length.greaterThan(45);
    for (const { wu_lat } of logOf(result, 'beat-0')) expect(wu_lat).to.be.at.most(5);
    // 400 ms asleep; then it shares from the first moment on.
    const late = runTasks({ hog: { run: WORK }, late: { delay: 400_000, priority: 1, run: WORK } });
    expect(taskOf(late, 'late-0').workNs).to.be.closeTo(600e6 / 2.25, 10e6);
  });

  it('take turns by the tick where all have the same', () => {
    const result = runTasks({ a: { loop: 1, run: 25_000 }, b: { loop: 1, run: 25_000 } });
    expect(near([...endsOf(result, 'a-0'), ...endsOf(result, 'b-0')], [45_000, 50_000])).to.equal(true);
  });
});

describe('guest kernel: SCHED_DEADLINE', () => {
  const deadline = (runtime: number, period: number, more: object): object => ({
    ...{ policy: 'SCHED_DEADLINE', 'dl-runtime': runtime, 'dl-period': period },
    ...more,
  });

  it('gets its runtime in every period, before all others, and no more even when alone', () => {
    for (const others of [{}, { fifo: { policy: 'SCHED_FIFO', run: WORK }, other: { run: WORK } }]) {
      const result = runTasks({ d: deadline(2000, 10_000, { run: WORK }), ...others });
      expect(taskOf(result, 'd-0').workNs).to.be.closeTo(200e6, 0.1e6);
    }
  });

  it('runs the earliest deadline first', () => {
    const result = runTasks({
      far: deadline(5000, 30_000, { loop: 1, run: 5000 }),
      near: deadline(2000, 10_000, { loop: 1, delay: 1000, run: 2000 }),
      middle: deadline(1000, 15_000, { loop: 1, delay: 1000, run: 1000 }),
    });
    expect(near(endsOf(result, 'near-0'), [3000])).to.equal(true);
    expect(near(endsOf(result, 'middle-0'), [4000])).to.equal(true);
    expect(near(endsOf(result, 'far-0'), [8000])).to.equal(true);
  });

  it('keeps three tasks that use up 95 % of a CPU within their deadlines', () => {
    const task = (runtime: number, period: number): object =>
      deadline(runtime, period, { phases: { p: { loop: -1, run: runtime, timer: { ref: 'unique', period } } } });
    const result = runTasks({ a: task(2000, 10_000), b: task(6000, 15_000), c: task(10_500, 30_000) });
    for (const name of ['a-0', 'b-0', 'c-0']) {
      expect(logOf(result, name).length, name).to.be.greaterThan(30);
      for (const { slack } of logOf(result, name)) expect(slack, name).to.be.at.least(0);
    }
  });

  it('goes on in the next period when a piece of work is longer than its runtime', () => {
    const result = runTasks({ d: deadline(3000, 10_000, { loop: 1, run: 7000 }) });
    // 3 ms in each of two periods, 1 ms in the third.
    expect(near(endsOf(result, 'd-0'), [21_000])).to.equal(true);
  });

  it('gives up the rest of a period by yield', () => {
    const result = runTasks({ d: deadline(5000, 10_000, { loop: 2, run: 1000, yield: '' }) });
    expect(near(endsOf(result, 'd-0'), [10_000, 20_000])).to.equal(true);
  });

  it('counts the time that the task ran, not the time its VCPU waited', () => {
    const result = runTasks(
      { d: deadline(4000, 100_000, { run: WORK }) },
      { ms: 2000, others: [guest({ name: 'hog', workload: hog() })] },
    );
    expect(taskOf(result, 'd-0').workNs).to.be.within(76e6, 80.1e6);
  });
});

describe('guest kernel: real-time queues', () => {
  it('put a task that was preempted before its equals', () => {
    const fifo = (priority: number, delay: number, run: number): object => ({
      ...{ loop: 1, policy: 'SCHED_FIFO', priority, delay, run },
    });
    const result = runTasks({ first: fifo(10, 0, 5000), second: fifo(10, 1000, 3000), high: fifo(20, 2000, 1000) });
    expect(near(endsOf(result, 'first-0'), [6000])).to.equal(true);
    expect(near(endsOf(result, 'second-0'), [9000])).to.equal(true);
  });

  it('change with the policy that a phase sets, which holds until another does', () => {
    const result = runTasks({
      a: {
        loop: 1,
        phases: {
          p: { policy: 'SCHED_FIFO', run: 25_000 },
          q: { run: 10_000 },
          r: { policy: 'SCHED_OTHER', run: 4000 },
        },
      },
      b: { loop: 1, run: 5000 },
    });
    // b is not let in before a is an ordinary task again, and then at the tick of 40 ms.
    expect(near(endsOf(result, 'a-0'), [25_000, 35_000, 39_000])).to.equal(true);
    expect(near(endsOf(result, 'b-0'), [44_000])).to.equal(true);
  });
});

describe('guest kernel: yield to other domains', () => {
  const yields = (tasks: object): number =>
    runTasks(tasks, { others: [guest({ name: 'hog', workload: hog() })], ms: 500 }).perfc.vcpu_yield ?? 0;

  it('is a hypercall when no other task could run', () => {
    expect(yields({ a: { loop: 5, run: 100, yield: '' } })).to.equal(5);
  });

  it('is none when another task can', () => {
    expect(yields({ a: { run: 100, yield: '' }, b: { run: 100, yield: '' } })).to.equal(0);
  });
});

describe('guest kernel: priority inheritance', () => {
  const fifo = (priority: number, delay: number, events: object): object => ({
    ...{ loop: 1, policy: 'SCHED_FIFO', priority, delay },
    ...events,
  });
  const tasks = {
    low: fifo(1, 0, { lock: 'm', run: 5000, unlock: 'm', run1: 100 }),
    middle: fifo(10, 1000, { run: 10_000 }),
    high: fifo(20, 2000, { lock: 'm', run: 1000, unlock: 'm' }),
  };
  const inherits = { pi_enabled: true };

  it('is not there unless asked for: a middle task keeps a high one waiting', () => {
    const result = runTasks(tasks);
    expect(near(endsOf(result, 'middle-0'), [11_000])).to.equal(true);
    expect(near(endsOf(result, 'high-0'), [16_000])).to.equal(true);
  });

  it('lets the holder run by the priority of who waits, and no longer than it holds', () => {
    const result = runTasks(tasks, { global: inherits });
    expect(near(endsOf(result, 'high-0'), [7000])).to.equal(true);
    expect(near(endsOf(result, 'middle-0'), [16_000])).to.equal(true);
    expect(near(endsOf(result, 'low-0'), [16_100])).to.equal(true);
  });

  it('goes through a task that itself waits', () => {
    const result = runTasks(
      {
        low: fifo(1, 0, { lock: 'm', run: 5000, unlock: 'm' }),
        between: fifo(2, 1000, { lock: 'n', lock1: 'm', run: 1000, unlock: 'm', unlock1: 'n' }),
        middle: fifo(10, 2000, { run: 10_000 }),
        high: fifo(20, 3000, { lock: 'n', run: 1000, unlock: 'n' }),
      },
      { global: inherits },
    );
    // low 0-2, middle 2-3; then low to 6, between to 7, high to 8, and middle the rest.
    expect(near(endsOf(result, 'high-0'), [8000])).to.equal(true);
    expect(near(endsOf(result, 'middle-0'), [17_000])).to.equal(true);
  });

  it('wakes the most urgent waiter first', () => {
    const waiter = { lock: 'm', run: 1000, unlock: 'm' };
    const all = {
      holder: fifo(30, 0, { lock: 'm', run: 1000, sleep: 4000, unlock: 'm' }),
      first: fifo(5, 2000, waiter),
      second: fifo(6, 3000, waiter),
    };
    expect(near(endsOf(runTasks(all, { global: inherits }), 'second-0'), [6000])).to.equal(true);
    expect(near(endsOf(runTasks(all), 'second-0'), [7000])).to.equal(true);
  });

  it('lends a deadline, too', () => {
    const result = runTasks(
      {
        low: { loop: 1, lock: 'm', run: 5000, unlock: 'm' },
        fifo: fifo(50, 1000, { run: 10_000 }),
        d: {
          ...{ loop: 1, policy: 'SCHED_DEADLINE', 'dl-runtime': 2000, 'dl-period': 20_000 },
          ...{ delay: 2000, lock: 'm', run: 1000, unlock: 'm' },
        },
      },
      { global: inherits },
    );
    expect(near(endsOf(result, 'd-0'), [7000])).to.equal(true);
    expect(lineOf(result, 'fifo-0', 0).end).to.be.closeTo(16_000, 10);
  });
});
