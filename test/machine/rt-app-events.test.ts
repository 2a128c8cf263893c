/** Memory, devices, semaphores and forks. All times are µs, by hand. */
import { expect } from 'chai';
import { endsOf, lineOf, near, runTasks, taskOf } from '../support/tasks.js';

describe('rt-app: mem and iorun', () => {
  it('takes the time of memory, or of a cache where the buffer fits, and no log calls it running', () => {
    const tasks = { a: { loop: 1, mem: 8_000_000 } };
    const line = lineOf(runTasks(tasks), 'a-0', 0);
    expect(near([line.period], [1000], 1)).to.equal(true);
    expect([line.run, line.perf, line.c_duration]).to.deep.equal([0, 0, 0]);
    const cached = runTasks(tasks, { global: { mem_buffer_size: 1_048_576 } });
    expect(near(endsOf(cached, 'a-0'), [250], 1)).to.equal(true);
  });

  it('takes a moment to write to /dev/null, and sleeps while a device writes', () => {
    const tasks = { a: { loop: 1, iorun: 100_000 }, b: { loop: 1, run: 200 } };
    expect(endsOf(runTasks(tasks), 'a-0')[0]).to.be.at.most(1);
    const device = runTasks(tasks, { global: { io_device: '/dev/sda' } });
    // 100 us until it begins, 0.5 bytes a ns; b runs meanwhile.
    expect(near([...endsOf(device, 'a-0'), ...endsOf(device, 'b-0')], [300, 200], 2)).to.equal(true);
    const pieces = runTasks(tasks, { global: { io_device: '/dev/sda', mem_buffer_size: 50_000 } });
    expect(near(endsOf(pieces, 'a-0'), [401], 2)).to.equal(true);
  });

  it('does nothing for no bytes', () => {
    expect(near(endsOf(runTasks({ a: { loop: 1, mem: 0, iorun: 0, run: 10 } }), 'a-0'), [10], 1)).to.equal(true);
  });
});

describe('rt-app: the loops of a log', () => {
  it('counts whole loops of the length that calibration gives', () => {
    const global = { calibration: 300 };
    expect(lineOf(runTasks({ a: { loop: 1, run: 1000, run1: 10 } }, { global }), 'a-0', 0).perf).to.equal(3333 + 33);
    // 32 pieces of 32 us.
    expect(lineOf(runTasks({ a: { loop: 1, runtime: 1000 } }, { global }), 'a-0', 0).perf).to.equal(32 * 106);
  });
});

describe('semaphores', () => {
  it('remember a post that nobody waited for, and let one through for each', () => {
    const result = runTasks(
      {
        producer: { loop: 1, sem_post: 's', run: 3000, sem_post1: 's' },
        consumer: { instance: 3, loop: 1, delay: 1000, sem_wait: 's', run: 100 },
      },
      { vcpus: 4, ms: 20 },
    );
    const ends = [0, 1, 2].flatMap((n) => endsOf(result, `consumer-${n}`)).sort((a, b) => a - b);
    expect(near(ends, [1100, 3100])).to.equal(true);
    const states = [0, 1, 2].map((n) => taskOf(result, `consumer-${n}`).state);
    expect(states.filter((state) => state === 'waiting')).to.have.length(1);
  });

  it('let waiters through in order of arrival', () => {
    const result = runTasks({
      a: { loop: 1, delay: 1000, sem_wait: 's', run: 1000 },
      b: { loop: 1, delay: 2000, sem_wait: 's', run: 1000 },
      p: { loop: 1, sleep: 5000, sem_post: 's', sem_post1: 's' },
    });
    expect(near([...endsOf(result, 'a-0'), ...endsOf(result, 'b-0')], [6000, 7000])).to.equal(true);
  });
});

describe('rt-app: fork', () => {
  const child = { instance: 0, loop: 1, run: 500 };

  it('starts one more task each time, with an index behind all others', () => {
    const result = runTasks({ parent: { loop: 3, run: 1000, fork: 'child' }, child }, { vcpus: 2 });
    expect(result.domains[0]?.tasks.map(({ name }) => name)).to.deep.equal([
      'parent-0',
      'child-0',
      'child-1',
      'child-2',
    ]);
    for (let n = 0; n < 3; n++) {
      const line = lineOf(result, `child-${n}`, 0);
      expect(line.idx).to.equal(1 + n);
      expect(near([line.start, line.end], [1000 * (n + 1), 1000 * (n + 1) + 500])).to.equal(true);
      expect(taskOf(result, `child-${n}`).forked).to.deep.equal({ index: 1 + n, number: n });
    }
    expect(result.domains[0]?.ended).to.equal('poweroff');
  });

  it('goes by the delay, the CPUs and the instances of the task that is forked', () => {
    const result = runTasks(
      { parent: { loop: 1, run: 1000, fork: 'child' }, child: { ...child, instance: 1, delay: 3000, cpus: [1] } },
      { vcpus: 2 },
    );
    expect(near([...endsOf(result, 'child-0'), ...endsOf(result, 'child-1')], [3500, 4500])).to.equal(true);
    expect(result.domains[0]?.vcpus[1]?.runstate.running).to.be.closeTo(1e6, 0.1e6);
  });

  it('lets forked tasks fork', () => {
    const result = runTasks({
      a: { loop: 1, fork: 'b' },
      b: { instance: 0, loop: 1, run: 100, fork: 'c', fork1: 'c' },
      c: { instance: 0, loop: 1, run: 100 },
    });
    expect(result.domains[0]?.tasks.map(({ name, loops }) => `${name} ${loops}`)).to.deep.equal([
      ...['a-0 1', 'b-0 1', 'c-0 1', 'c-1 1'],
    ]);
  });

  it('ends the domain where there are too many, as rt-app fails', () => {
    const result = runTasks({ bomb: { fork: 'bomb' } }, { ms: 100 });
    expect(result.domains[0]?.ended).to.equal('crash');
    expect(result.domains[0]?.console).to.contain('too many forks: there were 1024');
    expect(result.domains[0]?.tasks).to.have.length(1025);
  });
});
