/**
 * A domain whose kernel is an ELF file, as it finds itself: its segments where they belong, a flat address space, a stack, and Xen's start
 * info. Virtual addresses are pseudo-physical ones, from 0x2000 to the end of its memory, but for 0x1000, which is the shared info page. What
 * is no segment can be written and not executed; page tables, at the end, can be read only.
 */

import type { ProcessorCore } from '../pcpu/processor.js';
import { resetState } from '../pcpu/x86/reset.js';
import { ST, STATE_BYTES } from '../pcpu/x86/state.js';
import { PAGE_SIZE } from '../shared/image.js';
import type { BuiltKernel } from './config.js';

/** Lowest address of a segment: below is what the domain builder puts there. */
export const LOWEST_SEGMENT = 0x100000;
const SHARED_INFO = 0x1000;
export const START_INFO = 0x2000;
const STACK_BYTES = 0x10000;
/** Of start_info (xen.h), 64-bit. */
const INFO = {
  magic: 0,
  nrPages: 32,
  sharedInfo: 40,
  ptBase: 88,
  nrPtFrames: 96,
  cmdLine: 128,
  cmdLineBytes: 1024,
} as const;
const MAGIC = 'xen-3.0-x86_64';

const ENTRIES = 512;
const PTE = { present: 1n, writable: 2n, user: 4n, noExecute: 1n << 63n } as const;

/** The page tables of so many frames of memory, at its end: level 1 first, then 2, 3 and 4. */
function pageTables(frames: number) {
  const ones = Math.ceil(frames / ENTRIES);
  const twos = Math.ceil(ones / ENTRIES);
  const first = frames - ones - twos - 2;
  const level2 = first + ones;
  const level3 = level2 + twos;
  return { ones, twos, first, level2, level3, level4: level3 + 1 };
}

/** Why a kernel does not fit into a domain of so much memory. */
export function kernelProblem({ elf }: BuiltKernel, frames: number): string | undefined {
  const end = BigInt(pageTables(frames).first * PAGE_SIZE - STACK_BYTES);
  for (const { address, bytes } of elf.segments) {
    if (address < BigInt(LOWEST_SEGMENT)) {
      return `a segment at 0x${address.toString(16)}: below 0x${LOWEST_SEGMENT.toString(16)} there is no room for any`;
    }
    if (address + bytes > end) {
      return `a segment ends at 0x${(address + bytes).toString(16)}, behind 0x${end.toString(16)}, where the domain's stack begins`;
    }
  }
  return undefined;
}

/** Fills the frames of domain d and the registers of its VCPU 0. */
export function loadKernel({ hv }: ProcessorCore, d: number, { elf, commandLine }: BuiltKernel): void {
  const { image, domain } = hv.context;
  const { u8, i32 } = image;
  const view = new DataView(image.buffer);
  const base = domain.frames(d);
  const frames = domain.nrFrames(d);
  domain.setTableFrames(d, frames - pageTables(frames).first);
  const firstMfn = (base - image.region('frames').base) / PAGE_SIZE;
  const { ones, twos, first: firstTable, level2, level3, level4 } = pageTables(frames);
  const put = (table: number, index: number, frame: number, flags: bigint): void =>
    view.setBigUint64(base + table * PAGE_SIZE + 8 * index, (BigInt(firstMfn + frame) << 12n) | flags, true);
  const all = PTE.present | PTE.writable | PTE.user;
  for (let n = 0; n < ones; n++) put(level2 + Math.floor(n / ENTRIES), n % ENTRIES, firstTable + n, all);
  for (let n = 0; n < twos; n++) put(level3, n, level2 + n, all);
  put(level4, 0, level3, all);
  const map = (page: number, frame: number, flags: bigint): void =>
    put(firstTable + Math.floor(page / ENTRIES), page % ENTRIES, frame, PTE.present | PTE.user | flags);
  map(SHARED_INFO / PAGE_SIZE, 0, PTE.writable | PTE.noExecute);
  for (let page = START_INFO / PAGE_SIZE; page < frames; page++) {
    map(page, page, page < firstTable ? PTE.writable | PTE.noExecute : PTE.noExecute);
  }
  for (const { address, contents, bytes, isWritable, isExecutable } of elf.segments) {
    u8.set(contents, base + Number(address));
    const flags = (isWritable ? PTE.writable : 0n) | (isExecutable ? 0n : PTE.noExecute);
    const last = Number((address + bytes - 1n) >> 12n);
    for (let page = Number(address >> 12n); page <= last; page++) map(page, page, flags);
  }

  const info = base + START_INFO;
  u8.set(new TextEncoder().encode(MAGIC), info + INFO.magic);
  view.setBigUint64(info + INFO.nrPages, BigInt(frames), true);
  view.setBigUint64(info + INFO.sharedInfo, BigInt(firstMfn) << 12n, true);
  view.setBigUint64(info + INFO.ptBase, BigInt(level4 * PAGE_SIZE), true);
  view.setBigUint64(info + INFO.nrPtFrames, BigInt(frames - firstTable), true);
  u8.set(new TextEncoder().encode(commandLine).subarray(0, INFO.cmdLineBytes - 1), info + INFO.cmdLine);

  const st = image.region('x86-vcpu').base + domain.firstVcpu(d) * STATE_BYTES;
  // RSP and RSI, as Xen's domain builder leaves them.
  view.setBigUint64(st + ST.gpr + 8 * 4, BigInt(firstTable * PAGE_SIZE), true);
  view.setBigUint64(st + ST.gpr + 8 * 6, BigInt(START_INFO), true);
  view.setBigUint64(st + ST.rip, elf.entry, true);
  resetState(view, st);
  i32[(st + ST.root) >> 2] = firstMfn + level4;
  i32[(st + ST.isPresent) >> 2] = 1;
}
