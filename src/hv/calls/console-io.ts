/** console_io: a guest's words, kept in a ring a domain; domain 0's are on the hypervisor's own console as well. Nobody has input here. */

import type { Image } from '../../shared/image.js';
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS } from '../../shared/public/errno.js';
import { CONSOLEIO_read, CONSOLEIO_write } from '../../shared/public/xen.js';
import type { Table } from '../../shared/struct.js';
import { FAULT } from '../guest-memory.js';
import { CONSOLE_BYTES, type DOMAIN } from '../records.js';
import { type CallParts, type Handler, pointer } from './call.js';
import { PRIVILEGED } from './toolstack.js';

export function consoleIo(parts: CallParts): Handler {
  const { context, memory, smp, console } = parts;
  const { vcpu, domain, regs, locks, consoleLock, image } = context;
  const base = image.region('console').base;
  return (v) => {
    const cmd = regs.lo(v, 0);
    if (cmd === CONSOLEIO_read) return 0;
    if (cmd !== CONSOLEIO_write) return -XEN_ENOSYS;
    const count = regs.lo(v, 1);
    if (count < 0) return -XEN_EINVAL;
    const from = pointer(parts, v, 2, count);
    if (from === FAULT) return -XEN_EFAULT;
    const d = vcpu.domain(v);
    locks.acquire(consoleLock, smp.self());
    let at = domain.consoleBytes(d);
    for (const byte of memory.bytes(from, count))
      image.u8[base + d * CONSOLE_BYTES + (at++ & (CONSOLE_BYTES - 1))] = byte;
    domain.setConsoleBytes(d, at);
    locks.release(consoleLock, smp.self());
    if (d === PRIVILEGED) console.write(memory.bytes(from, count));
    return 0;
  };
}

/** What domain d wrote last, as text. */
export function consoleText(image: Image, domain: Table<typeof DOMAIN.fields>, d: number): string {
  const base = image.region('console').base + d * CONSOLE_BYTES;
  const end = domain.consoleBytes(d);
  const bytes: number[] = [];
  for (let k = Math.max(0, end - CONSOLE_BYTES); k < end; k++) bytes.push(image.u8[base + (k & (CONSOLE_BYTES - 1))]!);
  return new TextDecoder().decode(Uint8Array.from(bytes));
}
