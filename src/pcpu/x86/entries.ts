/**
 * How the hypervisor enters the kernel of a 64-bit paravirtual guest, and how that goes back (xen/arch/x86/pv/traps.c, x86_64/entry.S;
 * arch-x86/xen-x86_64.h): exceptions by the table of set_trap_table, upcalls at the event callback, and the iret hypercall.
 *
 * An entry leaves a frame on the kernel's stack, which is aligned to 16: RCX, R11, the error code of exceptions that have one, RIP, CS,
 * RFLAGS, RSP, SS. Above CS stands whether upcalls were masked, in place of IF.
 */
import type { Image } from '../../shared/image.js';
import { FLAT_KERNEL_CS, FLAT_KERNEL_SS, VGCF_in_syscall } from '../../shared/public/arch-x86.js';
import { CALLBACKTYPE_event } from '../../shared/public/callback.js';
import type { X86Core } from './core.js';
import { readRflags, writeRflags } from './rflags.js';
import { FLAG, HAS_ERROR_CODE, RSP, SEGMENT, ST, VECTOR } from './state.js';

/** Of trap_info.flags: rings that may raise it by INT, and whether it masks upcalls. */
const TRAP = { dpl: 3, masksEvents: 4 } as const;
const VECTORS = 256;
const TRAP_BYTES = 16;
/** Of a trap, and of what follows the table. Each callback has an address and whether it masks upcalls; the stack pointer is kept for user mode. */
const TABLE_BYTES = VECTORS * TRAP_BYTES;
const AT = {
  address: 0,
  flags: 8,
  callbacks: TABLE_BYTES,
  kernelSp: TABLE_BYTES + 48,
  iopl: TABLE_BYTES + 56,
  ldtEntries: TABLE_BYTES + 60,
  ldt: TABLE_BYTES + 64,
} as const;
export const ENTRIES_BYTES = TABLE_BYTES + 128;

/** Of a page fault's error code: the access came from user mode. */
const PF_USER = 4;
/** Of a selector error code: it names a gate, as INT does that ring 3 may not execute. */
const GATE = 2;
/** INT n, without prefixes. */
const INT_BYTES = 2;
const RPL = 3;
/** What an entry clears. */
const CLEARED = FLAG.TF | FLAG.RF | FLAG.NT | FLAG.AC;
/** Words of iret_context: rax, r11, rcx, flags, rip, cs, rflags, rsp, ss. */
const IRET_WORDS = 9;
const [RAX, RCX, R11] = [0, 1, 11];

/** The upcall mask of a VCPU, and where the address of its last page fault goes. In the guest's own memory. */
export interface GuestInfo {
  isMasked(v: number): boolean;
  setMasked(v: number, isMasked: boolean): void;
  setCr2(v: number, address: bigint): void;
}

export interface Entries {
  /** See TRAP for the flags; address 0 = none. */
  setTrap(v: number, vector: number, flags: number, address: bigint): void;
  clearTraps(v: number): void;
  /** @param type a CALLBACKTYPE */
  setCallback(v: number, type: number, address: bigint, masksEvents: boolean): void;
  hasEventCallback(v: number): boolean;
  setKernelStack(v: number, sp: bigint): void;
  /** The I/O privilege level that v's kernel has asked for. */
  iopl(v: number): number;
  setIopl(v: number, iopl: number): void;
  setLdt(v: number, address: bigint, entries: number): void;
  /** The exception in v's block, which runs on p, becomes the kernel's. False: it has no handler for it, or no stack. */
  exception(v: number, p: number): boolean;
  /** The event callback. False: there is no stack. */
  upcall(v: number, p: number): boolean;
  /** HYPERVISOR_iret. False: its frame is not there, or does not lead into the kernel. */
  iret(v: number, p: number): boolean;
  /** Forgets all there was of VCPU v. */
  made(v: number): void;
}

