import { expect } from 'chai';
import fc from 'fast-check';
import { load, save } from '../../src/xenstore/saved.js';
import { REQUESTS, serve } from '../../src/xenstore/server.js';
import type { newState } from '../../src/xenstore/state.js';
import { QUOTA, setNode } from '../../src/xenstore/store.js';
import * as W from '../../src/xenstore/wire.js';
import { client, home } from './client.js';

describe('xenstored: nodes', () => {
  it('has what it puts there itself', () => {
    const it = client();
    expect(it.directory(0, '/')).to.equal('tool');
    expect(it.directory(0, '/tool')).to.equal('xenstored');
    expect(it.getPerms(0, '/')).to.equal('n0');
  });

  it('WRITE makes a node and all that is missing above it, empty', () => {
    const it = client();
    expect(it.write(0, '/a/b/c', 'x\0y')).to.equal('OK');
    expect([it.read(0, '/a/b/c'), it.read(0, '/a'), it.directory(0, '/a')]).to.deep.equal(['x|y', '', 'b']);
    it.write(0, '/a/b/c', '');
    it.write(0, '/a/d', '');
    expect([it.read(0, '/a/b/c'), it.directory(0, '/a')]).to.deep.equal(['', 'b|d']);
  });

  it('MKDIR leaves what there is as it is', () => {
    const it = client();
    it.write(0, '/a', 'value');
    expect([it.mkdir(0, '/a'), it.read(0, '/a'), it.mkdir(0, '/b/c'), it.directory(0, '/b')]).to.deep.equal([
      'OK',
      'value',
      'OK',
      'c',
    ]);
  });

  it('RM removes all below, and what is not there only if it could be', () => {
    const it = client();
    it.write(0, '/a/b/c', '1');
    expect(it.rm(0, '/a/b')).to.equal('OK');
    expect([it.read(0, '/a/b/c'), it.read(0, '/a/b'), it.directory(0, '/a')]).to.deep.equal(['ENOENT', 'ENOENT', '']);
    expect([it.rm(0, '/a/b'), it.rm(0, '/x/y'), it.rm(0, '/')]).to.deep.equal(['OK', 'ENOENT', 'EINVAL']);
  });

  it('takes names without a slash as being in the domain’s own directory', () => {
    const it = home();
    it.write(1, 'data/x', 'mine');
    expect([it.read(0, '/local/domain/1/data/x'), it.read(1, 'data/x')]).to.deep.equal(['mine', 'mine']);
    it.write(0, 'name', 'Domain-0');
    expect(it.read(0, '/local/domain/0/name')).to.equal('Domain-0');
  });

  it('refuses names that there cannot be', () => {
    const it = client(1);
    for (const name of ['', '/a/', '//', '/a//b', '/ä', '/a b', '@introduceDomain', `/${'x'.repeat(3072)}`])
      expect([name, it.read(0, name)]).to.deep.equal([name, 'EINVAL']);
    it.mkdir(0, '/local/domain/1');
    it.setPerms(0, '/local/domain/1', 'n1');
    expect(it.read(1, 'x'.repeat(2048))).to.equal('ENOENT');
    expect(it.read(1, 'x'.repeat(2049))).to.equal('EINVAL');
  });

  it('refuses payloads that are no strings, with EINVAL', () => {
    const it = client();
    for (const type of [W.XS_READ, W.XS_DIRECTORY, W.XS_GET_PERMS, W.XS_MKDIR, W.XS_RM])
      for (const payload of ['', '/tool', '/tool\0x', '/tool\0x\0', '\0'])
        expect([type, payload, it.ask(0, type, payload)]).to.deep.equal([type, payload, 'EINVAL']);
    expect(it.ask(0, W.XS_WRITE, '/no-nul')).to.equal('EINVAL');
  });

  it('says E2BIG when the list of children is too long, which DIRECTORY_PART gives in parts', () => {
    const it = client();
    const names = Array.from({ length: 90 }, (_, n) => `${n}-${'x'.repeat(97)}`);
    for (const name of names) it.mkdir(0, `/d/${name}`);
    expect(it.directory(0, '/d')).to.equal('E2BIG');
    const found: string[] = [];
    const generations = new Set<string>();
    for (let offset = 0, end = false; !end; ) {
      const [generation, ...part] = it.ask(0, W.XS_DIRECTORY_PART, W.strings('/d', `${offset}`)).split('|');
      generations.add(generation!);
      end = part.at(-1) === '';
      if (end) part.pop();
      offset += part.join('').length + part.length;
      found.push(...part);
    }
    expect(found).to.deep.equal(names);
    expect([...generations]).to.have.length(1);
    const part = { type: W.XS_DIRECTORY_PART, reqId: 0, txId: 0, payload: W.strings('/d', '0') };
    const { payload } = serve(it.state, 0, part)[0]!.message;
    expect(payload.at(-1), 'whole names').to.equal(0);
    expect(payload.length).to.be.within(3990, 4096);
    expect(it.ask(0, W.XS_DIRECTORY_PART, W.strings('/d', '1000000'))).to.match(/^\d+\|$/);
    expect(it.ask(0, W.XS_DIRECTORY_PART, W.strings('/d'))).to.equal('EINVAL');
    it.mkdir(0, '/d/one-more');
    expect(it.ask(0, W.XS_DIRECTORY_PART, W.strings('/d', '0')).split('|')[0]).not.to.equal([...generations][0]);
  });
});

