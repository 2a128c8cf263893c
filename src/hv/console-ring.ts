/**
 * The hypervisor's console ring (Xen's conring): what it has to say, and what domain 0 writes. Domain 0 reads it with
 * XEN_SYSCTL_readconsole, which is what `xl dmesg` shows. Lines of the hypervisor begin with `(XEN) `.
 *
 * Locking: the console lock, which is the last in the order: anybody may say something at any time.
 */
import { CONSOLE_LOCK, type HvContext } from './context.js';
import { XEN_CONSOLE_BYTES } from './records.js';

export interface ConsoleRing {
  /** Says a line, without its end. */
  print(line: string): void;
  /** Writes bytes as they are. */
  write(bytes: Uint8Array): void;
  /**
   * Copies up to `count` bytes from byte number `from` on (undefined: from where the ring was cleared; it starts with what is still
   * there) into `out`. @returns the number of bytes, and of the byte after the last
   */
  read(out: Uint8Array, from: number | undefined, clear: boolean): { readonly count: number; readonly end: number };
}

const MASK = XEN_CONSOLE_BYTES - 1;

export function consoleRing({ image, host, machine, locks, shape, isOrdered, me }: HvContext): ConsoleRing {
  const { base } = image.region('xen-console');
  const { u8 } = image;

  function locked<T>(act: () => T): T {
    const self = machine.turnOf(me);
    locks.acquire(CONSOLE_LOCK, self);
    const result = act();
    locks.release(CONSOLE_LOCK, self);
    return result;
  }

  /** Groups that run side by side have no order of what they say; and no domain 0, which alone could read it. */
  const isMute = isOrdered && shape.runners > 1;

  function put(byte: number): void {
    const at = host.consoleEnd(0);
    u8[base + (at & MASK)] = byte;
    host.setConsoleEnd(0, at + 1);
  }

  return {
    print(line) {
      if (isMute) return;
      locked(() => {
        const text = `(XEN) ${line}\n`;
        for (let k = 0; k < text.length; k++) put(text.charCodeAt(k));
      });
    },

    write: (bytes) =>
      locked(() => {
        for (const byte of bytes) put(byte);
      }),

    read: (out, from, clear) =>
      locked(() => {
        const end = host.consoleEnd(0);
        // Numbers of bytes wrap round; how far one is behind the end does not.
        const behind = (n: number): number => (end - n) >>> 0;
        const cleared = host.consoleClear(0);
        const start = behind(cleared) > XEN_CONSOLE_BYTES ? (end - XEN_CONSOLE_BYTES) | 0 : cleared;
        let at = from !== undefined && behind(from) < behind(start) ? from : start;
        let count = 0;
        for (; at !== end && count < out.length; at = (at + 1) | 0) out[count++] = u8[base + (at & MASK)]!;
        if (clear) host.setConsoleClear(0, at);
        return { count, end: at };
      }),
  };
}
