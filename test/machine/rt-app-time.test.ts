/** What rt-app's events do with time: work, sleep, timers, phases, and the log of them. All times are µs, by hand. */
import { expect } from 'chai';
import { guest, hog, workload } from '../support/in-process.js';
import { endsOf, lineOf, logOf, near, runTasks, SLACK_US, taskOf } from '../support/tasks.js';

describe('rt-app: run and sleep', () => {
  it('computes for as long as run says, and sleeps in between', () => {
    const result = runTasks({ a: { loop: 3, run: 1000, sleep: 2000 } });
    expect(near(endsOf(result, 'a-0'), [3000, 6000, 9000])).to.equal(true);
    expect(taskOf(result, 'a-0').workNs).to.equal(3e6);
    expect(taskOf(result, 'a-0').loops).to.equal(3);
    expect(taskOf(result, 'a-0').state).to.equal('exited');
  });

  it('starts the sleep when it is reached, so a period of run and sleep drifts with the load', () => {
    const result = runTasks({ a: { loop: 2, run: 1000, sleep: 2000 }, b: { loop: 1, run: 5000 } });
    // a, b (5000 in one piece, shorter than a slice), then a again as soon as the VCPU is free.
    expect(near(endsOf(result, 'a-0'), [6000, 9000])).to.equal(true);
  });

  it('takes no time for work and sleep of 0', () => {
    const result = runTasks({ a: { loop: 5, run: 0, sleep: 0, run1: 100 } });
    expect(near(endsOf(result, 'a-0'), [100, 200, 300, 400, 500])).to.equal(true);
  });

  it('stretches run by the time others have the pCPU', () => {
    const result = runTasks({ a: { loop: 1, run: 60_000 } }, { others: [guest({ name: 'hog', workload: hog() })] });
    const [end] = endsOf(result, 'a-0');
    // Two equal VCPUs: 60 ms of work need three turns of at most 30 ms, with the other's in between.
    expect(end).to.be.within(90_000, 130_000);
    expect(taskOf(result, 'a-0').workNs).to.equal(60e6);
  });

  it('ends a domain whose tasks have all ended', () => {
    const result = runTasks({ a: { loop: 1, run: 1000 } });
    expect(result.domains[0]?.ended).to.equal('poweroff');
    expect(result.outcome).to.equal('idle');
  });

  it('ends the use case after its duration, whatever the tasks are doing', () => {
    const result = runTasks({ a: { run: 700, sleep: 300 } }, { ms: 5000, global: { duration: 2 } });
    expect(result.domains[0]?.ended).to.equal('poweroff');
    expect(taskOf(result, 'a-0').loops).to.be.within(1998, 2000);
  });
});

describe('rt-app: runtime', () => {
  it('runs in pieces of 32 us until the time is over', () => {
    const result = runTasks({ a: { loop: 1, runtime: 1000 } });
    // 31 pieces are 992 us: one more.
    expect(near(endsOf(result, 'a-0'), [1024], 1)).to.equal(true);
  });

  it('counts the time in which others ran', () => {
    const result = runTasks({ a: { loop: 1, runtime: 20_000 }, b: { loop: 1, run: 30_000 } });
    // a 0-10 ms, b 10-20 ms, then a finds its time over up to a piece, and b has the rest.
    const [a] = endsOf(result, 'a-0');
    const [b] = endsOf(result, 'b-0');
    expect(a).to.be.within(20_000, 20_000 + 64);
    expect(b).to.be.within(40_000, 40_000 + 100);
    expect(taskOf(result, 'a-0').workNs).to.be.within(10e6, 10.1e6);
  });
});

describe('rt-app: timer', () => {
  it('wakes at multiples of the period, not after it', () => {
    const result = runTasks({ a: { loop: 4, run: 1000, timer: { ref: 't', period: 5000 } } });
    expect(near(endsOf(result, 'a-0'), [5000, 10_000, 15_000, 20_000])).to.equal(true);
    for (const line of logOf(result, 'a-0')) expect(line.slack).to.be.closeTo(4000, SLACK_US);
  });

  const late = (mode: object): object => ({
    a: {
      loop: 2,
      phases: {
        long: { run: 7000, timer: { ref: 't', period: 5000, ...mode } },
        short: { run: 1000, timer: { ref: 't', period: 5000, ...mode } },
      },
    },
  });

  it('begins a new raster when it was missed and is relative', () => {
    const result = runTasks(late({}));
    // Missed at 5000; new raster from 7000: next at 12000, missed at 17000, new one from 19000.
    expect(near(endsOf(result, 'a-0'), [7000, 12_000, 19_000, 24_000])).to.equal(true);
    expect(logOf(result, 'a-0').map(({ slack }) => Math.round(slack / 100) * 100)).to.deep.equal([
      -2000, 4000, -2000, 4000,
    ]);
  });

  it('keeps its raster when it was missed and is absolute', () => {
    const result = runTasks(late({ mode: 'absolute' }));
    expect(near(endsOf(result, 'a-0'), [7000, 10_000, 17_000, 20_000])).to.equal(true);
  });

  it('shares a named timer between tasks, and not one called unique', () => {
    // One raster for both: whoever comes second finds the next period, so each wakes at every other one.
    const shared = runTasks({ a: { instance: 2, loop: 2, run: 100, timer: { ref: 't', period: 5000 } } }, { vcpus: 2 });
    const ends = [...endsOf(shared, 'a-0'), ...endsOf(shared, 'a-1')].sort((x, y) => x - y);
    expect(near(ends, [5000, 10_000, 15_000, 20_000])).to.equal(true);
    const own = runTasks(
      { a: { instance: 2, loop: 2, run: 100, timer: { ref: 'unique', period: 5000 } } },
      { vcpus: 2 },
    );
    expect(near(endsOf(own, 'a-0'), [5000, 10_000])).to.equal(true);
    expect(near(endsOf(own, 'a-1'), [5000, 10_000])).to.equal(true);
  });

  it('keeps every timer of a domain alive while its VCPUs wait for pCPUs', () => {
    // A timer event of one VCPU, pending while a sibling takes an upcall, must still be there when the VCPU runs.
    const tasks = {
      worker: { instance: 2, run: 10_000 },
      beat: { instance: 4, run: 150, timer: { ref: 'unique', period: 5000 } },
      session: { phases: { think: { sleep: 37_000 }, click: { loop: 2, run: 800, sleep: 1200 } } },
    };
    const hogs = guest({ name: 'hog', vcpus: 4, workload: workload({ hog: { instance: 4, run: 1_000_000 } }) });
    const result = runTasks(tasks, { vcpus: 4, pcpus: 4, ms: 2000, others: [hogs] });
    for (let n = 0; n < 4; n++) expect(taskOf(result, `beat-${n}`).loops, `beat-${n}`).to.be.greaterThan(200);
  });

  it('says how late a timer woke the task', () => {
    const result = runTasks({
      a: { loop: 2, run: 1000, timer: { ref: 't', period: 5000 } },
      b: { loop: 1, policy: 'SCHED_FIFO', run: 7000 },
    });
    // b first, a from 7 ms on, its timer missed; the second one is met.
    expect(lineOf(result, 'a-0', 0).wu_lat).to.equal(0);
    const kept = runTasks({ a: { loop: 3, run: 1000, timer: { ref: 't', period: 5000 } } });
    for (const { wu_lat } of logOf(kept, 'a-0')) expect(wu_lat).to.be.within(0, SLACK_US);
  });
});

