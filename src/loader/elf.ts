/**
 * Static ELF executables for x86 (System V ABI, gABI chapters 4 and 5): where they begin and what goes where. Addresses are BigInt: those
 * of kernels lie above 2^53.
 */

export class ElfError extends Error {}

export type ElfClass = 32 | 64;

export interface ElfSegment {
  readonly address: bigint;
  /** p_paddr: where a kernel that does not run at physical addresses wants to lie. */
  readonly physicalAddress: bigint;
  /** What the file has of it; the rest, up to `bytes`, is zero. */
  readonly contents: Uint8Array;
  readonly bytes: bigint;
  readonly isWritable: boolean;
  readonly isExecutable: boolean;
}

export interface ElfFile {
  readonly entry: bigint;
  readonly segments: readonly ElfSegment[];
}

export interface ElfNote {
  readonly owner: string;
  readonly type: number;
  readonly contents: Uint8Array;
  /** Whether it says to be longer than what it lies in; `contents` is what there is. */
  readonly isCutOff: boolean;
}

export interface ElfSection {
  readonly name: string;
  readonly contents: Uint8Array;
}

/** All that a file says of itself. */
export interface ElfImage extends ElfFile {
  readonly class: ElfClass;
  /** Those of its note segments. */
  readonly notes: readonly ElfNote[];
  /** Those of its note sections: mostly the same ones. */
  readonly sectionNotes: readonly ElfNote[];
  readonly sections: readonly ElfSection[];
}

const EI_CLASS = 4;
const EI_DATA = 5;
const ELFCLASS32 = 1;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const ET_EXEC = 2;
const EM_386 = 3;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const PT_INTERP = 3;
const PT_NOTE = 4;
const PF_X = 1;
const PF_W = 2;
const SHT_NOTE = 7;
const SHT_NOBITS = 8;
/** Lowest address that is not canonical. */
const CANONICAL_END = 1n << 47n;
/** As many as Xen reads; keeps a made-up file from filling memory. */
const MAX_NOTES = 65536;
/** Names of sections are cut off here: none that is of use is longer. */
const MAX_NAME_BYTES = 64;

/** Where the fields lie. e_phnum and e_shnum follow upon the sizes, e_shstrndx upon them. */
const LAYOUT = {
  32: {
    machine: EM_386,
    name: 'i386',
    ehdr: { bytes: 52, phoff: 28, shoff: 32, phentsize: 42, shentsize: 46 },
    phdr: { bytes: 32, flags: 24, offset: 4, vaddr: 8, paddr: 12, filesz: 16, memsz: 20 },
    shdr: { bytes: 40, offset: 16, size: 20 },
  },
  64: {
    machine: EM_X86_64,
    name: 'x86-64',
    ehdr: { bytes: 64, phoff: 32, shoff: 40, phentsize: 54, shentsize: 58 },
    phdr: { bytes: 56, flags: 4, offset: 8, vaddr: 16, paddr: 24, filesz: 32, memsz: 40 },
    shdr: { bytes: 64, offset: 24, size: 32 },
  },
} as const;
const E_TYPE = 16;
const E_MACHINE = 18;
const E_ENTRY = 24;
const NOTE_HEADER_BYTES = 12;

function fail(what: string): never {
  throw new ElfError(what);
}

/** Text up to the first zero byte. */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** Notes are aligned to 4 bytes in 64-bit files, too: so the tools write them and so Xen reads them. */
function readNotes(parts: readonly Uint8Array[]): ElfNote[] {
  const notes: ElfNote[] = [];
  for (const part of parts) {
    const view = new DataView(part.buffer, part.byteOffset, part.byteLength);
    for (let at = 0; at + NOTE_HEADER_BYTES <= part.length; ) {
      const [ownerBytes, bytes] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
      const from = at + NOTE_HEADER_BYTES + Math.ceil(ownerBytes / 4) * 4;
      if (from > part.length) break;
      if (notes.length === MAX_NOTES) fail(`an ELF file with more than ${MAX_NOTES} notes`);
      notes.push({
        owner: textOf(part.subarray(at + NOTE_HEADER_BYTES, at + NOTE_HEADER_BYTES + ownerBytes)),
        type: view.getUint32(at + 8, true),
        contents: part.subarray(from, from + bytes),
        isCutOff: from + bytes > part.length,
      });
      at = from + Math.ceil(bytes / 4) * 4;
    }
  }
  return notes;
}

