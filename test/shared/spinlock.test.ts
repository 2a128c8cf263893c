import { expect } from 'chai';
import fc from 'fast-check';
import { Image, layOut, rawRegion } from '../../src/shared/image.js';
import { noJitter } from '../../src/shared/jitter.js';
import {
  type FreeRunning,
  LOCK_RANK,
  LockPanic,
  MachineEnded,
  type Spinlocks,
  spinlockRegions,
  spinlocks,
} from '../../src/shared/spinlock.js';
import { race, raceUntil } from './race.js';
import { AREA, COUNTER } from './racer.js';

const PRIVATE = 0;
const [RUNQ_A, RUNQ_B] = [1, 2];

interface Options {
  readonly exclusive?: boolean;
  readonly debug?: boolean;
  readonly free?: Partial<FreeRunning>;
}

const map = layOut([...spinlockRegions(12, 2), rawRegion('clocks', 64, 2), rawRegion('separate', 64, 1)]);

/** Locks as the runner `me` of the image sees them. */
function attach(image: Image, { exclusive = false, debug = true, free = {} }: Options = {}, me = 0) {
  const running: FreeRunning = {
    now: (image.region('clocks').base >> 3) + 8 * me,
    firstHandedOver: Infinity,
    handOverNs: 0,
    separate: image.region('separate').base >> 2,
    firstOwn: 0,
    spins: 1000,
    jitter: noJitter,
    isEnded: () => false,
    ...free,
  };
  const locksBase = image.region('spinlocks').base;
  const heldBase = image.region('held-locks').base;
  return spinlocks(image.i32, image.f64, locksBase, heldBase, { debug, free: exclusive ? undefined : running });
}

function initialise(locks: Spinlocks): Spinlocks {
  locks.init(PRIVATE, LOCK_RANK.schedulerPrivate);
  for (let lock = 1; lock < 12; lock++) locks.init(lock, LOCK_RANK.runQueue);
  return locks;
}

const make = (options: Options = {}) => initialise(attach(Image.create(map), options));

/** Two runners over one image, each with a clock. */
function twoRunners(free: Partial<FreeRunning> = {}) {
  const image = Image.create(map);
  const clock = (me: number): number => (image.region('clocks').base >> 3) + 8 * me;
  const locks = [attach(image, { free }, 0), attach(image, { free }, 1)] as const;
  initialise(locks[0]);
  return {
    locks,
    now: (me: number): number => image.f64[clock(me)]!,
    setNow: (me: number, ns: number): void => {
      image.f64[clock(me)] = ns;
    },
  };
}

for (const exclusive of [false, true]) {
  describe(`spinlocks${exclusive ? ' of one runner' : ''}`, () => {
    it('record their owner while they are held', () => {
      const locks = make({ exclusive });
      expect(locks.owner(RUNQ_A)).to.equal(-1);
      locks.acquire(RUNQ_A, 0);
      expect(locks.owner(RUNQ_A)).to.equal(0);
      expect(locks.owner(RUNQ_B)).to.equal(-1);
      locks.release(RUNQ_A, 0);
      expect(locks.owner(RUNQ_A)).to.equal(-1);
    });

    it('panic when a pCPU takes what it holds', () => {
      const locks = make({ exclusive });
      locks.acquire(RUNQ_A, 1);
      expect(() => locks.acquire(RUNQ_A, 1)).to.throw(LockPanic, 'pCPU 1 takes again lock 1 (owner: pCPU 1)');
      expect(() => locks.tryAcquire(RUNQ_A, 1)).to.throw(LockPanic, 'takes again');
    });

    it('panic when a pCPU releases what another holds, or nobody', () => {
      const locks = make({ exclusive });
      expect(() => locks.release(RUNQ_A, 0)).to.throw(LockPanic, 'releases');
      locks.acquire(RUNQ_A, 1);
      expect(() => locks.release(RUNQ_A, 0)).to.throw(LockPanic, 'pCPU 0 releases lock 1 (owner: pCPU 1)');
      expect(locks.owner(RUNQ_A)).to.equal(1);
    });

    it('are not taken by a try while another holds them', () => {
      const locks = make({ exclusive });
      locks.acquire(RUNQ_A, 1);
      expect(locks.tryAcquire(RUNQ_A, 0)).to.equal(false);
      locks.release(RUNQ_A, 1);
      expect(locks.tryAcquire(RUNQ_A, 0)).to.equal(true);
      expect(locks.owner(RUNQ_A)).to.equal(0);
    });

    it('keep misuse checks without debug, and drop the order check', () => {
      const locks = make({ exclusive, debug: false });
      locks.acquire(RUNQ_B, 0);
      locks.acquire(PRIVATE, 0);
      expect(() => locks.acquire(RUNQ_B, 0)).to.throw(LockPanic);
      expect(() => locks.release(RUNQ_A, 0)).to.throw(LockPanic);
    });
  });
}

