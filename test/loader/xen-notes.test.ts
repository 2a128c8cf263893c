/** What kernels tell Xen, by notes and by the string that was before them. */
import { expect } from 'chai';
import { parseElf } from '../../src/loader/elf.js';
import { readXenNotes, XenImageError, type XenNotes } from '../../src/loader/xen-notes.js';
import * as ELFNOTE from '../../src/shared/public/elfnote.js';
import { elfImageOf, littleEndian, noteOf, SHT_NOTE, SHT_PROGBITS } from '../support/elf.js';

const SEGMENTS = [{ address: 0x10_0000n, contents: [0x0f, 0x0b] }];
const GENERIC = [
  noteOf(ELFNOTE.XEN_ELFNOTE_LOADER, 'generic'),
  noteOf(ELFNOTE.XEN_ELFNOTE_XEN_VERSION, 'xen-3.0'),
] as const;

const notesOf = (...notes: readonly (readonly number[])[]): XenNotes =>
  readXenNotes(parseElf(elfImageOf({ segments: SEGMENTS, notes: [...GENERIC, ...notes] })))!;
const legacyOf = (text: string): XenNotes => {
  const contents = [...new TextEncoder().encode(text), 0, 0x2c];
  const sections = [{ name: '__xen_guest', type: SHT_PROGBITS, contents }];
  return readXenNotes(parseElf(elfImageOf({ segments: SEGMENTS, sections })))!;
};

const NOTHING: XenNotes = {
  isLegacy: false,
  entry: undefined,
  hypercallPage: undefined,
  virtBase: undefined,
  paddrOffset: undefined,
  initP2m: undefined,
  hvStartLow: undefined,
  phys32Entry: undefined,
  features: { supported: 0, required: 0 },
  paeMode: 'no',
  l1MfnValid: [],
  suspendCancel: false,
  modStartPfn: false,
  bsdSymtab: false,
  guestOs: '',
  guestVersion: '',
  loader: 'generic',
  xenVersion: 'xen-3.0',
};

