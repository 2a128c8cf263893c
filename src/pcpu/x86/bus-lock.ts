/**
 * The bus lock of machine code that runs on several workers at the same time: for locked accesses that are no single one of the host's
 * (unaligned ones, in two pages, of 16 bytes, to code). A locked access that is one announces itself in a word of its worker's and then
 * looks at the bus; who takes the bus looks at those words afterwards. Both write before they look, and in one order for all, so one of
 * the two sees the other (Dekker). Accesses that are not locked take no notice, as there is no one of the host's that could stop them.
 */
import { type Region, rawRegion } from '../../shared/image.js';
import { outwait } from './outwait.js';

/** A cache line for each: first the bus, then the workers. */
const LINE = 64;
export const busRegion = (workers: number): Region => rawRegion('x86-bus', LINE, 1 + workers);

export interface BusLock {
  /** Image addresses of the word that says who has the bus (worker + 1, 0 = nobody) and of this worker's announcement. */
  readonly owner: number;
  readonly announced: number;
  /** What this worker has in `owner`. */
  readonly self: number;
  acquire(): void;
  release(): void;
  isHeld(): boolean;
  /** Returns when nobody else has it. */
  wait(): void;
}

/**
 * @param base image address of the region
 * @param self number of the worker, of so many
 * @param waiting called now and then while another worker is waited for, which may be gone
 */
export function busLock(
  i32: Int32Array,
  base: number,
  self: number,
  workers: number,
  waiting: () => void = () => {},
): BusLock {
  const OWNER = base >> 2;
  const announcement = (w: number): number => (base + LINE * (1 + w)) >> 2;
  const own = self + 1;

  function wait(): void {
    for (;;) {
      const owner = Atomics.load(i32, OWNER);
      if (owner === 0 || owner === own) return;
      outwait(i32, OWNER, owner, waiting);
    }
  }

  return {
    owner: base,
    announced: base + LINE * (1 + self),
    self: own,
    acquire() {
      while (Atomics.compareExchange(i32, OWNER, 0, own) !== 0) wait();
      for (let w = 0; w < workers; w++) if (w !== self) outwait(i32, announcement(w), 1, waiting);
    },
    release() {
      Atomics.store(i32, OWNER, 0);
      Atomics.notify(i32, OWNER);
    },
    isHeld: () => Atomics.load(i32, OWNER) === own,
    wait,
  };
}
