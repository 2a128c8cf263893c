/** A guest's kernel as a file: a static ELF executable for x86-64. */
import { readFileSync } from 'node:fs';
import { ElfError, readElf } from '../loader/elf.js';
import type { BuiltKernel } from '../machine/config.js';
import { ConfigError, type Place } from '../workload/config-error.js';
import type { Workload } from '../workload/workload.js';
import { readingError } from './yaml-file.js';

/**
 * @param from where it is named
 * @throws ConfigError
 */
export function readKernelFile(file: string, commandLine: string, from?: Place): BuiltKernel {
  let contents: Uint8Array;
  try {
    contents = readFileSync(file);
  } catch (error) {
    throw readingError(file, error, from);
  }
  try {
    return { file, elf: readElf(contents), commandLine };
  } catch (error) {
    if (error instanceof ElfError) throw new ConfigError(`${file}: ${error.message}`, from);
    throw error;
  }
}

/** What a guest with a kernel of its own has in the place of a workload. */
export const noWorkload = (file: string): Workload => ({
  file,
  logBasename: 'rt-app',
  cumulativeSlack: false,
  tasks: [],
});
