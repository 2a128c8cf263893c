/** A guest's kernel as a file: an executable for x86-64, packed as Linux's are or not. */
import { readFileSync } from 'node:fs';
import { ElfError } from '../loader/elf.js';
import { readKernel } from '../loader/kernel.js';
import { UnpackError } from '../loader/unpack-error.js';
import { unpackNow } from '../loader/unpack-now.js';
import { XenImageError } from '../loader/xen-notes.js';
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
    const image = readKernel(unpackNow(contents));
    if (image.class === 64) return { file, image, commandLine };
  } catch (error) {
    const isFiles = error instanceof ElfError || error instanceof XenImageError || error instanceof UnpackError;
    if (isFiles) throw new ConfigError(`${file}: ${error.message}`, from);
    throw error;
  }
  throw new ConfigError(`${file}: a kernel of 32 bits; there are 64-bit ones only`, from);
}

/** What a guest with a kernel of its own has in the place of a workload. */
export const noWorkload = (file: string): Workload => ({
  file,
  logBasename: 'rt-app',
  cumulativeSlack: false,
  tasks: [],
});
