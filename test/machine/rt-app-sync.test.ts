/** What tasks share: mutexes, conditions, barriers, suspension; and what a hypervisor's scheduling does to them. */
import { expect } from 'chai';
import { guest, hog } from '../support/in-process.js';
import { endsOf, lineOf, logOf, near, runTasks, taskOf } from '../support/tasks.js';

describe('rt-app: lock and unlock', () => {
  it('keeps the second out until the first has unlocked', () => {
    const result = runTasks(
      {
        a: { loop: 1, lock: 'm', run: 5000, unlock: 'm', run1: 4000 },
        b: { loop: 1, delay: 1000, lock: 'm', run: 3000, unlock: 'm' },
      },
      { vcpus: 2 },
    );
    expect(near(endsOf(result, 'a-0'), [9000])).to.equal(true);
    expect(near(endsOf(result, 'b-0'), [8000])).to.equal(true);
    expect(lineOf(result, 'b-0', 0).start).to.be.closeTo(1000, 5);
  });

  it('hands over in order of arrival', () => {
    const result = runTasks(
      {
        a: { loop: 1, lock: 'm', run: 5000, unlock: 'm' },
        second: { loop: 1, delay: 2000, lock: 'm', run: 3000, unlock: 'm' },
        first: { loop: 1, delay: 1000, lock: 'm', run: 1000, unlock: 'm' },
      },
      { vcpus: 3 },
    );
    expect(near(endsOf(result, 'first-0'), [6000])).to.equal(true);
    expect(near(endsOf(result, 'second-0'), [9000], 20)).to.equal(true);
  });

  it('works between tasks of one VCPU, where nobody could spin', () => {
    const result = runTasks({
      a: { loop: 1, lock: 'm', run: 1000, sleep: 4000, unlock: 'm' },
      b: { loop: 1, lock: 'm', run: 1000, unlock: 'm' },
    });
    expect(near(endsOf(result, 'a-0'), [5000])).to.equal(true);
    expect(near(endsOf(result, 'b-0'), [6000])).to.equal(true);
  });

  it('does not mind an unlock of what is not owned', () => {
    const result = runTasks({ a: { loop: 1, unlock: 'm', run: 1000 } });
    expect(taskOf(result, 'a-0').state).to.equal('exited');
  });

  it('keeps different mutexes apart', () => {
    const result = runTasks(
      { a: { loop: 1, lock: 'm', run: 5000, unlock: 'm' }, b: { loop: 1, lock: 'n', run: 5000, unlock: 'n' } },
      { vcpus: 2 },
    );
    expect(near([...endsOf(result, 'a-0'), ...endsOf(result, 'b-0')], [5000, 5000])).to.equal(true);
  });
});

describe('rt-app: wait, signal, broad, sync', () => {
  const waiter = { lock: 'm', wait: { ref: 'c', mutex: 'm' }, unlock: 'm', run: 1000 };

  it('gives the mutex back while waiting, and takes it again before going on', () => {
    const result = runTasks(
      {
        consumer: { loop: 1, lock: 'm', wait: { ref: 'c', mutex: 'm' }, run: 100, unlock: 'm' },
        producer: { loop: 1, run: 4000, lock: 'm', signal: 'c', run1: 1000, unlock: 'm' },
      },
      { vcpus: 2 },
    );
    // Signalled at 4000, but the mutex is free only at 5000.
    expect(near(endsOf(result, 'producer-0'), [5000])).to.equal(true);
    expect(near(endsOf(result, 'consumer-0'), [5100])).to.equal(true);
  });

  it('wakes one waiter by signal', () => {
    const result = runTasks(
      { c: { instance: 3, loop: 1, ...waiter }, p: { loop: 1, run: 4000, signal: 'c' } },
      { vcpus: 4, ms: 50 },
    );
    const states = [0, 1, 2].map((n) => taskOf(result, `c-${n}`).state);
    expect(states.filter((state) => state === 'exited')).to.have.length(1);
    expect(states.filter((state) => state === 'waiting')).to.have.length(2);
    expect(result.domains[0]?.ended).to.equal(undefined);
  });

  it('wakes all waiters by broad', () => {
    const result = runTasks(
      { c: { instance: 3, loop: 1, ...waiter }, p: { loop: 1, run: 4000, broad: 'c' } },
      { vcpus: 4, ms: 50 },
    );
    for (let n = 0; n < 3; n++) expect(near(endsOf(result, `c-${n}`), [5000], 25), `c-${n}`).to.equal(true);
  });

  it('forgets a signal that nobody waits for', () => {
    const result = runTasks(
      { p: { loop: 1, signal: 'c', run: 100 }, c: { loop: 1, delay: 2000, ...waiter } },
      { vcpus: 2, ms: 50 },
    );
    expect(taskOf(result, 'c-0').state).to.equal('waiting');
  });

  it('plays ping-pong by sync: signal, then wait', () => {
    const side = { lock: 'm', run: 1000, sync: { ref: 'c', mutex: 'm' }, unlock: 'm' };
    const result = runTasks({ ping: { loop: 4, ...side }, pong: { loop: 4, ...side } }, { vcpus: 2, ms: 50 });
    const all = [...endsOf(result, 'ping-0'), ...endsOf(result, 'pong-0')].sort((a, b) => a - b);
    // Only ever one of them computes, 1 ms each in turn; the last one waits for ever.
    expect(all.length).to.be.within(6, 7);
    expect(
      near(
        all,
        all.map((_, k) => 1000 * (k + 2)),
        60,
      ),
    ).to.equal(true);
  });
});

