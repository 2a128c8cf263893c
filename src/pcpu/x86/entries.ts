/**
 * How the hypervisor enters the kernel of a 64-bit paravirtual guest, and how that goes back (xen/arch/x86/pv/traps.c, pv/iret.c,
 * x86_64/entry.S, of Xen 4.17; arch-x86/xen-x86_64.h): exceptions by the table of set_trap_table, upcalls at the event callback, system
 * calls of applications at theirs, and the iret hypercall.
 *
 * Kernel and applications both run in ring 3, with page tables and a base of GS of their own: what changes from one to the other is `toggle`.
 * An entry leaves a frame on the kernel's stack, which is aligned to 16: RCX, R11, the error code of exceptions that have one, RIP, CS,
 * RFLAGS, RSP, SS. CS of the kernel has privilege 0 there; above it stands whether upcalls were masked, in place of IF. Behind R11 the failsafe
 * callback, at which the kernel is entered where iret could not be done, has DS, ES, FS and GS.
 */
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
import { isCanonical } from './emulated.js';
import { type EntryPoint, type EntryTable, entryTable } from './entry-table.js';
import { readRflags, writeRflags } from './rflags.js';
import { FLAG, HAS_ERROR_CODE, LOADED_BY_IRET, RSP, SEGMENT, ST, VECTOR } from './state.js';

/** Of a page fault's error code: the access came from user mode. */
const PF_USER = 4;
/** Of a selector error code: it names a gate, as INT does that ring 3 may not execute. */
const GATE = 2;
/** INT n, without prefixes; SYSCALL. */
const [INT_BYTES, SYSCALL_BYTES] = [2n, 2n];
const RPL = 3;
/** Rings of a kernel and of applications, to those who ask who may raise an exception by INT. */
const RING = { kernel: 1, application: 3 } as const;
const IOPL_SHIFT = 12;
/** What an entry clears. */
const CLEARED = FLAG.TF | FLAG.RF | FLAG.NT | FLAG.AC;
/** Words of iret_context: rax, r11, rcx, flags, rip, cs, rflags, rsp, ss. */
const IRET_WORDS = 9;
const [RAX, RCX, R11] = [0, 1, 11];

/** What the hypervisor knows of a VCPU. Its upcall mask, and where the address of its last page fault goes, are in the guest's own memory. */
export interface GuestInfo {
  isMasked(v: number): boolean;
  setMasked(v: number, isMasked: boolean): void;
  setCr2(v: number, address: bigint): void;
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
  /** SYSCALL of an application. False: nobody serves it, or there is no stack. */
  syscall(v: number, p: number): boolean;
  /** HYPERVISOR_iret. False: its frame is not there, or it leads nowhere, and nobody is there to be told so. */
  iret(v: number, p: number): boolean;
}

interface How {
  readonly errorCode?: number | undefined;
  readonly hasSelectors?: boolean;
}

