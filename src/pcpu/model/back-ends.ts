/**
 * What domain 0 does for domains that have a console ring and a xenstore page: xenconsoled (tools/console) and xenstored. Both are woken by
 * an event of the domain's, compute for a while, then take what is in the ring, put what there is for it, and send an event back.
 *
 * A ring is the guest's to write at any time: each index is read once, and one that is more than a ring's length off is left alone.
 */
import type { Image } from '../../shared/image.js';
import { acquireWord, releaseWord } from '../../shared/shared-words.js';
import { exchange } from '../../xenstore/ring.js';
import { load, save } from '../../xenstore/saved.js';
import { BACK_END, CONSOLE_IN_BYTES, SERVES, XENSTORE_BYTES } from './back-end-records.js';
import type { GuestHypercalls } from './hypercalls.js';
import type { ModelMemory } from './memory.js';

/** struct xencons_interface (io/console.h). */
export const XENCONS = { in: 0, out: 1024, inCons: 3072, inProd: 3076, outCons: 3080, outProd: 3084 } as const;
export const XENCONS_IN_BYTES = 1024;
export const XENCONS_OUT_BYTES = 2048;

/** What a daemon takes to be scheduled and look around, for a byte of the console, and for each time at xenstore, ns. */
const LOOK_NS = 5_000;
const BYTE_NS = 10;
const STORE_NS = 20_000;

export interface BackEnds {
  /** Binds to the ports of all domains. By domain 0's VCPU that boots. */
  bind(v: number): void;
  /**
   * Begins to serve those domains whose ports `takePort` finds pending.
   * @returns what that takes, ns; 0: there are none
   */
  begin(v: number, takePort: (port: number) => boolean): number;
  /** Serves them. */
  finish(v: number): void;
}

/** A region as bytes. */
const bytesOf = ({ u8 }: Image, base: number, length: number): Uint8Array => u8.subarray(base, base + length);

/** Saves a store in the image. @throws RangeError where it has no room */
export function saveStore(image: Image, state: Parameters<typeof save>[0]): void {
  const bytes = save(state);
  const { base } = image.region('xenstore');
  if (bytes.length > XENSTORE_BYTES - 4) throw new RangeError('xenstore has no room for all that is in it');
  image.i32[base >> 2] = bytes.length;
  image.u8.set(bytes, base + 4);
}

export function backEnds(mem: ModelMemory, calls: GuestHypercalls): BackEnds {
  const { hv } = mem;
  const { image, shape } = hv.context;
  const { i32, u8 } = image;
  const back = image.table(BACK_END);
  const count = shape.xenFrames === 0 ? 0 : image.region(BACK_END.name).count;
  const typedColumn = image.column(BACK_END, 'typed');
  const typedBytes = (b: number): number => Atomics.load(i32, typedColumn.base + (b << typedColumn.shift));
  const all = Array.from({ length: count }, (_, b) => b);
  const word = (page: number, at: number): number => (page + at) >> 2;

  /** Bytes of the console ring's two halves. @returns whether any have moved */
  function serveConsole(b: number): boolean {
    const page = back.console(b);
    const typed = image.region('console-in').base + b * CONSOLE_IN_BYTES;
    const [cons, prod] = [i32[word(page, XENCONS.outCons)]!, acquireWord(i32, word(page, XENCONS.outProd))];
    const length = (prod - cons) >>> 0;
    let isMoved = false;
    if (length > 0 && length <= XENCONS_OUT_BYTES) {
      hv.consoles.write(
        back.domain(b),
        Uint8Array.from({ length }, (_, n) => u8[page + XENCONS.out + ((cons + n) & (XENCONS_OUT_BYTES - 1))]!),
      );
      releaseWord(i32, word(page, XENCONS.outCons), prod);
      isMoved = true;
    }
    const [inCons, inProd] = [acquireWord(i32, word(page, XENCONS.inCons)), i32[word(page, XENCONS.inProd)]!];
    const used = (inProd - inCons) >>> 0;
    const waiting = (typedBytes(b) - back.given(b)) >>> 0;
    const n = used <= XENCONS_IN_BYTES ? Math.min(XENCONS_IN_BYTES - used, waiting) : 0;
    for (let k = 0; k < n; k++)
      u8[page + XENCONS.in + ((inProd + k) & (XENCONS_IN_BYTES - 1))] =
        u8[typed + ((back.given(b) + k) & (CONSOLE_IN_BYTES - 1))]!;
    if (n === 0) return isMoved;
    back.setGiven(b, (back.given(b) + n) | 0);
    releaseWord(i32, word(page, XENCONS.inProd), (inProd + n) | 0);
    return true;
  }

  /** Requests of the domains that want something of xenstore. @returns back ends whose domains are to be told */
  function serveStore(wanted: readonly number[]): Set<number> {
    const told = new Set<number>();
    const { base } = image.region('xenstore');
    const state = load(u8.slice(base + 4, base + 4 + i32[base >> 2]!));
    const left = [...wanted];
    for (let b = left.shift(); b !== undefined; b = left.shift()) {
      const { isMoved, others } = exchange(
        state,
        hv.context.domain.id(back.domain(b)),
        bytesOf(image, back.xenstore(b), 4096),
      );
      if (isMoved) told.add(b);
      for (const other of all)
        if (others.includes(hv.context.domain.id(back.domain(other))) && !left.includes(other)) left.push(other);
    }
    saveStore(image, state);
    return told;
  }

  return {
    bind(v) {
      for (const b of all) {
        const domid = hv.context.domain.id(back.domain(b));
        back.setConsolePort(b, Math.max(0, calls.bindInterdomain(v, domid, back.consoleRemote(b))));
        back.setXenstorePort(b, Math.max(0, calls.bindInterdomain(v, domid, back.xenstoreRemote(b))));
      }
    },
    begin(_v, takePort) {
      let ns = 0;
      for (const b of all) {
        if (back.consolePort(b) !== 0 && takePort(back.consolePort(b))) {
          back.setWanted(b, back.wanted(b) | SERVES.console);
          const page = back.console(b);
          const bytes = (i32[word(page, XENCONS.outProd)]! - i32[word(page, XENCONS.outCons)]!) >>> 0;
          ns += LOOK_NS + BYTE_NS * Math.min(bytes, XENCONS_OUT_BYTES);
        }
        if (back.xenstorePort(b) !== 0 && takePort(back.xenstorePort(b))) {
          back.setWanted(b, back.wanted(b) | SERVES.xenstore);
          ns += LOOK_NS + STORE_NS;
        }
      }
      return ns;
    },
    finish(v) {
      const wanted = all.filter((b) => back.wanted(b) !== 0);
      const isFor = (b: number, what: number): boolean => (back.wanted(b) & what) !== 0;
      const asking = wanted.filter((b) => isFor(b, SERVES.xenstore));
      const told = asking.length > 0 ? serveStore(asking) : new Set<number>();
      for (const b of wanted) {
        if (isFor(b, SERVES.console) && serveConsole(b)) calls.send(v, back.consolePort(b));
        back.setWanted(b, 0);
      }
      for (const b of told) calls.send(v, back.xenstorePort(b));
    },
  };
}
