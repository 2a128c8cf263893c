import { expect } from 'chai';
import { Image, layOut, rawRegion } from '../../src/shared/image.js';
import { noJitter } from '../../src/shared/jitter.js';
import { type FreeRunning, LOCK_RANK, LockPanic, spinlockRegions, spinlocks } from '../../src/shared/spinlock.js';
import { race } from './race.js';
import { COUNTER } from './racer.js';

const PRIVATE = 0;
const [RUNQ_A, RUNQ_B] = [1, 2];

interface Options {
  readonly exclusive?: boolean;
  readonly debug?: boolean;
  readonly free?: Partial<FreeRunning>;
}

const map = layOut([...spinlockRegions(12, 2), rawRegion('clocks', 64, 2)]);

/** Locks as the runner `me` of the image sees them. */
function attach(image: Image, { exclusive = false, debug = true, free = {} }: Options = {}, me = 0) {
  const running: FreeRunning = {
    now: (image.region('clocks').base >> 3) + 8 * me,
    firstHandedOver: Infinity,
    handOverNs: 0,
    spins: 1000,
    jitter: noJitter,
    isEnded: () => false,
    ...free,
  };
  const locksBase = image.region('spinlocks').base;
  const heldBase = image.region('held-locks').base;
  return spinlocks(image.i32, image.f64, locksBase, heldBase, { debug, free: exclusive ? undefined : running });
}

function make(options: Options = {}) {
  const locks = attach(Image.create(map), options);
  locks.init(PRIVATE, LOCK_RANK.schedulerPrivate);
  for (let lock = 1; lock < 12; lock++) locks.init(lock, LOCK_RANK.runQueue);
  return locks;
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
      'lock order: pCPU 0 takes lock 0 (rank 6) under lock 1',
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

  it('loses counts without one, so that the tests above can fail', async () => {
    const { i32, done } = race('unlocked', 4, 100_000);
    await done;
    expect(i32[COUNTER]).to.be.below(400_000);
  });
});