export function entries(image: Image, core: X86Core, info: GuestInfo, blockOf: (v: number) => number): Entries {
  const table = entryTable(image);
  const view = new DataView(image.buffer);
  const gpr = (st: number, n: number): bigint => view.getBigUint64(st + ST.gpr + 8 * n, true);
  const setGpr = (st: number, n: number, x: bigint): void => view.setBigUint64(st + ST.gpr + 8 * n, x, true);
  const rip = (st: number): bigint => view.getBigUint64(st + ST.rip, true);
  const selector = (st: number, n: number): bigint => BigInt(view.getUint16(st + ST.selectors + 2 * n, true));
  const isUser = (st: number): boolean => view.getInt32(st + ST.isUser, true) !== 0;
  const iopl = (v: number): number => (info.showsIopl(v) ? table.iopl(v) << IOPL_SHIFT : 0);

  /** From the kernel to its applications, or back. */
  function toggle(st: number): void {
    view.setInt32(st + ST.isUser, isUser(st) ? 0 : 1, true);
    const other = view.getBigUint64(st + ST.userGsBase, true);
    view.setBigUint64(st + ST.userGsBase, view.getBigUint64(st + ST.gsBase, true), true);
    view.setBigUint64(st + ST.gsBase, other, true);
  }

  /** Code goes on elsewhere than behind what it did last. */
  function goOn(st: number, address: bigint, cs: number, ss: number): void {
    view.setBigUint64(st + ST.rip, address, true);
    view.setUint16(st + ST.selectors + 2 * SEGMENT.CS, cs, true);
    view.setUint16(st + ST.selectors + 2 * SEGMENT.SS, ss, true);
    view.setInt32(st + ST.syscallStep, 0, true);
    view.setInt32(st + ST.shadow, 0, true);
  }

  /** Enters v's kernel, from wherever it is. */
  function enter(v: number, p: number, { address, masksEvents }: EntryPoint, how: How = {}): boolean {
    if (address === 0n) return false;
    const st = blockOf(v);
    const wasUser = isUser(st);
    const isMasked = info.isMasked(v);
    const flags = readRflags(view, st);
    const rsp = view.getBigUint64(st + RSP, true);
    const cs = selector(st, SEGMENT.CS) & (wasUser ? 0xffffn : ~BigInt(RPL));
    const { DS, ES, FS, GS } = SEGMENT;
    const frame = [
      ...[gpr(st, RCX), gpr(st, R11)],
      ...(how.hasSelectors === true ? [DS, ES, FS, GS].map((n) => selector(st, n)) : []),
      ...(how.errorCode === undefined ? [] : [BigInt(how.errorCode)]),
      rip(st),
      cs | (isMasked ? 1n << 32n : 0n),
      BigInt((flags & ~(FLAG.IF | FLAG.IOPL)) | iopl(v) | (isMasked ? 0 : FLAG.IF)),
      rsp,
      selector(st, SEGMENT.SS),
    ];
    if (wasUser) toggle(st);
    const top = (wasUser ? table.kernelStack(v) : rsp) & ~15n;
    const sp = BigInt.asUintN(64, top - BigInt(8 * frame.length));
    if (!core.write(st, v, p, sp, frame)) {
      // As it was, for those who look at it.
      if (wasUser) toggle(st);
      return false;
    }
    view.setBigUint64(st + RSP, sp, true);
    goOn(st, address, FLAT_KERNEL_CS[64], FLAT_KERNEL_SS[64]);
    writeRflags(view, st, flags & ~CLEARED);
    // By SYSRET, which takes them from there.
    setGpr(st, RCX, address);
    setGpr(st, R11, BigInt(readRflags(view, st)));
    if (masksEvents) info.setMasked(v, true);
    return true;
  }

  /** An exception that is not its own instruction's, but that of the one which the block names. */
  function raise(v: number, p: number, vector: number, errorCode: number | undefined): boolean {
    return enter(v, p, table.trap(v, vector), { errorCode });
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
      const vector = view.getInt32(st + ST.vector, true);
      const errorCode = view.getInt32(st + ST.errorCode, true);
      if (vector === VECTOR.PF) {
        info.setCr2(v, view.getBigUint64(st + ST.cr2, true));
        // To the processor all of it is user mode.
        return raise(v, p, vector, isUser(st) ? errorCode | PF_USER : errorCode & ~PF_USER);
      }
      if (vector === VECTOR.GP && (errorCode & RPL) === GATE) {
        const gate = errorCode >> 3;
        const isAllowed = table.dpl(v, gate) >= (isUser(st) ? RING.application : RING.kernel);
        if (isAllowed && table.trap(v, gate).address !== 0n) {
          view.setBigUint64(st + ST.rip, rip(st) + INT_BYTES, true);
          return raise(v, p, gate, undefined);
        }
      }
      return raise(v, p, vector, HAS_ERROR_CODE.has(vector) ? errorCode : undefined);
    },

    upcall: (v, p) => enter(v, p, { ...table.callback(v, CALLBACKTYPE_event), masksEvents: true }),

    syscall(v, p) {
      const st = blockOf(v);
      const callback = table.callback(v, CALLBACKTYPE_syscall);
      if (callback.address === 0n) {
        // The instruction is none.
        view.setBigUint64(st + ST.rip, BigInt.asUintN(64, rip(st) - SYSCALL_BYTES), true);
        return raise(v, p, VECTOR.UD, undefined);
      }
      if (!enter(v, p, callback)) return false;
      view.setInt32(st + ST.df, 0, true);
      setGpr(st, R11, BigInt(readRflags(view, st)));
      return true;
    },

    iret(v, p) {
      const st = blockOf(v);
      const frame = core.read(st, v, p, view.getBigUint64(st + RSP, true), IRET_WORDS);
      if (frame === undefined) {
        info.say(v, 'Fault while reading IRET context from guest stack');
        return false;
      }
      const [rax, r11, rcx, how, to, cs, rflags, rsp, ss] = frame as [
        ...[bigint, bigint, bigint, bigint, bigint],
        ...[bigint, bigint, bigint, bigint],
      ];
      if ((cs & BigInt(RPL)) === BigInt(RPL)) {
        if (!info.hasUserTable(v)) {
          info.say(v, 'Guest switching to user mode with no user page tables');
          view.setInt32(st + ST.vector, VECTOR.kept, true);
          return false;
        }
        toggle(st);
      }
      const flags = Number(BigInt.asIntN(32, rflags));
      if (info.showsIopl(v)) table.setIopl(v, (flags & FLAG.IOPL) >> IOPL_SHIFT);
      writeRflags(view, st, (flags & LOADED_BY_IRET) | FLAG.IF);
      view.setBigUint64(st + RSP, rsp, true);
      setGpr(st, RAX, rax);
      info.setMasked(v, (flags & FLAG.IF) === 0);
      const [code, stack] = [Number(cs & 0xffffn) | RPL, Number(ss & 0xffffn) | RPL];
      const isFromSyscall = (Number(how & 0xffffffffn) & VGCF_in_syscall[64]) !== 0;
      setGpr(st, RCX, isFromSyscall ? to : rcx);
      setGpr(st, R11, isFromSyscall ? BigInt(readRflags(view, st)) : r11);
      // SYSRET looks at no selectors.
      if (isFromSyscall && isCanonical(to) && code !== FLAT_RING3_CS32[64]) {
        goOn(st, to, FLAT_USER_CS[64], FLAT_USER_SS[64]);
        return true;
      }
      goOn(st, to, code, stack);
      if (mayReturnTo(v, code, stack) && isCanonical(to)) return true;
      return enter(v, p, table.callback(v, CALLBACKTYPE_failsafe), { hasSelectors: true });
    },
  };
}
