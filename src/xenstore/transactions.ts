/**
 * Two ways to see the store: as it is, and through a transaction.
 *
 * A transaction keeps a copy of each node when it first comes near it, and changes only copies. So it sees what it did itself, and
 * nobody else does. It is committed if all these nodes, also those that it found missing, still have the generations that they had
 * then; otherwise somebody came between, and it has to be done again (EAGAIN). Making or removing a node changes its parent, too, so
 * two transactions that make nodes side by side are in each other's way. Its events come with the commit.
 */
import { isPrivileged } from './permissions.js';
import { type Accessed, type Connection, type Delivery, hasRoom, type State, type Transaction } from './state.js';
import { nodeBytes, ownerOf, QUOTA, type StoreNode, setNode, type View } from './store.js';
import { fire } from './watches.js';
import type { XsError } from './wire.js';

export interface Session extends View {
  /** Events so far, in order. */
  readonly events: readonly Delivery[];
  /** A limit that reading or writing has met: the request failed with it. */
  readonly refusal: XsError | undefined;
}

/** Changes are there, and fire, at once. */
export function directly(state: State): Session {
  const events: Delivery[] = [];
  return {
    events,
    refusal: undefined,
    read: (path) => state.nodes.get(path),
    write(path, { permissions, value, children }) {
      const node = { generation: ++state.generation, permissions, value, children };
      setNode(state, path, node);
      return node;
    },
    remove(path) {
      state.generation++;
      setNode(state, path, undefined);
    },
    owned: (domid) => state.owned.get(domid) ?? 0,
    changed(path, node, exact, before) {
      events.push(...fire(state, { path, node, exact, before }));
    },
  };
}

/** By how much a transaction changes how many nodes a domain owns. */
function ownedBy({ accessed }: Transaction, domid: number): number {
  let count = 0;
  for (const { node, permissions } of accessed.values()) {
    if (node && ownerOf(node) === domid) count++;
    if (permissions?.[0]?.domid === domid) count--;
  }
  return count;
}

export function through(state: State, connection: Connection, transaction: Transaction): Session {
  const { accessed } = transaction;
  let refusal: XsError | undefined;

  function refuse(error: XsError): void {
    refusal ??= error;
    transaction.isFailed = true;
  }

  /** What the transaction has of a node, from now on at least. */
  function access(path: string): Accessed {
    const known = accessed.get(path);
    if (known) return known;
    const node = state.nodes.get(path);
    const entry: Accessed = {
      generation: node?.generation,
      permissions: node?.permissions,
      node,
      isModified: false,
      fires: 'none',
    };
    // Over a limit it is not noted, only seen: the transaction will come to nothing.
    if (!isPrivileged(connection) && accessed.size >= QUOTA.transactionNodes) refuse('ENOSPC');
    else if (!hasRoom(connection, path.length + (node ? nodeBytes(node) : 0))) refuse('ENOMEM');
    else accessed.set(path, entry);
    return entry;
  }

  function change(path: string, node: StoreNode | undefined): void {
    const entry = access(path);
    if (node && !hasRoom(connection, nodeBytes(node))) {
      refuse('ENOMEM');
      return;
    }
    entry.node = node;
    entry.isModified = true;
  }

  return {
    events: [],
    get refusal() {
      return refusal;
    },
    read: (path) => access(path).node,
    write(path, { permissions, value, children }) {
      const node = { generation: ++state.generation, permissions, value, children };
      change(path, node);
      return node;
    },
    remove(path) {
      state.generation++;
      change(path, undefined);
    },
    owned: (domid) => (state.owned.get(domid) ?? 0) + ownedBy(transaction, domid),
    changed(path, _node, exact) {
      const entry = access(path);
      if (!exact) entry.fires = 'all';
      else if (entry.fires === 'none') entry.fires = 'exact';
    },
  };
}

/** @returns its number */
export function startTransaction(connection: Connection): number | XsError {
  const { transactions } = connection;
  if (!isPrivileged(connection) && transactions.length > QUOTA.transactions) return 'ENOSPC';
  let id = 0;
  do {
    id = connection.nextTransaction;
    // A 32-bit word in messages, in which 0 means none.
    connection.nextTransaction = id === 0xffff_ffff ? 1 : id + 1;
  } while (transactions.some((other) => other.id === id));
  transactions.push({ id, isFailed: false, accessed: new Map() });
  return id;
}

export function dropTransaction(connection: Connection, { id }: Transaction): void {
  connection.transactions = connection.transactions.filter((other) => other.id !== id);
}

/** Makes a transaction's changes the store's. @returns the events of that */
export function commit(state: State, connection: Connection, transaction: Transaction): Delivery[] | XsError {
  const { accessed } = transaction;
  if (transaction.isFailed) return 'ENOMEM';
  const { domid } = connection;
  const gained = ownedBy(transaction, domid);
  if (!isPrivileged(connection) && gained > 0 && (state.owned.get(domid) ?? 0) + gained > QUOTA.nodes) return 'ENOSPC';
  for (const [path, { generation }] of accessed) if (state.nodes.get(path)?.generation !== generation) return 'EAGAIN';

  const changes = [...accessed].filter(([, { isModified }]) => isModified);
  for (const [path, { node }] of changes) setNode(state, path, node && { ...node, generation: ++state.generation });
  // Only now, when each finds its parent as it will be.
  return changes
    .filter(([, { fires }]) => fires !== 'none')
    .flatMap(([path, { fires, permissions }]) =>
      fire(state, { path, exact: fires === 'exact', node: state.nodes.get(path), before: permissions }),
    );
}
