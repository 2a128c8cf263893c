/** Small static executables for x86-64, made by hand. */

export interface ElfOptions {
  /** Where code lies and begins. @default 0x100000 */
  readonly address?: bigint;
  /** Bytes of zeroes that can be written, at the next page but one. @default none */
  readonly bss?: number;
}

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
