/**
 * How the hypervisor enters the kernel of a 64-bit paravirtual guest, and how that goes back (xen/arch/x86/pv/traps.c, pv/iret.c,
 * x86_64/entry.S, of Xen 4.17; arch-x86/xen-x86_64.h): exceptions by the table of set_trap_table, upcalls at the event callback, system
 * calls of applications at theirs, and the iret hypercall.
 *
 * Kernel and applications both run in ring 3, with page tables and a base of GS of their own: what changes from one to the other is `toggle`.
 * An entry leaves a frame on the kernel's stack, which is aligned to 16: RCX, R11, the error code of exceptions that have one, RIP, CS,
 * RFLAGS, RSP, SS. CS of the kernel has privilege 0 there; above it stands whether upcalls were masked, in place of IF. Behind R11 the failsafe
 * callback, at which the kernel is entered where iret could not be done, has DS, ES, FS and GS.
 *
 * Words are copied in halves, as they lie in memory: to make numbers of 64 bits of them took most of an entry.
 */
import { isCanonical } from '../../hv/mm/records.js';
import type { Image } from '../../shared/image.js';
import {
  FLAT_KERNEL_CS,
  FLAT_KERNEL_SS,
  FLAT_RING3_CS32,
  FLAT_USER_CS,
  FLAT_USER_SS,
  VGCF_in_syscall,
} from '../../shared/public/arch-x86.js';
import { CALLBACKTYPE_event, CALLBACKTYPE_failsafe, CALLBACKTYPE_syscall } from '../../shared/public/callback.js';
import type { X86Core } from './core.js';
import { type EntryTable, entryTable } from './entry-table.js';
import { readRflags, writeRflags } from './rflags.js';
import { FLAG, HAS_ERROR_CODE, LOADED_BY_IRET, RSP, SEGMENT, ST, VECTOR } from './state.js';

/** Of a page fault's error code: the access came from user mode. */
const PF_USER = 4;
/** Of a selector error code: it names a gate, as INT does that ring 3 may not execute. */
const GATE = 2;
/** INT n, without prefixes; SYSCALL. */
const [INT_BYTES, SYSCALL_BYTES] = [2, 2];
const RPL = 3;
/** Rings of a kernel and of applications, to those who ask who may raise an exception by INT. */
const RING = { kernel: 1, application: 3 } as const;
const IOPL_SHIFT = 12;
/** What an entry clears. */
const CLEARED = FLAG.TF | FLAG.RF | FLAG.NT | FLAG.AC;
/** Words of iret_context. */
const IRET = { rax: 0, r11: 1, rcx: 2, flags: 3, rip: 4, cs: 5, rflags: 6, rsp: 7, ss: 8, count: 9 } as const;
/** Words of a frame at most: RCX, R11, four selectors, an error code, RIP, CS, RFLAGS, RSP, SS. */
const MOST_WORDS = 12;
/** No error code. */
const NONE = -1;
const [RAX, RCX, R11] = [0, 1, 11];

/** What the hypervisor knows of a VCPU. Its upcall mask, and where the address of its last page fault goes, are in the guest's own memory. */
export interface GuestInfo {
  isMasked(v: number): boolean;
  setMasked(v: number, isMasked: boolean): void;
  setCr2(v: number, low: number, high: number): void;
  /** Whether there is a page table for its applications. */
  hasUserTable(v: number): boolean;
  /** Whether its kernel sees the I/O privilege level in frames, and sets it by them. */
  showsIopl(v: number): boolean;
  /** Finds a page of its local descriptor table that has an entry at this offset. @returns whether there is one */
  findLocalTable(v: number, offset: number): boolean;
  /** Says something of it on the hypervisor's console. */
  say(v: number, what: string): void;
}

export interface Entries extends EntryTable {
  /** The exception in v's block, which runs on p, becomes the kernel's. False: it has no handler for it, or no stack. */
  exception(v: number, p: number): boolean;
  /** The event callback. False: there is no stack. */
  upcall(v: number, p: number): boolean;
  /** A non-maskable interrupt, from now on masked until the next iret. False: there is no stack. */
  nmi(v: number, p: number): boolean;
  /** SYSCALL of an application. False: nobody serves it, or there is no stack. */
  syscall(v: number, p: number): boolean;
  /** HYPERVISOR_iret. False: its frame is not there, or it leads nowhere, and nobody is there to be told so. */
  iret(v: number, p: number): boolean;
}

