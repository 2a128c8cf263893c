/**
 * IN and OUT, INS and OUTS (xen/arch/x86/pv/emul-priv-op.c, guest_io_okay, guest_io_read, guest_io_write): #GP where the I/O privilege level
 * that the kernel has asked for is too low. No domain has been given ports: all that is read are ones, and what is written is dropped,
 * 0x70 and 0xcf8 among them, which Xen remembers by domain. There are no bitmaps of ports.
 */
import iced from 'iced-x86';
import type { Image } from '../../shared/image.js';
import { type Emulations, type Outcome, registerAt } from './emulated.js';
import type { Mmu } from './mmu.js';
import { ST } from './state.js';

const { OpKind, Register, RegisterExt, MemorySizeExt } = iced;
const [RCX, RSI, RDI] = [ST.gpr + 8, ST.gpr + 48, ST.gpr + 56];
const ONES = 0xffff_ffff_ffff_ffffn;
/** Elements of a string at a time: the instruction is begun anew behind them. */
const MOST = 4096;
const NARROW: readonly number[] = [OpKind.MemoryESEDI, OpKind.MemorySegESI];

/** @param hasLevel whether a VCPU has the I/O privilege level it needs */
export function emulatedPorts(
  { buffer }: Image,
  paging: Pick<Mmu, 'load' | 'store'>,
  hasLevel: (st: number) => boolean,
): Emulations {
  const view = new DataView(buffer);
  const get = (at: number): bigint => view.getBigUint64(at, true);
  const set = (at: number, x: bigint): void => view.setBigUint64(at, x, true);

  function input(st: number, instruction: iced.Instruction): Outcome {
    if (!hasLevel(st)) return 'refused';
    const register = instruction.opRegister(0);
    const bits = 8 * RegisterExt.size(register);
    const at = st + registerAt(register);
    // 32 bits clear the upper half.
    const kept = bits === 32 ? 0n : BigInt.asUintN(64, get(at) & (ONES << BigInt(bits)));
    set(at, kept | BigInt.asUintN(bits, ONES));
    return 'done';
  }

  const segmentBase = (st: number, prefix: number): bigint =>
    prefix === Register.FS ? get(st + ST.fsBase) : prefix === Register.GS ? get(st + ST.gsBase) : 0n;

  /** @param register of the address, in memory's segment `base` */
  function string(st: number, instruction: iced.Instruction, register: number, base: bigint): Outcome {
    if (!hasLevel(st)) return 'refused';
    const isNarrow = NARROW.includes(instruction.opKind(register === RDI ? 0 : 1));
    const bits = isNarrow ? 32 : 64;
    const size = MemorySizeExt.size(instruction.memorySize);
    const step = BigInt(view.getInt32(st + ST.df, true) !== 0 ? -size : size);
    const isRepeated = instruction.hasRepPrefix || instruction.hasRepnePrefix;
    const count = (): bigint => (isRepeated ? BigInt.asUintN(bits, get(st + RCX)) : 1n);
    for (let [left, n] = [count(), 0]; left > 0n; left--, n++) {
      if (n === MOST) return 'again';
      const address = BigInt.asUintN(bits, get(st + register));
      set(st + ST.address, BigInt.asUintN(64, base + address));
      set(st + ST.value, ONES);
      const done = register === RDI ? paging.store(st, size) : paging.load(st, size, false);
      if (done < 0) return 'raised';
      set(st + register, BigInt.asUintN(bits, address + step));
      if (isRepeated) set(st + RCX, left - 1n);
    }
    return 'done';
  }
  const toMemory = (st: number, instruction: iced.Instruction): Outcome => string(st, instruction, RDI, 0n);
  const fromMemory = (st: number, instruction: iced.Instruction): Outcome =>
    string(st, instruction, RSI, segmentBase(st, instruction.segmentPrefix));

  return {
    In: input,
    Out: (st) => (hasLevel(st) ? 'done' : 'refused'),
    ...Object.fromEntries(['Insb', 'Insw', 'Insd'].map((mnemonic) => [mnemonic, toMemory])),
    ...Object.fromEntries(['Outsb', 'Outsw', 'Outsd'].map((mnemonic) => [mnemonic, fromMemory])),
  };
}
