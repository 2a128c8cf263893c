/** All that xenstored knows, as plain data: the store, and a connection for domain 0 and each domain that was introduced. */
import { isPrivileged, type Permission } from './permissions.js';
import { emptyStore, nodeBytes, QUOTA, type Store, type StoreNode } from './store.js';
import type { Message } from './wire.js';

export interface Watch {
  /** Whole name, or a special one. */
  readonly path: string;
  /** Its events name nodes as seen from the domain's own directory, because the watch did. */
  readonly isRelative: boolean;
  readonly token: string;
}

/** A node that a transaction has come near. */
export interface Accessed {
  /** In the store, when it was; undefined when there was no such node. */
  readonly generation: number | undefined;
  /** Then. */
  readonly permissions: readonly Permission[] | undefined;
  /** As the transaction sees it. */
  node: StoreNode | undefined;
  isModified: boolean;
  /** Which watches hear of it once it is committed. */
  fires: 'none' | 'exact' | 'all';
}

export interface Transaction {
  readonly id: number;
  /** It met a limit, or could not be done as a whole: it will not be committed. */
  isFailed: boolean;
  /** By name, in the order in which they were come near. */
  readonly accessed: Map<string, Accessed>;
}

export interface Connection {
  readonly domid: number;
  /** Whose rights it has besides its own. */
  target: number | undefined;
  /** The domain's end of the event channel. */
  port: number;
  /** That it is shut down has been told; until RESUME it will not be again. */
  isShutDown: boolean;
  watches: Watch[];
  transactions: Transaction[];
  nextTransaction: number;
  /** Of a request that has not come whole. */
  input: Uint8Array;
  /** Messages that wait for room in the ring, encoded, and how much of the first is in it already. */
  output: Uint8Array[];
  sent: number;
  /** `XENSTORE_ERROR_*`: why nothing more is read or written; 0 while it is. */
  fault: number;
}

export interface State extends Store {
  /** In the order in which they came. */
  readonly connections: Map<number, Connection>;
}

/** A message for a domain: the answer to its request, or an event. */
export interface Delivery {
  readonly domid: number;
  readonly message: Message;
}

const newConnection = (domid: number): Connection => ({
  domid,
  target: undefined,
  port: 0,
  isShutDown: false,
  watches: [],
  transactions: [],
  nextTransaction: 1,
  input: new Uint8Array(0),
  output: [],
  sent: 0,
  fault: 0,
});

/** A store in which nothing has been said yet, and domain 0 connected. */
export const newState = (): State => ({ ...emptyStore(), connections: new Map([[0, newConnection(0)]]) });

export function connect(state: State, domid: number): Connection {
  const connection = newConnection(domid);
  state.connections.set(domid, connection);
  return connection;
}

/** Forgets what was asked for and half said. */
export function resetConnection(connection: Connection): void {
  connection.watches = [];
  connection.transactions = [];
  connection.input = new Uint8Array(0);
  connection.output = [];
  connection.sent = 0;
}

const sum = <T>(of: Iterable<T>, bytes: (element: T) => number): number => {
  let total = 0;
  for (const element of of) total += bytes(element);
  return total;
};

/** Bytes that are kept for a domain besides its nodes. */
export const memoryOf = ({ transactions, watches, input, output }: Connection): number =>
  input.length +
  sum(output, ({ length }) => length) +
  sum(watches, ({ path, token }) => path.length + token.length) +
  sum(transactions, ({ accessed }) =>
    sum(accessed, ([path, { node }]) => path.length + (node === undefined ? 0 : nodeBytes(node))),
  );

export const hasRoom = (connection: Connection, bytes: number): boolean =>
  isPrivileged(connection) || memoryOf(connection) + bytes <= QUOTA.memory;
