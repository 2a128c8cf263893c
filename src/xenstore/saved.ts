/**
 * The state as bytes, and back: a version, the tree from the root down, each node by the last part of its name, and the connections
 * in their order. The same state gives the same bytes, also after it was loaded. What a transaction has only read, and is still so in
 * the store, is not written again.
 */
import { type Reader, reader, type Writer, writer } from './byte-stream.js';
import { childOf, INTRODUCE_DOMAIN, RELEASE_DOMAIN, ROOT } from './paths.js';
import type { Permission } from './permissions.js';
import type { Accessed, Connection, State, Transaction, Watch } from './state.js';
import { type StoreNode, setNode } from './store.js';

/** Changes with the format. */
export const VERSION = 1;

const TOPS = [ROOT, INTRODUCE_DOMAIN, RELEASE_DOMAIN] as const;
const FIRES = ['none', 'exact', 'all'] as const;

/** How an accessed node is written. */
const ABSENT = 0;
const AS_IN_STORE = 1;
const COPY = 2;

function list<T>(from: Reader, read: (from: Reader) => T): T[] {
  const length = from.number();
  const elements: T[] = [];
  for (let n = 0; n < length; n++) elements.push(read(from));
  return elements;
}

function writeList<T>(to: Writer, elements: readonly T[], write: (to: Writer, element: T) => void): void {
  to.number(elements.length);
  for (const element of elements) write(to, element);
}

/** 0 is none. */
const writeOptional = (to: Writer, x: number | undefined): void => to.number(x === undefined ? 0 : x + 1);

function readOptional(from: Reader): number | undefined {
  const x = from.number();
  return x === 0 ? undefined : x - 1;
}

const writePermissions = (to: Writer, permissions: readonly Permission[]): void =>
  writeList(to, permissions, (_, { domid, may }) => to.number(4 * domid + may));

const readPermissions = (from: Reader): Permission[] =>
  list(from, () => {
    const x = from.number();
    return { domid: x >> 2, may: x & 3 };
  });

function writeNode(to: Writer, { generation, permissions, value, children }: StoreNode): void {
  to.number(generation);
  writePermissions(to, permissions);
  to.bytes(value);
  writeList(to, children, (_, name) => to.text(name));
}

const readNode = (from: Reader): StoreNode => ({
  generation: from.number(),
  permissions: readPermissions(from),
  value: from.bytes(),
  children: list(from, () => from.text()),
});

function writeTree(to: Writer, state: State, path: string): void {
  const node = state.nodes.get(path)!;
  writeNode(to, node);
  for (const name of node.children) writeTree(to, state, childOf(path, name));
}

function readTree(from: Reader, state: State, path: string): void {
  const node = readNode(from);
  setNode(state, path, node);
  for (const name of node.children) readTree(from, state, childOf(path, name));
}

function writeTransaction(to: Writer, state: State, { id, isFailed, accessed }: Transaction): void {
  to.number(id);
  to.number(Number(isFailed));
  writeList(to, [...accessed], (_, [path, { generation, permissions, node, isModified, fires }]) => {
    const isAsInStore = node !== undefined && node.generation === state.nodes.get(path)?.generation;
    to.text(path);
    writeOptional(to, generation);
    to.number(Number(isModified) + 2 * FIRES.indexOf(fires));
    to.number(node === undefined ? ABSENT : isAsInStore ? AS_IN_STORE : COPY);
    if (isAsInStore) return;
    writePermissions(to, permissions ?? []);
    if (node) writeNode(to, node);
  });
}

function readAccessed(from: Reader, state: State, path: string): Accessed {
  const generation = readOptional(from);
  const bits = from.number();
  const rest = { generation, isModified: (bits & 1) !== 0, fires: FIRES[bits >> 1] ?? 'none' };
  const how = from.number();
  if (how === AS_IN_STORE) {
    const node = state.nodes.get(path);
    if (!node) throw new Error(`saved state: no ${path}`);
    return { ...rest, permissions: node.permissions, node };
  }
  const permissions = readPermissions(from);
  const node = how === COPY ? readNode(from) : undefined;
  return { ...rest, permissions: generation === undefined ? undefined : permissions, node };
}

const readTransaction = (from: Reader, state: State): Transaction => ({
  id: from.number(),
  isFailed: from.number() !== 0,
  accessed: new Map(
    list(from, (): [string, Accessed] => {
      const path = from.text();
      return [path, readAccessed(from, state, path)];
    }),
  ),
});

function writeConnection(to: Writer, state: State, connection: Connection): void {
  to.number(connection.domid);
  writeOptional(to, connection.target);
  to.number(connection.port);
  to.number(Number(connection.isShutDown) + 2 * connection.fault);
  writeList(to, connection.watches, (_, { path, isRelative, token }) => {
    to.text(path);
    to.number(Number(isRelative));
    to.text(token);
  });
  to.number(connection.nextTransaction);
  writeList(to, connection.transactions, (_, transaction) => writeTransaction(to, state, transaction));
  to.bytes(connection.input);
  writeList(to, connection.output, (_, message) => to.bytes(message));
  to.number(connection.sent);
}

function readConnection(from: Reader, state: State): Connection {
  const domid = from.number();
  const target = readOptional(from);
  const port = from.number();
  const bits = from.number();
  const watches = list(from, (): Watch => ({ path: from.text(), isRelative: from.number() !== 0, token: from.text() }));
  return {
    domid,
    target,
    port,
    isShutDown: (bits & 1) !== 0,
    fault: bits >> 1,
    watches,
    nextTransaction: from.number(),
    transactions: list(from, () => readTransaction(from, state)),
    input: from.bytes(),
    output: list(from, () => from.bytes()),
    sent: from.number(),
  };
}

export function save(state: State): Uint8Array {
  const to = writer();
  to.number(VERSION);
  to.number(state.generation);
  for (const path of TOPS) writeTree(to, state, path);
  writeList(to, [...state.connections.values()], (_, connection) => writeConnection(to, state, connection));
  return to.result();
}

/** Throws unless the bytes are a state that was saved by this version. */
export function load(bytes: Uint8Array): State {
  const from = reader(bytes);
  const version = from.number();
  if (version !== VERSION) throw new Error(`saved state: version ${version}, not ${VERSION}`);
  const state: State = { generation: from.number(), nodes: new Map(), owned: new Map(), connections: new Map() };
  for (const path of TOPS) readTree(from, state, path);
  for (const connection of list(from, () => readConnection(from, state)))
    state.connections.set(connection.domid, connection);
  if (!from.isAtEnd()) throw new Error('saved state: something follows');
  return state;
}
