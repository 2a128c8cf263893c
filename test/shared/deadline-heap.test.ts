import { expect } from 'chai';
import fc from 'fast-check';
import { type DeadlineHeaps, deadlineHeaps } from '../../src/shared/deadline-heap.js';
import { Image, layOut, rawRegion, tableRegion } from '../../src/shared/image.js';
import { struct } from '../../src/shared/struct.js';

const ALARM = struct('alarm', { deadline: 'f64', position: 'i32', other: 'i32' });
const QUEUE = struct('queue', { size: 'i32', offset: 'i32' });
const TIMERS = 24;
const QUEUES = 2;

/** Queues found by number, or by a column that says where each begins. */
function make(byOffset: boolean): DeadlineHeaps {
  const image = Image.create(
    layOut([tableRegion(ALARM, TIMERS), tableRegion(QUEUE, QUEUES), rawRegion('slots', 4 * TIMERS, QUEUES)]),
  );
  const slots = image.region('slots').base >> 2;
  for (let q = 0; q < QUEUES; q++) image.table(QUEUE).setOffset(q, (QUEUES - 1 - q) * TIMERS);
  return deadlineHeaps(image.i32, image.f64, image.columns(ALARM, 'deadline', 'position'), {
    size: image.column(QUEUE, 'size'),
    slots: { base: slots, stride: byOffset ? 0 : TIMERS },
    ...(byOffset ? { offset: image.column(QUEUE, 'offset') } : {}),
  });
}

interface Armed {
  readonly t: number;
  readonly q: number;
  readonly ns: number;
}

const byDeadline = (a: Armed, b: Armed): number => a.ns - b.ns || a.t - b.t;

for (const byOffset of [false, true]) {
  describe(`timer queues found by ${byOffset ? 'their offsets' : 'number'}`, () => {
    it('fire equal deadlines in the order of the timers, however they were armed', () => {
      const heaps = make(byOffset);
      for (const t of [5, 2, 9, 0, 7]) heaps.arm(1, t, 100);
      const order: number[] = [];
      for (let t = heaps.top(1); t !== -1; t = heaps.top(1)) {
        order.push(t);
        heaps.disarm(1, t);
      }
      expect(order).to.deep.equal([0, 2, 5, 7, 9]);
    });

    it('behave as a sorted array does under any sequence of operations', () => {
      const step = fc.record({
        op: fc.constantFrom('arm', 'arm', 'arm', 'disarm', 'pop'),
        t: fc.nat(TIMERS - 1),
        q: fc.nat(QUEUES - 1),
        ns: fc.oneof(fc.nat(9), fc.nat(1000)),
      });
      fc.assert(
        fc.property(fc.array(step, { minLength: 60, maxLength: 120 }), (steps) => {
          const heaps = make(byOffset);
          let model: Armed[] = [];
          for (const { op, t, q, ns } of steps) {
            const old = model.find((a) => a.t === t);
            const first = model.filter((a) => a.q === q).sort(byDeadline)[0];
            if (op === 'arm') {
              // A timer stays in the queue it is armed in.
              const home = old?.q ?? q;
              heaps.arm(home, t, ns);
              model = [...model.filter((a) => a.t !== t), { t, q: home, ns }];
            } else {
              const gone = op === 'pop' ? first?.t : t;
              if (gone === undefined) continue;
              heaps.disarm(model.find((a) => a.t === gone)?.q ?? q, gone);
              model = model.filter((a) => a.t !== gone);
            }
            for (let k = 0; k < QUEUES; k++) {
              const sorted = model.filter((a) => a.q === k).sort(byDeadline);
              expect(heaps.size(k)).to.equal(sorted.length);
              expect(heaps.top(k)).to.equal(sorted[0]?.t ?? -1);
              expect(heaps.earliest(k)).to.equal(sorted[0]?.ns ?? Infinity);
            }
            for (let k = 0; k < TIMERS; k++) expect(heaps.isArmed(k)).to.equal(model.some((a) => a.t === k));
          }
        }),
        { numRuns: 300 },
      );
    });
  });
}
