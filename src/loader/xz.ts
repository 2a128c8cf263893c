/**
 * .xz files, as the kernel's build makes them (the .xz file format, version 1.2.1). The decoder that there is as a package knows LZMA2 and
 * no other filter, and Linux's payload went through the one for x86 before. So the container is read here, what is LZMA2 goes to the
 * decoder in a container of its own, one without a filter and a check, and both are made up for afterwards.
 */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import xz from 'xz-decompress';
import { UnpackError } from './unpack-error.js';
import { undoX86Filter } from './x86-filter.js';

export const XZ_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] as const;
const FOOTER_MAGIC = [0x59, 0x5a] as const;
const STREAM_HEADER_BYTES = 12;
const SEVERAL_FILTERS = 3;
const HAS_PACKED_SIZE = 0x40;
const HAS_SIZE = 0x80;
const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;
const FILTERS: Readonly<Record<number, string>> = {
  3: 'delta',
  5: 'PowerPC',
  6: 'IA-64',
  7: 'ARM',
  8: 'ARM Thumb',
  9: 'SPARC',
  10: 'ARM64',
  11: 'RISC-V',
};
const MAX_DICTIONARY = 40;

interface Check {
  readonly bytes: number;
  /** In the order of its bytes in the file; left out where nothing can be checked. */
  readonly of?: (bytes: Uint8Array) => Uint8Array;
}

const CHECKS: Readonly<Record<number, Check>> = {
  0: { bytes: 0 },
  1: { bytes: 4, of: (bytes) => littleEndian(crc32(bytes)) },
  4: { bytes: 8, of: crc64 },
  10: { bytes: 32, of: (bytes) => createHash('sha256').update(bytes).digest() },
};

const littleEndian = (word: number): Uint8Array => Uint8Array.of(word, word >>> 8, word >>> 16, word >>> 24);
const isSame = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, n) => byte === b[n]);
const padded = (bytes: number): number => Math.ceil(bytes / 4) * 4;

function fail(what: string): never {
  throw new UnpackError(`a .xz stream ${what}`);
}

/** Low and high half of each entry. */
let crc64Table: Uint32Array | undefined;

/** CRC-64 of ECMA-182, reflected; in halves, for BigInt would be slower by an order. */
function crc64(bytes: Uint8Array): Uint8Array {
  if (!crc64Table) {
    crc64Table = new Uint32Array(512);
    for (let n = 0; n < 256; n++) {
      let [low, high] = [n, 0];
      for (let bit = 0; bit < 8; bit++) {
        const isOdd = low & 1;
        low = ((low >>> 1) | (high << 31)) ^ (isOdd ? 0xd787_0f42 : 0);
        high = (high >>> 1) ^ (isOdd ? 0xc96c_5795 : 0);
      }
      crc64Table[2 * n] = low;
      crc64Table[2 * n + 1] = high;
    }
  }
  const table = crc64Table;
  let [low, high] = [-1, -1];
  for (const byte of bytes) {
    const row = 2 * ((low ^ byte) & 0xff);
    low = ((low >>> 8) | (high << 24)) ^ table[row]!;
    high = (high >>> 8) ^ table[row + 1]!;
  }
  return Uint8Array.of(...littleEndian(~low), ...littleEndian(~high));
}

/** Reads what never leaves the file. */
class Cursor {
  readonly #file: Uint8Array;
  at: number;

  constructor(file: Uint8Array, at: number) {
    this.#file = file;
    this.at = at;
  }

  byte(): number {
    return this.take(1)[0]!;
  }

