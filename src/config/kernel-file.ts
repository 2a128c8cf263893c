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

function readBytes(file: string, from?: Place): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw readingError(file, error, from);
  }
}

/**
 * @param from where it is named @param ramdisk file of its ramdisk
 * @throws ConfigError
 */
export function readKernelFile(
  file: string,
  commandLine: string,
  from?: Place,
  ramdisk?: { readonly file: string; readonly from?: Place | undefined },
): BuiltKernel {
  const contents = readBytes(file, from);
  try {
    const image = readKernel(unpackNow(contents));
    const loaded = ramdisk && { ramdisk: readBytes(ramdisk.file, ramdisk.from) };
    if (image.class === 64) return { file, image, commandLine, ...loaded };
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
