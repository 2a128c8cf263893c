/**
 * Instructions that the hypervisor executes for a paravirtual kernel, which runs in ring 3, when they fault (xen/arch/x86/pv/emul-priv-op.c,
 * emul-inv-op.c): CLI and STI, which do nothing where the kernel has asked for its I/O privilege level; and CPUID behind the prefix of
 * forced emulation (arch-x86/xen.h), an UD2 and three letters.
 */
import type { Image } from '../../shared/image.js';
import { codeAtRip } from './fetch.js';
import type { Mmu } from './mmu.js';
import { ST, VECTOR } from './state.js';

/** UD2, "xen", CPUID. */
const FORCED_CPUID: readonly number[] = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];
const [CLI, STI] = [0xfa, 0xfb];
/** The kernel's ring, to those who ask what its level allows. */
const KERNEL_RING = 1;

/**
 * @param iopl of a VCPU's kernel, by its block
 * @returns executes what has just faulted in a VCPU; false: the fault is its kernel's
 */
export function emulation(
  image: Image,
  paging: Mmu,
  cpuid: (leaf: number, subleaf: number) => readonly [number, number, number, number],
  iopl: (st: number) => number,
): (st: number) => boolean {
  const view = new DataView(image.buffer);

  /** Whether these bytes are at `rip`. */
  function isAtRip(st: number, bytes: readonly number[]): boolean {
    const code = codeAtRip(image, paging, st, bytes.length);
    return bytes.every((byte, n) => code[n] === byte);
  }

  function pass(st: number, bytes: number): true {
    view.setBigUint64(st + ST.rip, view.getBigUint64(st + ST.rip, true) + BigInt(bytes), true);
    return true;
  }

  return (st) => {
    const vector = view.getInt32(st + ST.vector, true);
    if (vector === VECTOR.UD && isAtRip(st, FORCED_CPUID)) {
      const [eax, ebx, ecx, edx] = cpuid(view.getInt32(st + ST.gpr, true), view.getInt32(st + ST.gpr + 8, true));
      for (const [n, x] of [eax, ecx, edx, ebx].entries())
        view.setBigUint64(st + ST.gpr + 8 * n, BigInt(x >>> 0), true);
      return pass(st, FORCED_CPUID.length);
    }
    const isPrivileged = vector === VECTOR.GP && view.getInt32(st + ST.errorCode, true) === 0;
    if (isPrivileged && iopl(st) >= KERNEL_RING && (isAtRip(st, [CLI]) || isAtRip(st, [STI]))) return pass(st, 1);
    return false;
  };
}
