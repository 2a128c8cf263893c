/**
 * The tree of nodes, flat: by whole name, as xenstored has it, each node with the names of its children. A node never changes; a
 * write puts another in its place, with a generation that none at that place ever had. So a transaction may keep what it read, and knows
 * by generations whether it still stands.
 */
import { baseName, childOf, INTRODUCE_DOMAIN, parentOf, RELEASE_DOMAIN, ROOT } from './paths.js';
import { allowed, isPrivileged, type Party, type Permission } from './permissions.js';
import type { XsError } from './wire.js';

/** xenstored's defaults. They bind all domains but 0. */
export const QUOTA = {
  /** Nodes that a domain owns. */
  nodes: 1000,
  /** One more than this there can be: it is asked before the new one counts. Of transactions, too. */
  watches: 128,
  transactions: 10,
  transactionNodes: 1024,
  nodeBytes: 2048,
  permissions: 5,
  /** Requests whose answers a domain has not fetched. */
  outstanding: 20,
  /** Bytes of a domain's transactions, watches and unfetched answers. */
  memory: 2_621_440,
} as const;

export interface NodeContent {
  readonly permissions: readonly Permission[];
  readonly value: Uint8Array;
  /** Last parts of their names, oldest first. */
  readonly children: readonly string[];
}

export interface StoreNode extends NodeContent {
  readonly generation: number;
}

export interface Store {
  /** The newest. */
  generation: number;
  readonly nodes: Map<string, StoreNode>;
  /** Domain → nodes that it owns, as the quota counts them. Follows from `nodes`. */
  readonly owned: Map<number, number>;
}

/** A store as a request sees it: itself, or through a transaction. */
export interface View {
  read(path: string): StoreNode | undefined;
  write(path: string, content: NodeContent): StoreNode;
  remove(path: string): void;
  /** Nodes that a domain owns in it. */
  owned(domid: number): number;
  /**
   * The node has changed; `exact` when only watches of just this name are to know, because the cause was further up.
   * @param node as it is, or, of a removed one, was
   * @param before permissions that it had before they were changed
   */
  changed(path: string, node: StoreNode, exact: boolean, before?: readonly Permission[]): void;
}

export const ownerOf = ({ permissions }: NodeContent): number => permissions[0]!.domid;

const childBytes = ({ children }: NodeContent): number => children.reduce((sum, name) => sum + name.length + 1, 0);

/** What xenstored keeps of a node: a header of 16 bytes, 8 a permission, value, children. */
export const nodeBytes = (node: NodeContent): number =>
  16 + 8 * node.permissions.length + node.value.length + childBytes(node);

/** Puts a node in its place, or, with none, takes away what is there. */
export function setNode({ nodes, owned }: Store, path: string, node: StoreNode | undefined): void {
  const count = (owner: number, by: number): void => {
    const now = (owned.get(owner) ?? 0) + by;
    if (now === 0) owned.delete(owner);
    else owned.set(owner, now);
  };
  const old = nodes.get(path);
  if (old) count(ownerOf(old), -1);
  if (node) {
    count(ownerOf(node), 1);
    nodes.set(path, node);
  } else nodes.delete(path);
}

/** With what xenstored itself puts there. */
export function emptyStore(): Store {
  const store: Store = { generation: 0, nodes: new Map(), owned: new Map() };
  const add = (path: string, ...children: string[]): void =>
    setNode(store, path, {
      generation: ++store.generation,
      permissions: [{ domid: 0, may: 0 }],
      value: new Uint8Array(0),
      children,
    });
  add(ROOT, 'tool');
  add('/tool', 'xenstored');
  add('/tool/xenstored');
  add(INTRODUCE_DOMAIN);
  add(RELEASE_DOMAIN);
  return store;
}

/** What of `need` (READ, …) is allowed at the nearest node above that there is. */
function allowedAbove(view: View, who: Party, path: string, need: number): number {
  let above = path;
  do {
    above = parentOf(above);
    const node = view.read(above);
    if (node) return allowed(node.permissions, who) & need;
  } while (above !== ROOT);
  return 0;
}

/** The node if `who` may do all of `need`. That there is none is only said to who may look where it would be. */
export function findNode(view: View, who: Party, path: string, need: number): StoreNode | XsError {
  const node = view.read(path);
  if (node) return (allowed(node.permissions, who) & need) === need ? node : 'EACCES';
  return allowedAbove(view, who, path, need) ? 'ENOENT' : 'EACCES';
}

const isTooBig = (who: Party, node: NodeContent): boolean => !isPrivileged(who) && nodeBytes(node) > QUOTA.nodeBytes;

/**
 * Makes a node and all that is missing above it. They inherit the permissions of the nearest that there is, but what a domain makes
 * is its own. Either all of them are made or none.
 */
export function createNode(view: View, who: Party, path: string, value: Uint8Array): StoreNode | XsError {
  const missing = [path];
  let above = parentOf(path);
  let parent = view.read(above);
  for (; !parent; parent = view.read(above)) {
    missing.push(above);
    above = parentOf(above);
  }
  const [first, ...rest] = parent.permissions;
  const permissions = isPrivileged(who) ? parent.permissions : [{ domid: who.domid, may: first!.may }, ...rest];

  const made = missing.map((name, n): [string, NodeContent] => [
    name,
    n === 0
      ? { permissions, value, children: [] }
      : { permissions, value: new Uint8Array(0), children: [baseName(missing[n - 1]!)] },
  ]);
  made.push([above, { ...parent, children: [...parent.children, baseName(missing.at(-1)!)] }]);

  if (made.some(([, node]) => isTooBig(who, node))) return 'ENOSPC';
  if (!isPrivileged(who) && view.owned(who.domid) + missing.length > QUOTA.nodes) return 'ENOSPC';
  return made.map(([name, node]) => view.write(name, node))[0]!;
}

/** Puts other content into a node that there is. */
export function replaceNode(view: View, who: Party, path: string, content: NodeContent): StoreNode | XsError {
  return isTooBig(who, content) ? 'ENOSPC' : view.write(path, content);
}

/** Removes a node with all below it, lowest first, and its name from its parent. Not the root. */
export function removeNode(view: View, path: string): void {
  const removeTree = (name: string): void => {
    const node = view.read(name);
    if (!node) return;
    for (const child of node.children) removeTree(childOf(name, child));
    // While it and its parent still say who may know.
    view.changed(name, node, name !== path);
    view.remove(name);
  };
  removeTree(path);
  const parent = view.read(parentOf(path));
  if (!parent) return;
  const children = parent.children.filter((name) => name !== baseName(path));
  view.write(parentOf(path), { ...parent, children });
}