describe('xenstored: permissions', () => {
  it('another domain reads nothing that it may not, and does not learn whether it is there', () => {
    const it = home();
    it.write(1, 'secret', 's');
    expect([it.read(2, '/local/domain/1/secret'), it.read(2, '/local/domain/1/none')]).to.deep.equal([
      'EACCES',
      'EACCES',
    ]);
    expect(it.directory(2, '/local/domain/1')).to.equal('EACCES');
    expect([it.write(2, '/local/domain/1/x', ''), it.rm(2, '/local/domain/1/secret')]).to.deep.equal([
      'EACCES',
      'EACCES',
    ]);
    expect(it.getPerms(2, '/local/domain/1/secret')).to.equal('EACCES');
    expect(it.read(1, 'secret')).to.equal('s');
  });

  it('r, w and b give what they say, n nothing, and the first entry is for all others', () => {
    const it = home();
    it.write(1, 'x', 'v');
    const path = '/local/domain/1/x';
    const tries = (): string[] => [it.read(2, path), it.write(2, path, 'v')];
    for (const [list, results] of [
      ['n1,r2', ['v', 'EACCES']],
      ['n1,w2', ['EACCES', 'OK']],
      ['n1,b2', ['v', 'OK']],
      ['r1', ['v', 'EACCES']],
      ['b1', ['v', 'OK']],
      ['b1,n2', ['EACCES', 'EACCES']],
    ] as const) {
      expect(it.setPerms(1, 'x', list)).to.equal('OK');
      expect(it.getPerms(1, 'x')).to.equal(list);
      expect([list, tries()]).to.deep.equal([list, results]);
    }
  });

  it('a new node has those of its parent, but belongs to the domain that made it', () => {
    const it = home();
    it.setPerms(0, '/local/domain/1', 'n1,b2');
    it.write(0, '/local/domain/1/by-0', '');
    it.write(2, '/local/domain/1/by-2/deep', '');
    expect(['by-0', 'by-2', 'by-2/deep'].map((name) => it.getPerms(0, `/local/domain/1/${name}`))).to.deep.equal([
      'n1,b2',
      'n2,b2',
      'n2,b2',
    ]);
  });

  it('only the owner and domain 0 set them, and only domain 0 gives a node away', () => {
    const it = home();
    it.setPerms(0, '/local/domain/1', 'n1,b2');
    expect(it.setPerms(2, '/local/domain/1', 'n2')).to.equal('EACCES');
    expect(it.setPerms(1, '/local/domain/1', 'n2')).to.equal('EPERM');
    expect(it.setPerms(0, '/local/domain/1', 'n2')).to.equal('OK');
    expect(it.getPerms(0, '/local/domain/1')).to.equal('n2');
  });

  it('refuses what is no permission', () => {
    const it = home();
    for (const bad of ['', 'x1', 'n', 'n-1', 'n65536', 'rw1', '1']) {
      expect([bad, it.setPerms(1, 'x', bad)]).to.deep.equal([bad, 'EINVAL']);
    }
    expect(it.ask(1, W.XS_SET_PERMS, W.strings('x'))).to.equal('EINVAL');
    expect(it.setPerms(1, 'not-there', 'n1')).to.equal('ENOENT');
    expect(it.setPerms(1, 'not-there', 'n1,r2,r3,r4,r5,r6')).to.equal('ENOSPC');
  });

  it('SET_TARGET gives a domain the rights of another', () => {
    const it = home();
    it.write(2, 'x', 'v');
    expect(it.read(1, '/local/domain/2/x')).to.equal('EACCES');
    expect(it.ask(1, W.XS_SET_TARGET, W.strings('1', '2'))).to.equal('EACCES');
    expect(it.ask(0, W.XS_SET_TARGET, W.strings('1', '9'))).to.equal('ENOENT');
    expect(it.ask(0, W.XS_SET_TARGET, W.strings('1'))).to.equal('EINVAL');
    expect(it.ask(0, W.XS_SET_TARGET, W.strings('1', '2'))).to.equal('OK');
    expect([it.read(1, '/local/domain/2/x'), it.write(1, '/local/domain/2/x', '')]).to.deep.equal(['v', 'OK']);
  });
});

