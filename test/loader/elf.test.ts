/** The ELF reader: against readelf, and against files that are none or broken. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { ElfError, readElf } from '../../src/loader/elf.js';
import { elfOf } from '../support/elf.js';

const CODE = [0x0f, 0x0b];

/** What `readelf -lW` says of the segments to load: address, bytes in the file and in memory, flags. */
function byReadelf(file: Uint8Array): string[] | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'elf-'));
  const path = join(folder, 'file');
  writeFileSync(path, file);
  try {
    const text = execFileSync('readelf', ['-lW', path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return [...text.matchAll(/^ +LOAD +0x\w+ 0x(\w+) 0x\w+ 0x(\w+) 0x(\w+) ([RWE ]{3})/gm)].map((m) =>
      [BigInt(`0x${m[1]}`), BigInt(`0x${m[2]}`), BigInt(`0x${m[3]}`), m[4]!.trim()].join(' '),
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('ELF files', () => {
  it('are read as readelf reads them', function () {
    for (const options of [{}, { bss: 12_345 }, { address: 0xffff_ffff_8100_0000n, bss: 1 }]) {
      const file = elfOf(CODE, options);
      const theirs = byReadelf(file);
      if (theirs === undefined) this.skip();
      const ours = readElf(file).segments.map((s) =>
        [s.address, s.contents.length, s.bytes, `R${s.isWritable ? 'W' : s.isExecutable ? ' E' : ''}`].join(' '),
      );
      expect(ours).to.deep.equal(theirs);
    }
  });

  const broken = (change: (view: DataView) => void, bss = 0): Uint8Array => {
    const file = elfOf(CODE, { bss });
    change(new DataView(file.buffer));
    return file;
  };
  for (const [what, file, message] of [
    ['text', new TextEncoder().encode('#!/bin/sh\n'), 'not an ELF file'],
    ['nothing', new Uint8Array(0), 'not an ELF file'],
    ['a header that is cut off', elfOf(CODE).slice(0, 40), 'ends in its header'],
    ['32 bits', broken((v) => v.setUint8(4, 1)), 'not a 64-bit'],
    ['another machine', broken((v) => v.setUint16(18, 183, true)), 'not for x86-64'],
    ['a shared object', broken((v) => v.setUint16(16, 3, true)), 'not a static executable'],
    ['no program headers', broken((v) => v.setUint16(56, 0, true)), 'without program headers'],
    ['odd program headers', broken((v) => v.setUint16(54, 32, true)), 'program headers of 32 bytes'],
    [
      'program headers behind the end',
      broken((v) => v.setBigUint64(32, 1n << 40n, true)),
      'ends in its program headers',
    ],
    ['an interpreter', broken((v) => v.setUint32(64, 3, true)), 'wants an interpreter'],
    ['a segment behind the end', broken((v) => v.setBigUint64(72, 1n << 40n, true)), 'behind the end of the file'],
    ['more in the file than in memory', broken((v) => v.setBigUint64(104, 1n, true)), 'more bytes in the file'],
    ['addresses that are not canonical', broken((v) => v.setBigUint64(80, 1n << 50n, true)), 'not canonical'],
    ['nothing to load', broken((v) => v.setUint32(64, 4, true)), 'nothing to load'],
    ['an entry in no code', broken((v) => v.setBigUint64(24, 0x5000n, true)), 'the entry 0x5000'],
  ] as const) {
    it(`are refused: ${what}`, () => {
      expect(() => readElf(file)).to.throw(ElfError, message);
    });
  }

  it('throw nothing but an ElfError, whatever the bytes', () => {
    const good = elfOf(CODE, { bss: 100 });
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { minLength: 1, maxLength: 6 }), (changes) => {
        const file = good.slice();
        for (const [at, byte] of changes) file[at] = byte;
        try {
          readElf(file);
        } catch (error) {
          expect(error).to.be.instanceOf(ElfError);
        }
      }),
    );
  });
});
