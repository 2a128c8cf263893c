/** A kernel that has been unpacked, as the domain builder takes it. */
import { parseElf, readElf } from './elf.js';
import { describeImage, type KernelImage } from './kernel-image.js';
import { readXenNotes } from './xen-notes.js';

export interface PvKernel extends KernelImage {
  /** Whether it takes a ramdisk by its frame number, not mapped. */
  readonly modStartPfn: boolean;
}

/**
 * One that says nothing to Xen is taken as it is: a static executable whose addresses are those of its memory, from 0 on.
 * @throws ElfError, XenImageError
 */
export function readKernel(file: Uint8Array): PvKernel {
  const elf = parseElf(file);
  const notes = readXenNotes(elf);
  if (notes !== undefined) return { ...describeImage(elf, notes), modStartPfn: notes.modStartPfn };
  const { entry, segments } = readElf(file);
  const ends = segments.map(({ address, bytes }) => address + bytes);
  const starts = segments.map(({ address }) => address);
  const least = (all: readonly bigint[]): bigint => all.reduce((a, b) => (a < b ? a : b));
  return {
    ...{ class: 64, virtBase: 0n, paddrOffset: 0n, hypercallPage: undefined, initP2m: undefined, modStartPfn: false },
    ...{ virtStart: least(starts), virtEnd: ends.reduce((a, b) => (a > b ? a : b)), entry, segments },
  };
}
