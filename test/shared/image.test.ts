import { expect } from 'chai';
import fc from 'fast-check';
import {
  drawMap,
  IMAGE_LIMIT,
  Image,
  layOut,
  PAGE_SIZE,
  rawRegion,
  sizeOfMap,
  tableRegion,
} from '../../src/shared/image.js';
import { struct } from '../../src/shared/struct.js';

const POINT = struct('point', { x: 'f64', n: 'i32' });

describe('the address map', () => {
  it('places any regions without overlap, aligned, and none at address 0', () => {
    const region = fc.record({
      size: fc.integer({ min: 1, max: 9000 }),
      count: fc.integer({ min: 1, max: 40 }),
      align: fc.constantFrom(8, 64, PAGE_SIZE),
    });
    fc.assert(
      fc.property(fc.array(region, { minLength: 1, maxLength: 20 }), (specs) => {
        const map = layOut(specs.map((s, n) => rawRegion(`r${n}`, s.size, s.count, s.align)));
        let end = 1;
        for (const r of map) {
          expect(r.base % r.align).to.equal(0);
          expect(r.base).to.be.at.least(end);
          end = r.base + r.size * r.count;
        }
        expect(sizeOfMap(map)).to.equal(end);
      }),
    );
  });

  it('refuses two regions of one name', () => {
    expect(() => layOut([rawRegion('a', 4, 1), rawRegion('a', 8, 1)])).to.throw('two regions are called "a"');
  });

  it('is drawn with start, end, name, count and size of every region', () => {
    const lines = drawMap(layOut([rawRegion('first', 16, 4), tableRegion(POINT, 3)])).split('\n');
    expect(lines).to.have.length(3);
    expect(lines[1]).to.match(/^00000040 {2}00000080 {2}first +4 x 16 B$/);
    expect(lines[2]).to.match(/^00000080 {2}000000b0 {2}point +3 x 16 B$/);
  });
});

describe('the image', () => {
  it('is one shared memory that holds all regions', () => {
    const image = Image.create(layOut([rawRegion('bytes', 70_000, 2)]));
    expect(image.buffer).to.be.instanceOf(SharedArrayBuffer);
    expect(image.buffer.byteLength).to.be.at.least(sizeOfMap(image.map));
  });

  it('shows the same bytes to everybody who attaches with the same map', () => {
    const one = Image.create(layOut([rawRegion('pad', 4, 100), tableRegion(POINT, 3)]));
    const two = new Image(one.memory, one.map);
    one.table(POINT).setN(2, 77);
    expect(two.table(POINT).n(2)).to.equal(77);
  });

  it('gives fields as columns of words that meet its tables', () => {
    const image = Image.create(layOut([rawRegion('pad', 4, 100), tableRegion(POINT, 3)]));
    const { x, n } = image.columns(POINT, 'x', 'n');
    image.table(POINT).setX(2, 0.5);
    image.table(POINT).setN(2, 9);
    expect(image.f64[x.base + (2 << x.shift)]).to.equal(0.5);
    expect(image.i32[n.base + (2 << n.shift)]).to.equal(9);
  });

  it('names a region that is not there', () => {
    const image = Image.create(layOut([rawRegion('a', 4, 1)]));
    expect(() => image.region('b')).to.throw('no region "b"');
  });

  it('refuses a map beyond what 32-bit addresses reach', () => {
    expect(() => Image.create(layOut([rawRegion('huge', PAGE_SIZE, IMAGE_LIMIT / PAGE_SIZE)]))).to.throw(
      RangeError,
      'more than the limit',
    );
  });
});
