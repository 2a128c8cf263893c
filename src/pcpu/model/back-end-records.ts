/** What domain 0's xenconsoled and xenstored know of each domain that has a console ring and a xenstore page. */
import { type Region, rawRegion, tableRegion } from '../../shared/image.js';
import { struct } from '../../shared/struct.js';

/** Domain 0's kernel, but for `typed`. */
export const BACK_END = struct(
  'back-end',
  {
    /** The domain's record, whether or not there is such a domain; 1 while it is served. */
    domain: 'i32',
    isServed: 'i32',
    /** Its number, if it is. */
    domid: 'i32',
    /** 1 once it is known that it has shut down. */
    isShutDown: 'i32',
    /** Image addresses of the two pages. */
    console: 'i32',
    xenstore: 'i32',
    /** Ports that the domain offers, and domain 0's own once it is bound to them. */
    consoleRemote: 'i32',
    xenstoreRemote: 'i32',
    consolePort: 'i32',
    xenstorePort: 'i32',
    /** Which of them are to be served when the handler is through: a bit each, SERVES. */
    wanted: 'i32',
    /** Bytes that were ever typed at its console, by the outside (Atomics), and how many of them it has been given. */
    typed: 'i32',
    given: 'i32',
  },
  64,
);

export const SERVES = { console: 1, xenstore: 2 } as const;

/** What is typed is kept until it is taken; a power of 2. */
export const CONSOLE_IN_BYTES = 1 << 12;
/** The whole store as bytes (saved.ts), behind their number. */
export const XENSTORE_BYTES = 4 << 20;

export function backEndRegions(count: number): Region[] {
  if (count === 0) return [tableRegion(BACK_END, 1)];
  return [
    tableRegion(BACK_END, count),
    rawRegion('console-in', CONSOLE_IN_BYTES, count),
    // Domain 0's kernel.
    rawRegion('xenstore', XENSTORE_BYTES, 1),
  ];
}