describe('rt-app: phases, loops, instances, delay', () => {
  it('runs phases in order, each as often as its loop says, and all of it as often as the task says', () => {
    const result = runTasks({ a: { loop: 2, phases: { p: { loop: 2, run: 1000 }, q: { run: 3000, sleep: 1000 } } } });
    expect(near(endsOf(result, 'a-0'), [1000, 2000, 6000, 7000, 8000, 12_000])).to.equal(true);
    expect(taskOf(result, 'a-0').loops).to.equal(6);
  });

  it('repeats a phase with loop -1 for ever', () => {
    const result = runTasks({ a: { phases: { p: { run: 500 }, q: { loop: -1, run: 1000 } } } }, { ms: 100 });
    expect(taskOf(result, 'a-0').state).to.equal('runnable');
    expect(taskOf(result, 'a-0').loops).to.be.within(99, 100);
  });

  it('repeats duplicate event keys in their order', () => {
    const result = runTasks({ a: { loop: 1, run: 1000, sleep: 500, run1: 2000, sleep1: 250 } });
    expect(near(endsOf(result, 'a-0'), [3750])).to.equal(true);
  });

  it('makes instances, each with a number, and delays them all', () => {
    const result = runTasks({ a: { instance: 3, delay: 5000, loop: 1, run: 1000 } }, { vcpus: 3 });
    for (let n = 0; n < 3; n++) {
      expect(lineOf(result, `a-${n}`, 0).idx).to.equal(n);
      expect(near([lineOf(result, `a-${n}`, 0).start, lineOf(result, `a-${n}`, 0).end], [5000, 6000])).to.equal(true);
    }
  });
});

describe('rt-app: log columns', () => {
  it('adds up what was configured and what was measured in a phase', () => {
    const result = runTasks({
      a: { loop: 2, delay: 2000, run: 1000, sleep: 500, run1: 2000, timer: { ref: 't', period: 8000 } },
    });
    const line = lineOf(result, 'a-0', 1);
    expect(line.c_duration).to.equal(3000);
    expect(line.c_period).to.equal(8000);
    expect(near([line.run, line.period, line.slack], [3000, 8000, 4500])).to.equal(true);
    expect(near([line.start, line.end, line.rel_st], [10_000, 18_000, 10_000])).to.equal(true);
    // 1 loop of work = 1 us.
    expect(line.perf).to.be.closeTo(3000, 1);
  });

  it('has the run time grow with preemption, and the work not', () => {
    const result = runTasks({
      o: { loop: 1, run: 5000 },
      f: { loop: 1, delay: 1000, policy: 'SCHED_FIFO', run: 2000 },
    });
    const line = lineOf(result, 'o-0', 0);
    expect(near([line.run, line.perf], [7000, 5000])).to.equal(true);
  });

  it('sums the slack of several timers only where cumulative_slack says so', () => {
    const tasks = {
      a: { loop: 1, run: 1000, timer: { ref: 't', period: 5000 }, run1: 2000, timer1: { ref: 't', period: 5000 } },
    };
    expect(lineOf(runTasks(tasks), 'a-0', 0).slack).to.be.closeTo(3000, SLACK_US);
    expect(lineOf(runTasks(tasks, { global: { cumulative_slack: true } }), 'a-0', 0).slack).to.be.closeTo(
      7000,
      SLACK_US,
    );
  });

  it('keeps the newest lines when there are more than asked for', () => {
    const result = runTasks({ a: { loop: 10, run: 1000 } }, { machine: { taskLogLines: 3 } });
    expect(near(endsOf(result, 'a-0'), [8000, 9000, 10_000])).to.equal(true);
  });
});
