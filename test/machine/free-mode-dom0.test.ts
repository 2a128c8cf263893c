/** Free mode on real worker threads: pCPUs go off line and come back, and domains end, while everything runs. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { Machine } from '../../src/machine/machine.js';
import { guest, machineConfig, workload } from '../support/in-process.js';

const racers = (n: number) =>
  guest({
    name: `racers${n}`,
    vcpus: 2,
    workload: workload({ r: { instance: 3, loop: -1, run0: 20, lock: 'm', run1: 5, unlock: 'm', sleep: 30 } }),
  });

/** Under null a VCPU that loses its pCPU may keep a lock for ever, and all who want it wait: there are none. */
const loners = (n: number) =>
  guest({
    name: `loners${n}`,
    vcpus: 2,
    workload: workload({ r: { instance: 3, loop: -1, run: 25, sleep: 30 } }),
  });

describe('a machine in free mode', () => {
  for (const [what, over] of [
    ['with pauses where races live', { jitterSeed: 7 }],
    ['without', {}],
    ['under sedf', { scheduler: 'sedf', jitterSeed: 3 }],
    ['under null', { scheduler: 'null', jitterSeed: 5 }],
  ] as const) {
    it(`keeps all records right while pCPUs go and come and domains end, ${what}`, async function () {
      this.timeout(120_000);
      const random = xoroshiro128plus(11);
      const draw = (below: number): number => uniformInt(random, 0, below - 1);
      const machine = await Machine.create(
        machineConfig({
          mode: 'free',
          pcpus: 4,
          threads: 3,
          durationNs: Infinity,
          seed: 1,
          guests: [1, 2, 3, 4, 5, 6].map(what === 'under null' ? loners : racers),
          ...over,
        }),
      );
      const running = machine.run();
      let victim = 2;
      for (let n = 0; n < 24; n++) {
        const p = 1 + draw(3);
        await (draw(2) === 0 ? machine.offline(p) : machine.online(p));
        await delay(5 + draw(20));
        if (n % 5 === 4) await machine.destroy(victim++);
        await machine.pause();
        // What was told to leave may still be on its way; everything else is as it must be.
        expect(machine.verify()).to.deep.equal([]);
        await machine.resume();
      }
      for (const p of [1, 2, 3]) await machine.online(p);
      await delay(50);
      const before = machine.work().reduce((a, b) => a + b, 0);
      await delay(100);
      await machine.pause();
      expect(machine.verify()).to.deep.equal([]);
      expect((await machine.domains()).map(({ id }) => id)).to.deep.equal([1, 6]);
      expect(machine.work().reduce((a, b) => a + b, 0)).to.be.above(before);
      await machine.stop();
      await running;
    });
  }
});