describe('xenstored: limits', () => {
  it('a domain owns no more than its quota of nodes', () => {
    const it = home();
    for (let n = 1; n < QUOTA.nodes; n++)
      expect(it.mkdir(1, `${n}`.replaceAll(/(\d)/g, '$1/').slice(0, -1))).to.equal('OK');
    expect(it.state.owned.get(1)).to.equal(QUOTA.nodes);
    expect([it.mkdir(1, 'more'), it.mkdir(0, '/local/domain/1/x')]).to.deep.equal(['ENOSPC', 'OK']);
    expect(it.rm(1, '9')).to.equal('OK');
    expect(it.mkdir(1, 'more')).to.equal('OK');
  });

  it('makes all missing nodes or none', () => {
    const it = home();
    const before = save(it.state);
    expect(it.write(1, `a/b/c/${'x'.repeat(20)}`, 'v'.repeat(2100))).to.equal('ENOSPC');
    expect(save(it.state)).to.deep.equal(before);
  });

  it('a node of a domain has no more than 2048 bytes', () => {
    const it = home();
    // 16 for its header, 8 for its one permission.
    expect([it.write(1, 'x', 'v'.repeat(2024)), it.write(1, 'x', 'v'.repeat(2025))]).to.deep.equal(['OK', 'ENOSPC']);
    expect(it.write(0, '/local/domain/1/x', 'v'.repeat(4000))).to.equal('OK');
  });

  it('a domain has no more than its quota of watches and transactions', () => {
    const it = home();
    for (let n = 0; n <= QUOTA.watches; n++) expect(it.watch(1, 'x', `${n}`)).to.equal('OK');
    expect(it.watch(1, 'x', 'more')).to.equal('E2BIG');
    for (let n = 0; n <= QUOTA.transactions; n++) expect(it.start(1)).to.equal(n + 1);
    expect(it.ask(1, W.XS_TRANSACTION_START, '\0')).to.equal('ENOSPC');
    expect(it.ask(1, W.XS_RESET_WATCHES, '\0')).to.equal('OK');
    expect([it.watch(1, 'x', '0'), it.start(1) > 0]).to.deep.equal(['OK', true]);
  });
});

