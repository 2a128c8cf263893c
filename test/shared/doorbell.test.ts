import { expect } from 'chai';
import { doorbells } from '../../src/shared/doorbell.js';
import { race, waitForStart } from './race.js';
import { AREA, BELLS, COUNTER } from './racer.js';

const bellsOver = (i32: Int32Array) => doorbells(i32, 4 * AREA);

describe('doorbells', () => {
  const make = () => bellsOver(new Int32Array(new SharedArrayBuffer(8192)));

  it('give the token to one worker at a time', () => {
    const bells = make();
    bells.grant(0);
    expect([bells.hasToken(0), bells.hasToken(1)]).to.deep.equal([true, false]);
    bells.handOver(0, 1);
    expect([bells.hasToken(0), bells.hasToken(1)]).to.deep.equal([false, true]);
  });

  it('stay rung until they are answered, once', () => {
    const bells = make();
    bells.ring(1);
    bells.ring(1);
    expect([bells.isRung(0), bells.isRung(1)]).to.deep.equal([false, true]);
    expect([bells.answer(1), bells.answer(1), bells.isRung(1)]).to.deep.equal([true, false, false]);
  });

  it('wake a dozing worker by a nudge although one that came as it awoke was left behind', () => {
    const i32 = new Int32Array(new SharedArrayBuffer(8192));
    const bells = bellsOver(i32);
    // As `nudge` leaves it that saw the sleeper just before it awoke: between its look and its bit lies the end of the doze.
    i32[AREA] = 8;
    let nudged = false;
    const began = performance.now();
    bells.doze(0, 5000, () => {
      bells.nudge(0);
      nudged = true;
      return true;
    });
    expect(nudged).to.equal(true);
    expect(performance.now() - began).to.be.below(4000);
  });

  it('let a worker sleep though a nudge was left behind', () => {
    const i32 = new Int32Array(new SharedArrayBuffer(8192));
    const bells = bellsOver(i32);
    i32[AREA] = 8;
    let sleeps = 0;
    const { wait } = Atomics;
    Object.assign(Atomics, {
      wait() {
        // As one does that comes while it sleeps.
        if (++sleeps === 1) bells.nudge(0);
        return 'ok';
      },
    });
    try {
      for (let n = 0; n < 2; n++) bells.await(0, 1, 1000);
    } finally {
      Object.assign(Atomics, { wait });
    }
    expect(sleeps).to.equal(2);
  });

  it('keep token and bell apart', () => {
    const bells = make();
    bells.grant(0);
    bells.ring(0);
    expect(bells.answer(0)).to.equal(true);
    expect(bells.hasToken(0)).to.equal(true);
    bells.ring(0);
    bells.handOver(0, 1);
    expect([bells.isRung(0), bells.hasToken(0)]).to.deep.equal([true, false]);
  });

  it('do not let a worker sleep that was rung before', () => {
    const bells = make();
    bells.ring(0);
    bells.await(0, 0, Infinity);
    expect(bells.answer(0)).to.equal(true);
  });

  it('let a sleeper go when its time is over', () => {
    const bells = make();
    bells.await(0, 10, 1);
    expect([bells.hasToken(0), bells.isRung(0)]).to.deep.equal([false, false]);
    bells.grant(0);
    expect(bells.hasToken(0)).to.equal(true);
  });

  it('hand the token to and fro 100,000 times without losing it', async () => {
    const { i32, done } = race('handOver', 2, 50_000, (words) => bellsOver(words).grant(0));
    await done;
    expect(i32[COUNTER]).to.equal(100_000);
    expect([bellsOver(i32).hasToken(0), bellsOver(i32).hasToken(1)]).to.deep.equal([true, false]);
  });

  it('pass the token round among more workers than cores', async () => {
    const { i32, done } = race('handOver', 4, 2_000, (words) => bellsOver(words).grant(0));
    await done;
    expect(i32[COUNTER]).to.equal(8_000);
  });

  it('wake a sleeper every time they are rung', async () => {
    const rings = 2_000;
    const { i32, done } = race('answer', 1, rings);
    const bells = bellsOver(i32);
    for (let n = 0; n < rings; n++) {
      bells.ring(0);
      expect(Atomics.wait(i32, COUNTER, n, 30_000)).to.not.equal('timed-out');
    }
    await done;
    expect(i32[COUNTER]).to.equal(rings);
  });
});

/** Far longer than a sleep that is ended at once takes, and than a test may. */
const LONG_MS = 20_000;

