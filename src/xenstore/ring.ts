/**
 * The page through which a domain talks to xenstored (`struct xenstore_domain_interface`): a ring of requests and one of answers,
 * 1024 bytes each, whose indices run freely and are taken modulo 1024. Messages may be longer than a ring and begin anywhere.
 *
 * The domain can write all of the page at any time. So each index is read once, before all else, and a ring whose indices are further
 * apart than it is long is not touched: the connection is ignored from then on, until it is introduced again, and the page's error
 * word says why. One exchange takes no more than was there when it began, so no domain can keep it going.
 */
import { acquireWord, releaseWord } from '../shared/shared-words.js';
import { isSpecial } from './paths.js';
import { isPrivileged } from './permissions.js';
import { serve } from './server.js';
import { type Connection, type Delivery, hasRoom, resetConnection, type State } from './state.js';
import { QUOTA } from './store.js';
import {
  decode,
  decodeHeader,
  encode,
  HEADER_BYTES,
  type Message,
  toText,
  XENSTORE_PAYLOAD_MAX,
  XS_WATCH_EVENT,
} from './wire.js';

export const XENSTORE_RING_SIZE = 1024;
/** Bytes of the page that are used. */
export const INTERFACE_BYTES = 2076;
const MASK = XENSTORE_RING_SIZE - 1;

/** Offsets in bytes. */
export const RING = {
  req: 0,
  rsp: 1024,
  req_cons: 2048,
  req_prod: 2052,
  rsp_cons: 2056,
  rsp_prod: 2060,
  server_features: 2064,
  connection: 2068,
  error: 2072,
} as const;

const XENSTORE_CONNECTED = 0;
export const XENSTORE_RECONNECT = 1;

export const XENSTORE_ERROR_NONE = 0;
/** There is no such connection. */
export const XENSTORE_ERROR_COMM = 1;
export const XENSTORE_ERROR_RINGIDX = 2;
/** A payload of more than 4096 bytes. */
export const XENSTORE_ERROR_PROTO = 3;

export interface Exchange {
  /** Requests answered. */
  readonly requests: number;
  /** The rings have moved: the domain is to be notified. */
  readonly isMoved: boolean;
  /** Messages wait for room. */
  readonly isWaiting: boolean;
  /** Domains for which there is something new, itself left out. */
  readonly others: readonly number[];
  /** `XENSTORE_ERROR_*` */
  readonly fault: number;
}

/** @param page the domain's, from a multiple of 4 on, at least INTERFACE_BYTES */
const wordsOf = (page: Uint8Array): Int32Array => new Int32Array(page.buffer, page.byteOffset, INTERFACE_BYTES >> 2);

/** Of a message that goes out: their types fit into a byte. */
const isEvent = (message: Uint8Array): boolean => message[0] === XS_WATCH_EVENT;

const isSame = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, n) => byte === b[n]);

function queueOne(connection: Connection, message: Message): boolean {
  const bytes = encode(message);
  if (isEvent(bytes)) {
    const repeats = !isSpecial(toText(message.payload.subarray(0, 1)));
    // Who has not yet read that a node changed need not be told twice.
    if (repeats && connection.output.some((other) => isSame(other, bytes))) return false;
    // An event that there is no room for is lost, as in xenstored: the domain did not read for too long.
    if (!hasRoom(connection, bytes.length)) return false;
  }
  connection.output.push(bytes);
  return true;
}

/** Puts messages on their ways. @returns domains for which there is something new */
export function queue(state: State, deliveries: readonly Delivery[]): number[] {
  const domids = new Set<number>();
  for (const { domid, message } of deliveries) {
    const connection = state.connections.get(domid);
    if (connection && connection.fault === XENSTORE_ERROR_NONE && queueOne(connection, message)) domids.add(domid);
  }
  return [...domids];
}

/** What is queued for a domain that has no ring, or whose ring is not used: domain 0's tools. */
export function takeQueued(state: State, domid: number): Message[] {
  const connection = state.connections.get(domid);
  const messages = connection?.output ?? [];
  if (connection) {
    connection.output = [];
    connection.sent = 0;
  }
  return messages.map((bytes) => decode(bytes)!);
}

/** Nothing more is read from the domain or written to it. */
function ignore(connection: Connection, words: Int32Array, fault: number): void {
  resetConnection(connection);
  connection.fault = fault;
  releaseWord(words, RING.error >> 2, fault);
}

/** An empty ring, as INTRODUCE leaves it. @returns whether the domain waited for that, and is to be notified */
export function resetRing(page: Uint8Array): boolean {
  const words = wordsOf(page);
  for (const word of [RING.req_cons, RING.req_prod, RING.rsp_cons, RING.rsp_prod, RING.error])
    releaseWord(words, word >> 2, 0);
  if (acquireWord(words, RING.connection >> 2) !== XENSTORE_RECONNECT) return false;
  releaseWord(words, RING.connection >> 2, XENSTORE_CONNECTED);
  return true;
}

