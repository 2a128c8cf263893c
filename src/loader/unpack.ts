/**
 * What a kernel's file is: the executable itself, one that is compressed, or a bzImage (Linux's x86 boot protocol), which has a compressed
 * one in it.
 */
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { UnpackError } from './unpack-error.js';
import { unpackXz, XZ_MAGIC } from './xz.js';

/** Most that may come out of a file, bytes. */
export const MAX_UNPACKED_BYTES = 512 * 2 ** 20;

/** Of the header of a bzImage. */
const SETUP_SECTORS = 0x1f1;
const BOOT_FLAG = 0x1fe;
const HEADER_MAGIC = 0x202;
const PROTOCOL = 0x206;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const HEADER_END = 0x250;
const SECTOR_BYTES = 512;
/** What 0 stands for. */
const DEFAULT_SETUP_SECTORS = 4;
/** The first that says where the payload is. */
const PROTOCOL_WITH_PAYLOAD = 0x208;
/** Behind the payload, and counted with it: how large it will be. gzip has that itself, the same way. */
const SIZE_BYTES = 4;

const FORMATS = [
  { name: 'ELF', magic: [0x7f, 0x45, 0x4c, 0x46], unpack: async (file: Uint8Array) => file },
  { name: 'gzip', magic: [0x1f, 0x8b], unpack: unpackGzip },
  { name: 'xz', magic: XZ_MAGIC, unpack: unpackXz },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68] },
  { name: 'lzma', magic: [0x5d, 0x00, 0x00] },
  { name: 'lzo', magic: [0x89, 0x4c, 0x5a] },
  { name: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18] },
  { name: 'lz4', magic: [0x04, 0x22, 0x4d, 0x18] },
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd] },
] as const;

async function unpackGzip(file: Uint8Array, limit: number): Promise<Uint8Array> {
  try {
    return new Uint8Array(await promisify(gunzip)(file, { maxOutputLength: limit }));
  } catch (error) {
    const isTooLarge = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    throw new UnpackError(
      isTooLarge
        ? `a gzip file of more than ${limit} bytes`
        : `a gzip file that is broken: ${(error as Error).message}`,
    );
  }
}

/** What is compressed in a bzImage; undefined where the file is none. */
function payloadOf(file: Uint8Array): Uint8Array | undefined {
  if (file.length < HEADER_END) return undefined;
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint16(BOOT_FLAG, true) !== 0xaa55 || view.getUint32(HEADER_MAGIC, false) !== 0x48647253)
    return undefined;
  const protocol = view.getUint16(PROTOCOL, true);
  if (protocol < PROTOCOL_WITH_PAYLOAD) {
    throw new UnpackError(`a bzImage of boot protocol ${protocol >> 8}.${protocol & 0xff}: its payload can't be found`);
  }
  const sectors = (file[SETUP_SECTORS] || DEFAULT_SETUP_SECTORS) + 1;
  const from = sectors * SECTOR_BYTES + view.getUint32(PAYLOAD_OFFSET, true);
  const bytes = view.getUint32(PAYLOAD_LENGTH, true);
  if (from + bytes > file.length) throw new UnpackError('a bzImage whose payload lies behind its end');
  if (bytes <= SIZE_BYTES) throw new UnpackError('a bzImage without payload');
  return file.subarray(from, from + bytes);
}

/**
 * The executable that is in a file.
 * @throws UnpackError when none is, or none that can be got out
 */
export async function unpackKernel(file: Uint8Array, limit = MAX_UNPACKED_BYTES): Promise<Uint8Array> {
  const payload = payloadOf(file);
  const packed = payload ?? file;
  const format = FORMATS.find(({ magic }) => magic.every((byte, n) => packed[n] === byte));
  if (!format) {
    throw new UnpackError(
      payload ? 'a bzImage with an unknown compression' : 'no ELF file, no bzImage, not compressed',
    );
  }
  if (!('unpack' in format)) throw new UnpackError(`compressed by ${format.name}: not supported`);
  const unpacked = await format.unpack(packed, limit);
  if (payload && format.name !== 'ELF') {
    const bytes = new DataView(payload.buffer, payload.byteOffset + payload.length - SIZE_BYTES).getUint32(0, true);
    if (bytes !== unpacked.length)
      throw new UnpackError(`${unpacked.length} bytes of kernel where ${bytes} are promised`);
  }
  if (!FORMATS[0].magic.every((byte, n) => unpacked[n] === byte)) throw new UnpackError('no ELF file within');
  return unpacked;
}
