/**
 * Debug registers (Intel SDM vol. 3, 17.2). The hypervisor sets them, which refuses what Xen refuses; code in ring 3 has no access to them.
 * Pages with breakpoints for data are never remembered in the TLB, so that each access to them comes to the MMU, which says it here.
 */
import type { Image } from '../../shared/image.js';
import { HYPERVISOR_VIRT_END } from '../../shared/public/arch-x86.js';
import { XEN_ENODEV, XEN_EPERM } from '../../shared/public/errno.js';
import type { Access, Watch } from './mmu.js';
import { ST } from './state.js';

/** Bits of DR6: reserved ones that are 1 and those that are 0; breakpoints that were hit; a single step. */
const DR6 = { ones: 0xffff_0ff0n, zeroes: 0x1000n, breakpoints: 15, singleStep: 0x4000 } as const;
/** Bits of DR7: the same; breakpoints that are enabled, two for each; general detection. */
const DR7 = { ones: 0x400n, zeroes: 0xd800n, enabled: 0xff, generalDetect: 0x2000n } as const;
export const DR6_INITIAL = Number(DR6.ones);
export const DR7_INITIAL = Number(DR7.ones);
/** What a breakpoint is for, by its R/W bits in DR7. */
const FOR = { execution: 0, write: 1, io: 2, access: 3 } as const;
/** Bytes by its LEN bits. */
const LENGTHS: readonly number[] = [1, 2, 8, 4];
const BREAKPOINTS: readonly number[] = [0, 1, 2, 3];
/** Canonical addresses of the lower half end here. */
const LOWER_END = 1n << 47n;

export interface DebugRegisters extends Watch {
  /** Register n as MOV DRn and Xen number them, 4 and 5 being 6 and 7. @returns 0, or why Xen refuses it, as it says so */
  set(st: number, n: number, x: bigint): number;
  get(st: number, n: number): bigint;
  hasBreakpoints(st: number): boolean;
  /** First bytes, as halves, of where breakpoints for data are. */
  watched(st: number): (readonly [low: number, high: number])[];
  /** The breakpoints, as in DR6, at the instruction that `rip` of the block says. */
  atInstruction(st: number): number;
  /** DR6 as #DB leaves it: with breakpoints that were hit, and whether it was a single step. */
  report(st: number, breakpoints: number, isSingleStep: boolean): void;
}

/** DR4 and DR5 are others' names. */
const numberOf = (n: number): number => (n === 4 || n === 5 ? n + 2 : n);

export function debugRegisters({ buffer, i32 }: Image): DebugRegisters {
  const view = new DataView(buffer);
  const word = (address: number): number => address >> 2;
  const dr7 = (st: number): number => i32[word(st + ST.dr7)]!;
  const hasBreakpoints = (st: number): boolean => (dr7(st) & DR7.enabled) !== 0;
  const isEnabled = (st: number, n: number): boolean => ((dr7(st) >> (2 * n)) & 3) !== 0;
  const purpose = (st: number, n: number): number => (dr7(st) >> (16 + 4 * n)) & 3;
  const isForData = (st: number, n: number): boolean =>
    isEnabled(st, n) && (purpose(st, n) === FOR.write || purpose(st, n) === FOR.access);
  const lengthOf = (st: number, n: number): bigint => BigInt(LENGTHS[(dr7(st) >> (18 + 4 * n)) & 3]!);
  const address = (st: number, n: number): bigint => view.getBigUint64(st + ST.dr + 8 * n, true);
  const halves = (st: number, n: number): readonly [number, number] => [
    i32[word(st + ST.dr + 8 * n)]!,
    i32[word(st + ST.dr + 8 * n) + 1]!,
  ];
  const bits = (is: (n: number) => boolean): number => BREAKPOINTS.reduce((all, n) => all | (is(n) ? 1 << n : 0), 0);

  return {
    hasBreakpoints,

    set(st, n, x) {
      switch (numberOf(n)) {
        case 0:
        case 1:
        case 2:
        case 3:
          if (x >= LOWER_END && x < HYPERVISOR_VIRT_END[64]) return -XEN_EPERM;
          view.setBigUint64(st + ST.dr + 8 * n, x, true);
          return 0;
        case 6:
          view.setUint32(st + ST.dr6, Number(BigInt.asUintN(32, (x & ~DR6.zeroes) | DR6.ones)), true);
          return 0;
        case 7: {
          const value = BigInt.asUintN(32, (x & ~DR7.zeroes) | DR7.ones);
          if ((value & DR7.generalDetect) !== 0n) return -XEN_EPERM;
          // Breakpoints for input and output need CR4.DE, which no guest has set.
          const isForIo = BREAKPOINTS.some((k) => ((value >> BigInt(16 + 4 * k)) & 3n) === BigInt(FOR.io));
          if ((value & BigInt(DR7.enabled)) !== 0n && isForIo) return -XEN_EPERM;
          view.setUint32(st + ST.dr7, Number(value), true);
          return 0;
        }
        default:
          return -XEN_ENODEV;
      }
    },

    get(st, n) {
      const k = numberOf(n);
      return k < 4 ? address(st, k) : BigInt(view.getUint32(st + (k === 6 ? ST.dr6 : ST.dr7), true));
    },

    watched: (st) => BREAKPOINTS.filter((n) => isForData(st, n)).map((n) => halves(st, n)),

    isWatched(st, low, high) {
      if (!hasBreakpoints(st)) return false;
      return BREAKPOINTS.some((n) => {
        const [ofLow, ofHigh] = halves(st, n);
        return isForData(st, n) && (ofLow & ~4095) === (low & ~4095) && ofHigh === high;
      });
    },

    accessed(st, size, access: Access) {
      if (!hasBreakpoints(st)) return;
      const from = view.getBigUint64(st + ST.address, true);
      i32[word(st + ST.hits)]! |= bits((n) => {
        if (!isForData(st, n) || (access === 'read' && purpose(st, n) === FOR.write)) return false;
        // Lengths are powers of 2: bits of the address within them do not count.
        const length = lengthOf(st, n);
        const at = address(st, n) & -length;
        return at < from + BigInt(size) && from < at + length;
      });
    },

    atInstruction(st) {
      if (!hasBreakpoints(st)) return 0;
      const rip = view.getBigUint64(st + ST.rip, true);
      return bits(
        (n) => isEnabled(st, n) && purpose(st, n) === FOR.execution && lengthOf(st, n) === 1n && address(st, n) === rip,
      );
    },

    report(st, breakpoints, isSingleStep) {
      // Breakpoints are those of this time; the rest of DR6 is for its reader to clear.
      const kept = i32[word(st + ST.dr6)]! & ~DR6.breakpoints;
      i32[word(st + ST.dr6)] = kept | breakpoints | (isSingleStep ? DR6.singleStep : 0);
    },
  };
}
