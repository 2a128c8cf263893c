/**
 * Paging as a 64-bit guest in ring 3 has it (Intel SDM vol. 3, 4.5): 4-level walks, accessed and dirty bits, and the TLB that handlers look
 * into. An access that the TLB does not answer comes here.
 */
import type { Image } from '../../shared/image.js';
import { noPage, REC, ST, TLB_ENTRIES, TLB_ENTRY, TLB_WAY_BYTES, TLB_WAYS, tlbPlace, VECTOR } from './state.js';

/** Bits of a page-table entry; its low word. */
const PTE = { present: 1, writable: 2, user: 4, accessed: 0x20, dirty: 0x40, large: 0x80 } as const;
/** No-execute, in the high word. */
const PTE_NX = 0x8000_0000 | 0;

/** Bits of a page fault's error code. */
const ERROR = { present: 1, write: 2, user: 4, fetch: 16 } as const;

export type Access = 'read' | 'write' | 'fetch';

/** Where the frames of machine memory are. */
export interface MachineMemory {
  /** Image address of machine frame `mfn`; −1 where there is none. */
  addressOf(mfn: number): number;
}

/** What of code the MMU has to know: frames that code was decoded from must not be written unseen. */
export interface CodeFrames {
  hasCode(frame: number): boolean;
  /** The frame at this image address is about to be written. */
  written(frame: number): void;
}

export interface Mmu {
  /** Forgets all translations. */
  flush(): void;
  /** Image address of the page that holds a virtual address; −1: an exception is set up in the VCPU's block. */
  translate(st: number, low: number, high: number, access: Access): number;
  /** The same of an address in one piece. */
  pageOf(st: number, address: bigint, access: Access): number;
  /** See Services in handlers.ts. */
  load(st: number, size: number, forWrite: boolean): number;
  store(st: number, size: number): number;
}

/** The page after that of an address, in halves. */
export function pageAfter(low: number, high: number): readonly [low: number, high: number] {
  const next = ((low & ~4095) + 4096) | 0;
  return [next, next === 0 ? (high + 1) | 0 : high];
}

