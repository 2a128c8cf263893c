/**
 * The domain builder for 64-bit paravirtual kernels: a kernel where it belongs, page tables, the list of frames, start info, pages of
 * console and xenstore (tools/libs/guest). What it writes into frames the hypervisor then looks at as it does at any page table.
 */
import { EVENT_TABLE_LOCK } from '../hv/context.js';
import { GRANT_FRAMES } from '../hv/grants/records.js';
import { writeHypercallPage } from '../hv/hypercall-page.js';
import { PTE } from '../hv/mm/records.js';
import type { ProcessorCore } from '../pcpu/processor.js';
import { resetState } from '../pcpu/x86/reset.js';
import { GPR_NAMES, ST, STATE_BYTES } from '../pcpu/x86/state.js';
import { PAGE_SIZE } from '../shared/image.js';
import { EVTCHNSTAT_unbound } from '../shared/public/event-channel.js';
import { MAX_GUEST_CMDLINE, SIF_MOD_START_PFN } from '../shared/public/xen.js';
import type { BuiltKernel } from './config.js';
import { kernelLayout, prefixOf } from './kernel-layout.js';

/** Frames of a domain beside its memory: the shared info page before it, its grant table behind it. */
export const EXTRA_FRAMES = 1 + GRANT_FRAMES;

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

/** Why a kernel does not fit into a domain of so much memory. */
export function kernelProblem({ image, ramdisk }: BuiltKernel, frames: number): string | undefined {
  for (const { address, bytes } of image.segments) {
    if (address < image.virtBase) return `a segment at 0x${address.toString(16)}: before the domain's memory`;
    if (address + bytes - image.virtBase > BigInt(frames * PAGE_SIZE))
      return `a segment ends at 0x${(address + bytes).toString(16)}, where there is no memory any more`;
  }
  const { pages } = kernelLayout(image, frames, ramdisk?.length ?? 0);
  return pages > frames
    ? `it needs ${pages} frames with what belongs to it, and the domain has ${frames}: give it more memory`
    : undefined;
}

/** A page that a domain shares with domain 0, by its image address, and the port that belongs to it. */
export interface KernelRing {
  readonly page: number;
  readonly port: number;
}

export interface KernelRings {
  readonly console: KernelRing;
  readonly xenstore: KernelRing;
}