describe('a worker that dozes', () => {
  /** Words of two workers, and whether a doze of worker 0 was ended by something else than its time. */
  const setUp = () => {
    const i32 = new Int32Array(new SharedArrayBuffer(8192));
    const bells = doorbells(i32, 0);
    const isEnded = (mustSleep: () => boolean): boolean => {
      const began = performance.now();
      bells.doze(0, LONG_MS, mustSleep);
      return performance.now() - began < LONG_MS / 2;
    };
    return { i32, bells, isEnded };
  };

  it('is woken by a nudge, which leaves nothing behind', () => {
    const { i32, bells, isEnded } = setUp();
    // Just before it falls asleep, when everybody can see that it will.
    const nudged = (): boolean => {
      bells.nudge(0);
      return true;
    };
    expect(isEnded(nudged)).to.equal(true);
    expect(i32[0]).to.equal(0);
    expect(isEnded(nudged)).to.equal(true);
  });

  it('does not remember a nudge from before', () => {
    const { i32, bells } = setUp();
    bells.nudge(0);
    expect(i32[0]).to.equal(0);
    let asked = 0;
    const began = performance.now();
    bells.doze(0, 5, () => {
      asked++;
      return true;
    });
    expect(asked).to.equal(1);
    // A clock may be a little off the one that sleeps.
    expect(performance.now() - began).to.be.above(4);
    expect(i32[0]).to.equal(0);
  });

  it('does not sleep when what it waits for has come by then', () => {
    const { i32, isEnded } = setUp();
    let asked = 0;
    const mustSleep = (): boolean => {
      asked++;
      return false;
    };
    expect(isEnded(mustSleep)).to.equal(true);
    expect([asked, i32[0]]).to.deep.equal([1, 0]);
  });

  it('says that it sleeps before it looks for the last time', () => {
    const { i32, bells } = setUp();
    const asleep: boolean[] = [];
    const look = (): boolean => {
      // A nudge that came to a worker that is awake would leave the word as it is.
      const before = i32[0];
      bells.nudge(0);
      asleep.push(i32[0] !== before);
      return false;
    };
    look();
    bells.doze(0, LONG_MS, look);
    look();
    expect(asleep).to.deep.equal([false, true, false]);
  });

  it('does not sleep when it was rung before, and stays rung', () => {
    const { bells, isEnded } = setUp();
    bells.ring(0);
    expect(isEnded(() => true)).to.equal(true);
    expect([bells.isRung(0), bells.answer(0), bells.isRung(0)]).to.deep.equal([true, true, false]);
  });

  it('is woken by a ring, and stays rung', () => {
    const { bells, isEnded } = setUp();
    const rung = (): boolean => {
      bells.ring(0);
      return true;
    };
    expect(isEnded(rung)).to.equal(true);
    expect(bells.answer(0)).to.equal(true);
  });

  it('keeps its token, and sleeps with it', () => {
    const { bells, isEnded } = setUp();
    bells.grant(0);
    const began = performance.now();
    bells.doze(0, 5, () => true);
    expect(performance.now() - began).to.be.above(4);
    const nudged = (): boolean => {
      bells.nudge(0);
      return true;
    };
    expect(isEnded(nudged)).to.equal(true);
    expect([bells.hasToken(0), bells.isRung(0)]).to.deep.equal([true, false]);
  });

  it('is not disturbed by what is meant for another', () => {
    const { i32, bells } = setUp();
    const began = performance.now();
    bells.doze(0, 5, () => {
      bells.nudge(1);
      bells.ring(1);
      return true;
    });
    expect(performance.now() - began).to.be.above(4);
    expect(i32[0]).to.equal(0);
    expect(bells.isRung(1)).to.equal(true);
  });

  it('hardly ever sleeps through a change of what it waits for', async () => {
    const rounds = 1000;
    const { i32, done } = race('dozer', 1, rounds);
    const bells = doorbells(i32, 4 * BELLS);
    await new Promise((resolve) => setTimeout(resolve, 1));
    waitForStart(i32, 1);
    for (let n = 0; n < rounds; n++) {
      // Awake, or about to sleep, or asleep: a little later each time.
      for (let k = 0; k < 200 * (n % 16); k++) Atomics.load(i32, COUNTER);
      // A plain store, as of a floor: the look whether anybody sleeps may overtake it, but not often.
      i32[COUNTER] = n + 1;
      bells.nudge(0);
      expect(Atomics.wait(i32, AREA, n, 30_000)).to.not.equal('timed-out');
    }
    await done;
    expect(i32[AREA + 16]).to.be.below(rounds / 20);
  });
});