export function entries(image: Image, core: X86Core, info: GuestInfo, blockOf: (v: number) => number): Entries {
  const { base } = image.region('x86-entries');
  const view = new DataView(image.buffer);
  const of = (v: number): number => base + v * ENTRIES_BYTES;
  const trapOf = (v: number, vector: number): number => of(v) + vector * TRAP_BYTES;
  const callbackOf = (v: number, type: number): number => of(v) + AT.callbacks + 16 * type;
  const gpr = (st: number, n: number): bigint => view.getBigUint64(st + ST.gpr + 8 * n, true);
  const setGpr = (st: number, n: number, x: bigint): void => view.setBigUint64(st + ST.gpr + 8 * n, x, true);
  const selector = (st: number, n: number): bigint => BigInt(view.getUint16(st + ST.selectors + 2 * n, true));

  /** Enters v's kernel, from the kernel. */
  function enter(v: number, p: number, address: bigint, masksEvents: boolean, errorCode: number | undefined): boolean {
    const st = blockOf(v);
    const isMasked = info.isMasked(v);
    const flags = readRflags(view, st);
    const frame = [
      ...[gpr(st, RCX), gpr(st, R11)],
      ...(errorCode === undefined ? [] : [BigInt(errorCode)]),
      view.getBigUint64(st + ST.rip, true),
      (selector(st, SEGMENT.CS) & ~BigInt(RPL)) | (isMasked ? 1n << 32n : 0n),
      BigInt((flags & ~(FLAG.IF | FLAG.IOPL)) | (isMasked ? 0 : FLAG.IF)),
      view.getBigUint64(st + RSP, true),
      selector(st, SEGMENT.SS),
    ];
    const top = view.getBigUint64(st + RSP, true) & ~15n;
    const sp = BigInt.asUintN(64, top - BigInt(8 * frame.length));
    if (!core.write(st, v, p, sp, frame)) return false;
    view.setBigUint64(st + RSP, sp, true);
    goOn(st, address, FLAT_KERNEL_CS[64], FLAT_KERNEL_SS[64]);
    writeRflags(view, st, flags & ~CLEARED);
    if (masksEvents) info.setMasked(v, true);
    return true;
  }

  /** Code goes on elsewhere than behind what it did last. */
  function goOn(st: number, address: bigint, cs: number, ss: number): void {
    view.setBigUint64(st + ST.rip, address, true);
    view.setUint16(st + ST.selectors + 2 * SEGMENT.CS, cs, true);
    view.setUint16(st + ST.selectors + 2 * SEGMENT.SS, ss, true);
    view.setInt32(st + ST.syscallStep, 0, true);
    view.setInt32(st + ST.shadow, 0, true);
  }

  function raise(v: number, p: number, vector: number, errorCode: number | undefined): boolean {
    const trap = trapOf(v, vector);
    const address = view.getBigUint64(trap + AT.address, true);
    if (address === 0n) return false;
    return enter(v, p, address, (view.getInt32(trap + AT.flags, true) & TRAP.masksEvents) !== 0, errorCode);
  }

  return {
    setTrap(v, vector, flags, address) {
      view.setBigUint64(trapOf(v, vector) + AT.address, address, true);
      view.setInt32(trapOf(v, vector) + AT.flags, flags, true);
    },
    clearTraps: (v) => void image.u8.fill(0, of(v), of(v) + TABLE_BYTES),
    setCallback(v, type, address, masksEvents) {
      view.setBigUint64(callbackOf(v, type), address, true);
      view.setInt32(callbackOf(v, type) + 8, masksEvents ? 1 : 0, true);
    },
    hasEventCallback: (v) => view.getBigUint64(callbackOf(v, CALLBACKTYPE_event), true) !== 0n,
    iopl: (v) => view.getInt32(of(v) + AT.iopl, true),
    setIopl: (v, iopl) => view.setInt32(of(v) + AT.iopl, iopl, true),
    setLdt(v, address, count) {
      view.setBigUint64(of(v) + AT.ldt, address, true);
      view.setInt32(of(v) + AT.ldtEntries, count, true);
    },
    setKernelStack: (v, sp) => view.setBigUint64(of(v) + AT.kernelSp, sp, true),

    exception(v, p) {
      const st = blockOf(v);
      const vector = view.getInt32(st + ST.vector, true);
      const errorCode = view.getInt32(st + ST.errorCode, true);
      if (vector === VECTOR.PF) {
        info.setCr2(v, view.getBigUint64(st + ST.cr2, true));
        // To the hypervisor all of it is user mode.
        return raise(v, p, vector, errorCode & ~PF_USER);
      }
      if (vector === VECTOR.GP && (errorCode & RPL) === GATE) {
        const gate = errorCode >> 3;
        // The kernel's ring is 1 to those who say which may.
        const isAllowed = (view.getInt32(trapOf(v, gate) + AT.flags, true) & TRAP.dpl) >= 1;
        if (isAllowed && view.getBigUint64(trapOf(v, gate) + AT.address, true) !== 0n) {
          view.setBigUint64(st + ST.rip, view.getBigUint64(st + ST.rip, true) + BigInt(INT_BYTES), true);
          return raise(v, p, gate, undefined);
        }
      }
      return raise(v, p, vector, HAS_ERROR_CODE.has(vector) ? errorCode : undefined);
    },

    upcall: (v, p) => enter(v, p, view.getBigUint64(callbackOf(v, CALLBACKTYPE_event), true), true, undefined),

    iret(v, p) {
      const st = blockOf(v);
      const frame = core.read(st, v, p, view.getBigUint64(st + RSP, true), IRET_WORDS);
      if (frame === undefined) return false;
      const [rax, r11, rcx, how, rip, cs, rflags, rsp, ss] = frame as [
        ...[bigint, bigint, bigint, bigint, bigint],
        ...[bigint, bigint, bigint, bigint],
      ];
      // Applications have page tables of their own, which there are none of yet.
      const isKernel = (cs & BigInt(RPL)) !== BigInt(RPL);
      const isFlat =
        (Number(cs & 0xffffn) | RPL) === FLAT_KERNEL_CS[64] && (Number(ss & 0xffffn) | RPL) === FLAT_KERNEL_SS[64];
      if (!isKernel || !isFlat) return false;
      goOn(st, rip, FLAT_KERNEL_CS[64], FLAT_KERNEL_SS[64]);
      const flags = Number(BigInt.asIntN(32, rflags));
      writeRflags(view, st, (flags & ~FLAG.IOPL & 0x3fffff) | FLAG.IF);
      view.setBigUint64(st + RSP, rsp, true);
      const isFromSyscall = (Number(how & 0xffffffffn) & VGCF_in_syscall[64]) !== 0;
      setGpr(st, RAX, rax);
      setGpr(st, RCX, isFromSyscall ? rip : rcx);
      setGpr(st, R11, isFromSyscall ? rflags : r11);
      info.setMasked(v, (flags & FLAG.IF) === 0);
      return true;
    },

    made: (v) => void image.u8.fill(0, of(v), of(v) + ENTRIES_BYTES),
  };
}
