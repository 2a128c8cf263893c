/** CPUID (Intel SDM vol. 2, CPUID): what the core has, and nothing else. */

/** Bits of leaf 1. */
const EDX_1 = { FPU: 0, TSC: 4, CX8: 8, CMOV: 15, CLFSH: 19, MMX: 23, FXSR: 24, SSE: 25, SSE2: 26 } as const;
const ECX_1 = { CX16: 13, HYPERVISOR: 31 } as const;
/** Bits of leaf 0x80000001. */
const EDX_EXTENDED = { SYSCALL: 11, NX: 20, LM: 29 } as const;
const ECX_EXTENDED = { LAHF: 0 } as const;

const bits = (set: Readonly<Record<string, number>>): number =>
  Object.values(set).reduce((mask, bit) => mask | (1 << bit), 0);

/** 12 bytes, in EBX, EDX, ECX. */
const VENDOR = 'RingZero x86';
const HIGHEST = 1;
const HIGHEST_EXTENDED = 0x80000008;
/** Family 6, which no vendor of this name has used. */
const SIGNATURE = 0x600;
/** A line of CLFLUSH, in units of 8 bytes: 64. */
const LINE = 8 << 8;
/** Widths of addresses: machine memory is an image of 4 GiB at most. */
const ADDRESS_BITS = 32 | (48 << 8);

const letters = (from: number): number =>
  [0, 1, 2, 3].reduce((word, n) => word | (VENDOR.charCodeAt(from + n) << (8 * n)), 0);

/** @returns eax, ebx, ecx, edx */
export function cpuid(leaf: number): readonly [number, number, number, number] {
  switch (leaf >>> 0) {
    case 0:
      return [HIGHEST, letters(0), letters(8), letters(4)];
    case 1:
      return [SIGNATURE, LINE, bits(ECX_1), bits(EDX_1)];
    case 0x80000000:
      return [HIGHEST_EXTENDED | 0, letters(0), letters(8), letters(4)];
    case 0x80000001:
      return [SIGNATURE, 0, bits(ECX_EXTENDED), bits(EDX_EXTENDED)];
    case 0x80000008:
      return [ADDRESS_BITS, 0, 0, 0];
    default:
      return [0, 0, 0, 0];
  }
}
