/**
 * Paging as a 64-bit guest in ring 3 has it (Intel SDM vol. 3, 4.5): 4-level walks, accessed and dirty bits, and the TLB that handlers look
 * into. An access that the TLB does not answer comes here.
 */
import { indexOf, isCanonical, PTE, PTE_HIGH } from '../../hv/mm/records.js';
import type { Image } from '../../shared/image.js';
import { noPage, REC, ST, TLB, TLB_ENTRIES, TLB_ENTRY, TLB_WAY_BYTES, TLB_WAYS, tlbPlace, VECTOR } from './state.js';
import { usedPlaces } from './used-places.js';

/** Bits of a page fault's error code. */
const ERROR = { present: 1, write: 2, user: 4, fetch: 16 } as const;

export type Access = 'read' | 'write' | 'fetch';

/** Where the frames of machine memory are. */
export interface MachineMemory {
  /** Image address of machine frame `mfn`; −1 where there is none. */
  addressOf(mfn: number): number;
}

/** Pages that others write while the VCPU runs, by their image addresses: it touches them only in its pCPU's turn. */
export interface SharedPages {
  isShared(st: number, page: number): boolean;
  isInTurn(): boolean;
}

/** What of code the MMU has to know: frames that code was decoded from must not be written unseen. */
export interface CodeFrames {
  hasCode(frame: number): boolean;
  /** The frame at this image address was written just now: not before, or who decodes it anew meanwhile would have what was there. True: it had code. */
  written(frame: number): boolean;
  /** Where several workers run code at the same time: a frame that could be written by the fast path cannot be so any more. */
  readonly left: ((frame: number) => void) | undefined;
}

/** Breakpoints for data (debug-registers.ts): who accesses a page that has one comes here each time. */
export interface Watch {
  isWatched(st: number, low: number, high: number): boolean;
  /** Of such a page: whether it is not to be touched now, but by an instruction that is run by itself. @default it may be */
  isTooFast?(st: number, low: number, high: number): boolean;
  /** So many bytes at `address` of the block are read or written. */
  accessed(st: number, size: number, access: Access): void;
}

export interface Mmu {
  /** Forgets all translations of the TLB that the block names. */
  flush(st: number): void;
  /**
   * Data of the page that holds a virtual address are elsewhere, at this image address, and can be written, whatever page tables say; 0 =
   * not any more. TLBs do not know it: what they have of that page has to be forgotten first.
   */
  redirect(low: number, high: number, to: number): void;
  /** Forgets that the page at this image address may be written, of which nobody else has code. */
  protect(st: number, page: number): void;
  /** Whether the TLB lets the page at `address` of the block be written, which was looked up just now. */
  mayWrite(st: number): boolean;
  /** Forgets those of the page that holds an address, in the TLB at this image address. */
  invalidate(tlb: number, low: number, high: number): void;
  /** Image address of the page that holds a virtual address; −1: an exception is set up in the VCPU's block. */
  translate(st: number, low: number, high: number, access: Access): number;
  /** The same as far as the TLB knows; −1: it is to be looked up. */
  known(st: number, low: number, high: number, forWrite: boolean): number;
  /** The same of an address in one piece. */
  pageOf(st: number, address: bigint, access: Access): number;
  /** Pages of the `size` bytes at `address` of the block, the same one twice where they lie in one; the first is −1 where one faults. */
  pagesOf(st: number, size: number, access: Access): readonly [number, number];
  /** So many bytes at `address` of the block are read or written, whose pages were looked up by the others of these functions. */
  accessed(st: number, size: number, access: Access): void;
  /** See Services in handlers.ts. */
  load(st: number, size: number, forWrite: boolean): number;
  store(st: number, size: number): number;
}

/** The page after that of an address, in halves. */
export function pageAfter(low: number, high: number): readonly [low: number, high: number] {
  const next = ((low & ~4095) + 4096) | 0;
  return [next, next === 0 ? (high + 1) | 0 : high];
}

