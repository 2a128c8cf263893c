/**
 * What domain 0's toolstack writes for a paravirtual domain, and for itself, before either looks: nodes and permissions as libxl makes
 * them (as `xenstore-ls -fp` shows them), and the requests that make them. A domain may read what its toolstack says of it (`n0,r3`),
 * and owns what it is to fill in (`n3`).
 */
import { domainPath } from './paths.js';
import { type Permission, permissions as parse, permissionText } from './permissions.js';
import { serve } from './server.js';
import type { Delivery, State } from './state.js';
import * as W from './wire.js';

export interface GuestNode {
  readonly path: string;
  readonly value: string;
  readonly permissions: readonly Permission[];
}

/** A shared page and the domain's end of its event channel. */
export interface GuestRing {
  /** Machine frame of the page, as libxl says it for a paravirtual domain. */
  readonly ref: number;
  readonly port: number;
}

export interface Guest {
  readonly domid: number;
  readonly name: string;
  /** With hyphens. */
  readonly uuid: string;
  /** VCPUs that it can have, and how many of them, from 0 on, are to be on line. */
  readonly maxVcpus: number;
  readonly vcpus: number;
  readonly maxMemKib: number;
  readonly targetMemKib: number;
  readonly store: GuestRing;
  readonly console: GuestRing;
  /** Terminal on which domain 0 shows the console. */
  readonly tty?: string;
}

/** Bytes of console output that xenconsoled keeps. */
const CONSOLE_LIMIT = 1_048_576;

type Row = readonly [name: string, value?: string | number];

const nodesBelow = (path: string, list: string, rows: readonly Row[]): GuestNode[] =>
  rows.map(([name, value = '']) => ({
    path: name === '' ? path : `${path}/${name}`,
    value: `${value}`,
    permissions: parse(list),
  }));

/** Nodes of the domain's console: its own and those of the back end. */
function consoleNodes(guest: Guest, readable: string): GuestNode[] {
  const { domid } = guest;
  const frontend = `${domainPath(domid)}/console`;
  const backend = `${domainPath(0)}/backend/console/${domid}/0`;
  return [
    ...nodesBelow(frontend, readable, [
      [''],
      ['backend', backend],
      ['backend-id', 0],
      ['limit', CONSOLE_LIMIT],
      ['type', 'xenconsoled'],
      ['output', 'pty'],
      ['tty', guest.tty ?? ''],
      ['port', guest.console.port],
      ['ring-ref', guest.console.ref],
    ]),
    ...nodesBelow(backend, readable, [
      [''],
      ['frontend', frontend],
      ['frontend-id', domid],
      ['online', 1],
      // XenbusStateInitialising
      ['state', 1],
      ['protocol', 'vt100'],
    ]),
  ];
}

/** All nodes of a paravirtual domain, parents first. */
export function guestNodes(guest: Guest): GuestNode[] {
  const { domid, uuid, name } = guest;
  const own = domainPath(domid);
  const readable = `n0,r${domid}`;
  const its = `n${domid}`;
  const cpus = Array.from({ length: guest.maxVcpus }, (_, n): Row[] => [
    [`cpu/${n}`],
    [`cpu/${n}/availability`, n < guest.vcpus ? 'online' : 'offline'],
  ]);
  return [
    ...nodesBelow(own, readable, [[''], ['vm', `/vm/${uuid}`], ['name', name], ['domid', domid]]),
    ...nodesBelow(own, readable, [['cpu'], ...cpus.flat()]),
    ...nodesBelow(own, readable, [
      ['memory'],
      ['memory/static-max', guest.maxMemKib],
      ['memory/target', guest.targetMemKib],
      // It has none.
      ['memory/videoram', -1],
      ['device'],
      ['device/suspend'],
      ['control'],
      ['control/platform-feature-multiprocessor-suspend', 1],
      ['control/platform-feature-xs_reset_watches', 1],
      ['store'],
      ['store/port', guest.store.port],
      ['store/ring-ref', guest.store.ref],
    ]),
    ...nodesBelow(own, its, [
      ['device/suspend/event-channel'],
      ['control/shutdown'],
      ['control/feature-poweroff'],
      ['control/feature-reboot'],
      ['control/feature-suspend'],
      ['control/sysrq'],
      ['data'],
      ['drivers'],
      ['feature'],
      ['attr'],
      ['error'],
    ]),
    ...consoleNodes(guest, readable),
    ...nodesBelow(`/vm/${uuid}`, readable, [[''], ['name', name], ['uuid', uuid]]),
    ...nodesBelow(`/libxl/${domid}`, 'n0', [[''], ['device'], ['type', 'pv']]),
  ];
}

/** Domain 0's own, which no other domain may read. */
export const dom0Nodes = (memKib: number): GuestNode[] =>
  nodesBelow(domainPath(0), 'n0', [
    [''],
    ['name', 'Domain-0'],
    ['domid', 0],
    ['memory'],
    ['memory/static-max', memKib],
    ['memory/target', memKib],
  ]);

/** Requests, in order, that make a node what it is to be. */
export function requestsFor({ path, value, permissions }: GuestNode, txId: number): W.Message[] {
  const payload = new Uint8Array([...W.strings(path), ...W.toBytes(value)]);
  return [
    { type: W.XS_WRITE, reqId: 0, txId, payload },
    { type: W.XS_SET_PERMS, reqId: 0, txId, payload: W.strings(path, ...permissions.map(permissionText)) },
  ];
}

/**
 * Makes nodes as domain 0, in one transaction, so that who watches sees none half made.
 * @returns events for those who watch
 */
export function makeNodes(state: State, nodes: readonly GuestNode[]): Delivery[] {
  const ask = (type: number, txId: number, payload: Uint8Array): Delivery[] =>
    serve(state, 0, { type, reqId: 0, txId, payload });
  const start = ask(W.XS_TRANSACTION_START, 0, W.strings(''))[0]!.message.payload;
  const txId = W.atoi(W.toText(start));
  for (const node of nodes) for (const { type, payload } of requestsFor(node, txId)) ask(type, txId, payload);
  const done = ask(W.XS_TRANSACTION_END, txId, W.strings('T'));
  const isReply = ({ message }: Delivery): boolean => message.type !== W.XS_WATCH_EVENT;
  const reply = done.find(isReply)!.message;
  // Nothing came between, and domain 0 has no quota: the nodes themselves cannot be.
  if (reply.type === W.XS_ERROR) throw new Error(`nodes of a domain: ${W.toText(reply.payload)}`);
  return done.filter((delivery) => !isReply(delivery));
}
