import { expect } from 'chai';
import fc from 'fast-check';
import { bindTable, type Fields, struct } from '../../src/shared/struct.js';

const MIXED = struct('mixed', { flag: 'i32', time: 'f64', slots: ['i32', 3], totals: ['f64', 2], last: 'i32' });

describe('struct', () => {
  it('lays doubles first and every field behind the one before it', () => {
    expect(MIXED.offsets).to.deep.equal({ time: 0, totals: 8, flag: 24, slots: 28, last: 40 });
    expect(MIXED.size).to.be.at.least(44);
  });

  it('pads records to 64 bytes when they are to have cache lines of their own', () => {
    expect(struct('line', { a: 'i32' }, 64).size).to.equal(64);
    expect(struct('lines', { a: ['f64', 9] }, 64).size).to.equal(128);
  });

  it('gives any record aligned fields that do not overlap', () => {
    const kind = fc.oneof(
      fc.constantFrom('i32' as const, 'f64' as const),
      fc.tuple(fc.constantFrom('i32' as const, 'f64' as const), fc.integer({ min: 1, max: 9 })),
    );
    const fields = fc.dictionary(fc.stringMatching(/^[a-z][a-z0-9]{0,6}$/), kind, { minKeys: 1 });
    fc.assert(
      fc.property(fields, fc.constantFrom(8 as const, 64 as const), (raw, align) => {
        const layout = struct('any', raw as Fields, align);
        const owner = new Map<number, string>();
        for (const [name, k] of Object.entries(raw)) {
          const [element, count] = typeof k === 'string' ? [k, 1] : k;
          const bytes = element === 'f64' ? 8 : 4;
          const offset = layout.offsets[name]!;
          expect(offset % bytes).to.equal(0);
          for (let b = offset; b < offset + bytes * count; b++) {
            expect(owner.get(b), `byte ${b} of ${name}`).to.equal(undefined);
            owner.set(b, name);
          }
        }
        expect(layout.size % align).to.equal(0);
        expect(Math.max(...owner.keys())).to.be.below(layout.size);
      }),
    );
  });

  describe('tables', () => {
    const BASE = 128;
    const bind = () => {
      const buffer = new SharedArrayBuffer(4096);
      return { table: bindTable(MIXED, buffer, BASE), view: new DataView(buffer) };
    };

    it('reads and writes fields at base, record and offset', () => {
      const { table, view } = bind();
      table.setTime(2, 2 ** 40 + 1);
      table.setLast(2, -7);
      table.setFlag(0, 1);
      expect(view.getFloat64(BASE + 2 * MIXED.size, true)).to.equal(2 ** 40 + 1);
      expect(view.getInt32(BASE + 2 * MIXED.size + 40, true)).to.equal(-7);
      expect([table.time(2), table.last(2), table.flag(0)]).to.deep.equal([2 ** 40 + 1, -7, 1]);
    });

    it('reads and writes elements of array fields', () => {
      const { table, view } = bind();
      table.setSlots(1, 2, 5);
      table.setTotals(1, 1, 0.5);
      expect(view.getInt32(BASE + MIXED.size + 28 + 8, true)).to.equal(5);
      expect(view.getFloat64(BASE + MIXED.size + 8 + 8, true)).to.equal(0.5);
      expect([table.slots(1, 0), table.slots(1, 2), table.totals(1, 1)]).to.deep.equal([0, 5, 0.5]);
    });

    it('adds to fields and to elements', () => {
      const { table } = bind();
      table.setFlag(1, 40);
      table.addFlag(1, 2);
      table.addTotals(1, 0, 1.25);
      table.addTotals(1, 0, 1.25);
      table.addSlots(1, 1, -3);
      expect([table.flag(1), table.totals(1, 0), table.slots(1, 1)]).to.deep.equal([42, 2.5, -3]);
    });

    it('changes nothing but the field it is asked to change', () => {
      const { table, view } = bind();
      table.setSlots(1, 1, -1);
      const changed: number[] = [];
      for (let b = 0; b < view.byteLength; b++) if (view.getUint8(b) !== 0) changed.push(b);
      const at = BASE + MIXED.size + 28 + 4;
      expect(changed).to.deep.equal([at, at + 1, at + 2, at + 3]);
    });
  });
});
