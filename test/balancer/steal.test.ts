import { expect } from 'chai';
import fc from 'fast-check';
import { type BalanceStep, HARD, SOFT } from '../../src/balancer/run-queues.js';
import { stealing } from '../../src/balancer/steal.js';
import { flatTopology, type Topology } from '../../src/balancer/topology.js';
import { NONE } from '../../src/shared/list.js';
import { makeQueues, type Queues } from './queues.js';

const [UNDER, OVER, IDLE] = [-1, -2, -64];

function setUp(pcpus: number, vcpus: number, firstStep: BalanceStep = SOFT, topology?: Topology) {
  const queues = makeQueues(pcpus, vcpus);
  const counts = { tried: 0, tryFailed: 0, peerIdle: 0, hot: 0 };
  const hot = new Set<number>();
  const victims = new Map<number, number>();
  const steal = stealing({
    queues,
    locks: queues.locks,
    lockOf: (p) => p,
    counters: {
      tried: () => counts.tried++,
      tryFailed: () => counts.tryFailed++,
      peerIdle: () => counts.peerIdle++,
      hot: () => counts.hot++,
      checked: () => {},
      stolen: () => {},
    },
    firstStep,
    topology: topology ?? flatTopology(pcpus),
    isHot: (v) => hot.has(v),
    bias: {
      get: (_, socket) => victims.get(socket) ?? 0,
      set: (_, socket, robbed) => victims.set(socket, robbed),
    },
  });
  /** A pCPU that runs something (not recorded here) and has `waiting` in its queue. */
  function load(p: number, waiting: readonly (readonly [v: number, pri: number])[]): void {
    queues.addRunnable(p, 1);
    for (const [v, pri] of waiting) queues.enqueue(v, p, pri);
  }
  return { queues, counts, hot, steal, load, victim: () => victims.get(0) ?? 0 };
}

