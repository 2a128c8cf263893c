/** Where a kernel lies when it begins. */
import { expect } from 'chai';
import fc from 'fast-check';
import { ElfError, parseElf } from '../../src/loader/elf.js';
import { describeImage, type KernelImage } from '../../src/loader/kernel-image.js';
import { readXenNotes, XenImageError } from '../../src/loader/xen-notes.js';
import * as ELFNOTE from '../../src/shared/public/elfnote.js';
import { elfImageOf, type ImageOptions, noteOf, SHT_PROGBITS } from '../support/elf.js';
import { cutWithin, damaged, outcomeOf } from '../support/wild-files.js';

const { XEN_ELFNOTE_ENTRY: ENTRY, XEN_ELFNOTE_HYPERCALL_PAGE: HYPERCALL_PAGE } = ELFNOTE;
const { XEN_ELFNOTE_VIRT_BASE: VIRT_BASE, XEN_ELFNOTE_PADDR_OFFSET: PADDR_OFFSET } = ELFNOTE;
const { XEN_ELFNOTE_INIT_P2M: INIT_P2M, XEN_ELFNOTE_HV_START_LOW: HV_START_LOW } = ELFNOTE;
const GENERIC = [noteOf(ELFNOTE.XEN_ELFNOTE_LOADER, 'generic'), noteOf(ELFNOTE.XEN_ELFNOTE_XEN_VERSION, 'xen-3.0')];
const BASE = 0xffff_ffff_8000_0000n;
/** As Linux's: one lies at 0 in the file, all are loaded by p_paddr. */
const SEGMENTS = [
  { address: BASE + 0x100_0000n, physical: 0x100_0000n, contents: [1], bytes: 0x2800n },
  { address: 0n, physical: 0x100_4000n, contents: [2], bytes: 0x1000n },
] as const;

const described = (bytes: Uint8Array): KernelImage => {
  const elf = parseElf(bytes);
  return describeImage(elf, readXenNotes(elf)!);
};
const fileOf = (
  notes: Readonly<Record<number, bigint>>,
  { segments = SEGMENTS, ...options }: Partial<ImageOptions> = {},
): Uint8Array =>
  elfImageOf({
    segments,
    notes: [...GENERIC, ...Object.entries(notes).map(([type, value]) => noteOf(Number(type), value))],
    ...options,
  });
const imageOf = (...args: Parameters<typeof fileOf>): KernelImage => described(fileOf(...args));
const LINUX = { [VIRT_BASE]: BASE, [PADDR_OFFSET]: 0n, [ENTRY]: BASE + 0x100_4010n } as const;

