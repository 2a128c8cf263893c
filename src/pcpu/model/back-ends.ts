/**
 * What domain 0 does for domains that have a console ring and a xenstore page: xenconsoled (tools/console) and xenstored. Both are woken by
 * an event of the domain's, compute for a while, then take what is in the ring, put what there is for it, and send an event back. When a
 * domain has ended, which the hypervisor tells by VIRQ_DOM_EXC, they let go of its pages.
 *
 * A ring is the guest's to write at any time: each index is read once, and one that is more than a ring's length off is left alone.
 */
import { FOREIGN_FIRST } from '../../hv/mm/records.js';
import { type Image, PAGE_SIZE } from '../../shared/image.js';
import * as D from '../../shared/public/domctl.js';
import { xen_domctl, xen_domctl_getdomaininfo } from '../../shared/public/domctl-layout.js';
import { XEN_EINVAL } from '../../shared/public/errno.js';
import { EVTCHNOP_close } from '../../shared/public/event-channel.js';
import { offsetsOf } from '../../shared/public/layout.js';
import * as X from '../../shared/public/xen.js';
import { acquireWord, releaseWord } from '../../shared/shared-words.js';
import { type Guest, guestNodes, makeNodes } from '../../xenstore/guest-nodes.js';
import { exchange, queue } from '../../xenstore/ring.js';
import { load, save } from '../../xenstore/saved.js';
import { domainDestroyed, domainShutDown, serve } from '../../xenstore/server.js';
import type { Delivery, State } from '../../xenstore/state.js';
import { strings, XS_INTRODUCE } from '../../xenstore/wire.js';
import { BACK_END, CONSOLE_IN_BYTES, SERVES, XENSTORE_BYTES } from './back-end-records.js';
import { foreignFrames } from './foreign-frames.js';
import type { ArgumentArea, GuestHypercalls } from './hypercalls.js';
import type { ModelMemory } from './memory.js';

/** struct xencons_interface (io/console.h). */
export const XENCONS = { in: 0, out: 1024, inCons: 3072, inProd: 3076, outCons: 3080, outProd: 3084 } as const;
export const XENCONS_IN_BYTES = 1024;
export const XENCONS_OUT_BYTES = 2048;

/** What a daemon takes to be scheduled and look around, for a byte of the console, and for each time at xenstore, ns. */
const LOOK_NS = 5_000;
const BYTE_NS = 10;
const STORE_NS = 20_000;
/** Where the pages of a domain's rings are mapped: two frames each, from here on of those for foreign ones. */
export const RING_FRAMES = 64;
const RINGS = 2;

/** What is known of a domain before it is built. */
export type PlannedGuest = Omit<Guest, 'domid' | 'console' | 'store'>;