/** Indices of both rings, read once. */
interface Indices {
  cons: number;
  readonly prod: number;
  rspProd: number;
  readonly rspCons: number;
}

/** How much lies between two indices. */
const between = (cons: number, prod: number): number => (prod - cons) >>> 0;

/** Up to `bytes` of what came, which are then no more in the ring. */
function takeBytes(page: Uint8Array, at: Indices, bytes: number): Uint8Array {
  const length = Math.min(bytes, between(at.cons, at.prod));
  const taken = new Uint8Array(length);
  const from = at.cons & MASK;
  const first = Math.min(length, XENSTORE_RING_SIZE - from);
  taken.set(page.subarray(RING.req + from, RING.req + from + first));
  taken.set(page.subarray(RING.req, RING.req + length - first), first);
  at.cons = (at.cons + length) >>> 0;
  return taken;
}

/** Puts what there is room for. @returns how much that was */
function putBytes(page: Uint8Array, at: Indices, bytes: Uint8Array): number {
  const length = Math.min(bytes.length, XENSTORE_RING_SIZE - between(at.rspCons, at.rspProd));
  const to = at.rspProd & MASK;
  const first = Math.min(length, XENSTORE_RING_SIZE - to);
  page.set(bytes.subarray(0, first), RING.rsp + to);
  page.set(bytes.subarray(first, length), RING.rsp);
  at.rspProd = (at.rspProd + length) >>> 0;
  return length;
}

function putQueued(connection: Connection, page: Uint8Array, at: Indices): void {
  for (let next = connection.output[0]; next; next = connection.output[0]) {
    connection.sent += putBytes(page, at, next.subarray(connection.sent));
    if (connection.sent < next.length) return;
    connection.output.shift();
    connection.sent = 0;
  }
}

/** The next request if it has come whole; what has come of it is kept. */
function takeRequest(connection: Connection, page: Uint8Array, at: Indices): Message | 'too long' | undefined {
  const fill = (bytes: number): boolean => {
    const more = takeBytes(page, at, bytes - connection.input.length);
    const input = new Uint8Array(connection.input.length + more.length);
    input.set(connection.input);
    input.set(more, connection.input.length);
    connection.input = input;
    return input.length === bytes;
  };
  if (connection.input.length < HEADER_BYTES && !fill(HEADER_BYTES)) return undefined;
  const { len } = decodeHeader(connection.input);
  if (len > XENSTORE_PAYLOAD_MAX) return 'too long';
  if (!fill(HEADER_BYTES + len)) return undefined;
  const message = decode(connection.input)!;
  connection.input = new Uint8Array(0);
  return message;
}

/** A domain that does not fetch its answers is not listened to until it does. */
const isListenedTo = (connection: Connection): boolean =>
  isPrivileged(connection) || connection.output.filter((bytes) => !isEvent(bytes)).length < QUOTA.outstanding;

/** Takes and serves the requests that a domain's page has, and puts there the messages that wait for it. */
export function exchange(state: State, domid: number, page: Uint8Array): Exchange {
  const connection = state.connections.get(domid);
  const fault = connection ? connection.fault : XENSTORE_ERROR_COMM;
  const nothing = { requests: 0, isMoved: false, isWaiting: false, others: [] };
  if (!connection || fault !== XENSTORE_ERROR_NONE) return { ...nothing, fault };
  const words = wordsOf(page);
  const index = (offset: number): number => acquireWord(words, offset >> 2) >>> 0;
  const at: Indices = {
    cons: index(RING.req_cons),
    prod: index(RING.req_prod),
    rspCons: index(RING.rsp_cons),
    rspProd: index(RING.rsp_prod),
  };
  const { cons, rspProd } = at;
  if (between(cons, at.prod) > XENSTORE_RING_SIZE || between(at.rspCons, rspProd) > XENSTORE_RING_SIZE) {
    ignore(connection, words, XENSTORE_ERROR_RINGIDX);
    return { ...nothing, fault: XENSTORE_ERROR_RINGIDX };
  }

  const others = new Set<number>();
  let requests = 0;
  putQueued(connection, page, at);
  while (isListenedTo(connection)) {
    const request = takeRequest(connection, page, at);
    if (request === undefined) break;
    if (request === 'too long') {
      ignore(connection, words, XENSTORE_ERROR_PROTO);
      break;
    }
    requests++;
    for (const other of queue(state, serve(state, domid, request))) if (other !== domid) others.add(other);
    putQueued(connection, page, at);
  }
  // After the bytes that they are about.
  if (at.rspProd !== rspProd) releaseWord(words, RING.rsp_prod >> 2, at.rspProd);
  if (at.cons !== cons) releaseWord(words, RING.req_cons >> 2, at.cons);
  return {
    requests,
    isMoved: at.cons !== cons || at.rspProd !== rspProd,
    isWaiting: connection.output.length > 0,
    others: [...others],
    fault: connection.fault,
  };
}