export function entries(image: Image, core: X86Core, info: GuestInfo, blockOf: (v: number) => number): Entries {
  const table = entryTable(image);
  const view = new DataView(image.buffer);
  const { i32 } = image;
  const word = (address: number): number => address >> 2;
  const gprAt = (st: number, n: number): number => word(st + ST.gpr + 8 * n);
  const selector = (st: number, n: number): number => view.getUint16(st + ST.selectors + 2 * n, true);
  const isUser = (st: number): boolean => i32[word(st + ST.isUser)] !== 0;
  const iopl = (v: number): number => (info.showsIopl(v) ? table.iopl(v) << IOPL_SHIFT : 0);

  /** The frame that is being written or read: halves of its words. */
  const frame = new Int32Array(2 * MOST_WORDS);
  let words = 0;
  function push(low: number, high: number): void {
    frame[2 * words] = low;
    frame[2 * words + 1] = high;
    words++;
  }
  /** The word at an index of `i32`. */
  const pushAt = (at: number): void => push(i32[at]!, i32[at + 1]!);

  function set(at: number, low: number, high: number): void {
    i32[at] = low;
    i32[at + 1] = high;
  }
  /** A word of what was read. */
  const setFrom = (at: number, n: number): void => set(at, frame[2 * n]!, frame[2 * n + 1]!);

  /** From the kernel to its applications, or back. */
  function toggle(st: number): void {
    i32[word(st + ST.isUser)] = isUser(st) ? 0 : 1;
    const [own, other] = [word(st + ST.gsBase), word(st + ST.userGsBase)];
    const [low, high] = [i32[other]!, i32[other + 1]!];
    set(other, i32[own]!, i32[own + 1]!);
    set(own, low, high);
  }

  /** RIP moves by a few bytes. */
  function moveRip(st: number, bytes: number): void {
    const at = word(st + ST.rip);
    const low = (i32[at]! >>> 0) + bytes;
    set(at, low, i32[at + 1]! + Math.floor(low / 2 ** 32));
  }

  /** Code goes on elsewhere than behind what it did last. */
  function goOn(st: number, low: number, high: number, cs: number, ss: number): void {
    set(word(st + ST.rip), low, high);
    view.setUint16(st + ST.selectors + 2 * SEGMENT.CS, cs, true);
    view.setUint16(st + ST.selectors + 2 * SEGMENT.SS, ss, true);
    i32[word(st + ST.syscallStep)] = 0;
    i32[word(st + ST.shadow)] = 0;
  }

  /**
   * Enters v's kernel, from wherever it is. @param place of its table @param errorCode NONE: the frame has none
   * @param hasSelectors whether it has those of data segments
   */
  function enter(
    v: number,
    p: number,
    place: number,
    masksEvents: boolean,
    errorCode: number,
    hasSelectors = false,
  ): boolean {
    if (!table.isSet(place)) return false;
    const st = blockOf(v);
    const wasUser = isUser(st);
    const isMasked = info.isMasked(v);
    const flags = readRflags(view, st);
    const cs = selector(st, SEGMENT.CS) & (wasUser ? 0xffff : ~RPL);
    words = 0;
    pushAt(gprAt(st, RCX));
    pushAt(gprAt(st, R11));
    if (hasSelectors) for (const n of [SEGMENT.DS, SEGMENT.ES, SEGMENT.FS, SEGMENT.GS]) push(selector(st, n), 0);
    if (errorCode !== NONE) push(errorCode, 0);
    pushAt(word(st + ST.rip));
    push(cs, isMasked ? 1 : 0);
    push((flags & ~(FLAG.IF | FLAG.IOPL)) | iopl(v) | (isMasked ? 0 : FLAG.IF), 0);
    pushAt(word(st + RSP));
    push(selector(st, SEGMENT.SS), 0);
    if (wasUser) toggle(st);
    const top = word(wasUser ? table.kernelStack(v) : st + RSP);
    const low = ((i32[top]! & ~15) >>> 0) - 8 * words;
    const high = low < 0 ? i32[top + 1]! - 1 : i32[top + 1]!;
    if (!core.write(st, v, p, low | 0, high, frame, words)) {
      // As it was, for those who look at it.
      if (wasUser) toggle(st);
      return false;
    }
    set(word(st + RSP), low, high);
    const [toLow, toHigh] = [i32[word(place)]!, i32[word(place) + 1]!];
    goOn(st, toLow, toHigh, FLAT_KERNEL_CS[64], FLAT_KERNEL_SS[64]);
    writeRflags(view, st, flags & ~CLEARED);
    // By SYSRET, which takes them from there.
    set(gprAt(st, RCX), toLow, toHigh);
    set(gprAt(st, R11), flags & ~CLEARED, 0);
    if (masksEvents) info.setMasked(v, true);
    return true;
  }

  /** An exception that is not its own instruction's, but that of the one which the block names. */
  function raise(v: number, p: number, vector: number, errorCode: number): boolean {
    return enter(v, p, table.trap(v, vector), table.masksEvents(v, vector), errorCode);
  }

  /** Whether code may go on with these selectors; pages of the local table are found on the way. */
  function mayReturnTo(v: number, cs: number, ss: number): boolean {
    const st = blockOf(v);
    while (!core.segments.mayReturnTo(st, cs, ss)) {
      if (view.getInt32(st + ST.vector, true) !== VECTOR.localTable) return false;
      if (!info.findLocalTable(v, view.getInt32(st + ST.errorCode, true))) return false;
    }
    return true;
  }

  return {
    ...table,

    exception(v, p) {
      const st = blockOf(v);
      const vector = i32[word(st + ST.vector)]!;
      const errorCode = i32[word(st + ST.errorCode)]!;
      if (vector === VECTOR.PF) {
        info.setCr2(v, i32[word(st + ST.cr2)]!, i32[word(st + ST.cr2) + 1]!);
        // To the processor all of it is user mode.
        return raise(v, p, vector, isUser(st) ? errorCode | PF_USER : errorCode & ~PF_USER);
      }
      if (vector === VECTOR.GP && (errorCode & RPL) === GATE) {
        const gate = errorCode >> 3;
        const isAllowed = table.dpl(v, gate) >= (isUser(st) ? RING.application : RING.kernel);
        if (isAllowed && table.isSet(table.trap(v, gate))) {
          moveRip(st, INT_BYTES);
          return raise(v, p, gate, NONE);
        }
      }
      return raise(v, p, vector, HAS_ERROR_CODE.has(vector) ? errorCode : NONE);
    },

    nmi: (v, p) => raise(v, p, VECTOR.NMI, NONE),

    upcall: (v, p) => enter(v, p, table.callback(v, CALLBACKTYPE_event), true, NONE),

    syscall(v, p) {
      const st = blockOf(v);
      const callback = table.callback(v, CALLBACKTYPE_syscall);
      if (!table.isSet(callback)) {
        // The instruction is none.
        moveRip(st, -SYSCALL_BYTES);
        return raise(v, p, VECTOR.UD, NONE);
      }
      if (!enter(v, p, callback, table.callbackMasksEvents(v, CALLBACKTYPE_syscall), NONE)) return false;
      i32[word(st + ST.df)] = 0;
      set(gprAt(st, R11), readRflags(view, st), 0);
      return true;
    },

    iret(v, p) {
      const st = blockOf(v);
      const sp = word(st + RSP);
      if (!core.read(st, v, p, i32[sp]!, i32[sp + 1]!, frame, IRET.count)) {
        info.say(v, 'Fault while reading IRET context from guest stack');
        return false;
      }
      const low = (n: number): number => frame[2 * n]!;
      if ((low(IRET.cs) & RPL) === RPL) {
        if (!info.hasUserTable(v)) {
          info.say(v, 'Guest switching to user mode with no user page tables');
          i32[word(st + ST.vector)] = VECTOR.kept;
          return false;
        }
        toggle(st);
      }
      const flags = low(IRET.rflags);
      if (info.showsIopl(v)) table.setIopl(v, (flags & FLAG.IOPL) >> IOPL_SHIFT);
      writeRflags(view, st, (flags & LOADED_BY_IRET) | FLAG.IF);
      setFrom(sp, IRET.rsp);
      setFrom(gprAt(st, RAX), IRET.rax);
      info.setMasked(v, (flags & FLAG.IF) === 0);
      const [code, stack] = [(low(IRET.cs) & 0xffff) | RPL, (low(IRET.ss) & 0xffff) | RPL];
      const isFromSyscall = (low(IRET.flags) & VGCF_in_syscall[64]) !== 0;
      setFrom(gprAt(st, RCX), isFromSyscall ? IRET.rip : IRET.rcx);
      if (isFromSyscall) set(gprAt(st, R11), readRflags(view, st), 0);
      else setFrom(gprAt(st, R11), IRET.r11);
      const [to, toHigh] = [low(IRET.rip), frame[2 * IRET.rip + 1]!];
      // SYSRET looks at no selectors.
      if (isFromSyscall && isCanonical(toHigh) && code !== FLAT_RING3_CS32[64]) {
        goOn(st, to, toHigh, FLAT_USER_CS[64], FLAT_USER_SS[64]);
        return true;
      }
      goOn(st, to, toHigh, code, stack);
      if (mayReturnTo(v, code, stack) && isCanonical(toHigh)) return true;
      const failsafe = table.callback(v, CALLBACKTYPE_failsafe);
      return enter(v, p, failsafe, table.callbackMasksEvents(v, CALLBACKTYPE_failsafe), NONE, true);
    },
  };
}