export interface BackEnds {
  /** Binds to the ports of all domains that are there. By domain 0's VCPU that boots. */
  bind(v: number): void;
  /** Domain d, which domain 0 has just built, is served from now on. @returns 0, or a negated errno */
  introduce(v: number, d: number, guest: PlannedGuest, rings: Pick<Guest, 'console' | 'store'>): number;
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
export function saveStore(image: Image, state: State): void {
  const bytes = save(state);
  const { base } = image.region('xenstore');
  if (bytes.length > XENSTORE_BYTES - 4) throw new RangeError('xenstore has no room for all that is in it');
  image.i32[base >> 2] = bytes.length;
  image.u8.set(bytes, base + 4);
}

/** What a toolstack tells xenstored of a new domain, and writes for it. @returns messages for those who watch */
export function introduce(state: State, guest: Guest): Delivery[] {
  const payload = strings(`${guest.domid}`, `${guest.store.ref}`, `${guest.store.port}`);
  const told = serve(state, 0, { type: XS_INTRODUCE, reqId: 0, txId: 0, payload });
  return [...told.filter(({ domid }) => domid !== 0), ...makeNodes(state, guestNodes(guest))];
}

export function backEnds(mem: ModelMemory, calls: GuestHypercalls): BackEnds {
  const { hv, kd, kv } = mem;
  const { image, shape } = hv.context;
  const { i32, u8 } = image;
  const foreign = foreignFrames(hv, calls);
  const frames = image.region('frames').base;
  const back = image.table(BACK_END);
  const count = shape.xenFrames === 0 ? 0 : image.region(BACK_END.name).count;
  const typedColumn = image.column(BACK_END, 'typed');
  const typedBytes = (b: number): number => Atomics.load(i32, typedColumn.base + (b << typedColumn.shift));
  const all = Array.from({ length: count }, (_, b) => b);
  const word = (page: number, at: number): number => (page + at) >> 2;
  const domidOf = (b: number): number => hv.context.domain.id(back.domain(b));
  const isNews = (b: number, domids: readonly number[]): boolean =>
    back.isServed(b) !== 0 && domids.includes(domidOf(b));

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

  /**
   * Requests of the domains that want something of xenstore.
   * @param change something that happens before, and is to be told of
   * @returns back ends whose domains are to be told
   */
  function serveStore(
    wanted: readonly number[],
    change: (state: State) => readonly Delivery[] = () => [],
  ): Set<number> {
    const told = new Set<number>();
    const { base } = image.region('xenstore');
    const state = load(u8.slice(base + 4, base + 4 + i32[base >> 2]!));
    const news = queue(state, change(state));
    const left = all.filter((b) => back.isServed(b) !== 0 && (wanted.includes(b) || news.includes(domidOf(b))));
    for (let b = left.shift(); b !== undefined; b = left.shift()) {
      const { isMoved, others } = exchange(state, domidOf(b), bytesOf(image, back.xenstore(b), PAGE_SIZE));
      if (isMoved) told.add(b);
      for (const other of all) if (isNews(other, others) && !left.includes(other)) left.push(other);
    }
    saveStore(image, state);
    return told;
  }

  function bindPorts(v: number, b: number): void {
    back.setConsolePort(b, Math.max(0, calls.bindInterdomain(v, domidOf(b), back.consoleRemote(b))));
    back.setXenstorePort(b, Math.max(0, calls.bindInterdomain(v, domidOf(b), back.xenstoreRemote(b))));
  }

  const ringsAt = (b: number): number => FOREIGN_FIRST + RING_FRAMES + RINGS * b;
  const area = (v: number): ArgumentArea => ({ at: kv.argAddr(v), guest: kv.argGuest(v) });

  /** XEN_DOMINF_* of the domain of this number; undefined: there is none. */
  function flagsOf(v: number, domid: number): number | undefined {
    const F = offsetsOf(xen_domctl, 64);
    const INFO = offsetsOf(xen_domctl_getdomaininfo, 64);
    const arg = kv.argAddr(v);
    const rc = calls.domctl(v, D.XEN_DOMCTL_getdomaininfo, domid, area(v));
    // It answers with the next one where there is none of this number.
    if (rc < 0 || hv.memory.u16(arg + F.domain) !== domid) return undefined;
    return hv.memory.u32(arg + F['u.getdomaininfo'] + INFO.flags);
  }

  /** Looks which domains have shut down or are gone. @returns what xenstored tells of that */
  function lookForEnds(v: number, state: State): Delivery[] {
    const told: Delivery[] = [];
    for (const b of all) {
      if (back.isServed(b) === 0) continue;
      // Its record may be another's by now.
      const domid = back.domid(b);
      const flags = flagsOf(v, domid);
      if (flags !== undefined && (flags & D.XEN_DOMINF_dying) === 0) {
        if ((flags & D.XEN_DOMINF_shutdown) === 0 || back.isShutDown(b) !== 0) continue;
        back.setIsShutDown(b, 1);
        told.push(...domainShutDown(state, domid));
        continue;
      }
      back.setIsServed(b, 0);
      for (const port of [back.consolePort(b), back.xenstorePort(b)]) {
        i32[kv.argAddr(v) >> 2] = port;
        calls.call(v, X.__HYPERVISOR_event_channel_op, EVTCHNOP_close, kv.argGuest(v), 0, 0);
      }
      back.setConsolePort(b, 0);
      back.setXenstorePort(b, 0);
      foreign.unmap(v, ringsAt(b), RINGS, area(v));
      told.push(...domainDestroyed(state, domid));
    }
    return told;
  }

  return {
    bind(v) {
      for (const b of all) {
        if (back.isServed(b) === 0) continue;
        const mfns = [back.console(b), back.xenstore(b)].map((page) => (page - frames) / PAGE_SIZE);
        foreign.map(v, domidOf(b), ringsAt(b), mfns, area(v));
        bindPorts(v, b);
      }
      if (all.length > 0) kd.setEndsPort(0, Math.max(0, calls.bindVirq(v, X.VIRQ_DOM_EXC, 0)));
    },
    introduce(v, d, guest, rings) {
      const b = all.find((each) => back.domain(each) === d);
      if (b === undefined || back.isServed(b) !== 0) return -XEN_EINVAL;
      const rc = foreign.map(v, domidOf(b), ringsAt(b), [rings.console.ref, rings.store.ref], area(v));
      if (rc !== 0) {
        foreign.unmap(v, ringsAt(b), RINGS, area(v));
        return rc;
      }
      back.setIsServed(b, 1);
      back.setIsShutDown(b, 0);
      back.setDomid(b, domidOf(b));
      back.setConsole(b, foreign.pageAt(ringsAt(b)));
      back.setXenstore(b, foreign.pageAt(ringsAt(b) + 1));
      back.setConsoleRemote(b, rings.console.port);
      back.setXenstoreRemote(b, rings.store.port);
      bindPorts(v, b);
      const told = serveStore([], (state) => introduce(state, { ...guest, ...rings, domid: domidOf(b) }));
      for (const other of told) calls.send(v, back.xenstorePort(other));
      // What was typed before.
      if (serveConsole(b)) calls.send(v, back.consolePort(b));
      return 0;
    },
    begin(_v, takePort) {
      let ns = 0;
      if (kd.endsPort(0) !== 0 && takePort(kd.endsPort(0))) {
        kd.setHasEnds(0, 1);
        ns += LOOK_NS + STORE_NS;
      }
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
      const hasEnds = kd.hasEnds(0) !== 0;
      kd.setHasEnds(0, 0);
      const told =
        asking.length > 0 || hasEnds
          ? serveStore(asking, (state) => (hasEnds ? lookForEnds(v, state) : []))
          : new Set<number>();
      for (const b of wanted) {
        if (isFor(b, SERVES.console) && back.isServed(b) !== 0 && serveConsole(b)) calls.send(v, back.consolePort(b));
        back.setWanted(b, 0);
      }
      for (const b of told) calls.send(v, back.xenstorePort(b));
    },
  };
}
