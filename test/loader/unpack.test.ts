/** What is got out of a kernel's file: against the tools that put it in, and of files that are broken. */
import { spawnSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import fc from 'fast-check';
import { unpackKernel } from '../../src/loader/unpack.js';
import { UnpackError } from '../../src/loader/unpack-error.js';
import { unpackXz } from '../../src/loader/xz.js';
import { bzImageOf } from '../support/elf.js';
import { cutWithin, damaged, outcomeOf } from '../support/wild-files.js';

/** Begins as an ELF file, and calls one place from everywhere: food for the x86 filter. */
const KERNEL = (() => {
  const bytes = Buffer.alloc(600);
  bytes.set([0x7f, 0x45, 0x4c, 0x46]);
  for (let at = 16; at < 580; at += 9) {
    bytes[at] = at % 2 ? 0xe8 : 0xe9;
    bytes.writeInt32LE(3000 - (at + 5), at + 1);
    bytes[at + 5] = 0x90;
  }
  return new Uint8Array(bytes);
})();
/** By `xz --check=crc32 --x86 --lzma2=dict=1MiB`, as the kernel's build calls it. */
const PACKED = new Uint8Array(
  Buffer.from(
    '/Td6WFoAAAFpIt42AgEEACEBEACLIW9J4AJXABtdAD+RRYRoMyo6Mk8/O7iZ8FDU5z3IdaoH0P2iAAAAqd8LcAABM9gEAAAAEQJcdz4wDYsCAAAAAAFZWg==',
    'base64',
  ),
);

/** Undefined where there is no such tool, or where it does not know an option. */
function packedBy(tool: string, options: readonly string[], input: Uint8Array): Uint8Array | undefined {
  const { status, stdout } = spawnSync(tool, ['-c', ...options], { input, maxBuffer: 2 ** 26 });
  return status === 0 ? new Uint8Array(stdout) : undefined;
}

async function problemOf(file: Uint8Array, limit?: number): Promise<string> {
  const { error } = await outcomeOf(() => unpackKernel(file, limit));
  expect(error).to.be.instanceOf(UnpackError);
  return (error as Error).message;
}

describe('a kernel as a file', () => {
  it('is the executable itself', async () => {
    expect(await unpackKernel(KERNEL)).to.equal(KERNEL);
  });

  for (const [what, file] of [
    ['by gzip', gzipSync(KERNEL)],
    ['by xz', PACKED],
    ['by gzip in a bzImage', bzImageOf(gzipSync(KERNEL))],
    ['by xz in a bzImage', bzImageOf(PACKED, KERNEL.length)],
    ['not at all in a bzImage', bzImageOf(KERNEL)],
  ] as const) {
    it(`may be compressed ${what}`, async () => {
      expect(await unpackKernel(file)).to.deep.equal(KERNEL);
    });
  }

  it('may have four sectors of setup, which 0 stands for', async () => {
    const packed = gzipSync(KERNEL);
    const image = bzImageOf(packed);
    const moved = new Uint8Array(image.length + 1024);
    moved.set(image.subarray(0, 1536));
    moved.set(image.subarray(1536), 2560);
    moved[0x1f1] = 0;
    expect(await unpackKernel(moved)).to.deep.equal(KERNEL);
  });

  for (const [what, file, message] of [
    ['nothing', new Uint8Array(0), 'no ELF file, no bzImage, not compressed'],
    ['text', new TextEncoder().encode('#!/bin/sh\n'), 'no ELF file, no bzImage, not compressed'],
    ['bzip2', Uint8Array.of(0x42, 0x5a, 0x68, 0x39), 'compressed by bzip2: not supported'],
    ['lzma', Uint8Array.of(0x5d, 0, 0, 0x80, 0), 'compressed by lzma: not supported'],
    ['lzo', Uint8Array.of(0x89, 0x4c, 0x5a, 0x4f), 'compressed by lzo: not supported'],
    ['lz4', Uint8Array.of(0x02, 0x21, 0x4c, 0x18), 'compressed by lz4: not supported'],
    ['zstd in a bzImage', bzImageOf(Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd), 9), 'compressed by zstd: not supported'],
    ['a bzImage of what nobody knows', bzImageOf(new Uint8Array(40)), 'a bzImage with an unknown compression'],
    ['a bzImage of nothing', bzImageOf(new Uint8Array(0), 0), 'a bzImage without payload'],
    ['a bzImage that is cut off', bzImageOf(PACKED, 600).subarray(0, 1600), 'payload lies behind its end'],
    ['a bzImage that promises more', bzImageOf(PACKED, 601), '600 bytes of kernel where 601 are promised'],
    ['text, compressed', gzipSync('hello'), 'no ELF file within'],
    ['a gzip file that is cut off', gzipSync(KERNEL).subarray(0, 30), 'a gzip file that is broken'],
    ['a .xz file that is cut off', PACKED.subarray(0, 50), 'that is cut off'],
  ] as const) {
    it(`is refused: ${what}`, async () => {
      expect(await problemOf(file)).to.include(message);
    });
  }

  it('is refused: a bzImage of a boot protocol without payload', async () => {
    const image = bzImageOf(PACKED, 600);
    image[0x206] = 7;
    expect(await problemOf(image)).to.include('boot protocol 2.7');
  });

  it('is refused where more comes out of it than may', async () => {
    expect(await problemOf(gzipSync(new Uint8Array(1 << 20)), 1000)).to.equal('a gzip file of more than 1000 bytes');
    expect(await problemOf(PACKED, 599)).to.include('of more than 599 bytes');
    expect(await unpackKernel(PACKED, 600)).to.have.length(600);
  });

  it('says the same of a file that is cut off, whatever lies behind it', async () => {
    for (const file of [PACKED, new Uint8Array(gzipSync(KERNEL)), bzImageOf(PACKED, 600)]) {
      for (let bytes = 0; bytes < file.length; bytes += file.length > 1000 && bytes < 1400 ? 50 : 1) {
        const alone = await outcomeOf(() => unpackKernel(file.slice(0, bytes)));
        const within = await outcomeOf(() => unpackKernel(cutWithin(file, bytes)));
        expect(within.value, `${bytes} bytes`).to.deep.equal(alone.value);
        expect(String(within.error), `${bytes} bytes`).to.equal(String(alone.error));
        if (alone.error) expect(alone.error, `${bytes} bytes`).to.be.instanceOf(UnpackError);
      }
    }
  });

  it('throws nothing but an UnpackError, whatever the bytes, and reads a good file after that', async () => {
    for (const file of [PACKED, new Uint8Array(gzipSync(KERNEL)), bzImageOf(PACKED, 600)]) {
      await fc.assert(
        fc.asyncProperty(damaged(file), async (bytes) => {
          const { error } = await outcomeOf(() => unpackKernel(bytes, 1 << 20));
          if (error !== undefined) expect(error).to.be.instanceOf(UnpackError);
        }),
        { numRuns: 300 },
      );
    }
    expect(await unpackKernel(PACKED)).to.deep.equal(KERNEL);
  });
});

