import { expect } from 'chai';
import fc from 'fast-check';
import { pickCpu } from '../../src/balancer/pick-cpu.js';
import { flatTopology } from '../../src/balancer/topology.js';
import { makeQueues } from './queues.js';

const PCPUS = 5;
const V = 0;

interface Case {
  readonly at: number;
  readonly hard: readonly number[];
  readonly soft: readonly number[] | undefined;
  readonly idle: readonly number[];
  /** pCPUs in whose queue somebody waits. */
  readonly busy: readonly number[];
}

const some = fc.uniqueArray(fc.nat(PCPUS - 1), { minLength: 1, maxLength: PCPUS });
const any = fc.uniqueArray(fc.nat(PCPUS - 1), { maxLength: PCPUS });
const cases: fc.Arbitrary<Case> = fc
  .record({ at: fc.nat(PCPUS - 1), hard: some, soft: fc.option(some, { nil: undefined }), idle: any, busy: any })
  // A soft affinity that is in force overlaps the hard one, and who is idle has nobody waiting.
  .map((c) => {
    const soft = c.soft?.filter((p) => c.hard.includes(p));
    return { ...c, soft: soft?.length ? soft : undefined, busy: c.busy.filter((p) => !c.idle.includes(p)) };
  });

function pick({ at, hard, soft, idle, busy }: Case): number {
  const queues = makeQueues(PCPUS, 1 + PCPUS);
  for (const p of busy) queues.enqueue(1 + p, p, -1);
  for (const p of idle) queues.setIdle(p);
  queues.setAffinity(V, hard, soft);
  queues.entry.setProcessor(V, at);
  return pickCpu(queues, flatTopology(PCPUS), false).look(V);
}

const free = (c: Case, p: number): boolean => c.idle.includes(p) || !c.busy.includes(p);

describe('the choice of a pCPU', () => {
  const base: Case = { at: 2, hard: [0, 1, 2, 3, 4], soft: undefined, idle: [], busy: [2] };

  it('leaves a VCPU where nobody else waits', () => {
    expect(pick({ ...base, idle: [0, 1], busy: [] })).to.equal(2);
  });

  it('takes the next idle pCPU after its own', () => {
    expect(pick({ ...base, idle: [0, 1, 4] })).to.equal(4);
    expect(pick({ ...base, idle: [0, 1] })).to.equal(0);
  });

  it('stays when nobody is idle', () => {
    expect(pick(base)).to.equal(2);
  });

  it('leaves a pCPU that it may not use', () => {
    expect(pick({ ...base, hard: [0, 4] })).to.equal(4);
    expect(pick({ ...base, hard: [0, 4], idle: [0, 4] })).to.equal(4);
  });

  it('prefers an idle pCPU of its soft affinity to a nearer one', () => {
    expect(pick({ ...base, soft: [1], idle: [3, 1] })).to.equal(1);
  });

  it('looks beyond a soft affinity that has nothing free', () => {
    expect(pick({ ...base, soft: [1, 2], idle: [3], busy: [1, 2] })).to.equal(3);
  });

  it('never leaves the hard affinity', () => {
    fc.assert(
      fc.property(cases, (c) => {
        expect(pick(c)).to.be.oneOf([...c.hard]);
      }),
      { numRuns: 500 },
    );
  });

  it('takes an idle pCPU of the affinity whenever it leaves its own for want of room', () => {
    fc.assert(
      fc.property(cases, (c) => {
        const p = pick(c);
        if (p === c.at || !c.hard.includes(c.at)) return;
        expect(free(c, p)).to.equal(true);
      }),
      { numRuns: 500 },
    );
  });

  it('never stays in a queue of others while a pCPU of its affinity is idle', () => {
    fc.assert(
      fc.property(cases, (c) => {
        const p = pick(c);
        if (c.hard.some((q) => c.idle.includes(q))) expect(free(c, p)).to.equal(true);
      }),
      { numRuns: 500 },
    );
  });
});