describe('stealing', () => {
  it('takes the first VCPU of a peer and makes it its own, in no queue', () => {
    const { queues, steal, load } = setUp(2, 4);
    load(1, [
      [0, UNDER],
      [1, UNDER],
    ]);
    expect(steal(0, IDLE)).to.equal(0);
    expect(queues.entry.processor(0)).to.equal(0);
    expect(queues.isQueued(0)).to.equal(false);
    expect(queues.queue(1)).to.deep.equal([1]);
    expect([queues.runq.nrRunnable(0), queues.runq.nrRunnable(1)]).to.deep.equal([1, 2]);
    expect(queues.locks.owner(1)).to.equal(-1);
  });

  it('takes only what is of strictly higher priority', () => {
    const { steal, load } = setUp(2, 4);
    load(1, [[0, OVER]]);
    expect(steal(0, OVER)).to.equal(NONE);
    expect(steal(0, UNDER)).to.equal(NONE);
    expect(steal(0, IDLE)).to.equal(0);
  });

  it('leaves VCPUs that may not run here', () => {
    const { queues, steal, load } = setUp(3, 4);
    load(1, [
      [0, UNDER],
      [1, UNDER],
    ]);
    queues.setAffinity(0, [1, 2]);
    expect(steal(0, IDLE)).to.equal(1);
  });

  it('leaves VCPUs whose state is not saved yet', () => {
    const { queues, steal, load } = setUp(2, 4);
    load(1, [
      [0, UNDER],
      [1, UNDER],
    ]);
    queues.entry.setIsRunning(0, 1);
    expect(steal(0, IDLE)).to.equal(1);
  });

  it('goes round once where soft affinity is not known', () => {
    for (const [firstStep, rounds] of [
      [SOFT, 2],
      [HARD, 1],
    ] as const) {
      const { queues, counts, steal, load } = setUp(4, 4, firstStep);
      load(1, [[0, UNDER]]);
      load(3, [[1, UNDER]]);
      queues.setAffinity(0, [1]);
      queues.setAffinity(1, [3]);
      expect(steal(0, IDLE)).to.equal(NONE);
      expect(counts.tried).to.equal(2 * rounds);
    }
  });

  it('looks in its own socket first, then in the others round about, and goes on after the last victim of each', () => {
    const { queues, steal, load } = setUp(6, 8, HARD, { sockets: 3, cores: 2, threads: 1 });
    for (const p of [1, 2, 3, 4, 5]) load(p, [[p, UNDER]]);
    // pCPU 2 is in the second socket.
    queues.list.remove(2, 2);
    queues.addRunnable(2, -2);
    const robbed = Array.from({ length: 4 }, () => steal(2, IDLE));
    expect(robbed).to.deep.equal([3, 4, 5, 1]);
  });

  it('leaves VCPUs that yielded', () => {
    const { queues, steal, load } = setUp(2, 4);
    load(1, [[0, UNDER]]);
    queues.entry.setYielded(0, 1);
    expect(steal(0, IDLE)).to.equal(NONE);
  });

  it('leaves cache-hot VCPUs and counts them', () => {
    const { hot, counts, steal, load } = setUp(2, 4);
    load(1, [
      [0, UNDER],
      [1, UNDER],
    ]);
    hot.add(0);
    expect(steal(0, IDLE)).to.equal(1);
    expect(counts.hot).to.equal(1);
  });

  it('looks for soft affinity on all peers before it looks for hard affinity on any', () => {
    const { queues, steal, load } = setUp(3, 4);
    load(1, [[0, UNDER]]);
    load(2, [[1, UNDER]]);
    queues.setAffinity(0, [0, 1, 2], [1]);
    queues.setAffinity(1, [0, 1, 2], [0]);
    expect(steal(0, IDLE)).to.equal(1);
    expect(steal(0, IDLE)).to.equal(0);
  });

  it('passes over a peer whose lock is taken, and counts that', () => {
    const { queues, counts, steal, load } = setUp(3, 4);
    load(1, [[0, UNDER]]);
    load(2, [[1, UNDER]]);
    queues.locks.acquire(1, 1);
    expect(steal(0, IDLE)).to.equal(1);
    // Both balance steps came past pCPU 1.
    expect(counts.tryFailed).to.equal(2);
    expect(queues.queue(1)).to.deep.equal([0]);
  });

  it('releases the locks of peers that had nothing for it', () => {
    const { queues, counts, steal, load } = setUp(4, 8);
    for (const p of [1, 2, 3]) load(p, [[p, OVER]]);
    expect(steal(0, OVER)).to.equal(NONE);
    expect(counts.tried).to.equal(6);
    expect([1, 2, 3].map((p) => queues.locks.owner(p))).to.deep.equal([-1, -1, -1]);
  });

  it('leaves an idle peer its own queue', () => {
    const { queues, counts, steal, load } = setUp(2, 4);
    load(1, [[0, UNDER]]);
    queues.setIdle(1);
    expect(steal(0, IDLE)).to.equal(NONE);
    expect(counts.peerIdle).to.equal(2);
  });

  it('begins after the last victim', () => {
    const { steal, load, victim } = setUp(4, 8);
    for (const p of [1, 2, 3]) {
      load(p, [
        [p, UNDER],
        [p + 4, UNDER],
      ]);
    }
    expect([steal(0, IDLE), steal(0, IDLE), steal(0, IDLE), steal(0, IDLE)]).to.deep.equal([1, 2, 3, 5]);
    expect(victim()).to.equal(1);
  });

  /** Stealing during which the mask of overloaded pCPUs changes whenever a peer is tried, as other pCPUs change it. */
  function whileMaskChanges(pcpus: number, start: number, change: (peer: number, queues: Queues) => void) {
    const queues = makeQueues(pcpus, 2 * pcpus);
    const seen: number[] = [];
    let looks = 0;
    const { tryAcquire } = queues.locks;
    const { cycleIn } = queues.masks;
    const steal = stealing({
      queues: {
        ...queues,
        masks: {
          ...queues.masks,
          cycleIn(bit, w, first, count) {
            // At most all peers, and one look more, at either step.
            if (++looks > 2 * (pcpus + 1)) throw new Error(`a round without an end: pCPUs ${seen}`);
            return cycleIn(bit, w, first, count);
          },
        },
      },
      locks: {
        ...queues.locks,
        tryAcquire(peer, p) {
          seen.push(peer);
          change(peer, queues);
          return tryAcquire(peer, p);
        },
      },
      lockOf: (p) => p,
      counters: {
        tried: () => {},
        tryFailed: () => {},
        peerIdle: () => {},
        hot: () => {},
        checked: () => {},
        stolen: () => {},
      },
      topology: flatTopology(queues.pcpus),
      firstStep: SOFT,
      isHot: () => false,
      bias: { get: () => start, set: () => {} },
    });
    // Nothing that is worth taking: every peer is looked at.
    for (let p = 0; p < pcpus; p++) {
      queues.addRunnable(p, 1);
      queues.enqueue(p, p, OVER);
    }
    return { queues, seen, steal };
  }

  it('goes round once although the first peer is not overloaded any more when it comes round', () => {
    const { queues, seen, steal } = whileMaskChanges(4, 0, (peer, { masks, overloaded }) => {
      if (peer === 1) masks.clear(overloaded(0), 1);
    });
    expect(steal(0, OVER)).to.equal(NONE);
    // A soft round that begins with pCPU 1, a hard one without it.
    expect(seen).to.deep.equal([1, 2, 3, 2, 3]);
    expect([1, 2, 3].map((p) => queues.locks.owner(p))).to.deep.equal([-1, -1, -1]);
  });

  it('goes round once although peers it has passed become overloaded behind it', () => {
    const { seen, steal } = whileMaskChanges(4, 1, (peer, { masks, overloaded }) => {
      // Whoever is looked at is through with it, and all others begin.
      for (let p = 0; p < 4; p++) masks.set(overloaded(0), p);
      masks.clear(overloaded(0), peer);
    });
    expect(steal(0, OVER)).to.equal(NONE);
    expect(seen).to.deep.equal([2, 3, 1, 2, 3, 1]);
  });

  it('ends when nobody is overloaded any more', () => {
    const { seen, steal } = whileMaskChanges(4, 0, (_, { masks, overloaded }) => {
      for (let p = 0; p < 4; p++) masks.clear(overloaded(0), p);
    });
    expect(steal(0, OVER)).to.equal(NONE);
    expect(seen).to.deep.equal([1]);
  });

  it('tries every peer at most once at each step, however the mask changes meanwhile', () => {
    const PCPUS = 40;
    const cpu = fc.nat(PCPUS - 1);
    const changes = fc.infiniteStream(fc.uniqueArray(cpu, { maxLength: PCPUS }));
    fc.assert(
      fc.property(cpu, cpu, changes, fc.nat(2), (p, start, masksToCome, taken) => {
        const { queues, seen, steal } = whileMaskChanges(PCPUS, start, (_, { masks, overloaded }) => {
          masks.assign(overloaded(0), masksToCome.next().value);
        });
        // Some peers are busy with their queues.
        for (let q = 0; q < taken; q++) if (q !== p) queues.locks.acquire(q, q);
        expect(steal(p, OVER)).to.equal(NONE);
        expect(seen).to.not.include(p);
        // Distances from the start grow, and begin anew once: at the hard step.
        const distances = seen.map((q) => (q > start ? q - start : q - start + PCPUS));
        const restarts = distances.filter((d, n) => n > 0 && d <= distances[n - 1]!);
        expect(restarts.length, `distances ${distances}`).to.be.at.most(1);
      }),
      { numRuns: 300 },
    );
  });

  it('agrees with a search of all queues for any machine', () => {
    const PCPUS = 4;
    const [p0, pris] = [fc.nat(PCPUS - 1), fc.constantFrom(0, UNDER, OVER)];
    const cpus = fc.uniqueArray(p0, { minLength: 1 });
    const unit = fc.record({
      at: p0,
      pri: pris,
      hard: cpus,
      soft: fc.option(cpus, { nil: undefined }),
      yielded: fc.boolean(),
      hot: fc.boolean(),
    });
    const locked = fc.uniqueArray(p0, { maxLength: 2 });
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 10 }), locked, pris, (units, taken, pri) => {
        const { queues, hot, steal } = setUp(PCPUS, 10);
        for (const [v, u] of units.entries()) {
          // A soft mask in force lies within the hard one.
          const soft = u.soft?.filter((p) => u.hard.includes(p));
          queues.setAffinity(v, u.hard, soft?.length ? soft : undefined);
          queues.enqueue(v, u.at, u.pri);
          if (u.yielded) queues.entry.setYielded(v, 1);
          if (u.hot) hot.add(v);
        }
        for (const p of taken) if (p !== 0) queues.locks.acquire(p, p);
        const before = [0, 1, 2, 3].map((p) => queues.queue(p));
        const eligible = (v: number): boolean =>
          units[v]!.pri > pri && !units[v]!.yielded && !units[v]!.hot && units[v]!.hard.includes(0);
        const open = (p: number): boolean => p !== 0 && !taken.includes(p) && before[p]!.length > 1;
        const candidates = [1, 2, 3].filter(open).flatMap((p) => before[p]!.filter(eligible));
        const got = steal(0, pri);
        if (candidates.length === 0) expect(got).to.equal(NONE);
        else {
          expect(candidates).to.include(got);
          const inSoft = (v: number): boolean => {
            const soft = units[v]!.soft?.filter((p) => units[v]!.hard.includes(p)) ?? [];
            return soft.includes(0);
          };
          if (candidates.some(inSoft)) expect(inSoft(got)).to.equal(true);
          // The first of its queue that could be had at that step.
          const from = units[got]!.at;
          const step = candidates.some(inSoft) ? inSoft : () => true;
          expect(before[from]!.find((v) => eligible(v) && step(v))).to.equal(got);
        }
        for (let p = 1; p < PCPUS; p++) {
          const left = queues.queue(p);
          expect(left).to.deep.equal(before[p]!.filter((v) => v !== got));
          expect(queues.masks.has(queues.overloaded(p), p)).to.equal(left.length > 1);
        }
      }),
      { numRuns: 500 },
    );
  });
});
