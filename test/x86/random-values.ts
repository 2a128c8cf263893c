/** Random numbers, and values that are more likely to be interesting than those. */
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { DATA_BASE, DATA_BYTES } from './case.js';

export class Random {
  private readonly generator;

  constructor(seed: number) {
    this.generator = xoroshiro128plus(seed);
    // Neighbouring seeds begin alike.
    for (let i = 0; i < 8; i++) this.generator.next();
  }

  /** 0 to below - 1. */
  below(below: number): number {
    return Math.floor(((this.generator.next() >>> 0) / 2 ** 32) * below);
  }

  /** Both ends included. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }

  chance(probability: number): boolean {
    return (this.generator.next() >>> 0) / 2 ** 32 < probability;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  u64(): bigint {
    return (BigInt(this.generator.next() >>> 0) << 32n) | BigInt(this.generator.next() >>> 0);
  }
}

const bigOf = (float: number, bits: 32 | 64): bigint => {
  const view = new DataView(new ArrayBuffer(8));
  if (bits === 32) view.setFloat32(0, float);
  else view.setFloat64(0, float);
  return bits === 32 ? BigInt(view.getUint32(0)) : view.getBigUint64(0);
};

/** Borders of every width: 0, 1, -1, the largest and smallest, and their neighbours. */
const BORDERS: readonly bigint[] = [8n, 16n, 32n, 64n]
  .flatMap((bits) => [1n << (bits - 1n), 1n << bits])
  .flatMap((border) => [border - 1n, border, border + 1n, -border, -border - 1n])
  .concat(0n, 0n, 1n, 1n, -1n, -1n, 2n, -2n)
  .map((value) => BigInt.asUintN(64, value));

const FLOATS = [
  0,
  -0,
  1,
  -1,
  0.5,
  1.5,
  2.5,
  3,
  -7,
  0.1,
  1e10,
  2147483647,
  2147483648,
  -2147483648.5,
  Infinity,
  -Infinity,
];

const FLOATS_32: readonly bigint[] = [
  ...FLOATS.map((f) => bigOf(f, 32)),
  ...[0x1n, 0x7f_ffffn, 0x80_0000n, 0x8000_0001n, 0x7f7f_ffffn, 0xff7f_ffffn], // denormal, least normal, largest
  ...[0x7fc0_0000n, 0x7fc1_2345n, 0xffc0_0000n, 0x7f80_0001n, 0xffa5_4321n], // quiet and signalling NaN
];

const FLOATS_64: readonly bigint[] = [
  ...FLOATS.map((f) => bigOf(f, 64)),
  ...[9.3e18, 2 ** 63, 1e-300, 1e300, 3.5e38, 1e-40, 1e-46].map((f) => bigOf(f, 64)),
  ...[0x1n, 0xf_ffff_ffff_ffffn, 0x10_0000_0000_0000n, 0x7fef_ffff_ffff_ffffn, 0x8000_0000_0000_0001n],
  ...[0x7ff8_0000_0000_0000n, 0x7ff8_0000_1234_5678n, 0xfff8_0000_0000_0000n, 0x7ff0_0000_0000_0001n],
];

export function integer(random: Random): bigint {
  const kind = random.below(10);
  if (kind < 4) return random.pick(BORDERS);
  if (kind < 6) return BigInt(random.below(64));
  if (kind < 7) return 1n << BigInt(random.below(64));
  if (kind < 8) return random.u64() >> BigInt(random.below(64));
  return random.u64();
}

const float64 = (random: Random): bigint => {
  const kind = random.below(4);
  if (kind < 2) return random.pick(FLOATS_64);
  if (kind === 2) return bigOf(random.between(-1000, 1000) / random.pick([1, 2, 4, 10]), 64);
  return random.u64();
};

const float32 = (random: Random): bigint => {
  const kind = random.below(4);
  if (kind < 2) return random.pick(FLOATS_32);
  if (kind === 2) return bigOf(random.between(-1000, 1000) / random.pick([1, 2, 4, 10]), 32);
  return random.u64() & 0xffff_ffffn;
};

/** What a register of 64 bits or half an xmm register may hold. */
export function word(random: Random, floats: number): bigint {
  if (!random.chance(floats)) return integer(random);
  return random.chance(0.5) ? float64(random) : (float32(random) << 32n) | float32(random);
}

/** Significands that the x87 has names for, and their neighbours. */
const SIGNIFICANDS: readonly bigint[] = [
  ...[0n, 1n, 0x8000_0000_0000_0000n, 0x8000_0000_0000_0001n, 0xc000_0000_0000_0000n, 0xffff_ffff_ffff_ffffn],
  ...[0x4000_0000_0000_0000n, 0x7fff_ffff_ffff_ffffn, 0xffff_ff00_0000_0000n, 0xffff_ff80_0000_0000n],
  ...[0xffff_ffff_ffff_f800n, 0xffff_ffff_ffff_fc00n, 0x8000_0080_0000_0000n, 0x8000_0000_0000_0400n],
  ...[0xa000_0000_0000_0000n, 0xc000_0000_0000_0001n, 0xbfff_ffff_ffff_ffffn, 0xc900_0000_0000_0000n],
];

/** What a register of the x87 may hold: sign, exponent and significand, of 80 bits. */
export function extended(random: Random): bigint {
  const sign = BigInt(random.below(2)) << 79n;
  const kind = random.below(12);
  const near = (middle: number, by: number): number => Math.max(0, Math.min(0x7fff, middle + random.between(-by, by)));
  const exponent =
    kind < 5
      ? near(0x3fff, kind < 3 ? 8 : 70)
      : kind < 10
        ? random.pick([
            ...[0, 0, 1, 2, near(0, 80), 0x7fff, 0x7fff, 0x7ffe, near(0x7fff, 80)],
            ...[near(0x3fff + 127, 3), near(0x3fff - 126, 26), near(0x3fff + 1023, 3), near(0x3fff - 1022, 55)],
            ...[near(0x3fff + 15, 2), near(0x3fff + 31, 2), near(0x3fff + 63, 2), near(0x1fff, 40), near(0x5fff, 40)],
          ])
        : random.below(0x8000);
  const shape = random.below(8);
  let significand = random.u64();
  if (shape < 3) significand = random.pick(SIGNIFICANDS);
  else if (shape < 5) significand &= -1n << BigInt(random.below(64));
  // Mostly normal.
  if (exponent !== 0 && random.chance(0.93)) significand |= 1n << 63n;
  return sign | (BigInt(exponent) << 64n) | BigInt.asUintN(64, significand);
}

/** An address in the data. */
export function dataAddress(random: Random, bytes: number, margin = 0): bigint {
  return DATA_BASE + BigInt(random.between(margin, DATA_BYTES - margin - bytes));
}
