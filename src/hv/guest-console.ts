/**
 * What guests say, kept in a ring a domain: by console_io, and what domain 0 takes from their console rings.
 *
 * Locking: the console lock.
 */
import type { Image } from '../shared/image.js';
import type { Table } from '../shared/struct.js';
import type { HvContext } from './context.js';
import type { DOMAIN } from './records.js';

export interface GuestConsoles {
  write(d: number, bytes: Uint8Array): void;
}

export function guestConsoles({ image, domain, locks, consoleLock, machine, me }: HvContext): GuestConsoles {
  const { base, size } = image.region('console');
  return {
    write(d, bytes) {
      const self = machine.turnOf(me);
      locks.acquire(consoleLock, self);
      let at = domain.consoleBytes(d);
      for (const byte of bytes) image.u8[base + d * size + (at++ & (size - 1))] = byte;
      domain.setConsoleBytes(d, at | 0);
      locks.release(consoleLock, self);
    },
  };
}

/** What domain d has said since its byte number `from`, as far as it is still there. @returns it, and the number of the byte behind it */
export function consoleSince(
  image: Image,
  domain: Table<typeof DOMAIN.fields>,
  d: number,
  from: number,
): { readonly bytes: Uint8Array; readonly end: number } {
  const { base, size } = image.region('console');
  const end = domain.consoleBytes(d);
  const length = Math.min((end - from) >>> 0, size);
  const bytes = Uint8Array.from({ length }, (_, n) => image.u8[base + d * size + ((end - length + n) & (size - 1))]!);
  return { bytes, end };
}

/** What domain d said last, as text. */
export const consoleText = (image: Image, domain: Table<typeof DOMAIN.fields>, d: number): string =>
  new TextDecoder().decode(consoleSince(image, domain, d, 0).bytes);