describe('xenstored: domains', () => {
  const introduce = (domid: number, port: number | string = 3): Uint8Array => W.strings(`${domid}`, '4711', `${port}`);

  it('INTRODUCE connects, RELEASE disconnects, IS_DOMAIN_INTRODUCED knows', () => {
    const it = client();
    const isThere = (): string => it.ask(0, W.XS_IS_DOMAIN_INTRODUCED, W.strings('5'));
    expect(isThere()).to.equal('F');
    expect(it.ask(0, W.XS_INTRODUCE, introduce(5))).to.equal('OK');
    expect([isThere(), it.state.connections.get(5)?.port]).to.deep.equal(['T', 3]);
    expect(it.ask(0, W.XS_RELEASE, W.strings('5'))).to.equal('OK');
    expect([isThere(), it.ask(0, W.XS_RELEASE, W.strings('5'))]).to.deep.equal(['F', 'ENOENT']);
    expect(serve(it.state, 5, { type: W.XS_READ, reqId: 0, txId: 0, payload: W.strings('/') })).to.deep.equal([]);
  });

  it('INTRODUCE again begins anew, on another port', () => {
    const it = home();
    it.watch(1, 'x', 't');
    it.start(1);
    it.state.connections.get(1)!.fault = 2;
    it.events();
    expect(it.ask(0, W.XS_INTRODUCE, introduce(1, 9))).to.equal('OK');
    const { watches, transactions, port, fault } = it.state.connections.get(1)!;
    expect([watches, transactions, port, fault]).to.deep.equal([[], [], 9, 0]);
  });

  it('refuses what is no domain or port', () => {
    const it = client();
    for (const payload of [introduce(0), introduce(0x7ff0), introduce(1, 0), introduce(1, -4), introduce(1, 'x')])
      expect(it.ask(0, W.XS_INTRODUCE, payload)).to.equal('EINVAL');
    expect(it.ask(0, W.XS_INTRODUCE, W.strings('1', '2'))).to.equal('EINVAL');
    for (const type of [W.XS_RELEASE, W.XS_RESUME]) {
      expect(it.ask(0, type, W.strings('0'))).to.equal('EINVAL');
      expect(it.ask(0, type, W.strings('8'))).to.equal('ENOENT');
      expect(it.ask(0, type, '')).to.equal('EINVAL');
    }
  });

  it('leaves nothing of a domain that has gone for one that gets its number', () => {
    const it = home();
    it.write(1, 'x/y', 'v');
    it.write(2, 'for-1', 'v');
    it.setPerms(2, 'for-1', 'n2,r1');
    it.ask(0, W.XS_SET_TARGET, W.strings('2', '1'));
    it.ask(0, W.XS_RELEASE, W.strings('1'));
    expect(it.read(0, '/local/domain/1')).to.equal('ENOENT');
    expect(it.getPerms(0, '/local/domain/2/for-1')).to.equal('n2');
    expect(it.state.connections.get(2)?.target).to.equal(undefined);
    expect(it.state.owned.has(1)).to.equal(false);
  });

  it('GET_DOMAIN_PATH says it for any number', () => {
    const it = client(1);
    expect(it.ask(1, W.XS_GET_DOMAIN_PATH, W.strings('0012'))).to.equal('/local/domain/12');
    expect(it.ask(1, W.XS_GET_DOMAIN_PATH, '')).to.equal('EINVAL');
  });

  it('only domain 0 says anything of domains, or controls', () => {
    const it = home();
    const types = [W.XS_CONTROL, W.XS_INTRODUCE, W.XS_RELEASE, W.XS_IS_DOMAIN_INTRODUCED, W.XS_RESUME, W.XS_SET_TARGET];
    for (const type of types) expect([type, it.ask(1, type, introduce(2))]).to.deep.equal([type, 'EACCES']);
    expect(it.ask(0, W.XS_CONTROL, W.strings('check'))).to.equal('OK');
    expect(it.ask(0, W.XS_CONTROL, W.strings('help'))).to.contain('check');
    expect(it.ask(0, W.XS_CONTROL, W.strings('explode'))).to.equal('EINVAL');
  });
});

