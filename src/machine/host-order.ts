/**
 * Machine code expects the memory order of x86 (Intel SDM vol. 3, 9.2): plain accesses of the host keep it only where the host is one.
 * Elsewhere such guests are run by one worker at a time.
 */
import type { MachineConfig } from './config.js';

const hasMachineCode = ({ guests }: MachineConfig): boolean => guests.some(({ kernel }) => kernel !== undefined);

const isX86 = (arch: string): boolean => arch === 'x64' || arch === 'ia32';

/** Whether workers may run guests of machine code at the same time. @param arch as of `process.arch` */
export const runsTogether = (config: MachineConfig, arch: string): boolean => !hasMachineCode(config) || isX86(arch);

/** The configuration as this host can run it: in free mode on one worker, where it cannot run them together. */
export const forHost = (config: MachineConfig, arch: string): MachineConfig =>
  config.mode === 'free' && !runsTogether(config, arch) ? { ...config, threads: 1 } : config;

/** What a user is told of that. */
export function hostWarnings(config: MachineConfig, arch: string): string[] {
  if (config.threads === 1 || runsTogether(config, arch)) return [];
  const how = config.mode === 'free' ? 'all pCPUs are on one worker' : 'one worker at a time runs it';
  return [`machine code needs the memory order of x86, which ${arch} does not have: ${how}`];
}
