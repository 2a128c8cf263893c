/** Kernels that are in use, against readelf: Debian's GRUB for Xen, and its Linux. Left out where they are not installed. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { type ElfImage, parseElf, readElf } from '../../src/loader/elf.js';
import { describeImage } from '../../src/loader/kernel-image.js';
import { unpackKernel } from '../../src/loader/unpack.js';
import { readXenNotes } from '../../src/loader/xen-notes.js';

const GRUB_64 = '/usr/lib/grub-xen/grub-x86_64-xen.bin';
const GRUB_32 = '/usr/lib/grub-xen/grub-i386-xen.bin';
const BOOT = '/boot';
/** `VMLINUZ` names one that is not installed. */
const LINUX =
  process.env.VMLINUZ ??
  (existsSync(BOOT) ? readdirSync(BOOT) : [])
    .filter((name) => /^vmlinuz-6\.1\..*-amd64$/.test(name))
    .map((name) => join(BOOT, name))
    .at(-1) ??
  '';

/** Segments to load, then notes by owner, size and contents where they are shown; undefined where there is no readelf. */
function byReadelf(file: Uint8Array): string[] | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'elf-'));
  const path = join(folder, 'file');
  writeFileSync(path, file);
  const run = (options: string): string =>
    execFileSync('readelf', [options, path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const loads = [...run('-lW').matchAll(/^ +LOAD +0x\w+ 0x(\w+) 0x(\w+) 0x(\w+) 0x(\w+) ([RWE ]{3})/gm)].map((m) => {
      const numbers = [1, 2, 3, 4].map((n) => BigInt(`0x${m[n]}`)).join(' ');
      return `LOAD ${numbers} ${m[5]!.replaceAll(' ', '').replace('R', '')}`;
    });
    const notes = [...run('-nW').matchAll(/^ {2}(\S+) +0x(\w{8})\t.*?(?:description data: ([\da-f ]+?))? *$/gm)].map(
      (m) => `${m[1]} ${Number(`0x${m[2]}`)} ${m[3] ?? ''}`,
    );
    return [...loads, ...notes];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** In the same words. What readelf shows in others has an owner other than Xen. */
function inItsWords(elf: ElfImage): string[] {
  const loads = elf.segments.map((s) => {
    const flags = `${s.isWritable ? 'W' : ''}${s.isExecutable ? 'E' : ''}`;
    return `LOAD ${s.address} ${s.physicalAddress} ${s.contents.length} ${s.bytes} ${flags}`;
  });
  const notes = elf.notes
    .filter(({ isCutOff }) => !isCutOff)
    .map(
      ({ owner, contents }) =>
        `${owner} ${contents.length} ${Buffer.from(contents)
          .toString('hex')
          .replaceAll(/..(?=.)/g, '$& ')}`,
    );
  return [...loads, ...notes];
}

const withoutOthers = (lines: readonly string[]): string[] =>
  lines.map((line) => (/^(LOAD|Xen) /.test(line) ? line : line.split(' ').slice(0, 2).join(' ')));

describe('kernels that are in use', () => {
  for (const path of [GRUB_64, GRUB_32, LINUX]) {
    it(`are read as readelf reads them: ${path.split('/').at(-1)}`, async function () {
      if (!existsSync(path)) this.skip();
      const file = await unpackKernel(readFileSync(path));
      const theirs = byReadelf(file);
      if (!theirs) this.skip();
      expect(theirs.length).to.be.greaterThan(6);
      expect(withoutOthers(inItsWords(parseElf(file)))).to.deep.equal(withoutOthers(theirs));
    });
  }

  it('GRUB lies at 0, begins there and wants nothing', function () {
    for (const [path, size] of [
      [GRUB_64, 64],
      [GRUB_32, 32],
    ] as const) {
      if (!existsSync(path)) this.skip();
      const elf = parseElf(readFileSync(path));
      const notes = readXenNotes(elf)!;
      expect(notes).to.include({ guestOs: 'GRUB', loader: 'generic', xenVersion: 'xen-3.0', entry: 0n, virtBase: 0n });
      // Its last note is cut off, behind the text.
      expect(notes.paeMode).to.equal(size === 32 ? 'extended-cr3' : 'no');
      expect(notes.features).to.deep.equal({ supported: 0, required: 0 });
      const { segments, ...image } = describeImage(elf, notes);
      expect(image).to.deep.include({
        class: size,
        paddrOffset: 0n,
        virtStart: 0n,
        entry: 0n,
        hypercallPage: undefined,
      });
      expect(segments).to.have.length(2);
      expect(image.virtEnd).to.equal(segments[1]!.address + segments[1]!.bytes);
    }
  });

  it('Linux says what it has always said', async function () {
    if (!existsSync(LINUX)) this.skip();
    const file = await unpackKernel(readFileSync(LINUX));
    // Its e_entry is a physical one.
    expect(() => readElf(file)).to.throw('lies in no executable segment');
    const elf = parseElf(file);
    const notes = readXenNotes(elf)!;
    expect(notes).to.deep.include({
      guestOs: 'linux',
      guestVersion: '2.6',
      loader: 'generic',
      xenVersion: 'xen-3.0',
      virtBase: 0xffff_ffff_8000_0000n,
      paddrOffset: 0n,
      initP2m: 0x80_0000_0000n,
      hvStartLow: 0xffff_8000_0000_0000n,
      features: { supported: 0x8811, required: 1 },
      paeMode: 'extended-cr3',
      l1MfnValid: [{ mask: 1n, value: 1n }],
      suspendCancel: true,
      modStartPfn: true,
      bsdSymtab: false,
    });
    const { virtStart, virtEnd, entry, segments } = describeImage(elf, notes);
    expect(virtStart).to.equal(0xffff_ffff_8100_0000n);
    expect(virtEnd % 4096n).to.equal(0n);
    expect(entry).to.equal(notes.entry);
    // That of the per-CPU variables, which has the address 0 in the file, too.
    expect(segments.map(({ address }) => address >= virtStart)).to.deep.equal([true, true, true, true]);
  });
});