export function mmu(
  image: Image,
  memory: MachineMemory,
  code: CodeFrames,
  shared: SharedPages | undefined,
  rootOf: (st: number) => number,
  watch: Watch,
): Mmu {
  const { i32, u8 } = image;
  const u16 = new Uint16Array(image.buffer);
  const i64 = new BigInt64Array(image.buffer);
  const word = (address: number): number => address >> 2;
  const tlbOf = (st: number): number => i32[word(st + ST.tlb)]!;
  const used = usedPlaces(i32);

  /** Index into `i32` of the entry of place n. */
  const entryAt = (tlb: number, n: number, way: number): number =>
    word(tlb + way * TLB_WAY_BYTES + n * TLB_ENTRY.bytes);

  function forbidWrites(entry: number, n: number): void {
    i32[entry + word(TLB_ENTRY.writeTag)] = noPage(n);
    i32[entry + word(TLB_ENTRY.writeTag) + 1] = 0;
  }

  function forget(entry: number, n: number): void {
    i32[entry + word(TLB_ENTRY.readTag)] = noPage(n);
    i32[entry + word(TLB_ENTRY.readTag) + 1] = 0;
    forbidWrites(entry, n);
  }

  /** Whoever marks a frame as code reads it afterwards; whoever wrote one looks at the mark afterwards. Both need what was before done. */
  function fence(tlb: number): void {
    if (code.left !== undefined) Atomics.or(i32, word(tlb), 0);
  }

  /** Before an entry goes: code that was decoded since it was made may have been written by it. Afterwards nobody would know. */
  function leave(entry: number, n: number): void {
    if (code.left === undefined || i32[entry + word(TLB_ENTRY.writeTag)] === noPage(n)) return;
    const frame = i32[entry + word(TLB_ENTRY.page)]!;
    // 0: of a TLB that was not used yet.
    if (frame !== 0) code.left(frame);
  }

  /**
   * A paging-structure cache of an entry for data and one for code (Intel SDM vol. 3, 4.10.3): most pages that are looked up lie beside the last
   * one. It goes with any translation that does. Where code is looked for is each worker's own affair, and not to be seen in what comes of
   * accesses to data: hence the two.
   */
  const walkOf = (tlb: number, access: Access): number => word(tlb + TLB.walk) + (access === 'fetch' ? WALK.words : 0);
  const WALK = { root: 0, low: 1, high: 2, table: 3, words: 4 } as const;
  const LARGE_BITS = 21;

  function forgetWalk(tlb: number): void {
    i32[walkOf(tlb, 'read') + WALK.root] = 0;
    i32[walkOf(tlb, 'fetch') + WALK.root] = 0;
  }

  function flush(st: number): void {
    const tlb = tlbOf(st);
    fence(tlb);
    forgetWalk(tlb);
    used.take(word(tlb + TLB.used), (n) => {
      for (let way = 0; way < TLB_WAYS; way++) {
        const entry = entryAt(tlb, n, way);
        leave(entry, n);
        forget(entry, n);
      }
    });
  }

  function invalidate(tlb: number, low: number, high: number): void {
    forgetWalk(tlb);
    const n = tlbPlace(low);
    for (let way = 0; way < TLB_WAYS; way++) {
      const entry = entryAt(tlb, n, way);
      // What may be written may be read: the other tag says no page that this one does not.
      const tag = entry + word(TLB_ENTRY.readTag);
      if (i32[tag] !== (low & ~4095) || i32[tag + 1] !== high) continue;
      fence(tlb);
      leave(entry, n);
      forget(entry, n);
    }
  }

  function fault(st: number, low: number, high: number, errorCode: number): number {
    i32[word(st + ST.vector)] = VECTOR.PF;
    i32[word(st + ST.errorCode)] = errorCode | ERROR.user;
    i32[word(st + ST.cr2)] = low;
    i32[word(st + ST.cr2) + 1] = high;
    return -1;
  }

  /** An address that is not canonical: of the stack it is another exception. */
  function protection(st: number, access: Access): number {
    const record = i32[word(st + ST.record)]!;
    const isStack = access !== 'fetch' && record !== 0 && u16[(record + REC.segment) >> 1] === ST.stack;
    i32[word(st + ST.vector)] = isStack ? VECTOR.SS : VECTOR.GP;
    i32[word(st + ST.errorCode)] = 0;
    return -1;
  }

  let [redirectedTo, redirectedLow, redirectedHigh] = [0, 0, 0];

  function translate(st: number, low: number, high: number, access: Access): number {
    if (!isCanonical(high)) return protection(st, access);
    if (redirectedTo !== 0 && (low & ~4095) === redirectedLow && high === redirectedHigh && access !== 'fetch')
      return redirectedTo;
    const wanted = access === 'write' ? ERROR.write : access === 'fetch' ? ERROR.fetch : 0;
    const root = rootOf(st);
    const last = walkOf(tlbOf(st), access);
    const isRemembered = tlbOf(st) !== 0;
    const isNear =
      isRemembered &&
      i32[last + WALK.root] === root + 1 &&
      i32[last + WALK.low] === low >>> LARGE_BITS &&
      i32[last + WALK.high] === high;
    let table = isNear ? i32[last + WALK.table]! & ~1 : memory.addressOf(root);
    let isWritable = !isNear || (i32[last + WALK.table]! & 1) !== 0;
    // What is remembered of code may be executed.
    let [isUser, isExecutable] = [true, true];
    let at = 0;
    for (let level = isNear ? 1 : 4; level > 0; level--) {
      if (table < 0) return fault(st, low, high, wanted);
      at = word(table + 8 * indexOf(level, low, high));
      const entry = Atomics.load(i32, at);
      if ((entry & PTE.present) === 0) return fault(st, low, high, wanted);
      const upper = i32[at + 1]!;
      if ((entry & PTE.user) === 0) isUser = false;
      if ((entry & PTE.rw) === 0) isWritable = false;
      if ((upper & PTE_HIGH.nx) !== 0) isExecutable = false;
      // Guests have no large pages.
      if (level > 1 && (entry & PTE.pse) !== 0) return fault(st, low, high, wanted | ERROR.present | 8);
      // What all levels say together counts, once all are there.
      const isAllowed = isUser && (access !== 'write' || isWritable) && (access !== 'fetch' || isExecutable);
      if (level === 1 && !isAllowed) return fault(st, low, high, wanted | ERROR.present);
      table = memory.addressOf((upper & 0xfffff) * 0x100000 + (entry >>> 12));
      const seen = PTE.accessed | (level === 1 && access === 'write' ? PTE.dirty : 0);
      // Not where it was changed meanwhile: what it was then need not be an entry any more.
      if ((entry & seen) !== seen && Atomics.compareExchange(i32, at, entry, entry | seen) !== entry)
        return translate(st, low, high, access);
      if (level === 2 && table >= 0 && isUser && isRemembered && (access !== 'fetch' || isExecutable)) {
        i32[last + WALK.root] = root + 1;
        i32[last + WALK.low] = low >>> LARGE_BITS;
        i32[last + WALK.high] = high;
        i32[last + WALK.table] = table | (isWritable ? 1 : 0);
      }
    }
    if (table < 0) return fault(st, low, high, wanted);
    if (shared?.isShared(st, table) === true) {
      // Never remembered, so that each access comes here.
      if (shared.isInTurn()) return table;
      i32[word(st + ST.vector)] = VECTOR.kept;
      return -1;
    }
    if (access === 'fetch') return table;
    if (watch.isTooFast?.(st, low, high) === true) {
      i32[word(st + ST.vector)] = VECTOR.kept;
      return -1;
    }
    const isDirty = (i32[at]! & PTE.dirty) !== 0;
    if (!watch.isWatched(st, low, high))
      remember(tlbOf(st), low, high, table, isWritable && isDirty && !code.hasCode(table));
    return table;
  }

  /** In the first way; what was there goes to the second, unless it is the same page, of which one entry must know all. */
  function remember(tlb: number, low: number, high: number, frame: number, mayBeWritten: boolean): void {
    const n = tlbPlace(low);
    const page = low & ~4095;
    const [first, second] = [entryAt(tlb, n, 0), entryAt(tlb, n, 1)];
    const isSame = i32[first] === page && i32[first + 1] === high;
    fence(tlb);
    leave(isSame ? first : second, n);
    used.add(word(tlb + TLB.used), n);
    if (!isSame) for (let k = 0; k < TLB_ENTRY.bytes / 4; k++) i32[second + k] = i32[first + k]!;
    i32[first + word(TLB_ENTRY.page)] = frame;
    i32[first + word(TLB_ENTRY.readTag)] = page;
    i32[first + word(TLB_ENTRY.readTag) + 1] = high;
    i32[first + word(TLB_ENTRY.writeTag)] = mayBeWritten ? page : noPage(n);
    i32[first + word(TLB_ENTRY.writeTag) + 1] = mayBeWritten ? high : 0;
  }

  const lowOf = (st: number): number => i32[word(st + ST.address)]!;
  const highOf = (st: number): number => i32[word(st + ST.address) + 1]!;

  function pagesOf(st: number, size: number, access: Access): readonly [number, number] {
    const [low, high] = [lowOf(st), highOf(st)];
    if ((low & 4095) + size <= 4096) {
      const page = translate(st, low, high, access);
      return [page, page];
    }
    const [next, nextHigh] = pageAfter(low, high);
    // All of the address is looked at before any page.
    if (!isCanonical(nextHigh)) return [protection(st, access), -1];
    const first = translate(st, low, high, access);
    if (first < 0) return [-1, -1];
    const second = translate(st, next, nextHigh, access);
    return second < 0 ? [-1, -1] : [first, second];
  }

  function protect(st: number, page: number): void {
    for (let way = 0; way < TLB_WAYS; way++) {
      for (let n = 0; n < TLB_ENTRIES; n++) {
        const entry = entryAt(tlbOf(st), n, way);
        if (i32[entry + word(TLB_ENTRY.page)] === page) forbidWrites(entry, n);
      }
    }
  }

  return {
    flush,
    redirect(low, high, to) {
      [redirectedTo, redirectedLow, redirectedHigh] = [to, low & ~4095, high];
    },
    protect,
    mayWrite(st) {
      const tag = entryAt(tlbOf(st), tlbPlace(lowOf(st)), 0) + word(TLB_ENTRY.writeTag);
      return i32[tag] === (lowOf(st) & ~4095) && i32[tag + 1] === highOf(st);
    },
    invalidate,
    translate,
    known(st, low, high, forWrite) {
      const n = tlbPlace(low);
      const at = word(forWrite ? TLB_ENTRY.writeTag : TLB_ENTRY.readTag);
      for (let way = 0; way < TLB_WAYS; way++) {
        const entry = entryAt(tlbOf(st), n, way);
        if (i32[entry + at] === (low & ~4095) && i32[entry + at + 1] === high)
          return i32[entry + word(TLB_ENTRY.page)]!;
      }
      return -1;
    },
    pagesOf,
    accessed: watch.accessed,
    pageOf: (st, address, access) =>
      translate(st, Number(BigInt.asIntN(32, address)), Number(BigInt.asIntN(32, address >> 32n)), access),
    load(st, size, forWrite) {
      const offset = lowOf(st) & 4095;
      const [first, second] = pagesOf(st, size, forWrite ? 'write' : 'read');
      if (first < 0) return -1;
      watch.accessed(st, size, 'read');
      const inFirst = 4096 - offset;
      if (size <= inFirst) return first + offset;
      for (let n = 0; n < size; n++) {
        u8[st + ST.value + n] = u8[n < inFirst ? first + offset + n : second + n - inFirst]!;
      }
      return st + ST.value;
    },
    store(st, size) {
      const offset = lowOf(st) & 4095;
      const inFirst = 4096 - offset;
      const [first, second] = pagesOf(st, size, 'write');
      if (first < 0) return -1;
      watch.accessed(st, size, 'write');
      const to = first + offset;
      // In one piece, as others see it.
      if (size === 8 && to % 8 === 0) Atomics.store(i64, to >> 3, i64[(st + ST.value) >> 3]!);
      else if (size === 4 && to % 4 === 0) i32[to >> 2] = i32[(st + ST.value) >> 2]!;
      else if (size === 2 && to % 2 === 0) u16[to >> 1] = u16[(st + ST.value) >> 1]!;
      else
        for (let n = 0; n < size; n++) {
          u8[n < inFirst ? first + offset + n : second + n - inFirst] = u8[st + ST.value + n]!;
        }
      const isCode = code.written(first);
      return (inFirst < size && code.written(second)) || isCode ? 1 : 0;
    },
  };
}
