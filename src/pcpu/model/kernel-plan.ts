/**
 * What a domain builder puts into the frames of a 64-bit paravirtual kernel (tools/libs/guest/xg_dom_x86.c): its image, page tables, the list
 * of frames, start info. The plan is made before the machine runs; which machine frames the domain gets is known when it has got them.
 */
import { PTE } from '../../hv/mm/records.js';
import { PAGE_SIZE } from '../../shared/image.js';
import { MAX_GUEST_CMDLINE, SIF_MOD_START_PFN } from '../../shared/public/xen.js';
import type { Guest } from '../../xenstore/guest-nodes.js';

/** So many pages at a virtual address, from frame `pfn` on. */
export interface MappedRange {
  readonly address: bigint;
  readonly pfn: number;
  readonly pages: number;
}

export interface KernelLayout {
  /** Frame numbers, in the domain. */
  readonly ramdisk: number;
  readonly p2m: number;
  readonly p2mPages: number;
  readonly startInfo: number;
  readonly xenstore: number;
  readonly console: number;
  /** Page tables of levels 4, 3, 2, 1, in this order: one for each prefix of an address. */
  readonly tables: readonly { readonly level: number; readonly prefix: bigint; readonly pfn: number }[];
  readonly stack: number;
  /** What they map. */
  readonly ranges: readonly MappedRange[];
  /** Frames that it needs. */
  readonly pages: number;
}

/** Plain data, for whoever builds the domain. */
export interface KernelPlan {
  /** Frames of its memory. */
  readonly pages: number;
  readonly virtBase: bigint;
  readonly entry: bigint;
  /** Image and ramdisk, by where in its memory they begin. */
  readonly contents: readonly { readonly at: number; readonly bytes: Uint8Array }[];
  /** Frame that becomes its hypercall page. */
  readonly hypercallPage: number | undefined;
  /** Address of the list of frames, where it has one of its own. */
  readonly initP2m: bigint | undefined;
  readonly ramdiskBytes: number;
  /** Whether it takes the ramdisk by its frame number. */
  readonly modStartPfn: boolean;
  readonly commandLine: string;
  readonly layout: KernelLayout;
  /** What xenstore says of it. */
  readonly guest: Omit<Guest, 'domid' | 'store' | 'console'>;
}

/** What is known of a domain when it has its memory and ports. */
export interface KernelPlace {
  /** Machine frame of a frame of its memory. */
  mfnOf(pfn: number): number;
  readonly sharedInfo: number;
  readonly consolePort: number;
  readonly xenstorePort: number;
}

/** Of start_info (xen.h), 64-bit. */
const INFO = {
  magic: 0,
  nrPages: 32,
  sharedInfo: 40,
  flags: 48,
  storeMfn: 56,
  storeEvtchn: 64,
  consoleMfn: 72,
  consoleEvtchn: 80,
  ptBase: 88,
  nrPtFrames: 96,
  mfnList: 104,
  modStart: 112,
  modLen: 120,
  cmdLine: 128,
  firstP2mPfn: 1152,
  nrP2mFrames: 1160,
} as const;
const MAGIC = 'xen-3.0-x86_64';
const ENTRIES = 512;
export const TABLE_LEVELS = 4;

/** What of an address says by which table of a level it is mapped. */
export const prefixOf = (address: bigint, level: number): bigint =>
  BigInt.asUintN(48, address) >> BigInt(12 + 9 * level);

/** Virtual address of a frame of the plan. */
export const virtualOf = ({ virtBase }: Pick<KernelPlan, 'virtBase'>, pfn: number): bigint =>
  BigInt.asUintN(64, virtBase + BigInt(pfn * PAGE_SIZE));

/** Writes a page: into these bytes, from a multiple of 8 on. */
export type WritePage = (view: DataView, at: number) => void;

