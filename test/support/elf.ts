/** Small static executables for x86-64, made by hand. */

export interface ElfOptions {
  /** Where code lies and begins. @default 0x100000 */
  readonly address?: bigint;
  /** Bytes of zeroes that can be written, at the next page but one. @default none */
  readonly bss?: number;
}

/** Code that blocks, for ever: mov $29, %eax; mov $1, %edi; syscall; jmp to the first. */
export const BLOCKS: readonly number[] = [0xb8, 29, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0x0f, 5, 0xeb, 0xf2];

const EHDR = 64;
const PHDR = 56;

/** An executable of two segments at most: code, and memory. */
export function elfOf(code: readonly number[], { address = 0x100000n, bss = 0 }: ElfOptions = {}): Uint8Array {
  const headers = bss > 0 ? 2 : 1;
  const offset = 4096;
  const file = new Uint8Array(offset + code.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, address, true);
  view.setBigUint64(32, BigInt(EHDR), true);
  view.setUint16(52, EHDR, true);
  view.setUint16(54, PHDR, true);
  view.setUint16(56, headers, true);
  const header = (n: number, flags: number, from: number, at: bigint, inFile: number, bytes: number): void => {
    const h = EHDR + n * PHDR;
    view.setUint32(h, 1, true);
    view.setUint32(h + 4, flags, true);
    view.setBigUint64(h + 8, BigInt(from), true);
    view.setBigUint64(h + 16, at, true);
    view.setBigUint64(h + 24, at, true);
    view.setBigUint64(h + 32, BigInt(inFile), true);
    view.setBigUint64(h + 40, BigInt(bytes), true);
    view.setBigUint64(h + 48, 4096n, true);
  };
  header(0, 5, offset, address, code.length, code.length);
  const pages = BigInt(Math.ceil(code.length / 4096) + 1);
  if (bss > 0) header(1, 6, offset, address + 4096n * pages, 0, bss);
  file.set(code, offset);
  return file;
}

export interface SegmentOptions {
  readonly address: bigint;
  /** p_paddr. @default address */
  readonly physical?: bigint;
  readonly contents?: readonly number[];
  /** In memory. @default as many as there are contents */
  readonly bytes?: bigint;
  /** 4 R, 2 W, 1 X. @default 7 */
  readonly flags?: number;
}

export interface ImageOptions {
  /** @default 64 */
  readonly size?: 32 | 64;
  /** @default 0 */
  readonly entry?: bigint;
  readonly segments: readonly SegmentOptions[];
  /** Those of a note segment. */
  readonly notes?: readonly (readonly number[])[];
  readonly sections?: readonly { readonly name: string; readonly type: number; readonly contents: readonly number[] }[];
}

export const SHT_PROGBITS = 1;
export const SHT_NOTE = 7;
const [PT_LOAD, PT_NOTE, SHT_STRTAB] = [1, 4, 3];

/** A number in so many bytes, the lowest one first. */
export const littleEndian = (value: bigint, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, n) => Number((value >> BigInt(8 * n)) & 0xffn));
const textBytes = (text: string): number[] => [...new TextEncoder().encode(text), 0];
const aligned = (bytes: readonly number[]): number[] => [
  ...bytes,
  ...new Array<number>((4 - (bytes.length % 4)) % 4).fill(0),
];

/** A note: of a text, of a word of 64 bits, or of bytes. */
export function noteOf(type: number, contents: string | bigint | readonly number[], owner = 'Xen'): number[] {
  const bytes =
    typeof contents === 'string'
      ? textBytes(contents)
      : typeof contents === 'bigint'
        ? littleEndian(contents, 8)
        : contents;
  const name = textBytes(owner);
  const words = [BigInt(name.length), BigInt(bytes.length), BigInt(type)].flatMap((word) => littleEndian(word, 4));
  return [...words, ...aligned(name), ...aligned(bytes)];
}

/** An executable of whatever there can be in one. */
export function elfImageOf({ size = 64, entry = 0n, segments, notes, sections = [] }: ImageOptions): Uint8Array {
  const word = (value: bigint): number[] => littleEndian(value, size / 8);
  const half = (value: number): number[] => littleEndian(BigInt(value), 2);
  const int = (value: number): number[] => littleEndian(BigInt(value), 4);
  const sizes = size === 64 ? { ehdr: 64, phdr: 56, shdr: 64 } : { ehdr: 52, phdr: 32, shdr: 40 };
  const phnum = segments.length + (notes ? 1 : 0);
  let body: number[] = [];
  const bodyAt = sizes.ehdr + phnum * sizes.phdr;
  const place = (bytes: readonly number[]): bigint => {
    const at = BigInt(bodyAt + body.length);
    body = body.concat(aligned(bytes));
    return at;
  };
  const phdr = (type: number, s: SegmentOptions): number[] => {
    const { address, physical = address, contents = [], bytes = BigInt(contents.length), flags = 7 } = s;
    const places = [place(contents), address, physical, BigInt(contents.length), bytes].flatMap(word);
    return size === 64
      ? [...int(type), ...int(flags), ...places, ...word(4n)]
      : [...int(type), ...places, ...int(flags), ...word(4n)];
  };
  const phdrs = segments.flatMap((segment) => phdr(PT_LOAD, segment));
  // As GRUB's: in the file only.
  if (notes) phdrs.push(...phdr(PT_NOTE, { address: 0n, contents: notes.flat(), bytes: 0n, flags: 4 }));
  const table = [{ name: '.shstrtab', type: SHT_STRTAB, contents: [] as readonly number[] }, ...sections];
  const names = [0, ...table.flatMap(({ name }) => textBytes(name))];
  let nameAt = 1;
  const shdrs = new Array<number>(sizes.shdr).fill(0);
  for (const [n, { name, type, contents }] of table.entries()) {
    const bytes = n === 0 ? names : contents;
    const places = [0n, 0n, place(bytes), BigInt(bytes.length)].flatMap(word);
    shdrs.push(...int(nameAt), ...int(type), ...places, ...int(0), ...int(0), ...word(4n), ...word(0n));
    nameAt += name.length + 1;
  }
  const isWithSections = sections.length > 0;
  const shoff = isWithSections ? place(shdrs) : 0n;
  return Uint8Array.from([
    ...[0x7f, 0x45, 0x4c, 0x46, size === 64 ? 2 : 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ...half(2),
    ...half(size === 64 ? 62 : 3),
    ...int(1),
    ...[entry, BigInt(sizes.ehdr), shoff].flatMap(word),
    ...int(0),
    ...[
      sizes.ehdr,
      sizes.phdr,
      phnum,
      sizes.shdr,
      isWithSections ? table.length + 1 : 0,
      isWithSections ? 1 : 0,
    ].flatMap(half),
    ...phdrs,
    ...body,
  ]);
}

/** A bzImage around what is compressed already, and the size behind it, of which gzip has no second one. */
export function bzImageOf(packed: Uint8Array, unpackedBytes?: number): Uint8Array {
  const payload = [...packed, ...(unpackedBytes === undefined ? [] : littleEndian(BigInt(unpackedBytes), 4))];
  const [sectors, offset] = [2, 7];
  const from = (sectors + 1) * 512 + offset;
  const file = new Uint8Array(from + payload.length + 9);
  const view = new DataView(file.buffer);
  view.setUint8(0x1f1, sectors);
  view.setUint16(0x1fe, 0xaa55, true);
  file.set(new TextEncoder().encode('HdrS'), 0x202);
  view.setUint16(0x206, 0x20f, true);
  view.setUint32(0x248, offset, true);
  view.setUint32(0x24c, payload.length, true);
  file.set(payload, from);
  return file;
}
