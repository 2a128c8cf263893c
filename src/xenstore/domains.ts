/**
 * Domains come and go: what domain 0 says of them, and what follows for the store. Of a domain that has gone nothing may stay that
 * another could find which gets its number: the nodes that it owned go with it, and permissions that others gave it.
 */
import { type Ask, OK } from './ask.js';
import { childOf, domainPath, INTRODUCE_DOMAIN, RELEASE_DOMAIN, ROOT } from './paths.js';
import { type Connection, connect, type Delivery, resetConnection, type State } from './state.js';
import { ownerOf, removeNode, setNode } from './store.js';
import { directly } from './transactions.js';
import { fireSpecial } from './watches.js';
import { atoi, oneString, splitStrings, strings, type XsError } from './wire.js';

/** Numbers from here on mean something else than a domain. */
const DOMID_FIRST_RESERVED = 0x7ff0;
const DOMID_SELF = 0x7ff0;

/**
 * INTRODUCE: from now on the domain is listened to. Again for one that is known: its port has changed, and it begins anew. The caller
 * also resets the domain's ring (`resetRing`).
 */
export function introduce({ state, payload, before }: Ask): Uint8Array | XsError {
  const [id, , end] = splitStrings(payload);
  if (id === undefined || end === undefined) return 'EINVAL';
  const domid = atoi(id);
  const port = atoi(end) | 0;
  if (port <= 0 || domid === 0 || domid >= DOMID_FIRST_RESERVED) return 'EINVAL';
  const known = state.connections.get(domid);
  const connection = known ?? connect(state, domid);
  connection.port = port;
  if (!known) before.push(...fireSpecial(state, INTRODUCE_DOMAIN));
  resetConnection(connection);
  connection.fault = 0;
  return OK;
}

/** The domain other than 0 that a payload is the number of. */
function connected({ state, payload }: Ask): Connection | XsError {
  const id = oneString(payload);
  if (id === undefined || atoi(id) === 0) return 'EINVAL';
  return state.connections.get(atoi(id)) ?? 'ENOENT';
}

export function release(ask: Ask): Uint8Array | XsError {
  const connection = connected(ask);
  if (typeof connection === 'string') return connection;
  ask.before.push(...domainDestroyed(ask.state, connection.domid));
  return OK;
}

export function resume(ask: Ask): Uint8Array | XsError {
  const connection = connected(ask);
  if (typeof connection === 'string') return connection;
  connection.isShutDown = false;
  return OK;
}

export function setTarget({ state, payload }: Ask): Uint8Array | XsError {
  const [id, target] = splitStrings(payload);
  if (id === undefined || target === undefined) return 'EINVAL';
  const connection = state.connections.get(atoi(id));
  if (!connection || !state.connections.has(atoi(target))) return 'ENOENT';
  connection.target = atoi(target);
  return OK;
}

export function getDomainPath({ payload }: Ask): Uint8Array | XsError {
  const id = oneString(payload);
  return id === undefined ? 'EINVAL' : strings(domainPath(atoi(id)));
}

export function isDomainIntroduced({ state, payload }: Ask): Uint8Array | XsError {
  const id = oneString(payload);
  if (id === undefined) return 'EINVAL';
  return strings(atoi(id) === DOMID_SELF || state.connections.has(atoi(id)) ? 'T' : 'F');
}

/** What xenstored learns from the hypervisor: the domain has shut down. Told once, until RESUME. */
export function domainShutDown(state: State, domid: number): Delivery[] {
  const connection = state.connections.get(domid);
  if (!connection || connection.isShutDown) return [];
  connection.isShutDown = true;
  return fireSpecial(state, RELEASE_DOMAIN);
}

/** The topmost nodes that a domain owns, in the order of the tree. */
function estateOf({ nodes }: State, domid: number): string[] {
  const found: string[] = [];
  const look = (path: string): void => {
    const node = nodes.get(path)!;
    if (ownerOf(node) === domid && path !== ROOT) found.push(path);
    else for (const name of node.children) look(childOf(path, name));
  };
  look(ROOT);
  return found;
}

/**
 * Takes a domain out of all lists of permissions; what cannot go with its owner is domain 0's. Transactions that have seen such a
 * node have to look again, or they would put the old list back. All nodes get the same generation, as the order in which they are
 * found here says nothing.
 */
function forgetRights(state: State, domid: number): void {
  const generation = ++state.generation;
  for (const [path, node] of state.nodes) {
    const [first, ...rest] = node.permissions;
    if (!node.permissions.some((permission) => permission.domid === domid)) continue;
    const owner = first!.domid === domid ? { domid: 0, may: 0 } : first!;
    const permissions = [owner, ...rest.filter((permission) => permission.domid !== domid)];
    setNode(state, path, { generation, permissions, value: node.value, children: node.children });
  }
}

/** The domain is no more. */
export function domainDestroyed(state: State, domid: number): Delivery[] {
  const connection = state.connections.get(domid);
  if (!connection || domid === 0) return [];
  state.connections.delete(domid);
  for (const other of state.connections.values()) if (other.target === domid) other.target = undefined;
  const session = directly(state);
  for (const path of estateOf(state, domid)) removeNode(session, path);
  forgetRights(state, domid);
  return [...session.events, ...fireSpecial(state, RELEASE_DOMAIN)];
}
