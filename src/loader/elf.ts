/**
 * Static ELF executables for x86-64 (System V ABI, gABI chapters 4 and 5): where they begin and what goes where. Addresses are BigInt: those
 * of kernels lie above 2^53.
 */

export class ElfError extends Error {}

export interface ElfSegment {
  readonly address: bigint;
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

const EI_CLASS = 4;
const EI_DATA = 5;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const ET_EXEC = 2;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const PT_INTERP = 3;
const PF_X = 1;
const PF_W = 2;
const EHDR_BYTES = 64;
const PHDR_BYTES = 56;
/** Lowest address that is not canonical. */
const CANONICAL_END = 1n << 47n;

/** @throws ElfError when the file is none, is for another machine, or is broken */
export function readElf(file: Uint8Array): ElfFile {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const fail = (what: string): never => {
    throw new ElfError(what);
  };
  if (file.length < 4 || view.getUint32(0, false) !== 0x7f454c46) fail('not an ELF file');
  if (file.length < EHDR_BYTES) fail('an ELF file that ends in its header');
  if (file[EI_CLASS] !== ELFCLASS64 || file[EI_DATA] !== ELFDATA2LSB)
    fail('an ELF file, but not a 64-bit little-endian one');
  if (view.getUint16(18, true) !== EM_X86_64) fail('an ELF file, but not for x86-64');
  if (view.getUint16(16, true) !== ET_EXEC) fail('an ELF file, but not a static executable (ET_EXEC)');
  const [phoff, phentsize, phnum] = [view.getBigUint64(32, true), view.getUint16(54, true), view.getUint16(56, true)];
  if (phnum === 0) fail('an ELF file without program headers');
  if (phentsize !== PHDR_BYTES) fail(`an ELF file with program headers of ${phentsize} bytes`);
  if (phoff + BigInt(phnum * PHDR_BYTES) > BigInt(file.length)) fail('an ELF file that ends in its program headers');

  const segments: ElfSegment[] = [];
  for (let n = 0; n < phnum; n++) {
    const at = Number(phoff) + n * PHDR_BYTES;
    const type = view.getUint32(at, true);
    if (type === PT_INTERP) fail('an ELF file that wants an interpreter: link it with -static');
    if (type !== PT_LOAD) continue;
    const flags = view.getUint32(at + 4, true);
    const [offset, address] = [view.getBigUint64(at + 8, true), view.getBigUint64(at + 16, true)];
    const [inFile, bytes] = [view.getBigUint64(at + 32, true), view.getBigUint64(at + 40, true)];
    if (offset + inFile > BigInt(file.length)) fail(`segment ${n} lies behind the end of the file`);
    if (inFile > bytes) fail(`segment ${n} has more bytes in the file than in memory`);
    if (bytes === 0n) continue;
    const end = address + bytes;
    const isCanonical = end <= CANONICAL_END || address >= (1n << 64n) - CANONICAL_END;
    if (end > 1n << 64n || !isCanonical) fail(`segment ${n} lies at addresses that are not canonical`);
    segments.push({
      address,
      contents: file.subarray(Number(offset), Number(offset + inFile)),
      bytes,
      isWritable: (flags & PF_W) !== 0,
      isExecutable: (flags & PF_X) !== 0,
    });
  }
  if (segments.length === 0) fail('an ELF file with nothing to load');
  const entry = view.getBigUint64(24, true);
  const isIn = segments.some((s) => s.isExecutable && entry >= s.address && entry < s.address + s.bytes);
  if (!isIn) fail(`the entry 0x${entry.toString(16)} lies in no executable segment`);
  return { entry, segments };
}
