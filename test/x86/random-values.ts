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

/** An address in the data. */
export function dataAddress(random: Random, bytes: number, margin = 0): bigint {
  return DATA_BASE + BigInt(random.between(margin, DATA_BYTES - margin - bytes));
}