describe("a kernel's notes for Xen", () => {
  it('are none where it has none', () => {
    expect(readXenNotes(parseElf(elfImageOf({ segments: SEGMENTS })))).to.equal(undefined);
    const notes = [noteOf(ELFNOTE.XEN_ELFNOTE_LOADER, 'generic', 'GNU')];
    expect(readXenNotes(parseElf(elfImageOf({ segments: SEGMENTS, notes })))).to.equal(undefined);
  });

  it('leave open what they do not say', () => {
    expect(notesOf()).to.deep.equal(NOTHING);
  });

  it('are read each as what it is', () => {
    const notes = notesOf(
      noteOf(ELFNOTE.XEN_ELFNOTE_INFO, 'whatever'),
      noteOf(ELFNOTE.XEN_ELFNOTE_ENTRY, 0xffff_ffff_8100_0000n),
      noteOf(ELFNOTE.XEN_ELFNOTE_HYPERCALL_PAGE, 0xffff_ffff_8100_1000n),
      noteOf(ELFNOTE.XEN_ELFNOTE_VIRT_BASE, 0xffff_ffff_8000_0000n),
      noteOf(ELFNOTE.XEN_ELFNOTE_PADDR_OFFSET, littleEndian(7n, 4)),
      noteOf(ELFNOTE.XEN_ELFNOTE_GUEST_OS, 'linux'),
      noteOf(ELFNOTE.XEN_ELFNOTE_GUEST_VERSION, '2.6'),
      noteOf(ELFNOTE.XEN_ELFNOTE_PAE_MODE, 'yes'),
      // Without a zero at its end: so it is in Linux.
      noteOf(ELFNOTE.XEN_ELFNOTE_FEATURES, [
        ...new TextEncoder().encode('!writable_page_tables|nonsense|pae_pgdir_above_4gb'),
      ]),
      noteOf(ELFNOTE.XEN_ELFNOTE_BSD_SYMTAB, 'yes'),
      noteOf(ELFNOTE.XEN_ELFNOTE_HV_START_LOW, 0xffff_8000_0000_0000n),
      noteOf(ELFNOTE.XEN_ELFNOTE_L1_MFN_VALID, [...littleEndian(1n, 8), ...littleEndian(1n, 8)]),
      noteOf(ELFNOTE.XEN_ELFNOTE_SUSPEND_CANCEL, littleEndian(1n, 4)),
      noteOf(ELFNOTE.XEN_ELFNOTE_INIT_P2M, 0x80_0000_0000n),
      noteOf(ELFNOTE.XEN_ELFNOTE_MOD_START_PFN, [1]),
      noteOf(ELFNOTE.XEN_ELFNOTE_SUPPORTED_FEATURES, littleEndian(0x8801n, 4)),
      noteOf(ELFNOTE.XEN_ELFNOTE_PHYS32_ENTRY, littleEndian(0x123n, 2)),
      noteOf(99, 'of the future'),
    );
    expect(notes).to.deep.equal({
      isLegacy: false,
      entry: 0xffff_ffff_8100_0000n,
      hypercallPage: 0xffff_ffff_8100_1000n,
      virtBase: 0xffff_ffff_8000_0000n,
      paddrOffset: 7n,
      initP2m: 0x80_0000_0000n,
      hvStartLow: 0xffff_8000_0000_0000n,
      phys32Entry: 0x123n,
      features: { supported: 0x8811, required: 1 },
      paeMode: 'extended-cr3',
      l1MfnValid: [{ mask: 1n, value: 1n }],
      suspendCancel: true,
      modStartPfn: true,
      bsdSymtab: true,
      guestOs: 'linux',
      guestVersion: '2.6',
      loader: 'generic',
      xenVersion: 'xen-3.0',
    });
  });

  it('have no type that is not read, but for INFO', () => {
    const all = Object.entries(ELFNOTE).filter(([, type]) => type !== ELFNOTE.XEN_ELFNOTE_INFO);
    expect(all).to.have.length(18);
    for (const [name, type] of all) {
      const long = noteOf(type, [...new TextEncoder().encode('text')]);
      long[4] = 40;
      const message = `the note ${name.replace('XEN_ELFNOTE_', '')} is cut off`;
      expect(() => notesOf(long), name).to.throw(XenImageError, message);
    }
  });

  it('are those of note sections where no segment has any, and never both', () => {
    const sections = [{ name: '.xen', type: SHT_NOTE, contents: [...GENERIC.flat(), ...noteOf(3, 0x1000n)] }];
    expect(readXenNotes(parseElf(elfImageOf({ segments: SEGMENTS, sections })))?.virtBase).to.equal(0x1000n);
    const image = parseElf(elfImageOf({ segments: SEGMENTS, sections, notes: GENERIC }));
    expect(readXenNotes(image)?.virtBase).to.equal(undefined);
  });

  it('say which page tables there may be', () => {
    for (const [text, mode] of [
      ['yes', 'extended-cr3'],
      ['no', 'no'],
      ['bimodal', 'bimodal'],
      ['yes,bimodal', 'bimodal'],
      ['yes[extended-cr3]', 'extended-cr3'],
    ] as const) {
      expect(notesOf(noteOf(ELFNOTE.XEN_ELFNOTE_PAE_MODE, text)).paeMode, text).to.equal(mode);
    }
  });

  it('may be cut off behind a text', () => {
    const note = noteOf(ELFNOTE.XEN_ELFNOTE_PAE_MODE, 'yes');
    note[4] = 12;
    expect(notesOf(note).paeMode).to.equal('extended-cr3');
  });

  for (const [what, notes, message] of [
    ['a number of three bytes', [noteOf(ELFNOTE.XEN_ELFNOTE_ENTRY, [1, 2, 3])], 'the note ENTRY has 3 bytes'],
    ['a number of none', [noteOf(ELFNOTE.XEN_ELFNOTE_VIRT_BASE, [])], 'the note VIRT_BASE has 0 bytes'],
    ['half a pair', [noteOf(ELFNOTE.XEN_ELFNOTE_L1_MFN_VALID, littleEndian(1n, 12))], 'L1_MFN_VALID has 12 bytes'],
    [
      'a feature that nobody has',
      [noteOf(ELFNOTE.XEN_ELFNOTE_FEATURES, 'dom0|!perpetual_motion')],
      'requires the feature "perpetual_motion"',
    ],
    ['another Xen', [noteOf(ELFNOTE.XEN_ELFNOTE_XEN_VERSION, 'xen-4.0')], 'XEN_VERSION "xen-4.0": not "xen-3.0"'],
    ['another loader', [noteOf(ELFNOTE.XEN_ELFNOTE_LOADER, 'special')], 'LOADER "special", GUEST_OS ""'],
  ] as const) {
    it(`are refused: ${what}`, () => {
      expect(() => notesOf(...notes)).to.throw(XenImageError, message);
    });
  }

  it('are refused: those of a PVH kernel', () => {
    const notes = [noteOf(ELFNOTE.XEN_ELFNOTE_PHYS32_ENTRY, littleEndian(0x10_0000n, 4))];
    const image = parseElf(elfImageOf({ segments: SEGMENTS, notes }));
    expect(() => readXenNotes(image)).to.throw(XenImageError, 'a PVH kernel');
  });

  it('do without a loader in Linux', () => {
    const notes = [
      noteOf(ELFNOTE.XEN_ELFNOTE_GUEST_OS, 'linux'),
      noteOf(ELFNOTE.XEN_ELFNOTE_XEN_VERSION, 'xen-3.0-x86_64'),
    ];
    expect(readXenNotes(parseElf(elfImageOf({ segments: SEGMENTS, notes })))?.loader).to.equal('');
  });
});

describe('the section __xen_guest', () => {
  it('says the same in words', () => {
    const notes = legacyOf(
      'GUEST_OS=linux,GUEST_VER=2.6,XEN_VER=xen-3.0,VIRT_BASE=0xC0000000,ELF_PADDR_OFFSET=0x0,VIRT_ENTRY=0xc0100000,' +
        'HYPERCALL_PAGE=0x102,FEATURES=!writable_page_tables|dom0,PAE=yes,LOADER=generic,BSD_SYMTAB,OTHER=1,',
    );
    expect(notes).to.deep.equal({
      ...NOTHING,
      isLegacy: true,
      guestOs: 'linux',
      guestVersion: '2.6',
      virtBase: 0xc000_0000n,
      paddrOffset: 0n,
      entry: 0xc010_0000n,
      hypercallPage: 0xc010_2000n,
      features: { supported: 0x801, required: 1 },
      paeMode: 'yes',
      bsdSymtab: true,
    });
  });

  it('has numbers as C reads them', () => {
    const baseOf = (text: string) => legacyOf(`LOADER=generic,XEN_VER=xen-3.0,VIRT_BASE=${text}`).virtBase;
    expect(['0x1000', '4096', '010000', '0'].map(baseOf)).to.deep.equal([4096n, 4096n, 4096n, 0n]);
    for (const text of ['', 'C0000000', '0x', '-1', '0x10000000000000000'])
      expect(() => baseOf(text), text).to.throw(XenImageError, `VIRT_BASE=${text} in __xen_guest is no number`);
  });
});
