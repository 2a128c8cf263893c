import { expect } from 'chai';
import { domainDestroyed, domainShutDown, serve } from '../../src/xenstore/server.js';
import { memoryOf } from '../../src/xenstore/state.js';
import * as W from '../../src/xenstore/wire.js';
import { type Client, client, home } from './client.js';

/** Watches, and forgets the first event. */
function watching(it: Client, domid: number, ...paths: string[]): void {
  for (const path of paths) expect(it.watch(domid, path, 't')).to.equal('OK');
  it.events();
}

describe('xenstore watches', () => {
  it('fire once at once, whether there is such a node or not', () => {
    const it = home();
    it.watch(1, 'none', 'a token of any kind');
    it.watch(1, '/local/domain/1', 'u');
    expect(it.events()).to.deep.equal(['1: none a token of any kind', '1: /local/domain/1 u']);
  });

  it('answer WATCH first, and an event of a request before its own answer', () => {
    const it = home();
    const types = (type: number, ...texts: string[]): number[] => {
      const payload = W.strings(...texts);
      return serveTypes(it, type, payload);
    };
    expect(types(W.XS_WATCH, 'x', 't')).to.deep.equal([W.XS_WATCH, W.XS_WATCH_EVENT]);
    expect(types(W.XS_WRITE, 'x')).to.deep.equal([W.XS_WATCH_EVENT, W.XS_WRITE]);
  });

  it('fire for a write, a new node, other permissions, at the node and above', () => {
    const it = home();
    watching(it, 1, 'a', '/local/domain/1/a/b');
    for (const act of [
      () => it.write(1, 'a/b', '1'),
      () => it.write(1, 'a/b', '1'),
      () => it.setPerms(1, 'a/b', 'n1'),
    ]) {
      act();
      expect(it.events()).to.deep.equal(['1: a/b t', '1: /local/domain/1/a/b t']);
    }
    it.mkdir(1, 'a/c');
    expect(it.events()).to.deep.equal(['1: a/c t']);
    it.mkdir(1, 'a/c');
    it.read(1, 'a/c');
    it.rm(1, 'a/none');
    it.write(1, 'ab', '');
    expect(it.events(), 'nothing changed there').to.deep.equal([]);
  });

  it('fire below a node that is removed, with the name that is watched', () => {
    const it = home();
    it.write(1, 'a/b/c', '');
    it.write(1, 'a/d', '');
    watching(it, 1, 'a/b/c', 'a/b', 'a', 'a/e');
    it.rm(1, 'a');
    expect(it.events()).to.deep.equal(['1: a/b/c t', '1: a/b t', '1: a t']);
  });

  it('fire for a removed node at those above, by its own name', () => {
    const it = home();
    it.write(1, 'a/b/c', '');
    watching(it, 1, 'a');
    it.rm(1, 'a/b');
    expect(it.events()).to.deep.equal(['1: a/b t']);
  });

  it('name nodes as the watch did, and go to all who watch, in the order in which they came', () => {
    const it = home();
    it.setPerms(0, '/local/domain/1', 'r1');
    watching(it, 2, '/local/domain/1');
    watching(it, 1, 'x');
    watching(it, 0, '/');
    it.write(1, 'x', '');
    expect(it.events()).to.deep.equal(['0: /local/domain/1/x t', '1: x t', '2: /local/domain/1/x t']);
  });

  it('tell nobody of what he may see neither itself nor its parent', () => {
    const it = home();
    watching(it, 2, '/');
    it.write(1, 'secret', '');
    it.rm(1, 'secret');
    expect(it.events()).to.deep.equal([]);
    it.setPerms(0, '/local/domain/1', 'n1,r2');
    it.events();
    it.write(1, 'open', '');
    it.setPerms(1, 'open', 'n1');
    it.write(1, 'open', '');
    expect(it.events(), 'the parent may be read').to.deep.equal(Array(3).fill('2: /local/domain/1/open t'));
    it.setPerms(1, '/local/domain/1', 'n1');
    expect(it.events(), 'who loses sight hears of that').to.deep.equal(['2: /local/domain/1 t']);
    it.write(1, 'open', '');
    expect(it.events()).to.deep.equal([]);
  });

  it('are one for each path and token, and go as they came', () => {
    const it = home();
    expect([it.watch(1, 'x', 'a'), it.watch(1, 'x', 'b')]).to.deep.equal(['OK', 'OK']);
    expect(it.watch(1, '/local/domain/1/x', 'a')).to.equal('EEXIST');
    it.events();
    expect(it.unwatch(1, 'x', 'c')).to.equal('ENOENT');
    expect(it.unwatch(1, 'x', 'a')).to.equal('OK');
    it.write(1, 'x', '');
    expect(it.events()).to.deep.equal(['1: x b']);
    expect(it.unwatch(1, '/local/domain/1/x', 'b')).to.equal('OK');
    it.write(1, 'x', '');
    expect(it.events()).to.deep.equal([]);
  });

  it('refuse what is no path, or not a path and a token', () => {
    const it = home();
    for (const path of ['', '/a/', 'a b', `@${'x'.repeat(2048)}`]) expect(it.watch(1, path, 't')).to.equal('EINVAL');
    for (const type of [W.XS_WATCH, W.XS_UNWATCH])
      for (const payload of ['', 'x', 'x\0', 'x\0t', 'x\0t\0more\0'])
        expect([payload, it.ask(1, type, payload)]).to.deep.equal([payload, 'EINVAL']);
  });

  it('count as memory of the domain', () => {
    const it = home();
    it.watch(1, '/abc', 'token');
    expect(memoryOf(it.state.connections.get(1)!)).to.equal(9);
  });

  it('RESET_WATCHES ends watches and transactions', () => {
    const it = home();
    watching(it, 1, 'x');
    const tx = it.start(1);
    expect(it.ask(1, W.XS_RESET_WATCHES, '\0')).to.equal('OK');
    it.write(1, 'x', '');
    expect([it.events(), it.end(1, tx)]).to.deep.equal([[], 'ENOENT']);
  });

  it('are not told of an event that does not fit into a message', () => {
    const it = home();
    watching(it, 1, 'x');
    expect(it.watch(1, 'x', 't'.repeat(4093))).to.equal('OK');
    expect(it.events()).to.have.length(1);
    expect(it.watch(1, '/local/domain/1', 't'.repeat(4079))).to.equal('OK');
    it.events();
    it.write(1, 'x', '');
    expect(it.events()).to.have.length(2);
    it.write(1, 'x/deeper', '');
    expect(it.events()).to.deep.equal(['1: x/deeper t']);
  });
});

