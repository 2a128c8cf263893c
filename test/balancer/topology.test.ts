/** Picking and stealing on a host with cores and sockets: which of several idle places, and whose work first. */
import { expect } from 'chai';
import fc from 'fast-check';
import { pickCpu } from '../../src/balancer/pick-cpu.js';
import { hardMask, softMask } from '../../src/balancer/records.js';
import { coreOf, pcpusOf, socketOf, type Topology } from '../../src/balancer/topology.js';
import { affinities } from '../../src/hv/affinity.js';
import type { HvContext } from '../../src/hv/context.js';
import { clearRange, countRange, cycleRange } from '../../src/shared/bitmap.js';
import { guest, machineConfig, simulate, workload } from '../support/in-process.js';
import { makeQueues } from './queues.js';

/** Two sockets of two cores of two threads: 01 23 | 45 67. */
const HOST: Topology = { sockets: 2, cores: 2, threads: 2 };

interface Case {
  readonly topology?: Topology;
  readonly at: number;
  readonly idle: readonly number[];
  readonly hard?: readonly number[];
  readonly soft?: readonly number[];
  /** Whether nobody waits where the VCPU is. */
  readonly room?: boolean;
  readonly savesPower?: boolean;
}

/** The picks of several VCPUs, one after the other, that all are on the same busy pCPU. */
function picks(times: number, { topology = HOST, at, idle, hard, soft, room = false, savesPower = false }: Case) {
  const pcpus = pcpusOf(topology);
  const queues = makeQueues(pcpus, 2);
  if (!room) queues.enqueue(1, at, -1);
  for (const p of idle) queues.setIdle(p);
  queues.setAffinity(0, hard ?? Array.from({ length: pcpus }, (_, p) => p), soft);
  queues.entry.setProcessor(0, at);
  const pick = pickCpu(queues, topology, savesPower);
  return Array.from({ length: times }, () => pick.commit(0));
}
const pick = (c: Case): number => picks(1, c)[0]!;

