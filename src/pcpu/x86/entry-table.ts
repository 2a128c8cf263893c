/** Where each VCPU's kernel is entered, as it has asked for by hypercalls; and its local descriptor table. A record of raw bytes. */
import type { Image } from '../../shared/image.js';
import { CALLBACKTYPE_event } from '../../shared/public/callback.js';

/** Of trap_info.flags: rings that may raise it by INT, and whether it masks upcalls. */
const TRAP = { dpl: 3, masksEvents: 4 } as const;
const VECTORS = 256;
const TRAP_BYTES = 16;
const CALLBACKS = 8;
const CALLBACK_BYTES = 16;
/** Traps; then callbacks, each an address and whether it masks upcalls. */
const TABLE_BYTES = VECTORS * TRAP_BYTES;
const BEHIND = TABLE_BYTES + CALLBACKS * CALLBACK_BYTES;
const AT = {
  address: 0,
  flags: 8,
  kernelSp: BEHIND,
  iopl: BEHIND + 8,
  ldtEntries: BEHIND + 12,
  ldt: BEHIND + 16,
} as const;
export const ENTRIES_BYTES = BEHIND + 64;

export interface EntryTable {
  /** See TRAP for the flags; address 0 = none. */
  setTrap(v: number, vector: number, flags: number, address: bigint): void;
  clearTraps(v: number): void;
  /** Where a kernel is entered: the image address of 8 bytes, which are that; all zero: there is nothing. */
  trap(v: number, vector: number): number;
  masksEvents(v: number, vector: number): boolean;
  /** The outermost ring that may raise it by INT. */
  dpl(v: number, vector: number): number;
  /** @param type a CALLBACKTYPE */
  setCallback(v: number, type: number, address: bigint, masksEvents: boolean): void;
  /** As `trap`. */
  callback(v: number, type: number): number;
  callbackMasksEvents(v: number, type: number): boolean;
  /** Whether a place of one of these says where. */
  isSet(place: number): boolean;
  hasEventCallback(v: number): boolean;
  /** Where the stack ends that entries from applications begin with. */
  setKernelStack(v: number, sp: bigint): void;
  /** Image address of 8 bytes. */
  kernelStack(v: number): number;
  /** The I/O privilege level that v's kernel has asked for. */
  iopl(v: number): number;
  setIopl(v: number, iopl: number): void;
  setLdt(v: number, address: bigint, entries: number): void;
  ldt(v: number): { readonly address: bigint; readonly entries: number };
  /** Forgets all there was of VCPU v. */
  made(v: number): void;
}

export function entryTable(image: Image): EntryTable {
  const { base } = image.region('x86-entries');
  const view = new DataView(image.buffer);
  const of = (v: number): number => base + v * ENTRIES_BYTES;
  const trapOf = (v: number, vector: number): number => of(v) + vector * TRAP_BYTES;
  const callbackOf = (v: number, type: number): number => of(v) + TABLE_BYTES + CALLBACK_BYTES * type;
  const callback = (v: number, type: number): number => callbackOf(v, type) + AT.address;
  const isSet = (place: number): boolean => (view.getInt32(place, true) | view.getInt32(place + 4, true)) !== 0;

  return {
    setTrap(v, vector, flags, to) {
      view.setBigUint64(trapOf(v, vector) + AT.address, to, true);
      view.setInt32(trapOf(v, vector) + AT.flags, flags, true);
    },
    clearTraps: (v) => void image.u8.fill(0, of(v), of(v) + TABLE_BYTES),
    trap: (v, vector) => trapOf(v, vector) + AT.address,
    masksEvents: (v, vector) => (view.getInt32(trapOf(v, vector) + AT.flags, true) & TRAP.masksEvents) !== 0,
    dpl: (v, vector) => view.getInt32(trapOf(v, vector) + AT.flags, true) & TRAP.dpl,
    setCallback(v, type, to, masksEvents) {
      view.setBigUint64(callbackOf(v, type) + AT.address, to, true);
      view.setInt32(callbackOf(v, type) + AT.flags, masksEvents ? 1 : 0, true);
    },
    callback,
    callbackMasksEvents: (v, type) => view.getInt32(callbackOf(v, type) + AT.flags, true) !== 0,
    isSet,
    hasEventCallback: (v) => isSet(callback(v, CALLBACKTYPE_event)),
    setKernelStack: (v, sp) => view.setBigUint64(of(v) + AT.kernelSp, sp, true),
    kernelStack: (v) => of(v) + AT.kernelSp,
    iopl: (v) => view.getInt32(of(v) + AT.iopl, true),
    setIopl: (v, iopl) => view.setInt32(of(v) + AT.iopl, iopl, true),
    setLdt(v, to, count) {
      view.setBigUint64(of(v) + AT.ldt, to, true);
      view.setInt32(of(v) + AT.ldtEntries, count, true);
    },
    ldt: (v) => ({
      address: view.getBigUint64(of(v) + AT.ldt, true),
      entries: view.getInt32(of(v) + AT.ldtEntries, true),
    }),
    made: (v) => void image.u8.fill(0, of(v), of(v) + ENTRIES_BYTES),
  };
}
