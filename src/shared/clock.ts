/**
 * Arithmetic of the clocks: simulation time (ns, safe integers) to cycle counter, and cycle counter to nanoseconds as
 * every Xen guest does it (xen.h, struct vcpu_time_info). 64-bit quantities travel as doubles that hold integers
 * below 2^53, or as pairs of 32-bit halves where the ABI has them in memory.
 */
const TWO32 = 4294967296;

export interface TscScale {
  /** 0.32 fixed-point factor, an unsigned 32-bit number. */
  readonly mul: number;
  /** Left shift of the cycle delta before the multiplication; negative = right. */
  readonly shift: number;
}

/** The frequency as shared pages carry it. XEN-FACTS §2; @param hz 1e6..1e10 */
export function scaleOf(hz: number): TscScale {
  let f = hz;
  let shift = 0;
  while (f > 2e9) {
    f /= 2;
    shift--;
  }
  while (f <= 1e9) {
    f *= 2;
    shift++;
  }
  return { mul: Math.floor((1e9 * TWO32) / f), shift };
}

/** Cycles in a nanosecond as the scale has it: the exact inverse of what readers multiply by. */
export const cyclesPerNsOf = (scale: TscScale): number => (TWO32 / scale.mul) * 2 ** -scale.shift;

/** The frequency a reader recovers from a page, Hz. */
export const hzOf = (scale: TscScale): number => ((1e9 * TWO32) / scale.mul) * 2 ** -scale.shift;

/**
 * (delta << shift) * mul >> 32, exact. @param delta cycles, 0 <= delta < 2^53 after the shift
 * Split in 16-bit halves of `mul`, so that no partial product passes 2^53.
 */
export function scaleDelta(delta: number, mul: number, shift: number): number {
  const shifted = shift === 0 ? delta : shift < 0 ? Math.floor(delta / 2 ** -shift) : delta * 2 ** shift;
  // Not the % operator: on doubles it is a library call of some 30 ns.
  const hi = Math.floor(shifted / TWO32);
  const lo = shifted - hi * TWO32;
  const mulLo = mul & 0xffff;
  const mulHi = mul >>> 16;
  return hi * mul + Math.floor((lo * mulHi + Math.floor((lo * mulLo) / 65536)) / 65536);
}

export const lowHalf = (x: number): number => x | 0;
export const highHalf = (x: number): number => Math.floor(x / TWO32) | 0;
/** Unsigned 64-bit value of two halves; exact below 2^53. */
export const fromHalves = (lo: number, hi: number): number => (hi >>> 0) * TWO32 + (lo >>> 0);
