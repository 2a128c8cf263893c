/**
 * What a kernel tells Xen's domain builder (elfnote.h): by ELF notes, or, as those of Xen 2 did, by a string in the section `__xen_guest`.
 * Read as Xen 4.17's libelf does, but where that takes nonsense for zero, it is an error here.
 */
import * as ELFNOTE from '../shared/public/elfnote.js';
import * as XENFEAT from '../shared/public/features.js';
import { type ElfImage, type ElfNote, textOf } from './elf.js';

/** A kernel that is none for Xen, or that contradicts itself. */
export class XenImageError extends Error {}

/** Masks of XENFEAT_ bits. What is required is supported, too. */
export interface XenFeatures {
  readonly supported: number;
  readonly required: number;
}

export interface XenNotes {
  /** Decides what a missing paddrOffset means. */
  readonly isLegacy: boolean;
  /** Addresses are virtual ones but for paddrOffset and phys32Entry; undefined where nothing is said. */
  readonly entry: bigint | undefined;
  readonly hypercallPage: bigint | undefined;
  readonly virtBase: bigint | undefined;
  readonly paddrOffset: bigint | undefined;
  readonly initP2m: bigint | undefined;
  readonly hvStartLow: bigint | undefined;
  /** Where it begins in a PVH domain. */
  readonly phys32Entry: bigint | undefined;
  readonly features: XenFeatures;
  /** Which page tables a 32-bit kernel can have: `extended-cr3`, above 4 GiB, too. */
  readonly paeMode: 'no' | 'yes' | 'extended-cr3' | 'bimodal';
  /** Which entries of a level-1 table have a frame: those that under a mask have a value. */
  readonly l1MfnValid: readonly { readonly mask: bigint; readonly value: bigint }[];
  readonly suspendCancel: boolean;
  /** Whether mod_start can be a frame number: the initrd needs no addresses. */
  readonly modStartPfn: boolean;
  readonly bsdSymtab: boolean;
  readonly guestOs: string;
  readonly guestVersion: string;
  readonly loader: string;
  readonly xenVersion: string;
}

type Draft = { -readonly [Key in keyof XenNotes]: XenNotes[Key] };

const OWNER = 'Xen';
const LEGACY_SECTION = '__xen_guest';
const GENERIC_LOADER = 'generic';
const LINUX = 'linux';
const XEN_VERSION = 'xen-3.0';
const EXTENDED_CR3 = 'yes[extended-cr3]';

/** The names of features as they stand in notes. */
const FEATURES: Readonly<Record<string, number>> = {
  writable_page_tables: XENFEAT.XENFEAT_writable_page_tables,
  writable_descriptor_tables: XENFEAT.XENFEAT_writable_descriptor_tables,
  auto_translated_physmap: XENFEAT.XENFEAT_auto_translated_physmap,
  supervisor_mode_kernel: XENFEAT.XENFEAT_supervisor_mode_kernel,
  pae_pgdir_above_4gb: XENFEAT.XENFEAT_pae_pgdir_above_4gb,
  hvm_callback_vector: XENFEAT.XENFEAT_hvm_callback_vector,
  dom0: XENFEAT.XENFEAT_dom0,
};

function fail(what: string): never {
  throw new XenImageError(what);
}

function addFeatures(draft: Draft, words: string): void {
  let { supported, required } = draft.features;
  for (const word of words.split('|')) {
    const isRequired = word.startsWith('!');
    const name = isRequired ? word.slice(1) : word;
    const bit = Object.hasOwn(FEATURES, name) ? FEATURES[name] : undefined;
    if (bit === undefined) {
      if (isRequired) fail(`the kernel requires the feature ${JSON.stringify(name.slice(0, 64))}, which is unknown`);
      continue;
    }
    supported |= 1 << bit;
    if (isRequired) required |= 1 << bit;
  }
  draft.features = { supported: supported >>> 0, required: required >>> 0 };
}

/** A note's contents, as what they have to be. */
class Value {
  readonly #name: string;
  readonly #note: ElfNote;
  readonly #view: DataView;

  constructor(name: string, note: ElfNote) {
    this.#name = name;
    this.#note = note;
    const { contents } = note;
    this.#view = new DataView(contents.buffer, contents.byteOffset, contents.byteLength);
  }