/** Fills the frames of domain d and the registers of its VCPU 0. */
export function loadKernel({ hv }: ProcessorCore, d: number, kernel: BuiltKernel): KernelRings {
  const { image, domain } = hv.context;
  const { u8, i32 } = image;
  const view = new DataView(image.buffer);
  const mfnOfShared = (domain.frames(d) - image.region('frames').base) / PAGE_SIZE;
  const firstMfn = mfnOfShared + 1;
  const nrPages = domain.totPages(d);
  const { types } = hv.mm.tables;
  const frame = (pfn: number): number => hv.mm.tables.frame(firstMfn + pfn);
  const kernelImage = kernel.image;
  const { virtBase } = kernelImage;
  const { ramdisk } = kernel;
  const layout = kernelLayout(kernelImage, nrPages, ramdisk?.length ?? 0);
  const virtual = (pfn: number): bigint => BigInt.asUintN(64, virtBase + BigInt(pfn * PAGE_SIZE));

  hv.mm.begin(d);
  for (const { address, contents } of kernelImage.segments) u8.set(contents, frame(0) + Number(address - virtBase));
  if (ramdisk !== undefined) u8.set(ramdisk, frame(layout.ramdisk));
  if (kernelImage.hypercallPage !== undefined)
    writeHypercallPage(u8, frame(0) + Number(kernelImage.hypercallPage - virtBase));
  for (let pfn = 0; pfn < nrPages; pfn++) {
    view.setBigUint64(frame(layout.p2m) + 8 * pfn, BigInt(firstMfn + pfn), true);
    hv.mm.setPfn(firstMfn + pfn, pfn);
  }

  const pfnOf = new Map(layout.tables.map(({ level, prefix, pfn }) => [`${level} ${prefix}`, pfn]));
  const tablePfns = new Set(layout.tables.map(({ pfn }) => pfn));
  const tableOf = (address: bigint, level: number): number => pfnOf.get(`${level} ${prefixOf(address, level)}`)!;
  const put = (address: bigint, level: number, pfn: number, flags: number): void =>
    view.setBigUint64(
      frame(tableOf(address, level)) + 8 * Number((BigInt.asUintN(48, address) >> BigInt(3 + 9 * level)) & 511n),
      (BigInt(firstMfn + pfn) << 12n) | BigInt(flags),
      true,
    );
  const link = PTE.present | PTE.rw | PTE.user | PTE.accessed | PTE.dirty;
  const page = PTE.present | PTE.user | PTE.accessed;
  for (const { address, pfn, pages } of layout.ranges) {
    for (let n = 0; n < pages; n++) {
      const at = address + BigInt(n * PAGE_SIZE);
      put(at, 1, pfn + n, tablePfns.has(pfn + n) ? page : page | PTE.rw | PTE.dirty);
      if (n > 0 && (at >> 12n) % BigInt(ENTRIES) !== 0n) continue;
      for (let level = 2; level <= 4; level++) put(at, level, tableOf(at, level - 1), link);
    }
  }

  /** A port that domain 0 may bind to. */
  function port(): number {
    const free = hv.events.findFree(d);
    const self = hv.context.machine.turnOf(hv.context.me);
    hv.context.locks.acquire(EVENT_TABLE_LOCK, self);
    hv.ports.set(d, free, EVTCHNSTAT_unbound, 0, 0, 0);
    hv.context.locks.release(EVENT_TABLE_LOCK, self);
    return free;
  }
  const info = frame(layout.startInfo);
  const put64 = (at: number, x: bigint | number): void => view.setBigUint64(info + at, BigInt(x), true);
  const encoder = new TextEncoder();
  u8.set(encoder.encode(MAGIC), info + INFO.magic);
  put64(INFO.nrPages, nrPages);
  put64(INFO.sharedInfo, mfnOfShared * PAGE_SIZE);
  if (ramdisk !== undefined) {
    put64(INFO.modStart, kernelImage.modStartPfn ? layout.ramdisk : virtual(layout.ramdisk));
    put64(INFO.modLen, ramdisk.length);
    view.setUint32(info + INFO.flags, kernelImage.modStartPfn ? SIF_MOD_START_PFN : 0, true);
  }
  put64(INFO.storeMfn, firstMfn + layout.xenstore);
  const rings = {
    xenstore: { page: frame(layout.xenstore), port: port() },
    console: { page: frame(layout.console), port: port() },
  };
  view.setUint32(info + INFO.storeEvtchn, rings.xenstore.port, true);
  put64(INFO.consoleMfn, firstMfn + layout.console);
  view.setUint32(info + INFO.consoleEvtchn, rings.console.port, true);
  put64(INFO.ptBase, virtual(layout.tables[0]!.pfn));
  put64(INFO.nrPtFrames, layout.tables.length);
  put64(INFO.mfnList, kernelImage.initP2m ?? virtual(layout.p2m));
  put64(INFO.firstP2mPfn, kernelImage.initP2m === undefined ? 0 : layout.p2m);
  put64(INFO.nrP2mFrames, kernelImage.initP2m === undefined ? 0 : layout.p2mPages);
  u8.set(encoder.encode(kernel.commandLine).subarray(0, MAX_GUEST_CMDLINE - 1), info + INFO.cmdLine);
  // Others write them: they are never page tables.
  for (const mfn of [firstMfn + layout.xenstore, firstMfn + layout.console]) types.share(mfn);

  const v = domain.firstVcpu(d);
  const st = image.region('x86-vcpu').base + v * STATE_BYTES;
  const setGpr = (name: string, x: bigint): void =>
    view.setBigUint64(st + ST.gpr + 8 * GPR_NAMES.indexOf(name), x, true);
  setGpr('rsp', virtual(layout.stack + 1));
  setGpr('rsi', virtual(layout.startInfo));
  view.setBigUint64(st + ST.rip, kernelImage.entry, true);
  resetState(view, st);
  i32[(st + ST.isPresent) >> 2] = 1;
  const rc = hv.mm.locked(d, () => hv.mm.setTable(v, firstMfn + layout.tables[0]!.pfn, 'kernel'));
  if (rc !== 0) throw new Error(`the page tables of domain ${d} were refused: ${rc}`);
  return rings;
}