describe('the choice of a pCPU by topology', () => {
  it('prefers an idle core of its socket to the idle sibling of a busy thread', () => {
    expect(pick({ at: 0, idle: [1, 2, 3] })).to.be.oneOf([2, 3]);
    expect(pick({ at: 0, idle: [1, 3] })).to.equal(1);
  });

  it('leaves a roomy pCPU whose sibling is busy for a whole core', () => {
    expect(pick({ at: 0, room: true, idle: [2, 3] })).to.be.oneOf([2, 3]);
    expect(pick({ at: 0, room: true, idle: [1, 2, 3] })).to.equal(0);
  });

  it('goes to another socket only where more than twice as many are idle', () => {
    expect(pick({ at: 0, idle: [1, 4, 5] })).to.equal(1);
    expect(pick({ at: 0, idle: [1, 4, 5, 6] })).to.be.within(4, 6);
    expect(pick({ at: 0, idle: [1, 2, 4, 5, 6, 7] })).to.be.within(1, 2);
  });

  it('takes a whole core in the other socket', () => {
    expect(pick({ at: 0, idle: [1, 5, 6, 7] })).to.be.oneOf([6, 7]);
  });

  it('takes equally good places in turn', () => {
    expect(new Set(picks(4, { at: 0, idle: [1, 2, 3] }))).to.deep.equal(new Set([2, 3]));
  });

  it('fills cores and sockets where power is to be saved', () => {
    expect(pick({ at: 0, idle: [1, 2, 3], savesPower: true })).to.equal(1);
    expect(pick({ at: 2, idle: [1, 3, 4, 5, 6, 7], savesPower: true })).to.be.oneOf([1, 3]);
    // Coming from where nobody else runs, it goes to the sibling of somebody who does.
    expect(pick({ at: 0, room: true, idle: [1, 3, 4, 5, 6, 7], savesPower: true })).to.equal(3);
  });

  it('looks at the idle pCPUs of its affinity only', () => {
    expect(pick({ at: 0, idle: [1, 2, 3], hard: [0, 1] })).to.equal(1);
    expect(pick({ at: 0, idle: [1, 2, 3, 6, 7], soft: [0, 1, 6, 7] })).to.equal(1);
    expect(pick({ at: 0, idle: [2, 3], soft: [0, 1] })).to.be.oneOf([2, 3]);
  });

  it('never stays on a busy pCPU while an allowed one is idle, nor shares a core while one of its socket is free', () => {
    const shape = fc.constantFrom<Topology>(
      { sockets: 1, cores: 3, threads: 2 },
      { sockets: 2, cores: 3, threads: 4 },
      { sockets: 3, cores: 5, threads: 3 },
      { sockets: 4, cores: 9, threads: 1 },
    );
    fc.assert(
      fc.property(shape, fc.nat(44), fc.array(fc.nat(44)), fc.boolean(), (topology, spot, seeds, savesPower) => {
        const pcpus = pcpusOf(topology);
        const at = spot % pcpus;
        const idle = [...new Set(seeds.map((s) => s % pcpus))].filter((p) => p !== at);
        const p = pick({ topology, at, idle, savesPower });
        if (idle.length === 0) expect(p).to.equal(at);
        else expect(p).to.be.oneOf(idle);
        if (savesPower || p === at) return;
        const idleIn = (core: number): number => idle.filter((q) => coreOf(topology, q) === core).length;
        const near = idle.filter((q) => socketOf(topology, q) === socketOf(topology, p));
        const best = Math.max(...near.map((q) => idleIn(coreOf(topology, q))));
        expect(idleIn(coreOf(topology, p))).to.equal(best);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('a machine with cores', () => {
  const ONE: Topology = { sockets: 1, cores: 4, threads: 2 };

  /** How many cores four hogs are on after a while. */
  function coresInUse(smtPowerSavings: boolean): number {
    const sim = simulate(
      machineConfig({
        pcpus: 8,
        topology: ONE,
        smtPowerSavings,
        durationNs: 2e9,
        guests: [guest({ vcpus: 4, workload: workload({ hog: { instance: 4, run: 1_000_000 } }) })],
      }),
    );
    sim.run();
    const { context } = sim.built.core.hv;
    const busy = Array.from({ length: 8 }, (_, p) => p).filter((p) => !context.isIdle(context.pcpu.current(p)));
    expect(busy.length).to.equal(4);
    return new Set(busy.map((p) => coreOf(ONE, p))).size;
  }

  it('has a core for each of four hogs', () => {
    expect(coresInUse(false)).to.equal(4);
  });

  it('has them on two cores where power is saved', () => {
    expect(coresInUse(true)).to.equal(2);
  });
});

describe('affinity', () => {
  const ALL = [0, 1, 2, 3];
  function settled(steps: readonly { hard?: readonly number[]; soft?: readonly number[] }[]) {
    const queues = makeQueues(4, 1);
    const { masks, word, entry } = queues;
    const { give } = affinities({ queues } as unknown as HvContext);
    give(0, ALL, ALL);
    for (const { hard, soft } of steps) give(0, hard, soft);
    const bits = (mask: number): number[] => ALL.filter((p) => masks.has(word(mask), p));
    return { hard: bits(hardMask(0)), soft: bits(softMask(0)), counts: entry.hasSoftAffinity(0) !== 0 };
  }

  it('counts soft affinity where it is a proper part of the hard one', () => {
    expect(settled([{ soft: [1, 2] }])).to.deep.equal({ hard: ALL, soft: [1, 2], counts: true });
    expect(settled([{ soft: [1, 2], hard: [2, 3] }])).to.deep.equal({ hard: [2, 3], soft: [2], counts: true });
    expect(settled([{ soft: [1, 2], hard: [1, 2] }]).counts).to.equal(false);
    expect(settled([{ soft: [1, 2], hard: [3] }]).counts).to.equal(false);
  });

  it('comes back when the hard affinity is wide again', () => {
    expect(settled([{ soft: [1, 2] }, { hard: [3] }, { hard: ALL }])).to.deep.equal({
      hard: ALL,
      soft: [1, 2],
      counts: true,
    });
  });

  it('is all pCPUs where it names none that is there', () => {
    expect(settled([{ hard: [] }]).hard).to.deep.equal(ALL);
  });
});

describe('ranges of a mask', () => {
  it('are cleared, counted and gone round like single bits', () => {
    const range = fc.tuple(fc.nat(99), fc.nat(99), fc.integer({ min: -1, max: 99 }), fc.uniqueArray(fc.nat(99)));
    fc.assert(
      fc.property(range, ([a, b, bit, bits]) => {
        const [first, end] = [Math.min(a, b), Math.max(a, b) + 1];
        const words = new Int32Array(6);
        for (const n of bits) words[1 + (n >> 5)]! |= 1 << (n & 31);
        const inside = bits.filter((n) => n >= first && n < end).sort((x, y) => x - y);
        expect(countRange(words, 1, first, end - first)).to.equal(inside.length);
        const next = inside.find((n) => n > bit && bit >= first) ?? inside[0] ?? -1;
        expect(cycleRange(words, 1, bit, first, end - first)).to.equal(next);
        clearRange(words, 1, first, end - first);
        expect(countRange(words, 1, 0, 100)).to.equal(bits.length - inside.length);
      }),
      { numRuns: 1000 },
    );
  });
});
