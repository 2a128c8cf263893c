/**
 * The memory of requests between domains: services, links from client domains to them, and the ring of a link. The two sides of
 * a link are two records, each changed by its own domain's kernel only; what both touch is the ring, a page of the client's.
 */
import { HISTOGRAM_BYTES } from '../../shared/histogram.js';
import { type Region, rawRegion, tableRegion } from '../../shared/image.js';
import { struct } from '../../shared/struct.js';

/** The request a client's task has under way, and the one a server's task is about. */
export const TASK_REQUEST = struct('task-request', {
  /** Guest clock. */
  requestedAt: 'f64',
  /** Link + 1: of the request asked, of the request served. */
  asking: 'i32',
  serving: 'i32',
  /** Of a server's task: who asked. */
  client: 'i32',
  /** Bytes of the answer. */
  bytes: 'i32',
});

/** A service: what a server's tasks wait for, under the server kernel's lock. Its links are neighbours in K_BACK. */
export const K_SERVICE = struct('k-service', {
  first: 'i32',
  last: 'i32',
  firstBack: 'i32',
  backs: 'i32',
  /** Index among its links of the one to be served next. */
  next: 'i32',
  /** Tasks woken for a request that have not looked for it yet. */
  called: 'i32',
});

/** A link from a client domain to a service, the client's side: changed under the client kernel's lock. */
export const K_FRONT = struct(
  'k-front',
  {
    /** Time of all answered requests, and of the slowest, ns. */
    totalNs: 'f64',
    maxNs: 'f64',
    /** Fixed by the builder: the other side, and where the shared ring is, as an image address. */
    back: 'i32',
    ring: 'i32',
    /** Event channel; 0 = not bound yet. */
    port: 'i32',
    /** Requests written; answers read. */
    produced: 'i32',
    consumed: 'i32',
    /** Tasks that wait for a free slot of the ring, and slots kept for those that were woken. */
    promised: 'i32',
    first: 'i32',
    last: 'i32',
  },
  64,
);

/** The server's side: changed under the server kernel's lock. */
export const K_BACK = struct(
  'k-back',
  {
    /** Fixed by the builder. */
    client: 'i32',
    server: 'i32',
    service: 'i32',
    ring: 'i32',
    /** Unbound port for the client, 0 = none yet; written once by the server, read by the client (as from xenstore). */
    port: 'i32',
    /** Requests read; answers written. */
    consumed: 'i32',
    produced: 'i32',
  },
  64,
);

/**
 * The ring of a link, laid out as io/ring.h does: four free-running indices, then slots that requests and answers share. The
 * client writes `reqProd`, `rspEvent` and requests, the server `rspProd`, `reqEvent` and answers. Bytes.
 */
export const RING = { reqProd: 0, reqEvent: 4, rspProd: 8, rspEvent: 12, slots: 64 } as const;
/** A slot: who asks, how many bytes go with it, and when it was written (free mode: what carries time). Bytes. */
export const SLOT = { id: 0, bytes: 4, writtenAt: 8, size: 16 } as const;
/** Slots of a ring, a power of two; as in a ring of block requests. */
export const RING_SLOTS = 32;
export const RING_BYTES = RING.slots + RING_SLOTS * SLOT.size;

export interface RequestShape {
  readonly tasks: number;
  readonly links: number;
  readonly services: number;
}

export const requestRegions = (s: RequestShape): Region[] => [
  tableRegion(TASK_REQUEST, s.tasks),
  tableRegion(K_SERVICE, Math.max(1, s.services)),
  tableRegion(K_FRONT, Math.max(1, s.links)),
  tableRegion(K_BACK, Math.max(1, s.links)),
  rawRegion('request-latency', HISTOGRAM_BYTES, Math.max(1, s.links)),
];
