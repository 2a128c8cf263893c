import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import fc from 'fast-check';
import { IPI, IPI_KINDS, type IpiKind } from '../../src/hv/smp.js';
import { mail } from '../../src/pcpu/mail.js';
import { Image } from '../../src/shared/image.js';
import { attach, BURST, type Findings, map, PATIENCE_MS, type PosterData, WORKERS, words, workerOf } from './poster.js';

interface Delivery {
  readonly q: number;
  readonly kind: IpiKind;
  readonly at: number;
  readonly sentAt: number;
}

function setUp() {
  const image = Image.create(map);
  const boxes = Array.from({ length: WORKERS }, (_, w) => attach(image, w));
  const [to, a, b] = [boxes[0]!, boxes[1]!, boxes[2]!];
  /** What worker `w` takes, without the acknowledgement. */
  const take = (w = 0): Delivery[] => {
    const out: Delivery[] = [];
    boxes[w]!.take((q, kind, at, sentAt) => out.push({ q, kind, at, sentAt }));
    return out;
  };
  return { image, boxes, to, a, b, take };
}

describe('mail between workers', () => {
  it('is delivered once, with its arrival and when it was sent', () => {
    const { to, a, take } = setUp();
    expect(to.hasMail()).to.equal(false);
    expect(a.post(1, IPI.event, 5000, 3000)).to.equal(true);
    expect(to.hasMail()).to.equal(true);
    expect(take()).to.deep.equal([{ q: 1, kind: IPI.event, at: 5000, sentAt: 3000 }]);
    expect(to.hasMail()).to.equal(false);
    expect(take()).to.deep.equal([]);
  });

  it('has one place for each kind, where the earliest arrival counts', () => {
    const { a, take } = setUp();
    expect(a.post(0, IPI.event, 5000, 3000)).to.equal(true);
    expect(a.post(0, IPI.event, 6000, 4000)).to.equal(false);
    expect(a.post(0, IPI.event, 4500, 2500)).to.equal(false);
    expect(a.post(0, IPI.event, 4500, 2600)).to.equal(false);
    expect(take()).to.deep.equal([{ q: 0, kind: IPI.event, at: 4500, sentAt: 2500 }]);
    // The next one is the first again.
    expect(a.post(0, IPI.event, 9000, 7000)).to.equal(true);
    expect(take()).to.deep.equal([{ q: 0, kind: IPI.event, at: 9000, sentAt: 7000 }]);
  });

  it('keeps kinds and pCPUs apart', () => {
    const { a, take } = setUp();
    for (let q = 0; q < 2; q++) {
      for (let kind = 0; kind < IPI_KINDS; kind++) {
        expect(a.post(q, kind as IpiKind, 100 * q + kind, 0)).to.equal(true);
      }
    }
    const all = [0, 1].flatMap((q) => Object.values(IPI).map((kind) => ({ q, kind, at: 100 * q + kind, sentAt: 0 })));
    expect(take()).to.deep.equal(all);
  });

  it('of two senders goes to one place, and neither learns of it as new that is not', () => {
    const { a, b, take } = setUp();
    expect(a.post(0, IPI.reschedule, 5000, 3000)).to.equal(true);
    expect(b.post(0, IPI.reschedule, 4000, 2000)).to.equal(false);
    expect(take()).to.deep.equal([{ q: 0, kind: IPI.reschedule, at: 4000, sentAt: 2000 }]);
  });

  it('is for the worker of the pCPU and for no other', () => {
    const { boxes, a, take } = setUp();
    a.post(3, IPI.event, 5000, 3000);
    expect(boxes.map((box) => box.hasMail())).to.deep.equal([false, false, true]);
    expect(take(0)).to.deep.equal([]);
    expect(take(2)).to.deep.equal([{ q: 3, kind: IPI.event, at: 5000, sentAt: 3000 }]);
  });

  it('wakes its receiver when it is there', () => {
    const image = Image.create(map);
    const log: string[] = [];
    const to = attach(image, 0);
    const from = mail(image, {
      self: 1,
      workers: WORKERS,
      workerOf,
      pcpus: [2],
      raceWindow: () => log.push(`window, there: ${to.hasMail()}`),
      wake: (w) => log.push(`worker ${w} is woken, there: ${to.hasMail()}`),
    });
    from.post(1, IPI.time, 5000, 3000);
    expect(log).to.deep.equal(['window, there: true', 'worker 0 is woken, there: true']);
  });

  it('holds its sender back until it is acknowledged', () => {
    const { to, a, b, take } = setUp();
    expect([a.earliestUnseen(), a.isUnseen()]).to.deep.equal([Infinity, false]);
    a.post(0, IPI.event, 5000, 3000);
    expect([a.earliestUnseen(), a.isUnseen()]).to.deep.equal([5000, true]);
    expect(b.earliestUnseen()).to.equal(Infinity);
    take();
    // Taken, but its receiver has not said yet how far it may go.
    expect(a.earliestUnseen()).to.equal(5000);
    to.acknowledge();
    expect([a.earliestUnseen(), a.isUnseen()]).to.deep.equal([Infinity, false]);
  });

  it('is not acknowledged with what was taken before it', () => {
    const { to, a, b, take } = setUp();
    a.post(0, IPI.event, 5000, 3000);
    take();
    a.post(0, IPI.event, 7000, 3500);
    b.post(1, IPI.time, 6000, 3600);
    to.acknowledge();
    expect(a.earliestUnseen()).to.be.at.most(7000);
    expect(b.earliestUnseen()).to.equal(6000);
    expect(to.hasMail()).to.equal(true);
    take();
    to.acknowledge();
    expect([a.earliestUnseen(), b.earliestUnseen()]).to.deep.equal([Infinity, Infinity]);
  });

  it('holds its sender back by the earliest of several receivers', () => {
    const { boxes, to, a, take } = setUp();
    a.post(3, IPI.event, 8000, 3000);
    a.post(0, IPI.event, 5000, 3000);
    expect(a.earliestUnseen()).to.equal(5000);
    take();
    to.acknowledge();
    expect([a.earliestUnseen(), a.isUnseen()]).to.deep.equal([8000, true]);
    take(2);
    boxes[2]!.acknowledge();
    expect([a.earliestUnseen(), a.isUnseen()]).to.deep.equal([Infinity, false]);
  });

  it('counts past the largest word', () => {
    const { image, to, a, take } = setUp();
    const { base } = image.region('mail');
    // Two postings before: worker 0's record, fields lock, posted, seen.
    image.i32.fill(0x7ffffffe, (base >> 2) + 1, (base >> 2) + 3);
    take();
    for (let n = 0; n < 4; n++) {
      a.post(0, IPI.event, 5000 + n, 3000);
      expect([to.hasMail(), a.earliestUnseen()]).to.deep.equal([true, 5000 + n]);
      take();
      to.acknowledge();
      expect([to.hasMail(), a.earliestUnseen()]).to.deep.equal([false, Infinity]);
    }
  });

  it('is what its history says, for any workers', () => {
    const worker = fc.nat(WORKERS - 1);
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ by: worker, q: fc.nat(3), kind: fc.nat(IPI_KINDS - 1), at: fc.nat(1000) }) },
      { weight: 1, arbitrary: fc.record({ takes: worker }) },
      { weight: 1, arbitrary: fc.record({ acknowledges: worker }) },
    );
    interface Posting extends Delivery {
      readonly by: number;
      isTaken: boolean;
      isAcknowledged: boolean;
    }
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { boxes, take } = setUp();
        const postings: Posting[] = [];
        const of = (w: number): Posting[] => postings.filter(({ q }) => workerOf(q) === w);
        const waiting = (w: number): Posting[] => of(w).filter(({ isTaken }) => !isTaken);
        for (const [n, s] of steps.entries()) {
          if ('by' in s) {
            const { by, q, at } = s;
            if (workerOf(q) === by) continue;
            const kind = s.kind as IpiKind;
            const isFirst = !waiting(workerOf(q)).some((p) => p.q === q && p.kind === kind);
            expect(boxes[by]!.post(q, kind, at, n)).to.equal(isFirst);
            postings.push({ by, q, kind, at, sentAt: n, isTaken: false, isAcknowledged: false });
          } else if ('takes' in s) {
            const places = new Map<string, Delivery>();
            for (const p of waiting(s.takes)) {
              const { q, kind, at, sentAt } = p;
              const there = places.get(`${q} ${kind}`);
              if (there === undefined || at < there.at) places.set(`${q} ${kind}`, { q, kind, at, sentAt });
              p.isTaken = true;
            }
            expect(take(s.takes)).to.have.deep.members([...places.values()]);
          } else {
            boxes[s.acknowledges]!.acknowledge();
            for (const p of of(s.acknowledges)) p.isAcknowledged = p.isTaken;
          }
          for (const [w, box] of boxes.entries()) {
            expect(box.hasMail()).to.equal(waiting(w).length > 0);
            const arrivals = postings
              .filter(({ by, isAcknowledged }) => by === w && !isAcknowledged)
              .map(({ at }) => at);
            const earliest = box.earliestUnseen();
            expect(earliest).to.be.at.most(Math.min(...arrivals));
            if (arrivals.length === 0) expect(earliest).to.equal(Infinity);
            expect(box.isUnseen()).to.equal(arrivals.length > 0);
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});

