/**
 * Watches. A change of a node is an event for those who watch it or anything above it; the removal of a node also is one for those
 * who watch something below it, which they are told by the name that they watch. Nobody hears of a node who can read neither it nor
 * its parent.
 */
import { domainPath, isSpecial, isWithin, parentOf } from './paths.js';
import { allowed, isPrivileged, type Permission, READ } from './permissions.js';
import { type Connection, type Delivery, hasRoom, type State, type Watch } from './state.js';
import { QUOTA, type StoreNode } from './store.js';
import { strings, XENSTORE_PAYLOAD_MAX, XS_WATCH_EVENT, type XsError } from './wire.js';

/** A change as watches see it. */
export interface Change {
  readonly path: string;
  /** Only watches of just this name are to know. */
  readonly exact: boolean;
  /** As it is, or was before it was removed; undefined when that is not known any more. */
  readonly node: StoreNode | undefined;
  /** Before the change, if they may have been others: who loses sight of a node hears of that. */
  readonly before: readonly Permission[] | undefined;
}

const nameFor = ({ isRelative }: Watch, domid: number, path: string): string =>
  isRelative ? path.slice(domainPath(domid).length + 1) : path;

/** The event, unless it is too long for a message: there is nobody whom that could be told. */
export function event({ domid }: Connection, watch: Watch, path: string): Delivery[] {
  const payload = strings(nameFor(watch, domid, path), watch.token);
  if (payload.length > XENSTORE_PAYLOAD_MAX) return [];
  return [{ domid, message: { type: XS_WATCH_EVENT, reqId: 0, txId: 0, payload } }];
}

function maySee({ nodes }: State, connection: Connection, { path, node, before }: Change): boolean {
  const canRead = (permissions: readonly Permission[]): boolean => (allowed(permissions, connection) & READ) !== 0;
  if (before && canRead(before)) return true;
  if (!node) return false;
  if (canRead(node.permissions)) return true;
  const parent = isSpecial(path) ? undefined : nodes.get(parentOf(path));
  return parent !== undefined && canRead(parent.permissions);
}

/** Events of a change for all who watch. */
export function fire(state: State, change: Change): Delivery[] {
  const { path, exact } = change;
  const concerns = (watch: Watch): boolean => (exact ? watch.path === path : isWithin(path, watch.path));
  return [...state.connections.values()]
    .filter((connection) => maySee(state, connection, change))
    .flatMap((connection) => connection.watches.filter(concerns).flatMap((watch) => event(connection, watch, path)));
}

/** A special event has happened. */
export const fireSpecial = (state: State, path: string): Delivery[] =>
  fire(state, { path, exact: true, node: state.nodes.get(path), before: undefined });

/** @returns the watch's first event: it fires at once, so that nobody needs to look besides */
export function addWatch(connection: Connection, watch: Watch): Delivery[] | XsError {
  const { watches } = connection;
  if (watches.some(({ path, token }) => path === watch.path && token === watch.token)) return 'EEXIST';
  if (!isPrivileged(connection) && watches.length > QUOTA.watches) return 'E2BIG';
  if (!hasRoom(connection, watch.path.length + watch.token.length)) return 'ENOMEM';
  watches.push(watch);
  return event(connection, watch, watch.path);
}

/** @returns whether there was one */
export function removeWatch(connection: Connection, path: string, token: string): boolean {
  const n = connection.watches.findIndex((watch) => watch.path === path && watch.token === token);
  if (n >= 0) connection.watches.splice(n, 1);
  return n >= 0;
}