/** Frames that are not to be zero, and how each is written, in the order of their numbers. */
export function kernelPages(plan: KernelPlan, place: KernelPlace): ReadonlyMap<number, WritePage> {
  const { layout, pages } = plan;
  const writers = new Map<number, WritePage[]>();
  const add = (pfn: number, write: WritePage): void => {
    writers.set(pfn, [...(writers.get(pfn) ?? []), write]);
  };

  for (const { at, bytes } of plan.contents)
    for (let pfn = Math.floor(at / PAGE_SIZE); pfn * PAGE_SIZE < at + bytes.length; pfn++) {
      const first = Math.max(at, pfn * PAGE_SIZE);
      const part = bytes.subarray(first - at, (pfn + 1) * PAGE_SIZE - at);
      add(pfn, (view, to) => new Uint8Array(view.buffer).set(part, to + (first % PAGE_SIZE)));
    }

  for (let n = 0; n < layout.p2mPages; n++)
    add(layout.p2m + n, (view, at) => {
      for (let pfn = n * ENTRIES, k = 0; k < ENTRIES && pfn < pages; k++, pfn++)
        view.setBigUint64(at + 8 * k, BigInt(place.mfnOf(pfn)), true);
    });

  const pfnOf = new Map(layout.tables.map(({ level, prefix, pfn }) => [`${level} ${prefix}`, pfn]));
  const tablePfns = new Set(layout.tables.map(({ pfn }) => pfn));
  const tableOf = (address: bigint, level: number): number => pfnOf.get(`${level} ${prefixOf(address, level)}`)!;
  const entries = new Map<number, (readonly [n: number, pfn: number, flags: number])[]>();
  function put(address: bigint, level: number, pfn: number, flags: number): void {
    const table = tableOf(address, level);
    const n = Number((BigInt.asUintN(48, address) >> BigInt(3 + 9 * level)) & 511n);
    const list = entries.get(table) ?? [];
    list.push([n, pfn, flags]);
    entries.set(table, list);
  }
  const link = PTE.present | PTE.rw | PTE.user | PTE.accessed | PTE.dirty;
  const page = PTE.present | PTE.user | PTE.accessed;
  for (const { address, pfn, pages: mapped } of layout.ranges) {
    for (let n = 0; n < mapped; n++) {
      const at = address + BigInt(n * PAGE_SIZE);
      put(at, 1, pfn + n, tablePfns.has(pfn + n) ? page : page | PTE.rw | PTE.dirty);
      if (n > 0 && (at >> 12n) % BigInt(ENTRIES) !== 0n) continue;
      for (let level = 2; level <= TABLE_LEVELS; level++) put(at, level, tableOf(at, level - 1), link);
    }
  }
  for (const [table, list] of entries)
    add(table, (view, at) => {
      for (const [n, pfn, flags] of list)
        view.setBigUint64(at + 8 * n, (BigInt(place.mfnOf(pfn)) << 12n) | BigInt(flags), true);
    });

  add(layout.startInfo, (view, at) => writeStartInfo(plan, place, view, at));
  const all = [...writers].sort(([a], [b]) => a - b);
  return new Map(
    all.map(([pfn, list]) => [
      pfn,
      (view, at) => {
        for (const write of list) write(view, at);
      },
    ]),
  );
}

function writeStartInfo(plan: KernelPlan, place: KernelPlace, view: DataView, info: number): void {
  const { layout, initP2m, ramdiskBytes, modStartPfn } = plan;
  const put64 = (at: number, x: bigint | number): void => view.setBigUint64(info + at, BigInt(x), true);
  const bytes = new Uint8Array(view.buffer);
  const encoder = new TextEncoder();
  bytes.set(encoder.encode(MAGIC), info + INFO.magic);
  put64(INFO.nrPages, plan.pages);
  put64(INFO.sharedInfo, place.sharedInfo * PAGE_SIZE);
  if (ramdiskBytes > 0) {
    put64(INFO.modStart, modStartPfn ? layout.ramdisk : virtualOf(plan, layout.ramdisk));
    put64(INFO.modLen, ramdiskBytes);
    view.setUint32(info + INFO.flags, modStartPfn ? SIF_MOD_START_PFN : 0, true);
  }
  put64(INFO.storeMfn, place.mfnOf(layout.xenstore));
  view.setUint32(info + INFO.storeEvtchn, place.xenstorePort, true);
  put64(INFO.consoleMfn, place.mfnOf(layout.console));
  view.setUint32(info + INFO.consoleEvtchn, place.consolePort, true);
  put64(INFO.ptBase, virtualOf(plan, layout.tables[0]!.pfn));
  put64(INFO.nrPtFrames, layout.tables.length);
  put64(INFO.mfnList, initP2m ?? virtualOf(plan, layout.p2m));
  put64(INFO.firstP2mPfn, initP2m === undefined ? 0 : layout.p2m);
  put64(INFO.nrP2mFrames, initP2m === undefined ? 0 : layout.p2mPages);
  bytes.set(encoder.encode(plan.commandLine).subarray(0, MAX_GUEST_CMDLINE - 1), info + INFO.cmdLine);
}
