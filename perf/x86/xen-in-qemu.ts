/**
 * Debian's Xen in QEMU, without hardware support, with one of our kernels as domain 0's: the hypervisor that ours is compared with, in what
 * a kernel finds and in what it costs.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { type Line, linesOf } from './process.js';
import { missing } from './rivals.js';

const XEN = '/boot/xen-4.17-amd64.gz';
/** What Xen says when domain 0 has ended: that it halts, or, where domain 0 has crashed, that it does not. */
const ENDED = /^\(XEN\) (Hardware Dom0 (halted|crashed|shutdown)|Panic on CPU)/;
/** The last that it says before domain 0 runs. */
const BEGUN = /^\(XEN\) Freed \d+kB init memory/;

/** What has to be installed; undefined where all is here. */
export const missingXen = (): string | undefined =>
  existsSync(XEN) ? missing('qemu') : `Debian's xen-hypervisor-4.17-amd64`;

export interface InXen {
  /** For the hypervisor unpacked. */
  readonly folder: string;
  readonly kernel: string;
  readonly commandLine: string;
  readonly vcpus: number;
  /** Each virtual processor a thread of the host's. @default true */
  readonly isThreaded?: boolean;
}

/** What is said from the kernel's first word on, up to its end. */
export async function linesInXen(
  { folder, kernel, commandLine, vcpus, isThreaded = true }: InXen,
  limitS: number,
): Promise<Line[]> {
  const xen = join(folder, 'xen');
  if (!existsSync(xen)) writeFileSync(xen, gunzipSync(readFileSync(XEN)));
  // A line is out before the kernel goes on. Page tables that name themselves, which Xen has by default, there are none of here.
  const options = `console=com1 com1=115200,8n1 sync_console pv-linear-pt=false dom0_mem=64M dom0_max_vcpus=${vcpus}`;
  const lines = await linesOf(
    [
      ...(['qemu-system-x86_64', '-accel', `tcg,thread=${isThreaded ? 'multi' : 'single'}`] as const),
      ...['-m', '256', '-smp', `${vcpus}`, '-kernel', xen, '-append', options, '-initrd', `${kernel} ${commandLine}`],
      ...['-display', 'none', '-nodefaults', '-no-reboot', '-net', 'none', '-serial', 'stdio'],
    ],
    limitS,
    (line) => ENDED.test(line),
  );
  const first = lines.findIndex(({ text }) => BEGUN.test(text));
  return lines.slice(first + 1).filter(({ text }) => text !== '');
}