describe('xenstored: any request', () => {
  it('that there is not gets ENOSYS', () => {
    const it = client(1);
    for (const type of [W.XS_WATCH_EVENT, W.XS_ERROR, 20, W.XS_TYPE_COUNT, 0xffff, 0xffff_ffff])
      expect([type, it.ask(1, type, '')]).to.deep.equal([type, 'ENOSYS']);
    expect(Object.keys(REQUESTS)).to.have.length(20);
  });

  it('that is too long gets E2BIG', () => {
    const it = client(1);
    expect(it.ask(1, W.XS_WRITE, new Uint8Array(4097))).to.equal('E2BIG');
    expect(it.ask(1, W.XS_WRITE, new Uint8Array(4096))).to.equal('EINVAL');
  });

  it('that names a transaction which there is not gets ENOENT, but for watches', () => {
    const it = home();
    expect([it.read(1, 'x', 9), it.ask(1, W.XS_WATCH, W.strings('x', 't'), 9)]).to.deep.equal(['ENOENT', 'OK']);
  });

  // Words that make a request likely to mean something.
  const piece = fc.oneof(
    fc.constantFrom(
      '/',
      '/a',
      '/a/b',
      'a',
      'x/y',
      '/local/domain/1',
      '@releaseDomain',
      'T',
      'F',
      '1',
      '2',
      'n1',
      'b2',
      '',
    ),
    fc.string({ maxLength: 6 }),
  );
  const payload = fc.oneof(
    fc.array(piece, { maxLength: 4 }).map((pieces) => W.toBytes(pieces.map((text) => `${text}\0`).join(''))),
    fc.uint8Array({ maxLength: 40 }),
  );
  const request = fc.record({
    domid: fc.constantFrom(0, 1, 2),
    type: fc.oneof(fc.integer({ min: 0, max: W.XS_TYPE_COUNT }), fc.integer({ min: 0, max: 0xffff_ffff })),
    txId: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 4 })),
    payload,
  });

  it('gets one answer, well formed, leaves a sound store, and does the same after a reload', () => {
    fc.assert(
      fc.property(fc.array(request, { maxLength: 60 }), fc.nat(59), (requests, reloadAt) => {
        let state = home().state;
        const other = home().state;
        requests.forEach(({ domid, ...rest }, n) => {
          if (n === reloadAt) state = load(save(state));
          const message = { ...rest, reqId: n };
          const sent = serve(state, domid, message);
          expect(serve(other, domid, message)).to.deep.equal(sent);
          for (const { message } of sent) expect(W.decode(W.encode(message))).to.deep.equal(message);
          const replies = sent.filter(({ message }) => message.type !== W.XS_WATCH_EVENT);
          expect(replies).to.have.length(state.connections.has(domid) || sent.length > 0 ? 1 : 0);
          for (const { message: reply } of replies) {
            expect(reply.reqId).to.equal(n);
            if (reply.type === W.XS_ERROR) expect(W.XS_ERRORS).to.include(W.oneString(reply.payload));
            else expect(reply.type).to.equal(message.type);
          }
        });
        expect(save(state)).to.deep.equal(save(other));
        expectSound(state);
      }),
      { numRuns: 150 },
    );
  });

  /** Each node is in its parent’s list once, all in the list are there, and the owners’ counts are right. */
  function expectSound(state: ReturnType<typeof newState>): void {
    const reached = new Set<string>(['@introduceDomain', '@releaseDomain']);
    const visit = (path: string): void => {
      expect(reached.has(path)).to.equal(false);
      reached.add(path);
      for (const name of state.nodes.get(path)!.children) visit(path === '/' ? `/${name}` : `${path}/${name}`);
    };
    visit('/');
    expect([...reached].sort()).to.deep.equal([...state.nodes.keys()].sort());
    const again = { generation: 0, nodes: new Map(), owned: new Map<number, number>() };
    for (const [path, node] of state.nodes) setNode(again, path, node);
    expect([...again.owned].sort()).to.deep.equal([...state.owned].sort());
  }
});
