import { expect } from 'chai';
import fc from 'fast-check';
import {
  exchange,
  INTERFACE_BYTES,
  queue,
  RING,
  resetRing,
  takeQueued,
  XENSTORE_ERROR_COMM,
  XENSTORE_ERROR_PROTO,
  XENSTORE_ERROR_RINGIDX,
  XENSTORE_RECONNECT,
} from '../../src/xenstore/ring.js';
import { load, save } from '../../src/xenstore/saved.js';
import { serve } from '../../src/xenstore/server.js';
import { memoryOf, type State } from '../../src/xenstore/state.js';
import { QUOTA } from '../../src/xenstore/store.js';
import * as W from '../../src/xenstore/wire.js';
import { answerText, home } from './client.js';

const GUARD = 64;

/** A domain's end of the page, which lies between bytes that nobody may touch. */
function guest(start = 0) {
  const around = new Uint8Array(GUARD + 4096 + GUARD).fill(0xa5);
  const page = around.subarray(GUARD, GUARD + 4096);
  page.fill(0);
  const view = new DataView(page.buffer, page.byteOffset, page.length);
  const index = (offset: number): number => view.getUint32(offset, true);
  const setIndex = (offset: number, x: number): void => view.setUint32(offset, x >>> 0, true);
  for (const offset of [RING.req_cons, RING.req_prod, RING.rsp_cons, RING.rsp_prod]) setIndex(offset, start);
  let received = new Uint8Array(0);

  return {
    page,
    index,
    setIndex,
    /** Puts as much as there is room for. @returns how much that was */
    put(bytes: Uint8Array): number {
      const prod = index(RING.req_prod);
      const length = Math.min(bytes.length, 1024 - ((prod - index(RING.req_cons)) >>> 0));
      for (let n = 0; n < length; n++) page[RING.req + ((prod + n) & 1023)] = bytes[n]!;
      setIndex(RING.req_prod, prod + length);
      return length;
    },
    /** Takes up to `most` bytes of answers. @returns messages that are whole now */
    take(most = 1024): W.Message[] {
      const cons = index(RING.rsp_cons);
      const length = Math.min(most, (index(RING.rsp_prod) - cons) >>> 0);
      const more = Uint8Array.from({ length }, (_, n) => page[RING.rsp + ((cons + n) & 1023)]!);
      setIndex(RING.rsp_cons, cons + length);
      received = Uint8Array.of(...received, ...more);
      const whole: W.Message[] = [];
      while (received.length >= W.HEADER_BYTES) {
        const end = W.HEADER_BYTES + W.decodeHeader(received).len;
        if (received.length < end) break;
        whole.push(W.decode(received.slice(0, end))!);
        received = received.slice(end);
      }
      return whole;
    },
    /** Whether all outside the part that is used is as it was. */
    isUntouchedAround: () =>
      [around.subarray(0, GUARD), around.subarray(GUARD + 4096)].every((part) => part.every((x) => x === 0xa5)) &&
      page.subarray(INTERFACE_BYTES).every((x) => x === 0),
  };
}

const request = (type: number, reqId: number, ...texts: string[]): Uint8Array =>
  W.encode({ type, reqId, txId: 0, payload: W.strings(...texts) });

const writeRequest = (reqId: number, path: string, value: string): Uint8Array =>
  W.encode({ type: W.XS_WRITE, reqId, txId: 0, payload: W.toBytes(`${path}\0${value}`) });