/** @throws ElfError when the file is none, is for another machine, or is broken */
export function parseElf(file: Uint8Array): ElfImage {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 4 || view.getUint32(0, false) !== 0x7f454c46) fail('not an ELF file');
  const size: ElfClass = file[EI_CLASS] === ELFCLASS32 ? 32 : 64;
  const { machine, name, ehdr, phdr, shdr } = LAYOUT[size];
  if (file.length < ehdr.bytes) fail('an ELF file that ends in its header');
  if (file[EI_CLASS] !== ELFCLASS32 && file[EI_CLASS] !== ELFCLASS64) fail('an ELF file of neither 32 nor 64 bits');
  if (file[EI_DATA] !== ELFDATA2LSB) fail('an ELF file, but not a little-endian one');
  if (view.getUint16(E_MACHINE, true) !== machine) fail(`an ELF file of ${size} bits, but not for ${name}`);
  if (view.getUint16(E_TYPE, true) !== ET_EXEC) fail('an ELF file, but not a static executable (ET_EXEC)');
  const word = (at: number): bigint => (size === 64 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true)));
  const phoff = word(ehdr.phoff);
  const [phentsize, phnum] = [view.getUint16(ehdr.phentsize, true), view.getUint16(ehdr.phentsize + 2, true)];
  if (phnum === 0) fail('an ELF file without program headers');
  if (phentsize !== phdr.bytes) fail(`an ELF file with program headers of ${phentsize} bytes`);
  if (phoff + BigInt(phnum * phdr.bytes) > BigInt(file.length)) fail('an ELF file that ends in its program headers');

  const segments: ElfSegment[] = [];
  const noteSegments: Uint8Array[] = [];
  for (let n = 0; n < phnum; n++) {
    const at = Number(phoff) + n * phdr.bytes;
    const type = view.getUint32(at, true);
    if (type === PT_INTERP) fail('an ELF file that wants an interpreter: link it with -static');
    const [offset, inFile] = [word(at + phdr.offset), word(at + phdr.filesz)];
    // Some linkers leave out where a note segment lies: Xen's rule.
    if (type !== PT_LOAD && !(type === PT_NOTE && offset !== 0n)) continue;
    if (offset + inFile > BigInt(file.length)) fail(`segment ${n} lies behind the end of the file`);
    const contents = file.subarray(Number(offset), Number(offset + inFile));
    if (type === PT_NOTE) {
      noteSegments.push(contents);
      continue;
    }
    const [address, physicalAddress, bytes] = [word(at + phdr.vaddr), word(at + phdr.paddr), word(at + phdr.memsz)];
    if (inFile > bytes) fail(`segment ${n} has more bytes in the file than in memory`);
    if (bytes === 0n) continue;
    if (!isAddressRange(size, address, address + bytes)) fail(`segment ${n} lies at addresses that are not canonical`);
    if (physicalAddress + bytes > 1n << 64n) fail(`segment ${n} lies at physical addresses that are none`);
    const flags = view.getUint32(at + phdr.flags, true);
    segments.push({
      address,
      physicalAddress,
      contents,
      bytes,
      isWritable: (flags & PF_W) !== 0,
      isExecutable: (flags & PF_X) !== 0,
    });
  }
  if (segments.length === 0) fail('an ELF file with nothing to load');
  const both = findOverlap(segments, ({ address }) => address);
  if (both) fail(`the segments at 0x${both[0].toString(16)} and 0x${both[1].toString(16)} overlap`);

  const sections: ElfSection[] = [];
  const noteSections: Uint8Array[] = [];
  for (const { name, type, contents } of readSections()) {
    sections.push({ name, contents });
    if (type === SHT_NOTE) noteSections.push(contents);
  }
  return {
    class: size,
    entry: word(E_ENTRY),
    segments,
    notes: readNotes(noteSegments),
    sectionNotes: readNotes(noteSections),
    sections,
  };

  /** Nothing that is loaded depends on sections, so those that are broken are left out. */
  function readSections(): (ElfSection & { readonly type: number })[] {
    const shoff = word(ehdr.shoff);
    const shentsize = view.getUint16(ehdr.shentsize, true);
    const [shnum, shstrndx] = [view.getUint16(ehdr.shentsize + 2, true), view.getUint16(ehdr.shentsize + 4, true)];
    const isThere = shentsize === shdr.bytes && shoff + BigInt(shnum * shdr.bytes) <= BigInt(file.length);
    if (shoff === 0n || !isThere) return [];
    const contentsOf = (n: number): Uint8Array | undefined => {
      const at = Number(shoff) + n * shdr.bytes;
      const [offset, bytes] = [word(at + shdr.offset), word(at + shdr.size)];
      if (view.getUint32(at + 4, true) === SHT_NOBITS) return new Uint8Array(0);
      return offset + bytes > BigInt(file.length) ? undefined : file.subarray(Number(offset), Number(offset + bytes));
    };
    const names = (shstrndx < shnum ? contentsOf(shstrndx) : undefined) ?? new Uint8Array(0);
    const found: (ElfSection & { readonly type: number })[] = [];
    // Section 0 is none.
    for (let n = 1; n < shnum; n++) {
      const at = Number(shoff) + n * shdr.bytes;
      const contents = contentsOf(n);
      const nameAt = view.getUint32(at, true);
      const name = textOf(names.subarray(nameAt, nameAt + MAX_NAME_BYTES));
      if (contents) found.push({ name, type: view.getUint32(at + 4, true), contents });
    }
    return found;
  }
}

/** Whether a processor has addresses from here up to, and without, there. */
export function isAddressRange(size: ElfClass, from: bigint, to: bigint): boolean {
  if (from < 0n || to < from) return false;
  if (size === 32) return to <= 1n << 32n;
  return to <= CANONICAL_END || (from >= (1n << 64n) - CANONICAL_END && to <= 1n << 64n);
}

/** Where two segments begin that share a byte. */
export function findOverlap(
  segments: readonly ElfSegment[],
  placeOf: (segment: ElfSegment) => bigint,
): readonly [bigint, bigint] | undefined {
  const inOrder = segments
    .map((segment) => ({ from: placeOf(segment), bytes: segment.bytes }))
    .sort((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0));
  for (const [n, { from }] of inOrder.entries()) {
    const before = inOrder[n - 1];
    if (before && before.from + before.bytes > from) return [before.from, from];
  }
  return undefined;
}

/**
 * An executable of 64 bits that is loaded where its segments say and begins at its entry.
 * @throws ElfError
 */
export function readElf(file: Uint8Array): ElfFile {
  const { class: size, entry, segments } = parseElf(file);
  if (size !== 64) fail('an ELF file, but not a 64-bit one');
  const isIn = segments.some((s) => s.isExecutable && entry >= s.address && entry < s.address + s.bytes);
  if (!isIn) fail(`the entry 0x${entry.toString(16)} lies in no executable segment`);
  return { entry, segments };
}
