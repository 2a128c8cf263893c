/**
 * Who may do what to a node: a list, of which the first entry names the owner and says what all others may who are not in the rest
 * of it. Domain 0 and the owner may do everything; so may a domain whose target (SET_TARGET) is the owner.
 */
export const READ = 1;
export const WRITE = 2;
/** May set permissions: never given by a list, only by being the owner. */
export const OWNER = 4;

export interface Permission {
  readonly domid: number;
  /** READ, WRITE, both or none. */
  readonly may: number;
}

/** Whom permissions are asked for. */
export interface Party {
  readonly domid: number;
  readonly target: number | undefined;
}

/** Letters by what they allow: none, read, write, both. */
const LETTERS = 'nrwb';

export const isPrivileged = ({ domid }: Party): boolean => domid === 0;

/** What `who` may do, as READ | WRITE | OWNER. */
export function allowed(permissions: readonly Permission[], who: Party): number {
  const isHis = ({ domid }: Permission): boolean => domid === who.domid || domid === who.target;
  const first = permissions[0]!;
  if (isPrivileged(who) || isHis(first)) return READ | WRITE | OWNER;
  return (permissions.slice(1).find(isHis) ?? first).may;
}

export const permissionText = ({ domid, may }: Permission): string => `${LETTERS[may]}${domid}`;

export function parsePermission(text: string): Permission | undefined {
  const match = /^([nrwb])(\d{1,5})$/.exec(text);
  const domid = Number(match?.[2]);
  return match && domid <= 0xffff ? { domid, may: LETTERS.indexOf(match[1]!) } : undefined;
}

/** Of a payload's strings: all of them, or undefined when one is none. */
export function parsePermissions(texts: readonly string[]): Permission[] | undefined {
  const parsed = texts.map(parsePermission);
  return parsed.every((permission) => permission !== undefined) ? parsed : undefined;
}

/** The list that is written `n0,r3`; the form is the program's own, so a mistake in it is one. */
export function permissions(text: string): Permission[] {
  const parsed = parsePermissions(text.split(','));
  if (parsed === undefined) throw new Error(`no permissions: ${text}`);
  return parsed;
}