  take(bytes: number): Uint8Array {
    if (this.at + bytes > this.#file.length) fail('that is cut off');
    this.at += bytes;
    return this.#file.subarray(this.at - bytes, this.at);
  }

  /** 7 bits in a byte, the lowest ones first. */
  number(): number {
    for (let value = 0, scale = 1; scale < 2 ** 53; scale *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    return fail('with a number that is too large');
  }
}

interface Filters {
  readonly dictionary: number;
  /** Where the x86 filter begins to count, if there is one. */
  readonly x86Start: number | undefined;
}

function readBlockHeader(cursor: Cursor): Filters {
  const from = cursor.at;
  const bytes = (cursor.byte() + 1) * 4;
  cursor.at = from;
  const header = cursor.take(bytes);
  const fields = new Cursor(header.subarray(0, -4), 1);
  if (!isSame(littleEndian(crc32(header.subarray(0, -4))), header.subarray(-4))) fail('with a broken block header');
  const flags = fields.byte();
  if (flags & ~(SEVERAL_FILTERS | HAS_PACKED_SIZE | HAS_SIZE)) fail('with unknown flags');
  // LZMA2 says itself how long it is.
  if (flags & HAS_PACKED_SIZE) fields.number();
  if (flags & HAS_SIZE) fields.number();
  let x86Start: number | undefined;
  for (let left = flags & SEVERAL_FILTERS; ; left--) {
    const id = fields.number();
    const properties = fields.take(fields.number());
    if (id === FILTER_LZMA2 && left === 0) {
      const [dictionary] = properties;
      if (properties.length !== 1 || dictionary! > MAX_DICTIONARY) fail('with a dictionary of no known size');
      return { dictionary: dictionary!, x86Start };
    }
    if (id !== FILTER_X86 || left === 0 || x86Start !== undefined || properties.length % 4 !== 0) {
      fail(`with the ${FILTERS[id] ?? `0x${id.toString(16)}`} filter: not supported`);
    }
    x86Start = properties.length === 4 ? new DataView(properties.slice().buffer).getUint32(0, true) : 0;
  }
}

/** Chunk by chunk up to the end marker. @returns how much comes out of it */
function skipLzma2(cursor: Cursor): number {
  for (let unpacked = 0; ; ) {
    const control = cursor.byte();
    if (control === 0) return unpacked;
    if (control > 2 && control < 0x80) fail('with LZMA2 data that is none');
    const size = (cursor.byte() << 8) + cursor.byte() + 1;
    const isPlain = control < 0x80;
    unpacked += isPlain ? size : ((control & 0x1f) << 16) + size;
    const packed = isPlain ? size : (cursor.byte() << 8) + cursor.byte() + 1;
    // From 0xc0 on, new properties stand before the data.
    cursor.take(packed + (control >= 0xc0 ? 1 : 0));
  }
}

const encoded = (value: number): number[] =>
  value < 128 ? [value] : [(value % 128) | 0x80, ...encoded(Math.floor(value / 128))];
const checked = (bytes: readonly number[]): Uint8Array =>
  Uint8Array.of(...bytes, ...littleEndian(crc32(Uint8Array.from(bytes))));

/** A file of one block, without a check. */
function wrap(lzma2: Uint8Array, unpacked: number, dictionary: number): Blob {
  const header = checked([2, 0, FILTER_LZMA2, 1, dictionary, 0, 0, 0]);
  const records = [0, 1, ...encoded(header.length + lzma2.length), ...encoded(unpacked)];
  const index = checked([...records, ...new Uint8Array(padded(records.length) - records.length)]);
  const flags = [0, 0];
  const footer = [...littleEndian(index.length / 4 - 1), ...flags];
  return new Blob([
    Uint8Array.of(...XZ_MAGIC, ...checked(flags)),
    header,
    lzma2.slice(),
    new Uint8Array(padded(lzma2.length) - lzma2.length),
    index,
    littleEndian(crc32(Uint8Array.from(footer))).slice(),
    Uint8Array.of(...footer, ...FOOTER_MAGIC),
  ]);
}

/** 2 or 3 times a power of two. */
const dictionaryBytes = (code: number): number => (2 | (code & 1)) * 2 ** ((code >> 1) + 11);

async function decodeLzma2(lzma2: Uint8Array, unpacked: number, dictionary: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(unpacked);
  // No more of a dictionary than there is to remember.
  let enough = dictionary;
  while (enough > 0 && dictionaryBytes(enough - 1) >= unpacked) enough--;
  const reader = new xz.XzReadableStream(wrap(lzma2, unpacked, enough).stream()).getReader();
  let at = 0;
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      bytes.set(next.value, at);
      at += next.value.length;
    }
  } catch {
    fail('with LZMA2 data that is broken');
  }
  if (at !== unpacked) fail('that ends before its time');
  return bytes;
}

/**
 * The first stream in a file; what follows upon it is not looked at, as Linux puts a size there.
 * @param limit most that may come out of it, bytes
 * @throws UnpackError
 */
export async function unpackXz(file: Uint8Array, limit: number): Promise<Uint8Array> {
  const cursor = new Cursor(file, 0);
  const header = cursor.take(STREAM_HEADER_BYTES);
  const flags = header.subarray(6, 8);
  if (!isSame(littleEndian(crc32(flags)), header.subarray(8))) fail('with a broken header');
  const check = flags[0] === 0 ? CHECKS[flags[1]!] : undefined;
  if (!check) return fail('with an unknown check');
  const parts: Uint8Array[] = [];
  let total = 0;
  // A zero begins the index, which tells nothing more.
  for (let from = cursor.at; cursor.byte() !== 0; from = cursor.at) {
    cursor.at = from;
    const { dictionary, x86Start } = readBlockHeader(cursor);
    const dataAt = cursor.at;
    const unpacked = skipLzma2(cursor);
    total += unpacked;
    if (total > limit) fail(`of more than ${limit} bytes`);
    const part = await decodeLzma2(file.subarray(dataAt, cursor.at), unpacked, dictionary);
    if (x86Start !== undefined) undoX86Filter(part, x86Start);
    cursor.take(padded(cursor.at) - cursor.at);
    const theirs = cursor.take(check.bytes);
    if (check.of && !isSame(check.of(part), theirs)) fail('whose contents fail their check');
    parts.push(part);
  }
  return parts.length === 1 ? parts[0]! : new Uint8Array(Buffer.concat(parts));
}
