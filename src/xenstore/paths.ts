/** Names of nodes: which there can be, and how one is meant that does not begin with a slash. */
import { XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX } from './wire.js';

export const ROOT = '/';

/** Events that no node is behind; who may watch for them is said by permissions as those of nodes. */
export const INTRODUCE_DOMAIN = '@introduceDomain';
export const RELEASE_DOMAIN = '@releaseDomain';

export const domainPath = (domid: number): string => `/local/domain/${domid}`;

export const isSpecial = (path: string): boolean => path.startsWith('@');

/** Of a special name: the root. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash > 0 ? path.slice(0, slash) : ROOT;
}

export const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

export const childOf = (path: string, name: string): string => (path === ROOT ? `/${name}` : `${path}/${name}`);

/** Whether `path` is `top` or below it. */
export function isWithin(path: string, top: string): boolean {
  if (top === ROOT) return true;
  return path.startsWith(top) && (path.length === top.length || path[top.length] === '/');
}

/**
 * The whole name of the node that domain `domid` calls `name`; undefined when there can be none of that name. How long a name is
 * counts from its domain's directory, so that a domain's limit does not depend on its number; domain 0 has only the absolute one.
 */
export function canonicalPath(domid: number, name: string): string | undefined {
  if (!/^[A-Za-z0-9\-/_@]*$/.test(name) || isSpecial(name)) return undefined;
  const path = name.startsWith('/') ? name : `${domainPath(domid)}/${name}`;
  if ((path.endsWith('/') && path !== ROOT) || path.includes('//')) return undefined;
  if (path.length > XENSTORE_ABS_PATH_MAX) return undefined;
  const own = path.replace(/^\/local\/domain\/\d{1,5}\//, '');
  return domid !== 0 && own.length > XENSTORE_REL_PATH_MAX ? undefined : path;
}

/** The same of what is watched, which may be a special name. */
export function watchPath(domid: number, name: string): string | undefined {
  if (isSpecial(name)) return name.length > XENSTORE_REL_PATH_MAX ? undefined : name;
  return canonicalPath(domid, name);
}