describe('the image of a kernel', () => {
  it('is loaded by p_paddr', () => {
    const { segments, ...image } = imageOf({ ...LINUX, [INIT_P2M]: 0x80_0000_0000n }, { entry: 0x100_0000n });
    expect(image).to.deep.equal({
      class: 64,
      virtBase: BASE,
      paddrOffset: 0n,
      virtStart: BASE + 0x100_0000n,
      virtEnd: BASE + 0x100_5000n,
      entry: BASE + 0x100_4010n,
      hypercallPage: undefined,
      initP2m: 0x80_0000_0000n,
    });
    expect(segments.map((s) => [s.address, s.bytes, ...s.contents])).to.deep.equal([
      [BASE + 0x100_0000n, 0x2800n, 1],
      [BASE + 0x100_4000n, 0x1000n, 2],
    ]);
  });

  it('begins at 0 where nothing else is said, and at its entry', () => {
    const { virtBase, virtStart, virtEnd, entry } = imageOf({}, { segments: [{ address: 0n, contents: [1, 2, 3] }] });
    expect([virtBase, virtStart, virtEnd, entry]).to.deep.equal([0n, 0n, 3n, 0n]);
  });

  it('has virtual addresses for p_paddr where there are no notes, but a string', () => {
    const text = 'LOADER=generic,XEN_VER=xen-3.0,VIRT_BASE=0xc0000000,HYPERCALL_PAGE=0x100';
    const file = elfImageOf({
      size: 32,
      entry: 0xc010_0000n,
      segments: [{ address: 0xc010_0000n, contents: [1] }],
      sections: [{ name: '__xen_guest', type: SHT_PROGBITS, contents: [...new TextEncoder().encode(text), 0] }],
    });
    const { virtStart, paddrOffset, hypercallPage } = described(file);
    expect([virtStart, paddrOffset, hypercallPage]).to.deep.equal([0xc010_0000n, 0xc000_0000n, 0xc010_0000n]);
  });

  it('may have its hypercall page in its last page, and begin with it', () => {
    const [first, last] = [BASE + 0x100_0000n, BASE + 0x100_4000n];
    for (const page of [first, last])
      expect(imageOf({ ...LINUX, [HYPERCALL_PAGE]: page }).hypercallPage).to.equal(page);
  });

  const one = (address: bigint, bytes = 0x1000n) => ({ segments: [{ address, bytes }], entry: address });
  for (const [what, notes, options, message] of [
    ['PADDR_OFFSET without VIRT_BASE', { [PADDR_OFFSET]: 0n }, {}, 'PADDR_OFFSET without VIRT_BASE'],
    ['VIRT_BASE within a page', { [VIRT_BASE]: 0x10n }, {}, 'VIRT_BASE 0x10 is no page'],
    ['VIRT_BASE that is not canonical', { [VIRT_BASE]: 1n << 50n }, {}, 'VIRT_BASE 0x4000000000000 is no page'],
    ['VIRT_BASE of the hypervisor', { [VIRT_BASE]: 0xffff_8000_0000_0000n }, {}, 'is no page of a guest'],
    ['HV_START_LOW too high', { ...LINUX, [HV_START_LOW]: 0xffff_8800_0000_0000n }, {}, 'HV_START_LOW 0xffff8800'],
    ['p_paddr below its offset', { ...LINUX, [PADDR_OFFSET]: 0x200_0000n }, {}, 'before VIRT_BASE'],
    ['the end of all addresses', { [VIRT_BASE]: BASE }, one(0x7fff_f000n, 0x2000n), 'where a guest has no addresses'],
    ['the hole', {}, one(0x7fff_ffff_f000n, 0x1000n), undefined],
    ['what reaches into no addresses', { [VIRT_BASE]: 0x7fff_ffff_f000n }, one(0n, 0x1001n), 'has no addresses'],
    ['an entry behind the image', { ...LINUX, [ENTRY]: BASE + 0x100_5000n }, {}, 'the entry 0xffffffff81005000'],
    ['an entry before the image', { ...LINUX, [ENTRY]: BASE }, {}, 'lies outside of the image'],
    ['a hypercall page within a page', { ...LINUX, [HYPERCALL_PAGE]: BASE + 0x100_0010n }, {}, 'is no page'],
    ['a hypercall page behind', { ...LINUX, [HYPERCALL_PAGE]: BASE + 0x100_5000n }, {}, 'outside of the image'],
    ['a hypercall page before', { ...LINUX, [HYPERCALL_PAGE]: BASE + 0xff_f000n }, {}, 'outside of the image'],
    ['a p2m within the image', { ...LINUX, [INIT_P2M]: BASE + 0x100_3000n }, {}, 'lies within the image'],
    ['a p2m of the hypervisor', { ...LINUX, [INIT_P2M]: 0xffff_8000_0000_0000n }, {}, 'INIT_P2M 0xffff8000'],
    [
      'segments loaded over each other',
      LINUX,
      { segments: [SEGMENTS[0], { ...SEGMENTS[1], physical: 0x100_2000n }] },
      'loaded at 0xffffffff81000000 and 0xffffffff81002000 overlap',
    ],
    ['a 32-bit one in the hole', {}, { size: 32, ...one(0xf57f_f000n, 0x2000n) }, 'where a guest has no addresses'],
  ] as const) {
    it(`${message === undefined ? 'may end at the edge of' : 'is refused:'} ${what}`, () => {
      const file = fileOf(notes, options);
      if (message === undefined) expect(described(file).virtEnd).to.equal(1n << 47n);
      else expect(() => described(file)).to.throw(XenImageError, message);
    });
  }

  it('lies where a guest has addresses, and within its bounds, whatever the bytes', async () => {
    const file = fileOf({ ...LINUX, [HYPERCALL_PAGE]: BASE + 0x100_0000n, [INIT_P2M]: 0x80_0000_0000n });
    await fc.assert(
      fc.asyncProperty(damaged(file), async (bytes) => {
        const elf = await outcomeOf(() => parseElf(bytes));
        if (elf.error) return void expect(elf.error).to.be.instanceOf(ElfError);
        const { value, error } = await outcomeOf(() => {
          const image = parseElf(bytes);
          const notes = readXenNotes(image);
          return notes && describeImage(image, notes);
        });
        if (error) return void expect(error).to.be.instanceOf(XenImageError);
        if (!value) return;
        const { segments, virtBase, virtStart, virtEnd, entry } = value as KernelImage;
        expect(virtStart >= virtBase && entry >= virtStart && entry < virtEnd).to.equal(true);
        for (const { address, bytes } of segments)
          expect(address >= virtStart && address + bytes <= virtEnd).to.equal(true);
      }),
      { numRuns: 2000 },
    );
  });

  it('says the same of a file that is cut off, whatever lies behind it', async () => {
    const file = fileOf(LINUX);
    for (let bytes = 0; bytes < file.length; bytes++) {
      const alone = await outcomeOf(() => described(file.slice(0, bytes)));
      const within = await outcomeOf(() => described(cutWithin(file, bytes)));
      expect(within.value, `${bytes} bytes`).to.deep.equal(alone.value);
      expect(String(within.error), `${bytes} bytes`).to.equal(String(alone.error));
    }
  });
});
