/**
 * Guests beside the turns against a model that knows when each guest comes to its exit. Workers are taken in any order, and at each of
 * the protocol's atomic accesses, and while a guest is being run, others may go on: what a thread would see that is held up there.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import type { HvContext } from '../../src/hv/context.js';
import type { Hypervisor } from '../../src/hv/hypervisor.js';
import { PCPU } from '../../src/hv/records.js';
import { keyTree, keyTreeRegions } from '../../src/pcpu/key-tree.js';
import { type GoOn, NEXT, type RunAhead, runAhead, runAheadRegions } from '../../src/pcpu/run-ahead.js';
import { type Executor, turns } from '../../src/pcpu/turn.js';
import { Image, layOut, tableRegion } from '../../src/shared/image.js';

interface Rules {
  readonly seed: number;
  readonly pcpus: number;
  readonly latencyNs: number;
  /** Of guests, at most. */
  readonly computeNs: number;
  readonly longestNs: number;
  readonly endNs: number;
}

interface Threads {
  readonly seed: number;
  readonly workers: number;
  readonly helpers: number;
  /** One in so many atomic accesses lets another worker go on. */
  readonly oneIn: number;
  /** Where the machine stands still on its way, ns. */
  readonly pauses: readonly number[];
}

const PCPU_TIMES = [
  ...['setTimerAt', 'setGuestAt', 'setSliceEnd', 'setTickAt', 'setPeriodicAt', 'setCalibrateAt'],
  ...['setReschedIpiAt', 'setEventIpiAt'],
] as const;

/** What a turn does, drawn from its pCPU's own numbers: so a turn too many, or too early, makes all that follow others. */
class Model {
  readonly rules: Rules;
  readonly image: Image;
  readonly pcpu: HvContext['pcpu'];
  readonly keys;
  readonly stream: [ns: number, p: number][] = [];
  nowNs = 0;
  turnOf = 0;
  /** Of each pCPU's guest: what it has to compute until its exit, since when, and up to where it has been run. */
  readonly guests;
  readonly draws;

  constructor(rules: Rules) {
    this.rules = rules;
    const { pcpus, seed } = rules;
    this.image = Image.create(
      layOut([...keyTreeRegions(pcpus, 1), tableRegion(PCPU, pcpus), ...runAheadRegions(pcpus, 4)]),
    );
    this.pcpu = this.image.table(PCPU);
    this.keys = keyTree(this.image, pcpus, 0);
    this.keys.init();
    this.guests = Array.from({ length: pcpus }, () => ({ compute: 0, since: 0, isIn: false, isRun: false }));
    this.draws = Array.from({ length: pcpus }, (_, p) => xoroshiro128plus(seed * 64 + p));
    for (let p = 0; p < pcpus; p++) {
      for (const set of PCPU_TIMES) (this.pcpu[set as 'setTimerAt'] as (p: number, x: number) => void)(p, Infinity);
      this.guests[p]!.compute = this.draw(p, rules.computeNs);
      this.pcpu.setTimerAt(p, this.draw(p, rules.latencyNs));
      this.keys.set(p, this.pcpu.timerAt(p));
    }
  }

  draw(p: number, most: number): number {
    return uniformInt(this.draws[p]!, 1, most);
  }

  /** Without its guest. */
  ownNext = (p: number): number => Math.min(this.pcpu.timerAt(p), this.pcpu.reschedIpiAt(p));

  /** @param world what differs between the model and the real thing */
  take(
    p: number,
    world: { start(p: number): void; stop(p: number): void; sent(q: number): void; end(p: number): void },
  ) {
    const { pcpu, guests, nowNs } = this;
    const { pcpus, latencyNs, computeNs } = this.rules;
    const guest = guests[p]!;
    this.turnOf = p;
    this.stream.push([nowNs, p]);
    const isTimer = pcpu.timerAt(p) <= nowNs;
    const isArrival = pcpu.reschedIpiAt(p) <= nowNs;
    const isExit = guest.isIn && pcpu.guestAt(p) <= nowNs;
    if (isTimer) pcpu.setTimerAt(p, this.draw(p, 3) === 1 ? Infinity : nowNs + this.draw(p, 4 * latencyNs));
    if (isArrival) pcpu.setReschedIpiAt(p, Infinity);
    if (isExit) {
      world.stop(p);
      pcpu.setGuestAt(p, Infinity);
      guest.isIn = false;
      guest.compute = this.draw(p, computeNs);
      for (let n = this.draw(p, 3); n > 1; n--) {
        const q = this.draw(p, pcpus) - 1;
        if (q === p) continue;
        if (this.draw(p, 3) > 1) {
          if (pcpu.reschedIpiAt(q) === Infinity) pcpu.setReschedIpiAt(q, nowNs + latencyNs);
        }
        // What is another's own is set or taken away at once; it learns of it no sooner than that.
        else pcpu.setTimerAt(q, this.draw(p, 3) === 1 ? Infinity : nowNs + this.draw(p, 3 * latencyNs));
        world.sent(q);
      }
      if (this.draw(p, 2) === 1) {
        guest.isIn = true;
        guest.since = nowNs;
        world.start(p);
      } else if (pcpu.timerAt(p) === Infinity) pcpu.setTimerAt(p, nowNs + this.draw(p, 3 * latencyNs));
    } else if ((isTimer || isArrival) && this.draw(p, 2) === 1) {
      if (guest.isIn) {
        world.stop(p);
        pcpu.setGuestAt(p, Infinity);
        guest.isIn = false;
        guest.compute -= nowNs - guest.since;
        if (pcpu.timerAt(p) === Infinity) pcpu.setTimerAt(p, nowNs + this.draw(p, 3 * latencyNs));
      } else {
        guest.isIn = true;
        guest.since = nowNs;
        world.start(p);
      }
    }
    if (!guest.isIn && this.ownNext(p) === Infinity) pcpu.setTimerAt(p, nowNs + this.draw(p, 5 * latencyNs));
    world.end(p);
  }
}

