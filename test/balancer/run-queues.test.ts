import { expect } from 'chai';
import fc from 'fast-check';
import { makeQueues } from './queues.js';

const pri = fc.constantFrom(0, -1, -2);

describe('a run queue', () => {
  it('keeps arrivals in order of priority, first come first served within one', () => {
    fc.assert(
      fc.property(fc.array(pri, { maxLength: 20 }), (priorities) => {
        const queues = makeQueues(2, 20);
        for (const [v, p] of priorities.entries()) queues.enqueue(v, 1, p);
        const model = priorities.map((p, v) => ({ p, v })).sort((a, b) => b.p - a.p || a.v - b.v);
        expect(queues.queue(1)).to.deep.equal(model.map((m) => m.v));
        expect(queues.queue(0)).to.deep.equal([]);
      }),
    );
  });

  it('puts a yielder behind one VCPU of lower priority', () => {
    const queues = makeQueues(1, 5);
    for (const [v, p] of [-1, -1, -2, -2].entries()) queues.enqueue(v, 0, p);
    queues.entry.setYielded(4, 1);
    queues.enqueue(4, 0, -1);
    expect(queues.queue(0)).to.deep.equal([0, 1, 2, 4, 3]);
  });

  it('puts a yielder at the end when nobody is of lower priority', () => {
    const queues = makeQueues(1, 3);
    for (const v of [0, 1]) queues.enqueue(v, 0, -1);
    queues.entry.setYielded(2, 1);
    queues.enqueue(2, 0, -1);
    expect(queues.queue(0)).to.deep.equal([0, 1, 2]);
  });

  it('sorts stably whatever the priorities have become', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(pri, pri), { maxLength: 20 }), (changes) => {
        const queues = makeQueues(1, 20);
        for (const [v, [before]] of changes.entries()) queues.enqueue(v, 0, before);
        const order = queues.queue(0);
        for (const [v, [, after]] of changes.entries()) queues.entry.setPri(v, after);
        queues.sort(0);
        // Array.prototype.sort is stable.
        expect(queues.queue(0)).to.deep.equal(order.sort((a, b) => changes[b]![1] - changes[a]![1]));
      }),
      { numRuns: 300 },
    );
  });

  it('gives up any VCPU that is removed, and says so', () => {
    const queues = makeQueues(1, 3);
    for (const v of [0, 1, 2]) queues.enqueue(v, 0, -1);
    expect(queues.isQueued(1)).to.equal(true);
    queues.remove(1);
    expect(queues.isQueued(1)).to.equal(false);
    expect(queues.queue(0)).to.deep.equal([0, 2]);
  });

  it('is overloaded exactly while more than one VCPU is runnable there', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(2), fc.boolean()), { maxLength: 40 }), (changes) => {
        const queues = makeQueues(3, 1);
        const model = [0, 0, 0];
        for (const [p, up] of changes) {
          if (!up && model[p] === 0) continue;
          model[p]! += up ? 1 : -1;
          queues.addRunnable(p, up ? 1 : -1);
          for (let q = 0; q < 3; q++) {
            expect(queues.runq.nrRunnable(q)).to.equal(model[q]);
            expect(queues.masks.has(queues.overloaded(q), q)).to.equal(model[q]! > 1);
          }
        }
      }),
    );
  });
});
