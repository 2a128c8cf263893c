/** Someone who talks to a store: requests by name, answers as text. */
import { serve } from '../../src/xenstore/server.js';
import { connect, type Delivery, newState, type State } from '../../src/xenstore/state.js';
import * as W from '../../src/xenstore/wire.js';

export interface Client {
  readonly state: State;
  /** What all domains were sent besides answers, as `3: path token`, since it was last asked for. */
  events(): string[];
  /** The answer: its strings joined by `|`, or the error. */
  ask(domid: number, type: number, payload: Uint8Array | string, txId?: number): string;
  /** READ, and so on; the payload's strings each get a NUL. */
  read(domid: number, path: string, txId?: number): string;
  write(domid: number, path: string, value: string, txId?: number): string;
  mkdir(domid: number, path: string, txId?: number): string;
  rm(domid: number, path: string, txId?: number): string;
  directory(domid: number, path: string, txId?: number): string;
  getPerms(domid: number, path: string): string;
  setPerms(domid: number, path: string, permissions: string, txId?: number): string;
  watch(domid: number, path: string, token: string): string;
  unwatch(domid: number, path: string, token: string): string;
  /** The transaction's number. */
  start(domid: number): number;
  end(domid: number, txId: number, how?: 'T' | 'F'): string;
}

export const answerText = ({ payload }: W.Message): string =>
  W.toText(payload).replace(/\0$/, '').replaceAll('\0', '|');

/** @param domids connected besides domain 0 */
export function client(...domids: number[]): Client {
  const state = newState();
  for (const domid of domids) connect(state, domid);
  return clientOf(state);
}

export function clientOf(state: State): Client {
  let events: string[] = [];

  function keep(deliveries: readonly Delivery[]): void {
    events.push(...deliveries.map(({ domid, message }) => `${domid}: ${answerText(message).replace('|', ' ')}`));
  }

  function ask(domid: number, type: number, payload: Uint8Array | string, txId = 0): string {
    const bytes = typeof payload === 'string' ? W.toBytes(payload) : payload;
    const sent = serve(state, domid, { type, reqId: 77, txId, payload: bytes });
    const isEvent = ({ message }: Delivery): boolean => message.type === W.XS_WATCH_EVENT;
    keep(sent.filter(isEvent));
    const [reply, ...more] = sent.filter((delivery) => !isEvent(delivery));
    if (!reply || more.length > 0 || reply.domid !== domid) throw new Error('not one answer');
    const { type: got, reqId, txId: tx } = reply.message;
    if ((got !== type && got !== W.XS_ERROR) || reqId !== 77 || tx !== txId) throw new Error('not its answer');
    return answerText(reply.message);
  }

  return {
    state,
    events() {
      const all = events;
      events = [];
      return all;
    },
    ask,
    read: (domid, path, txId) => ask(domid, W.XS_READ, W.strings(path), txId),
    write: (domid, path, value, txId) => ask(domid, W.XS_WRITE, `${path}\0${value}`, txId),
    mkdir: (domid, path, txId) => ask(domid, W.XS_MKDIR, W.strings(path), txId),
    rm: (domid, path, txId) => ask(domid, W.XS_RM, W.strings(path), txId),
    directory: (domid, path, txId) => ask(domid, W.XS_DIRECTORY, W.strings(path), txId),
    getPerms: (domid, path) => ask(domid, W.XS_GET_PERMS, W.strings(path)).replaceAll('|', ','),
    setPerms: (domid, path, permissions, txId) =>
      ask(domid, W.XS_SET_PERMS, W.strings(path, ...permissions.split(',')), txId),
    watch: (domid, path, token) => ask(domid, W.XS_WATCH, W.strings(path, token)),
    unwatch: (domid, path, token) => ask(domid, W.XS_UNWATCH, W.strings(path, token)),
    start: (domid) => Number(ask(domid, W.XS_TRANSACTION_START, '\0')),
    end: (domid, txId, how = 'T') => ask(domid, W.XS_TRANSACTION_END, W.strings(how), txId),
  };
}

/** A store in which domains 1 and 2 have their directories. */
export function home(): Client {
  const it = client(1, 2);
  for (const domid of [1, 2]) {
    it.mkdir(0, `/local/domain/${domid}`);
    it.setPerms(0, `/local/domain/${domid}`, `n${domid}`);
  }
  return it;
}