/** The turns as they are to be: each exit is known from the start. */
function expected(rules: Rules): Model['stream'] {
  const model = new Model(rules);
  const { pcpu, keys, guests } = model;
  /** Keys, guests apart. */
  const own = Array.from({ length: rules.pcpus }, (_, p) => keys.key(p));
  const exitOf = (p: number): number => (guests[p]!.isIn ? guests[p]!.since + guests[p]!.compute : Infinity);
  const set = (p: number): void => keys.set(p, Math.min(own[p]!, exitOf(p)));
  for (;;) {
    const p = keys.root();
    model.nowNs = keys.key(p);
    if (model.nowNs >= rules.endNs) return model.stream;
    pcpu.setGuestAt(p, exitOf(p));
    model.take(p, {
      start: () => {},
      stop: () => {},
      sent(q) {
        const soonest = model.nowNs + rules.latencyNs;
        if (!guests[q]!.isIn) own[q] = Math.max(model.ownNext(q), model.nowNs + (q < p ? 1 : 0));
        else own[q] = model.ownNext(q) >= soonest ? model.ownNext(q) : Math.min(own[q]!, soonest);
        set(q);
      },
      end(q) {
        own[q] = Math.max(model.ownNext(q), model.nowNs + 1);
        set(q);
      },
    });
  }
}