/** @param tlb image address of this worker's TLB: TLB_ENTRIES of TLB_ENTRY.bytes */
export function mmu(
  image: Image,
  memory: MachineMemory,
  code: CodeFrames,
  tlb: number,
  rootOf: (st: number) => number,
): Mmu {
  const { i32, u8 } = image;
  const u16 = new Uint16Array(image.buffer);
  const word = (address: number): number => address >> 2;
  function forget(n: number, way: number): void {
    const entry = tlb + way * TLB_WAY_BYTES + n * TLB_ENTRY.bytes;
    for (const tag of [TLB_ENTRY.readTag, TLB_ENTRY.writeTag]) {
      i32[word(entry + tag)] = noPage(n);
      i32[word(entry + tag) + 1] = 0;
    }
  }

  function flush(): void {
    for (let way = 0; way < TLB_WAYS; way++) for (let n = 0; n < TLB_ENTRIES; n++) forget(n, way);
  }

  function fault(st: number, low: number, high: number, errorCode: number): number {
    i32[word(st + ST.vector)] = VECTOR.PF;
    i32[word(st + ST.errorCode)] = errorCode | ERROR.user;
    i32[word(st + ST.cr2)] = low;
    i32[word(st + ST.cr2) + 1] = high;
    return -1;
  }

  const isCanonical = (high: number): boolean => high >> 15 === 0 || high >> 15 === -1;

  /** An address that is not canonical: of the stack it is another exception. */
  function protection(st: number, access: Access): number {
    const record = i32[word(st + ST.record)]!;
    const isStack = access !== 'fetch' && record !== 0 && u16[(record + REC.segment) >> 1] === ST.stack;
    i32[word(st + ST.vector)] = isStack ? VECTOR.SS : VECTOR.GP;
    i32[word(st + ST.errorCode)] = 0;
    return -1;
  }

  function translate(st: number, low: number, high: number, access: Access): number {
    if (!isCanonical(high)) return protection(st, access);
    const wanted = access === 'write' ? ERROR.write : access === 'fetch' ? ERROR.fetch : 0;
    const indices = [(high >>> 7) & 511, ((high & 0x7f) << 2) | (low >>> 30), (low >>> 21) & 511, (low >>> 12) & 511];
    let table = memory.addressOf(rootOf(st));
    let isWritable = true;
    let at = 0;
    for (const [level, index] of indices.entries()) {
      if (table < 0) return fault(st, low, high, wanted);
      at = word(table + 8 * index);
      const entry = Atomics.load(i32, at);
      if ((entry & PTE.present) === 0) return fault(st, low, high, wanted);
      if ((entry & PTE.user) === 0) return fault(st, low, high, wanted | ERROR.present);
      const upper = i32[at + 1]!;
      if ((entry & PTE.writable) === 0) isWritable = false;
      if (access === 'write' && !isWritable) return fault(st, low, high, wanted | ERROR.present);
      if (access === 'fetch' && (upper & PTE_NX) !== 0) return fault(st, low, high, wanted | ERROR.present);
      // Guests have no large pages.
      if (level < 3 && (entry & PTE.large) !== 0) return fault(st, low, high, wanted | ERROR.present | 8);
      table = memory.addressOf((upper & 0xfffff) * 0x100000 + (entry >>> 12));
      const seen = PTE.accessed | (level === 3 && access === 'write' ? PTE.dirty : 0);
      if ((entry & seen) !== seen) Atomics.or(i32, at, seen);
    }
    if (table < 0) return fault(st, low, high, wanted);
    const isDirty = (i32[at]! & PTE.dirty) !== 0;
    if (access !== 'fetch') remember(low, high, table, isWritable && isDirty && !code.hasCode(table));
    return table;
  }

  /** In the first way; what was there goes to the second, unless it is the same page, of which one entry must know all. */
  function remember(low: number, high: number, frame: number, mayBeWritten: boolean): void {
    const n = tlbPlace(low);
    const page = low & ~4095;
    const first = tlb + n * TLB_ENTRY.bytes;
    const isSame = i32[word(first)] === page && i32[word(first) + 1] === high;
    if (!isSame) {
      const second = word(first + TLB_WAY_BYTES);
      for (let k = 0; k < TLB_ENTRY.bytes / 4; k++) i32[second + k] = i32[word(first) + k]!;
    }
    forget(n, 0);
    i32[word(first + TLB_ENTRY.page)] = frame;
    for (const tag of mayBeWritten ? [TLB_ENTRY.readTag, TLB_ENTRY.writeTag] : [TLB_ENTRY.readTag]) {
      i32[word(first + tag)] = page;
      i32[word(first + tag) + 1] = high;
    }
  }

  const lowOf = (st: number): number => i32[word(st + ST.address)]!;
  const highOf = (st: number): number => i32[word(st + ST.address) + 1]!;

  /** The two pages of an access across their border; the first is −1 where one faults. */
  function twoPages(st: number, access: Access): readonly [number, number] {
    const [low, high] = [lowOf(st), highOf(st)];
    const [next, nextHigh] = pageAfter(low, high);
    // All of the address is looked at before any page.
    if (!isCanonical(nextHigh)) return [protection(st, access), -1];
    const first = translate(st, low, high, access);
    if (first < 0) return [-1, -1];
    const second = translate(st, next, nextHigh, access);
    return second < 0 ? [-1, -1] : [first, second];
  }

  return {
    flush,
    translate,
    pageOf: (st, address, access) =>
      translate(st, Number(BigInt.asIntN(32, address)), Number(BigInt.asIntN(32, address >> 32n)), access),
    load(st, size, forWrite) {
      const low = lowOf(st);
      const offset = low & 4095;
      const access = forWrite ? 'write' : 'read';
      if (offset + size <= 4096) {
        const page = translate(st, low, highOf(st), access);
        return page < 0 ? -1 : page + offset;
      }
      const [first, second] = twoPages(st, access);
      if (first < 0) return -1;
      const inFirst = 4096 - offset;
      for (let n = 0; n < size; n++) {
        u8[st + ST.value + n] = u8[n < inFirst ? first + offset + n : second + n - inFirst]!;
      }
      return st + ST.value;
    },
    store(st, size) {
      const low = lowOf(st);
      const offset = low & 4095;
      const inFirst = Math.min(size, 4096 - offset);
      let [first, second] = [0, 0];
      if (inFirst === size) first = translate(st, low, highOf(st), 'write');
      else [first, second] = twoPages(st, 'write');
      if (first < 0) return -1;
      const isCode = code.hasCode(first) || (inFirst < size && code.hasCode(second));
      if (code.hasCode(first)) code.written(first);
      if (inFirst < size && code.hasCode(second)) code.written(second);
      for (let n = 0; n < size; n++) {
        u8[n < inFirst ? first + offset + n : second + n - inFirst] = u8[st + ST.value + n]!;
      }
      return isCode ? 1 : 0;
    },
  };
}
