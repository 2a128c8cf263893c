import { expect } from 'chai';
import { beginUpdate, endUpdate, isConsistent, readVersion, versionCounter } from '../../src/shared/version-counter.js';
import { race, waitForStart } from './race.js';
import { AREA, PAYLOAD, STOP } from './racer.js';

interface Reads {
  consistent: number;
  torn: number;
  /** Different values among the consistent reads: did the writer write meanwhile? */
  readonly values: Set<number>;
}

/** Reads the payload `reads` times against a writer of another thread. */
async function readAgainst(writer: 'versioned' | 'bumpedOnce', reads: number, untilTorn: boolean): Promise<Reads> {
  const { i32, done } = race(writer, 1, 0);
  const result: Reads = { consistent: 0, torn: 0, values: new Set() };
  const copy = new Int32Array(PAYLOAD);
  await new Promise((resolve) => setTimeout(resolve, 1));
  waitForStart(i32, 1);
  // A writer that was put off its core lets the same value be read a million times: that is no race yet.
  const isEnough = (): boolean => result.consistent >= reads && (untilTorn || result.values.size > FEW);
  for (let n = 0; n < reads * 200 && !isEnough(); n++) {
    const version = readVersion(i32, AREA);
    for (let k = 0; k < PAYLOAD; k++) copy[k] = i32[AREA + 1 + k]!;
    if (!isConsistent(i32, AREA, version)) continue;
    result.consistent++;
    result.values.add(copy[0]!);
    if (copy.some((x) => x !== copy[0])) {
      result.torn++;
      if (untilTorn) break;
    }
  }
  Atomics.store(i32, STOP, 1);
  await done;
  return result;
}

/** Different values that have to be read before a writer counts as one that wrote meanwhile. */
const FEW = 10;

describe('the version counter', () => {
  it('lets no torn read pass while another thread writes', async () => {
    const { torn, values, consistent } = await readAgainst('versioned', 300_000, false);
    expect(torn).to.equal(0);
    expect(consistent).to.be.above(0);
    expect(values.size).to.be.above(FEW);
  });

  it('is needed: with the version bumped only once, torn reads pass', async () => {
    const { torn } = await readAgainst('bumpedOnce', 50_000_000, true);
    expect(torn).to.be.above(0);
  });

  for (const exclusive of [false, true]) {
    const kind = exclusive ? 'plain' : 'atomic';

    it(`is odd during an update and even, but another, after it (${kind})`, () => {
      const i32 = new Int32Array(new SharedArrayBuffer(64));
      const counter = versionCounter(i32, exclusive);
      counter.beginUpdate(3);
      expect(i32[3]).to.equal(1);
      expect(counter.isConsistent(3, counter.readVersion(3))).to.equal(false);
      counter.endUpdate(3);
      expect(i32[3]).to.equal(2);
      expect(counter.isConsistent(3, 2)).to.equal(true);
      expect(counter.isConsistent(3, 0)).to.equal(false);
    });

    it(`recovers from a version that was left odd, and from its overflow (${kind})`, () => {
      const i32 = new Int32Array(new SharedArrayBuffer(64));
      const counter = versionCounter(i32, exclusive);
      for (const [left, during, after] of [
        [5, 7, 8],
        [-1, 1, 2],
        [-2, -1, 0],
      ] as const) {
        i32[3] = left;
        counter.beginUpdate(3);
        expect(i32[3]).to.equal(during);
        counter.endUpdate(3);
        expect(i32[3]).to.equal(after);
      }
    });
  }

  it('touches no word but the version', () => {
    const i32 = new Int32Array(new SharedArrayBuffer(64));
    beginUpdate(i32, 3);
    endUpdate(i32, 3);
    expect([...i32].filter((x) => x !== 0)).to.deep.equal([2]);
  });
});
