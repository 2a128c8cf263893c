/** The ELF reader: against readelf, and against files that are none or broken. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { ElfError, parseElf, readElf } from '../../src/loader/elf.js';
import { elfImageOf, elfOf, noteOf, SHT_NOTE, SHT_PROGBITS } from '../support/elf.js';
import { cutWithin, damaged, outcomeOf } from '../support/wild-files.js';

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
    ['32 bits', elfImageOf({ size: 32, segments: [{ address: 0n, contents: CODE }] }), 'not a 64-bit'],
    ['x32', broken((v) => v.setUint8(4, 1)), 'an ELF file of 32 bits, but not for i386'],
    ['neither 32 nor 64 bits', broken((v) => v.setUint8(4, 3)), 'of neither 32 nor 64 bits'],
    ['the other byte order', broken((v) => v.setUint8(5, 2)), 'not a little-endian one'],
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
    ['segments that overlap', broken((v) => v.setBigUint64(64 + 56 + 16, 0x100001n, true), 9), 'and 0x100001 overlap'],
    ['nothing to load', broken((v) => v.setUint32(64, 4, true)), 'nothing to load'],
    ['an entry in no code', broken((v) => v.setBigUint64(24, 0x5000n, true)), 'the entry 0x5000'],
  ] as const) {
    it(`are refused: ${what}`, () => {
      expect(() => readElf(file)).to.throw(ElfError, message);
    });
  }

  for (const size of [32, 64] as const) {
    const segments = [
      { address: 0x40_0000n, physical: 0x20_0000n, contents: [1, 2, 3], bytes: 9n, flags: 5 },
      { address: 0x30_0000n, bytes: 0n },
      { address: 0x50_0000n, physical: 0x30_0000n, contents: [4], flags: 6 },
    ];
    const notes = [noteOf(6, 'linux'), noteOf(3, [1, 2, 3, 4, 5], 'GNU'), noteOf(9, [])];
    const sections = [
      { name: '__xen_guest', type: SHT_PROGBITS, contents: [5, 6] },
      { name: '.note.Xen', type: SHT_NOTE, contents: noteOf(8, 'generic') },
    ];
    const file = elfImageOf({ size, entry: 0x40_0001n, segments, notes, sections });

    it(`say all there is in them, of ${size} bits`, () => {
      const image = parseElf(file);
      expect(image.class).to.equal(size);
      expect(image.entry).to.equal(0x40_0001n);
      expect(image.segments.map((s) => [s.address, s.physicalAddress, s.bytes, ...s.contents])).to.deep.equal([
        [0x40_0000n, 0x20_0000n, 9n, 1, 2, 3],
        [0x50_0000n, 0x30_0000n, 1n, 4],
      ]);
      expect(image.segments.map((s) => [s.isWritable, s.isExecutable])).to.deep.equal([
        [false, true],
        [true, false],
      ]);
      expect(image.notes.map((n) => [n.owner, n.type, n.isCutOff, ...n.contents])).to.deep.equal([
        ['Xen', 6, false, ...new TextEncoder().encode('linux\0')],
        ['GNU', 3, false, 1, 2, 3, 4, 5],
        ['Xen', 9, false],
      ]);
      expect(image.sectionNotes.map((n) => n.type)).to.deep.equal([8]);
      expect(image.sections.map((s) => s.name)).to.deep.equal(['.shstrtab', '__xen_guest', '.note.Xen']);
      expect([...image.sections[1]!.contents]).to.deep.equal([5, 6]);
    });

    it(`say the same when they are cut off, whatever lies behind them, of ${size} bits`, async () => {
      for (let bytes = 0; bytes < file.length; bytes++) {
        const alone = await outcomeOf(() => parseElf(file.slice(0, bytes)));
        const within = await outcomeOf(() => parseElf(cutWithin(file, bytes)));
        expect(within.value, `${bytes} bytes`).to.deep.equal(alone.value);
        expect(String(within.error), `${bytes} bytes`).to.equal(String(alone.error));
        if (alone.error) expect(alone.error, `${bytes} bytes`).to.be.instanceOf(ElfError);
      }
    });

    it(`throw nothing but an ElfError, whatever the bytes, of ${size} bits`, async () => {
      await fc.assert(
        fc.asyncProperty(damaged(file), async (bytes) => {
          const { error } = await outcomeOf(() => parseElf(bytes));
          if (error !== undefined) expect(error).to.be.instanceOf(ElfError);
        }),
        { numRuns: 2000 },
      );
    });

    it(`are loaded without sections where those are broken, of ${size} bits`, () => {
      const broken = file.slice();
      new DataView(broken.buffer).setUint32(size === 64 ? 40 : 32, 0x7fff_ffff, true);
      const image = parseElf(broken);
      expect(image.sections).to.deep.equal([]);
      expect(image.notes).to.have.length(3);
    });
  }

  it('have notes that end where their segment does', () => {
    const last = noteOf(9, [0x79, 0x65, 0x73, 0]);
    // It says 12 bytes, and has 4.
    last[4] = 12;
    const segments = [{ address: 0n, contents: CODE }];
    const image = parseElf(elfImageOf({ segments, notes: [noteOf(3, 0n), last] }));
    expect(image.notes.map((n) => [n.type, n.contents.length, n.isCutOff])).to.deep.equal([
      [3, 8, false],
      [9, 4, true],
    ]);
    const name = noteOf(9, []);
    name[0] = 200;
    expect(parseElf(elfImageOf({ segments, notes: [noteOf(3, 0n), name] })).notes).to.have.length(1);
  });

  it('have no more notes than fit', () => {
    const notes = [new Array<number>(12 * 65_537).fill(0)];
    const file = elfImageOf({ segments: [{ address: 0n, contents: CODE }], notes });
    expect(() => parseElf(file)).to.throw(ElfError, 'more than 65536 notes');
  });

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
