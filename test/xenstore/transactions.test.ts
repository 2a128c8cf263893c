import { expect } from 'chai';
import fc from 'fast-check';
import { save } from '../../src/xenstore/saved.js';
import { QUOTA } from '../../src/xenstore/store.js';
import * as W from '../../src/xenstore/wire.js';
import { type Client, home } from './client.js';

describe('xenstore transactions', () => {
  it('are seen by nobody else until they are committed', () => {
    const it = home();
    it.write(1, 'x', 'old');
    const tx = it.start(1);
    it.write(1, 'x', 'new', tx);
    it.write(1, 'made/deep', '', tx);
    expect([it.read(1, 'x', tx), it.read(1, 'x'), it.read(0, '/local/domain/1/made')]).to.deep.equal([
      'new',
      'old',
      'ENOENT',
    ]);
    expect(it.end(1, tx)).to.equal('OK');
    expect([it.read(1, 'x'), it.directory(1, 'made')]).to.deep.equal(['new', 'deep']);
    expect(it.end(1, tx)).to.equal('ENOENT');
  });

  it('see what they have read, even if it is changed meanwhile', () => {
    const it = home();
    it.write(1, 'x', 'old');
    const tx = it.start(1);
    it.read(1, 'x', tx);
    it.write(0, '/local/domain/1/x', 'new');
    expect(it.read(1, 'x', tx)).to.equal('old');
  });

  it('leave nothing when they are ended with F', () => {
    const it = home();
    const before = save(it.state).length;
    const tx = it.start(1);
    it.write(1, 'a/b', 'c', tx);
    expect(it.end(1, tx, 'F')).to.equal('OK');
    expect([it.read(1, 'a'), save(it.state).length]).to.deep.equal(['ENOENT', before]);
  });

  it('remove, too', () => {
    const it = home();
    it.write(1, 'a/b/c', '');
    const tx = it.start(1);
    it.rm(1, 'a', tx);
    expect([it.read(1, 'a/b/c', tx), it.read(1, 'a/b/c'), it.write(1, 'a', 'again', tx)]).to.deep.equal([
      'ENOENT',
      '',
      'OK',
    ]);
    expect([it.end(1, tx), it.read(1, 'a'), it.directory(1, 'a')]).to.deep.equal(['OK', 'again', '']);
  });

  /** What others may do meanwhile, and whether the transaction can still be committed. */
  const MEANWHILE: readonly [string, (it: Client, tx: number) => void, (it: Client) => void, 'OK' | 'EAGAIN'][] = [
    ['what it read was written', (it, tx) => it.read(1, 'x', tx), (it) => it.write(1, 'x', ''), 'EAGAIN'],
    ['what it read was written as it was', (it, tx) => it.read(1, 'x', tx), (it) => it.write(1, 'x', 'v'), 'EAGAIN'],
    ['what it read was removed', (it, tx) => it.read(1, 'x', tx), (it) => it.rm(1, 'x'), 'EAGAIN'],
    ['what it wrote was written', (it, tx) => it.write(1, 'x', '', tx), (it) => it.write(1, 'x', ''), 'EAGAIN'],
    ['what it missed was made', (it, tx) => it.read(1, 'none', tx), (it) => it.mkdir(1, 'none'), 'EAGAIN'],
    [
      'what it read has other permissions',
      (it, tx) => it.read(1, 'x', tx),
      (it) => it.setPerms(1, 'x', 'r1'),
      'EAGAIN',
    ],
    ['both made a node in one place', (it, tx) => it.mkdir(1, 'a', tx), (it) => it.mkdir(1, 'b'), 'EAGAIN'],
    ['a node got a child, but only it was read', (it, tx) => it.read(1, 'x', tx), (it) => it.mkdir(1, 'y'), 'OK'],
    ['its children were only read', (it, tx) => it.read(1, 'x', tx), (it) => it.read(1, 'x'), 'OK'],
    ['something else was written', (it, tx) => it.write(1, 'x', 'n', tx), (it) => it.write(2, 'z', ''), 'OK'],
    ['it asked after the change', () => undefined, (it) => it.write(1, 'x', ''), 'OK'],
  ];
  for (const [title, act, meanwhile, result] of MEANWHILE) {
    it(`${result} when ${title}`, () => {
      const it = home();
      it.write(1, 'x', 'v');
      it.write(2, 'z', 'v');
      const tx = it.start(1);
      act(it, tx);
      meanwhile(it);
      it.write(1, 'x/done', '', tx);
      expect(it.end(1, tx)).to.equal(result);
      expect(it.read(1, 'x/done')).to.equal(result === 'OK' ? '' : 'ENOENT');
      expect(it.end(1, tx)).to.equal('ENOENT');
    });
  }

  it('of two that read what the other wrote, the second has to begin again', () => {
    const it = home();
    for (const name of ['a', 'b']) it.write(1, name, '0');
    const [one, two] = [it.start(1), it.start(1)];
    it.write(1, 'b', it.read(1, 'a', one), one);
    it.write(1, 'a', it.read(1, 'b', two), two);
    expect([it.end(1, one), it.end(1, two)]).to.deep.equal(['OK', 'EAGAIN']);
  });

  it('fire when they are committed, each node once', () => {
    const it = home();
    it.write(1, 'a/b', '');
    for (const path of ['x', 'a/b', 'a', '/local/domain/1']) it.watch(1, path, 't');
    it.events();
    const tx = it.start(1);
    it.write(1, 'x', '1', tx);
    it.write(1, 'x', '2', tx);
    it.rm(1, 'a', tx);
    expect(it.events()).to.deep.equal([]);
    it.end(1, tx);
    expect(it.events()).to.deep.equal([
      '1: x t',
      '1: /local/domain/1/x t',
      '1: a t',
      '1: /local/domain/1/a t',
      '1: a/b t',
    ]);
    const dropped = it.start(1);
    it.write(1, 'x', '3', dropped);
    it.end(1, dropped, 'F');
    expect(it.events()).to.deep.equal([]);
  });

  it('are not nested, and end with T or F', () => {
    const it = home();
    const tx = it.start(1);
    expect(it.ask(1, W.XS_TRANSACTION_START, '\0', tx)).to.equal('EBUSY');
    for (const how of ['', 'T', 'X\0', 'T\0F\0'])
      expect([how, it.ask(1, W.XS_TRANSACTION_END, how, tx)]).to.deep.equal([how, 'EINVAL']);
    expect(it.ask(1, W.XS_TRANSACTION_END, 'T\0')).to.equal('ENOENT');
    expect([it.end(2, tx), it.end(1, tx)]).to.deep.equal(['ENOENT', 'OK']);
  });

  it('that met a limit are not committed', () => {
    const it = home();
    const tx = it.start(1);
    it.write(1, 'x', 'v', tx);
    expect(it.write(1, 'y', 'v'.repeat(3000), tx)).to.equal('ENOSPC');
    expect([it.end(1, tx), it.read(1, 'x')]).to.deep.equal(['ENOMEM', 'ENOENT']);
  });

  it('come near no more nodes than their quota', () => {
    const it = home();
    const tx = it.start(1);
    it.setPerms(0, '/local/domain/1', 'n1');
    // The first also looks for its parent.
    for (let n = 0; n < QUOTA.transactionNodes - 1; n++) expect(it.read(1, `n${n}`, tx)).to.equal('ENOENT');
    expect([it.read(1, 'n0', tx), it.read(1, 'more', tx), it.end(1, tx)]).to.deep.equal(['ENOENT', 'ENOSPC', 'ENOMEM']);
  });

  it('make no more nodes than the quota, together with those made meanwhile', () => {
    const it = home();
    const tx = it.start(1);
    for (let n = 0; n < 500; n++) it.mkdir(1, `a/${n % 23}/${n}`, tx);
    it.write(0, '/local/domain/1x', '');
    for (let n = 0; n < 500; n++) {
      it.mkdir(0, `/other/${n}`);
      it.setPerms(0, `/other/${n}`, 'n1');
    }
    expect([it.end(1, tx), it.state.owned.get(1)]).to.deep.equal(['ENOSPC', 501]);
  });

  it('may change and replace nodes when there are as many as there can be', () => {
    const it = home();
    for (let n = 1; n < QUOTA.nodes; n++) it.mkdir(1, `${n}`.split('').join('/'));
    const tx = it.start(1);
    expect([
      it.write(1, '1', 'v', tx),
      it.rm(1, '9/9/9', tx),
      it.mkdir(1, 'new', tx),
      it.mkdir(1, 'more', tx),
    ]).to.deep.equal(['OK', 'OK', 'OK', 'ENOSPC']);
    it.end(1, tx, 'F');
    const again = it.start(1);
    for (const act of [it.write(1, '1', 'v', again), it.rm(1, '9/9/9', again), it.mkdir(1, 'new', again)])
      expect(act).to.equal('OK');
    expect([it.end(1, again), it.state.owned.get(1)]).to.deep.equal(['OK', QUOTA.nodes]);
  });

  it('keep no more bytes than a domain may have', () => {
    const it = home();
    for (let n = 0; n < 800; n++) it.write(1, `big/${n % 29}/${n}`, 'v'.repeat(2000));
    let answer = '';
    for (let n = 0; n <= QUOTA.transactions && answer !== 'ENOMEM'; n++) {
      const tx = it.start(1);
      for (let m = 0; m < 800 && answer !== 'ENOMEM'; m++) answer = it.read(1, `big/${m % 29}/${m}`, tx);
      if (answer === 'ENOMEM') expect(it.end(1, tx)).to.equal('ENOMEM');
    }
    expect(answer).to.equal('ENOMEM');
  });

  it('one after the other give what the same requests give without', () => {
    const step = fc.record({
      op: fc.constantFrom('write', 'mkdir', 'rm'),
      path: fc.constantFrom('a', 'a/b', 'a/b/c', 'a/d', 'e', 'e/b'),
      value: fc.constantFrom('', '1', '2'),
    });
    fc.assert(
      fc.property(fc.array(fc.array(step, { maxLength: 6 }), { maxLength: 8 }), (groups) => {
        const [with1, without] = [home(), home()];
        for (const group of groups) {
          const tx = with1.start(1);
          for (const { op, path, value } of group) {
            const answers = [with1, without].map((client, n) => {
              const txId = n === 0 ? tx : 0;
              if (op === 'write') return client.write(1, path, value, txId);
              return op === 'rm' ? client.rm(1, path, txId) : client.mkdir(1, path, txId);
            });
            expect(answers[0]).to.equal(answers[1]);
          }
          expect(with1.end(1, tx)).to.equal('OK');
        }
        const content = ({ state }: Client): unknown =>
          [...state.nodes]
            .map(([path, { value, children, permissions }]) => [path, value, [...children].sort(), permissions])
            .sort();
        expect(content(with1)).to.deep.equal(content(without));
      }),
      { numRuns: 60 },
    );
  });
});