function serveTypes(it: Client, type: number, payload: Uint8Array): number[] {
  return serve(it.state, 1, { type, reqId: 0, txId: 0, payload }).map(({ message }) => message.type);
}

describe('special watches', () => {
  const introduce = (it: Client): string => it.ask(0, W.XS_INTRODUCE, W.strings('5', '1', '1'));

  it('@introduceDomain fires when a domain is introduced, the first time', () => {
    const it = client();
    watching(it, 0, '@introduceDomain', '/');
    introduce(it);
    expect(it.events()).to.deep.equal(['0: @introduceDomain t']);
    introduce(it);
    expect(it.events()).to.deep.equal([]);
  });

  it('@releaseDomain fires at RELEASE, at the end of a domain, and once when it shuts down', () => {
    const it = client(5, 6);
    watching(it, 0, '@releaseDomain');
    it.ask(0, W.XS_RELEASE, W.strings('5'));
    expect(it.events()).to.deep.equal(['0: @releaseDomain t']);
    const shut = (): number => domainShutDown(it.state, 6).length;
    expect([shut(), shut()]).to.deep.equal([1, 0]);
    expect(it.ask(0, W.XS_RESUME, W.strings('6'))).to.equal('OK');
    expect(shut()).to.equal(1);
    expect([domainDestroyed(it.state, 6).length, domainDestroyed(it.state, 6).length]).to.deep.equal([1, 0]);
  });

  it('are heard by a domain only if domain 0 lets it', () => {
    const it = home();
    watching(it, 1, '@releaseDomain');
    expect(domainShutDown(it.state, 2)).to.deep.equal([]);
    expect(it.setPerms(1, '@releaseDomain', 'n1')).to.equal('EACCES');
    expect(it.setPerms(0, '@anything', 'n0,r1')).to.equal('EINVAL');
    expect(it.setPerms(0, '@releaseDomain', 'n0,r1')).to.equal('OK');
    expect(it.getPerms(0, '@releaseDomain')).to.equal('n0,r1');
    expect(it.events()).to.deep.equal([]);
    it.ask(0, W.XS_RESUME, W.strings('2'));
    expect(domainShutDown(it.state, 2)).to.have.length(1);
  });

  it('the nodes of a domain that has gone are told of as removed', () => {
    const it = home();
    it.write(1, 'x/y', '');
    watching(it, 0, '/local/domain/1/x/y', '/local/domain', '@releaseDomain');
    it.ask(0, W.XS_RELEASE, W.strings('1'));
    expect(it.events()).to.deep.equal(['0: /local/domain/1/x/y t', '0: /local/domain/1 t', '0: @releaseDomain t']);
  });
});