describe('the lock order', () => {
  it('allows growing ranks, and growing numbers within a rank', () => {
    const locks = make();
    locks.acquire(PRIVATE, 0);
    locks.acquire(RUNQ_A, 0);
    locks.acquire(RUNQ_B, 0);
    for (const lock of [PRIVATE, RUNQ_A, RUNQ_B]) locks.release(lock, 0);
    expect(locks.owner(RUNQ_B)).to.equal(-1);
  });

  it('panics on the private lock under a run-queue lock', () => {
    const locks = make();
    locks.acquire(RUNQ_A, 0);
    expect(() => locks.acquire(PRIVATE, 0)).to.throw(
      LockPanic,
      'lock order: pCPU 0 takes lock 0 (rank 8) under lock 1',
    );
  });

  it('panics on run-queue locks in falling order, and leaves the second free', () => {
    const locks = make();
    locks.acquire(RUNQ_B, 0);
    expect(() => locks.acquire(RUNQ_A, 0)).to.throw(LockPanic, 'lock order');
    expect(locks.owner(RUNQ_A)).to.equal(-1);
  });

  it('does not bind a try, which cannot deadlock', () => {
    const locks = make();
    locks.acquire(RUNQ_B, 0);
    expect(locks.tryAcquire(RUNQ_A, 0)).to.equal(true);
  });

  it('is kept for each pCPU by itself', () => {
    const locks = make();
    locks.acquire(RUNQ_B, 0);
    locks.acquire(RUNQ_A, 1);
    expect([locks.owner(RUNQ_A), locks.owner(RUNQ_B)]).to.deep.equal([1, 0]);
  });

  it('forgets a lock that is released first in, first out', () => {
    const locks = make();
    locks.acquire(RUNQ_A, 0);
    locks.acquire(RUNQ_B, 0);
    locks.release(RUNQ_A, 0);
    locks.release(RUNQ_B, 0);
    locks.acquire(PRIVATE, 0);
    locks.acquire(RUNQ_A, 0);
    expect(locks.owner(RUNQ_A)).to.equal(0);
  });

  it('panics when locks nest too deeply', () => {
    const locks = make();
    for (let lock = 0; lock < 8; lock++) locks.acquire(lock, 0);
    expect(() => locks.acquire(8, 0)).to.throw(LockPanic, 'nests too deeply');
  });
});

describe('a lock of one runner', () => {
  it('panics where it would wait for ever', () => {
    const locks = make({ exclusive: true });
    locks.acquire(RUNQ_A, 1);
    expect(() => locks.acquire(RUNQ_A, 0)).to.throw(LockPanic, 'would wait for ever');
  });
});