function startPoster(workerData: PosterData): Promise<Findings> {
  const worker = new Worker(new URL('./poster.js', import.meta.url), { workerData });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

describe('mail of two threads to a third', () => {
  it('is all delivered, and holds its senders back until it is', async () => {
    const postings = 24_000;
    const image = Image.create(map);
    const { i32, memory } = image;
    const { sent, got, started, done } = words(image);
    const senders = [1, 2];
    const findings = Promise.all(senders.map((self) => startPoster({ memory, self, postings })));
    await new Promise((resolve) => setTimeout(resolve, 1));
    while (Atomics.load(i32, started) < 2) Atomics.wait(i32, started, 1, 1);
    const to = attach(image, 0);
    let deliveries = 0;
    const until = performance.now() + PATIENCE_MS;
    for (let isOver = false; !isOver; ) {
      isOver = Atomics.load(i32, done) === 2 || performance.now() > until;
      if (!to.hasMail()) continue;
      to.take((q, kind) => {
        deliveries++;
        for (const w of senders) Atomics.store(i32, got(w, q, kind), i32[sent(w, q, kind)]!);
      });
      to.acknowledge();
    }
    const found = await findings;
    expect(found.map(({ early }) => early)).to.deep.equal([0, 0]);
    expect(found.map(({ settled }) => settled)).to.deep.equal([postings / BURST, postings / BURST]);
    for (const w of senders) {
      for (let q = 0; q < 2; q++) {
        for (let kind = 0; kind < IPI_KINDS; kind++) {
          expect(i32[got(w, q, kind)], `worker ${w}, pCPU ${q}, kind ${kind}`).to.equal(i32[sent(w, q, kind)]);
          expect(i32[sent(w, q, kind)]).to.be.above(0);
        }
      }
    }
    // Some met in their place.
    expect(deliveries).to.be.within(postings / BURST, 2 * postings);
  });
});