describe('.xz files', () => {
  const text = new TextEncoder().encode(
    'Now is the time for all good men to come to the aid of the party. '.repeat(4000),
  );
  for (const options of [
    ['--check=none'],
    ['--check=crc32'],
    ['--check=crc64'],
    ['--check=sha256'],
    ['-9'],
    ['-0', '--block-size=50000'],
    ['--x86', '--lzma2'],
    ['--x86=start=4096', '--lzma2'],
    ['--lzma2=lc=0,lp=2,pb=1,dict=4KiB'],
  ]) {
    it(`are unpacked as ${options.join(' ')} packed them`, async function () {
      const random = Uint8Array.from(text, (byte, n) => (n * byte * 2654435761) >>> 13);
      for (const bytes of [text, random, KERNEL, Uint8Array.of(1), new Uint8Array(0)]) {
        const file = packedBy('xz', options, bytes);
        if (!file) this.skip();
        expect(Buffer.compare(await unpackXz(file, 1 << 24), bytes), `${bytes.length} bytes`).to.equal(0);
      }
    });
  }

  for (const [options, name] of [
    [['--delta', '--lzma2'], 'delta'],
    [['--arm', '--lzma2'], 'ARM'],
    [['--x86', '--delta', '--lzma2'], 'delta'],
  ] as const) {
    it(`are refused by name with the filters ${options.join(' ')}`, async function () {
      const file = packedBy('xz', options, text);
      if (!file) this.skip();
      const { error } = await outcomeOf(() => unpackXz(file, 1 << 24));
      expect(String(error)).to.include(`with the ${name} filter: not supported`);
    });
  }

  it('are checked: no changed byte changes what comes out', async function () {
    for (const check of ['crc32', 'crc64', 'sha256']) {
      const file = packedBy('xz', [`--check=${check}`], KERNEL);
      if (!file) this.skip();
      const index = file.length - 12 - 4 - 4;
      for (let at = 12; at < index; at++) {
        const bytes = file.slice();
        bytes[at]! ^= 0x10;
        const { value, error } = await outcomeOf(() => unpackXz(bytes, 1 << 20));
        // The decoder does not look at the first byte of LZMA data, which is always 0.
        if (value) expect(value, `${check}, byte ${at}`).to.deep.equal(KERNEL);
        else expect(error, `${check}, byte ${at}`).to.be.instanceOf(UnpackError);
      }
    }
  });

  it('have the x86 filter undone as the tool does it, of wild bytes', async function () {
    const byte = fc.oneof(fc.constantFrom(0xe8, 0xe9, 0, 0xff, 0xfe, 1), fc.nat(255));
    if (!packedBy('xz', ['--x86', '--lzma2'], KERNEL)) this.skip();
    await fc.assert(
      fc.asyncProperty(fc.array(byte, { minLength: 2000, maxLength: 4000 }), async (wild) => {
        const bytes = Uint8Array.from(wild);
        const file = packedBy('xz', ['--check=none', '--x86', '--lzma2=preset=0'], bytes);
        expect(Buffer.compare(await unpackXz(file!, 1 << 20), bytes)).to.equal(0);
      }),
      { numRuns: 40 },
    );
  });
});
