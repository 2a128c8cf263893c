/** Emulators beside which the core is measured: whether they are here, and how they run a multiboot kernel. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { script } from './process.js';

export const RIVALS = ['v86', 'qemu'] as const;
export type Rival = (typeof RIVALS)[number];

const QEMU = 'qemu-system-x86_64';
const BIOS = '/usr/share/seabios/bios.bin';

/** What has to be installed for a rival; undefined where all is here. */
export function missing(rival: Rival): string | undefined {
  if (rival === 'qemu')
    return succeeds(() => execFileSync(QEMU, ['--version'])) ? undefined : `Debian's qemu-system-x86`;
  const lacks = [
    ...(succeeds(() => import.meta.resolve('v86')) ? [] : ['v86 of npm']),
    ...(existsSync(BIOS) ? [] : [`Debian's seabios`]),
  ];
  return lacks.length > 0 ? lacks.join(' and ') : undefined;
}

function succeeds(act: () => unknown): boolean {
  try {
    act();
    return true;
  } catch {
    return false;
  }
}

export type Command = readonly [string, ...string[]];

export const inQemu = (file: string, commandLine: string): Command => [
  ...([QEMU, '-accel', 'tcg,thread=single', '-m', '128', '-kernel', file, '-append', commandLine] as const),
  ...['-display', 'none', '-nodefaults', '-no-reboot', '-net', 'none', '-serial', 'stdio'],
  ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=4'],
];

export const inV86 = (file: string, commandLine: string, how: 'jit' | 'interpreter'): Command =>
  script('v86-guest.js', file, commandLine, BIOS, how);
