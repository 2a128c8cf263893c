import { expect } from 'chai';
import { MachineEnded } from '../../src/shared/spinlock.js';
import { allRest, type StopMachine, stopMachine } from '../../src/shared/stop-machine.js';
import { PATIENCE_MS, race } from './race.js';
import { AREA, COUNTER, type RacerData, STOPS } from './racer.js';

const RACERS = 2;
const MS = 150;

/** What went wrong in a race of workers that stop each other, and how often they did. */
async function outcome(job: RacerData['job']): Promise<{ torn: number; lost: number; stops: number[] }> {
  const { i32, done } = race(job, RACERS, MS, (words) => allRest(words, 4 * STOPS, RACERS));
  await done;
  const count = (self: number, k: number): number => i32[COUNTER + 16 * self + k]!;
  const stops = [count(0, 2), count(1, 2)];
  let [torn, lost] = [0, 0];
  for (let self = 0; self < RACERS; self++) {
    torn += count(self, 0);
    for (const k of [0, 1]) lost += Math.abs(count(self, 1) + stops[0]! + stops[1]! - i32[AREA + 16 * self + k]!);
  }
  return { torn, lost, stops };
}

describe('stopping the machine', () => {
  it('is done between turns of the others, and of two at the same time one after the other', async () => {
    const { torn, lost, stops } = await outcome('stopped');
    expect([torn, lost]).to.deep.equal([0, 0]);
    expect(Math.min(...stops)).to.be.above(10);
  });

  it('finds turns half done, and loses some, where it does not wait for the others', async () => {
    const until = performance.now() + PATIENCE_MS;
    let found = { torn: 0, lost: 0 };
    while (found.torn + found.lost === 0 && performance.now() < until) found = await outcome('stoppedCarelessly');
    expect(found.torn + found.lost).to.be.above(0);
  });

  const two = (isEnded = (): boolean => false): [Int32Array, StopMachine, StopMachine] => {
    const i32 = new Int32Array(new SharedArrayBuffer(4096));
    allRest(i32, 0, 2);
    return [i32, stopMachine(i32, 0, 0, 2, 0, isEnded), stopMachine(i32, 0, 1, 2, 0, isEnded)];
  };

  it('gives what was done, also from within itself, and lets the others go on when that throws', () => {
    const [, mine, other] = two();
    mine.begin();
    expect(mine.stopped(() => mine.stopped(() => 7))).to.equal(7);
    expect(() =>
      mine.stopped(() => {
        throw new RangeError('no');
      }),
    ).to.throw(RangeError, 'no');
    expect(other.isAsked()).to.equal(false);
    other.begin();
  });

  it('asks those who run to stop', () => {
    const [, mine, other] = two();
    let isAsked = false;
    mine.stopped(() => {
      isAsked = other.isAsked();
    });
    expect(isAsked).to.equal(true);
    expect(other.isAsked()).to.equal(false);
  });

  it('waits for nobody in a machine that has ended', () => {
    const [, mine, other] = two(() => true);
    other.begin();
    expect(() => mine.stopped(() => {})).to.throw(MachineEnded);
    // The machine stays stopped: nobody takes a turn any more.
    expect(() => other.giveWay()).to.throw(MachineEnded);
  });
});
