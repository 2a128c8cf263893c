/**
 * IRET of 64-bit code in ring 3 (Intel SDM vol. 2, IRET): back to ring 3, of which RIP, CS, RFLAGS, RSP and SS come from the stack, each as wide
 * as the operand. IF, IOPL, VM, VIF and VIP stay. It is done when this is.
 */
import type { Image } from '../../shared/image.js';
import { isCanonical } from './emulated.js';
import type { Mmu } from './mmu.js';
import { readRflags, writeRflags } from './rflags.js';
import type { Segments } from './segments.js';
import { FLAG, LOADED_BY_IRET, RSP, SEGMENT, ST, VECTOR } from './state.js';

/** @returns goes on where the stack says, with `address` of the block the bytes of a word; false: an exception is set up */
export function interruptReturn({ buffer }: Image, paging: Mmu, segments: Segments): (st: number) => boolean {
  const view = new DataView(buffer);

  function protection(st: number): false {
    view.setInt32(st + ST.vector, VECTOR.GP, true);
    view.setInt32(st + ST.errorCode, 0, true);
    return false;
  }

  return (st) => {
    const size = view.getInt32(st + ST.address, true);
    const flags = readRflags(view, st);
    // Nested tasks are not of 64-bit mode.
    if ((flags & FLAG.NT) !== 0) return protection(st);
    const top = view.getBigUint64(st + RSP, true);
    const words: bigint[] = [];
    for (let n = 0; n < 5; n++) {
      view.setBigUint64(st + ST.address, BigInt.asUintN(64, top + BigInt(n * size)), true);
      const at = paging.load(st, size, false);
      if (at < 0) return false;
      words.push(
        size === 8
          ? view.getBigUint64(at, true)
          : BigInt(size === 4 ? view.getUint32(at, true) : view.getUint16(at, true)),
      );
    }
    const [rip, cs, popped, rsp, ss] = words as [bigint, bigint, bigint, bigint, bigint];
    const [code, stack] = [Number(cs & 0xffffn), Number(ss & 0xffffn)];
    if (!segments.mayReturnTo(st, code, stack)) return false;
    if (!isCanonical(rip)) return protection(st);
    // 16 bits of flags leave the rest.
    const loaded = size === 2 ? LOADED_BY_IRET & 0xffff : LOADED_BY_IRET;
    writeRflags(view, st, (flags & ~loaded) | (Number(BigInt.asIntN(32, popped)) & loaded));
    view.setUint16(st + ST.selectors + 2 * SEGMENT.CS, code, true);
    view.setUint16(st + ST.selectors + 2 * SEGMENT.SS, stack, true);
    view.setBigUint64(st + RSP, rsp, true);
    view.setBigUint64(st + ST.rip, rip, true);
    view.setInt32(st + ST.record, 0, true);
    view.setInt32(st + ST.left, view.getInt32(st + ST.left, true) - 1, true);
    return true;
  };
}