describe('rt-app: barrier', () => {
  it('lets nobody through before all have come, every round', () => {
    const result = runTasks(
      { fast: { loop: 3, run: 1000, barrier: 'b' }, slow: { loop: 3, run: 3000, barrier: 'b' } },
      { vcpus: 2 },
    );
    expect(near(endsOf(result, 'fast-0'), [3000, 6000, 9000], 20)).to.equal(true);
    expect(near(endsOf(result, 'slow-0'), [3000, 6000, 9000], 20)).to.equal(true);
  });

  it('counts every instance that names it', () => {
    const result = runTasks(
      {
        many: { instance: 3, loop: 1, run: 1000, barrier: 'b' },
        late: { loop: 1, delay: 7000, run: 1000, barrier: 'b' },
      },
      { vcpus: 4 },
    );
    for (let n = 0; n < 3; n++) expect(near(endsOf(result, `many-${n}`), [8000], 20)).to.equal(true);
  });

  it('works with fewer VCPUs than tasks', () => {
    const result = runTasks({ a: { instance: 4, loop: 2, run: 1000, barrier: 'b' } }, { vcpus: 1 });
    const last = [0, 1, 2, 3].map((n) => lineOf(result, `a-${n}`, 1).end);
    // Eight pieces of work on one VCPU.
    expect(Math.max(...last)).to.be.closeTo(8000, 20);
  });
});

describe('rt-app: suspend and resume', () => {
  it('stops a task until it is resumed by name', () => {
    const result = runTasks(
      { sleeper: { loop: 2, suspend: '', run: 1000 }, waker: { loop: 2, run: 5000, resume: 'sleeper' } },
      { vcpus: 2 },
    );
    expect(near(endsOf(result, 'sleeper-0'), [6000, 11_000], 20)).to.equal(true);
  });

  it('does not remember a resume that came too early', () => {
    const result = runTasks(
      { waker: { loop: 1, resume: 'sleeper', run: 100 }, sleeper: { loop: 1, delay: 3000, suspend: '', run: 1000 } },
      { vcpus: 2, ms: 50 },
    );
    expect(taskOf(result, 'sleeper-0').state).to.equal('waiting');
  });
});

describe('lock-holder preemption', () => {
  /** Two VCPUs of a domain share a lock; the holder computes 1 ms in its critical section. */
  const tasks = {
    a: { lock: 'm', run: 1000, unlock: 'm', run1: 500 },
    b: { lock: 'm', run: 1000, unlock: 'm', run1: 500 },
  };

  /** Longest time from wanting the lock to having used it, µs. */
  function longestWait(hogs: number): number {
    const others = Array.from({ length: hogs }, (_, k) => guest({ name: `hog-${k}`, workload: hog() }));
    const result = runTasks(tasks, { vcpus: 2, pcpus: 2, ms: 3000, others });
    return Math.max(...['a-0', 'b-0'].flatMap((name) => logOf(result, name).map(({ period }) => period)));
  }

  it('makes a waiter wait for a holder that is not even running', () => {
    // Alone: its own 1.5 ms and at most the other's critical section.
    expect(longestWait(0)).to.be.lessThan(3000);
    // With hogs on both pCPUs the holder loses its pCPU for a timeslice inside the section.
    expect(longestWait(2)).to.be.greaterThan(20_000);
  });

  it('does not lose a round of the lock by it', () => {
    const result = runTasks(tasks, { vcpus: 2, pcpus: 1, ms: 3000, others: [guest({ name: 'hog', workload: hog() })] });
    const [a, b] = ['a-0', 'b-0'].map((name) => taskOf(result, name).loops);
    expect(a).to.be.greaterThan(500);
    expect(Math.abs((a ?? 0) - (b ?? 0))).to.be.lessThan(0.2 * (a ?? 0));
  });
});