/** The turns that workers take, with what went wrong on the way. */
function raced(rules: Rules, { seed, workers, helpers, oneIn, pauses }: Threads): Model['stream'] {
  const model = new Model(rules);
  const { image, pcpu, keys, guests } = model;
  const random = xoroshiro128plus(seed);
  const draw = (most: number): number => uniformInt(random, 1, most);
  const { latencyNs, longestNs, pcpus } = rules;
  /** Up to where each guest has been run. */
  const ranTo = new Float64Array(pcpus);
  const isOn = new Array<boolean>(pcpus).fill(false);
  for (let p = 0; p < pcpus; p++) pcpu.setWorker(p, p % workers);

  function runTo(_v: number, p: number, untilNs: number, goOn: GoOn): number {
    expect(isOn[p], `pCPU ${p} is run by two`).to.equal(false);
    expect(guests[p]!.isIn, `pCPU ${p} is run, and has no guest`).to.equal(true);
    isOn[p] = true;
    const exitAt = guests[p]!.since + guests[p]!.compute;
    for (let to = untilNs; ; ) {
      letOthers();
      expect(to).to.be.at.least(ranTo[p]!);
      // No effect of a turn that is still to come may be sooner.
      for (const [q, guest] of guests.entries())
        if (q !== p && guest.isIn)
          expect(Math.min(exitAt, to), `pCPU ${p}`).to.be.at.most(guest.since + guest.compute + latencyNs);
      ranTo[p] = Math.min(exitAt, to);
      letOthers();
      if (exitAt <= to) break;
      const further = goOn(to);
      if (further <= to) break;
      to = further;
    }
    isOn[p] = false;
    return exitAt <= ranTo[p]! ? exitAt : Infinity;
  }

  const context = {
    pcpu,
    params: { latencyNs, runqLockNs: 0, privateLockNs: 0 },
    shape: { pcpus },
    now: () => model.nowNs,
    machine: { now: () => model.nowNs },
    isOrdered: true,
    me: 0,
  } as unknown as HvContext;
  const views = Array.from({ length: workers }, (_, w) =>
    runAhead(image, context, keys, w, helpers, () => {}, longestNs, runTo),
  );
  const first = views[0]!;
  const hv = {
    ...{ context, smp: { self: () => model.turnOf }, sched: { accounts: () => false } },
    ...{ separation: {}, timers: {}, events: {}, time: {}, deferred: {} },
  };
  const { refresh } = turns(hv as unknown as Hypervisor, {} as Executor, keys, first.isAhead);

  function take(p: number, ahead: RunAhead): void {
    model.nowNs = keys.key(p);
    expect(isOn[p], `a turn of pCPU ${p}, whose guest is run`).to.equal(false);
    for (const [q, guest] of guests.entries()) {
      if (guest.isIn) expect(guest.since + guest.compute, `exit of pCPU ${q}`).to.be.at.least(model.nowNs);
    }
    if (guests[p]!.isIn) expect(ranTo[p], `how far pCPU ${p} was run`).to.equal(model.nowNs);
    model.take(p, {
      start(q) {
        ranTo[q] = model.nowNs;
        ahead.start(q);
      },
      stop: (q) => ahead.stop(q),
      sent: refresh,
      end: (q) => keys.set(q, Math.max(Math.min(pcpu.guestAt(q), model.ownNext(q)), model.nowNs + 1)),
    });
  }

  const stops = [...pauses, rules.endNs].sort((a, b) => a - b);
  let until = stops.shift()!;
  let isOver = false;
  /** Workers in the middle of something, and whether one of them has the token. */
  const busy = new Set<number>();
  let isHeld = false;

  function stand(): void {
    for (const [p, guest] of guests.entries()) {
      if (!guest.isIn) continue;
      const exitAt = guest.since + guest.compute;
      expect(exitAt, `exit of pCPU ${p}, which stands at ${until}`).to.be.at.least(until);
      if (exitAt > until) expect(ranTo[p], `pCPU ${p} stands`).to.equal(until);
    }
    const next = stops.shift();
    if (next === undefined) isOver = true;
    else until = next;
  }

  /** As the ordered loop does. */
  function holdToken(ahead: RunAhead): void {
    if (ahead.isAny()) {
      const next = ahead.advance(until);
      if (next === NEXT.level) stand();
      if (next !== NEXT.turn) return;
    }
    const p = keys.root();
    if (keys.key(p) < until) take(p, ahead);
    if (keys.key(keys.root()) >= until && ahead.isUpTo(until)) stand();
  }

  function step(): void {
    const free = Array.from({ length: workers }, (_, w) => w).filter((w) => !busy.has(w));
    if (free.length === 0) return;
    const w = free[draw(free.length) - 1]!;
    busy.add(w);
    // For a time the holder runs them all.
    if (draw(10) === 1) image.f64[image.region('run-ahead-alone').base >> 3] = draw(2) === 1 ? Infinity : 0;
    if (!isHeld && draw(2) === 1) {
      isHeld = true;
      for (let n = draw(8); n > 0 && !isOver; n--) holdToken(views[w]!);
      isHeld = false;
    } else views[w]!.help();
    busy.delete(w);
  }

  function letOthers(): void {
    if (!isOver && draw(oneIn) === 1) for (let n = draw(6); n > 0; n--) step();
  }

  const { compareExchange, load, store } = Atomics;
  type Words = Int32Array;
  Object.assign(Atomics, {
    compareExchange(words: Words, at: number, a: number, b: number) {
      letOthers();
      const x = compareExchange(words, at, a, b);
      letOthers();
      return x;
    },
    load(words: Words, at: number) {
      letOthers();
      const x = load(words, at);
      letOthers();
      return x;
    },
    store(words: Words, at: number, x: number) {
      letOthers();
      store(words, at, x);
      letOthers();
      return x;
    },
  });
  try {
    for (let n = 0; !isOver; n++) {
      expect(n, 'steps without an end').to.be.below(1e7);
      step();
    }
  } finally {
    Object.assign(Atomics, { compareExchange, load, store });
  }
  return model.stream;
}

const rules = fc.record({
  seed: fc.nat(0xffff),
  pcpus: fc.integer({ min: 1, max: 6 }),
  latencyNs: fc.constantFrom(1, 2, 7, 40, 1000),
  computeNs: fc.constantFrom(1, 30, 300, 5000),
  longestNs: fc.constantFrom(1, 16, 1000),
  endNs: fc.constant(1500),
});
const threads = fc.record({
  seed: fc.nat(0xffff),
  workers: fc.integer({ min: 1, max: 4 }),
  helpers: fc.integer({ min: 1, max: 4 }),
  oneIn: fc.constantFrom(3, 10, 60),
  pauses: fc.array(fc.integer({ min: 1, max: 1499 }), { maxLength: 3 }),
});

describe('guests beside the turns', function () {
  this.timeout(120_000);

  it('make the same turns, however threads interleave', () => {
    fc.assert(
      fc.property(rules, threads, (given, by) => {
        const helpers = Math.min(by.helpers, by.workers);
        expect(raced(given, { ...by, helpers })).to.deep.equal(expected(given));
      }),
      { numRuns: 100 },
    );
  });
});
