/** Whether the host gives this thread a core when it wants one. */
import { openSync, readSync } from 'node:fs';

/**
 * How long this thread has been ready to run and had no core, host ms since it began: from Linux's schedstat of the thread, which takes half
 * a microsecond to read. Undefined where the host does not say.
 */
export function coreLacked(): () => number | undefined {
  let file: number;
  try {
    file = openSync('/proc/thread-self/schedstat', 'r');
  } catch {
    return () => undefined;
  }
  const bytes = Buffer.alloc(96);
  return () => {
    // Time on a core, time in a run queue, time slices; ns.
    const text = bytes.toString('latin1', 0, readSync(file, bytes, 0, bytes.length, 0));
    const [ranNs, lackedNs] = text.split(' ').map(Number);
    // It runs now: a kernel that does not count says 0 of both.
    return ranNs === 0 || lackedNs === undefined ? undefined : lackedNs / 1e6;
  };
}
