import { expect } from 'chai';
import { doorbells } from '../../src/shared/doorbell.js';
import { race } from './race.js';
import { AREA, COUNTER } from './racer.js';

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
