/** Run queues without a hypervisor: pCPUs that are on line, VCPUs that may run everywhere, and what tests ask of them. */

import { balancerRegions, hardMask, ONLINE_MASK, softMask, WHOLE } from '../../src/balancer/records.js';
import { type RunQueues, runQueues } from '../../src/balancer/run-queues.js';
import { Image, layOut } from '../../src/shared/image.js';
import { NONE } from '../../src/shared/list.js';
import { sharedWords } from '../../src/shared/shared-words.js';
import { LOCK_RANK, type Spinlocks, spinlockRegions, spinlocks } from '../../src/shared/spinlock.js';

export interface Queues extends RunQueues {
  readonly locks: Spinlocks;
  /** Puts v with priority `pri` behind its equals in p's queue, as a policy does. */
  enqueue(v: number, p: number, pri: number): void;
  setAffinity(v: number, hard: readonly number[], soft?: readonly number[]): void;
  setIdle(p: number): void;
  /** The queue of p, first to run first. */
  queue(p: number): number[];
}

export function makeQueues(pcpus: number, vcpus: number): Queues {
  const shape = { pcpus, vcpus, groups: 1, pools: 1 };
  const image = Image.create(layOut([...balancerRegions(shape), ...spinlockRegions(pcpus, pcpus)]));
  const queues = runQueues(image, shape, sharedWords(image.i32, image.u8, 'never'));
  const locks = spinlocks(image.i32, image.f64, image.region('spinlocks').base, image.region('held-locks').base, {
    debug: true,
  });
  const { masks, word, entry, list } = queues;

  function setMask(mask: number, cpus: readonly number[]): void {
    for (let p = 0; p < pcpus; p++) {
      if (cpus.includes(p)) masks.set(word(mask), p);
      else masks.clear(word(mask), p);
    }
  }

  const all = Array.from({ length: pcpus }, (_, p) => p);
  setMask(ONLINE_MASK, all);
  masks.assign(queues.pool(0), all);
  for (let p = 0; p < pcpus; p++) queues.setGroup(p, 0, WHOLE);
  for (let p = 0; p < pcpus; p++) locks.init(p, LOCK_RANK.runQueue);
  for (let v = 0; v < vcpus; v++) {
    setMask(hardMask(v), all);
    setMask(softMask(v), all);
  }
  return {
    ...queues,
    locks,
    enqueue(v, p, pri) {
      entry.setProcessor(v, p);
      entry.setPri(v, pri);
      queues.insert(v);
      queues.addRunnable(p, 1);
    },
    setAffinity(v, hard, soft) {
      setMask(hardMask(v), hard);
      setMask(softMask(v), soft ?? hard);
      entry.setHasSoftAffinity(v, soft === undefined ? 0 : 1);
    },
    setIdle: (p) => masks.set(queues.idlers(p), p),
    queue(p) {
      const out: number[] = [];
      for (let v = list.first(p); v !== NONE; v = list.next(v)) out.push(v);
      return out;
    },
  };
}