  #wrongSize(): never {
    const { isCutOff, contents } = this.#note;
    return fail(`the note ${this.#name} ${isCutOff ? 'is cut off' : `has ${contents.length} bytes`}`);
  }

  number(): bigint {
    if (this.#note.isCutOff) this.#wrongSize();
    switch (this.#view.byteLength) {
      case 1:
        return BigInt(this.#view.getUint8(0));
      case 2:
        return BigInt(this.#view.getUint16(0, true));
      case 4:
        return BigInt(this.#view.getUint32(0, true));
      case 8:
        return this.#view.getBigUint64(0, true);
      default:
        return this.#wrongSize();
    }
  }

  /** The i386 image of GRUB says 12 bytes and has 4, but its text ends within them. */
  text(): string {
    if (this.#note.isCutOff && !this.#note.contents.includes(0)) this.#wrongSize();
    return textOf(this.#note.contents);
  }

  /** Pairs of words: of 64 bits, or, where that is all there is, of 32. */
  pairs(): { mask: bigint; value: bigint }[] {
    const { byteLength } = this.#view;
    if (this.#note.isCutOff || byteLength === 0) this.#wrongSize();
    if (byteLength === 8) {
      return [{ mask: BigInt(this.#view.getUint32(0, true)), value: BigInt(this.#view.getUint32(4, true)) }];
    }
    if (byteLength % 16 !== 0) this.#wrongSize();
    return Array.from({ length: byteLength / 16 }, (_, n) => ({
      mask: this.#view.getBigUint64(16 * n, true),
      value: this.#view.getBigUint64(16 * n + 8, true),
    }));
  }
}

type Setter = (draft: Draft, value: Value) => void;
type KeysOf<Type> = { [Key in keyof XenNotes]: [Type] extends [XenNotes[Key]] ? Key : never }[keyof XenNotes];

const number =
  (key: KeysOf<bigint>): Setter =>
  (draft, value) => {
    draft[key] = value.number();
  };
const flag =
  (key: KeysOf<boolean>): Setter =>
  (draft, value) => {
    draft[key] = value.number() !== 0n;
  };
const text =
  (key: KeysOf<string>): Setter =>
  (draft, value) => {
    draft[key] = value.text();
  };

/** Those of other types are for others. */
const NOTES: Readonly<Record<number, readonly [name: string, set: Setter]>> = {
  [ELFNOTE.XEN_ELFNOTE_ENTRY]: ['ENTRY', number('entry')],
  [ELFNOTE.XEN_ELFNOTE_HYPERCALL_PAGE]: ['HYPERCALL_PAGE', number('hypercallPage')],
  [ELFNOTE.XEN_ELFNOTE_VIRT_BASE]: ['VIRT_BASE', number('virtBase')],
  [ELFNOTE.XEN_ELFNOTE_PADDR_OFFSET]: ['PADDR_OFFSET', number('paddrOffset')],
  [ELFNOTE.XEN_ELFNOTE_XEN_VERSION]: ['XEN_VERSION', text('xenVersion')],
  [ELFNOTE.XEN_ELFNOTE_GUEST_OS]: ['GUEST_OS', text('guestOs')],
  [ELFNOTE.XEN_ELFNOTE_GUEST_VERSION]: ['GUEST_VERSION', text('guestVersion')],
  [ELFNOTE.XEN_ELFNOTE_LOADER]: ['LOADER', text('loader')],
  [ELFNOTE.XEN_ELFNOTE_PAE_MODE]: [
    'PAE_MODE',
    (draft, value) => {
      const mode = value.text();
      if (mode.includes('bimodal')) draft.paeMode = 'bimodal';
      else if (mode === 'yes' || mode === EXTENDED_CR3) draft.paeMode = 'extended-cr3';
    },
  ],
  [ELFNOTE.XEN_ELFNOTE_FEATURES]: ['FEATURES', (draft, value) => addFeatures(draft, value.text())],
  [ELFNOTE.XEN_ELFNOTE_BSD_SYMTAB]: [
    'BSD_SYMTAB',
    (draft, value) => {
      draft.bsdSymtab = value.text() === 'yes';
    },
  ],
  [ELFNOTE.XEN_ELFNOTE_HV_START_LOW]: ['HV_START_LOW', number('hvStartLow')],
  [ELFNOTE.XEN_ELFNOTE_L1_MFN_VALID]: [
    'L1_MFN_VALID',
    (draft, value) => {
      draft.l1MfnValid = value.pairs();
    },
  ],
  [ELFNOTE.XEN_ELFNOTE_SUSPEND_CANCEL]: ['SUSPEND_CANCEL', flag('suspendCancel')],
  [ELFNOTE.XEN_ELFNOTE_INIT_P2M]: ['INIT_P2M', number('initP2m')],
  [ELFNOTE.XEN_ELFNOTE_MOD_START_PFN]: ['MOD_START_PFN', flag('modStartPfn')],
  [ELFNOTE.XEN_ELFNOTE_SUPPORTED_FEATURES]: [
    'SUPPORTED_FEATURES',
    (draft, value) => {
      const { supported, required } = draft.features;
      draft.features = { supported: (supported | Number(value.number() & 0xffff_ffffn)) >>> 0, required };
    },
  ],
  [ELFNOTE.XEN_ELFNOTE_PHYS32_ENTRY]: ['PHYS32_ENTRY', number('phys32Entry')],
};

/** As C's strtoull reads it. */
function legacyNumber(name: string, value: string): bigint {
  if (!/^(0x[\da-f]{1,16}|\d{1,20})$/i.test(value)) {
    fail(`${name}=${value.slice(0, 64)} in ${LEGACY_SECTION} is no number`);
  }
  return BigInt(/^0[0-7]+$/.test(value) ? `0o${value}` : value);
}

const LEGACY_NUMBERS: Readonly<Record<string, KeysOf<bigint>>> = {
  VIRT_BASE: 'virtBase',
  VIRT_ENTRY: 'entry',
  ELF_PADDR_OFFSET: 'paddrOffset',
  HYPERCALL_PAGE: 'hypercallPage',
};
const LEGACY_TEXTS: Readonly<Record<string, KeysOf<string>>> = {
  LOADER: 'loader',
  GUEST_OS: 'guestOs',
  GUEST_VER: 'guestVersion',
  XEN_VER: 'xenVersion',
};

function readLegacy(draft: Draft, items: string): void {
  for (const item of items.split(',')) {
    const [name = '', value = ''] = item.split(/=(.*)/s);
    const numberKey = Object.hasOwn(LEGACY_NUMBERS, name) ? LEGACY_NUMBERS[name] : undefined;
    const textKey = Object.hasOwn(LEGACY_TEXTS, name) ? LEGACY_TEXTS[name] : undefined;
    if (numberKey) draft[numberKey] = legacyNumber(name, value);
    if (textKey) draft[textKey] = value;
    if (name === 'PAE' && value.startsWith('yes')) draft.paeMode = value === EXTENDED_CR3 ? 'extended-cr3' : 'yes';
    if (name === 'BSD_SYMTAB') draft.bsdSymtab = true;
    if (name === 'FEATURES') addFeatures(draft, value);
  }
  // It is a page number, from virtBase on.
  if (draft.hypercallPage !== undefined) draft.hypercallPage = (draft.hypercallPage << 12n) + (draft.virtBase ?? 0n);
}

function check({ loader, guestOs, xenVersion, phys32Entry }: XenNotes): void {
  const quoted = (value: string): string => JSON.stringify(value.slice(0, 64));
  if (!loader.startsWith(GENERIC_LOADER) && !guestOs.startsWith(LINUX)) {
    if (phys32Entry !== undefined && xenVersion === '') fail('a PVH kernel, not a paravirtual one');
    fail(`neither for Xen's generic loader nor Linux: LOADER ${quoted(loader)}, GUEST_OS ${quoted(guestOs)}`);
  }
  if (!xenVersion.startsWith(XEN_VERSION)) fail(`XEN_VERSION ${quoted(xenVersion)}: not ${quoted(XEN_VERSION)}`);
}

/**
 * @returns undefined where the file says nothing to Xen
 * @throws XenImageError
 */
export function readXenNotes(elf: ElfImage): XenNotes | undefined {
  const ours = ({ owner }: ElfNote): boolean => owner === OWNER;
  let notes = elf.notes.filter(ours);
  if (notes.length === 0) notes = elf.sectionNotes.filter(ours);
  const legacy = notes.length === 0 ? elf.sections.find(({ name }) => name === LEGACY_SECTION) : undefined;
  if (notes.length === 0 && !legacy) return undefined;
  const draft: Draft = {
    isLegacy: legacy !== undefined,
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
    loader: '',
    xenVersion: '',
  };
  for (const note of notes) {
    const [name, set] = NOTES[note.type] ?? [];
    if (name && set) set(draft, new Value(name, note));
  }
  if (legacy) readLegacy(draft, textOf(legacy.contents));
  check(draft);
  return draft;
}
