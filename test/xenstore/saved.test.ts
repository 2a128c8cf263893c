import { expect } from 'chai';
import fc from 'fast-check';
import { reader, writer } from '../../src/xenstore/byte-stream.js';
import { guestNodes, makeNodes } from '../../src/xenstore/guest-nodes.js';
import { load, save, VERSION } from '../../src/xenstore/saved.js';
import { newState } from '../../src/xenstore/state.js';
import { type Client, clientOf, home } from './client.js';
import { GUEST } from './guest.js';

/** A store with something of everything in it. */
function busy(): Client {
  const it = home();
  it.setPerms(0, '/local/domain/1', 'n1,r2');
  it.write(1, 'a/b', '\u00ff\u0000x');
  it.write(1, 'c', 'seen');
  it.rm(1, 'c');
  it.write(1, 'd', 'to be removed');
  it.watch(1, 'a', 'token');
  it.watch(2, '/local/domain/1', 'other \u00fe');
  const tx = it.start(1);
  for (const path of ['a', 'a/b', 'none']) it.read(1, path, tx);
  it.write(1, 'made', 'in it', tx);
  it.rm(1, 'd', tx);
  it.start(1);
  it.write(1, 'a', 'meanwhile');
  Object.assign(it.state.connections.get(2)!, {
    target: 1,
    port: 3,
    isShutDown: true,
    fault: 2,
    input: Uint8Array.of(1, 2),
    output: [Uint8Array.of(3), Uint8Array.of(4, 5)],
    sent: 1,
  });
  return it;
}

describe('saved xenstore', () => {
  it('is loaded as it was', () => {
    const { state } = busy();
    const again = load(save(state));
    expect(again.connections).to.deep.equal(state.connections);
    expect([...again.connections.keys()]).to.deep.equal([...state.connections.keys()]);
    expect(again.nodes).to.deep.equal(state.nodes);
    expect(again.owned).to.deep.equal(state.owned);
    expect(again.generation).to.equal(state.generation);
  });

  it('has the same bytes for the same requests, and after it was loaded', () => {
    const bytes = save(busy().state);
    expect(save(busy().state)).to.deep.equal(bytes);
    expect(save(load(bytes))).to.deep.equal(bytes);
  });

  it('is another for any difference', () => {
    const bytes = [
      busy(),
      ...[
        (it: Client) => it.write(1, 'a/b', ''),
        (it: Client) => it.watch(1, 'z', ''),
        (it: Client) => it.start(2),
        (it: Client) => it.read(1, 'more', 1),
        (it: Client) => it.setPerms(1, 'a', 'n1,b2'),
      ].map((act) => {
        const it = busy();
        act(it);
        return it;
      }),
    ].map((it) => Buffer.from(save(it.state)).toString('hex'));
    expect(new Set(bytes)).to.have.length(bytes.length);
  });

  it('goes on as if it had not been saved: its transaction still conflicts, and still sees what it saw', () => {
    const go = (it: Client): unknown[] => [
      it.read(1, 'a', 1),
      it.read(1, 'made', 1),
      it.read(1, 'd', 1),
      it.end(1, 1),
      it.write(1, 'a', ''),
      it.end(1, 2),
      it.events(),
    ];
    const [it, again] = [busy(), clientOf(load(save(busy().state)))];
    it.events();
    const went = go(it);
    expect(go(again)).to.deep.equal(went);
    expect(went.slice(0, 4)).to.deep.equal(['', 'in it', 'ENOENT', 'EAGAIN']);
  });

  it('may be as deep as names can be long', () => {
    const it = home();
    const path = '/a'.repeat(1536);
    expect([it.write(0, path, 'v'), it.read(0, path)]).to.deep.equal(['OK', 'v']);
    expect(clientOf(load(save(it.state))).read(0, path)).to.equal('v');
    expect([it.rm(0, '/a'), it.directory(0, '/')]).to.deep.equal(['OK', 'tool|local']);
  });

  it('is small', () => {
    const state = newState();
    const empty = save(state).length;
    const nodes = guestNodes(GUEST);
    makeNodes(state, nodes);
    const text = nodes.reduce((sum, { path, value }) => sum + path.length - path.lastIndexOf('/') + value.length, 0);
    expect(empty).to.be.below(80);
    expect((save(state).length - empty - text) / nodes.length).to.be.below(12);
  });

  it('is not loaded when it is of another version, cut short or too long', () => {
    const bytes = save(busy().state);
    expect(() => load(Uint8Array.of(VERSION + 1, ...bytes.subarray(1)))).to.throw('version');
    for (let length = 0; length < bytes.length; length += 7)
      expect(() => load(bytes.subarray(0, length))).to.throw('saved state');
    expect(() => load(Uint8Array.of(...bytes, 0))).to.throw('follows');
  });

  it('writes numbers, bytes and texts that are read as they were', () => {
    const number = fc.oneof(fc.nat(300), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }));
    fc.assert(
      fc.property(fc.array(fc.tuple(number, fc.uint8Array())), (pairs) => {
        const to = writer();
        for (const [n, bytes] of pairs) {
          to.number(n);
          to.bytes(bytes);
        }
        const from = reader(to.result());
        for (const pair of pairs) expect([from.number(), from.bytes()]).to.deep.equal(pair);
        expect(from.isAtEnd()).to.equal(true);
      }),
    );
  });
});