describe('a lock of several runners', () => {
  for (const how of ['acquire', 'tryAcquire'] as const) {
    it(`brings who takes it up to the time of its release, by ${how}`, () => {
      const { locks, now, setNow } = twoRunners();
      setNow(0, 1000);
      locks[0].acquire(RUNQ_A, 0);
      // As far as its holder got while it had it, not as far as it was when it took it.
      setNow(0, 1500);
      locks[0].release(RUNQ_A, 0);
      setNow(1, 200);
      locks[1][how](RUNQ_A, 1);
      expect([now(0), now(1)]).to.deep.equal([1500, 1500]);
    });

    it(`takes nobody back in time, by ${how}`, () => {
      const { locks, now, setNow } = twoRunners();
      setNow(0, 1000);
      locks[0].acquire(RUNQ_A, 0);
      locks[0].release(RUNQ_A, 0);
      setNow(1, 7000);
      locks[1][how](RUNQ_A, 1);
      expect([now(0), now(1)]).to.deep.equal([1000, 7000]);
      locks[1].release(RUNQ_A, 1);
      locks[0][how](RUNQ_A, 0);
      expect(now(0)).to.equal(7000);
    });

    it(`that nobody had yet carries no time, by ${how}`, () => {
      const { locks, now, setNow } = twoRunners({ firstHandedOver: 0, handOverNs: 2000 });
      // Boot takes place before time 0.
      setNow(0, -5000);
      locks[0][how](RUNQ_A, 0);
      expect(now(0)).to.equal(-5000);
    });
  }

  it('carries a time of its own, not that of another lock', () => {
    const { locks, now, setNow } = twoRunners();
    setNow(0, 1000);
    locks[0].acquire(RUNQ_A, 0);
    locks[0].release(RUNQ_A, 0);
    setNow(1, 200);
    locks[1].acquire(RUNQ_B, 1);
    locks[1].release(RUNQ_B, 1);
    expect(now(1)).to.equal(200);
  });

  it('moves nobody on who tries for it in vain', () => {
    const { locks, now, setNow } = twoRunners();
    setNow(0, 1000);
    locks[0].acquire(RUNQ_A, 0);
    setNow(1, 200);
    expect(locks[1].tryAcquire(RUNQ_A, 1)).to.equal(false);
    expect(now(1)).to.equal(200);
  });

  it('takes a while from pCPU to pCPU where it is handed over, and none to who had it last', () => {
    const { locks, now, setNow } = twoRunners({ firstHandedOver: RUNQ_B, handOverNs: 2000 });
    /** Takes and releases a lock for pCPU `me` at `ns`; returns when it had it. */
    const use = (lock: number, me: 0 | 1, ns: number, how: 'acquire' | 'tryAcquire' = 'acquire'): number => {
      setNow(me, ns);
      locks[me][how](lock, me);
      locks[me].release(lock, me);
      return now(me);
    };
    expect(use(RUNQ_B, 0, 1000)).to.equal(1000);
    expect(use(RUNQ_B, 0, 1001)).to.equal(1001);
    expect(use(RUNQ_B, 1, 500)).to.equal(3001);
    expect(use(RUNQ_B, 0, 3500, 'tryAcquire')).to.equal(5001);
    expect(use(RUNQ_B, 1, 9000)).to.equal(9000);
    // One with a smaller number is had at once.
    expect(use(RUNQ_A, 0, 1000)).to.equal(1000);
    expect(use(RUNQ_A, 1, 500)).to.equal(1000);
  });

  it('gives any two runners the times that its history says', () => {
    const LATENCY = 70;
    const step = fc.record({
      me: fc.constantFrom(0 as const, 1 as const),
      lock: fc.integer({ min: 1, max: 4 }),
      tries: fc.boolean(),
      before: fc.nat(100),
      under: fc.nat(100),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const { locks, now, setNow } = twoRunners({ firstHandedOver: 3, handOverNs: LATENCY });
        const clocks = [0, 0];
        const released = new Map<number, { readonly ns: number; readonly by: number }>();
        for (const { me, lock, tries, before, under } of steps) {
          setNow(me, now(me) + before);
          locks[me][tries ? 'tryAcquire' : 'acquire'](lock, me);
          const last = released.get(lock);
          const handOver = last !== undefined && last.by !== me && lock >= 3 ? LATENCY : 0;
          clocks[me] = Math.max(clocks[me]! + before, (last?.ns ?? 0) + handOver);
          expect(now(me)).to.equal(clocks[me]);
          clocks[me] += under;
          setNow(me, now(me) + under);
          locks[me].release(lock, me);
          released.set(lock, { ns: clocks[me], by: me });
        }
      }),
      { numRuns: 200 },
    );
  });

  it('pauses before and after it is taken and released', () => {
    let pauses = 0;
    const jitter = (): void => {
      pauses++;
    };
    const { locks } = twoRunners({ jitter });
    locks[0].acquire(RUNQ_A, 0);
    expect(pauses).to.equal(2);
    locks[0].release(RUNQ_A, 0);
    expect(pauses).to.equal(4);
    locks[0].tryAcquire(RUNQ_A, 0);
    expect(pauses).to.be.above(4);
  });

  it('is waited for as long as the machine goes on, and no longer', () => {
    for (const spins of [0, 100]) {
      let asked = 0;
      const { locks } = twoRunners({ spins, isEnded: () => ++asked === 3 });
      locks[0].acquire(RUNQ_A, 0);
      expect(() => locks[1].acquire(RUNQ_A, 1)).to.throw(
        MachineEnded,
        'pCPU 1 waited for lock 1 of a machine that has ended',
      );
      // Once after each nap.
      expect(asked).to.equal(3);
      expect(locks[1].owner(RUNQ_A)).to.equal(0);
    }
  });

  it('goes to who waits when it is released, and brings its time', () => {
    let asked = 0;
    const { locks, now, setNow } = twoRunners({
      spins: 10,
      isEnded: () => {
        // What its holder does meanwhile, on a thread of its own.
        if (++asked === 2) {
          setNow(0, 5000);
          locks[0].release(RUNQ_A, 0);
        }
        return false;
      },
    });
    locks[0].acquire(RUNQ_A, 0);
    setNow(1, 100);
    locks[1].acquire(RUNQ_A, 1);
    expect([locks[1].owner(RUNQ_A), now(1), asked]).to.deep.equal([1, 5000, 2]);
  });
});

describe('a plain counter that threads increment', () => {
  it('is exact under a lock taken by 4 threads', async () => {
    const { i32, done } = race('locked', 4, 100_000);
    await done;
    expect(i32[COUNTER]).to.equal(400_000);
  });

  it('is exact under a lock that 2 threads try for', async () => {
    const { i32, done } = race('tryLocked', 2, 400_000);
    await done;
    expect(i32[COUNTER]).to.equal(800_000);
  });

  it('is left and found at growing times under a lock that brings time', async () => {
    const { i32, done } = race('timed', 2, 200_000);
    await done;
    expect([i32[AREA], i32[AREA + 1]]).to.deep.equal([0, 0]);
    // The times of all steps, one after the other.
    expect(new Float64Array(i32.buffer)[COUNTER / 2]).to.equal(200_000 * (1 + 2));
  });

  it('loses counts without one, so that the tests above can fail', async () => {
    const i32 = await raceUntil((words) => words[COUNTER]! < 4_000_000, 'unlocked', 2, 2_000_000);
    expect(i32[COUNTER]).to.be.below(4_000_000);
  });
});
