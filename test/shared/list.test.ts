import { expect } from 'chai';
import fc from 'fast-check';
import { Image, layOut, tableRegion } from '../../src/shared/image.js';
import { lists, NONE } from '../../src/shared/list.js';
import { struct } from '../../src/shared/struct.js';

const NODE = struct('node', { weight: 'f64', next: 'i32', prev: 'i32', linked: 'i32' });
const HEAD = struct('head', { first: 'i32', last: 'i32', other: 'i32' });
const ELEMENTS = 8;
const LISTS = 2;

function make() {
  const image = Image.create(layOut([tableRegion(NODE, ELEMENTS), tableRegion(HEAD, LISTS)]));
  return lists(image.i32, image.columns(NODE, 'next', 'prev', 'linked'), image.columns(HEAD, 'first', 'last'));
}
type List = ReturnType<typeof make>;

function forwards(list: List, h: number): number[] {
  const out: number[] = [];
  for (let i = list.first(h); i !== NONE && out.length <= ELEMENTS; i = list.next(i)) out.push(i);
  return out;
}

function backwards(list: List, h: number): number[] {
  const out: number[] = [];
  for (let i = list.last(h); i !== NONE && out.length <= ELEMENTS; i = list.prev(i)) out.push(i);
  return out;
}

describe('lists', () => {
  it('are empty in zeroed memory', () => {
    const list = make();
    expect([list.first(0), list.last(1)]).to.deep.equal([NONE, NONE]);
    expect(list.isLinked(3)).to.equal(false);
  });

  it('hold element 0 like any other', () => {
    const list = make();
    list.append(1, 0);
    expect([list.first(1), list.last(1), list.next(0), list.prev(0)]).to.deep.equal([0, 0, NONE, NONE]);
    expect(list.isLinked(0)).to.equal(true);
  });

  it('behave as arrays do under any sequence of operations', () => {
    const step = fc.record({
      op: fc.constantFrom('append', 'insert', 'remove'),
      i: fc.nat(ELEMENTS - 1),
      h: fc.nat(LISTS - 1),
      at: fc.nat(ELEMENTS),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const list = make();
        const model: number[][] = Array.from({ length: LISTS }, () => []);
        for (const { op, i, h, at } of steps) {
          const home = model.findIndex((m) => m.includes(i));
          if (op === 'remove') {
            if (home < 0) continue;
            list.remove(home, i);
            model[home]!.splice(model[home]!.indexOf(i), 1);
          } else {
            if (home >= 0) continue;
            const before = op === 'append' ? NONE : (model[h]![at] ?? NONE);
            if (op === 'append') list.append(h, i);
            else list.insertBefore(h, i, before);
            model[h]!.splice(before === NONE ? model[h]!.length : at, 0, i);
          }
          for (let k = 0; k < LISTS; k++) {
            expect(forwards(list, k)).to.deep.equal(model[k]);
            expect(backwards(list, k)).to.deep.equal([...model[k]!].reverse());
          }
          for (let e = 0; e < ELEMENTS; e++) expect(list.isLinked(e)).to.equal(model.some((m) => m.includes(e)));
        }
      }),
      { numRuns: 300 },
    );
  });
});
