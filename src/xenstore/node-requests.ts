/** Requests about nodes: read, write, make, remove, permissions, children. */
import { type Ask, OK } from './ask.js';
import { canonicalPath, INTRODUCE_DOMAIN, isSpecial, parentOf, RELEASE_DOMAIN, ROOT } from './paths.js';
import { allowed, isPrivileged, OWNER, parsePermissions, permissionText, READ, WRITE } from './permissions.js';
import { createNode, findNode, ownerOf, QUOTA, removeNode, replaceNode, type StoreNode } from './store.js';
import { atoi, oneString, splitStrings, strings, toBytes, XENSTORE_PAYLOAD_MAX, type XsError } from './wire.js';

/** The node that a request names, if who asks may do `need` with it. */
function named(ask: Ask, name: string | undefined, need: number): StoreNode | XsError {
  const path = name === undefined ? undefined : canonicalPath(ask.connection.domid, name);
  return path === undefined ? 'EINVAL' : findNode(ask.session, ask.connection, path, need);
}

/** For READ and its kin: an answer made of the one node that the payload names. */
const ofNode =
  (answer: (node: StoreNode) => Uint8Array) =>
  (ask: Ask): Uint8Array | XsError => {
    const node = named(ask, oneString(ask.payload), READ);
    return typeof node === 'string' ? node : answer(node);
  };

export const read = ofNode(({ value }) => value);
export const directory = ofNode(({ children }) => strings(...children));

/** As much of the list of children as fits, from an offset in bytes on; an empty string marks its end. */
export function directoryPart(ask: Ask): Uint8Array | XsError {
  const [name, offset, ...rest] = splitStrings(ask.payload);
  if (offset === undefined || rest.length > 0) return 'EINVAL';
  const node = named(ask, name, READ);
  if (typeof node === 'string') return node;
  const generation = `${node.generation}\0`;
  const list = node.children
    .map((child) => `${child}\0`)
    .join('')
    .slice(atoi(offset));
  const room = XENSTORE_PAYLOAD_MAX - generation.length - 1;
  if (list.length <= room) return toBytes(`${generation}${list}\0`);
  return toBytes(generation + list.slice(0, list.lastIndexOf('\0', room - 1) + 1));
}

export function getPerms(ask: Ask): Uint8Array | XsError {
  const { session, connection, payload } = ask;
  const name = oneString(payload);
  const node =
    name !== undefined && isSpecial(name) ? findNode(session, connection, name, READ) : named(ask, name, READ);
  return typeof node === 'string' ? node : strings(...node.permissions.map(permissionText));
}

/** Writes what there is, makes what there is not. */
function put(ask: Ask, name: string | undefined, value: Uint8Array | undefined): Uint8Array | XsError {
  const { session, connection } = ask;
  const found = named(ask, name, WRITE);
  if (typeof found === 'string' && found !== 'ENOENT') return found;
  // MKDIR of what there is leaves it as it is.
  if (typeof found === 'object' && value === undefined) return OK;
  const path = canonicalPath(connection.domid, name!)!;
  const node =
    typeof found === 'string'
      ? createNode(session, connection, path, value ?? new Uint8Array(0))
      : replaceNode(session, connection, path, { ...found, value: value! });
  if (typeof node === 'string') return node;
  session.changed(path, node, false);
  return OK;
}

export function write(ask: Ask): Uint8Array | XsError {
  const end = ask.payload.indexOf(0);
  if (end < 0) return 'EINVAL';
  return put(ask, oneString(ask.payload.subarray(0, end + 1)), ask.payload.slice(end + 1));
}

export const mkdir = (ask: Ask): Uint8Array | XsError => put(ask, oneString(ask.payload), undefined);

/** What is not there need not be removed, as long as it could be. */
export function rm(ask: Ask): Uint8Array | XsError {
  const { session, connection, payload } = ask;
  const name = oneString(payload);
  const node = named(ask, name, WRITE);
  if (typeof node === 'string' && node !== 'ENOENT') return node;
  const path = canonicalPath(connection.domid, name!)!;
  if (typeof node === 'string') return session.read(parentOf(path)) ? OK : node;
  if (path === ROOT) return 'EINVAL';
  removeNode(session, path);
  return OK;
}

export function setPerms(ask: Ask): Uint8Array | XsError {
  const { session, connection, payload } = ask;
  const [name, ...texts] = splitStrings(payload);
  if (name === undefined || texts.length === 0) return 'EINVAL';
  if (!isPrivileged(connection) && texts.length > QUOTA.permissions) return 'ENOSPC';
  const permissions = parsePermissions(texts);
  if (permissions === undefined) return 'EINVAL';
  if (isSpecial(name)) return setSpecialPerms(ask, name, permissions);

  const node = named(ask, name, WRITE | OWNER);
  if (typeof node === 'string') return node;
  if (!isPrivileged(connection) && permissions[0]!.domid !== ownerOf(node)) return 'EPERM';
  const path = canonicalPath(connection.domid, name)!;
  const now = replaceNode(session, connection, path, { ...node, permissions });
  if (typeof now === 'string') return now;
  session.changed(path, now, false, node.permissions);
  return OK;
}

/** No event comes of it: those of special names mean something else. */
function setSpecialPerms(
  { session, connection }: Ask,
  name: string,
  permissions: StoreNode['permissions'],
): Uint8Array | XsError {
  const node = session.read(name);
  if (!node || (name !== INTRODUCE_DOMAIN && name !== RELEASE_DOMAIN)) return 'EINVAL';
  const need = WRITE | OWNER;
  if ((allowed(node.permissions, connection) & need) !== need) return 'EACCES';
  session.write(name, { ...node, permissions });
  return OK;
}
