/** What is to be built of a guest with a kernel of its own, for whoever builds it. */
import { GRANT_FRAMES } from '../hv/grants/records.js';
import type { KernelPlan } from '../pcpu/model/kernel-plan.js';
import { PAGE_SIZE, PAGES_PER_MIB } from '../shared/image.js';
import { type BuiltKernel, type GuestConfig, mostVcpus } from './config.js';
import { kernelLayout } from './kernel-layout.js';

/** Frames of a domain beside its memory: the shared info page before it, its grant table behind it. */
export const EXTRA_FRAMES = 1 + GRANT_FRAMES;

const KIB_PER_MIB = 1024;

/** A name for tools, which have no other than its number. */
const uuidOf = (d: number): string => `00000000-0000-0000-0000-${d.toString(16).padStart(12, '0')}`;

/** Bytes that every worker sees, not copied to each. */
function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

/** Why a kernel does not fit into a domain of so much memory. */
export function kernelProblem({ image, ramdisk }: BuiltKernel, frames: number): string | undefined {
  for (const { address, bytes } of image.segments) {
    if (address < image.virtBase) return `a segment at 0x${address.toString(16)}: before the domain's memory`;
    if (address + bytes - image.virtBase > BigInt(frames * PAGE_SIZE))
      return `a segment ends at 0x${(address + bytes).toString(16)}, where there is no memory any more`;
  }
  const { pages } = kernelLayout(image, frames, ramdisk?.length ?? 0);
  return pages > frames
    ? `it needs ${pages} frames with what belongs to it, and the domain has ${frames}: give it more memory`
    : undefined;
}

/** @param d its domid @returns undefined: it has no kernel */
export function kernelPlan(guest: GuestConfig, d: number): KernelPlan | undefined {
  const { kernel, memoryMib } = guest;
  if (kernel === undefined) return undefined;
  const { image, ramdisk, commandLine } = kernel;
  const { virtBase, entry, hypercallPage, initP2m, modStartPfn } = image;
  const pages = memoryMib * PAGES_PER_MIB;
  const layout = kernelLayout(image, pages, ramdisk?.length ?? 0);
  const segments = image.segments.map(({ address, contents }) => ({
    at: Number(address - virtBase),
    bytes: shared(contents),
  }));
  return {
    ...{ pages, virtBase, entry, initP2m, modStartPfn, commandLine, layout },
    contents: ramdisk ? [...segments, { at: layout.ramdisk * PAGE_SIZE, bytes: shared(ramdisk) }] : segments,
    hypercallPage: hypercallPage === undefined ? undefined : Number((hypercallPage - virtBase) / BigInt(PAGE_SIZE)),
    ramdiskBytes: ramdisk?.length ?? 0,
    guest: {
      ...{ name: guest.name, uuid: uuidOf(d), maxVcpus: mostVcpus(guest), vcpus: guest.vcpus },
      maxMemKib: (guest.maxMemoryMib ?? memoryMib) * KIB_PER_MIB,
      targetMemKib: memoryMib * KIB_PER_MIB,
    },
  };
}
