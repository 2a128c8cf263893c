import { existsSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import fc from 'fast-check';
import * as W from '../../src/xenstore/wire.js';

const HEADER = '/usr/include/xen/io/xs_wire.h';
const word = fc.integer({ min: 0, max: 0xffff_ffff });

describe('xenstore messages', () => {
  it('are a header of four little-endian words and the payload', () => {
    const bytes = W.encode({ type: W.XS_READ, reqId: 0x01020304, txId: 0xfffffffe, payload: W.strings('a') });
    expect([...bytes]).to.deep.equal([2, 0, 0, 0, 4, 3, 2, 1, 0xfe, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0x61, 0]);
  });

  it('come back as they were', () => {
    fc.assert(
      fc.property(word, word, word, fc.uint8Array({ maxLength: 64 }), (type, reqId, txId, payload) => {
        const message = { type, reqId, txId, payload };
        expect(W.decode(W.encode(message))).to.deep.equal(message);
      }),
    );
  });

  it('are none when cut short, too long, or followed by something', () => {
    const bytes = W.encode({ type: 1, reqId: 0, txId: 0, payload: W.strings('/') });
    expect(W.decode(bytes.subarray(0, 15))).to.equal(undefined);
    expect(W.decode(bytes.subarray(0, 17))).to.equal(undefined);
    expect(W.decode(Uint8Array.of(...bytes, 0))).to.equal(undefined);
    const payload = new Uint8Array(W.XENSTORE_PAYLOAD_MAX + 1);
    expect(W.decode(W.encode({ type: 1, reqId: 0, txId: 0, payload }))).to.equal(undefined);
  });

  it('hold texts of any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(W.toBytes(W.toText(bytes))).to.deep.equal(bytes);
      }),
    );
  });

  it('split into strings, without what follows the last NUL', () => {
    expect(W.splitStrings(W.toBytes('a\0\0bc\0d'))).to.deep.equal(['a', '', 'bc']);
    expect(W.splitStrings(new Uint8Array(0))).to.deep.equal([]);
  });

  it('are one string only with one NUL, at the end', () => {
    expect(W.oneString(W.toBytes('ab\0'))).to.equal('ab');
    for (const none of ['', 'ab', 'a\0b', 'a\0b\0', 'ab\0\0']) expect(W.oneString(W.toBytes(none))).to.equal(undefined);
  });

  it('have numbers as atoi reads them', () => {
    expect(['12', ' 7x', 'x', '', '-1', '+3'].map(W.atoi)).to.deep.equal([12, 7, 0, 0, 0xffff_ffff, 3]);
  });

  it('have the numbers of the public header, where it is installed', function () {
    if (!existsSync(HEADER)) return this.skip();
    const text = readFileSync(HEADER, 'utf8');
    const body = /enum xsd_sockmsg_type\s*\{([^}]*)\}/.exec(text)?.[1] ?? '';
    let next = 0;
    const ours: Readonly<Record<string, unknown>> = W;
    const names = body
      .replaceAll(/#.*|\/\*[\s\S]*?\*\//g, '')
      .split(',')
      .map((name) => name.trim());
    for (const name of names.filter((name) => /^XS_[A-Z_]+( = XS_SET_TARGET \+ 2)?$/.test(name))) {
      if (name.includes('=')) next++;
      expect(ours[name.split(' ')[0]!], name).to.equal(next++);
    }
    expect(next).to.equal(W.XS_TYPE_COUNT + 1);
    const errors = [...text.matchAll(/XSD_ERROR\((E\w+)\)/g)].map(([, name]) => name);
    expect(errors).to.deep.equal([...W.XS_ERRORS]);
    for (const limit of ['XENSTORE_PAYLOAD_MAX', 'XENSTORE_ABS_PATH_MAX', 'XENSTORE_REL_PATH_MAX'])
      expect(text).to.match(new RegExp(`#define ${limit} ${ours[limit]}\\b`));
  });
});