describe('xenstore ring', () => {
  it('has requests taken and answers put, and says that it moved', () => {
    const { state } = home();
    const it = guest();
    it.put(request(W.XS_READ, 5, 'none'));
    it.put(request(W.XS_MKDIR, 6, 'x'));
    const done = exchange(state, 1, it.page);
    expect(done).to.deep.equal({ requests: 2, isMoved: true, isWaiting: false, others: [], fault: 0 });
    expect(it.take().map((message) => [message.reqId, answerText(message)])).to.deep.equal([
      [5, 'ENOENT'],
      [6, 'OK'],
    ]);
    expect(exchange(state, 1, it.page)).to.deep.equal({ ...done, requests: 0, isMoved: false });
  });

  it('keeps what has come of a request, over a reload, too', () => {
    let { state } = home();
    const it = guest();
    const bytes = writeRequest(1, 'x', 'v');
    bytes.forEach((byte, n) => {
      it.put(Uint8Array.of(byte));
      state = load(save(state));
      expect(exchange(state, 1, it.page).requests).to.equal(n === bytes.length - 1 ? 1 : 0);
    });
    expect(it.take().map(answerText)).to.deep.equal(['OK']);
  });

  it('carries messages that are longer than it', () => {
    const { state } = home();
    const it = guest(0xffff_ff00);
    const value = 'v'.repeat(2000);
    for (let bytes = writeRequest(1, 'x', value); bytes.length > 0; bytes = bytes.subarray(it.put(bytes)))
      exchange(state, 1, it.page);
    exchange(state, 1, it.page);
    expect(it.take().map(answerText)).to.deep.equal(['OK']);
    it.put(request(W.XS_READ, 2, 'x'));
    expect(exchange(state, 1, it.page).isWaiting).to.equal(true);
    const got: string[] = [];
    for (let n = 0; n < 3; n++) {
      got.push(...it.take().map(answerText));
      exchange(state, 1, it.page);
    }
    expect(got).to.deep.equal([value]);
  });

  it('gives the same answers wherever it begins and however it is cut', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0xffff_ffff }),
        fc.infiniteStream(fc.integer({ min: 1, max: 700 })),
        fc.array(fc.record({ path: fc.constantFrom('a', 'b/c', 'w/x'), length: fc.nat(1500) }), { maxLength: 12 }),
        (start, cuts, writes) => {
          const it = guest(start);
          let { state } = home();
          const requests = [request(W.XS_WATCH, 0, 'w', 't')];
          writes.forEach(({ path, length }, n) => {
            requests.push(writeRequest(2 * n + 1, path, `${n}`.repeat(length)));
            requests.push(request(W.XS_READ, 2 * n + 2, path));
          });
          let bytes = Uint8Array.of(...requests.flatMap((one) => [...one]));
          const got: W.Message[] = [];
          let isBusy = true;
          for (let n = 0; isBusy; n++) {
            expect(n).to.be.below(50_000);
            const [put, take] = [cuts.next().value, cuts.next().value];
            bytes = bytes.subarray(it.put(bytes.subarray(0, put)));
            const { isMoved, fault } = exchange(state, 1, it.page);
            state = load(save(state));
            expect(fault).to.equal(0);
            got.push(...it.take(take));
            isBusy = isMoved || bytes.length > 0 || it.index(RING.rsp_cons) !== it.index(RING.rsp_prod);
          }
          const replies = got.filter(({ type }) => type !== W.XS_WATCH_EVENT);
          expect(replies.map(({ reqId }) => reqId)).to.deep.equal(requests.map((_, n) => n));
          writes.forEach(({ length }, n) => {
            expect(answerText(replies[2 * n + 2]!)).to.equal(`${n}`.repeat(length));
          });
          expect(it.isUntouchedAround()).to.equal(true);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('with indices too far apart is ignored, and says why, until the domain is introduced again', () => {
    for (const [offset, value] of [
      [RING.req_prod, 1025],
      [RING.req_prod, -1],
      [RING.req_cons, 1],
      [RING.rsp_prod, 1025],
      [RING.rsp_cons, 1],
      [RING.rsp_cons, 0x8000_0000],
    ] as const) {
      const client = home();
      const it = guest();
      it.setIndex(offset, value);
      const page = it.page.slice();
      expect(exchange(client.state, 1, it.page).fault).to.equal(XENSTORE_ERROR_RINGIDX);
      expect(it.index(RING.error)).to.equal(XENSTORE_ERROR_RINGIDX);
      it.setIndex(RING.error, 0);
      expect(it.page).to.deep.equal(page);

      const mended = guest();
      mended.put(request(W.XS_MKDIR, 1, 'x'));
      expect(exchange(client.state, 1, mended.page)).to.include({ requests: 0, fault: XENSTORE_ERROR_RINGIDX });
      client.ask(0, W.XS_INTRODUCE, W.strings('1', '1', '1'));
      expect(exchange(client.state, 1, mended.page)).to.include({ requests: 1, fault: 0 });
    }
  });

  it('with a payload that is too long is ignored from there on', () => {
    const { state } = home();
    const it = guest();
    it.put(request(W.XS_MKDIR, 1, 'x'));
    const long = new Uint8Array(16);
    new DataView(long.buffer).setUint32(12, 4097, true);
    it.put(long);
    expect(exchange(state, 1, it.page)).to.include({ requests: 1, fault: XENSTORE_ERROR_PROTO });
    expect(it.index(RING.error)).to.equal(XENSTORE_ERROR_PROTO);
    expect(state.connections.get(1)).to.deep.include({ watches: [], transactions: [], output: [] });
  });

  it('of nobody is not looked at', () => {
    const it = guest();
    expect(exchange(home().state, 9, it.page).fault).to.equal(XENSTORE_ERROR_COMM);
  });

  it('is empty after a reset, and says whether the domain waited for that', () => {
    const it = guest(77);
    expect(resetRing(it.page)).to.equal(false);
    expect([RING.req_cons, RING.req_prod, RING.rsp_cons, RING.rsp_prod].map(it.index)).to.deep.equal([0, 0, 0, 0]);
    it.setIndex(RING.connection, XENSTORE_RECONNECT);
    expect([resetRing(it.page), it.index(RING.connection)]).to.deep.equal([true, 0]);
  });

  it('says for whom else there is something, and queues it there', () => {
    const client = home();
    client.watch(0, '/', 't');
    client.watch(2, '/', 't');
    const it = guest();
    it.put(writeRequest(1, 'x', ''));
    it.put(writeRequest(2, 'x', ''));
    expect(exchange(client.state, 1, it.page).others).to.deep.equal([0]);
    expect(takeQueued(client.state, 0).map(answerText), 'once, as it was not yet read').to.deep.equal([
      '/local/domain/1/x|t',
    ]);
    expect(takeQueued(client.state, 0)).to.deep.equal([]);
    expect(takeQueued(client.state, 9)).to.deep.equal([]);
  });

  it('of a domain that does not fetch its answers is not read until it does', () => {
    const { state } = home();
    const it = guest();
    const one = request(W.XS_DIRECTORY, 1, 'none');
    let sent = 0;
    for (let n = 0; n < 200; n++) {
      sent += Number(it.put(one) === one.length);
      exchange(state, 1, it.page);
    }
    const { output } = state.connections.get(1)!;
    expect(output).to.have.length(QUOTA.outstanding);
    let got = 0;
    for (let moved = true; moved; ) {
      got += it.take().length;
      moved = exchange(state, 1, it.page).isMoved;
    }
    // Of the last there may be only a part.
    expect(got).to.be.within(sent, sent + 1);
  });

  it('keeps no more events than a domain may have bytes', () => {
    const client = home();
    client.watch(1, '/', 't'.repeat(3000));
    client.setPerms(0, '/', 'r0');
    for (let n = 0; n < 2000; n++) queue(client.state, serveWrite(client.state, `/n${n}`));
    expect(memoryOf(client.state.connections.get(1)!)).to.be.within(QUOTA.memory - 4096, QUOTA.memory);
    expect(client.watch(1, 'x', 't'.repeat(4080)), 'nor a watch').to.equal('ENOMEM');
  });

  it('survives any bytes in the page, and touches nothing but it', () => {
    const spoil = fc.record({
      indices: fc.array(fc.oneof(fc.integer({ min: -1100, max: 1100 }), fc.integer()), { minLength: 4, maxLength: 4 }),
      bytes: fc.uint8Array({ maxLength: 300 }),
      at: fc.nat(1023),
    });
    fc.assert(
      fc.property(fc.array(spoil, { maxLength: 8 }), fc.boolean(), (spoils, isKind) => {
        const { state } = home();
        const it = guest();
        for (const { indices, bytes, at } of spoils) {
          bytes.forEach((byte, n) => {
            it.page[RING.req + ((at + n) & 1023)] = byte;
          });
          const offsets = [RING.req_cons, RING.req_prod, RING.rsp_cons, RING.rsp_prod];
          offsets.forEach((offset, n) => {
            it.setIndex(offset, indices[n]!);
          });
          // Indices that can be, so that the bytes count.
          if (isKind) {
            it.setIndex(RING.req_cons, at);
            it.setIndex(RING.req_prod, at + bytes.length);
            it.setIndex(RING.rsp_cons, it.index(RING.rsp_prod));
          }
          const { requests } = exchange(state, 1, it.page);
          expect(requests).to.be.at.most(64);
          expect(it.isUntouchedAround()).to.equal(true);
        }
        expect(save(load(save(state)))).to.deep.equal(save(state));
      }),
      { numRuns: 200 },
    );
  });
});

const serveWrite = (state: State, path: string) =>
  serve(state, 0, { type: W.XS_WRITE, reqId: 0, txId: 0, payload: W.strings(path) });
