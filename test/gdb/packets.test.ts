import { expect } from 'chai';
import fc from 'fast-check';
import {
  type Arrival,
  fromHex,
  hexNumber,
  PACKET_BYTES,
  PacketReader,
  packetOf,
  toHex,
} from '../../src/gdb/packets.js';

const read = (...pieces: Uint8Array[]): Arrival[] => {
  const reader = new PacketReader();
  return pieces.flatMap((piece) => reader.read(piece));
};
const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const told = (arrivals: readonly Arrival[]): string[] =>
  arrivals.map((a) => (a.kind === 'packet' ? Buffer.from(a.data).toString('latin1') : `(${a.kind})`));

describe('packets of the remote protocol', () => {
  it('arrive as they were sent, whatever is in them and however they are cut up', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 }),
        fc.integer({ min: 1, max: 7 }),
        (all, size) => {
          const stream = Buffer.concat(all.map(packetOf));
          const pieces = Array.from({ length: Math.ceil(stream.length / size) }, (_, n) =>
            stream.subarray(n * size, (n + 1) * size),
          );
          const arrivals = read(...pieces);
          expect(arrivals.map((a) => (a.kind === 'packet' ? [...a.data] : a.kind))).to.deep.equal(
            all.map((d) => [...d]),
          );
        },
      ),
    );
  });

  it('are written as the manual says', () => {
    expect(Buffer.from(packetOf('OK')).toString('latin1')).to.equal('$OK#9a');
    expect(Buffer.from(packetOf('')).toString('latin1')).to.equal('$#00');
    expect(Buffer.from(packetOf('}#$*')).toString('latin1').slice(1, -3)).to.equal('}]}\x03}\x04}\n');
  });

  it('are found among anything else', () => {
    expect(told(read(bytes('+++$g#67+\x03-x$?#3f')))).to.deep.equal(['g', '(interrupt)', '(again)', '?']);
    // One that was cut off is sent again.
    expect(told(read(bytes('$m100$g#67')))).to.deep.equal(['g']);
    expect(told(read(bytes('$g#6'), bytes('7')))).to.deep.equal(['g']);
  });

  it('are broken with a wrong sum, with half an escape, or too long; the next is none the worse', () => {
    for (const broken of ['$g#68', '$g#zz', '$g#+7', '$}#7d'])
      expect(told(read(bytes(`${broken}$g#67`))), broken).to.deep.equal(['(broken)', 'g']);
    const most = new Uint8Array(PACKET_BYTES).fill(0x61);
    expect(read(packetOf(most))[0]).to.include({ kind: 'packet' });
    expect(told(read(packetOf(new Uint8Array(PACKET_BYTES + 1).fill(0x61)), bytes('$g#67')))).to.deep.equal([
      '(broken)',
      'g',
    ]);
  });

  it('make nothing worse than broken packets of wild bytes', () => {
    const wild = fc.array(fc.oneof(fc.constantFrom(...bytes('$#}+-\x03g67')), fc.integer({ min: 0, max: 255 })), {
      maxLength: 400,
    });
    fc.assert(
      fc.property(wild, (data) => {
        for (const arrival of read(Uint8Array.from(data)))
          expect(arrival.kind).to.be.oneOf(['packet', 'interrupt', 'again', 'broken']);
        expect(told(read(Uint8Array.from([...data, 0x23, 0x30, 0x30]), bytes('$g#67'))).at(-1)).to.equal('g');
      }),
    );
  });
});

describe('hexadecimal digits', () => {
  it('say bytes and numbers, or nothing', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (data) => {
        expect([...fromHex(toHex(data))!]).to.deep.equal([...data]);
      }),
    );
    for (const wrong of ['0', 'zz', '0 1', '0x', '12g4']) expect(fromHex(wrong), wrong).to.equal(undefined);
    expect(hexNumber('ffffffffffffffff')).to.equal(2n ** 64n - 1n);
    for (const wrong of ['', undefined, '-1', '0x1', '10000000000000000', ' 1'])
      expect(hexNumber(wrong), wrong).to.equal(undefined);
  });
});
