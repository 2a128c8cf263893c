/**
 * The machine-to-physical table (xen-x86_64.h: MACH2PHYS): a word of 8 bytes for each frame of machine memory, its number in its
 * domain. All domains with page tables can read it at one address. It lies in frames of the hypervisor's own, the machine's first ones,
 * behind the page tables that map it.
 */
import { type Image, PAGE_SIZE } from '../../shared/image.js';
import { INVALID_M2P_ENTRY, OWNER_XEN, PAGE_TABLE_ENTRIES, PTE, PTE_HIGH } from './records.js';

/** Where domains have it. */
export const MACH2PHYS_VIRT_START = 0xffff_8000_0000_0000n;
const ENTRY_BYTES = 8;
/** Frames of the tables of levels 3 and 2: one each map 512 GiB and 1 GiB. */
const [LEVEL_3, LEVEL_2, LEVEL_1] = [0, 1, 2];

interface Layout {
  readonly ones: number;
  readonly first: number;
  readonly pages: number;
}

function layoutOf(frames: number): Layout {
  const pages = Math.ceil((frames * ENTRY_BYTES) / PAGE_SIZE);
  const ones = Math.ceil(pages / PAGE_TABLE_ENTRIES);
  return { ones, first: LEVEL_1 + ones, pages };
}

/** How many frames the hypervisor has itself on a machine where domains have so many. */
export function xenFramesFor(domainFrames: number): number {
  let own = 0;
  for (;;) {
    const { first, pages } = layoutOf(domainFrames + own);
    if (first + pages <= own) return own;
    own = first + pages;
  }
}

export interface M2p {
  /** The top-level entry that maps the table: low word; the high one is 0. */
  readonly slot: number;
  /** Machine frames that it has an entry of. */
  readonly frames: number;
  /** The first of the frames that it lies in, one behind the other. */
  readonly first: number;
  /** @param hi its upper half, which only what is no number has @default 0 */
  set(mfn: number, pfn: number, hi?: number): void;
  get(mfn: number): number;
  clear(mfn: number): void;
  /** Fills all of it in: once, on a zeroed image. */
  initialise(): void;
}

/** Not for machines without such domains. */
export function m2p(image: Image): M2p {
  const { i32 } = image;
  const { base, count } = image.region('frames');
  const owners = image.region('frame-owners').base >> 2;
  const { ones, first, pages } = layoutOf(count);
  const entryOf = (mfn: number): number => ((base + first * PAGE_SIZE) >> 2) + 2 * mfn;
  const link = (table: number, n: number, mfn: number, flags: number, high = 0): void => {
    const at = ((base + table * PAGE_SIZE) >> 2) + 2 * n;
    i32[at] = (mfn << 12) | flags;
    i32[at + 1] = high;
  };
  const readable = PTE.present | PTE.user | PTE.accessed;
  function set(mfn: number, pfn: number, hi = 0): void {
    i32[entryOf(mfn)] = pfn;
    i32[entryOf(mfn) + 1] = hi;
  }
  return {
    slot: (LEVEL_3 << 12) | readable,
    frames: count,
    first,
    set,
    get: (mfn) => i32[entryOf(mfn)]! >>> 0,
    clear: (mfn) => set(mfn, INVALID_M2P_ENTRY, -1),
    initialise() {
      i32.fill(OWNER_XEN, owners, owners + first + pages);
      link(LEVEL_3, 0, LEVEL_2, readable);
      for (let n = 0; n < ones; n++) link(LEVEL_2, n, LEVEL_1 + n, readable);
      for (let n = 0; n < pages; n++)
        link(LEVEL_1 + Math.floor(n / PAGE_TABLE_ENTRIES), n % PAGE_TABLE_ENTRIES, first + n, readable, PTE_HIGH.nx);
      for (let mfn = 0; mfn < count; mfn++) set(mfn, INVALID_M2P_ENTRY, -1);
    },
  };
}
